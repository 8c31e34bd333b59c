"""A Django project in one file behind the gateway: log in, see who you are, and read reports if you may.

    export TOKEN_KEY=... DEMO_PASSWORD=... GATEWAY_POLICY_FILE=examples/policy.toml
    gunicorn -c python:gateway.gunicorn_conf examples.django_app:app

The policy file says what each path asks for: `/login` nothing, `/reports` the scope `reports:read`.
"""

from __future__ import annotations

import os

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, JsonResponse
from django.urls import path
from django.views.decorators.http import require_POST, require_safe

from gateway import AuthGateway
from gateway.passwords import hashed, verify

HASHES = {"anna": hashed(os.environ["DEMO_PASSWORD"])}


def login(request: HttpRequest) -> JsonResponse:
    """Answer a token to whoever knows the password."""
    uid, password = request.POST.get("uid", ""), request.POST.get("password", "")
    if not verify(password, HASHES.get(uid)):  # takes as long for somebody who is not there
        challenge = {"WWW-Authenticate": 'Bearer realm="example"'}
        return JsonResponse({"error": "Wrong uid or password"}, status=401, headers=challenge)
    token = request.META["gateway.tokens"].create(uid, scope="reports:read")
    return JsonResponse({"token": token}, headers={"Cache-Control": "no-store"})


def me(request: HttpRequest) -> JsonResponse:
    """Answer who is logged in."""
    return JsonResponse({"uid": request.META["REMOTE_USER"]})


def reports(request: HttpRequest) -> JsonResponse:
    """Answer what the scope `reports:read` is for."""
    return JsonResponse({"reader": request.META["REMOTE_USER"], "reports": ["spring", "autumn"]})


urlpatterns = [
    path("login", require_POST(login)),
    path("me", require_safe(me)),
    path("reports", require_safe(reports)),
]

# A project has these in its settings. No cookie says who calls, so that there is no request to be forged.
settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["localhost", "127.0.0.1"], MIDDLEWARE=[])
app = AuthGateway(get_wsgi_application())
