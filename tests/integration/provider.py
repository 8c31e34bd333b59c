"""A real OpenID provider in a child process: it fails, recovers and changes its keys as a test says."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import secrets
import sys
import urllib.request
from collections.abc import Iterator
from http.client import HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.integration.servers import DEADLINE, GUNICORN, Server, free_port, run, serving

AUDIENCE = "the-gateway"  # the one client's id
USERS = {"alice": 12, "bob": 13}  # each user's subject
DISCOVERY = "/.well-known/openid-configuration"

_PASSWORD = "a password of tests alone"
_GUNICORN_OPTIONS = (
    *("-k", "gthread", "-w", "1", "--threads", "4"),
    *("--graceful-timeout", "1", "--keep-alive", "1", "--no-control-socket"),
)
_CSRF_FIELD = re.compile(r'name="csrfmiddlewaretoken" value="(\w+)"')
_PROJECT = """\
import json
import os
from pathlib import Path

import django
from django.conf import settings

FOLDER = Path(__file__).parent
SITE = os.environ.get("SITE", "")
ACTIVE, *INACTIVE = json.loads((FOLDER / "keys.json").read_text())

settings.configure(
    ALLOWED_HOSTS=["127.0.0.1"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": FOLDER / "db.sqlite3"}},
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
        "oauth2_provider",
    ],
    LOGGING_CONFIG=None,  # warnings and errors go to stderr
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ],
    OAUTH2_PROVIDER={
        "OIDC_ENABLED": True,
        "OIDC_ISS_ENDPOINT": SITE + "/o",
        "OIDC_RSA_PRIVATE_KEY": ACTIVE,
        "OIDC_RSA_PRIVATE_KEYS_INACTIVE": INACTIVE,
        "SCOPES": {"openid": "Who you are"},
    },
    PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="a secret of tests alone",
    TEMPLATES=[
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "OPTIONS": {
                "loaders": [
                    (
                        "django.template.loaders.locmem.Loader",
                        {"registration/login.html": "<form method=post>{% csrf_token %}{{ form }}</form>"},
                    )
                ]
            },
        }
    ],
    USE_TZ=True,
)
django.setup()

from django.contrib.auth.models import User
from django.contrib.auth.views import LoginView
from django.core.handlers.wsgi import WSGIHandler
from django.core.management import call_command
from django.http import HttpResponse
from django.urls import include, path
from oauth2_provider.models import Application

urlpatterns = [
    path("accounts/login/", LoginView.as_view()),
    path("callback", lambda request: HttpResponse("The client takes over from here.")),
    path("o/", include("oauth2_provider.urls", namespace="oauth2_provider")),
]
served = WSGIHandler()


def application(environ, start_response):
    if environ["PATH_INFO"] == "/o/.well-known/jwks.json":
        with (FOLDER / "fetches").open("a") as fetches:
            fetches.write("one\\n")
    return served(environ, start_response)


def prepare(client_id, password, users):
    call_command("migrate", verbosity=0)
    for name, subject in users.items():
        User.objects.create_user(name, password=password, pk=subject)
    Application.objects.create(
        algorithm=Application.RS256_ALGORITHM,
        authorization_grant_type=Application.GRANT_AUTHORIZATION_CODE,
        client_id=client_id,
        client_type=Application.CLIENT_PUBLIC,
        redirect_uris="http://127.0.0.1/callback",  # on any port of the loopback, by RFC 8252
        skip_authorization=True,
    )
"""
_PREPARE = "import json, sys, project; project.prepare(*json.loads(sys.argv[1]))"


def private_key() -> str:
    """A new RSA key, as PEM."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()


class Browser:
    """A client that keeps cookies, follows redirects and knows no proxy."""

    def __init__(self) -> None:
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor()
        )

    def open(self, url: str, **form: str) -> tuple[str, str]:
        """Get this page, or post a form to it: the address where that ends, and the page there."""
        data = urlencode(form).encode() if form else None
        response: HTTPResponse
        with self._opener.open(url, data, DEADLINE) as response:
            return response.url, response.read().decode()


