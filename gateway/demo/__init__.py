"""A small app to try the gateway on, served where no `GATEWAY_APP` is set.

It has no authentication of its own: all it knows of a caller is what the gateway put into the environ.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from werkzeug import Request, Response
from werkzeug.exceptions import HTTPException
from werkzeug.routing import Map, Rule

from gateway.demo.aging import Aging
from gateway.demo.facts import facts_of
from gateway.demo.pages import CLOSED, INDEX, files
from gateway.headers import environ_key
from gateway.settings import Settings

View = Callable[[Request], WSGIApplication]

PUBLIC_PATHS = ("/", "/health-of-app", "/demo/*")

_WELCOME = """\
This is the demo app behind an authentication gateway. In a browser this page is a playground:

  {root}

It is public. What else there is:

  GET /health-of-app   public too
  GET /secret          answers the token to use next
  GET /whoami          answers what the gateway told the app about you
  POST /age            answers your token with an earlier end: {"left": "near"} or {"left": "expired"}
  POST /auth           the gateway's own, which the app never sees: log in
  POST /auth/revoke    log out
  GET /auth/health     says whether the gateway serves

Log in as the user that `make run` or `gateway init` has made for you:

  curl -d '{"uid": "admin", "password": "..."}' {root}auth

and use the token that it answers:

  curl -i -H "Authorization: Bearer $TOKEN" -H "uid: admin" {root}secret

Without a login, make a token for uid 12, in the folder in which the gateway was started (after `make run`
the command is .venv/bin/gateway):

  TOKEN=$(gateway token create --uid 12)

Then leave out a header, change the uid, or cut a letter off the token.
"""


class Demo:
    """The demo app, with a page to try it on.

    Args:
        settings: those of the gateway in front of it.
    """

    def __init__(self, settings: Settings) -> None:
        self._token_key = environ_key(settings.token_header)
        self._facts = facts_of(settings)
        pages = files()
        self._index = pages.pop(INDEX)
        routes = [
            _rule("/", "GET", self._root),
            _rule("/health-of-app", "GET", self._health),
            _rule("/secret", "GET", self._secret),
            _rule("/whoami", "GET", self._whoami),
            _rule("/age", "POST", Aging(settings)),
            _rule("/demo/settings.json", "GET", self._settings),
            *(_rule(f"/demo/{name}", "GET", page) for name, page in pages.items()),
        ]
        self._routes = Map(routes, merge_slashes=False).bind("demo")

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        return self._answer(Request(environ))(environ, start_response)

    def _answer(self, request: Request) -> WSGIApplication:
        try:
            view: View
            view, _ = self._routes.match(request.environ.get("PATH_INFO", ""), request.method)
            return view(request)
        except HTTPException as error:
            return error

    def _root(self, request: Request) -> WSGIApplication:
        """Answer the playground to browsers, which name HTML, and the welcome to all others, as curl."""
        offered = ("text/plain", "text/html")
        is_browser = request.accept_mimetypes.best_match(offered, "text/plain") == "text/html"
        return self._index(request, vary="Accept") if is_browser else self._welcome(request)

    def _welcome(self, request: Request) -> Response:
        # Not by the Host header, which says whatever the client likes.
        name = request.environ["SERVER_NAME"].replace("0.0.0.0", "127.0.0.1")  # noqa: S104
        host = f"{name}:{request.environ['SERVER_PORT']}"
        root = f"{request.scheme}://{host}{request.root_path}/"
        return Response(_WELCOME.replace("{root}", root), headers={"Vary": "Accept"})

    def _health(self, request: Request) -> Response:
        return _json({"status": "ok"})

    def _secret(self, request: Request) -> Response:
        return _json({"data": request.environ.get(self._token_key)})

    def _whoami(self, request: Request) -> Response:
        keys = (self._token_key, "HTTP_UID", "REMOTE_USER", "AUTH_TYPE", "gateway.claims")
        return _json({key: request.environ.get(key) for key in keys})

    def _settings(self, request: Request) -> Response:
        response = _json({"now": request.environ["gateway.tokens"].now(), **self._facts})
        response.headers.update({**CLOSED, "Cache-Control": "no-store"})
        return response


def _rule(path: str, method: str, view: View) -> Rule:
    return Rule(path, methods=[method], endpoint=view)


def _json(value: object) -> Response:
    return Response(json.dumps(value, indent=2) + "\n", mimetype="application/json")
