"""`AuthGateway`: one thing in front of a WSGI app (PEP 3333)."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from functools import cache
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from gateway.authentication import Anonymous, Authenticator
from gateway.directory import directory_of
from gateway.endpoints import Endpoints
from gateway.headers import INJECTED_KEYS, UID_KEY, Firewall, environ_key
from gateway.identity import TOKEN_PART, Identity
from gateway.login import Login
from gateway.rejections import rejections
from gateway.responses import Announcer
from gateway.revocations import Revocations
from gateway.settings import Settings
from gateway.stores import urls
from gateway.stores.bounded import bounded_store
from gateway.tokens import TokenCreator

_log = logging.getLogger("gateway")


class AuthGateway:
    """Guards a WSGI app: it is called for requests with good credentials, and for public paths.

        app = AuthGateway(app)
        app = AuthGateway(app, Settings(token_key=..., public_paths=["/health"]))

    Args:
        app: the app to guard.
        settings: the settings; from the environment and `config.env` unless given.
        tokens: the `TokenCreator` that verifies and renews; made from the settings unless given.

    Raises:
        ConfigError: a setting is missing or wrong.
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
        self._prefix = settings.prefix or "\0"  # "" would be in every path
        self._endpoints = Endpoints(settings, self._tokens, authenticator, self._revocations, self._login)
        self._keep_up = self._tokens.keep_up if self._tokens.keys_change else None
        self._token_key = environ_key(settings.token_header)
        firewall = Firewall((self._token_key, *INJECTED_KEYS))
        self._strip, self._is_clean = firewall.strip, firewall.finds_nothing_in
        self._allow_preflight = settings.allow_preflight
        self._announcer = Announcer(settings.token_header) if settings.token_in_response else None

    def start(self) -> None:
        """Fetch keys and revocations in this process, as otherwise its first request does."""
        if self._keep_up is not None:
            self._keep_up()
        if self._revocations is not None:
            self._revocations.start()
        if self._login is not None:
            self._login.start()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request, or let the app answer it."""
        if self._unshared and environ.get("wsgi.multiprocess"):
            return _refuse_one_of_many(environ, start_response)
        uid = environ.pop(UID_KEY, None)
        if not self._is_clean(environ):
            self._strip(environ)
        environ["gateway.tokens"] = self._tokens
        if self._keep_up is not None:
            self._keep_up()
        path = environ.get("PATH_INFO", "")
        if self._prefix in path and self._endpoints.owns(path):
            return self._endpoints(environ, start_response, uid)
        if self._allow_preflight and _is_preflight(environ):
            return self._app(environ, start_response)
        verdict = self._authenticate(environ["REQUEST_METHOD"], path, environ.get("HTTP_AUTHORIZATION"), uid)
        if isinstance(verdict, Identity):
            environ[self._token_key] = verdict.bearer[TOKEN_PART]  # its `token`, at half the cost
            environ[UID_KEY] = environ["REMOTE_USER"] = verdict.uid
            environ["AUTH_TYPE"] = "Bearer"
            environ["gateway.claims"] = verdict.claims()
            if verdict.issuer is not None:
                environ["gateway.issuer"] = verdict.issuer
            if verdict.renewed and self._announcer is not None:
                start_response = self._announcer.wrap(start_response, verdict.token)
        elif not isinstance(verdict, Anonymous):
            return verdict(environ, start_response)
        return self._app(environ, start_response)


def _sessions(settings: Settings, tokens: TokenCreator) -> tuple[Revocations | None, Login | None]:
    """Return where sessions are ended and where they are begun, each if the settings say so."""
    if settings.state_url is None:
        return None, None
    store = bounded_store(settings)
    revocations = Revocations(settings, store, tokens.now)
    tokens.ended_until = revocations.ended_until
    directory = directory_of(settings)
    if directory is None:
        return revocations, None
    return revocations, Login(settings, tokens, store, revocations, directory)


def _refuse_one_of_many(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Refuse a request in one of several workers: what one ends, the others would accept."""
    _complain()
    return rejections("classic")["state_unavailable"](environ, start_response)


@cache
def _complain() -> None:
    """Say so once, not for every request."""
    _log.error("GATEWAY_STATE_URL is memory://, which is for one worker, and this is one of several")


def _is_preflight(environ: WSGIEnvironment) -> bool:
    """Tell whether a browser asks what another origin's page may send (Fetch standard, CORS protocol)."""
    return (
        environ["REQUEST_METHOD"] == "OPTIONS"
        and bool(environ.get("HTTP_ORIGIN"))
        and bool(environ.get("HTTP_ACCESS_CONTROL_REQUEST_METHOD"))
    )
