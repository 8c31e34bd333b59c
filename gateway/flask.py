"""`token_verify`: a Flask view guarded by itself, behind the gateway or without it.

    from gateway.flask import token_verify

    @app.get("/secret")
    @token_verify
    def secret(next_token):
        return {"data": next_token}

Flask is no dependency of this package: this module is for those who have it.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable
from functools import partial, wraps
from typing import Any, Final
from wsgiref.types import WSGIApplication, WSGIEnvironment

from flask import Flask, Response, current_app, request, request_finished

from gateway import forks
from gateway.authentication import Authenticator
from gateway.crossorigin import CrossOrigin
from gateway.headers import UID_KEY, environ_key
from gateway.identity import Identity
from gateway.injection import Injection
from gateway.middleware import one_of_many
from gateway.rejections import Rejection
from gateway.responses import Announcer
from gateway.revocations import revocations_in_force
from gateway.settings import Settings
from gateway.stores import urls
from gateway.tokens import TokenCreator
from gateway.watch import Watch

__all__ = ["TokenVerify", "token_verify"]

View = Callable[..., Any]

_MARK = "gateway_guarded"  # in the __dict__ of a guarded view, and of what functools.wraps made of it
_ANNOUNCED_KEY = "gateway.flask.announced"  # makes the headers of this response announce its token


class TokenVerify:
    """Guards Flask views: each is called with the token to use next, for requests with good credentials.

        partners = TokenVerify(Settings(token_key=..., issuer="partners"))

        @app.get("/partners/<int:number>")
        @partners
        def partner(next_token, number):
            return {"number": number}

    `token_verify` is the one that goes by the settings of the environment.

    The token comes first, before what the URL holds; in a method of a view class, after `self`. It is a
    renewed one if that was due. The view finds in `request.environ` what an app behind the gateway does
    (`gateway.claims`, `REMOTE_USER`, `gateway.tokens` and so on), and all else is answered as the gateway
    does, where a path being public lets nobody past.

    What the gateway in front has verified is not verified again, whatever the settings here. On a path
    that it let through as public there is no `uid` header left, since none was verified, so that the
    answer is `missing_credentials` unless `require_uid` is false: such a view needs a protected path.

    It is written below the route. Above it, Flask would serve the view without it.

    Without a gateway in front, what runs before the view, as `before_request` does, sees the request as
    the client sent it.

    Args:
        settings: the settings by which it verifies; those of the environment and `config.env`, read at the
            first request that needs them, unless given.

    Raises:
        ConfigError: a setting is missing or wrong; without `settings`, at that request, which is then not
            served.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self._verifier = None if settings is None else _Verifier(settings)
        self.begin_anew()
        forks.begin_anew_after(self)

    def begin_anew(self) -> None:
        """Forget who was reading the settings when this process was forked."""
        self._reading = threading.Lock()

    def __call__(self, view: View | None = None) -> View:
        """Return the view, guarded.

        Args:
            view: a function, also one of `async def` where Flask has that extra, or a method of a view class;
                its first parameter, after `self`, is the token to use next.

        Returns:
            A view that takes what the URL holds, as Flask calls it.

        Raises:
            TypeError: it is no view that can take the token, or is guarded already.
        """
        checked = _checked(view)
        before = 1 if _is_method(checked) else 0

        @wraps(checked)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            environ = request.environ
            if "gateway.claims" not in environ:
                refusal = self._in_use().refusal(environ)
                if refusal is not None:
                    return refusal
            token = environ[environ_key(environ["gateway.tokens"].token_header)]
            called = current_app.ensure_sync(checked)
            return called(*args[:before], token, *args[before:], **kwargs)

        vars(guarded)[_MARK] = True
        return guarded

    def _in_use(self) -> _Verifier:
        if self._verifier is None:
            with self._reading:
                if self._verifier is None:
                    self._verifier = _Verifier(Settings.from_env())
        return self._verifier


