"""The gateway as it is deployed: gunicorn with two workers, spoken to byte by byte."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from contextlib import closing

import pytest

from gateway import TokenCreator
from tests.integration.servers import (
    ANY_PORT,
    DEADLINE,
    GUNICORN,
    SHIPPED,
    UNIX_SOCKET,
    Answer,
    Server,
    log_of,
    serving,
)
from tests.support import KEY, in_use

MAX_TOKEN_BYTES = 1000
MISSING = (400, "missing_credentials")
APP = """\
import json

def app(environ, start_response):
    with open("calls", "a") as calls:
        calls.write("one\\n")
    seen = {key: value for key, value in environ.items() if isinstance(value, str)}
    body = json.dumps(seen).encode()
    start_response("200 OK", [("Content-Length", str(len(body))), ("Cache-Control", "max-age=60")])
    return [body]
"""


@pytest.fixture(scope="module", params=["sync", "gthread"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The gateway around an app that answers the environ it saw, on TCP and on a unix socket."""
    folder = tmp_path_factory.mktemp(request.param)
    (folder / "recording.py").write_text(APP)
    binds = (*ANY_PORT, "-b", f"unix:{UNIX_SOCKET}")
    with serving(
        folder,
        *(GUNICORN, "-k", request.param, "-w", "2", *binds, *SHIPPED),
        TOKEN_KEY=KEY,
        GATEWAY_APP="recording:app",
        GATEWAY_PUBLIC_PATHS="/pub/*,/health",
        GATEWAY_MAX_TOKEN_BYTES=str(MAX_TOKEN_BYTES),
    ) as running:
        yield running


only_gthread = pytest.mark.parametrize("server", ["gthread"], indirect=True)
over_tcp_and_unix = pytest.mark.parametrize("over", ["tcp", "unix"])


def sends(token: str, uid: str = "12") -> tuple[str, str]:
    return f"Authorization: Bearer {token}", f"uid: {uid}"


def calls(server: Server) -> int:
    """How many requests have reached the app."""
    log = server.folder / "calls"
    return len(log.read_text().splitlines()) if log.exists() else 0


def fields(answer: Answer) -> list[tuple[str, str]]:
    return [(name, value) for name, value in answer.headers.items() if name != "Date"]


def test_a_good_token_reaches_the_app(server: Server) -> None:
    token = TokenCreator(token_key=KEY).create(uid=12)
    seen = server.ask("/secret?a=b", *sends(token)).json
    expected = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": "/secret",
        "QUERY_STRING": "a=b",
        "HTTP_UID": "12",
        "REMOTE_USER": "12",
        "AUTH_TYPE": "Bearer",
        "HTTP_X_REFRESHED_TOKEN": token,
    }
    assert {key: seen.get(key) for key in expected} == expected


def test_a_token_that_is_not_due_leaves_the_response_alone(server: Server) -> None:
    answer = server.ask("/secret", *sends(in_use()))
    assert (answer.headers["X-Refreshed-Token"], answer.headers["Cache-Control"]) == (None, "max-age=60")


def test_the_status_line_of_a_bad_token(server: Server) -> None:
    assert server.ask("/secret", *sends("a.b.c")).line == "HTTP/1.1 498 Invalid Token"


def test_a_rejection_is_framed_and_never_stored(server: Server) -> None:
    answer = server.ask("/secret", *sends("a.b.c"))
    assert answer.json == {"error": "Invalid Token", "code": "invalid_token"}
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Content-Length"] == str(len(answer.body))
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["WWW-Authenticate"].startswith('Bearer realm="gateway", error="invalid_token"')


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param((), id="no credentials"),
        pytest.param(sends("a.b.c"), id="a bad token"),
        pytest.param(sends(in_use(0)), id="an expired token"),
    ],
)
def test_head_of_a_rejection_has_the_headers_of_get_and_no_body(
    server: Server, headers: tuple[str, ...]
) -> None:
    get, head = (server.ask("/secret", *headers, method=method) for method in ("GET", "HEAD"))
    assert (head.line, fields(head), head.body) == (get.line, fields(get), b"")
    assert get.body


@pytest.mark.parametrize(
    ("more", "code"),
    [
        pytest.param(f"Authorization: Bearer {in_use()}", "malformed_credentials", id="two good tokens"),
        pytest.param("Authorization: Basic eDp5", "malformed_credentials", id="Bearer, then Basic"),
        pytest.param("uid: 12", "uid_mismatch", id="uid 12,12"),
        pytest.param("uid: 13", "uid_mismatch", id="uid 12,13"),
        pytest.param("UID: 13", "uid_mismatch", id="uid 12, UID 13"),
        pytest.param("uid:", "uid_mismatch", id="uid 12, then empty"),
    ],
)
def test_a_header_sent_twice_is_refused(server: Server, more: str, code: str) -> None:
    before = calls(server)
    assert server.ask("/secret", *sends(in_use()), more).refusal == (400, code)
    assert calls(server) == before


