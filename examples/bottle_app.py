"""A Bottle app behind the gateway: log in, see who you are, and read reports if you may.

    export TOKEN_KEY=... DEMO_PASSWORD=... GATEWAY_POLICY_FILE=examples/policy.toml
    gunicorn -c python:gateway.gunicorn_conf examples.bottle_app:app

The policy file says what each path asks for: `/login` nothing, `/reports` the scope `reports:read`.
"""

from __future__ import annotations

import os

from bottle import Bottle, HTTPResponse, request, response

from gateway import AuthGateway
from gateway.passwords import hashed, verify

HASHES = {"anna": hashed(os.environ["DEMO_PASSWORD"])}


def login() -> dict[str, str] | HTTPResponse:
    """Answer a token to whoever knows the password."""
    uid, password = request.forms.getunicode("uid", ""), request.forms.getunicode("password", "")
    if not verify(password, HASHES.get(uid)):  # takes as long for somebody who is not there
        challenge = {"WWW-Authenticate": 'Bearer realm="example"'}
        return HTTPResponse({"error": "Wrong uid or password"}, 401, challenge)
    response.set_header("Cache-Control", "no-store")
    return {"token": request.environ["gateway.tokens"].create(uid, scope="reports:read")}


def me() -> dict[str, str]:
    """Answer who is logged in."""
    return {"uid": request.environ["REMOTE_USER"]}


def reports() -> dict[str, object]:
    """Answer what the scope `reports:read` is for."""
    return {"reader": request.environ["REMOTE_USER"], "reports": ["spring", "autumn"]}


site = Bottle()
site.post("/login", callback=login)
site.get("/me", callback=me)
site.get("/reports", callback=reports)

app = AuthGateway(site)
