-- Sends requests of one session for as long as wrk runs, and counts their answers by status.
-- Arguments: the token, and the uid.

local threads = {}

function setup(thread)
    table.insert(threads, thread)
end

function init(args)
    headers = { ["Authorization"] = "Bearer " .. args[1], ["uid"] = args[2] }
    passed, unavailable, others = 0, 0, 0
end

function request()
    return wrk.format("GET", "/", headers)
end

function response(status, headers, body)
    if status == 200 then
        passed = passed + 1
    elseif status == 503 then
        unavailable = unavailable + 1
    else
        others = others + 1
    end
end

function done(summary, latency, requests)
    local counts = { passed = 0, unavailable = 0, others = 0 }
    for _, thread in ipairs(threads) do
        for name, count in pairs(counts) do
            counts[name] = count + thread:get(name)
        end
    end
    local errors = summary.errors
    io.write(string.format('{"passed": %d, "unavailable": %d, "others": %d, "lost": %d}\n',
        counts.passed, counts.unavailable, counts.others,
        errors.connect + errors.read + errors.write + errors.timeout))
end
