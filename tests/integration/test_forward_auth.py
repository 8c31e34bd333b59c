"""Forward-auth by the shipped configurations: the same behaviours with each proxy, spoken to byte by byte.

Nginx is a package of the system's, and so tested by `make test-system` alone. Of Traefik there is a double.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.fronts import (
    CADDY,
    CADDY_OF_BEFORE,
    EXAMPLES,
    NGINX,
    TRAEFIK,
    Front,
    Kind,
    caddy_program,
    configuration,
    echoing,
    faults_of_nginx,
    front,
    guarding,
)
from tests.integration.servers import ANY_PORT, GUNICORN, Answer, Server, free_port, run, serving, until
from tests.support import in_use

KINDS = [
    pytest.param(CADDY, id=CADDY.name),
    pytest.param(TRAEFIK, id=TRAEFIK.name),
    pytest.param(NGINX, id=NGINX.name, marks=pytest.mark.system),
]
SPOOFED = "spoofed"


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    found: Kind = request.param
    return found


@pytest.fixture(scope="module")
def proxy(kind: Kind, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """A proxy in front of a gateway and an app that answers what it saw."""
    folder = tmp_path_factory.mktemp(kind.name)
    with (
        guarding(folder / "gateway") as gateway,
        echoing(folder / "app") as app,
        front(kind, folder / "proxy", gateway.port, app) as running,
    ):
        yield running


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The app alone."""
    with echoing(tmp_path_factory.mktemp("alone") / "app") as running:
        yield running


def made(minutes_left: int = 30, **changes: Any) -> str:
    """A token of the team blue with so many of its 30 minutes left."""
    return in_use(minutes_left, **{"team": "blue", **changes})


def sends(token: str | None = None, uid: str = "12") -> tuple[str, str]:
    return f"Authorization: Bearer {token or made()}", f"uid: {uid}"


def seen(answer: Answer) -> dict[str, str]:
    """The headers that the app saw."""
    assert answer.status == 200, answer
    headers: dict[str, str] = answer.json["headers"]
    return headers


# What passes.


def test_the_app_is_told_who_calls(proxy: Front) -> None:
    token = made()
    headers = seen(proxy.ask("/mine/", *sends(token)))
    told = {name: headers.get(f"HTTP_{name}") for name in ("UID", "X_REFRESHED_TOKEN", "X_TEAM")}
    assert told == {"UID": "12", "X_REFRESHED_TOKEN": token, "X_TEAM": "blue"}


def test_a_scope_opens_what_asks_for_it(proxy: Front) -> None:
    assert proxy.ask("/admin/", *sends(made(scope="admin"))).json["view"] == "/admin"


def test_a_claim_that_is_missing_is_no_header(proxy: Front) -> None:
    assert "HTTP_X_TEAM" not in seen(proxy.ask("/mine/", *sends(made(team=...))))


@pytest.mark.parametrize("text", ["{env.PATH}", "{http.request.host}", "$host", "${host}"])
def test_a_claim_is_no_text_in_the_proxys_own_language(proxy: Front, text: str) -> None:
    assert seen(proxy.ask("/mine/", *sends(made(team=text))))["HTTP_X_TEAM"] == text


@pytest.mark.parametrize("target", ["/public/", "/optional"])
def test_nobody_is_told_of_where_nobody_was_asked(proxy: Front, target: str) -> None:
    headers = seen(proxy.ask(target))
    assert headers.keys().isdisjoint({"HTTP_UID", "HTTP_X_REFRESHED_TOKEN", "HTTP_X_TEAM"})


def test_somebody_may_say_who_it_is_where_nobody_has_to(proxy: Front) -> None:
    assert seen(proxy.ask("/optional", *sends()))["HTTP_UID"] == "12"


def test_a_body_reaches_the_app_whole(proxy: Front) -> None:
    body = b"0123456789abcdef" * 20_000
    answer = proxy.ask("/mine/", *sends(), method="POST", body=body)
    assert (answer.json["method"], answer.json["body"]) == ("POST", body.decode())


