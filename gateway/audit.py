"""The audit log: one line for each event, by the logger `gateway.audit` of the standard library.

No token, password, query string or header stands in a line, save `X-Request-ID` if it is harmless. A line is
ASCII without control characters, and whatever a client sends, at most 4,096 bytes long, which a pipe takes
whole (POSIX, PIPE_BUF).
"""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final
from urllib.parse import quote
from wsgiref.types import WSGIEnvironment

from gateway.events import Holder, KeysTaken, LoginTried, Revoked, Verdict
from gateway.proxies import TrustedProxies

LONGEST_PATH: Final = 512  # characters, percent-encoded as a client sends it
LONGEST_NAME: Final = 128  # characters of another name: of a session, a key, a method, an address
MOST_KEYS: Final = 20  # named in one event
_CUT: Final = "…"

_logger = logging.getLogger("gateway.audit")

_PLAIN_PATH = re.compile(r"[A-Za-z0-9/._~:@!$&'()*+,;=-]*")  # RFC 3986 section 3.3
_UNQUOTED: Final = "/~:@!$&'()*+,;="
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")
_BARE = re.compile(r"[A-Za-z0-9._:/+=@%~,-]+")  # what the console format writes without quotes

_Fields = Mapping[str, Any]

# The refusals of a rightly signed token.
_SIGNED: Final = frozenset(
    {
        "token_expired",
        "invalid_claims",
        "token_revoked",
        "uid_mismatch",
        "insufficient_scope",
        "state_unavailable",
    }
)
_NOT_ASKED_FOR: Final[_Fields] = {"method": None, "path": None, "address": None, "request_id": None}


class Audit:
    """Logs what happens.

    Args:
        log_format: `json` or `console`.
        proxies: tell who the client is.
        clock: tells the time, in seconds since 1970.
        holder_of: returns whose a token in an `Authorization` header is, if it is rightly signed.
    """

    def __init__(
        self,
        log_format: str,
        proxies: TrustedProxies,
        clock: Callable[[], float],
        holder_of: Callable[[str], Holder | None] = lambda _: None,
    ) -> None:
        self._written = _FORMATS[log_format]
        self._proxies = proxies
        self._clock = clock
        self._holder_of = holder_of
        # Most requests come from few peers.
        self._client_of_peer = lru_cache(maxsize=1024)(lambda peer: proxies.client({"REMOTE_ADDR": peer}))
        _prepare(_logger)

    def judged(self, environ: WSGIEnvironment, verdict: Verdict) -> None:
        """Log a verdict."""
        holder: Holder | None = verdict.identity
        if holder is None and verdict.code in _SIGNED:
            holder = self._holder_of(environ["HTTP_AUTHORIZATION"])
        self._log(
            {
                **self._what("verdict", verdict.code, verdict.status),
                **_who(holder),
                **self._request(environ, verdict.method, verdict.path),
                "renewed": verdict.renewed,
            }
        )

    def login_tried(self, environ: WSGIEnvironment, tried: LoginTried) -> None:
        """Log a login that was tried."""
        what = self._what("login", tried.code, tried.status)
        self._log({**what, **_who(tried.holder), **self._asked_for(environ)})

    def revoked(self, environ: WSGIEnvironment | None, revoked: Revoked) -> None:
        """Log that sessions were ended."""
        what = self._what("revocation", revoked.code, None if environ is None else 204)
        self._log({**what, **_who(revoked.holder), **self._asked_for(environ)})

    def keys_taken(self, taken: KeysTaken) -> None:
        """Log that keys have changed, if they have."""
        if not taken.changed:
            return
        self._log(
            {
                "time": moment(self._clock()),
                "event": "keys",
                "code": "changed",
                "issuer": taken.issuer,
                "added": _listed(taken.added),
                "removed": _listed(taken.removed),
            }
        )

    def _what(self, event: str, code: str, status: int | None) -> _Fields:
        return {"time": moment(self._clock()), "event": event, "code": code, "status": status}

    def _asked_for(self, environ: WSGIEnvironment | None) -> _Fields:
        if environ is None:
            return _NOT_ASKED_FOR
        return self._request(environ, environ["REQUEST_METHOD"], environ.get("PATH_INFO", ""))

    def _request(self, environ: WSGIEnvironment, method: str, path: str) -> _Fields:
        request_id = environ.get("HTTP_X_REQUEST_ID")
        return {
            "method": _cut(method),
            "path": shown_path(path),
            "address": _cut(self._client(environ)),
            "request_id": request_id if request_id and _REQUEST_ID.fullmatch(request_id) else None,
        }

    def _client(self, environ: WSGIEnvironment) -> str:
        if "HTTP_X_FORWARDED_FOR" in environ:
            return self._proxies.client(environ)
        return self._client_of_peer(environ.get("REMOTE_ADDR") or "")

    def _log(self, fields: _Fields) -> None:
        _logger.disabled = False  # as a logging configuration of the app's leaves all that it does not name
        if _logger.isEnabledFor(logging.INFO):
            # Without the search for who called, which takes as long as all the rest.
            line = self._written(fields)
            _logger.handle(_logger.makeRecord(_logger.name, logging.INFO, "", 0, line, (), None))


