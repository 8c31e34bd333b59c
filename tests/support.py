"""What many tests share: a key, a clock to move, tokens made by hand, and apps that record their calls."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import pytest
import webtest

from gateway import AuthGateway, ConfigError, Settings, TokenCreator

KEY = "a secret for tests alone, 40 bytes long."
NOW = 1_800_000_000.25  # the time at which tests begin, unless they say otherwise
MINUTE = 60
HEADER = {"alg": "HS256", "typ": "JWT"}
# A route of each kind, for a policy file.
ROUTES = """
[[routes]]
path = "/public/*"
access = "public"

[[routes]]
path = "/optional"
access = "optional"

[[routes]]
path = "/admin/*"
scopes = ["admin"]

[[routes]]
path = "/*"
"""


class Clock(TokenCreator):
    """A `TokenCreator` whose time stands still until a test moves it."""

    time = NOW

    def now(self) -> float:
        return self.time


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def as_bytes(part: object) -> bytes:
    """A segment's bytes: as they are, or the JSON of anything else."""
    return part if isinstance(part, bytes) else json.dumps(part).encode()


def forge(payload: object, header: object = HEADER, key: str = KEY) -> str:
    """A token rightly signed over any header and payload, JSON or raw bytes."""
    signed = f"{b64(as_bytes(header))}.{b64(as_bytes(payload))}"
    mac = hmac.new(key.encode(), signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{b64(mac)}"


def claims(**changes: Any) -> dict[str, Any]:
    """Good claims at `NOW`, with changes; a change to `...` takes the claim out."""
    good = {"uid": 12, "iat": int(NOW), "exp": int(NOW) + 30 * MINUTE, "auth_time": NOW, "sid": "s"}
    return {name: value for name, value in (good | changes).items() if value is not ...}


def in_use(minutes_left: int = 30, **changes: Any) -> str:
    """A token by the time of day, with so many of its 30 minutes left; with changes as in `claims`."""
    began = int(time.time()) - (30 - minutes_left) * MINUTE
    times = {"iat": began, "exp": began + 30 * MINUTE, "auth_time": began}
    return forge(claims(**{**times, **changes}))


def faults_of(make: Callable[[], object]) -> list[str]:
    """What is wrong, after a look at that each fault is one line and that the error is those lines."""
    with pytest.raises(ConfigError) as caught:
        make()
    faults = list(caught.value.faults)
    assert str(caught.value).splitlines() == faults
    return faults


def fault_of(make: Callable[[], object]) -> str:
    """The one thing that is wrong."""
    (fault,) = faults_of(make)
    return fault


class Recorder:
    """An app that keeps the environ of each call and answers 200 with fixed headers and body."""

    def __init__(self, headers: Iterable[tuple[str, str]] = (), body: bytes = b"from the app") -> None:
        self.calls: list[WSGIEnvironment] = []
        self._headers = [("Content-Type", "text/plain"), *headers]
        self._body = body

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        self.calls.append(environ)
        start_response("200 OK", list(self._headers))
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [self._body]

    @property
    def environ(self) -> WSGIEnvironment:
        """The environ of the one call there was."""
        (environ,) = self.calls
        return environ


class Guarded:
    """An app behind the gateway, called through WebTest with lint, at a time that the test moves."""

    def __init__(self, app: WSGIApplication | None = None, **options: Any) -> None:
        settings = Settings(token_key=KEY, **options)
        self.app = app if app is not None else Recorder()
        self.clock = Clock(settings)
        self.gateway = AuthGateway(self.app, settings, tokens=self.clock)
        self.client = webtest.TestApp(self.gateway)

    def request(
        self,
        path: str = "/",
        token: str | None = None,
        uid: str | None = "12",
        method: str = "GET",
        **headers: str,
    ) -> webtest.TestResponse:
        """Send a request, with a good token unless one is given ("" for none)."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        token = self.clock.create(uid=12) if token is None else token
        if token:
            sent["Authorization"] = f"Bearer {token}"
        if uid is not None:
            sent["uid"] = uid
        return self.send(path, sent, method)

    def send(
        self, path: str = "/", headers: Mapping[str, str] | None = None, method: str = "GET"
    ) -> webtest.TestResponse:
        """Send a request with these headers alone."""
        return self.client.request(path, method=method, headers=dict(headers or {}), expect_errors=True)

    def hand_on(self, path: str, environ: Mapping[str, str], method: str = "GET") -> webtest.TestResponse:
        """Send a request of which a server hands on these keys."""
        request = webtest.TestRequest.blank(path, dict(environ), method=method)
        return self.client.request(request, expect_errors=True)

    @property
    def seen(self) -> WSGIEnvironment:
        """The environ of the one call that reached the app."""
        assert isinstance(self.app, Recorder)
        return self.app.environ

    @property
    def reached(self) -> int:
        """How many requests reached the app."""
        assert isinstance(self.app, Recorder)
        return len(self.app.calls)


def by_policy(folder: Path, policy: str, app: WSGIApplication | None = None, **options: Any) -> Guarded:
    """An app behind the gateway, by a policy file of this text."""
    path = folder / "policy.toml"
    path.write_text(policy, encoding="utf-8")
    return Guarded(app, policy_file=path, **options)