def test_a_body_in_chunks_reaches_the_app_whole(proxy: Front) -> None:
    lines = (
        "POST /mine/ HTTP/1.1",
        "Host: test",
        "Connection: close",
        *sends(),
        "Transfer-Encoding: chunked",
    )
    chunks = "5\r\nfirst\r\n8\r\n, second\r\n0\r\n\r\n"
    answer = Answer.parse(proxy.send("\r\n".join((*lines, "", chunks)).encode()))
    assert answer.json["body"] == "first, second"


@pytest.mark.parametrize("target", ["/mine/a?b=c%2Fd&e", "/mine/a%20b", "/mine/%C3%A9", "/public/a?/admin/"])
def test_the_app_is_sent_the_very_target(proxy: Front, target: str) -> None:
    assert proxy.ask(target, *sends()).json["target"] == target


def test_the_app_is_told_the_address_of_the_client_alone(proxy: Front) -> None:
    assert seen(proxy.ask("/public/", "X-Forwarded-For: 192.0.2.1"))["HTTP_X_FORWARDED_FOR"] == "127.0.0.1"


def test_the_app_is_told_the_host_that_is_meant(proxy: Front) -> None:
    assert seen(proxy.ask("/public/"))["HTTP_HOST"] == "test"


# A renewed token.


def test_the_client_is_given_a_renewed_token(proxy: Front) -> None:
    token = made(minutes_left=5)
    answer = proxy.ask("/mine/", *sends(token))
    renewed = seen(answer)["HTTP_X_REFRESHED_TOKEN"]
    assert renewed != token
    assert answer.headers.get_all("X-Refreshed-Token") == ([renewed] if proxy.kind.tells_client else None)
    assert "HTTP_X_RENEWED_TOKEN" not in seen(answer)
    assert answer.headers["X-Renewed-Token"] is None


def test_the_longest_token_that_is_looked_at_is_renewed_too(proxy: Front) -> None:
    answer = proxy.ask("/mine/", *sends(made(minutes_left=5, padding="x" * 5500)))
    assert len(seen(answer)["HTTP_X_REFRESHED_TOKEN"]) > 7500


def test_no_cache_keeps_a_renewed_token(proxy: Front) -> None:
    answer = proxy.ask("/mine/", *sends(made(minutes_left=5)))
    given = answer.headers["X-Refreshed-Token"] is not None
    assert ("no-store" in ", ".join(answer.headers.get_all("Cache-Control", []))) is given
    assert (answer.headers["CDN-Cache-Control"] is None) is given
    assert (answer.headers["Surrogate-Control"] is None) is given


@pytest.mark.parametrize("headers", [("Origin: https://app.example.org",), ()], ids=["page", "no-page"])
def test_a_page_of_another_origin_may_read_a_renewed_token(proxy: Front, headers: tuple[str, ...]) -> None:
    answer = proxy.ask("/mine/", *headers, *sends(made(minutes_left=5)))
    readable = proxy.kind.tells_client and bool(headers)
    assert answer.headers["Access-Control-Expose-Headers"] == ("X-Refreshed-Token" if readable else None)


def test_a_renewed_token_takes_the_place_of_the_apps_own(proxy: Front) -> None:
    answer = proxy.ask("/mine/?own", *sends(made(minutes_left=5)))
    expected = seen(answer)["HTTP_X_REFRESHED_TOKEN"] if proxy.kind.tells_client else "the app's own"
    assert answer.headers.get_all("X-Refreshed-Token") == [expected]


@pytest.mark.parametrize("target", ["/mine/", "/public/"])
def test_an_answer_stays_as_it_is_where_nothing_was_renewed(proxy: Front, target: str) -> None:
    answer = proxy.ask(f"{target}?own", *sends(), "Origin: https://app.example.org")
    rules = ("Cache-Control", "CDN-Cache-Control", "Surrogate-Control")
    assert [answer.headers.get_all(name) for name in rules] == [["max-age=60"]] * 3
    assert answer.headers.get_all("X-Refreshed-Token") == ["the app's own"]
    assert answer.headers["Access-Control-Expose-Headers"] is None


