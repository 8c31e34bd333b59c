"""The settings: one table of name, kind, default and meaning, and the values that it makes.

`config.env.example`, the README's table, `gateway check` and the refusal of a bad value are all made
from the fields of `Settings`.
"""

from __future__ import annotations

import copy
import dataclasses
import difflib
import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from gateway import kinds
from gateway.envfile import EnvFileError, assignments, read_text
from gateway.errors import ConfigError, WeakKeyWarning
from gateway.keys import MIN_HMAC_BYTES
from gateway.kinds import Kind

CONFIG_FILE = "config.env"
CONFIG_VARIABLE = "GATEWAY_CONFIG"

_SHOWN = 80  # characters of a refused value


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table: a setting's variable, kind, default and meaning.

    `default_text` is the default in words where it depends on something else. `empty_counts` tells
    that set but empty is a value of its own.
    """

    variable: str
    kind: Kind
    default: Any
    meaning: str
    default_text: str
    secret: bool
    empty_counts: bool

    @property
    def keyword(self) -> str:
        """The name of the same setting as a keyword argument."""
        return self.variable.removeprefix("GATEWAY_").lower()

    @property
    def required(self) -> bool:
        """Whether there is no starting without it."""
        return self.default_text == "required"


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong, in one line, and the variable that it is about.

    `missing` tells that it is required and not set.
    """

    variable: str
    line: str
    missing: bool = False


