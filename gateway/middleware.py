"""`AuthGateway`: one thing in front of a WSGI app (PEP 3333)."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from functools import cache
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from gateway.authentication import Anonymous, Authenticator
from gateway.crossorigin import CrossOrigin, is_preflight
from gateway.directory import directory_of
from gateway.endpoints import Endpoints
from gateway.headers import UID_KEY
from gateway.identity import Identity
from gateway.injection import Injection
from gateway.login import Login
from gateway.rejections import Rejection, rejections
from gateway.responses import Announcer
from gateway.revocations import Revocations, revocations_of
from gateway.settings import Settings
from gateway.stores import urls
from gateway.stores.bounded import bounded_store
from gateway.tokens import TokenCreator
from gateway.watch import Watch

_log = logging.getLogger("gateway")


class AuthGateway:
    """Guards a WSGI app: it is called for requests with good credentials, and for public paths.

        app = AuthGateway(app)
        app = AuthGateway(app, Settings(token_key=..., public_paths=["/health"]))
        flask_app.wsgi_app = AuthGateway(flask_app.wsgi_app)

    It is a WSGI app itself (PEP 3333), and can be called by several threads at once. What the app is told of
    who calls is in its environ: `REMOTE_USER`, `gateway.claims` and so on.

    Args:
        app: the app to guard.
        settings: the settings; from the environment and `config.env` unless given.
        tokens: the `TokenCreator` that verifies and renews; made from the settings unless given.

    Raises:
        ConfigError: a setting is missing or wrong.
        TypeError: the app cannot be called.
    """

    def __init__(
        self,
        app: WSGIApplication,
        settings: Settings | None = None,
        *,
        tokens: TokenCreator | None = None,
    ) -> None:
        if not callable(app):
            raise TypeError(f"app must be a WSGI callable, not {type(app).__name__}")
        settings = settings if settings is not None else Settings.from_env()
        self._app = app
        self._unshared = urls.is_memory(settings.state_url or "")
        self._tokens = tokens if tokens is not None else TokenCreator(settings)
        self._revocations, self._login = _sessions(settings, self._tokens)
        authenticator = Authenticator(settings, self._tokens, self._revocations)
        self._authenticate = authenticator.authenticate
        self._refuses_preflight = authenticator.refuses_preflight
        watch = Watch(settings, self._tokens, authenticator, self._revocations)
        self._watch: Watch | None = watch  # None as soon as it is certain that nobody watches
        # Where nothing hangs on method and path, the judge is not asked about them.
        self._identify = authenticator.identify if authenticator.asks_for_no_more else None
        self._prefix = settings.prefix or "\0"  # "" would be in every path
        self._cross_origin = CrossOrigin(settings) if settings.cors_origins else None
        self._endpoints = Endpoints(
            settings, self._tokens, watch, self._revocations, self._login, cross_origin=self._cross_origin
        )
        injection = Injection(settings)
        self._inject = injection.put
        self._strip, self._is_clean = injection.firewall.strip, injection.firewall.finds_nothing_in
        self._allow_preflight = settings.allow_preflight
        self._announcer = Announcer(settings.token_header) if settings.token_in_response else None

    @property
    def tokens(self) -> TokenCreator:
        """What makes, renews and verifies tokens here; in the app's environ it is `gateway.tokens`."""
        return self._tokens

    def start(self) -> None:
        """Fetch keys and revocations in this process, as otherwise its first request does."""
        if self._watch is not None:
            self._watch.start()
        self._tokens.keep_up()
        if self._revocations is not None:
            self._revocations.start()
        if self._login is not None:
            self._login.start()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request, or let the app answer it."""
        if self._unshared and environ.get("wsgi.multiprocess"):
            return self._answer(one_of_many(), environ, start_response)
        uid = environ.pop(UID_KEY, None)
        if not self._is_clean(environ):
            self._strip(environ)
        environ["gateway.tokens"] = self._tokens
        path = environ.get("PATH_INFO", "")
        if self._prefix in path and self._endpoints.owns(path):
            return self._answer(self._endpoints.answering(environ, uid), environ, start_response)
        if self._allow_preflight and is_preflight(environ["REQUEST_METHOD"], environ):
            return self._preflight(path, environ, start_response)
        watch, authorization = self._watch, environ.get("HTTP_AUTHORIZATION")
        if watch is not None:
            verdict = self._judge_before(watch, environ, authorization, uid)
        elif self._identify is not None:
            verdict = self._identify(authorization, uid)
        else:
            verdict = self._authenticate(environ["REQUEST_METHOD"], path, authorization, uid)
        if isinstance(verdict, Identity):
            self._inject(verdict, environ)
            if verdict.renewed and self._announcer is not None:
                start_response = self._announcer.wrap(start_response, verdict.token)
        elif not isinstance(verdict, Anonymous):
            return self._answer(verdict, environ, start_response)
        return self._app(environ, start_response)

    def _preflight(
        self, path: str, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        """Let the app answer what a browser asks before a request, unless no route is for that."""
        refusal = self._refuses_preflight(environ, path)
        if refusal is None:
            return self._app(environ, start_response)
        if self._watch is not None:
            self._watch.refused(environ, environ["REQUEST_METHOD"], path, refusal)
        return self._answer(refusal, environ, start_response)

    def _judge_before(
        self, watch: Watch, environ: WSGIEnvironment, authorization: str | None, uid: str | None
    ) -> Identity | Anonymous | Rejection:
        """Judge a request before the eyes of who watches, if there is anybody."""
        method, path = environ["REQUEST_METHOD"], environ.get("PATH_INFO", "")
        if watch.has_observers():
            return watch.authenticate(environ, method, path, authorization, uid)
        self._watch = None
        return self._authenticate(method, path, authorization, uid)

    def _answer(
        self, answer: WSGIApplication, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        """Answer in the app's place, for the pages of other origins as well that may read it."""
        if self._cross_origin is not None:
            start_response = self._cross_origin.wrap(environ, start_response)
        return answer(environ, start_response)


def _sessions(settings: Settings, tokens: TokenCreator) -> tuple[Revocations | None, Login | None]:
    """Return where sessions are ended and where they are begun, each if the settings say so."""
    if settings.state_url is None:
        return None, None
    store = bounded_store(settings)
    revocations = revocations_of(settings, tokens, store)
    directory = directory_of(settings)
    if directory is None:
        return revocations, None
    return revocations, Login(settings, tokens, store, revocations, directory)


@cache
def one_of_many() -> Rejection:
    """Return the refusal in one of several workers: what one ends, the others would accept."""
    # Once, not for every request.
    _log.error("GATEWAY_STATE_URL is memory://, which is for one worker, and this is one of several")
    return rejections("classic")["state_unavailable"]
