"""What of a request goes on to another server, and what of its answer comes back (RFC 9110 section 7.6)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from http.client import responses
from typing import NamedTuple
from urllib.parse import quote
from wsgiref.types import InputStream, WSGIEnvironment

from gateway.headers import environ_key, fold, is_legal
from gateway.proxies import UNIX, TrustedProxies
from gateway.rejections import Rejection

PIECE_BYTES = 64 * 1024  # of a body, held at a time

UPGRADE_NOT_SUPPORTED = Rejection("upgrade_not_supported", 501, "Not Implemented")
MALFORMED_REQUEST = Rejection("malformed_request", 400, "Bad Request")
LENGTH_REQUIRED = Rejection("length_required", 411, "Length Required")
UNKNOWN_CODING = Rejection("unknown_coding", 501, "Not Implemented")
METHOD_NOT_SUPPORTED = Rejection("method_not_supported", 501, "Not Implemented")

# RFC 9110 section 9.2.2: twice is as good as once.
_IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
_LENGTH = re.compile(r"[0-9]{1,18}")
# RFC 3986 section 3.3, and behind a backslash, which some servers take for a slash
_DOT_SEGMENT = re.compile(r"[/\\]\.\.?(?![^/\\])")
_FOLD = re.compile(r"\r?\n[\t ]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")  # RFC 9110 section 5.5, with obs-text
# What stands for itself: of a path (RFC 3986 section 3.3) without the `;`, behind which some servers read
# parameters that are no part of the path; of a query all that is visible, as it came.
_PLAIN_IN_PATH = "/-._~!$&'()*+,=:@"
_PLAIN_IN_QUERY = "".join(map(chr, range(0x21, 0x7F))).replace("#", "")


def _folded(names: str) -> frozenset[str]:
    return frozenset(map(fold, names.split()))


_HOP_BY_HOP = _folded("""
    Connection Keep-Alive Proxy-Authenticate Proxy-Authorization Proxy-Connection TE Trailer Trailers
    Transfer-Encoding Upgrade
""")  # RFC 9110 section 7.6.1, and what was one before
_NOT_RETURNED = _HOP_BY_HOP | _folded("Content-Length")  # which is said anew, once
_SAID_ANEW = _folded("Host Content-Length Content-Type")
# A CGI program would take `Proxy` for its variable HTTP_PROXY (CVE-2016-5385); `Expect` is answered by the
# server in front.
_MEANT_FOR_US = _folded("Proxy Expect")
# What only a proxy may say, and who does not set it lets a client say it: all of X-Forwarded-…, and these.
_FORWARDED = "XFORWARDED"
_CLAIMED = _folded("""
    Forwarded X-Real-IP X-Client-IP X-Cluster-Client-IP True-Client-IP Client-IP X-Original-Method
    X-Original-URI X-Original-URL X-Rewrite-URL
""")
# What some servers believe of anyone on loopback, and then call his connection secure.
_SCHEME_KEYS = frozenset({"HTTP_X_FORWARDED_PROTO", "HTTP_X_FORWARDED_PROTOCOL", "HTTP_X_FORWARDED_SSL"})
# What is believed of a trusted proxy.
_BELIEVED = {
    environ_key(name): name
    for name in (
        "X-Forwarded-For",
        "X-Forwarded-Host",
        "X-Forwarded-Port",
        "X-Forwarded-Prefix",
        "X-Forwarded-Proto",
    )
}


class IncompleteBodyError(Exception):
    """The client has not sent all of its body, or not as HTTP wants it."""


class MalformedAnswerError(Exception):
    """The answer is not HTTP, or could be read in two ways."""


class Body:
    """The body of a request, read a piece at a time and once.

    Args:
        stream: `wsgi.input`.
        length: its length in bytes, None where the stream ends with it.
    """

    def __init__(self, stream: InputStream, length: int | None) -> None:
        self._stream = stream
        self.length = length

    def __iter__(self) -> Iterator[bytes]:
        left = self.length
        while left is None or left > 0:
            piece = self._read(PIECE_BYTES if left is None else min(PIECE_BYTES, left))
            if not piece:
                break
            left = None if left is None else left - len(piece)
            yield piece
        if left:
            raise IncompleteBodyError

    def _read(self, size: int) -> bytes:
        try:
            return self._stream.read(size)
        except Exception as error:  # of the server in front, each has its own
            raise IncompleteBodyError from error


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it goes on; one with a body of unknown length goes in chunks."""

    method: str
    target: str
    headers: dict[str, str]
    body: Body | None

    @property
    def is_repeatable(self) -> bool:
        """Whether it may be sent again when nobody knows what became of it."""
        return self.body is None and self.method in _IDEMPOTENT


