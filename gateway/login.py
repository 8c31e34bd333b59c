"""Logging in: how a password becomes a token."""

from __future__ import annotations

import logging
from typing import NamedTuple

from gateway.breaker import sharing
from gateway.claims import CLOCK_SKEW_SEC
from gateway.directory import Directory, Known, LoginFunctionError
from gateway.errors import InvalidClaimsError, KeysUnavailableError, StateUnavailableError, StoreError
from gateway.rejections import LOGIN_UNAVAILABLE, WRONG_LOGIN, Rejection, rejections, too_many_attempts
from gateway.revocations import Revocations
from gateway.settings import Settings
from gateway.stores import Store
from gateway.throttle import Attempt, Throttle
from gateway.tokens import TokenCreator

_log = logging.getLogger("gateway")


class Granted(NamedTuple):
    """A login that went well: the token, and the seconds until it expires."""

    token: str
    expires_in: int


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

    def knows(self, uid: int | str) -> bool:
        """Tell whether that is somebody's uid; False where it cannot be told."""
        return self._directory.knows(uid)

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
        except LoginFunctionError:  # a failure: it may be how that function says that a password is wrong
            return LOGIN_UNAVAILABLE
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
        ended = self._tokens.ended_until(str(known.uid))
        if began <= ended:  # it was ended while the password was looked at
            if ended > self._tokens.now() + CLOCK_SKEW_SEC:
                _log.error("the sessions of a user have ended in the future: the clock of a machine is wrong")
            return LOGIN_UNAVAILABLE
        try:
            token = self._tokens.begin(known.uid, known.claims, began)
        except KeysUnavailableError as error:
            return self._rejections[error.code]
        except InvalidClaimsError as error:
            _log.error("no token can be made for a user: %s", error)
            return LOGIN_UNAVAILABLE
        return Granted(token, self._lifetime)