def _row(
    variable: str,
    kind: Kind,
    default: Any,
    meaning: str,
    *,
    default_text: str = "",
    secret: bool = False,
    empty_counts: bool = False,
) -> Any:
    """Make a field of `Settings` that carries its row of the table."""
    row = Row(variable, kind, default, meaning, default_text, secret, empty_counts)
    return field(default=None, repr=not secret, metadata={"row": row})


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything an operator can set, checked once.

    A field takes the value itself or the text of its environment variable. None counts as not set, and
    so does empty text, save for `prefix`.

    Raises:
        ConfigError: one line for each thing wrong, not for the first alone.
    """

    token_key: str | bytes = _row(
        "TOKEN_KEY",
        kinds.SECRET,
        None,
        "signing secret, 32 random bytes or more (RFC 7518 section 3.2)",
        default_text="required",
        secret=True,
    )
    exp_time_min: int = _row("EXP_TIME_MIN", kinds.MINUTES, 30, "minutes a token lives, from 1")
    refresh_time_min: int = _row(
        "REFRESH_TIME_MIN",
        kinds.whole(0, kinds.MOST_MINUTES, "minutes"),
        None,
        "renew a token when fewer minutes are left; 0 to EXP_TIME_MIN",
        default_text="15, or EXP_TIME_MIN if that is less",
    )
    app: str | None = _row(
        "GATEWAY_APP",
        kinds.APP,
        None,
        "the WSGI app to wrap, as module:callable",
        default_text="the demo",
    )
    port: int = _row(
        "PORT",
        kinds.whole(1, 65535),
        8000,
        "port that gunicorn binds: of every address if set in the environment, else of loopback",
    )
    web_concurrency: int = _row("WEB_CONCURRENCY", kinds.whole(1, 10_000), 2, "gunicorn's worker processes")
    public_paths: Sequence[str] = _row(
        "GATEWAY_PUBLIC_PATHS",
        kinds.PUBLIC_PATHS,
        (),
        "paths that need no token, separated by commas: exact, as /health, or a prefix, as /static/*",
    )
    allow_preflight: bool = _row(
        "GATEWAY_ALLOW_PREFLIGHT",
        kinds.FLAG,
        False,
        "let a browser's CORS preflight, which carries no credentials, through to the app",
    )
    prefix: str = _row(
        "GATEWAY_PREFIX",
        kinds.PREFIX,
        "/auth",
        "where the gateway's own endpoints are; set but empty turns them all off",
        empty_counts=True,
    )
    status_profile: str = _row(
        "GATEWAY_STATUS_PROFILE",
        kinds.one_of("classic", "rfc6750"),
        "classic",
        "classic, or rfc6750 for registered statuses alone: 401 instead of 498 and for missing"
        " credentials, 403 for another's uid",
    )
    token_header: str = _row(
        "GATEWAY_TOKEN_HEADER",
        kinds.TOKEN_HEADER,
        "X-Refreshed-Token",
        "header with the token to use next, for the app and, when renewed, for the client",
    )
    token_in_response: bool = _row(
        "GATEWAY_TOKEN_IN_RESPONSE",
        kinds.FLAG,
        True,
        "put a renewed token into the response; false leaves responses alone",
    )
    uid_claim: str = _row("GATEWAY_UID_CLAIM", kinds.UID_CLAIM, "uid", "the claim that holds the uid")
    require_uid: bool = _row(
        "GATEWAY_REQUIRE_UID",
        kinds.FLAG,
        True,
        "false lets a client that sends no uid header pass on its token alone",
    )
    issuer: str | None = _row(
        "GATEWAY_ISSUER", kinds.text(), None, "iss, written into our tokens and demanded of them"
    )
    audience: str | None = _row(
        "GATEWAY_AUDIENCE", kinds.text(), None, "aud, written into our tokens and demanded of them"
    )
    leeway_sec: int = _row(
        "GATEWAY_LEEWAY_SEC",
        kinds.whole(0, 300, "seconds"),
        0,
        "clock skew allowed, in seconds, 0 to 300",
    )
    max_session_min: int = _row(
        "GATEWAY_MAX_SESSION_MIN",
        kinds.MINUTES,
        None,
        "minutes from its beginning until a session ends, however often renewed; from EXP_TIME_MIN",
        default_text="1440, or EXP_TIME_MIN if that is more",
    )
    max_token_bytes: int = _row(
        "GATEWAY_MAX_TOKEN_BYTES",
        kinds.whole(1, 1_000_000, "bytes"),
        8000,
        "longest token looked at, in bytes (gunicorn itself answers 431 above 8,166)",
    )
    allow_weak_key: bool = _row(
        "GATEWAY_ALLOW_WEAK_KEY",
        kinds.FLAG,
        False,
        "true accepts, with a warning, a TOKEN_KEY under 32 bytes",
    )

    def __post_init__(self) -> None:
        values, faults = _checked({row.keyword: getattr(self, row.keyword) for row in TABLE})
        if faults:
            raise ConfigError(*(fault.line for fault in faults))
        for keyword, value in values.items():
            object.__setattr__(self, keyword, value)
        if len(self.token_key) < MIN_HMAC_BYTES:
            warnings.warn(
                f"TOKEN_KEY holds {len(self.token_key)} bytes: a secret so short can be guessed",
                WeakKeyWarning,
                stacklevel=3,
            )

    def with_public_paths(self, public_paths: Iterable[str]) -> Self:
        """Return the same settings with other public paths, which must be good ones."""
        changed = copy.copy(self)
        object.__setattr__(changed, "public_paths", tuple(public_paths))
        return changed

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Read the settings from the environment and from the dotenv file that fills in the rest.

        Args:
            environ: the environment, `os.environ` unless given. `GATEWAY_CONFIG` in it names the file,
                which must then be there; otherwise it is `config.env` in the working directory, if any.

        Raises:
            ConfigError: one line for each thing wrong, in the file or in a value.
        """
        found = Found.in_environment(os.environ if environ is None else environ)
        faults = found.all_faults()
        if faults:
            raise ConfigError(*(fault.line for fault in faults))
        return cls(**found.given)


TABLE: tuple[Row, ...] = tuple(f.metadata["row"] for f in dataclasses.fields(Settings))
_BY_VARIABLE = {row.variable: row for row in TABLE}


