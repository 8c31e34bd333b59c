"""Connections to one server: kept open between requests, and never waited for too long."""

from __future__ import annotations

import errno
import io
import re
import socket
import ssl
import time
import weakref
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from email import errors
from http.client import HTTPResponse
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.util import SKIP_HEADER

from gateway import forks
from gateway.forwarding import Body, MalformedAnswerError, Request

if TYPE_CHECKING:
    from collections.abc import Mapping

    from _typeshed import WriteableBuffer

_LINE_DEFECTS = (
    errors.FirstHeaderLineIsContinuationDefect,
    errors.InvalidHeaderDefect,
    errors.MisplacedEnvelopeHeaderDefect,
    errors.MissingHeaderBodySeparatorDefect,
)
# The lines of an answer (RFC 9112 sections 2.2, 4, 5 and 7.1), which http.client takes in many more forms.
# A field may be continued, and an empty one ends them.
_TEXT = rb"[\t\x20-\x7e\x80-\xff]*"
_STATUS = re.compile(rb"HTTP/1\.[0-9] [1-9][0-9]{2}(?: " + _TEXT + rb")?\r?\n")
_FIELD = re.compile(rb"(?:(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+:|[\t ])" + _TEXT + rb")?\r?\n")
_CHUNK = re.compile(rb"[0-9A-Fa-f]{1,15}[\t ]*(?:;" + _TEXT + rb")?\r\n")
_ANNOUNCEMENT = re.compile(rb"HTTP/1\.[0-9] 1")
_LAST_CHUNK = re.compile(rb"0+[^0-9A-Fa-f]")
_REFUSAL = re.compile(rb"HTTP/1\.[01] [3-5]")
_REFUSAL_BYTES = len("HTTP/1.1 4")


