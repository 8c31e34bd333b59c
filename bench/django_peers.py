"""One view of Django REST framework, guarded by several."""

from __future__ import annotations

import os
import secrets
import time
from wsgiref.types import WSGIApplication

import jwt
from django.conf import settings as django_settings
from django.core.wsgi import get_wsgi_application

from bench.caller import Timer, bearer, must_answer, same, tampered, timer
from gateway import AuthGateway, Settings, TokenCreator


def plain() -> Timer:
    """Time the view with nothing in front of it."""
    return timer(_site(), same(bearer("nobody.looks.at.it")))


def behind_gateway() -> Timer:
    """Time the view behind the gateway, with a known token."""
    settings = Settings(token_key=secrets.token_urlsafe(48))
    gateway, token = AuthGateway(_site(), settings), TokenCreator(settings).create(uid=12)
    must_answer(gateway, bearer(tampered(token)), 498)
    return timer(gateway, same(bearer(token)))


def simplejwt() -> Timer:
    """Time the view under `JWTStatelessUserAuthentication` of simplejwt."""
    site, now = _site(), int(time.time())
    claims = {"token_type": "access", "user_id": "12", "iat": now, "exp": now + 1800}
    token = jwt.encode({**claims, "jti": secrets.token_hex(16)}, django_settings.SECRET_KEY, "HS256")
    must_answer(site, bearer(tampered(token)), 401, path="/guarded")
    return timer(site, same(bearer(token)), path="/guarded")


def _site() -> WSGIApplication:
    os.environ["DJANGO_SETTINGS_MODULE"] = "bench.django_settings"
    site: WSGIApplication = get_wsgi_application()
    return site
