"""The settings: one table of name, kind, default and meaning, and the values that it makes.

`config.env.example`, the README's table, `gateway check` and the refusal of a bad value are all made
from the fields of `Settings`.
"""

from __future__ import annotations

import copy
import dataclasses
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from gateway import crosschecks, kinds
from gateway.errors import ConfigError, ExposedKeyWarning, WeakKeyWarning
from gateway.keyfolder import FolderRing, exposed_files
from gateway.kinds import LoginFunction
from gateway.policyfile import IssuerRules, RouteRules
from gateway.sources import CONFIG_FILE, Found
from gateway.table import Fault, checked, row, rows_of


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything an operator can set, checked once.

        Settings(token_key=secrets.token_urlsafe(48), public_paths=["/health"])
        Settings.from_env()

    A field takes the value itself or the text of its environment variable. None counts as not set, and
    so does empty text, save for `prefix`.

    Raises:
        ConfigError: one line for each thing wrong, not for the first alone.
    """

    token_key: str | bytes | None = row(
        "TOKEN_KEY",
        kinds.SECRET,
        None,
        "signing secret, 32 random bytes or more (RFC 7518 section 3.2)",
        default_text="required for HS256, HS384 and HS512, unless the policy file names issuers",
        secret=True,
    )
    exp_time_min: int = row("EXP_TIME_MIN", kinds.MINUTES, 30, "minutes a token lives, from 1")
    refresh_time_min: int = row(
        "REFRESH_TIME_MIN",
        kinds.whole(0, kinds.MOST_MINUTES, "minutes"),
        None,
        "renew a token when fewer minutes are left; 0 to EXP_TIME_MIN",
        default_text="15, or EXP_TIME_MIN if that is less",
    )
    app: str | None = row(
        "GATEWAY_APP",
        kinds.APP,
        None,
        "the WSGI app to wrap, as module:callable",
        default_text="the demo",
    )
    upstream: str | None = row(
        "GATEWAY_UPSTREAM",
        kinds.UPSTREAM,
        None,
        "a server elsewhere to guard instead of an app, as http://host:port or http://host:port/base (with"
        " the extra upstream)",
    )
    upstream_timeout_sec: float = row(
        "GATEWAY_UPSTREAM_TIMEOUT_SEC",
        kinds.seconds(0.01, 86_400),
        30.0,
        "seconds to wait for that server: to connect, for the headers of its answer, and between two parts of"
        " its body",
    )
    port: int = row(
        "PORT",
        kinds.whole(1, 65535),
        8000,
        "port that gunicorn binds: on all addresses if set in the environment, otherwise on loopback only",
    )
    web_concurrency: int = row("WEB_CONCURRENCY", kinds.whole(1, 10_000), 2, "gunicorn's worker processes")
    public_paths: Sequence[str] = row(
        "GATEWAY_PUBLIC_PATHS",
        kinds.PUBLIC_PATHS,
        (),
        "paths that need no token, separated by commas: exact, as /health, or a prefix, as /static/*",
    )
    allow_preflight: bool = row(
        "GATEWAY_ALLOW_PREFLIGHT",
        kinds.FLAG,
        False,
        "let a browser's CORS preflight, which carries no credentials, through to the app",
    )
    cors_origins: Sequence[str] = row(
        "GATEWAY_CORS_ORIGINS",
        kinds.ORIGINS,
        (),
        "origins whose pages may read the gateway's own answers, separated by commas, as"
        " https://app.example.org",
    )
    prefix: str = row(
        "GATEWAY_PREFIX",
        kinds.PREFIX,
        "/auth",
        "where the gateway's own endpoints are; set but empty turns them all off",
        empty_counts=True,
    )
    status_profile: str = row(
        "GATEWAY_STATUS_PROFILE",
        kinds.one_of("classic", "rfc6750"),
        "classic",
        "classic, or rfc6750 to use only registered statuses: 401 instead of 498 and for missing"
        " credentials, 403 for another's uid",
    )
    token_header: str = row(
        "GATEWAY_TOKEN_HEADER",
        kinds.TOKEN_HEADER,
        "X-Refreshed-Token",
        "header with the token to use next, for the app and, when renewed, for the client",
    )
    token_in_response: bool = row(
        "GATEWAY_TOKEN_IN_RESPONSE",
        kinds.FLAG,
        True,
        "put a renewed token into the response; false leaves responses alone",
    )
    uid_claim: str = row("GATEWAY_UID_CLAIM", kinds.UID_CLAIM, "uid", "the claim that holds the uid")
    require_uid: bool = row(
        "GATEWAY_REQUIRE_UID",
        kinds.FLAG,
        True,
        "false accepts a client that sends a token but no uid header",
    )
    issuer: str | None = row(
        "GATEWAY_ISSUER", kinds.text(), None, "iss, written into our tokens and required of them"
    )
    audience: str | None = row(
        "GATEWAY_AUDIENCE", kinds.text(), None, "aud, written into our tokens and required of them"
    )
    leeway_sec: int = row(
        "GATEWAY_LEEWAY_SEC",
        kinds.whole(0, 300, "seconds"),
        0,
        "clock skew allowed, in seconds, 0 to 300",
    )
    max_session_min: int = row(
        "GATEWAY_MAX_SESSION_MIN",
        kinds.MINUTES,
        None,
        "minutes a session lasts, however often its token is renewed; from EXP_TIME_MIN",
        default_text="1440, or EXP_TIME_MIN if that is more",
    )
    max_token_bytes: int = row(
        "GATEWAY_MAX_TOKEN_BYTES",
        kinds.whole(1, 1_000_000, "bytes"),
        8000,
        "longest token accepted, in bytes (gunicorn itself answers 431 above 8,166)",
    )
    token_cache_size: int = row(
        "GATEWAY_TOKEN_CACHE_SIZE",
        kinds.whole(0, 10_000_000, "tokens"),
        10_000,
        "verified tokens that each worker remembers, at about 1,200 bytes each; 0 turns it off",
    )
    algorithm: str = row(
        "GATEWAY_ALGORITHM",
        kinds.ALGORITHM,
        "HS256",
        "the algorithm that signs our tokens: HS256, HS384, HS512 (with TOKEN_KEY), RS256, PS256, ES256 or"
        " EdDSA (with the keys in GATEWAY_KEY_DIR and the extra crypto)",
    )
    key_dir: str | None = row(
        "GATEWAY_KEY_DIR",
        kinds.PATH,
        None,
        "folder of the private keys, managed by `gateway keys`",
    )
    key_activation_sec: int = row(
        "GATEWAY_KEY_ACTIVATION_SEC",
        kinds.whole(0, 1_000_000_000, "seconds"),
        600,
        "seconds until a new key in that folder signs, so that all workers know it by then; the first signs"
        " at once",
    )
    previous_keys: Sequence[str | bytes] = row(
        "GATEWAY_PREVIOUS_KEYS",
        kinds.SECRETS,
        (),
        "older or newer secrets that also verify but never sign, separated by commas",
        secret=True,
    )
    policy_file: str | None = row(
        "GATEWAY_POLICY_FILE",
        kinds.PATH,
        None,
        "TOML file that says which other issuers' tokens are accepted, which routes require what, and which"
        " claims become headers",
    )
    state_url: str | None = row(
        "GATEWAY_STATE_URL",
        kinds.STATE_URL,
        None,
        "where revocations and counters are kept, for POST /auth/revoke and logins: memory:// (one worker),"
        " sqlite:///path (one machine, on a persistent disk), redis://host:port/0, rediss://,"
        " redis+sentinel://host,host/name or redis+cluster://host,host (many machines, with the extra redis)",
        address=True,
    )
    state_sync_sec: float = row(
        "GATEWAY_STATE_SYNC_SEC",
        kinds.seconds(0, 60),
        1.0,
        "seconds within which every worker knows what was revoked",
    )
    state_max_stale_sec: float = row(
        "GATEWAY_STATE_MAX_STALE_SEC",
        kinds.seconds(0, 86_400),
        None,
        "seconds for which a worker goes on while the store does not answer; from GATEWAY_STATE_SYNC_SEC",
        default_text="10, or GATEWAY_STATE_SYNC_SEC if that is more",
    )
    state_timeout_sec: float = row(
        "GATEWAY_STATE_TIMEOUT_SEC",
        kinds.seconds(0.01, 60),
        0.5,
        "seconds that a request may wait for the store",
    )
    state_fail_open: bool = row(
        "GATEWAY_STATE_FAIL_OPEN",
        kinds.FLAG,
        False,
        "true lets a worker go on after that with what it knows, instead of answering 503",
    )
    users_url: str | None = row(
        "GATEWAY_USERS_URL",
        kinds.USERS_URL,
        None,
        "the database of users who may log in, as an SQLAlchemy URL (with the extra users)",
        address=True,
    )
    login: str | LoginFunction | None = row(  # noqa: RUF009 - it makes a field, as all others
        "GATEWAY_LOGIN",
        kinds.LOGIN,
        None,
        "a function of yours to use instead, as module:callable; it gets uid and password, and returns claims"
        " or None",
    )
    login_tries: int = row(
        "GATEWAY_LOGIN_TRIES",
        kinds.whole(1, 1_000_000),
        5,
        "failed logins allowed for one uid from one address in GATEWAY_LOGIN_WINDOW_MIN",
    )
    login_tries_per_address: int = row(
        "GATEWAY_LOGIN_TRIES_PER_ADDRESS",
        kinds.whole(1, 1_000_000),
        50,
        "failed logins allowed from one address in that time",
    )
    login_window_min: int = row(
        "GATEWAY_LOGIN_WINDOW_MIN",
        kinds.whole(1, 1_000_000, "minutes"),
        15,
        "minutes for which a failed login counts",
    )
    trusted_proxies: Sequence[str] = row(
        "GATEWAY_TRUSTED_PROXIES",
        kinds.NETWORKS,
        (),
        "networks of the proxies, or unix for a unix socket, whose X-Forwarded-* headers are believed",
    )
    metrics_from: Sequence[str] = row(
        "GATEWAY_METRICS_FROM",
        kinds.NETWORKS,
        (),
        "networks that may read GET /auth/metrics, or unix for a unix socket (with the extra metrics)",
    )
    log_format: str = row(
        "GATEWAY_LOG_FORMAT",
        kinds.one_of("json", "console", "off"),
        "off",
        "how each verdict, login, revocation and change of keys is logged: json, console or off",
    )
    allow_weak_key: bool = row(
        "GATEWAY_ALLOW_WEAK_KEY",
        kinds.FLAG,
        False,
        "true accepts, with a warning, a TOKEN_KEY under 32 bytes",
    )

    issuers: tuple[IssuerRules, ...] = dataclasses.field(init=False, repr=False, default=())
    routes: tuple[RouteRules, ...] | None = dataclasses.field(init=False, repr=False, default=None)
    claim_headers: tuple[tuple[str, str], ...] = dataclasses.field(init=False, repr=False, default=())
    key_ring: FolderRing | None = dataclasses.field(init=False, repr=False, compare=False, default=None)

    def __post_init__(self) -> None:
        given = {row.keyword: getattr(self, row.keyword) for row in TABLE}
        values, faults = _values_and_faults(given)
        if faults:
            raise ConfigError(*(fault.line for fault in faults))
        for keyword, value in values.items():
            object.__setattr__(self, keyword, value)
        for warning in self._warnings():
            warnings.warn(warning, stacklevel=3)

    @property
    def signs(self) -> bool:
        """Whether there are tokens of our own; else there are those of the issuers alone."""
        return self.token_key is not None or self.key_dir is not None

    def _warnings(self) -> Iterator[Warning]:
        for variable, length in crosschecks.weak_secrets(vars(self)):
            yield WeakKeyWarning(f"{variable} holds {length} bytes: a secret so short can be guessed")
        if self.key_dir is not None:
            yield from map(ExposedKeyWarning, exposed_files(Path(self.key_dir)))

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

        Returns:
            The settings, which never change.

        Raises:
            ConfigError: one line for each thing wrong, in the file or in a value.
        """
        found = Found.in_environment(TABLE, os.environ if environ is None else environ)
        if found.faults:
            raise ConfigError(*(fault.line for fault in faults_of(found)))
        try:
            return cls(**found.given)
        except ConfigError:
            raise ConfigError(*(fault.line for fault in faults_of(found))) from None


TABLE = rows_of(Settings)


def faults_of(found: Found) -> list[Fault]:
    """Return the faults of the files and of the values in them and in the environment."""
    faults = _values_and_faults(found.given)[1]
    return found.faults + [_led_on(fault, found) for fault in faults if not found.excuses(fault)]


def _led_on(fault: Fault, found: Found) -> Fault:
    """Add, where the key is missing and so is the file, how to get both."""
    if fault.variable != "TOKEN_KEY" or not fault.missing or found.path is not None:
        return fault
    hint = f"there is no {CONFIG_FILE} in the working directory, where gateway init writes one"
    return Fault(fault.variable, f"{fault.line}; {hint}", missing=True)


def _values_and_faults(given: Mapping[str, Any]) -> tuple[dict[str, Any], list[Fault]]:
    values, faults = checked(TABLE, given)
    return values, faults + crosschecks.faults_between(values)
