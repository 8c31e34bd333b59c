"""A Falcon app behind the gateway: log in, see who you are, and read reports if you may.

    export TOKEN_KEY=... DEMO_PASSWORD=... GATEWAY_POLICY_FILE=examples/policy.toml
    gunicorn -c python:gateway.gunicorn_conf examples.falcon_app:app

The policy file says what each path asks for: `/login` nothing, `/reports` the scope `reports:read`.
"""

from __future__ import annotations

import os

import falcon
from falcon import Request, Response
from falcon.media import Handlers, URLEncodedFormHandler

from gateway import AuthGateway
from gateway.passwords import hashed, verify

HASHES = {"anna": hashed(os.environ["DEMO_PASSWORD"])}


class Login:
    """Where one logs in."""

    def on_post(self, req: Request, resp: Response) -> None:
        """Answer a token to whoever knows the password."""
        form = req.get_media()
        uid, password = str(form.get("uid")), str(form.get("password"))  # sent twice, it is a list
        if not verify(password, HASHES.get(uid)):  # takes as long for somebody who is not there
            raise falcon.HTTPUnauthorized(
                title="Wrong uid or password", challenges=['Bearer realm="example"']
            )
        resp.media = {"token": req.env["gateway.tokens"].create(uid, scope="reports:read")}
        resp.cache_control = ["no-store"]


class Me:
    """Who is logged in."""

    def on_get(self, req: Request, resp: Response) -> None:
        """Answer who is logged in."""
        resp.media = {"uid": req.env["REMOTE_USER"]}


class Reports:
    """What the scope `reports:read` is for."""

    def on_get(self, req: Request, resp: Response) -> None:
        """Answer the reports."""
        resp.media = {"reader": req.env["REMOTE_USER"], "reports": ["spring", "autumn"]}


api = falcon.App()
api.req_options.media_handlers = Handlers({falcon.MEDIA_URLENCODED: URLEncodedFormHandler()})
api.add_route("/login", Login())
api.add_route("/me", Me())
api.add_route("/reports", Reports())

app = AuthGateway(api)
