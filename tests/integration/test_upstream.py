"""The gateway in front of a server elsewhere, under gunicorn, spoken to byte by byte on both sides."""

from __future__ import annotations

import os
import re
import select
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway import TokenCreator
from tests.integration.bodies import LEEWAY_MIB, MIB, download, peak_mib, source, upload
from tests.integration.servers import (
    ANY_PORT,
    DEADLINE,
    GUNICORN,
    SHIPPED,
    Answer,
    Server,
    log_of,
    serving,
    until,
)
from tests.remote import OK, Received, Remote, remote
from tests.remote import Answer as Script
from tests.support import KEY, in_use

TIMEOUT = 1  # seconds that the gateway waits
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
WORKERS = [
    pytest.param(("-k", "sync"), id="sync"),
    pytest.param(("-k", "gthread", "--threads", "4"), id="gthread"),
    pytest.param(("-k", "gevent"), id="gevent"),
]


@dataclass(frozen=True)
class Both:
    """The gateway, and the server behind it."""

    gateway: Server
    server: Remote

    @property
    def request(self) -> Received:
        return self.server.request

    def ask(self, target: str, *headers: str, method: str = "GET") -> Answer:
        return self.gateway.ask(target, *headers, *credentials(), method=method)

    @property
    def complaints(self) -> list[str]:
        """What the gateway has said of the server."""
        return re.findall(r"^the upstream .*$", log_of(self.gateway), re.MULTILINE)

    @property
    def tracebacks(self) -> int:
        return log_of(self.gateway).count("Traceback")


def credentials(minutes_left: int = 30) -> tuple[str, str]:
    return f"Authorization: Bearer {in_use(minutes_left)}", "uid: 12"


@contextmanager
def in_front_of(url: str, folder: Path, *options: str) -> Iterator[Server]:
    with serving(
        folder,
        GUNICORN,
        *("-w", "1", *options, *ANY_PORT, *SHIPPED),
        TOKEN_KEY=KEY,
        GATEWAY_UPSTREAM=url,
        GATEWAY_UPSTREAM_TIMEOUT_SEC=str(TIMEOUT),
        GATEWAY_PUBLIC_PATHS="/pub/*",
    ) as running:
        yield running