class Provider:
    """A provider at a port that stays its own while it is down; `keys` are PEMs, the active one first."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.port = port
        self.keys = [private_key()]
        self.audience = AUDIENCE
        self.site = f"http://127.0.0.1:{port}"
        self.issuer = f"{self.site}/o"
        self.jwks_url = f"{self.issuer}/.well-known/jwks.json"
        self.server: Server | None = None
        self._running = contextlib.ExitStack()

    def prepare(self) -> None:
        """Make the database, with the users and the client in it."""
        self.folder.joinpath("project.py").write_text(_PROJECT)
        self._write_keys()
        arguments = json.dumps([AUDIENCE, _PASSWORD, USERS])
        done = run(self.folder, sys.executable, "-c", _PREPARE, arguments)
        assert done.returncode == 0, done.stderr

    def start(self) -> None:
        """Begin to serve, and return once it answers."""
        assert self.server is None
        self._write_keys()
        bind = ("-b", f"127.0.0.1:{self.port}")
        self.server = self._running.enter_context(
            serving(self.folder, GUNICORN, *bind, *_GUNICORN_OPTIONS, "project", SITE=self.site)
        )
        self.discovered()

    def stop(self) -> None:
        """Refuse connections until started again."""
        self._running.close()
        self.server = None

    @contextlib.contextmanager
    def outage(self) -> Iterator[None]:
        """It is down until the block ends."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    def rotate(self) -> None:
        """Sign with a new key, and publish the old ones too."""
        self._publish([private_key(), *self.keys])

    def drop_old_keys(self) -> None:
        """Publish the active key alone."""
        self._publish(self.keys[:1])

    def discovered(self) -> Any:
        """What it says about itself."""
        return json.loads(Browser().open(self.issuer + DISCOVERY)[1])

    def token(self, user: str = "alice") -> str:
        """The ID token that a user's login by the authorization code flow yields, with PKCE."""
        browser = Browser()
        provider = self.discovered()
        client = {"client_id": self.audience, "redirect_uri": f"{self.site}/callback"}
        verifier = secrets.token_urlsafe(32)
        digest = hashlib.sha256(verifier.encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        asked = {"response_type": "code", "scope": "openid", "code_challenge": challenge}
        query = urlencode({**client, **asked, "code_challenge_method": "S256"})
        login, page = browser.open(f"{provider['authorization_endpoint']}?{query}")
        csrf = _CSRF_FIELD.search(page)
        assert csrf, page
        callback, _ = browser.open(login, username=user, password=_PASSWORD, csrfmiddlewaretoken=csrf[1])
        (code,) = parse_qs(urlsplit(callback).query)["code"]
        grant = {"grant_type": "authorization_code", "code": code, "code_verifier": verifier}
        _, granted = browser.open(provider["token_endpoint"], **client, **grant)
        token = json.loads(granted)["id_token"]
        assert isinstance(token, str)
        return token

    @property
    def fetches(self) -> int:
        """How often its keys were asked for since it was made; `discovered` and `token` do not ask."""
        log = self.folder / "fetches"
        return len(log.read_text().splitlines()) if log.exists() else 0

    def _publish(self, keys: list[str]) -> None:
        """Have these keys, from now on if it serves, or once it does again."""
        self.keys = keys
        if self.server is not None:
            self.stop()
            self.start()

    def _write_keys(self) -> None:
        self.folder.joinpath("keys.json").write_text(json.dumps(self.keys))


@contextlib.contextmanager
def providing(folder: Path) -> Iterator[Provider]:
    """Run a provider in this folder of its own, until the block ends."""
    with free_port() as port:
        provider = Provider(folder, port)
        provider.prepare()
        try:
            provider.start()
            yield provider
        finally:
            provider.stop()
