"""A request as a server makes it, and the time that an app takes over many of them."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from itertools import islice, repeat
from time import perf_counter
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

# Takes a number of calls, and returns the seconds that they took together.
Timer = Callable[[int], float]
# The values of two headers as they come off the wire: the one with the token in it, and `uid`.
Sent = tuple[bytes, bytes]

AUTHORIZATION = "HTTP_AUTHORIZATION"
BODY = b"ok\n"
_ANSWER_HEADERS = [("Content-Type", "text/plain"), ("Content-Length", str(len(BODY)))]
# 21 keys; the two headers of a `Sent` make it 23.
_ENVIRON: WSGIEnvironment = {
    "wsgi.version": (1, 0),
    "wsgi.url_scheme": "http",
    "wsgi.input": io.BytesIO(),
    "wsgi.errors": io.StringIO(),
    "wsgi.multithread": False,
    "wsgi.multiprocess": False,
    "wsgi.run_once": False,
    "wsgi.file_wrapper": list,
    "SERVER_SOFTWARE": "bench",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "SERVER_NAME": "127.0.0.1",
    "SERVER_PORT": "8000",
    "REMOTE_ADDR": "127.0.0.1",
    "REMOTE_PORT": "40000",
    "REQUEST_METHOD": "GET",
    "SCRIPT_NAME": "",
    "PATH_INFO": "/",
    "QUERY_STRING": "",
    "HTTP_HOST": "127.0.0.1:8000",
    "HTTP_USER_AGENT": "bench",
    "HTTP_ACCEPT": "*/*",
}


def app(_environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    """Answer a few bytes: the least that an app can do."""
    start_response("200 OK", list(_ANSWER_HEADERS))
    return [BODY]


def bearer(token: str, uid: int = 12) -> Sent:
    """Return what a client sends with a token."""
    return f"Bearer {token}".encode("ascii"), b"%d" % uid


def same(sent: Sent) -> Iterator[Sent]:
    """Send the same for ever."""
    return repeat(sent)


def tampered(token: str) -> str:
    """Return the token with the first letter of its signature changed."""
    signed, _, signature = token.rpartition(".")
    return f"{signed}.{'B' if signature[0] == 'A' else 'A'}{signature[1:]}"


def timer(
    app: WSGIApplication,
    source: Iterator[Sent],
    *,
    status: int = 200,
    key: str = AUTHORIZATION,
    path: str = "/",
) -> Timer:
    """Return what times calls of an app, after it has answered one as it should.

    Each call has an environ of its own, with header values that were never hashed before, and its answer
    is read to its end and closed.

    Args:
        app: what is called.
        source: the headers of the calls to come.
        status: the status that the first call must be answered with.
        key: the key of the environ under which the first header comes.
        path: the path that is asked for.

    Raises:
        RuntimeError: the first call is answered with another status, so that the rest would be of no worth.
    """
    template = {**_ENVIRON, "PATH_INFO": path}
    must_answer(app, next(source), status, key=key, path=path)

    def timed(loops: int) -> float:
        began = perf_counter()
        for first, uid in islice(source, loops):
            environ = template.copy()
            environ[key] = first.decode("latin-1")
            environ["HTTP_UID"] = uid.decode("latin-1")
            answer = app(environ, _start_response)
            for _ in answer:
                pass
            close = getattr(answer, "close", None)
            if close is not None:
                close()
        return perf_counter() - began

    return timed


def must_answer(
    app: WSGIApplication, sent: Sent, status: int, *, key: str = AUTHORIZATION, path: str = "/"
) -> dict[str, str]:
    """Return the headers that an app answers with.

    Raises:
        RuntimeError: the status is another.
    """
    headers = {key: sent[0].decode("latin-1"), "HTTP_UID": sent[1].decode("latin-1")}
    return _answered(app, {**_ENVIRON, **headers, "PATH_INFO": path}, status)


def post(
    app: WSGIApplication, path: str, status: int, *, body: bytes = b"", extra: Mapping[str, str]
) -> None:
    """Post a body, with further keys of the environ.

    Raises:
        RuntimeError: the answer is not of the status that it should be.
    """
    posted = {"REQUEST_METHOD": "POST", "PATH_INFO": path, "CONTENT_LENGTH": str(len(body))}
    _answered(app, {**_ENVIRON, **posted, "wsgi.input": io.BytesIO(body), **extra}, status)


def _answered(app: WSGIApplication, environ: WSGIEnvironment, status: int) -> dict[str, str]:
    started: list[tuple[str, list[tuple[str, str]]]] = []

    def start_response(
        line: str, headers: list[tuple[str, str]], _: object = None
    ) -> Callable[[bytes], None]:
        started.append((line, headers))
        return _write

    body = b"".join(app(environ, start_response))
    line, answered = started[-1]
    if not line.startswith(f"{status} "):
        raise RuntimeError(f"{status} was to come, not {line}: {body[:200]!r}")
    return dict(answered)


def _start_response(
    _status: str, _headers: list[tuple[str, str]], _exc_info: object = None
) -> Callable[[bytes], None]:
    return _write


def _write(_data: bytes) -> None:
    """What PEP 3333 wants returned, and no app here calls."""