class _Passed(NamedTuple):
    name: str
    folded: str


class Forwarding:
    """Makes the requests that go on to one server.

    Args:
        base: the path before all others there, without a slash at its end.
        injected: names of the headers that the gateway sets. Each goes on whatever the client says of its
            connection, and nothing else that is called like it, by its letters and digits alone.
        proxies: whose X-Forwarded-* headers are believed.
    """

    REMEMBERED = 1000  # environ keys of up to LONGEST characters: a client can invent names for ever
    LONGEST = 100

    def __init__(self, base: str, injected: Iterable[str], proxies: TrustedProxies) -> None:
        self._base = base
        self._injected = {environ_key(name): name for name in injected}
        kept_back = _HOP_BY_HOP | _SAID_ANEW | _MEANT_FOR_US | _CLAIMED
        self._kept_back = kept_back | frozenset(map(fold, self._injected.values()))
        self._remembered = lru_cache(self.REMEMBERED)(self._judged)
        self._proxies = proxies

    def request(self, environ: WSGIEnvironment) -> Request | Rejection:
        """Return what goes on of a request, or the answer to one that cannot."""
        method = environ["REQUEST_METHOD"]
        if "HTTP_UPGRADE" in environ or method == "CONNECT":  # which asks for a tunnel as well
            return UPGRADE_NOT_SUPPORTED
        if method == "TRACE" or _is_meant_for_us(environ):  # TRACE would show what the gateway injects
            return METHOD_NOT_SUPPORTED
        body = _body(environ)
        if isinstance(body, Rejection):
            return body
        target = self._target(environ)
        headers = self._headers(environ)
        if not (is_legal(method) and target and all(map(_VALUE.fullmatch, headers.values()))):
            return MALFORMED_REQUEST
        if body is not None and body.length is not None:
            headers["Content-Length"] = str(body.length)
        return Request(method, target, headers, body if body is not None and body.length != 0 else None)

    def _target(self, environ: WSGIEnvironment) -> str | None:
        """Return the path that was judged, and the query (RFC 9112 section 3.2.1); None for none.

        With a base, a path of `.` or `..` segments is none: it could lead out of there.
        """
        path, query = environ.get("PATH_INFO", ""), environ.get("QUERY_STRING", "")
        if (path and not path.startswith("/")) or (self._base and _DOT_SEGMENT.search(path)):
            return None
        target = self._base + quote(path.encode("latin-1"), _PLAIN_IN_PATH) or "/"
        return f"{target}?{quote(query.encode('latin-1'), _PLAIN_IN_QUERY)}" if query else target

    def _headers(self, environ: WSGIEnvironment) -> dict[str, str]:
        named = _options(environ.get("HTTP_CONNECTION", ""))
        headers = {
            passed.name: value
            for key, value in environ.items()
            if (passed := self._passed(key)) is not None and passed.folded not in named
        }
        for key, name in (("HTTP_HOST", "Host"), ("CONTENT_TYPE", "Content-Type")):
            if environ.get(key):
                headers[name] = environ[key]
        headers |= self._about_the_client(environ)
        headers |= _about_the_way(environ["REQUEST_METHOD"], headers, environ.get("SERVER_PROTOCOL", ""))
        headers |= {name: environ[key] for key, name in self._injected.items() if key in environ}
        return headers

    def _passed(self, key: str) -> _Passed | None:
        return self._remembered(key) if len(key) <= self.LONGEST else self._judged(key)

    def _judged(self, key: str) -> _Passed | None:
        """Return the name of the header that an environ key is, if it is one that goes on."""
        name = key.removeprefix("HTTP_").replace("_", "-").title()
        folded = fold(name)
        kept_back = folded in self._kept_back or folded.startswith(_FORWARDED)
        if not key.startswith("HTTP_") or kept_back or not is_legal(name):
            return None
        return _Passed(name, folded)

    def _about_the_client(self, environ: WSGIEnvironment) -> dict[str, str]:
        """Return what the server is told of the client: by us, and before that by a trusted proxy."""
        trusted = self._proxies.trusts(environ)
        told = {name: environ[key] for key, name in _BELIEVED.items() if trusted and environ.get(key)}
        chain = (told.get("X-Forwarded-For"), environ.get("REMOTE_ADDR"))
        told["X-Forwarded-For"] = ", ".join(address for address in chain if address)
        told.setdefault("X-Forwarded-Host", environ.get("HTTP_HOST", ""))
        is_claimed = not trusted and not _SCHEME_KEYS.isdisjoint(environ)
        told.setdefault("X-Forwarded-Proto", "http" if is_claimed else environ["wsgi.url_scheme"])
        mounted_at = quote(environ.get("SCRIPT_NAME", "").encode("latin-1"), _PLAIN_IN_PATH)
        told["X-Forwarded-Prefix"] = told.get("X-Forwarded-Prefix", "") + mounted_at
        client = self._proxies.client(environ)
        told["X-Real-IP"] = "" if client == UNIX else client
        return {name: value for name, value in told.items() if value}


