"""A Flask app behind the gateway: log in, see who you are, and read reports if you may.

    export TOKEN_KEY=... DEMO_PASSWORD=... GATEWAY_POLICY_FILE=examples/policy.toml
    gunicorn -c python:gateway.gunicorn_conf examples.flask_app:app

The policy file says what each path asks for: `/login` nothing, `/reports` the scope `reports:read`.
"""

from __future__ import annotations

import os

from flask import Flask, request
from flask.typing import ResponseReturnValue

from gateway import AuthGateway
from gateway.passwords import hashed, verify

HASHES = {"anna": hashed(os.environ["DEMO_PASSWORD"])}

app = Flask(__name__)


@app.post("/login")
def login() -> ResponseReturnValue:
    """Answer a token to whoever knows the password."""
    uid, password = request.form.get("uid", ""), request.form.get("password", "")
    if not verify(password, HASHES.get(uid)):  # takes as long for somebody who is not there
        return {"error": "Wrong uid or password"}, 401, {"WWW-Authenticate": 'Bearer realm="example"'}
    token = request.environ["gateway.tokens"].create(uid, scope="reports:read")
    return {"token": token}, {"Cache-Control": "no-store"}


@app.get("/me")
def me() -> ResponseReturnValue:
    """Answer who is logged in."""
    return {"uid": request.remote_user}


@app.get("/reports")
def reports() -> ResponseReturnValue:
    """Answer what the scope `reports:read` is for."""
    return {"reader": request.remote_user, "reports": ["spring", "autumn"]}


app.wsgi_app = AuthGateway(app.wsgi_app)  # type: ignore[method-assign]
