"""What kinds of value a setting can hold: the words for it, and the check that makes it so."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any
from urllib.parse import SplitResult, urlsplit

from gateway import headers, keys, paths, proxies
from gateway.stores import urls

# Who may send a request that a route is for: anybody; anybody, but who says who it is must show it; or
# nobody without a good token.
PUBLIC = "public"
OPTIONAL = "optional"
PROTECTED = "protected"

MOST_MINUTES = 1_000_000_000  # some 1,900 years: a token's `exp` stays a number of 15 digits

# What a uid is made of: visible ASCII, and no comma, by which servers join two headers.
UID_CHARACTER = r"[!-+\--~]"

# Is given uid and password, and returns extra claims, or None for a wrong login.
LoginFunction = Callable[[int | str, str], Mapping[str, Any] | None]
MOST_PASSWORD_BYTES = 1024  # in UTF-8; a longer one is a wrong one

_DECIMAL = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")
# One @ at most, and none behind the question mark: where user and password end must be plain.
_DATABASE = re.compile(r"[a-z][a-z0-9_]*(\+[a-z0-9_]+)?://([!->A-~ ]*@)?[!->A-~ ]*(\?[!-?A-~ ]*)?")
_DIGITS = re.compile(r"[0-9]{1,18}")
_APP = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")
_PREFIX = re.compile(r"(/[A-Za-z0-9._~-]+)+")
_UID_PREFIX = re.compile(UID_CHARACTER + "{0,100}")
_VISIBLE = re.compile(r"[!-~]+")
_HOST = r"(?:[a-z0-9_-]+(?:\.[a-z0-9_-]+)*\.?|\[[0-9a-f:.]+\])"
_ORIGIN = re.compile(rf"(?P<scheme>https?)://{_HOST}(?::(?P<port>[1-9][0-9]{{0,4}}))?")
# Without what some clients would read as the end of the host, as a backslash.
_AUTHORITY = re.compile(rf"{_HOST}(?::[0-9]{{1,5}})?", re.IGNORECASE | re.ASCII)
# Fewer than RFC 9110 section 9.1 has: what is no method, as * or GET|POST, would be a route for no request.
_METHOD = re.compile(r"[A-Z][A-Z0-9]*([_-][A-Z0-9]+)*")
_SCOPE = re.compile(r"[!#-\[\]-~]+")  # RFC 6749 section 3.3: a scope-token
# By which frameworks mark a part of a path that is not fixed: here it would be a path that nobody asks for.
_PLACEHOLDER = frozenset("{}<>?#")
_DEFAULT_PORTS = {"http": "80", "https": "443"}
_HIGHEST_PORT = 65535
_FLAGS = {"true": True, "1": True, "yes": True, "on": True}
_FLAGS |= {"false": False, "0": False, "no": False, "off": False}
# Claims with a meaning of their own (RFC 7519 section 4.1, OpenID Connect Core), `sub` aside.
_REGISTERED_CLAIMS = ("aud", "auth_time", "exp", "iat", "iss", "jti", "nbf", "sid")


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of value.

    `parse` takes the text of an environment variable or the value of a keyword argument, and raises
    ValueError, with or without a reason, for what is not of this kind. `must` says what is, and `choices`
    are all that there are, where they are few.
    """

    must: str
    parse: Callable[[Any], Any]
    choices: tuple[str, ...] = ()


def whole(low: int, high: int, unit: str = "") -> Kind:
    """Whole numbers in a range, written in ASCII digits."""

    def parse(value: Any) -> int:
        if isinstance(value, str) and _DIGITS.fullmatch(value):
            value = int(value)
        if type(value) is not int or not low <= value <= high:
            raise ValueError
        return value

    return Kind(f"a whole number{unit and ' of ' + unit} from {low} to {high}", parse)


def seconds(low: float, high: float) -> Kind:
    """Seconds in a range, whole ones or with a fraction after a point."""

    def parse(value: Any) -> float:
        if isinstance(value, str) and _DECIMAL.fullmatch(value):
            value = float(value)
        if type(value) not in (int, float) or not low <= value <= high:
            raise ValueError
        return float(value)

    return Kind(f"a number of seconds from {low:g} to {high:g}", parse)