@pytest.fixture(scope="module", params=WORKERS)
def started(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    folder = tmp_path_factory.mktemp("gateway")
    with remote() as server, in_front_of(f"{server.url}/base", folder, *request.param) as gateway:
        yield Both(gateway, server)


@pytest.fixture
def both(started: Both) -> Both:
    """Both, as if nothing had been asked."""
    started.server.received.clear()
    started.server.answers = (OK,)
    return started


def answering(both: Both, *answers: Script) -> Both:
    both.server.answers = answers
    return both


def test_a_good_request_reaches_the_server_and_its_answer_the_client(both: Both) -> None:
    answering(
        both, b"HTTP/1.1 418 Odd\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nX: \xe9\r\nContent-Length: 2\r\n\r\nok"
    )
    answer = both.ask("/x?a=%2f", "Cookie: c=d")
    assert (answer.line, answer.body) == ("HTTP/1.1 418 Odd", b"ok")
    assert answer.headers.get_all("Set-Cookie") == ["a", "b"]
    request = both.request
    assert request.line == b"GET /base/x?a=%2f HTTP/1.1"
    authorization = request.one("Authorization") or ""
    assert (request.one("uid"), request.one("Cookie")) == ("12", "c=d")
    assert request.one("X-Refreshed-Token") == authorization.removeprefix("Bearer ")
    assert (request.one("Host"), request.one("X-Forwarded-For")) == ("test", "127.0.0.1")


def test_a_refused_request_does_not(both: Both) -> None:
    assert both.gateway.ask("/x").refusal == (400, "missing_credentials")
    assert both.gateway.ask("/x", "Authorization: Bearer a.b.c", "uid: 12").refusal == (498, "invalid_token")
    assert not both.server.received


def test_a_renewed_token_reaches_both(both: Both) -> None:
    answer = both.gateway.ask("/x", *credentials(minutes_left=5))
    token = answer.headers["X-Refreshed-Token"]
    assert TokenCreator(token_key=KEY).decode_token(token)["uid"] == 12
    assert answer.headers["Cache-Control"] == "no-store"
    assert both.request.one("X-Refreshed-Token") == token


SPOOFED = (
    *("uid: evil", "UID: evil", "u-id: evil", "u.id: evil", "Uid-: evil", "Remote-User: evil"),
    *(
        "X-Refreshed-Token: evil",
        "x-refreshed.token: evil",
        "X-Refreshed--Token: evil",
        "XRefreshedToken: evil",
    ),
    *("X-Forwarded-For: evil", "X-Real-IP: evil", "Forwarded: for=evil", "X-Forwarded-Host: evil"),
    *("X-Original-URL: /evil", "Proxy: evil", "X-Forwarded-Proto: evil"),
)


@pytest.mark.parametrize("spoofed", SPOOFED)
@pytest.mark.parametrize("path", ["/pub/x", "/x"])
def test_what_a_client_claims_does_not_reach_the_server(both: Both, path: str, spoofed: str) -> None:
    own = credentials() if path == "/x" else ()
    dropping = "Connection: close, uid, X-Refreshed-Token, X-Forwarded-For"
    lines = (f"GET {path} HTTP/1.1", "Host: test", dropping, *own, spoofed, "", "")
    Answer.parse(both.gateway.send("\r\n".join(lines).encode()))
    for request in both.server.received:
        assert not [value for _, value in request.fields if "evil" in value]
        assert request.all("uid") == (["12"] if own else [])
        assert request.all("X-Forwarded-For") == ["127.0.0.1"]
    assert both.server.received or (path == "/x" and spoofed.lower().startswith("uid:"))


@pytest.mark.parametrize(
    ("sent", "received"),
    [
        ("/a//b", "/base/a//b"),
        ("/a%2Fb", "/base/a/b"),
        ("/a%252Fb%3F%23%3b", "/base/a%252Fb%3F%23%3B"),
        ("/%ff%0d%0aX:%20y", "/base/%FF%0D%0AX:%20y"),
    ],
)
def test_the_path_that_was_judged_is_the_one_that_is_asked_for(both: Both, sent: str, received: str) -> None:
    assert both.ask(sent).status == 200
    assert both.request.target == received


@pytest.mark.parametrize("path", ["/../secret", "/%2e%2e/secret", "/x/..%2f..%2fsecret"])
def test_no_path_leads_out_of_the_servers(both: Both, path: str) -> None:
    assert both.ask(path).refusal == (400, "malformed_request")
    assert not both.server.received


def test_a_client_does_not_say_what_the_scheme_is(both: Both) -> None:
    both.ask("/x", "X-Forwarded-Proto: https")
    assert both.request.one("X-Forwarded-Proto") == "http"


def test_a_client_does_not_see_what_is_injected(both: Both) -> None:
    assert both.ask("/x", method="TRACE").refusal == (501, "method_not_supported")


def test_a_coding_that_is_not_known_is_refused(both: Both) -> None:
    head = ("POST /pub/x HTTP/1.1", "Host: test", "Connection: close", "Transfer-Encoding: gzip, chunked")
    answer = Answer.parse(both.gateway.send("\r\n".join((*head, "", "0", "", "")).encode()))
    assert answer.refusal == (501, "unknown_coding")


def test_an_answer_that_is_split_by_a_bare_cr_does_not_come_back(both: Both) -> None:
    answering(both, HEAD + b"X: a\rSet-Cookie: b=c\r\nContent-Length: 0\r\n\r\n", OK)
    assert both.ask("/x").refusal == (502, "bad_gateway")
    assert both.ask("/x").body == b"ok"


def test_a_connection_is_used_again(both: Both) -> None:
    both.ask("/x")
    before = both.server.connections
    for _ in range(5):
        assert both.ask("/x").body == b"ok"
    assert both.server.connections == before


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
def test_an_answer_without_a_body_has_none(both: Both, status: str) -> None:
    answering(both, f"HTTP/1.1 {status}\r\nETag: x\r\n\r\n".encode())
    answer = both.ask("/x")
    assert (answer.line, answer.headers["ETag"], answer.body) == (f"HTTP/1.1 {status}", "x", b"")


def test_an_answer_to_head_has_its_length_alone(both: Both) -> None:
    answering(both, HEAD + b"Content-Length: 1000\r\n\r\n")
    answer = both.ask("/x", method="HEAD")
    assert (answer.status, answer.headers["Content-Length"], answer.body) == (200, "1000", b"")


def test_an_upgrade_is_refused(both: Both) -> None:
    answer = both.ask("/x", "Upgrade: websocket")
    assert (answer.line, answer.refusal[1]) == ("HTTP/1.1 501 Not Implemented", "upgrade_not_supported")


def begun(gateway: Server, method: str = "GET", length: int = 0) -> socket.socket:
    """A connection on which a request is sent, up to its body."""
    connection = socket.create_connection(("127.0.0.1", gateway.port), DEADLINE)
    lines = (f"{method} /x HTTP/1.1", "Host: test", f"Content-Length: {length}", *credentials(), "", "")
    connection.sendall("\r\n".join(lines).encode())
    return connection


def test_each_part_reaches_the_client_as_it_comes(both: Both) -> None:
    had = threading.Semaphore(0)

    def answer(connection: socket.socket) -> None:
        for part in (CHUNKED, b"5\r\none\r\n\r\n", b"5\r\ntwo\r\n\r\n", b"0\r\n\r\n"):
            connection.sendall(part)
            had.acquire(timeout=DEADLINE)

    answering(both, answer)
    with begun(both.gateway) as connection, connection.makefile("rb") as stream:
        assert b" 200 OK" in stream.readline()
        while stream.readline().strip():
            pass
        for part in (b"5\r\none\r\n\r\n", b"5\r\ntwo\r\n\r\n", b"0\r\n\r\n"):
            had.release()
            assert stream.read(len(part)) == part
        had.release()


def test_a_client_that_goes_away_ends_the_answer(both: Both) -> None:
    ended = threading.Event()

    def answer(connection: socket.socket) -> None:
        try:
            connection.sendall(CHUNKED)
            while True:
                connection.sendall(b"400\r\n" + bytes(1024) + b"\r\n")
        except ConnectionError:
            ended.set()

    answering(both, answer)
    with begun(both.gateway) as connection:
        connection.recv(1000)
    assert ended.wait(DEADLINE)


@pytest.mark.parametrize("options", WORKERS)
def test_a_refusal_before_the_end_of_a_body_reaches_the_client(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with listener.accept()[0] as connection:
                connection.recv(1000)
                connection.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
                while connection.recv(1):  # which it does so slowly that the rest of the body will not fit
                    pass

        thread = threading.Thread(target=serve)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with in_front_of(url, tmp_path, *options) as gateway, begun(gateway, "POST", 2**40) as connection:
            # Between the look and the sending the gateway may answer and close.
            with suppress(ConnectionError):
                while not select.select([connection], [], [], 0)[0]:
                    connection.send(bytes(65536))
            assert connection.recv(1000).startswith(b"HTTP/1.1 413 Too Large\r\n")
        thread.join()


def test_a_server_that_drips_its_head_is_too_late(both: Both) -> None:
    def drip(connection: socket.socket) -> None:
        connection.settimeout(TIMEOUT / 10)
        while True:
            try:
                connection.recv(1)
                break
            except TimeoutError:
                connection.sendall(b"H")

    answering(both, drip, OK)
    assert both.ask("/x").refusal == (504, "gateway_timeout")
    assert both.ask("/x").body == b"ok"


@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_what_may_do_harm_twice_is_asked_once(both: Both, method: str) -> None:
    both.ask("/x")
    answering(both, OK, lambda connection: None, OK)
    assert both.ask("/x", "Content-Length: 0", method=method).refusal == (502, "bad_gateway")
    assert len(both.server.received) == 2


def test_a_server_that_is_down_is_a_bad_gateway(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with in_front_of(url, tmp_path) as gateway:
        answer = gateway.ask("/x", *credentials())
        assert (answer.line, answer.refusal[1]) == ("HTTP/1.1 502 Bad Gateway", "bad_gateway")
        assert answer.headers["WWW-Authenticate"] is None
        assert gateway.ask("/auth/health").status == 200
        assert f"the upstream {url} has not answered: Connection refused" in log_of(gateway)


STREAMING = """\
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    if environ["PATH_INFO"] == "/short":
        return [b"ok"]
    return endless()

def endless():
    while True:
        yield bytes(1024)
"""


@pytest.mark.parametrize("options", WORKERS)
def test_a_server_that_is_killed_cuts_its_answer_short(tmp_path: Path, options: tuple[str, ...]) -> None:
    folders = tmp_path / "server", tmp_path / "gateway"
    for folder in folders:
        folder.mkdir()
    (folders[0] / "streaming.py").write_text(STREAMING)
    command = (GUNICORN, "-w", "1", *ANY_PORT, "streaming:app")
    with (
        serving(folders[0], *command) as server,
        in_front_of(f"http://127.0.0.1:{server.port}", folders[1], *options) as gateway,
    ):
        both = Both(gateway, Remote(server.port, ()))
        (worker,) = children(server)
        with begun(both.gateway) as connection:
            received = connection.recv(1000)
            os.kill(worker, signal.SIGKILL)
            while part := received_from(connection):
                received = (received + part)[-100:]
        assert not received.endswith(b"0\r\n\r\n")
        until(lambda: both.complaints or None, lambda: log_of(gateway))
        assert (len(both.complaints), both.tracebacks) == (1, 0)
        assert "has cut its answer short" in both.complaints[0]
        answer = until(lambda: answered(both), lambda: log_of(gateway))
        assert b"ok" in answer.body


def answered(both: Both) -> Answer | None:
    """The answer, once the server is there again."""
    answer = both.ask("/short")
    return answer if answer.status == 200 else None


def received_from(connection: socket.socket) -> bytes:
    """What comes, and nothing once the connection is closed or reset."""
    try:
        return connection.recv(65536)
    except ConnectionError:
        return b""


def children(server: Server) -> list[int]:
    tasks = Path(f"/proc/{server.pid}/task/{server.pid}/children")
    return [int(pid) for pid in tasks.read_text().split()]


SIZE_MIB = 256


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunks"])
def test_a_large_body_is_received_in_little_memory(both: Both, chunked: bool) -> None:
    both.ask("/x")
    before = peak_mib(both.gateway)
    answering(both, source(SIZE_MIB, chunked=chunked))
    length, last = download(both.gateway, *credentials())
    assert (length >= SIZE_MIB * MIB, last.endswith(b"0\r\n\r\n")) == (True, chunked)
    assert peak_mib(both.gateway) < before + LEEWAY_MIB


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunks"])
def test_a_large_body_is_sent_in_little_memory(both: Both, chunked: bool) -> None:
    both.ask("/x")
    before = peak_mib(both.gateway)
    both.server.received.clear()
    assert upload(both.gateway, SIZE_MIB, *credentials(), chunked=chunked).status == 200
    assert (both.request.size, both.request.is_whole) == (SIZE_MIB * MIB, True)
    assert peak_mib(both.gateway) < before + LEEWAY_MIB
