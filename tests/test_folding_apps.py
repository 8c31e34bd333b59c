"""Routes in front of apps that take one path for another: no spelling gets round one that asks a scope."""

from __future__ import annotations

import io
import itertools
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes
from wsgiref.types import WSGIApplication, WSGIEnvironment
from wsgiref.util import setup_testing_defaults

import bottle
import falcon
import flask
import pytest
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, HttpResponse
from django.urls import path as django_path

from tests.django_projects import configured, project
from tests.support import Guarded, by_policy

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Pyramid imports pkg_resources
    from pyramid.config import Configurator
    from pyramid.request import Request
    from pyramid.response import Response

served: list[str] = []  # the pages of one request


def admin_page() -> str:
    """What the admin's view does."""
    served.append("admin")
    return "the admin's page"


def other_page() -> str:
    """What the view for all does."""
    served.append("other")
    return "a page for all"


def traversing() -> WSGIApplication:
    """Pyramid by traversal, where `.` and empty segments are dropped and `..` goes up."""

    class Admin(dict[str, Any]):
        pass

    def admin(context: object, request: Request) -> Response:
        return Response(admin_page())

    def other(context: object, request: Request) -> Response:
        return Response(other_page())

    admins = Admin()
    root = {"admin": admins, "other": {}}
    config = Configurator(root_factory=lambda request: root)
    config.add_view(admin, context=Admin)
    config.add_view(other)
    app: WSGIApplication = config.make_wsgi_app()
    return app


def flask_app() -> WSGIApplication:
    """Flask without strict slashes."""
    app = flask.Flask(__name__)
    app.url_map.strict_slashes = False
    app.add_url_rule("/admin", "admin", admin_page)
    app.add_url_rule("/other", "other", other_page)
    return app


def _admin(request: HttpRequest) -> HttpResponse:
    return HttpResponse(admin_page())


def _other(request: HttpRequest) -> HttpResponse:
    return HttpResponse(other_page())


urlpatterns = [django_path("admin/", _admin), django_path("other/", _other)]


@cache
def django_settings() -> object:
    """The settings of Django's app, for `project`."""
    return configured(
        ROOT_URLCONF=__name__,
        ALLOWED_HOSTS=["*"],
        MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
        APPEND_SLASH=True,
        LOGGING_CONFIG=None,
    )


@cache
def django_app() -> WSGIApplication:
    """Django, which sends on to the path with a slash at its end."""
    app: WSGIApplication = WSGIHandler()
    return app


@pytest.fixture(autouse=True)
def _django() -> Iterator[None]:
    with project(django_settings()):
        yield


def bottle_app() -> WSGIApplication:
    """Bottle, which drops what is not UTF-8."""
    routed = bottle.Bottle()
    routed.route("/admin", callback=admin_page)
    routed.route("/other", callback=other_page)
    app: WSGIApplication = routed
    return app


class _Page:
    def __init__(self, page: Callable[[], str]) -> None:
        self._page = page

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        response.text = self._page()

    on_head = on_get


def falcon_app() -> WSGIApplication:
    """Falcon that strips the slash at the end."""
    app = falcon.App()
    app.req_options.strip_url_path_trailing_slash = True
    app.add_route("/admin", _Page(admin_page))
    app.add_route("/other", _Page(other_page))
    return app


class Folding(NamedTuple):
    """An app, the usual path of its admin's page, and others that it takes for the same."""

    make: Callable[[], WSGIApplication]
    usual: str
    folded: tuple[str, ...]


APPS = {
    "pyramid": Folding(
        traversing, "/admin", ("//admin", "/./admin", "/other/../admin", "/admin//", "/admin/@@")
    ),
    "flask": Folding(flask_app, "/admin", ("/admin/",)),
    "django": Folding(django_app, "/admin/", ("/%61dmin/",)),
    "bottle": Folding(bottle_app, "/admin", ("/ad%FFmin", "/%C3admin", "/admin%80")),
    "falcon": Folding(falcon_app, "/admin", ("/admin/",)),
}