def test_a_client_cannot_feign_a_renewal(proxy: Front) -> None:
    answer = proxy.ask("/public/", f"X-Renewed-Token: {SPOOFED}", f"X-Refreshed-Token: {SPOOFED}")
    assert SPOOFED not in answer.headers.as_string()


# What is refused.


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    ("target", "headers", "refusal"),
    [
        pytest.param("/mine/", lambda: (), (401, "missing_credentials"), id="nobody"),
        pytest.param("/mine/", lambda: sends()[:1], (401, "missing_credentials"), id="no-uid"),
        pytest.param(
            "/mine/",
            lambda: ("uid: 12", "Authorization: Basic YTpi"),
            (401, "malformed_credentials"),
            id="basic",
        ),
        pytest.param("/mine/", lambda: sends(made()[:-2]), (401, "invalid_token"), id="cut"),
        pytest.param("/mine/", lambda: sends(made(-1)), (401, "token_expired"), id="expired"),
        pytest.param("/mine/", lambda: sends(made(exp=...)), (401, "invalid_claims"), id="endless"),
        pytest.param("/mine/", lambda: sends(uid="13"), (403, "uid_mismatch"), id="another"),
        pytest.param("/mine/", lambda: (*sends(), "uid: 12"), (403, "uid_mismatch"), id="uid-doubled"),
        pytest.param("/admin/", sends, (403, "insufficient_scope"), id="no-scope"),
        pytest.param("/elsewhere", sends, (403, "no_route"), id="no-route"),
        pytest.param("/mine/a;b", sends, (403, "malformed_path"), id="odd-path"),
    ],
)
def test_the_client_is_told_why_it_is_refused(
    proxy: Front, target: str, headers: Callable[[], tuple[str, ...]], refusal: tuple[int, str], method: str
) -> None:
    before = proxy.calls
    answer = proxy.ask(target, *headers(), method=method, body=b"a body" if method == "POST" else b"")
    assert answer.refusal == refusal
    assert proxy.calls == before
    (challenge,) = answer.headers.get_all("WWW-Authenticate", [])
    assert challenge.startswith('Bearer realm="gateway"')
    assert answer.headers.get_all("Content-Type") == ["application/json"]
    assert answer.headers.get_all("Cache-Control") == ["no-store"]


def test_two_authorizations_are_refused(proxy: Front) -> None:
    before = proxy.calls
    assert proxy.ask("/mine/", *sends(), sends()[0]).status in {400, 401}
    assert proxy.calls == before


def test_the_method_that_is_judged_is_the_clients(proxy: Front) -> None:
    assert proxy.ask("/read", *sends()).status == 200
    assert proxy.ask("/read", *sends(), method="DELETE").refusal == (403, "no_route")


def test_a_refusal_of_head_has_no_body(proxy: Front) -> None:
    answer = proxy.ask("/mine/", method="HEAD")
    assert (answer.status, answer.body) == (401, b"")


@pytest.mark.parametrize("target", ["/", "/demo/", "/health-of-app"])
def test_no_path_is_public_but_those_of_the_policy(proxy: Front, target: str) -> None:
    assert proxy.ask(target).refusal == (403, "no_route")


def test_a_path_that_only_begins_like_the_prefix_is_the_apps(proxy: Front) -> None:
    assert proxy.ask("/authors", *sends()).refusal == (403, "no_route")


def test_a_session_that_was_ended_is_refused(proxy: Front) -> None:
    session = sends(made(sid="ended"))
    assert proxy.ask("/auth/revoke", *session, method="POST").status == 204
    refusal = until(lambda: refused(proxy.ask("/mine/", *session)), str)
    assert refusal == (401, "token_revoked")


