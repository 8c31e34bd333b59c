"""A Pyramid app behind the gateway: log in, see who you are, and read reports if you may.

    export TOKEN_KEY=... DEMO_PASSWORD=... GATEWAY_POLICY_FILE=examples/policy.toml
    gunicorn -c python:gateway.gunicorn_conf examples.pyramid_app:app

The policy file says what each path asks for: `/login` nothing, `/reports` the scope `reports:read`.
"""

from __future__ import annotations

import os

from pyramid.config import Configurator
from pyramid.request import Request

from gateway import AuthGateway
from gateway.passwords import hashed, verify

HASHES = {"anna": hashed(os.environ["DEMO_PASSWORD"])}


def login(request: Request) -> dict[str, str]:
    """Answer a token to whoever knows the password."""
    uid, password = str(request.POST.get("uid")), str(request.POST.get("password"))  # or it may be a file
    if not verify(password, HASHES.get(uid)):  # takes as long for somebody who is not there
        request.response.status_int = 401
        request.response.headers["WWW-Authenticate"] = 'Bearer realm="example"'
        return {"error": "Wrong uid or password"}
    request.response.headers["Cache-Control"] = "no-store"
    return {"token": request.environ["gateway.tokens"].create(uid, scope="reports:read")}


def me(request: Request) -> dict[str, str]:
    """Answer who is logged in."""
    return {"uid": request.remote_user}


def reports(request: Request) -> dict[str, object]:
    """Answer what the scope `reports:read` is for."""
    return {"reader": request.remote_user, "reports": ["spring", "autumn"]}


with Configurator() as config:
    for view, method in ((login, "POST"), (me, "GET"), (reports, "GET")):
        config.add_route(view.__name__, f"/{view.__name__}", request_method=method)
        config.add_view(view, route_name=view.__name__, renderer="json")

app = AuthGateway(config.make_wsgi_app())
