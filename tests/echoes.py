"""One small app in three forms, WSGI, Flask and Django: what it was told of the caller, as JSON.

`/away` leads to `/`, `/cookie` sets a cookie, `/broken` raises.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable
from wsgiref.types import StartResponse, WSGIEnvironment

import flask
import werkzeug
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse, StreamingHttpResponse
from django.template import engines
from django.urls import path
from django.views.decorators.csrf import csrf_protect

from tests.django_projects import configured

DEBUG = {"TESTING": True, "SECRET_KEY": "a secret of Flask's and Django's"}


class BrokenError(Exception):
    """What the app raises at `/broken`."""


def told(environ: WSGIEnvironment) -> dict[str, object]:
    keys = {
        "uid": "REMOTE_USER",
        "claims": "gateway.claims",
        "cookie": "HTTP_COOKIE",
        "agent": "HTTP_X_AGENT",
    }
    return {name: environ.get(key) for name, key in keys.items()}


def wsgi_app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    body = json.dumps(told(environ)).encode()
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    match environ["PATH_INFO"]:
        case "/away":
            start_response("302 Found", [*headers, ("Location", "/")])
        case "/cookie":
            start_response("200 OK", [*headers, ("Set-Cookie", "fruit=apple; Path=/")])
        case "/broken":
            raise BrokenError
        case _:
            start_response("200 OK", headers)
    return [body]


def flask_app() -> flask.Flask:
    app = flask.Flask("echoes")
    app.config.update(DEBUG)

    @app.get("/")
    def index() -> dict[str, object]:
        return told(flask.request.environ)

    @app.get("/away")
    def away() -> werkzeug.Response:
        return flask.redirect("/")

    @app.get("/cookie")
    def cookie() -> flask.Response:
        response = flask.jsonify(told(flask.request.environ))
        response.set_cookie("fruit", "apple")
        return response

    @app.get("/session")
    def session() -> dict[str, object]:
        return {"fruit": flask.session.get("fruit")}

    @app.get("/broken")
    def broken() -> str:
        raise BrokenError

    return app


def _index(request: HttpRequest) -> HttpResponse:
    return JsonResponse(told(request.META))


def _cookie(request: HttpRequest) -> HttpResponse:
    response = JsonResponse(told(request.META))
    response.set_cookie("fruit", "apple")
    return response


def _page(request: HttpRequest) -> HttpResponse:
    template = engines["django"].from_string("uid {{ uid }}")
    return HttpResponse(template.render({"uid": request.META["REMOTE_USER"]}, request))


def _stream(_: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse(iter([b"in ", b"parts"]))


def _broken(_: HttpRequest) -> HttpResponse:
    raise BrokenError


@csrf_protect  # type: ignore[untyped-decorator]
def _form(request: HttpRequest) -> HttpResponse:
    return HttpResponse(request.body)


urlpatterns = [
    path("", _index),
    path("away", lambda _: HttpResponseRedirect("/")),
    path("cookie", _cookie),
    path("page", _page),
    path("stream", _stream),
    path("broken", _broken),
    path("form", _form),
]


@functools.cache
def django_settings() -> object:
    """The settings of the app in Django, for `project`."""
    return configured(
        ROOT_URLCONF=__name__,
        SECRET_KEY=DEBUG["SECRET_KEY"],
        ALLOWED_HOSTS=["*"],
        TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates"}],
    )