class _Incoming(io.RawIOBase):
    """What a socket receives: the head of an answer by a deadline and whole, its body part for part."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._raw = sock.makefile("rb", buffering=0)
        self._timeout = cast("float", sock.gettimeout())  # each connection here has one
        self._deadline: float | None = None
        self._is_over = False

    def makefile(self, mode: str) -> io.BufferedReader:
        """Return a buffered reader, as a socket does."""
        return _Lines(self)

    def begin_head(self) -> None:
        """Let all that is read from now on take no longer than otherwise each part of it may."""
        self._deadline = time.monotonic() + self._timeout

    def end_head(self) -> None:
        """Let each part take its time again."""
        self._deadline = None

    def end(self) -> None:
        """Wait for nothing more."""
        self._is_over = True

    def give_up(self) -> None:
        """Close the socket for whoever would use it next."""
        self._sock.close()

    def readable(self) -> bool:
        """Tell that it is read from."""
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int | None:
        """Wait for something, and put it into the buffer."""
        if self._is_over:
            return None
        self._sock.settimeout(self._left())
        count = self._raw.readinto(buffer)
        if count == 0 and self._deadline is not None:  # which http.client would take for its end
            raise ConnectionResetError(errno.ECONNRESET, "closed before the head of an answer was complete")
        return count

    def _left(self) -> float:
        if self._deadline is None:
            return self._timeout
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left

    def close(self) -> None:
        """Let go of the socket."""
        super().close()
        self._raw.close()


class _Lines(io.BufferedReader):
    """The same with a buffer: each line that is read of it must be one that can come next.

    What comes behind the answer is nobody's, so that with any of it here the socket is given up.
    """

    def __init__(self, incoming: _Incoming) -> None:
        super().__init__(incoming)
        self._incoming = incoming
        self._expected = self._behind_a_head = _STATUS

    def readline(self, size: int | None = -1, /) -> bytes:
        """Return a line of a head, the size of a chunk, or a line of what trails the last one.

        Raises:
            MalformedAnswerError: it is none; otherwise a CR alone would be an end to some and to others not.
        """
        line = super().readline(size)
        if line and not self._expected.fullmatch(line):
            raise MalformedAnswerError("a line of its head or the size of a chunk is none")
        self._expected = self._behind(line)
        return line

    def _behind(self, line: bytes) -> re.Pattern[bytes]:
        """Return what comes behind a line."""
        if self._expected is _STATUS:
            self._behind_a_head = _STATUS if _ANNOUNCEMENT.match(line) else _CHUNK
            return _FIELD
        if self._expected is _FIELD:
            return _FIELD if line.strip(b"\r\n") else self._behind_a_head
        if not _LAST_CHUNK.match(line):
            return _CHUNK
        self._incoming.begin_head()  # what trails is as a head is, in its time too
        return _FIELD

    def close(self) -> None:
        """Let go of the socket, and close it where more is here than was read."""
        if not self.closed:
            self._incoming.end()
            if self.peek():
                self._incoming.give_up()
        super().close()


class _Response(HTTPResponse):
    """The answer to a request: its head must be complete in time, however slowly its bytes drip in."""

    def __init__(self, sock: socket.socket, *args: Any, **options: Any) -> None:
        self._incoming = _Incoming(sock)
        super().__init__(cast("socket.socket", self._incoming), *args, **options)

    def begin(self) -> None:
        """Read the head of the answer, and pass over those that announce it (RFC 9110 section 15.2)."""
        self._incoming.begin_head()
        super().begin()
        while self.status < 200:  # noqa: PLR2004
            if self.status == 101:  # noqa: PLR2004
                raise MalformedAnswerError("it changes the protocol, though nobody has asked")
            self.headers = self.msg = None  # type: ignore[assignment] # it has not begun, so to say
            super().begin()
        self._check_head()
        self._incoming.end_head()
        self.will_close = self.will_close or self._may_be_misread()
        if self.length == 0:
            self.chunked = False  # there is no body, whatever its head says (RFC 9112 section 6.3)

    def _check_head(self) -> None:
        """Refuse a head of which lines were passed over.

        It is read as that of a mail, so that there may be defects of the body too, which it does not have:
        with them left in, urllib3 would write the address that was asked for into its log.
        """
        if any(isinstance(defect, _LINE_DEFECTS) for defect in self.msg.defects):
            raise MalformedAnswerError("a line of its head is no header")
        if "Transfer-Encoding" in self.headers and not self.chunked:
            raise MalformedAnswerError("its transfer coding is another than chunked")
        self.msg.defects.clear()

    def _may_be_misread(self) -> bool:
        """Tell whether the server may mean more to belong to the answer (RFC 9112 sections 6.1 and 6.3).

        That is so with two lengths, with chunks in HTTP/1.0, and where an answer that has no body by its
        status or to its method speaks of one: many a server sends it all the same.
        """
        is_coded, length = "Transfer-Encoding" in self.headers, self.headers.get("Content-Length")
        if self.length == 0:
            return is_coded or length not in {None, "0"}
        return is_coded and (length is not None or self.version == 10)  # noqa: PLR2004


class _Plain(HTTPConnection):
    response_class = _Response


class _Secure(HTTPSConnection):
    response_class = _Response


class Connections:
    """Makes connections to a server, and keeps some of them for the next requests.

    Args:
        url: where it is; a path in it does not matter.
        timeout: seconds to connect, for the head of an answer and for each part of a body.
    """

    MOST_IDLE = 64

    def __init__(self, url: str, timeout: float) -> None:
        parts = urlsplit(url)
        self._host = parts.hostname or ""
        self._port = parts.port
        self._is_secure = parts.scheme == "https"
        self._timeout = timeout
        self._idle: deque[HTTPConnection] = deque()
        self.begin_anew()
        forks.begin_anew_after(self)
        weakref.finalize(self, _close_all, self._idle)

    def begin_anew(self) -> None:
        """Leave the connections to the process from which this one was forked."""
        _close_all(self._idle)  # which ends nothing: the other process has them open still
        self._tls: ssl.SSLContext | None = None

    def take(self) -> HTTPConnection:
        """Return a connection that is open as far as one can tell, or a fresh one."""
        with suppress(IndexError):
            while True:
                connection = self._idle.pop()
                if _is_quiet(connection):
                    return connection
                connection.close()
        return self.fresh()

    def fresh(self) -> HTTPConnection:
        """Return a connection that is yet to be opened."""
        if not self._is_secure:
            return _Plain(self._host, self._port, timeout=self._timeout)
        self._tls = self._tls or ssl.create_default_context()
        return _Secure(self._host, self._port, timeout=self._timeout, ssl_context=self._tls)

    def keep(self, connection: HTTPConnection) -> None:
        """Keep a connection, on which nothing is on its way, for a later request."""
        if _is_quiet(connection) and len(self._idle) < self.MOST_IDLE:
            self._idle.append(connection)
        else:
            connection.close()


def _is_quiet(connection: HTTPConnection) -> bool:
    """Tell whether a connection is open and nothing has come that nobody has asked for."""
    sock = connection.sock
    if sock is None or sock.fileno() < 0 or not connection.is_connected:
        return False
    return not (isinstance(sock, ssl.SSLSocket) and sock.pending())


def _close_all(connections: deque[HTTPConnection]) -> None:
    while connections:
        connections.pop().close()


def sent(connection: HTTPConnection, request: Request) -> bool:
    """Send a request. Returns whether all of it is sent; if not, the server may have answered all the same.

    Raises:
        IncompleteBodyError: the client has not sent all of its body.
    """
    if connection.is_closed:
        connection.connect()
    body = request.body
    try:
        connection.request(
            request.method,
            request.target,
            None if body is None else _until_refused(connection, body),
            _on_the_wire(request.headers),
            chunked=body is not None and body.length is None,
            preload_content=False,
            decode_content=False,
        )
    except (_RefusedError, BrokenPipeError, ConnectionResetError):
        return False
    return True


class _RefusedError(Exception):
    """The server has refused a request before it had the whole of it."""


def _until_refused(connection: HTTPConnection, body: Body) -> Iterator[bytes]:
    for piece in body:
        if _refuses(connection):
            raise _RefusedError
        yield piece


def _refuses(connection: HTTPConnection) -> bool:
    """Tell whether an answer has come that wants no more of the body; through TLS nobody can look at it."""
    sock = connection.sock
    if connection.is_connected or isinstance(sock, ssl.SSLSocket):
        return False
    return _REFUSAL.match(sock.recv(_REFUSAL_BYTES, socket.MSG_PEEK)) is not None


def _on_the_wire(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Return headers in bytes, for text may be the mark by which urllib3 is told to leave a header out.

    That is so told here, lest it adds a User-Agent and an Accept-Encoding of its own; no client tells it.
    """
    own: dict[str, str | bytes] = {"User-Agent": SKIP_HEADER, "Accept-Encoding": SKIP_HEADER}
    own |= {name: value.encode("latin-1") for name, value in headers.items()}
    return cast("Mapping[str, str]", own)