def audit_of_command(log_format: str) -> Audit | None:
    """Return what logs the acts of a command, if the settings want any logged."""
    return None if log_format == "off" else Audit(log_format, TrustedProxies(()), time.time)


class _Stderr(logging.Handler):
    """Writes lines to standard error as it is then, each in one piece.

    A line that nobody can be given any more is lost, and no request with it.
    """

    def emit(self, record: logging.LogRecord) -> None:
        if sys.stderr is not None:
            with suppress(OSError, ValueError):  # it is broken, or closed
                sys.stderr.write(f"{record.getMessage()}\n")
                sys.stderr.flush()


def _prepare(logger: logging.Logger) -> None:
    """Have lines written to standard error alone, unless the logger was given handlers: then by these."""
    if not logger.handlers:
        logger.addHandler(_Stderr())
        logger.propagate = False
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.INFO)


def moment(seconds: float) -> str:
    """Return a moment, in seconds since 1970, by ISO 8601 in UTC, to the microsecond."""
    whole, micros = divmod(int(seconds * 1_000_000), 1_000_000)
    return f"{_second(whole)}.{micros:06d}Z"


@lru_cache(maxsize=8)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def shown_path(path: str) -> str:
    """Return a path as in `PATH_INFO` percent-encoded (RFC 3986), and cut where it is too long."""
    if not _PLAIN_PATH.fullmatch(path):
        path = quote(path[: LONGEST_PATH + 1], _UNQUOTED, encoding="latin-1", errors="backslashreplace")
    return path if len(path) <= LONGEST_PATH else path[:LONGEST_PATH] + _CUT


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_NAME else text[:LONGEST_NAME] + _CUT


def _listed(kids: Sequence[str]) -> list[str]:
    return [*map(_cut, kids[:MOST_KEYS]), *([_CUT] if len(kids) > MOST_KEYS else [])]


def _who(holder: Holder | None) -> _Fields:
    if holder is None:
        return {"uid": None, "issuer": None, "sid": None, "kid": None}
    session, kid = holder.session, holder.kid
    by_jti = isinstance(session, tuple)
    known = {
        "uid": holder.uid,
        "issuer": holder.issuer,
        "sid": None if session is None or by_jti else _cut(str(session)),
        "kid": None if kid is None else _cut(kid),
    }
    return {**known, "jti": _cut(session[1])} if isinstance(session, tuple) else known


_as_json: Final = json.JSONEncoder(separators=(",", ":")).encode


def _as_console(fields: _Fields) -> str:
    """Return a line for a person: what happened first, then what is known of it by name."""
    rest = dict(fields)
    first = [rest.pop(name, None) for name in ("time", "event", "code", "status", "method", "path")]
    return " ".join([*(_bare(value) for value in first if value is not None), *_pairs(rest)])


def _pairs(fields: _Fields) -> Iterator[str]:
    for name, value in fields.items():
        if isinstance(value, list):
            yield from (f"{name}={_bare(item)}" for item in value)
        elif value is True:
            yield name
        elif value is not None and value is not False:
            yield f"{name}={_bare(value)}"


def _bare(value: object) -> str:
    """Return a value as it stands, if that is harmless, and else in the quotes of JSON."""
    text = str(value)
    return text if _BARE.fullmatch(text) else _as_json(text)


_FORMATS: Final[Mapping[str, Callable[[_Fields], str]]] = {"json": _as_json, "console": _as_console}