BEFORE = ["/", "//", "/./", "/../", "/other/../", "/%2e/", "/%2F", "/%5c", "/;/", "/%FF/", "/%FF", "\\", ""]
WORDS = [
    *("admin", "%61dmin", "%61%64%6d%69%6E", "%2561dmin"),
    *("ad%FFmin", "ad%C3min", "admin%80", "ad%00min", "ad;min"),
]
AFTER = [
    *(
        "",
        "/",
        "//",
        "/.",
        "/./",
        "/..",
        "/x/..",
        "/x/../",
        ";x",
        "/;x",
        ";",
        "%2f",
        "%2F",
        "/%2e",
        "%5c",
        "\\",
    ),
    *("%00", "%0a", "%0d%0a", "%20", "%3f", "?x", "/?x", "%23", "/%FF", "%FF/", "%2e", "/%ef%bb%bf"),
]
SPELLINGS = ["".join(parts) for parts in itertools.product(BEFORE, WORDS, AFTER)]
METHODS = ("GET", "HEAD", "get")


def pages(app: WSGIApplication, target: str, method: str = "GET", **headers: str) -> list[str]:
    """Send a request as a server would hand it on, with this target; return what is served."""
    path = unquote_to_bytes(target.partition("?")[0]).decode("latin-1")
    environ: WSGIEnvironment = {"REQUEST_METHOD": method, "PATH_INFO": path, "wsgi.input": io.BytesIO()}
    setup_testing_defaults(environ)
    environ.update(headers)
    served.clear()
    body = app(environ, lambda status, headers, exc_info=None: lambda data: None)
    try:
        b"".join(body)
    finally:
        getattr(body, "close", lambda: None)()
    return served.copy()


def sends(guarded: Guarded, **claims: str) -> dict[str, str]:
    return {"HTTP_AUTHORIZATION": f"Bearer {guarded.clock.create(12, claims)}", "HTTP_UID": "12"}


SCOPED = """
[[routes]]
path = "{path}"
scopes = ["admin"]

[[routes]]
path = "/*"
"""


@pytest.fixture(params=APPS)
def folding(request: pytest.FixtureRequest) -> Folding:
    return APPS[request.param]


@pytest.fixture(params=["/admin", "/admin/", "/admin/*"])
def guarded(request: pytest.FixtureRequest, folding: Folding, tmp_path: Path) -> Guarded:
    """The app behind a route for the admin's page that asks for a scope, and a route for all else."""
    return by_policy(tmp_path, SCOPED.format(path=request.param), folding.make())


def test_the_app_itself_takes_other_paths_for_the_same(folding: Folding) -> None:
    app, targets = folding.make(), (folding.usual, *folding.folded)
    assert [target for target in targets if pages(app, target) != ["admin"]] == []


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_with_the_scope_the_usual_path_is_served(folding: Folding, guarded: Guarded, method: str) -> None:
    assert pages(guarded.gateway, folding.usual, method, **sends(guarded, scope="admin")) == ["admin"]


def test_without_the_scope_other_paths_are_served(folding: Folding, guarded: Guarded) -> None:
    path = folding.usual.replace("admin", "other")
    assert pages(guarded.gateway, path, **sends(guarded)) == ["other"]


def test_without_the_scope_no_spelling_is_served(folding: Folding, guarded: Guarded) -> None:
    headers = sends(guarded)
    breaches = [
        (method, target)
        for method in METHODS
        for target in SPELLINGS
        if "admin" in pages(guarded.gateway, target, method, **headers)
    ]
    assert breaches == []


@pytest.mark.parametrize("target", ["/admin/@@", "/admin/@@/x", "/admin//@@"])
def test_a_route_for_all_below_covers_the_view_that_traversal_finds_by_its_name(
    target: str, tmp_path: Path
) -> None:
    guarded = by_policy(tmp_path, SCOPED.format(path="/admin/*"), traversing())
    assert pages(guarded.gateway, target, **sends(guarded)) == []
