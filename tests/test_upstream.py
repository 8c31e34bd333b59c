"""A server elsewhere as a WSGI app: what reaches it, what comes back, and what happens when it fails."""

from __future__ import annotations

import errno
import io
import logging
import os
import socket
import ssl
import struct
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from wsgiref.types import WSGIApplication
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest
import webtest

from gateway import ConfigError, Settings, TokenCreator
from gateway.connections import Connections
from gateway.loading import build
from gateway.upstream import Upstream
from tests.integration.servers import until
from tests.remote import OK, PATIENCE, Answer, remote, self_signed
from tests.support import KEY, Guarded

SHORT = 0.2  # seconds that are to pass
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
HELLO = HEAD + b"Content-Length: 5\r\n\r\nhello"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


class Call:
    """One call of a WSGI app, whose body is read as the test likes."""

    def __init__(
        self, app: WSGIApplication, body: bytes | io.RawIOBase | None = None, **environ: Any
    ) -> None:
        setup_testing_defaults(environ)
        environ["REMOTE_ADDR"] = "127.0.0.1"
        if isinstance(body, bytes):
            environ |= {"wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))}
        elif body is not None:
            environ |= {
                "wsgi.input": body,
                "HTTP_TRANSFER_ENCODING": "chunked",
                "wsgi.input_terminated": True,
            }
        self.status, self.headers = "", [("", "")]
        self.answer = app(environ, self._start)
        self.pieces = iter(self.answer)

    def _start(self, status: str, headers: list[tuple[str, str]], exc_info: object = None) -> Any:
        self.status, self.headers = status, headers
        return self.status.join

    def read(self) -> bytes:
        """All that there is still to come."""
        try:
            return b"".join(self.pieces)
        finally:
            self.close()

    def close(self) -> None:
        if hasattr(self.answer, "close"):
            self.answer.close()


def refusal(call: Call) -> tuple[str, bytes]:
    assert "WWW-Authenticate" not in dict(call.headers)
    return call.status, call.read()


BAD = ("502 Bad Gateway", b'{"error": "Bad Gateway", "code": "bad_gateway"}')
LATE = ("504 Gateway Timeout", b'{"error": "Gateway Timeout", "code": "gateway_timeout"}')


def resetting(connection: socket.socket) -> None:
    """Close so that the other side is told that something went wrong."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def then(*sent: bytes, after: Callable[[socket.socket], None] = lambda connection: None) -> Answer:
    """Send these, and close."""

    def answer(connection: socket.socket) -> None:
        for part in sent:
            connection.sendall(part)
        after(connection)

    return answer


def held(*sent: bytes) -> Answer:
    """Send these, and nothing more until the other side closes."""

    def wait(connection: socket.socket) -> None:
        connection.recv(1)

    return then(*sent, after=wait)


def test_a_request_reaches_the_server_as_it_is() -> None:
    with remote() as server:
        client = webtest.TestApp(Upstream(f"{server.url}/base/"))
        answer = client.post("/x//admin?a=%zz", b"body", headers={"Host": "app.example", "uid": "12"})
    request = server.request
    assert (answer.status, answer.body) == ("200 OK", b"ok")
    assert (request.line, request.body) == (b"POST /base/x//admin?a=%zz HTTP/1.1", b"body")
    assert (request.one("Host"), request.one("uid")) == ("app.example", "12")


def test_no_more_is_said_of_the_one_who_hands_it_on_than_must_be() -> None:
    with remote() as server:
        Call(Upstream(server.url)).read()
    assert [name for name, _ in server.request.fields] == [
        *("Host", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-IP", "Via")
    ]


def test_a_client_cannot_speak_to_the_library() -> None:
    with remote() as server:
        Call(Upstream(server.url), HTTP_HOST="@@@SKIP_HEADER@@@", HTTP_X="@@@SKIP_HEADER@@@").read()
    assert server.request.one("Host") == server.request.one("X") == "@@@SKIP_HEADER@@@"


@pytest.mark.parametrize("path", ["//a", "/a\xff%\r\n?#;", "/%2e%2e/x", "/a/./b//../c"])
def test_a_path_is_the_same_on_the_wire(path: str) -> None:
    with remote() as server:
        Call(Upstream(server.url), PATH_INFO=path).read()
    sent = server.request.target.encode()
    assert bytes_of(sent) == path.encode("latin-1")
    assert b"?" not in sent


def bytes_of(target: bytes) -> bytes:
    """What a percent-encoded path stands for."""
    first, *rest = target.split(b"%")
    return first + b"".join(bytes([int(part[:2], 16)]) + part[2:] for part in rest)


def test_a_body_in_chunks_goes_on_in_chunks() -> None:
    with remote() as server:
        Call(Upstream(server.url), io.BytesIO(b"x" * 100_000), REQUEST_METHOD="PUT").read()  # type: ignore[arg-type]
    request = server.request
    assert (request.one("Transfer-Encoding"), request.one("Content-Length")) == ("chunked", None)
    assert request.body == b"x" * 100_000


@pytest.mark.parametrize(("method", "length"), [("POST", "0"), ("GET", None), ("DELETE", None)])
def test_a_request_without_a_body_goes_on_without_one(method: str, length: str | None) -> None:
    with remote() as server:
        Call(Upstream(server.url), REQUEST_METHOD=method).read()
    assert (server.request.one("Content-Length"), server.request.one("Transfer-Encoding")) == (length, None)


@pytest.mark.parametrize("method", ["HEAD", "GET"])
@pytest.mark.parametrize(
    "head",
    [
        *("200 OK", "204 No Content", "304 Not Modified", "404 Not Found", "302 Found\r\nLocation: /y"),
        *("498 Invalid Token", "500 Oops", "451 "),
    ],
)
def test_an_answer_without_a_body_comes_back_and_the_connection_is_kept(head: str, method: str) -> None:
    answer = f"HTTP/1.1 {head}\r\nETag: x\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nContent-Length: 0\r\n\r\n"
    with remote(answer.encode()) as server:
        app = Upstream(server.url)
        for _ in range(2):
            call = Call(app, REQUEST_METHOD=method)
            assert call.read() == b""
        assert call.status.startswith(head[:4])
        assert [value for name, value in call.headers if name == "Set-Cookie"] == ["a", "b"]
        assert server.connections == 1


def test_an_answer_to_head_has_the_length_and_no_body() -> None:
    with remote(HEAD + b"Content-Length: 1000\r\n\r\n") as server:
        call = Call(Upstream(server.url), REQUEST_METHOD="HEAD")
        assert (dict(call.headers)["Content-Length"], call.read()) == ("1000", b"")


EVIL = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL"
LAST_CHUNK = b"0\r\n\r\n"
# Answers behind which more may come, with the method of their requests.
MISLEADING = {
    "length and chunks": ("GET", CHUNKED[:-2] + b"Content-Length: 50\r\n\r\n" + LAST_CHUNK),
    "chunks in HTTP/1.0": (
        "GET",
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n" + LAST_CHUNK,
    ),
    "HEAD with a length": ("HEAD", HEAD + b"Content-Length: 50\r\n\r\n"),
    "HEAD in chunks": ("HEAD", CHUNKED),
    "204 with a length": ("GET", b"HTTP/1.1 204 No Content\r\nContent-Length: 50\r\n\r\n"),
    "304 with a length": ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 50\r\n\r\n"),
    "304 in chunks": ("GET", b"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n"),
}


@pytest.mark.parametrize(("method", "answer"), MISLEADING.values(), ids=MISLEADING)
def test_a_connection_on_which_more_may_come_is_not_kept(method: str, answer: bytes) -> None:
    with remote(answer, OK) as server:
        app = Upstream(server.url)
        assert Call(app, REQUEST_METHOD=method).read() == b""
        assert Call(app).read() == b"ok"
        assert server.connections == 2


@pytest.mark.parametrize("answer", [OK, CHUNKED + LAST_CHUNK, b"HTTP/1.1 204 No Content\r\n\r\n"])
def test_a_connection_on_which_more_has_come_is_not_kept(answer: bytes) -> None:
    with remote(answer + EVIL, OK) as server:
        app = Upstream(server.url)
        Call(app).read()
        assert Call(app).read() == b"ok"
        assert server.connections == 2


def test_a_connection_on_which_something_comes_when_nobody_asks_is_not_used() -> None:
    is_kept = threading.Event()

    def late(connection: socket.socket) -> None:
        connection.sendall(OK)
        wait_for(is_kept)
        connection.sendall(EVIL)
        connection.recv(1)

    with remote(late, OK) as server:
        app = Upstream(server.url)
        Call(app).read()
        (kept,) = app._connections._idle
        is_kept.set()
        until(lambda: None if kept.is_connected else True, lambda: "nothing has come")
        assert Call(app).read() == b"ok"


def test_an_answer_that_is_closed_twice_leaves_one_connection() -> None:
    with remote() as server:
        app = Upstream(server.url)
        call = Call(app)
        call.read()
        call.close()
        (kept,) = app._connections._idle
        assert kept.is_connected


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(HELLO, id="length"),
        pytest.param(CHUNKED + b"3;x=y\r\nhel\r\n2\r\nlo\r\n0\r\nTrailer: x\r\n\r\n", id="chunks"),
        pytest.param(then(HEAD + b"\r\nhello"), id="until closed"),
        pytest.param(then(b"HTTP/1.0 200 OK\nContent-Type: text/plain\n\nhello"), id="as in 1.0"),
        pytest.param(b"HTTP/1.1 100 Continue\r\n\r\n" + HELLO, id="100"),
        pytest.param(
            b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" * 3 + HELLO,
            id="103",
        ),
    ],
)
def test_a_body_comes_back_whole(answer: Answer) -> None:
    with remote(answer) as server:
        app = Upstream(server.url)
        assert [webtest.TestApp(app).get("/").body for _ in range(2)] == [b"hello", b"hello"]
        call = Call(app)
        assert (call.status, call.read()) == ("200 OK", b"hello")
        assert "Link" not in dict(call.headers)


def test_the_validator_of_wsgi_has_nothing_to_say() -> None:
    with remote() as server:
        call = Call(validator(Upstream(server.url)), QUERY_STRING="")
        assert (call.status, call.read()) == ("200 OK", b"ok")


@pytest.mark.parametrize(
    "kind",
    ["multipart/mixed", "multipart/x; boundary=x", 'multipart/x; boundary="x', "message/rfc822", ";", ""],
)
def test_a_body_of_any_type_comes_back(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Transfer-Encoding: base64\r\n"
    with remote(f"{head}Content-Length: 5\r\n\r\nhello".encode()) as server:
        call = Call(Upstream(server.url))
        assert (dict(call.headers)["Content-Type"], call.read()) == (kind, b"hello")
    assert not caplog.records


def test_a_compressed_body_stays_as_it_is() -> None:
    with remote(HEAD + b"Content-Encoding: gzip\r\nContent-Length: 5\r\n\r\n\x1f\x8b\x08zz") as server:
        call = Call(Upstream(server.url))
        assert (dict(call.headers)["Content-Encoding"], call.read()) == ("gzip", b"\x1f\x8b\x08zz")


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param((CHUNKED, b"5\r\none\r\n\r\n", b"5\r\ntwo\r\n\r\n", b"0\r\n\r\n"), id="chunks"),
        pytest.param((HEAD + b"Content-Length: 10\r\n\r\n", b"one\r\n", b"two\r\n"), id="length"),
        pytest.param((HEAD + b"\r\n", b"one\r\n", b"two\r\n"), id="until closed"),
    ],
)
def test_each_part_is_there_as_soon_as_it_has_come(parts: tuple[bytes, ...]) -> None:
    had = threading.Semaphore(0)

    def answer(connection: socket.socket) -> None:
        for part in parts:
            connection.sendall(part)
            had.acquire(timeout=PATIENCE)

    with remote(answer) as server:
        call = Call(Upstream(server.url))
        assert call.status == "200 OK"
        found = [next(call.pieces)]
        for _ in range(2):
            had.release()
            found.append(next(call.pieces))
        had.release()
        assert (found, call.read()) == ([b"", b"one\r\n", b"two\r\n"], b"")


def test_a_redirect_is_not_followed_and_no_cookie_is_kept() -> None:
    moved = b"HTTP/1.1 302 Found\r\nLocation: /y\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n"
    with remote(moved, OK) as server:
        app = Upstream(server.url)
        call = Call(app, PATH_INFO="/x")
        assert (call.status, dict(call.headers)["Location"], call.read()) == ("302 Found", "/y", b"")
        Call(app).read()
    assert [request.target for request in server.received] == ["/x", "/"]
    assert server.received[1].one("Cookie") is None


def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with remote() as server:
        assert Call(Upstream(server.url)).read() == b"ok"


def wait_for(event: threading.Event) -> None:
    assert event.wait(PATIENCE)


def test_a_connection_that_was_closed_meanwhile_is_not_used() -> None:
    is_kept = threading.Event()
    with remote(then(OK, after=lambda connection: wait_for(is_kept)), OK) as server:
        app = Upstream(server.url)
        assert Call(app, b"body", REQUEST_METHOD="POST").read() == b"ok"
        (kept,) = app._connections._idle
        is_kept.set()
        until(lambda: None if kept.is_connected else True, lambda: "it is open still")
        assert Call(app, b"body", REQUEST_METHOD="POST").read() == b"ok"
    assert [request.connection for request in server.received] == [1, 2]


@pytest.mark.parametrize("closing", [lambda connection: None, resetting], ids=["closed", "reset"])
def test_what_does_no_harm_twice_is_asked_again_on_a_fresh_connection(closing: Any) -> None:
    with remote(OK, closing, OK) as server:
        app = Upstream(server.url)
        assert [Call(app).read() for _ in range(2)] == [b"ok", b"ok"]
    assert [request.connection for request in server.received] == [1, 1, 2]


@pytest.mark.parametrize("closing", [lambda connection: None, resetting], ids=["closed", "reset"])
@pytest.mark.parametrize(("method", "body"), [("POST", b""), ("POST", b"x"), ("PATCH", b""), ("PUT", b"x")])
def test_what_may_do_harm_twice_is_asked_once(method: str, body: bytes, closing: Any) -> None:
    with remote(OK, closing, OK) as server:
        app = Upstream(server.url)
        Call(app).read()
        assert refusal(Call(app, body, REQUEST_METHOD=method)) == BAD
    assert len(server.received) == 2


def test_nothing_is_asked_again_on_a_connection_that_was_fresh() -> None:
    with remote(then()) as server:
        assert refusal(Call(Upstream(server.url))) == BAD
    assert len(server.received) == 1


def test_nothing_is_asked_a_third_time() -> None:
    with remote(OK, then(), then(), OK) as server:
        app = Upstream(server.url)
        Call(app).read()
        assert refusal(Call(app)) == BAD
    assert len(server.received) == 3


MALFORMED = {
    "nothing": b"",
    "no HTTP": b"SSH-2.0-OpenSSH\r\n\r\n",
    "HTTP/0.9": b"hello",
    "HTTP/2": b"HTTP/2.0 200 OK\r\n\r\n",
    "no status": b"HTTP/1.1\r\n\r\n",
    "odd status": b"HTTP/1.1 2000 OK\r\n\r\n",
    "half a head": b"HTTP/1.1 200 OK\r\nX: y\r\n",
    "no header": HEAD + b"no colon here\r\nContent-Length: 0\r\n\r\n",
    "no name": HEAD + b": x\r\nContent-Length: 0\r\n\r\n",
    "begun with half a header": b"HTTP/1.1 200 OK\r\n x\r\nContent-Length: 0\r\n\r\n",
    "of a mailbox": HEAD + b"From x\r\nContent-Length: 0\r\n\r\n",
    "begun with a mailbox": b"HTTP/1.1 200 OK\r\nFrom x\r\nContent-Length: 0\r\n\r\n",
    "illegal name": HEAD + b"X Y: z\r\nContent-Length: 0\r\n\r\n",
    "a bare CR": HEAD + b"X: a\rSet-Cookie: b=c\r\nContent-Length: 0\r\n\r\n",
    "two CR": HEAD + b"X: a\r\r\nContent-Length: 0\r\n\r\n",
    "a bare CR before a name": HEAD + b"\rX: a\r\nContent-Length: 0\r\n\r\n",
    "a bare CR in the reason": b"HTTP/1.1 200 O\rX: a\r\nContent-Length: 0\r\n\r\n",
    "a bare CR before": b"HTTP/1.1 103 Early Hints\r\nX: a\rb\r\n\r\n" + HELLO,
    "a line's end to some": HEAD + b"X: a\x0bb\r\nContent-Length: 0\r\n\r\n",
    "signed status": b"HTTP/1.1 +200 OK\r\nContent-Length: 0\r\n\r\n",
    "status in groups": b"HTTP/1.1 2_0_0 OK\r\nContent-Length: 0\r\n\r\n",
    "status behind a tab": b"HTTP/1.1\t200 OK\r\nContent-Length: 0\r\n\r\n",
    "another minor version": b"HTTP/1.12 200 OK\r\nContent-Length: 0\r\n\r\n",
    "illegal value": HEAD + b"X: \0\r\nContent-Length: 0\r\n\r\n",
    "two lengths": HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
    "two lengths in one": HEAD + b"Content-Length: 2, 2\r\n\r\nxx",
    "chunks of chunks": HEAD + b"Transfer-Encoding: chunked, chunked\r\n\r\n" + LAST_CHUNK,
    "chunks and chunks": HEAD + b"Transfer-Encoding: chunked\r\n" * 2 + b"\r\n" + LAST_CHUNK,
    "chunks to some": HEAD + b"Transfer-Encoding: chunked \r\nContent-Length: 2\r\n\r\nxx",
    "length of letters": HEAD + b"Content-Length: x\r\n\r\nxx",
    "unknown coding": HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\nxx",
    "long line": HEAD + b"X: " + b"x" * 70_000 + b"\r\n\r\n",
    "many headers": HEAD + b"X: y\r\n" * 200 + b"\r\n",
    "another protocol": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
}


@pytest.mark.parametrize("answer", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_answer_is_a_bad_gateway(answer: bytes) -> None:
    with remote(then(answer)) as server:
        assert refusal(Call(Upstream(server.url))) == BAD


def test_a_server_that_is_not_there_is_a_bad_gateway(caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    assert refusal(Call(Upstream(url), PATH_INFO="/secret", HTTP_AUTHORIZATION="Bearer secret")) == BAD
    assert [record.getMessage() for record in caplog.records] == [
        f"the upstream {url} has not answered: Connection refused"
    ]


def test_a_name_that_is_not_known_is_a_bad_gateway() -> None:
    assert refusal(Call(Upstream("http://no-such-host.invalid"))) == BAD


def dripping(first: bytes, part: bytes) -> Answer:
    """Send the first, and then this again and again, until the other side closes."""

    def answer(connection: socket.socket) -> None:
        connection.sendall(first)
        connection.settimeout(SHORT / 10)
        while True:
            try:
                connection.recv(1)
                return
            except TimeoutError:
                connection.sendall(part)

    return answer


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(dripping(HEAD, b"X"), id="a name without an end"),
        pytest.param(dripping(HEAD, b"X: y\r\n"), id="headers without an end"),
        pytest.param(dripping(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"), id="announcements without an end"),
    ],
)
def test_a_head_that_drips_is_too_late(answer: Answer) -> None:
    with remote(answer) as server:
        assert refusal(Call(Upstream(server.url, timeout=SHORT))) == LATE


def test_an_answer_that_does_not_come_is_too_late(caplog: pytest.LogCaptureFixture) -> None:
    with remote(held()) as server:
        assert refusal(Call(Upstream(server.url, timeout=SHORT))) == LATE
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


def test_a_server_that_takes_no_body_is_too_late() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        app = Upstream(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=SHORT)
        assert refusal(Call(app, b"x" * 50_000_000, REQUEST_METHOD="POST")) == LATE


def test_a_body_that_drips_is_no_fault() -> None:
    sent = threading.Event()

    def answer(connection: socket.socket) -> None:
        connection.sendall(HEAD + b"Content-Length: 20\r\n\r\n")
        for _ in range(20):
            sent.wait(SHORT / 8)
            connection.sendall(b"x")

    with remote(answer) as server:
        assert Call(Upstream(server.url, timeout=SHORT)).read() == b"x" * 20  # which took 2.5 times as long


CUT_SHORT = {
    "length": then(HEAD + b"Content-Length: 10\r\n\r\nhello"),
    "no byte of it": then(HEAD + b"Content-Length: 10\r\n\r\n"),
    "in a chunk": then(CHUNKED + b"a\r\nhello"),
    "before a chunk": then(CHUNKED + b"5\r\nhello\r\n"),
    "in the size of a chunk": then(CHUNKED + b"5\r\nhello\r\nf"),
    "no chunk": then(CHUNKED + b"5\r\nhello\r\nzzz\r\n"),
    "size with a sign": then(CHUNKED + b"+5\r\nhello\r\n" + LAST_CHUNK),
    "size in Python": then(CHUNKED + b"0x5\r\nhello\r\n" + LAST_CHUNK),
    "size in groups": then(CHUNKED + b"0_5\r\nhello\r\n" + LAST_CHUNK),
    "a bare CR in what trails": then(CHUNKED + b"5\r\nhello\r\n0\r\nX: a\rb\r\n\r\n"),
    "reset": then(HEAD + b"\r\nhello", after=resetting),
    "what trails drips": dripping(CHUNKED + b"5\r\nhello\r\n0\r\n", b"X: y\r\n"),
    "stalled": held(HEAD + b"Content-Length: 10\r\n\r\nhello"),
}


@pytest.mark.parametrize("answer", CUT_SHORT.values(), ids=CUT_SHORT)
def test_an_answer_that_is_cut_short_is_not_ended(answer: Answer, caplog: pytest.LogCaptureFixture) -> None:
    with remote(answer, OK) as server:
        app = Upstream(server.url, timeout=SHORT)
        call = Call(app)
        with pytest.raises(ConnectionResetError) as caught:
            call.read()
        assert caught.value.errno == errno.ECONNRESET
        assert len(caplog.records) == 1
        assert caplog.messages[0].startswith(f"the upstream {server.url} has cut its answer short: ")
        assert Call(app).read() == b"ok"
        assert server.connections == 2


def test_a_client_that_goes_away_closes_the_connection() -> None:
    closed = threading.Event()

    def answer(connection: socket.socket) -> None:
        connection.sendall(HEAD + b"Content-Length: 10\r\n\r\nhello")
        assert connection.recv(1) == b""
        closed.set()

    with remote(answer, OK) as server:
        app = Upstream(server.url)
        call = Call(app)
        assert [next(call.pieces), next(call.pieces)] == [b"", b"hello"]
        call.close()
        assert closed.wait(PATIENCE)
        assert Call(app).read() == b"ok"
        assert server.connections == 2


def test_a_client_that_goes_away_in_its_body_leaves_it_unfinished() -> None:
    class Gone(io.RawIOBase):
        parts = iter([b"begun"])

        def read(self, size: int = -1, /) -> bytes:
            for part in self.parts:
                return part
            raise OSError("gone")

    with remote() as server:
        call = Call(Upstream(server.url), Gone(), REQUEST_METHOD="POST")
        assert refusal(call) == ("400 Bad Request", b'{"error": "Bad Request", "code": "incomplete_body"}')
        until(lambda: server.received or None, lambda: "nothing came")
    assert (server.request.is_whole, server.request.body) == (False, b"begun")


REFUSED = b"HTTP/1.1 413 Too Large\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nno"


@pytest.fixture
def tls(tmp_path: Path) -> ssl.SSLContext:
    """What a server on 127.0.0.1 needs for TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(self_signed(tmp_path))
    return context


def test_a_certificate_that_is_vouched_for_is_good(
    tls: ssl.SSLContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "server.pem"))
    with remote(tls=tls) as server:
        app = Upstream(server.url)
        bodies = [Call(app, b"x" * 100_000, REQUEST_METHOD="POST").read() for _ in range(3)]
    assert bodies == [b"ok"] * 3
    assert [(request.connection, len(request.body)) for request in server.received] == [(1, 100_000)] * 3


