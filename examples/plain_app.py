"""An app without a framework behind the gateway: log in, see who you are, and read reports if you may.

    export TOKEN_KEY=... DEMO_PASSWORD=... GATEWAY_POLICY_FILE=examples/policy.toml
    gunicorn -c python:gateway.gunicorn_conf examples.plain_app:app

The policy file says what each path asks for: `/login` nothing, `/reports` the scope `reports:read`.
"""

from __future__ import annotations

import json
import os
from urllib.parse import parse_qs
from wsgiref.types import StartResponse, WSGIEnvironment

from gateway import AuthGateway
from gateway.passwords import hashed, verify

HASHES = {"anna": hashed(os.environ["DEMO_PASSWORD"])}
MOST_BYTES = 4096

Answer = tuple[str, dict[str, object], dict[str, str]]  # status line, content and further headers


def login(environ: WSGIEnvironment) -> Answer:
    """Answer a token to whoever knows the password."""
    length = min(int(environ.get("CONTENT_LENGTH") or 0), MOST_BYTES)
    form = parse_qs(environ["wsgi.input"].read(length).decode("utf-8", "replace"))
    uid, password = form.get("uid", [""])[0], form.get("password", [""])[0]
    if not verify(password, HASHES.get(uid)):  # takes as long for somebody who is not there
        challenge = {"WWW-Authenticate": 'Bearer realm="example"'}
        return "401 Unauthorized", {"error": "Wrong uid or password"}, challenge
    token = environ["gateway.tokens"].create(uid, scope="reports:read")
    return "200 OK", {"token": token}, {"Cache-Control": "no-store"}


def me(environ: WSGIEnvironment) -> Answer:
    """Answer who is logged in."""
    return "200 OK", {"uid": environ["REMOTE_USER"]}, {}


def reports(environ: WSGIEnvironment) -> Answer:
    """Answer what the scope `reports:read` is for."""
    return "200 OK", {"reader": environ["REMOTE_USER"], "reports": ["spring", "autumn"]}, {}


def not_found(environ: WSGIEnvironment) -> Answer:
    """Answer that there is nothing."""
    return "404 Not Found", {"error": "Not Found", "path": environ["PATH_INFO"]}, {}


VIEWS = {("POST", "/login"): login, ("GET", "/me"): me, ("GET", "/reports"): reports}


def site(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    """Answer one request."""
    view = VIEWS.get((environ["REQUEST_METHOD"], environ["PATH_INFO"]), not_found)
    status, content, headers = view(environ)
    start_response(status, [("Content-Type", "application/json"), *headers.items()])
    return [json.dumps(content).encode()]


app = AuthGateway(site)