def text(must: str = "text", accepts: Callable[[str], object] = bool) -> Kind:
    """Text that `accepts` says yes to."""

    def parse(value: Any) -> str:
        if not isinstance(value, str) or not accepts(value):
            raise ValueError
        return value

    return Kind(must, parse)


def one_of(*choices: str) -> Kind:
    """One of a few words."""
    parse = text(accepts=choices.__contains__).parse
    return Kind(f"{', '.join(choices[:-1])} or {choices[-1]}", parse, choices)


def _parse_flag(value: Any) -> bool:
    if isinstance(value, str):
        value = _FLAGS.get(value.lower())
    if not isinstance(value, bool):
        raise ValueError
    return value


def _parse_texts(value: Any) -> tuple[str, ...]:
    """Read texts between commas, or given one by one; spaces around them and empty ones do not count."""
    items = value.split(",") if isinstance(value, str) else value
    if not isinstance(items, list | tuple | set | frozenset):
        raise ValueError
    if not all(isinstance(item, str) for item in items):
        raise ValueError
    stripped = (item.strip(" ") for item in items)
    return tuple(item for item in stripped if item)


def _parse_public_paths(value: Any) -> tuple[str, ...]:
    entries = _parse_texts(value)
    for entry in entries:
        if paths.ANY in paths.Pattern.parse(entry).segments:
            raise ValueError(f"{entry!r} is no such path")
    return entries


def _is_prefix(value: str) -> bool:
    return value == "" or (_PREFIX.fullmatch(value) is not None and paths.is_normal(value))


def _parse_secret(value: Any) -> bytes:
    if isinstance(value, str):
        value = value.encode("utf-8", "surrogateescape")  # the very bytes of an environment variable
    if not isinstance(value, bytes):
        raise ValueError
    keys.Key.secret(value)
    return value


def _parse_secrets(value: Any) -> tuple[bytes, ...]:
    items = [item.strip(" ") for item in value.split(",")] if isinstance(value, str) else value
    if not isinstance(items, list | tuple):
        raise ValueError
    return tuple(_parse_secret(item) for item in items if item != "")


def _parse_origins(value: Any) -> tuple[str, ...]:
    origins = _parse_texts(value)
    if not all(map(_is_origin, origins)):
        raise ValueError
    return origins


def _is_origin(value: str) -> bool:
    """Tell whether it is an origin as browsers write one (RFC 6454 section 6.2)."""
    match = _ORIGIN.fullmatch(value)
    if match is None or match["port"] == _DEFAULT_PORTS[match["scheme"]]:
        return False
    return match["port"] is None or 0 < int(match["port"]) <= _HIGHEST_PORT


def _is_upstream(value: str) -> bool:
    try:
        parts = urlsplit(value)
        named = _AUTHORITY.fullmatch(parts.netloc) and parts.port != 0
    except ValueError:
        return False
    plain = parts.scheme in ("http", "https") and not ("?" in value or "#" in value)
    return bool(_VISIBLE.fullmatch(value) and plain and named and paths.is_normal(parts.path or "/"))


def _parse_networks(value: Any) -> tuple[str, ...]:
    return proxies.parse_networks(_parse_texts(value))


def _parse_login(value: Any) -> Any:
    if not callable(value) and not (isinstance(value, str) and _APP.fullmatch(value)):
        raise ValueError
    return value


def _parse_state_url(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError
    return urls.check(value)


def _parse_path(value: Any) -> str:
    path = str(os.fspath(value)) if isinstance(value, str | os.PathLike) else ""
    if not path or "\0" in path:
        raise ValueError
    return path


def _is_pattern(value: str) -> bool:
    try:
        paths.Pattern.parse(value)
    except ValueError:
        return False
    return not _PLACEHOLDER.intersection(value)


def some(must: str, accepts: Callable[[str], object]) -> Kind:
    """A list of one or more texts, each of which `accepts` says yes to."""

    def parse(value: Any) -> tuple[str, ...]:
        if not isinstance(value, list | tuple) or not value:
            raise ValueError
        if not all(isinstance(item, str) and accepts(item) for item in value):
            raise ValueError
        return tuple(value)

    return Kind(must, parse)


def is_scope(value: str) -> bool:
    """Tell whether it is the name of one scope."""
    return _SCOPE.fullmatch(value) is not None


def _parse_claims(value: Any) -> tuple[tuple[str, Any], ...]:
    """Read a table of claims; a tuple of pairs, so that it can be compared and is never changed."""
    if not isinstance(value, dict) or not value:
        raise ValueError
    if not all(type(wanted) in (str, int, float, bool) for wanted in value.values()):
        raise ValueError
    return tuple(value.items())


def _is_key_address(value: str) -> bool:
    """Tell whether keys can be fetched there: by https, or from this machine itself."""
    try:
        parts = urlsplit(value)
        named = parts.hostname and parts.port != 0 and not parts.fragment and "@" not in parts.netloc
    except ValueError:
        return False
    safe = parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(parts))
    return bool(_VISIBLE.fullmatch(value) and named and safe)


