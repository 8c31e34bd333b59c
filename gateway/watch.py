"""Who watches a gateway: the audit log, the metrics and the traces, each where it is asked for."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from time import perf_counter
from typing import TypeVar
from wsgiref.types import WSGIApplication, WSGIEnvironment

from gateway.audit import Audit
from gateway.authentication import Anonymous, Authenticator
from gateway.events import (
    ACCEPTED,
    ALL,
    ANONYMOUS,
    SESSION,
    Holder,
    KeysTaken,
    LoginTried,
    Named,
    Observer,
    Revoked,
    Verdict,
)
from gateway.identity import Identity
from gateway.login import Granted, Login
from gateway.proxies import TrustedProxies
from gateway.rejections import NOT_FORWARDED, Rejection
from gateway.revocations import Revocations
from gateway.settings import Settings
from gateway.tokens import TokenCreator

# Refusals before which no token was looked up.
_NOT_LOOKED_UP = frozenset(
    {"missing_credentials", "malformed_credentials", "malformed_path", "no_route", NOT_FORWARDED.code}
)
_OK = 200

Judged = TypeVar("Judged", bound=Identity | Anonymous | Rejection)
# Judges a request by its method, its path, its `Authorization` and its `uid`.
Judge = Callable[[str, str, str | None, str | None], Judged]

_log = logging.getLogger("gateway")


class Watch:
    """Tells observers what happens at one gateway; nothing that goes wrong with them ends a request.

    A tracer provider is looked for when the first request of a process comes, since whoever sets one does so
    while the app is imported, or when the process was forked.

    Args:
        settings: the settings.
        tokens: tells whose a rightly signed token is.
        authenticator: judges.
        revocations: whose view of the state store is measured; None where there is none.
    """

    def __init__(
        self,
        settings: Settings,
        tokens: TokenCreator,
        authenticator: Authenticator,
        revocations: Revocations | None = None,
    ) -> None:
        self._authenticate = authenticator.authenticate
        self._identify = authenticator.identify
        self._known = tokens.known
        self._holder_of = tokens.holder_of
        self._names = settings.log_format != "off"  # who was meant, which only the audit log tells
        # The endpoint that shows the metrics; None where there are none.
        self.page: WSGIApplication | None = None
        # To be called when a process begins to serve.
        self.start: Callable[[], None] = _nothing
        self._asked_for = tuple(self._made(settings, tokens, revocations))
        self._observers = self._asked_for
        self._is_settled = False
        if self._asked_for:
            tokens.tell_of_keys(self._keys_taken)

    def _made(
        self, settings: Settings, tokens: TokenCreator, revocations: Revocations | None
    ) -> Iterator[Observer]:
        """Make the observers that the settings ask for."""
        if settings.log_format != "off":
            proxies = TrustedProxies(settings.trusted_proxies)
            yield Audit(settings.log_format, proxies, tokens.now, self._holder_sent)
        if settings.metrics_from:
            # Of an extra, which the setting has asked for.
            from gateway.metrics import Metrics, Page  # noqa: PLC0415

            metrics = Metrics(settings, tokens, revocations)
            self.page = Page(settings, metrics)
            self.start = metrics.start
            yield metrics

    def has_observers(self) -> bool:
        """Tell whether anybody watches, and look for a tracer provider if it was not done before."""
        if not self._is_settled:
            # It comes to the same, whichever thread is the last to do so.
            self._observers = (*self._asked_for, *_traces())
            self._is_settled = True
        return bool(self._observers)

    def authenticate(
        self, environ: WSGIEnvironment, method: str, path: str, authorization: str | None, uid: str | None
    ) -> Identity | Anonymous | Rejection:
        """Return what `Authenticator.authenticate` returns, in the sight of the observers."""
        return self.judge(self._authenticate, environ, method, path, authorization, uid)

    def judge(
        self,
        judge: Judge[Judged],
        environ: WSGIEnvironment,
        method: str,
        path: str,
        *credentials: str | None,
    ) -> Judged:
        """Return what another judge returns, in the sight of the observers."""
        authorization, uid = credentials
        cached = self._known(authorization) is not None
        began = perf_counter()
        verdict = judge(method, path, authorization, uid)
        seconds = perf_counter() - began
        self._judged(environ, _event(verdict, method, path, cached, seconds))
        return verdict

    def identify(
        self, environ: WSGIEnvironment, authorization: str | None, uid: str | None
    ) -> Identity | Rejection:
        """Return what `Authenticator.identify` returns, in the sight of the observers."""
        method, path = environ["REQUEST_METHOD"], environ.get("PATH_INFO", "")
        return self.judge(
            lambda *_: self._identify(authorization, uid), environ, method, path, authorization, uid
        )

    def refused(self, environ: WSGIEnvironment, method: str, path: str, refusal: Rejection) -> None:
        """Tell of a request that was refused without being judged."""
        self._judged(environ, _event(refusal, method, path, False, 0.0))

    def _judged(self, environ: WSGIEnvironment, verdict: Verdict) -> None:
        self._tell(lambda observer: observer.judged(environ, verdict))

    def login_tried(
        self, environ: WSGIEnvironment, login: Login, uid: int | str, answer: Granted | Rejection
    ) -> None:
        """Tell how an attempt to log in was answered."""
        if isinstance(answer, Granted):
            tried = LoginTried(ACCEPTED, _OK, self._holder_of(answer.token))
        else:
            tried = LoginTried(answer.code, answer.status, self._whom(login, uid, answer.code))
        self._tell(lambda observer: observer.login_tried(environ, tried))

    def _whom(self, login: Login, uid: int | str, code: str) -> Holder | None:
        """Return whose password was wrong; what is nobody's uid may be a password in the wrong field."""
        is_known = self._names and code == "wrong_login" and login.knows(uid)
        return Named(str(uid)) if is_known else None

    def revoked(self, environ: WSGIEnvironment, identity: Identity, everything: bool) -> None:
        """Tell that sessions were ended."""
        revoked = Revoked(ALL if everything else SESSION, identity)
        self._tell(lambda observer: observer.revoked(environ, revoked))

    def _keys_taken(self, taken: KeysTaken) -> None:
        self._tell(lambda observer: observer.keys_taken(taken))

    def _holder_sent(self, authorization: str) -> Holder | None:
        """Return whose the token is in a header of the right form."""
        return self._holder_of(authorization.rpartition(" ")[2])

    def _tell(self, what: Callable[[Observer], None]) -> None:
        for observer in self._observers:
            try:
                what(observer)
            except Exception as error:  # noqa: BLE001 - whatever it is, the request is not to blame
                _complain(f"{type(observer).__name__} fails: {type(error).__name__}")


def _event(
    verdict: Identity | Anonymous | Rejection, method: str, path: str, cached: bool, seconds: float
) -> Verdict:
    if isinstance(verdict, Identity):
        return Verdict(ACCEPTED, None, method, path, verdict, cached, seconds)
    if isinstance(verdict, Anonymous):
        return Verdict(ANONYMOUS, None, method, path, None, None, seconds)
    looked_up = cached if verdict.code not in _NOT_LOOKED_UP else None
    return Verdict(verdict.code, verdict.status, method, path, None, looked_up, seconds)


def _traces() -> Iterator[Observer]:
    """Yield what makes spans, if a tracer provider is set: whoever did that has imported this module."""
    if "opentelemetry.trace" in sys.modules:
        from gateway import traces  # noqa: PLC0415 - of a library that is there only with the app

        provider = traces.provider_in_force()
        if provider is not None:
            yield traces.Traces(provider)


@cache
def _complain(line: str) -> None:
    """Say so once, if there is anybody to be told."""
    with suppress(OSError, ValueError):
        _log.error("%s; requests go on", line)


def _nothing() -> None:
    """There is nothing to begin with."""