def refused(answer: Answer) -> tuple[int, str | None] | None:
    return None if answer.status == 200 else answer.refusal


# What a client cannot set.

OWNED = [
    *(
        "X-Refreshed-Token",
        "x-refreshed-token",
        "X_Refreshed_Token",
        "X-Refreshed_Token",
        "X.Refreshed-Token",
    ),
    *("X-Team", "x-TEAM", "X_Team", "X.Team"),
    *("X-Renewed-Token", "X_Renewed_Token", "X.Renewed.Token"),
    *("Remote-User", "REMOTE_USER", "remote.user", "Auth-Type", "Auth_Type"),
    *("X-Original-Method", "X-Original-URI", "X_Original_URI", "X-Original-URL", "X-Rewrite-URL"),
    *("X-Forwarded-Method", "X-Forwarded-Uri", "X_Forwarded_Uri", "X-Forwarded-Prefix", "X_Forwarded_For"),
    *("X-Forwarded-Host", "X-Forwarded-Proto"),
    *("SCRIPT_NAME", "PATH_INFO"),
]


@pytest.mark.parametrize("name", OWNED)
@pytest.mark.parametrize("target", ["/mine/", "/public/"])
def test_the_app_never_sees_what_only_the_gateway_may_set(proxy: Front, target: str, name: str) -> None:
    lines = (f"{name}: {SPOOFED}", f"{name}: {SPOOFED} too")
    credentials = sends(made(team=...)) if target == "/mine/" else ()
    assert SPOOFED not in str(seen(proxy.ask(target, *lines, *credentials)))


@pytest.mark.parametrize("name", ["uid", "UID", "Uid"])
def test_the_app_never_sees_a_uid_that_nobody_verified(proxy: Front, name: str) -> None:
    headers = seen(proxy.ask("/public/", f"{name}: {SPOOFED}", f"{name}: {SPOOFED} too"))
    assert SPOOFED not in str(headers)


def test_a_claim_in_the_place_of_one_that_is_missing_is_not_believed(proxy: Front) -> None:
    """GHSA-7r4p-vjf4-gxv4."""
    headers = seen(proxy.ask("/mine/", "X-Team: red", *sends(made(team=...))))
    assert "HTTP_X_TEAM" not in headers


def test_a_client_cannot_have_verified_headers_dropped_on_the_way(proxy: Front) -> None:
    """RFC 9110 section 7.6.1: what Connection names is for the next hop alone."""
    before = proxy.calls
    answer = proxy.ask("/mine/", *sends(), "Connection: close, uid, X-Refreshed-Token, X-Team")
    if answer.status == 200:
        assert seen(answer)["HTTP_UID"] == "12"
        assert seen(answer)["HTTP_X_TEAM"] == "blue"
    else:
        assert (answer.status, proxy.calls) == (401, before)


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param(("X-Forwarded-Method: GET", "X-Forwarded-Uri: /public/"), id="forwarded"),
        pytest.param(("X-Original-Method: GET", "X-Original-URI: /public/"), id="original"),
        pytest.param(("X_Forwarded_Method: GET", "X_Forwarded_Uri: /public/"), id="forwarded-folded"),
        pytest.param(("X_Original_Method: GET", "X_Original_URI: /public/"), id="original-folded"),
        pytest.param(("X-Original-Method: GET", "X-Forwarded-Uri: /public/"), id="one-of-each"),
    ],
)
def test_a_client_cannot_say_which_request_is_meant(proxy: Front, lines: tuple[str, ...]) -> None:
    assert proxy.ask("/admin/", *lines, *sends()).refusal == (403, "insufficient_scope")
    assert proxy.ask("/mine/", *lines, *sends()).status == 200


def test_a_client_cannot_move_the_path_from_under_the_judgement(proxy: Front) -> None:
    """To gunicorn, SCRIPT_NAME of a proxy on loopback is how much of the path is not the app's."""
    answer = proxy.ask("/public/admin/", "SCRIPT_NAME: /public")
    assert (answer.json["view"], answer.json["path"]) == ("/public", "/public/admin/")