def _is_loopback(parts: SplitResult) -> bool:
    host = parts.hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


FLAG = Kind("true or false", _parse_flag)
MINUTES = whole(1, MOST_MINUTES, "minutes")
APP = text("module:callable, such as myapp.main:app", _APP.fullmatch)
LOGIN = Kind("module:callable, such as myapp.login:check, or in code a function", _parse_login)
STATE_URL = Kind(urls.MUST, _parse_state_url)
USERS_URL = text(
    "an SQLAlchemy URL, such as sqlite:///users.db or postgresql+psycopg://user:password@host/name, with"
    " %40 for an @ and %3F for a ? in user or password",
    _DATABASE.fullmatch,
)
NETWORKS = Kind(
    "networks such as 10.0.0.0/8 or 2001:db8::/32, addresses, or unix, separated by commas", _parse_networks
)
ORIGINS = Kind(
    "origins as browsers write them, such as https://app.example.org or http://localhost:3000, in lower case,"
    " without a path or a default port, separated by commas",
    _parse_origins,
)
UPSTREAM = text(
    "an http:// or https:// address, such as http://127.0.0.1:9000 or http://host:port/base, without a user,"
    " a query or a fragment",
    _is_upstream,
)
PUBLIC_PATHS = Kind(
    "paths such as /health or prefixes such as /static/*, separated by commas; each begins with / and"
    " holds no other *, no //, no . or .. segment, no \\, ;, % or control character",
    _parse_public_paths,
)
PREFIX = text(
    "empty, or a path such as /auth: segments of letters, digits and . _ ~ -, with no / at its end",
    _is_prefix,
)
TOKEN_HEADER = text(
    "a legal header name, such as X-Next-Token, that HTTP, cookies, credentials, proxies and the uid do"
    " not use",
    headers.is_free,
)
UID_CLAIM = text(
    f"a claim's name other than {', '.join(_REGISTERED_CLAIMS)}",
    lambda name: name and name not in _REGISTERED_CLAIMS,
)
SECRET = Kind(
    f"a random secret of {keys.MIN_HMAC_BYTES} bytes or more, and no PEM, SSH, DER or JWK key",
    _parse_secret,
)
SECRETS = Kind(f"secrets, separated by commas, each of them {SECRET.must}", _parse_secrets)
PATH = Kind("a path", _parse_path)
ALGORITHM = one_of(*keys.SYMMETRIC, *keys.ASYMMETRIC)
ALGORITHMS = some(f"a list of some of {', '.join(keys.ASYMMETRIC)}", keys.ASYMMETRIC.__contains__)
PATTERN = text(
    "a path such as /reports, where a segment * stands for any one and /* at its end for all below; it begins"
    " with / and holds no other *, no //, no . or .. segment, and none of { } < > ? # \\ ; % and control"
    " characters",
    _is_pattern,
)
METHODS = some('a list of methods in capitals, such as ["GET", "POST"]', _METHOD.fullmatch)
ACCESS = one_of(PUBLIC, OPTIONAL, PROTECTED)
SCOPES = some('a list of scopes, such as ["reports:read"], without spaces, " and \\', is_scope)
CLAIMS = Kind('claims and what each must be or hold, such as { role = "admin" }', _parse_claims)
ISSUERS = some('a list of issuers by their names, "" for us', lambda _: True)
KEY_ADDRESS = text(
    "an https:// address, or an http:// one of this machine's loopback, without a user or a fragment",
    _is_key_address,
)
UID_PREFIX = text("at most 100 visible ASCII characters without a comma", _UID_PREFIX.fullmatch)