class _Verifier:
    """Does what the middleware does, for requests that it has not verified."""

    def __init__(self, settings: Settings) -> None:
        self._tokens = TokenCreator(settings)
        self._unshared = urls.is_memory(settings.state_url or "")
        revocations = revocations_in_force(settings, self._tokens)
        self._authenticator = Authenticator(settings, self._tokens, revocations)
        self._watch = Watch(settings, self._tokens, self._authenticator, revocations)
        self._cross_origin = CrossOrigin(settings) if settings.cors_origins else None
        self._injection = Injection(settings)
        self._announcer = Announcer(settings.token_header) if settings.token_in_response else None
        request_finished.connect(_announce)  # after all that may still change the response; once, if twice

    def refusal(self, environ: WSGIEnvironment) -> WSGIApplication | None:
        """Return the answer that refuses a request, or None: then its environ tells who sends it."""
        if self._unshared and environ.get("wsgi.multiprocess"):
            return self._readable(one_of_many())
        uid = environ.pop(UID_KEY, None)
        self._injection.firewall.strip(environ)
        environ["gateway.tokens"] = self._tokens
        verdict = self._verdict(environ, uid)
        if not isinstance(verdict, Identity):
            return self._readable(verdict)
        self._injection.put(verdict, environ)
        if verdict.renewed and self._announcer is not None:
            environ[_ANNOUNCED_KEY] = partial(self._announcer.announced, token=verdict.token)
        return None

    def _verdict(self, environ: WSGIEnvironment, uid: str | None) -> Identity | Rejection:
        method, path = environ["REQUEST_METHOD"], environ.get("PATH_INFO", "")
        self._watch.has_observers()  # which looks for them once
        return self._watch.judge(self._judge, environ, method, path, environ.get("HTTP_AUTHORIZATION"), uid)

    def _judge(
        self, method: str, path: str, authorization: str | None, uid: str | None
    ) -> Identity | Rejection:
        """Judge as the gateway does, where a path being public lets nobody past."""
        verdict = self._authenticator.authenticate(method, path, authorization, uid)
        if isinstance(verdict, Identity | Rejection):
            return verdict
        return self._authenticator.identify(authorization, uid)

    def _readable(self, answer: WSGIApplication) -> WSGIApplication:
        """Return a refusal that pages of other origins can read as well, if they may."""
        cross_origin = self._cross_origin
        if cross_origin is None:
            return answer
        return lambda environ, start_response: answer(environ, cross_origin.wrap(environ, start_response))


def _announce(_app: Flask, response: Response, **_: Any) -> None:
    """Put the token into a response, if there is a renewed one, and take away what would have it kept."""
    announced = request.environ.pop(_ANNOUNCED_KEY, None)
    if announced is not None:
        headers = announced(response.headers.to_wsgi_list())
        response.headers.clear()
        response.headers.extend(headers)


def _checked(view: View | None) -> View:
    """Return a view that can be guarded.

    Raises:
        TypeError: it is none; the message says what would be right.
    """
    if isinstance(view, type):
        raise TypeError(
            f"token_verify guards view functions, and {view.__name__} is a class:"
            " write @token_verify above its methods, as in def get(self, next_token)"
        )
    if not callable(view):
        given = "nothing" if view is None else f"a {type(view).__name__}"
        raise TypeError(
            f"token_verify guards a view, and was given {given}: write @token_verify below the route,"
            " without parentheses; settings go to TokenVerify(settings), which makes such a decorator"
        )
    if _MARK in getattr(view, "__dict__", ()):
        raise TypeError(f"{_name(view)} is guarded by token_verify already: write it once")
    if not _takes_token(view):
        raise TypeError(
            f"{_name(view)} must take the token to use next as its first parameter, without a default:"
            " def view(next_token), or in a view class def get(self, next_token)"
        )
    return view


def _takes_token(view: View) -> bool:
    """Tell whether there is a place for the token.

    With a default a view could do without it, and would be served unguarded if the route stood below.
    """
    place = 1 if _is_method(view) else 0
    for index, parameter in enumerate(inspect.signature(view).parameters.values()):
        if parameter.kind is parameter.VAR_POSITIONAL:
            return True
        if index == place:
            positional = parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
            return positional and parameter.default is parameter.empty
    return False


def _is_method(view: View) -> bool:
    """Tell whether it is a function from the body of a class, so that it takes `self` first."""
    around = _name(view).rpartition(".")[0]
    return inspect.isfunction(view) and bool(around) and not around.endswith("<locals>")


def _name(view: View) -> str:
    return getattr(view, "__qualname__", type(view).__name__)


token_verify: Final = TokenVerify()