def test_a_certificate_that_nobody_vouches_for_is_a_bad_gateway(
    tls: ssl.SSLContext, caplog: pytest.LogCaptureFixture
) -> None:
    with remote(tls=tls) as server:
        assert refusal(Call(Upstream(server.url), HTTP_AUTHORIZATION="Bearer secret")) == BAD
    assert not server.received
    assert "CERTIFICATE_VERIFY_FAILED" in caplog.text


def test_a_connection_through_tls_on_which_more_has_come_is_not_kept(
    tls: ssl.SSLContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "server.pem"))
    body = b"x" * 12_000  # more than a buffer holds, and with the head less than TLS sends in one record
    with remote(HEAD + b"Content-Length: 12000\r\n\r\n" + body + EVIL, OK, tls=tls) as server:
        app = Upstream(server.url)
        assert Call(app).read() == body
        assert Call(app).read() == b"ok"
        assert server.connections == 2


class Endless(io.RawIOBase):
    """A body without an end, which counts what was read of it."""

    had = 0

    def read(self, size: int = -1, /) -> bytes:
        self.had += size
        return b"x" * size


@pytest.fixture
def impatient() -> Iterator[Callable[[bytes], str]]:
    """Return a function that starts a server which reads a head, sends something, and reads no more."""
    threads: list[threading.Thread] = []
    done = threading.Event()

    def start(answer: bytes) -> str:
        listener = socket.create_server(("127.0.0.1", 0))

        def serve() -> None:
            with listener, listener.accept()[0] as connection:
                connection.recv(1000)
                connection.sendall(answer)
                done.wait(PATIENCE)

        threads.append(threading.Thread(target=serve))
        threads[-1].start()
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    yield start
    done.set()
    for thread in threads:
        thread.join()


