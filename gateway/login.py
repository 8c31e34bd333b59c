"""Logging in: who may, how often it may be tried, and the token that it gives."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from gateway.breaker import Breaker, sharing
from gateway.claims import uid_text
from gateway.errors import (
    InvalidClaimsError,
    KeysUnavailableError,
    StateUnavailableError,
    StoreError,
    UsersUnavailableError,
)
from gateway.importing import imported, place_of
from gateway.proxies import throttled_as
from gateway.rejections import LOGIN_UNAVAILABLE, WRONG_LOGIN, Rejection, rejections, too_many_attempts
from gateway.revocations import Revocations
from gateway.settings import Settings
from gateway.stores import Store
from gateway.tokens import TokenCreator

if TYPE_CHECKING:
    from gateway.users import Users

USERS_TIMEOUT_SEC: Final = 10  # for the database and for the hashes that come first
_PING_SEC: Final = 1

LoginFunction = Callable[[int | str, str], Mapping[str, Any] | None]

_log = logging.getLogger("gateway")


class Granted(NamedTuple):
    """A login that went well: the token, and the seconds until it expires."""

    token: str
    expires_in: int


class Known(NamedTuple):
    """Somebody whose password was right: the uid as it stands in the token, and the extra claims."""

    uid: int | str
    claims: Mapping[str, Any]


class Directory(Protocol):
    """Knows who may log in."""

    def check(self, uid: int | str, password: str) -> Known | None:
        """Return whose password it is, or None.

        Raises:
            StoreError: that cannot be told now.
        """

    @property
    def is_up(self) -> bool:
        """Whether it can be asked."""


class Throttle:
    """Counts logins that are tried and do not succeed, for a uid from an address and for the address.

    They are counted before the password is looked at, so that many at once are not more than are allowed.
    """

    def __init__(self, settings: Settings, store: Store, clock: Callable[[], float]) -> None:
        self._tries = settings.login_tries
        self._tries_per_address = settings.login_tries_per_address
        self._window = settings.login_window_min * 60
        self._store = store
        self._clock = clock

    def attempt(self, uid: str, address: str) -> Attempt:
        """Return an attempt to log in, not counted yet."""
        address = throttled_as(address)
        return Attempt(_key("pair", uid, address), _key("address", address), secrets.token_hex(8))

    def count(self, attempt: Attempt) -> float:
        """Count an attempt as a failure until it succeeds; return the seconds to wait if there were too many.

        Raises:
            StateUnavailableError: it cannot be counted.
        """
        limits = {attempt.pair: self._tries, attempt.address: self._tries_per_address}
        wait = self._store.admit(limits, attempt.hit, self._window, self._clock())
        return min(wait, self._window)  # more only where a clock was set back

    def take_back(self, attempt: Attempt) -> None:
        """Do not count an attempt of which nobody knows whether it would have failed."""
        with suppress(StateUnavailableError):
            self._store.forgive(attempt.hit, [attempt.pair, attempt.address], [])

    def succeeded(self, attempt: Attempt) -> None:
        """Forget the failures of the pair, and do not count this attempt to the address."""
        with suppress(StateUnavailableError):
            self._store.forgive(attempt.hit, [attempt.address], [attempt.pair])


class Attempt(NamedTuple):
    """An attempt to log in: the keys under which it is counted, and its own name."""

    pair: str
    address: str
    hit: str


class Login:
    """Tells whether somebody may log in, and gives a token.

    Args:
        settings: the settings.
        tokens: makes the token.
        store: counts.
        revocations: tells which sessions were ended.
        directory: knows who may log in.
    """

    def __init__(
        self,
        settings: Settings,
        tokens: TokenCreator,
        store: Store,
        revocations: Revocations,
        directory: Directory,
    ) -> None:
        self._tokens = tokens
        self._throttle = Throttle(settings, store, tokens.now)
        self._revocations = revocations
        self._directory = directory
        self._timeout = settings.state_timeout_sec
        self._lifetime = settings.exp_time_min * 60
        self._rejections = rejections(settings.status_profile)

    def start(self) -> None:
        """Ask for those who may log in, so that the log tells at once if they are not to be had."""
        if not self.is_up:
            _log.warning("nobody can log in, for now")

    @property
    def is_up(self) -> bool:
        """Whether those who may log in can be asked for."""
        return self._directory.is_up

    def attempt(self, uid: int | str, password: str, address: str) -> Granted | Rejection:
        """Return a token for somebody, or why there is none.

        Args:
            uid: whose it shall be.
            password: shows that it is somebody's own.
            address: from where that was sent.
        """
        attempt = self._throttle.attempt(str(uid), address)
        try:
            with sharing(self._timeout) as left:
                wait = self._throttle.count(attempt)
                if wait:
                    return too_many_attempts(wait)
                self._revocations.catch_up()  # so that the session begins after all that have ended
        except StateUnavailableError:
            return self._rejections["state_unavailable"]
        return self._counted(attempt, uid, password, left[0])

    def _counted(self, attempt: Attempt, uid: int | str, password: str, left: float) -> Granted | Rejection:
        """Look at the password; `left` are the seconds for which the store may still be waited for."""
        # The session begins before that: whoever changes the password meanwhile ends it as well.
        began = self._tokens.beginning(uid)
        try:
            known = self._directory.check(uid, password)
        except StoreError:
            with sharing(left):
                self._throttle.take_back(attempt)
            return LOGIN_UNAVAILABLE
        if known is None:
            return WRONG_LOGIN
        with sharing(left):
            self._throttle.succeeded(attempt)
        return self._granted(known, began)

    def _granted(self, known: Known, began: float) -> Granted | Rejection:
        try:
            token = self._tokens.begin(known.uid, known.claims, began)
        except KeysUnavailableError as error:
            return self._rejections[error.code]
        except InvalidClaimsError as error:
            _log.error("no token can be made for a user: %s", error)
            return LOGIN_UNAVAILABLE
        return Granted(token, self._lifetime)


class UsersDirectory:
    """Those in the users database, asked in bounded time."""

    def __init__(self, users: Users) -> None:
        self._users = users
        self._breaker = Breaker(
            "the users database",
            timeout=USERS_TIMEOUT_SEC,
            pause=1,
            patience=10,
            error=UsersUnavailableError,
        )
        self._pinged_at = -math.inf
        self._is_up = False

    def check(self, uid: int | str, password: str) -> Known | None:
        """Return whose password it is, or None."""
        from gateway.users import uid_claim  # noqa: PLC0415 - of an extra

        name = uid_text(uid) or ""  # which is nobody's
        claims = self._breaker.call(lambda: self._users.check(name, password))
        return None if claims is None else Known(uid_claim(name), claims)

    @property
    def is_up(self) -> bool:
        """Whether the database can be asked; it is asked once a second at most."""
        if time.monotonic() >= self._pinged_at + _PING_SEC:
            try:
                self._breaker.call(self._users.ping)
                self._is_up = True
            except UsersUnavailableError:
                self._is_up = False
            self._pinged_at = time.monotonic()
        return self._is_up


class FunctionDirectory:
    """A function of the operator's own."""

    is_up = True

    def __init__(self, function: LoginFunction) -> None:
        self._function = function

    def check(self, uid: int | str, password: str) -> Known | None:
        """Return whose password it is, or None."""
        if uid_text(uid) is None:  # there is no token for such a one
            return None
        try:
            claims = self._function(uid, password)
            if claims is None or isinstance(claims, Mapping):
                return None if claims is None else Known(uid, dict(claims))
        except Exception as error:
            # Not its text, in which the password may stand.
            _log.error("GATEWAY_LOGIN raised %s (%s)", type(error).__name__, place_of(error))
            raise UsersUnavailableError("the login function failed") from error
        _log.error("GATEWAY_LOGIN returned %s; it must be claims by name, or None", type(claims).__name__)
        raise UsersUnavailableError("the login function failed")


def directory_of(settings: Settings) -> Directory | None:
    """Return who knows those who may log in by the settings, or None if nobody may.

    Raises:
        ConfigError: the function does not import.
    """
    if settings.login is not None:
        return FunctionDirectory(load_login(settings.login))
    if settings.users_url is not None:
        from gateway.users import Users  # noqa: PLC0415 - of an extra

        return UsersDirectory(Users(settings.users_url))
    return None


def load_login(spec: str) -> LoginFunction:
    """Return the function that tells whose a password is.

    Raises:
        ConfigError: it does not import.
    """
    return imported("GATEWAY_LOGIN", spec, "a function of uid and password")


def _key(*parts: str) -> str:
    """Return a key that is short and that nobody can choose."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