@pytest.mark.parametrize("path", ["/secret", "/pub/x"])
@pytest.mark.parametrize(
    "name",
    [
        "X-Refreshed-Token",
        "x-refreshed-token",
        "X_Refreshed_Token",
        "X-Refreshed_Token",
        "X.Refreshed-Token",
        "Remote-User",
        "Remote_User",
        "REMOTE_USER",
        "Remote.User",
        "Auth-Type",
        "AUTH_TYPE",
        "Gateway-Claims",
        "gateway.claims",
    ],
)
def test_what_the_gateway_sets_a_client_cannot(server: Server, path: str, name: str) -> None:
    seen = server.ask(path, *sends(in_use()), f"{name}: evil").json
    assert [key for key, value in seen.items() if "evil" in value] == []


def test_a_public_path_sees_no_uid(server: Server) -> None:
    """None was verified there."""
    seen = server.ask("/pub/x", "uid: 12").json
    assert {"HTTP_UID", "REMOTE_USER", "AUTH_TYPE", "HTTP_X_REFRESHED_TOKEN"}.isdisjoint(seen)


@pytest.mark.parametrize("path", ["/secret", "/pub/x"])
def test_other_headers_reach_the_app(server: Server, path: str) -> None:
    assert server.ask(path, *sends(in_use()), "X-Other: kept").json["HTTP_X_OTHER"] == "kept"


@over_tcp_and_unix
@pytest.mark.parametrize(
    ("target", "header"),
    [
        pytest.param("/secret/pub/x", "SCRIPT_NAME: /secret", id="SCRIPT_NAME"),
        pytest.param("/secret/pub/x", "Script-Name: /secret", id="Script-Name"),
        pytest.param("/secret", "PATH_INFO: /pub/x", id="PATH_INFO"),
        pytest.param("/secret", "Path-Info: /pub/x", id="Path-Info"),
    ],
)
def test_a_header_does_not_make_a_path_public(server: Server, over: str, target: str, header: str) -> None:
    before = calls(server)
    assert server.ask(target, header, over=over).refusal == MISSING
    assert calls(server) == before


@over_tcp_and_unix
def test_a_header_does_not_move_the_path_that_the_app_sees(server: Server, over: str) -> None:
    seen = server.ask("/pub/x", "SCRIPT_NAME: /pub", "PATH_INFO: /secret", over=over).json
    assert (seen["SCRIPT_NAME"], seen["PATH_INFO"]) == ("", "/pub/x")


@pytest.mark.parametrize(
    "target",
    [
        "/pub/%2e%2e/secret",
        "/pub/../secret",
        "/pub/./x",
        "/pub/x/..",
        "//pub/x",
        "/pub//x",
        "/pub;x",
        "/pub/x;y",
        "/pub/x%3by",
        "/pub%2f..%2fsecret",
        "/pub/%5c..",
        "/pub/\\..\\secret",
        "/pub/%00",
        "/pub/%0a",
        "/pub/%7f",
        "/pub/%252e%252e/secret",
        "/pub/%",
        "/pub",
        "/public",
        "/PUB/x",
        "/health/",
        "/health%20",
        "/",
        "http://evil.example/secret",
        "http://evil.example//pub/x",
        "http://evil.example/pub/../secret",
        "http://evil.example",
        "//evil.example/pub/x",
    ],
)
def test_a_protected_path(server: Server, target: str) -> None:
    before = calls(server)
    assert server.ask(target).refusal == MISSING
    assert calls(server) == before


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/pub/x", "/pub/x"),
        ("/pub/", "/pub/"),
        ("/pub/x/y/", "/pub/x/y/"),
        ("/pub/..x", "/pub/..x"),
        ("/pub/x?y=/../;", "/pub/x"),
        ("/%70ub%2fx", "/pub/x"),
        ("/health", "/health"),
        ("http://evil.example/pub/x", "/pub/x"),
    ],
)
def test_a_public_path(server: Server, target: str, path: str) -> None:
    assert server.ask(target).json["PATH_INFO"] == path


def test_the_gateway_answers_its_own_endpoints(server: Server) -> None:
    before = calls(server)
    assert server.ask("/auth/health").json == {"status": "ok"}
    assert calls(server) == before


@only_gthread
def test_a_connection_outlives_the_rejection_of_a_small_post(server: Server) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=DEADLINE)) as connection:
        connection.request("POST", "/secret", body=b"GET /pub/x HTTP/1.1\r\n\r\n")
        first = connection.sock
        with connection.getresponse() as refused:
            assert refused.status == 400
            refused.read()
        connection.request("GET", "/secret", headers={"Authorization": f"Bearer {in_use()}", "uid": "12"})
        assert first is not None
        assert connection.sock is first
        with connection.getresponse() as answered:
            assert answered.status == 200
            answered.read()


