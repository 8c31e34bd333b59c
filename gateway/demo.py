"""A small app to try the gateway on, served where no `GATEWAY_APP` is set.

It has no authentication of its own: all it knows of a caller is what the gateway put into the environ.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from wsgiref.types import StartResponse, WSGIEnvironment

from werkzeug import Request, Response
from werkzeug.exceptions import HTTPException
from werkzeug.routing import Map, Rule

from gateway.headers import environ_key

PUBLIC_PATHS = ("/", "/health-of-app", "/demo/*")

_WELCOME = """\
This is the demo app behind an authentication gateway. This page is public; what else there is:

  GET /health-of-app   public too
  GET /secret          answers the token to use next
  GET /whoami          answers what the gateway told the app about you
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
    """The demo app. `token_header` is the name under which the gateway hands on the token to use next."""

    def __init__(self, token_header: str) -> None:
        self._token_key = environ_key(token_header)
        routes = Map(
            [
                Rule("/", methods=["GET"], endpoint=self._welcome),
                Rule("/health-of-app", methods=["GET"], endpoint=self._health),
                Rule("/secret", methods=["GET"], endpoint=self._secret),
                Rule("/whoami", methods=["GET"], endpoint=self._whoami),
            ]
        )
        self._routes = routes.bind("demo")

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        return self._answer(Request(environ))(environ, start_response)

    def _answer(self, request: Request) -> Response | HTTPException:
        try:
            view: Callable[[Request], Response]
            view, _ = self._routes.match(request.environ.get("PATH_INFO", ""), request.method)
            return view(request)
        except HTTPException as error:
            return error

    def _welcome(self, request: Request) -> Response:
        # Not by the Host header, which says whatever the client likes.
        name = request.environ["SERVER_NAME"].replace("0.0.0.0", "127.0.0.1")  # noqa: S104
        host = f"{name}:{request.environ['SERVER_PORT']}"
        return Response(_WELCOME.replace("{root}", f"{request.scheme}://{host}{request.root_path}/"))

    def _health(self, request: Request) -> Response:
        return _json({"status": "ok"})

    def _secret(self, request: Request) -> Response:
        return _json({"data": request.environ.get(self._token_key)})

    def _whoami(self, request: Request) -> Response:
        keys = (self._token_key, "HTTP_UID", "REMOTE_USER", "AUTH_TYPE", "gateway.claims")
        return _json({key: request.environ.get(key) for key in keys})


def _json(value: object) -> Response:
    return Response(json.dumps(value, indent=2) + "\n", mimetype="application/json")