def test_no_plain_answer_takes_the_place_of_one_through_tls(impatient: Callable[[bytes], str]) -> None:
    assert refusal(Call(Upstream(impatient(OK).replace("http:", "https:")))) == BAD


def test_a_refusal_that_comes_before_the_end_of_the_body_comes_back(
    impatient: Callable[[bytes], str],
) -> None:
    app = Upstream(impatient(REFUSED))
    call = Call(app, Endless(), REQUEST_METHOD="POST")
    assert (call.status, call.read()) == ("413 Too Large", b"no")
    assert not app._connections._idle


def test_a_server_that_refuses_and_closes_is_heard() -> None:
    def answer(listener: socket.socket) -> None:
        with listener.accept()[0] as connection:
            connection.recv(1000)
            connection.sendall(REFUSED)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer, args=(listener,))
        thread.start()
        call = Call(
            Upstream(f"http://127.0.0.1:{listener.getsockname()[1]}"), Endless(), REQUEST_METHOD="PUT"
        )
        thread.join()
        assert (call.status, call.read()) == ("413 Too Large", b"no")


@pytest.mark.parametrize("head", [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 200 OK\r\n", b"HTT"])
def test_what_is_no_refusal_does_not_end_the_body(head: bytes, impatient: Callable[[bytes], str]) -> None:
    body = Endless()
    assert refusal(Call(Upstream(impatient(head), timeout=SHORT), body, REQUEST_METHOD="POST")) == LATE
    assert body.had > 200_000


def test_a_kept_connection_is_not_anothers_after_a_fork() -> None:
    with remote() as server:
        app = Upstream(server.url)
        Call(app).read()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # there are threads, which need no lock here
            child = os.fork()
        if child == 0:
            code = 1
            try:
                code = 0 if Call(app).read() == b"ok" else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert Call(app).read() == b"ok"
    assert [request.connection for request in server.received] == [1, 2, 1]


def test_threads_have_connections_of_their_own() -> None:
    with remote() as server:
        app = Upstream(server.url)
        bodies: list[bytes] = []

        def ask() -> None:
            bodies.extend(Call(app, PATH_INFO=f"/{threading.get_ident()}").read() for _ in range(50))

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert bodies == [b"ok"] * 400
        assert 1 <= server.connections <= 8


def test_no_more_connections_are_kept_than_that() -> None:
    with remote() as server:
        connections = Connections(server.url, PATIENCE)
        opened = [connections.fresh() for _ in range(Connections.MOST_IDLE + 1)]
        for connection in opened:
            connection.connect()
            connections.keep(connection)
        assert [connection.is_closed for connection in opened] == [False] * Connections.MOST_IDLE + [True]
        connections.begin_anew()
        assert all(connection.is_closed for connection in opened)


def test_nothing_is_opened_before_the_first_request() -> None:
    with remote() as server:
        Upstream(server.url)
        assert server.connections == 0


@pytest.mark.parametrize(
    "url", ["", "ftp://x", "//x", "http://", "http://a@x", "http://x?a", "http://x/../y", "http://x:99999"]
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="it must be an http:// or https:// address"):
        Upstream(url)


def test_an_injected_name_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match="'a b' is injected; it must be a header's name"):
        Upstream("http://x", injected=("uid", "a b"))


SPELLINGS = (
    "uid",
    "UID",
    "u-id",
    "u.id",
    "U_ID",
    "X-Refreshed-Token",
    "x.refreshed-token",
    "XRefreshedToken",
)


@pytest.mark.parametrize("public", [True, False])
def test_no_spelling_of_a_client_reaches_the_server(public: bool) -> None:
    with remote() as server:
        guarded = Guarded(Upstream(server.url), public_paths=("/pub",))
        token = guarded.clock.create(uid=12)
        spoofed = {name: "evil" for name in SPELLINGS if public or name.lower() != "uid"}
        sent = {"Authorization": f"Bearer {token}"} | ({} if public else {"uid": "12"}) | spoofed
        answer = guarded.send("/pub" if public else "/x", sent | {"Connection": "uid, X-Refreshed-Token"})
    assert answer.status == "200 OK"
    request = server.request
    assert "evil" not in [value for _, value in request.fields]
    assert (request.all("uid"), request.all("X-Refreshed-Token")) == (
        ([], []) if public else (["12"], [token])
    )


def test_the_setting_puts_the_gateway_in_front_of_the_server() -> None:
    with remote() as server:
        settings = Settings(token_key=KEY, upstream=f"{server.url}/base", token_header="X-Next")
        client = webtest.TestApp(build(settings))
        assert client.get("/x", status=400).json["code"] == "missing_credentials"
        client.get("/", status=400)  # it has no public paths of its own, as the demo has
        token = TokenCreator(settings).create(uid=12)
        assert client.get("/x", headers={"Authorization": f"Bearer {token}", "uid": "12"}).body == b"ok"
    assert (server.request.target, server.request.one("X-Next")) == ("/base/x", token)


def test_the_settings_say_how_long_to_wait_and_whom_to_believe() -> None:
    with remote(OK, held()) as server:
        settings = Settings(
            token_key=KEY,
            upstream=server.url,
            upstream_timeout_sec=SHORT,
            trusted_proxies=("192.0.2.0/24",),
            public_paths=("/*",),
        )
        client = webtest.TestApp(build(settings), extra_environ={"REMOTE_ADDR": "192.0.2.1"})
        client.get("/", headers={"X-Forwarded-For": "198.51.100.7"})
        client.get("/", status=504)
    assert server.received[0].one("X-Forwarded-For") == "198.51.100.7, 192.0.2.1"
