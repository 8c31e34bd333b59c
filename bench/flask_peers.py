"""One Flask view, guarded by several."""

from __future__ import annotations

import secrets
import time

from authlib.integrations.flask_oauth2 import ResourceProtector
from authlib.oauth2.rfc7523 import JWTBearerTokenValidator
from flask import Flask
from flask_jwt_extended import JWTManager, create_access_token, jwt_required
from joserfc import jwt
from joserfc.jwk import OctKey

from bench.caller import BODY, Timer, bearer, must_answer, same, tampered, timer
from gateway import AuthGateway, Settings, TokenCreator


def plain() -> Timer:
    """Time the view with nothing in front of it."""
    return timer(_app(), same(bearer("nobody.looks.at.it")))


def behind_gateway() -> Timer:
    """Time the view behind the gateway, with a known token."""
    settings = Settings(token_key=secrets.token_urlsafe(48))
    return _guarded(AuthGateway(_app(), settings), TokenCreator(settings).create(uid=12), 498)


def jwt_extended() -> Timer:
    """Time the view under `@jwt_required()` of Flask-JWT-Extended."""
    flask = Flask("bench")
    flask.config["JWT_SECRET_KEY"] = secrets.token_urlsafe(48)
    JWTManager(flask)
    flask.add_url_rule("/", view_func=jwt_required()(_view))
    with flask.app_context():
        token = create_access_token(identity="12")
    return _guarded(flask, token, 422)


def authlib() -> Timer:
    """Time the view under Authlib's `ResourceProtector` with its validator of JWTs."""
    key = OctKey.import_key(secrets.token_urlsafe(48))
    protector = ResourceProtector()
    protector.register_token_validator(JWTBearerTokenValidator(key))
    flask = Flask("bench")
    flask.add_url_rule("/", view_func=protector()(_view))
    now = int(time.time())
    claims = {"sub": "12", "client_id": "bench", "grant_type": "password", "iat": now, "exp": now + 1800}
    return _guarded(flask, jwt.encode({"alg": "HS256", "typ": "JWT"}, claims, key), 401)


def _view() -> bytes:
    return BODY


def _app() -> Flask:
    flask = Flask("bench")
    flask.add_url_rule("/", view_func=_view)
    return flask


def _guarded(app: Flask | AuthGateway, token: str, refused: int) -> Timer:
    must_answer(app, bearer(tampered(token)), refused)
    return timer(app, same(bearer(token)))