def test_caddys_file_deletes_look_alikes_that_caddy_lets_pass(app: Server, tmp_path: Path) -> None:
    with (
        guarding(tmp_path / "gateway") as gateway,
        front(CADDY_OF_BEFORE, tmp_path / "proxy", gateway.port, app) as proxy,
    ):
        answer = proxy.ask("/public/admin/", "SCRIPT_NAME: /public", f"X.Team: {SPOOFED}")
    assert answer.json["path"] == "/public/admin/"
    assert SPOOFED not in str(seen(answer))


# Paths.

SPELLED = [
    *(
        "/admin",
        "/admin/",
        "/admin/x",
        "//admin/",
        "///admin/x",
        "/./admin/",
        "/%2e/admin/",
        "/%2E%2e/admin/",
    ),
    *("/public/../admin/", "/public/..%2fadmin/", "/public/%2e%2e/admin/", "/public/.%2e/admin/x"),
    *("/public//../../admin/", "/public/x/../../admin/", "/public%2f..%2fadmin/", "/public/..%5cadmin/"),
    *("/public\\..\\admin/", "/public/..;/admin/", "/public;/../admin/", "/public/%252e%252e/admin/"),
    *("/%61dmin/", "/admi%6e/x", "/%2561dmin/", "/admin%2f", "/admin%2f..", "/admin%2fx", "/%2fadmin/"),
    *(
        "/admin;x",
        "/admin/;x",
        "/admin%3bx",
        "/admin%00",
        "/admin/%00",
        "/admin%20",
        "/admin?x",
        "/admin/?/public/",
    ),
    *("/admin#", "/public/#/../../admin/", "/admin/#/public/", "/public/?/../../admin/", "/admin\\"),
    *("http://test/admin/", "http://test//admin/", "http://public/../admin/", "HTTP://test/public/../admin/"),
    *("admin/", "*", "", "test:80", "/mine/../admin/", "/mine/%2e%2e%2fadmin/x", "/optional/../admin/"),
    *(
        "/auth/../admin/",
        "/auth/health/../../admin/",
        "/auth%2f..%2fadmin/",
        "/auth//../admin/",
        "/AUTH/../admin/",
    ),
]


@pytest.mark.parametrize("known", [True, False], ids=["known", "nobody"])
@pytest.mark.parametrize("target", SPELLED)
def test_no_spelling_of_a_path_leads_past_the_scope(proxy: Front, target: str, known: bool) -> None:
    before = proxy.calls
    answer = proxy.ask(target, *(sends() if known else ()))
    if proxy.calls != before:
        assert answer.json["view"] in {"/public", "/mine", "/optional"}


@pytest.mark.parametrize("method", ["CONNECT", "OPTIONS", "TRACE", "get", "G%45T"])
def test_no_method_leads_past_the_scope(proxy: Front, method: str) -> None:
    before = proxy.calls
    for target in ("/admin/", "test:80", "*"):
        proxy.ask(target, *sends(), method=method)
    assert proxy.calls == before


# The gateway's own endpoints.


def test_a_client_logs_in_and_uses_its_token(proxy: Front) -> None:
    body = b'{"uid": 12, "password": "the right one"}'
    token = proxy.ask("/auth", "Content-Type: application/json", method="POST", body=body).json["token"]
    assert seen(proxy.ask("/mine/", *sends(token)))["HTTP_X_TEAM"] == "blue"


def test_a_wrong_login_is_told_so_by_the_gateway(proxy: Front) -> None:
    body = b'{"uid": 12, "password": "a wrong one"}'
    assert proxy.ask("/auth", method="POST", body=body).refusal == (401, "wrong_login")


def test_nobody_guesses_on_under_other_addresses(proxy: Front) -> None:
    body = b'{"uid": "guessed", "password": "a wrong one"}'
    addresses = [f"X-Forwarded-For: 192.0.2.{number}" for number in range(6)]
    answers = [proxy.ask("/auth", address, method="POST", body=body) for address in addresses]
    assert answers[-1].refusal == (429, "too_many_attempts")


