-- Sends requests of one session for as long as wrk runs: each with the token that the answer before gave.
-- Arguments: the token to begin with, and the uid.

local token, uid

function init(args)
    token, uid = args[1], args[2]
end

function request()
    return wrk.format("GET", "/", { ["Authorization"] = "Bearer " .. token, ["uid"] = uid })
end

function response(status, headers, body)
    token = headers["X-Refreshed-Token"] or token
end

function done(summary, latency, requests)
    local errors = summary.errors
    io.write(string.format('{"requests": %d, "refused": %d, "lost": %d}\n',
        summary.requests, errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
