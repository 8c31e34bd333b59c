"""Who may log in: those of the users database, or whom a function of the operator's knows."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from gateway.breaker import Breaker
from gateway.claims import uid_claim, uid_text
from gateway.errors import StoreError, UsersUnavailableError
from gateway.importing import imported, place_of
from gateway.kinds import MOST_PASSWORD_BYTES, LoginFunction
from gateway.settings import Settings

if TYPE_CHECKING:
    from gateway.users import Users

USERS_TIMEOUT_SEC: Final = 10  # for the database and for the hashes that come first
_PING_SEC: Final = 1

_log = logging.getLogger("gateway")


class LoginFunctionError(StoreError):
    """The operator's function raised something, or returned what is no claims."""


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

    def knows(self, uid: int | str) -> bool:
        """Tell whether that is somebody's uid; False where it cannot be told."""

    @property
    def is_up(self) -> bool:
        """Whether it can be asked."""


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
        name = uid_text(uid) or ""  # which is nobody's
        claims = self._breaker.call(lambda: self._users.check(name, password))
        return None if claims is None else Known(uid_claim(name), claims)

    def knows(self, uid: int | str) -> bool:
        """Tell whether that is somebody's uid."""
        name = uid_text(uid)
        if name is None:
            return False
        try:
            return self._breaker.call(lambda: self._users.get(name)) is not None
        except UsersUnavailableError:
            return False

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

    def knows(self, uid: int | str) -> bool:
        """The function does not tell."""
        return False

    def check(self, uid: int | str, password: str) -> Known | None:
        """Return whose password it is, or None."""
        if uid_text(uid) is None or len(password.encode("utf-8", "surrogatepass")) > MOST_PASSWORD_BYTES:
            return None
        try:
            claims = self._function(uid, password)
            if claims is None or isinstance(claims, Mapping):
                return None if claims is None else Known(uid, dict(claims))
        except Exception as error:
            # Not its text, in which the password may stand.
            _log.error("GATEWAY_LOGIN raised %s (%s)", type(error).__name__, place_of(error))
            raise LoginFunctionError("the login function failed") from error
        _log.error("GATEWAY_LOGIN returned %s; it must be claims by name, or None", type(claims).__name__)
        raise LoginFunctionError("the login function failed")


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


def load_login(spec: str | LoginFunction) -> LoginFunction:
    """Return the function that tells whose a password is, itself or by its name.

    Raises:
        ConfigError: it does not import.
    """
    if callable(spec):
        return spec
    return imported("GATEWAY_LOGIN", spec, "a function of uid and password")