@pytest.mark.parametrize("name", ["health", "ready"])
def test_what_watches_the_gateway_reaches_it(proxy: Front, name: str) -> None:
    assert proxy.ask(f"/auth/{name}").json == {"status": "ok"}


@pytest.mark.parametrize("name", ["verify", "verify?", "metrics", "unknown", ""])
def test_the_rest_of_them_is_not_there_for_those_outside(proxy: Front, name: str) -> None:
    answer = proxy.ask(f"/auth/{name}", "X-Forwarded-Method: GET", "X-Forwarded-Uri: /mine/", *sends())
    assert answer.status == 404
    if proxy.kind.says_so:
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.refusal == (404, "not_found")


@pytest.mark.parametrize(
    "target",
    [
        *("/auth/verify/", "/auth/verify/x", "/auth/%76erify", "/auth%2fverify", "/auth//verify"),
        *("//auth/verify", "/auth/./verify", "/public/../auth/verify", "/auth/x/../verify"),
        *("/auth/health/../verify", "/auth/verify%0a", "/auth/verify#", "/auth/health%0a", "/auth/metric%73"),
    ],
)
def test_no_spelling_of_a_path_leads_to_them(proxy: Front, target: str) -> None:
    before = proxy.calls
    answer = proxy.ask(target, "X-Forwarded-Method: GET", "X-Forwarded-Uri: /mine/", *sends())
    assert answer.status in {400, 403, 404}
    assert answer.headers["uid"] is None
    assert proxy.calls == before


# What the gateway is asked.

RECORDING = """\
import json

def app(environ, start_response):
    seen = {name: value for name, value in environ.items() if isinstance(value, str)}
    with open("asked", "w") as asked:
        json.dump({**seen, "body": environ["wsgi.input"].read().decode()}, asked)
    start_response("200 OK", [("uid", "12"), ("Content-Length", "0")])
    return []
"""


@pytest.mark.parametrize("body", [b"", b"a body"], ids=["no-body", "body"])
def test_the_gateway_is_asked_without_the_body(kind: Kind, app: Server, tmp_path: Path, body: bytes) -> None:
    (tmp_path / "recording.py").write_text(RECORDING)
    with (
        serving(tmp_path, GUNICORN, *ANY_PORT, "recording:app") as gateway,
        front(kind, tmp_path / "proxy", gateway.port, app) as proxy,
    ):
        feigned = "X-Forwarded-For: 192.0.2.1"
        answer = proxy.ask("/mine/%C3%A9?b", feigned, *sends(), method="POST", body=body)
    asked = json.loads((tmp_path / "asked").read_text())
    told = {key: value for key, value in asked.items() if key.endswith(("_METHOD", "_URI", "_FORWARDED_FOR"))}
    pair = "HTTP_X_ORIGINAL" if "HTTP_X_ORIGINAL_URI" in asked else "HTTP_X_FORWARDED"
    assert told == {
        "REQUEST_METHOD": "GET",
        "RAW_URI": "/auth/verify",
        f"{pair}_METHOD": "POST",
        f"{pair}_URI": answer.json["target"],
        "HTTP_X_FORWARDED_FOR": "127.0.0.1",
    }
    assert (asked["body"], asked.get("CONTENT_LENGTH")) == ("", None)


# Where the gateway cannot be asked, or the app.


def test_nobody_passes_while_the_gateway_is_down(kind: Kind, app: Server, tmp_path: Path) -> None:
    with free_port() as nobodys, front(kind, tmp_path / "proxy", nobodys, app) as proxy:
        before = proxy.calls
        answers = [proxy.ask(target, *sends()) for target in ("/mine/", "/public/")]
        assert proxy.calls == before
    assert [answer.status for answer in answers] == [kind.down] * 2
    if kind.says_so:
        assert answers[0].refusal == (503, "gateway_unavailable")
        named = ("Content-Type", "Cache-Control", "Retry-After")
        assert [answers[0].headers[name] for name in named] == ["application/json", "no-store", "5"]


