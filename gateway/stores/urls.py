"""Where a state store is: the addresses that `GATEWAY_STATE_URL` can hold."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

MUST: Final = (
    "memory://, sqlite:///path, redis://host:port/0, rediss://…, redis+sentinel://host:port,host:port/name or"
    " redis+cluster://host:port,host:port"
)
_VISIBLE = re.compile(r"[!-~]+")
_PREFIX = re.compile(r"[A-Za-z0-9._-]+")
_SQLITE = "sqlite:///"
_PORTS = {"redis": 6379, "sentinel": 26379, "cluster": 6379}
_MOST_DATABASES = 10_000
_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_OPTIONS = ("prefix", *_FILES, "sentinel_username", "sentinel_password")


class UnfitURLError(ValueError):
    """Something is not the address of a store. The message says why, and shows nothing of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisURL:
    """Servers of Redis or Valkey, and how one of them is found.

    `kind` is `redis` for one server, `sentinel` for the sentinels of `service`, `cluster` for some of the
    nodes of a cluster. `options` are those that stand behind the question mark.
    """

    kind: str
    tls: bool
    hosts: tuple[tuple[str, int], ...]
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    service: str = ""
    database: int = 0
    options: Mapping[str, str] = field(default_factory=dict, repr=False)


def is_memory(url: str) -> bool:
    """Tell whether it is the memory of one process."""
    return url == "memory://"


def sqlite_path(url: str) -> str | None:
    """Return the path of a SQLite file, or None where it is something else."""
    return url.removeprefix(_SQLITE) if url.startswith(_SQLITE) else None


def is_redis(url: str) -> bool:
    """Tell whether Redis or Valkey keeps the state."""
    return url.startswith("redis")


def absolute(url: str) -> str:
    """Return the same address, wherever the process may go: a relative path is one of here and now."""
    path = sqlite_path(url)
    return url if path is None else f"{_SQLITE}{Path(path).absolute()}"


def check(url: str) -> str:
    """Return the address of a store as it is, if it is one.

    Raises:
        ValueError: it is none; the message, if any, says why, and shows nothing of it.
    """
    path = sqlite_path(url)
    if path is not None:
        if not path or path == ":memory:" or path.startswith("file:") or "\0" in path:
            raise UnfitURLError("it names no file")
    elif not is_memory(url):
        redis_url(url)
    return url


def redis_url(url: str) -> RedisURL:
    """Read the address of Redis.

    Raises:
        ValueError: it is none; the message, if any, says why, and shows nothing of it.
    """
    try:
        return _parsed(url)
    except UnfitURLError:
        raise
    except ValueError:  # of a library, which shows what it could not read
        raise UnfitURLError from None


def _parsed(url: str) -> RedisURL:
    if not is_redis(url):
        raise UnfitURLError
    if not _VISIBLE.fullmatch(url):
        raise UnfitURLError("it holds a space, a control character or one beyond ASCII")
    parts = urlsplit(url)
    scheme, _, kind = parts.scheme.partition("+")
    kind = kind or "redis"
    if scheme not in {"redis", "rediss"} or kind not in _PORTS or parts.fragment:
        raise UnfitURLError
    userinfo, _, hosts = parts.netloc.rpartition("@")
    username, _, password = userinfo.partition(":")
    service, database = _path(kind, parts)
    return RedisURL(
        kind=kind,
        tls=scheme == "rediss",
        hosts=tuple(_hosts(hosts, kind)),
        username=unquote(username) or None,
        password=unquote(password) or None,
        service=service,
        database=database,
        options=_options(parts.query),
    )


def _hosts(text: str, kind: str) -> Iterator[tuple[str, int]]:
    hosts = text.split(",")
    if kind == "redis" and len(hosts) > 1:
        raise UnfitURLError("it names more than one host")
    for host in hosts:
        parts = urlsplit(f"//{host}")
        if not parts.hostname or parts.path:
            raise UnfitURLError("it names no host")
        yield parts.hostname, _port(parts) or _PORTS[kind]


def _port(parts: SplitResult) -> int | None:
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port == 0:
        raise UnfitURLError("its port is none of 1 to 65535")
    return port


def _path(kind: str, parts: SplitResult) -> tuple[str, int]:
    segments = [unquote(segment) for segment in parts.path.split("/")[1:] if segment]
    service = ""
    if kind == "sentinel":
        if not segments:
            raise UnfitURLError("it names no service, as in redis+sentinel://host:26379/mymaster")
        service = segments.pop(0)
    number = segments.pop(0) if segments else "0"
    if segments or not (number.isascii() and number.isdigit()) or int(number) > _MOST_DATABASES:
        raise UnfitURLError("its path is no number of a database")
    if kind == "cluster" and int(number):
        raise UnfitURLError("a cluster has the database 0 alone")
    return service, int(number)


def _options(query: str) -> dict[str, str]:
    options = dict(parse_qsl(query, keep_blank_values=True, strict_parsing=True)) if query else {}
    unknown = [name for name in options if name not in _OPTIONS]
    if unknown:
        raise UnfitURLError(f"an option in it is none of {', '.join(_OPTIONS)}")
    if not _PREFIX.fullmatch(options.get("prefix", "gateway")):
        raise UnfitURLError("the prefix in it is not made of letters, digits and . _ -")
    return options