def _is_meant_for_us(environ: WSGIEnvironment) -> bool:
    """Tell whether a request is to go no further (RFC 9110 section 7.6.2)."""
    hops = environ.get("HTTP_MAX_FORWARDS", "")
    return environ["REQUEST_METHOD"] == "OPTIONS" and bool(_LENGTH.fullmatch(hops)) and int(hops) == 0


def _about_the_way(method: str, headers: Mapping[str, str], protocol: str) -> dict[str, str]:
    """Return what is said of how a request came and may go on (RFC 9110 sections 7.6.2 and 7.6.3)."""
    via, hops = headers.get("Via"), headers.get("Max-Forwards", "")
    ours = f"{protocol.removeprefix('HTTP/') or '1.1'} gateway"
    said = {"Via": f"{via}, {ours}" if via else ours}
    if method == "OPTIONS" and _LENGTH.fullmatch(hops):
        said["Max-Forwards"] = str(int(hops) - 1)
    return said


def _body(environ: WSGIEnvironment) -> Body | Rejection | None:
    """Return the body of a request, if there is one, or the answer if none can tell where it ends."""
    length, coding = environ.get("CONTENT_LENGTH"), environ.get("HTTP_TRANSFER_ENCODING")
    if length:
        # RFC 9112 section 6.1: with both, one of two servers would be led astray
        sound = _LENGTH.fullmatch(length) and not coding
        return Body(environ["wsgi.input"], int(length)) if sound else MALFORMED_REQUEST
    if not coding:
        return None
    if coding.strip("\t ").lower() != "chunked":  # RFC 9112 section 6.1
        return UNKNOWN_CODING
    return Body(environ["wsgi.input"], None) if environ.get("wsgi.input_terminated") else LENGTH_REQUIRED


def returned(
    status: int, reason: str, fields: Iterable[tuple[str, str]]
) -> tuple[str, list[tuple[str, str]]]:
    """Return the status line and the headers of an answer that come back.

    Args:
        status: the status code.
        reason: the reason phrase; an empty one is filled in, as WSGI wants one.
        fields: names and values, as they came, each field a header of its own.

    Raises:
        MalformedAnswerError: one of them is illegal, or where the body ends can be read in two ways.
    """
    headers = [(name, _in_one_line(value)) for name, value in fields]
    if not (
        _VALUE.fullmatch(reason)
        and all(is_legal(name) and _VALUE.fullmatch(value) for name, value in headers)
    ):
        raise MalformedAnswerError("there is an illegal character in the head of its answer")
    length = _length(headers)
    options = ",".join(value for name, value in headers if name.lower() == "connection")
    dropped = _NOT_RETURNED | _options(options)
    kept = [(name, value) for name, value in headers if fold(name) not in dropped]
    if length is not None and status != 204:  # noqa: PLR2004 - RFC 9110 section 8.6
        kept.append(("Content-Length", length))
    return f"{status} {reason or responses.get(status, 'Unknown')}", kept


def _in_one_line(value: str) -> str:
    """Return a header's value unfolded (RFC 9112 section 5.2), and without the tabs that WSGI forbids."""
    return _FOLD.sub(" ", value).replace("\t", " ").strip(" ")


def _length(headers: Iterable[tuple[str, str]]) -> str | None:
    """Return what Content-Length says, unless the body comes in chunks (RFC 9112 section 6.3)."""
    said: dict[str, list[str]] = {"content-length": [], "transfer-encoding": []}
    for name, value in headers:
        if name.lower() in said:
            said[name.lower()].append(value.lower())
    lengths, codings = set(said["content-length"]), said["transfer-encoding"]
    if codings:
        if codings != ["chunked"]:
            raise MalformedAnswerError("its transfer coding is another than chunked, once")
        return None
    if len(lengths) > 1 or not all(map(_LENGTH.fullmatch, lengths)):
        raise MalformedAnswerError("its Content-Length is not one number")
    return lengths.pop() if lengths else None


def _options(connection: str) -> frozenset[str]:
    """Return what the header Connection names, folded (RFC 9110 section 7.6.1)."""
    return frozenset(map(fold, connection.split(",")))