FAULTY = """\
def app(environ, start_response):
    with open("status") as status:
        start_response(status.read(), [("Location", "/public/"), ("uid", "1"), ("Content-Length", "0")])
    return []
"""


def test_nobody_passes_by_any_other_answer_of_the_gateways(kind: Kind, app: Server, tmp_path: Path) -> None:
    (tmp_path / "faulty.py").write_text(FAULTY)
    with (
        serving(tmp_path, GUNICORN, *ANY_PORT, "faulty:app") as gateway,
        front(kind, tmp_path / "proxy", gateway.port, app) as proxy,
    ):
        before = proxy.calls
        answered = []
        for status in ("503 Service Unavailable", "500 Internal Server Error", "404 Not Found", "302 Found"):
            (tmp_path / "status").write_text(status)
            answered.append(proxy.ask("/mine/", *sends()).status)
        assert answered[0] == 503
        assert 200 not in answered
        assert proxy.calls == before


CHANGING = """\
def app(environ, start_response):
    with open("asked", "a+") as asked:
        asked.write("once\\n")
        asked.seek(0)
        first = len(asked.readlines()) == 1
    names = ("uid", "X-Refreshed-Token", "X-Renewed-Token", "X-Team")
    headers = [("Content-Length", "0"), *((name, "verified") for name in names)]
    start_response("401 Unauthorized" if first else "200 OK", [("Content-Length", "0")] if first else headers)
    return []
"""


def test_who_is_refused_stays_so_though_the_gateway_changes_its_mind(
    kind: Kind, app: Server, tmp_path: Path
) -> None:
    (tmp_path / "changing.py").write_text(CHANGING)
    with (
        serving(tmp_path, GUNICORN, *ANY_PORT, "changing:app") as gateway,
        front(kind, tmp_path / "proxy", gateway.port, app) as proxy,
    ):
        before = proxy.calls
        answer = proxy.ask("/mine/", *sends())
        assert (answer.status, proxy.calls) == (401, before)
        assert "verified" not in answer.headers.as_string()


def test_an_app_that_is_down_is_not_taken_for_the_gateway(kind: Kind, app: Server, tmp_path: Path) -> None:
    down = tmp_path / "nobody"
    with guarding(tmp_path / "gateway") as gateway, free_port() as nobodys:
        gone = Server(app.pid, down, nobodys)
        with front(kind, tmp_path / "proxy", gateway.port, gone) as proxy:
            assert proxy.ask("/mine/", *sends()).status == 502


# The files themselves.


def test_caddy_finds_its_file_sound_and_well_formed(tmp_path: Path) -> None:
    shipped = str(EXAMPLES / "Caddyfile")
    for command in (("validate", "--adapter", "caddyfile", "--config", shipped), ("fmt", shipped)):
        done = run(tmp_path, caddy_program(), *command)
        assert done.returncode == 0, done.stderr


def test_what_traefiks_routers_name_is_there() -> None:
    http = configuration("traefik.yml")["http"]
    entry_points = configuration("traefik-static.yml")["entryPoints"]
    for router in http["routers"].values():
        assert set(router["entryPoints"]) <= entry_points.keys()
        assert set(router["middlewares"]) <= http["middlewares"].keys()
        assert router["service"] in http["services"]


@pytest.mark.system
@pytest.mark.parametrize("line", ["underscores_in_headers on;", "ignore_invalid_headers off;"])
def test_nginx_does_not_start_where_look_alikes_would_pass(tmp_path: Path, line: str) -> None:
    assert "syntax is ok" in faults_of_nginx(tmp_path, "")
    assert f'"{line.split(maxsplit=1)[0]}" directive is duplicate' in faults_of_nginx(tmp_path, line)