@dataclass(slots=True)
class Found:
    """What the environment and the file say, not yet checked.

    `given` has text by keyword, `sources` tells where each came from. `path` is the file, if there is
    one, and `faults` are its faults. `unread` are the variables of which the file may yet say something,
    in a line that could not be read.
    """

    given: dict[str, Any] = field(default_factory=dict, repr=False)
    sources: dict[str, str] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    path: Path | None = None
    unread: set[str] = field(default_factory=set)

    @classmethod
    def in_environment(cls, environ: Mapping[str, str]) -> Found:
        """Collect the settings of `environ`, and of the file for what `environ` leaves unset."""
        found = cls()
        found._read_file(environ)
        for variable, row in _BY_VARIABLE.items():
            value = environ.get(variable, "")
            if value or (row.empty_counts and variable in environ):
                found._take(row, value, "environment")
        return found

    def all_faults(self) -> list[Fault]:
        """Return the faults of the file and of the values, one for each thing wrong."""
        _, faults = _checked(self.given)
        known = [fault for fault in faults if not (fault.missing and fault.variable in self.unread)]
        return self.faults + known

    def _read_file(self, environ: Mapping[str, str]) -> None:
        named = environ.get(CONFIG_VARIABLE)
        path = Path(named or CONFIG_FILE)
        if not named and not path.exists():
            return
        self.path = path
        try:
            self._take_all(path, read_text(path))
        except EnvFileError as error:
            self.unread = set(_BY_VARIABLE)
            line = f"{CONFIG_VARIABLE} is {named!r}: {error}" if named else str(error)
            self.faults.append(Fault(CONFIG_VARIABLE, line))

    def _take_all(self, path: Path, text: str) -> None:
        for assigned in assignments(path, text):
            row = _BY_VARIABLE.get(assigned.name)
            if row is not None:
                self._take(row, assigned.value, str(path))
            else:
                fault = _unknown(assigned.name, f"{path}, line {assigned.line}")
                self.unread.add(fault.variable)
                self.faults.append(fault)

    def _take(self, row: Row, value: str, source: str) -> None:
        if value or row.empty_counts:
            self.given[row.keyword] = value
            self.sources[row.keyword] = source
        else:
            self.given.pop(row.keyword, None)
            self.sources.pop(row.keyword, None)


def _checked(given: Mapping[str, Any]) -> tuple[dict[str, Any], list[Fault]]:
    """Return the value of every sound setting by keyword, defaults included, and what is wrong."""
    values: dict[str, Any] = {}
    faults: list[Fault] = []
    for row in TABLE:
        value = given.get(row.keyword)
        if value is None or (value in ("", b"") and not row.empty_counts):
            values[row.keyword] = row.default
            if row.required:
                line = f"{row.variable} is not set; it must be {row.kind.must}"
                faults.append(Fault(row.variable, line, missing=True))
            continue
        try:
            values[row.keyword] = row.kind.parse(value)
        except ValueError as error:
            faults.append(_fault(row.variable, _held(row, value, str(error)), row.kind.must))
    return values, faults + _weak_key(values) + _settle(values)


def _weak_key(values: Mapping[str, Any]) -> list[Fault]:
    key = values.get("token_key")
    if key is None or len(key) >= MIN_HMAC_BYTES or values.get("allow_weak_key", True):
        return []
    return [_fault("TOKEN_KEY", f"holds {len(key)} bytes", kinds.SECRET.must)]


def _settle(values: dict[str, Any]) -> list[Fault]:
    """Work out the defaults that hang on EXP_TIME_MIN, and compare with it what may not pass it."""
    faults: list[Fault] = []
    lifetime = values.get("exp_time_min")
    if lifetime is None:
        return faults
    refresh = values.get("refresh_time_min", 0)
    if refresh is None:
        values["refresh_time_min"] = min(15, lifetime)
    elif refresh > lifetime:
        must = f"at most EXP_TIME_MIN, which is {lifetime}"
        faults.append(_fault("REFRESH_TIME_MIN", f"is {refresh}", must))
    session = values.get("max_session_min", lifetime)
    if session is None:
        values["max_session_min"] = max(1440, lifetime)
    elif session < lifetime:
        must = f"at least EXP_TIME_MIN, which is {lifetime}"
        faults.append(_fault("GATEWAY_MAX_SESSION_MIN", f"is {session}", must))
    return faults


def _fault(variable: str, state: str, must: str) -> Fault:
    return Fault(variable, f"{variable} {state}; it must be {must}")


def _held(row: Row, value: Any, reason: str) -> str:
    """Say what a setting holds, in words that give no secret away."""
    if row.secret:
        is_text = isinstance(value, str | bytes)
        return f"holds {len(value)} characters that cannot be used" if is_text else "is not text"
    try:
        shown = repr(value)
    except ValueError:  # a number of more digits than Python writes
        shown = f"a {type(value).__name__} beyond all bounds"
    shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…"
    return f"is {shown}{reason and ': ' + reason}"


def _unknown(name: str, where: str) -> Fault:
    """Name the nearest known one; where none is near, the line may have been meant for any of them."""
    (nearest,) = difflib.get_close_matches(name.upper(), _BY_VARIABLE, n=1, cutoff=0)
    reason = (
        "counts in the environment alone"
        if name == CONFIG_VARIABLE
        else f"is no setting; the nearest is {nearest}"
    )
    is_near = difflib.get_close_matches(name.upper(), [nearest])
    return Fault(nearest if is_near else CONFIG_VARIABLE, f"{where}: {name} {reason}")