def test_a_renewed_token_comes_with_the_response_and_is_not_stored(server: Server) -> None:
    due = in_use(minutes_left=10)
    answer = server.ask("/secret", *sends(due))
    (renewed,) = answer.headers.get_all("X-Refreshed-Token", [])
    assert renewed not in ("", due)
    assert answer.json["HTTP_X_REFRESHED_TOKEN"] == renewed
    assert answer.headers.get_all("Cache-Control") == ["no-store"]


def test_a_renewed_token_is_good_for_the_next_request(server: Server) -> None:
    renewed = server.ask("/secret", *sends(in_use(minutes_left=10))).headers["X-Refreshed-Token"]
    answer = server.ask("/secret", *sends(renewed))
    assert (answer.json["HTTP_X_REFRESHED_TOKEN"], answer.headers["X-Refreshed-Token"]) == (renewed, None)


@pytest.mark.parametrize(
    ("length", "status"),
    [
        pytest.param(MAX_TOKEN_BYTES, 200, id="as long as allowed"),
        pytest.param(MAX_TOKEN_BYTES + 1, 498, id="one byte longer"),
    ],
)
def test_the_longest_token(server: Server, length: int, status: int) -> None:
    token = next(t for n in range(length) if len(t := in_use(pad="x" * n)) >= length)
    assert len(token) == length
    assert server.ask("/secret", *sends(token)).status == status


def test_the_server_survives_a_header_beyond_its_limit(server: Server) -> None:
    assert 400 <= server.ask("/secret", *sends("a" * 9000)).status < 500
    assert server.ask("/health").status == 200


def posted(*headers: bytes, body: bytes = b"") -> bytes:
    return b"\r\n".join((b"POST /secret HTTP/1.1", b"Host: test", *headers, b"", body))


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", id="TLS"),
        pytest.param(b"\r\n\r\n\r\n", id="blank lines"),
        pytest.param(b"GET /secret", id="half a request line"),
        pytest.param(b"GET\r\n\r\n", id="a method alone"),
        pytest.param(b"get /secret HTTP/1.1\r\n\r\n", id="a method in lower case"),
        pytest.param(b"GET secret HTTP/1.1\r\n\r\n", id="a path without a slash"),
        pytest.param(b"GET /%ff%fe HTTP/1.1\r\n\r\n", id="a path that is no UTF-8"),
        pytest.param(b"GET /\xff\xfe HTTP/1.1\r\n\r\n", id="a path of raw bytes"),
        pytest.param(b"OPTIONS * HTTP/1.1\r\n\r\n", id="OPTIONS *"),
        pytest.param(b"CONNECT host:80 HTTP/1.1\r\n\r\n", id="CONNECT"),
        pytest.param(b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\n\r\n", id="a long target"),
        pytest.param(posted(b"no colon"), id="a header without a colon"),
        pytest.param(posted(b"uid : 12"), id="a space before the colon"),
        pytest.param(posted(b"Authorization: Bearer a.b\r\n .c", b"uid: 12"), id="a folded header"),
        pytest.param(posted(b"Authorization: Bearer a\x00b", b"uid: 12"), id="NUL"),
        pytest.param(posted(b"Authorization: Bearer a\rb", b"uid: 12"), id="CR"),
        pytest.param(posted(b"Authorization: Bearer \xe9.\xff.\x80", b"uid: 12"), id="Latin-1"),
        pytest.param(posted(b"Authorization: Bearer a.b.c", b"uid: \xd9\xa1\xd9\xa2"), id="a uid of UTF-8"),
        pytest.param(posted(b"Authorization: Bearer" + b" ." * 300, b"uid: 12"), id="many dots"),
        pytest.param(posted(*[b"X: y"] * 200), id="many headers"),
        pytest.param(posted(b"Content-Length: abc"), id="a length in letters"),
        pytest.param(posted(b"Content-Length: -1"), id="a negative length"),
        pytest.param(posted(b"Content-Length: 99", body=b"short"), id="a body cut short"),
        pytest.param(
            posted(b"Content-Length: 3", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
            id="a length and chunks",
        ),
        pytest.param(posted(b"Transfer-Encoding: chunked", body=b"zz\r\nhello\r\n"), id="a broken chunk"),
    ],
)
def test_garbage_is_the_clients_fault(server: Server, raw: bytes) -> None:
    """It gets a 4xx or a closed connection, breaks nothing, and the server lives on."""
    before = calls(server)
    received = server.send(raw)
    assert received == b"" or 400 <= Answer.parse(received).status < 500
    assert calls(server) == before
    assert server.ask("/auth/health").status == 200
    assert "Traceback" not in log_of(server)
