"""Header names: which are legal, which are taken, and which only the gateway may set."""

from __future__ import annotations

import re
from collections.abc import Callable
from wsgiref.types import WSGIEnvironment

_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110 section 5.1: a token
_NOT_LETTER_OR_DIGIT = re.compile(r"[^A-Z0-9]+")

UID_KEY = "HTTP_UID"

# What the gateway sets for the app besides the token's header, and so what no client may send.
INJECTED_KEYS = (
    UID_KEY,
    "REMOTE_USER",
    "AUTH_TYPE",
    "gateway.claims",
    "gateway.tokens",
    "gateway.issuer",
)

# Names with a meaning of their own: HTTP (RFC 9110 to 9112, 9209, 9211, 9213), caching, CORS, cookies,
# credentials and what proxies add. A token under one of them would be misread, kept or dropped.
_TAKEN = """
    Accept Accept-CH Accept-Charset Accept-Encoding Accept-Language Accept-Patch Accept-Post
    Accept-Ranges Access-Control-Allow-Credentials Access-Control-Allow-Headers
    Access-Control-Allow-Methods Access-Control-Allow-Origin Access-Control-Allow-Private-Network
    Access-Control-Expose-Headers Access-Control-Max-Age Access-Control-Request-Headers
    Access-Control-Request-Method Age Allow Alt-Svc Alt-Used Authentication-Control Authentication-Info
    Authorization Cache-Control Cache-Status CDN-Cache-Control Clear-Site-Data Close Connection
    Content-Digest Content-Disposition Content-Encoding Content-Language Content-Length Content-Location
    Content-MD5 Content-Range Content-Security-Policy Content-Security-Policy-Report-Only Content-Type
    Cookie Cookie2 Cross-Origin-Embedder-Policy Cross-Origin-Opener-Policy Cross-Origin-Resource-Policy
    Date Depth Destination Digest DPoP DPoP-Nonce Early-Data Edge-Control ETag Expect Expires Forwarded
    From Host HTTP2-Settings If If-Match If-Modified-Since If-None-Match If-Range If-Unmodified-Since
    Keep-Alive Last-Modified Link Location Lock-Token Max-Forwards MIME-Version
    Optional-WWW-Authenticate Origin Overwrite Path-Info Permissions-Policy Pragma Prefer
    Preference-Applied Priority Proxy Proxy-Authenticate Proxy-Authentication-Info Proxy-Authorization
    Proxy-Connection Proxy-Status Query-String Range Referer Referrer-Policy Refresh Remote-Addr
    Remote-Host Remote-Port Repr-Digest Request-Method Retry-After Script-Name Sec-Fetch-Dest
    Sec-Fetch-Mode Sec-Fetch-Site Sec-Fetch-User Sec-WebSocket-Accept Sec-WebSocket-Extensions
    Sec-WebSocket-Key Sec-WebSocket-Protocol Sec-WebSocket-Version Server Server-Name Server-Port
    Server-Protocol Server-Timing Set-Cookie Set-Cookie2 Signature Signature-Input Status
    Strict-Transport-Security Surrogate-Capability Surrogate-Control TE Timeout Timing-Allow-Origin
    Traceparent Tracestate Trailer Transfer-Encoding Upgrade Upgrade-Insecure-Requests User-Agent Vary
    Via Want-Content-Digest Want-Repr-Digest Warning WWW-Authenticate X-Accel-Buffering X-Accel-Expires
    X-Accel-Redirect X-Content-Type-Options X-Forwarded-By X-Forwarded-For X-Forwarded-Host
    X-Forwarded-Method X-Forwarded-Port X-Forwarded-Prefix X-Forwarded-Proto X-Forwarded-Server
    X-Forwarded-Ssl X-Forwarded-Uri X-Frame-Options X-HTTP-Method-Override X-Original-Method
    X-Original-URI X-Original-URL X-Real-IP X-Renewed-Token X-Request-ID X-Rewrite-URL X-Sendfile
"""


def fold(name: str) -> str:
    """Return the upper-case ASCII letters and digits of a header name, all that some software compares."""
    return _NOT_LETTER_OR_DIGIT.sub("", name.upper())


def is_legal(name: str) -> bool:
    """Tell whether a text can be a header's name, or a method (RFC 9110 sections 5.1 and 9.1: a token)."""
    return _NAME.fullmatch(name) is not None


def environ_key(name: str) -> str:
    """Return the environ key under which a server hands on the header `name` (PEP 3333)."""
    return "HTTP_" + name.upper().replace("-", "_")


# What shared caches heed before or instead of Cache-Control: targeted fields (RFC 9213, by custom called
# …-Cache-Control), surrogates, nginx and Akamai.
_CACHE_RULE_ENDINGS = ("cache-control", "surrogate-control")
_CACHE_RULES = frozenset({"x-accel-expires", "edge-control"})
_FOLDED_CACHE_RULE_ENDINGS = tuple(map(fold, _CACHE_RULE_ENDINGS))


def _bare(key: str) -> str:
    return fold(key.removeprefix("HTTP_"))


_RESERVED = frozenset(map(fold, _TAKEN.split())) | frozenset(map(_bare, INJECTED_KEYS))


def is_cache_rule(name: str) -> bool:
    """Tell whether a response header says what caches may keep, or overrides the one that does."""
    lowered = name.lower()
    return lowered in _CACHE_RULES or lowered.endswith(_CACHE_RULE_ENDINGS)


def is_free(name: str) -> bool:
    """Tell whether `name` is a legal header name that nothing else uses, by its letters and digits."""
    folded = fold(name)
    taken = folded in _RESERVED or folded.endswith(_FOLDED_CACHE_RULE_ENDINGS)
    return bool(is_legal(name) and folded and not taken)


class Firewall:
    """Keeps out of the app what only the gateway may set.

    Args:
        owned: environ keys. They are taken out of a request, and with them every header that is
            called like one of them, or like its header, by its letters and digits alone.
    """

    __slots__ = ("_bare_names", "_harmless", "_owned", "finds_nothing_in")

    REMEMBERED = 1000  # keys of up to LONGEST characters: a client can invent header names for ever
    LONGEST = 100

    def __init__(self, owned: tuple[str, ...]) -> None:
        self._owned = frozenset(owned)
        self._bare_names = frozenset(map(_bare, owned)) | frozenset(map(fold, owned))
        self._harmless: set[str] = set()
        # Whether all keys of an environ were judged before, so that there is nothing to strip.
        self.finds_nothing_in: Callable[[WSGIEnvironment], bool] = self._harmless.issuperset

    def strip(self, environ: WSGIEnvironment) -> None:
        """Delete every owned key from `environ`."""
        for key in [key for key in environ if key not in self._harmless]:
            if self._owns(key):
                del environ[key]
            elif len(key) <= self.LONGEST:
                self._remember(key)

    def _owns(self, key: str) -> bool:
        return key in self._owned or (key.startswith("HTTP_") and _bare(key) in self._bare_names)

    def _remember(self, key: str) -> None:
        if len(self._harmless) >= self.REMEMBERED:
            self._harmless.clear()
        self._harmless.add(key)
