"""A server elsewhere as an ordinary WSGI app (PEP 3333)."""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterable, Iterator
from http.client import HTTPException
from urllib.parse import urlsplit
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from urllib3.connection import HTTPConnection
from urllib3.exceptions import HTTPError
from urllib3.response import BaseHTTPResponse

from gateway import kinds, table
from gateway.connections import Connections, sent
from gateway.errors import ConfigError
from gateway.forwarding import (
    PIECE_BYTES,
    Forwarding,
    IncompleteBodyError,
    MalformedAnswerError,
    Request,
    returned,
)
from gateway.headers import is_legal
from gateway.proxies import TrustedProxies
from gateway.rejections import Rejection

_log = logging.getLogger("gateway")

BAD_GATEWAY = Rejection("bad_gateway", 502, "Bad Gateway")
GATEWAY_TIMEOUT = Rejection("gateway_timeout", 504, "Gateway Timeout")
INCOMPLETE_BODY = Rejection("incomplete_body", 400, "Bad Request")

_FAILURES = (OSError, HTTPException, HTTPError, MalformedAnswerError)


class Upstream:
    """Hands requests on to a server, and its answers back, both as they come and of any size.

        app = Upstream("http://127.0.0.1:9000/base")

    Args:
        url: where it is; a path in it stands before that of every request.
        timeout: seconds to connect, for the complete head of an answer, and between two parts of a body.
        injected: names of the headers that the gateway sets for the app.
        proxies: whose X-Forwarded-* headers are believed; nobody's unless given.

    Raises:
        ConfigError: the address or an injected name is none.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float = 30.0,
        injected: Iterable[str] = ("uid", "X-Refreshed-Token"),
        proxies: TrustedProxies | None = None,
    ) -> None:
        _check(url, injected := tuple(injected))
        self._url = url
        base = urlsplit(url).path.rstrip("/")
        self._forwarding = Forwarding(base, injected, proxies or TrustedProxies(()))
        self._connections = Connections(url, timeout)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request with what the server answers, or with why it does not."""
        request = self._forwarding.request(environ)
        answer = self._answer(request) if isinstance(request, Request) else request
        return answer(environ, start_response)

    def _answer(self, request: Request) -> WSGIApplication:
        try:
            return self._ask(request)
        except IncompleteBodyError:
            return INCOMPLETE_BODY
        except _FAILURES as error:
            self.complain("has not answered", error)
            return GATEWAY_TIMEOUT if isinstance(_cause(error), TimeoutError) else BAD_GATEWAY

    def _ask(self, request: Request) -> _Answer:
        """Ask the server; twice where a kept connection turns out to be closed, and that does no harm."""
        connection = self._connections.take()
        may_be_repeated = not connection.is_closed and request.is_repeatable
        try:
            return self._exchange(connection, request)
        except ConnectionError:
            if not may_be_repeated:
                raise
        return self._exchange(self._connections.fresh(), request)

    def _exchange(self, connection: HTTPConnection, request: Request) -> _Answer:
        try:
            whole = sent(connection, request)
            response = connection.getresponse()
            head = returned(response.status, response.reason or "", response.headers.items())
        except BaseException:
            connection.close()
            raise
        return _Answer(self, connection, response, head, is_reusable=whole)

    def keep(self, connection: HTTPConnection) -> None:
        """Keep a connection, on which nothing is on its way, for a later request."""
        self._connections.keep(connection)

    def complain(self, what: str, error: Exception) -> None:
        """Write one line about what is wrong with the server."""
        _log.error("the upstream %s %s: %s", self._url, what, _reason(error))


class _Answer:
    """An answer whose head has come: a WSGI app, called once, and the iterable of its body.

    An answer that is cut short raises, so that the server in front can neither end it as if it were whole
    nor find another answer for it.
    """

    def __init__(
        self,
        upstream: Upstream,
        connection: HTTPConnection,
        response: BaseHTTPResponse,
        head: tuple[str, list[tuple[str, str]]],
        *,
        is_reusable: bool,
    ) -> None:
        self._upstream = upstream
        self._connection = connection
        self._response = response
        self._head = head
        self._is_reusable = is_reusable
        self._is_announced = False
        self._is_closed = False

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Begin the response."""
        start_response(*self._head)
        return self

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        """Return what has come of the body; first nothing, at which most servers send the head."""
        if not self._is_announced:
            self._is_announced = True
            return b""
        try:
            piece = self._response.read1(PIECE_BYTES)
        except _FAILURES as error:
            self._is_reusable = False
            self._upstream.complain("has cut its answer short", error)
            # Servers know this error: they close the connection, and say no more about it.
            raise ConnectionResetError(errno.ECONNRESET, "the upstream's answer is cut short") from error
        if not piece:
            raise StopIteration
        return piece

    def close(self) -> None:
        """Keep the connection, or close it if anything can still come on it."""
        if self._is_closed:  # and the connection another's
            return
        self._is_closed = True
        if self._response.closed and self._is_reusable:
            self._upstream.keep(self._connection)
        else:
            self._response.close()
            self._connection.close()


def _check(url: str, injected: Iterable[str]) -> None:
    faults = (
        [f"the upstream is {table.shown(url)}; it must be {kinds.UPSTREAM.must}"]
        if not _is_address(url)
        else []
    )
    faults += [f"{name!r} is injected; it must be a header's name" for name in injected if not is_legal(name)]
    if faults:
        raise ConfigError(*faults)


def _is_address(url: str) -> bool:
    try:
        kinds.UPSTREAM.parse(url)
    except ValueError:
        return False
    return True


def _cause(error: Exception) -> BaseException:
    """Return what urllib3 has made an error of its own of."""
    return error.__cause__ or error


def _reason(error: Exception) -> str:
    """Return why it failed, without a word of what the server or the client has said."""
    if isinstance(error, MalformedAnswerError):
        return str(error)
    cause = _cause(error)
    return (isinstance(cause, OSError) and cause.strerror) or type(cause).__name__
