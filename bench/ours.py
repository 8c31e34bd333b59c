"""The gateway's own cases."""

from __future__ import annotations

import atexit
import itertools
import logging
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.caller import AUTHORIZATION, Sent, Timer, app, bearer, must_answer, same, tampered, timer
from bench.mint import minted
from bench.processes import output
from gateway import AuthGateway, Settings, TokenCreator

_OLD, _DUE = 31, 20  # minutes of age, of tokens that live 30 and are renewed in the last 15


class _Aged(TokenCreator):
    """Makes tokens as if some minutes ago."""

    def __init__(self, settings: Settings, age_min: int) -> None:
        super().__init__(settings)
        self._age = age_min * 60

    def now(self) -> float:
        return time.time() - self._age


class _Restless(TokenCreator):
    """Has each request come in another second than the one before, so that no renewal is made for both."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._ahead = itertools.cycle((0, 1))

    def now(self) -> float:
        return time.time() + next(self._ahead)


def _known(settings: Settings) -> Sent:
    return bearer(TokenCreator(settings).create(uid=12))


def _another_uid(settings: Settings) -> Sent:
    return bearer(TokenCreator(settings).create(uid=12), uid=13)


def _tampered(settings: Settings) -> Sent:
    return bearer(tampered(TokenCreator(settings).create(uid=12)))


def _malformed(settings: Settings) -> Sent:
    return bearer(TokenCreator(settings).create(uid=12).replace(".", "", 1))


def _expired(settings: Settings) -> Sent:
    return bearer(_Aged(settings, _OLD).create(uid=12))


def _due(settings: Settings) -> Sent:
    return bearer(_Aged(settings, _DUE).create(uid=12))


@dataclass(frozen=True, slots=True)
class _Kind:
    """A kind of request: what is sent, under which key, and how it is answered."""

    sent: Callable[[Settings], Sent]
    status: int = 200
    key: str = AUTHORIZATION
    renewed: bool = False


_KINDS = {
    "known": _Kind(_known),
    "due": _Kind(_due, renewed=True),
    "missing": _Kind(_known, 400, "HTTP_COOKIE"),
    "malformed": _Kind(_malformed, 498),
    "tampered": _Kind(_tampered, 498),
    "expired": _Kind(_expired, 401),
    "another uid": _Kind(_another_uid, 400),
}


def bare() -> Timer:
    """Time the app that all others guard."""
    return timer(app, same(_known(_settings({}))))


def guarded(kind: str, options: Mapping[str, Any]) -> Timer:
    """Time requests of one kind to the gateway, made with these settings besides a key."""
    return _guarded(_KINDS[kind], _settings(options))


def guarded_rsa(options: Mapping[str, Any]) -> Timer:
    """Time requests with a known token, signed with an RSA key as `gateway keys generate` makes it."""
    folder = _folder()
    environ = {"GATEWAY_ALGORITHM": "RS256", "GATEWAY_KEY_DIR": str(folder)}
    command = [str(Path(sys.executable).with_name("gateway")), "keys", "generate"]
    output(command, env=environ, cwd=folder)
    return _guarded(_KINDS["known"], Settings(algorithm="RS256", key_dir=str(folder), **options))


def audited(log_format: str) -> Timer:
    """Time requests with a known token, each of which is written to a file."""
    logging.getLogger("gateway.audit").addHandler(logging.FileHandler(_folder() / "audit.log"))
    return guarded("known", {"log_format": log_format})


def met(options: Mapping[str, Any], count: int) -> Timer:
    """Time a gateway that has met so many tokens, while it meets them in turn once more."""
    key = secrets.token_urlsafe(48)
    gateway = AuthGateway(app, Settings(token_key=key, **options))
    timed = timer(gateway, minted(key, count).in_turn())
    timed(count)
    return timed


def unmet(count: int) -> Timer:
    """Time the app alone, while it is sent so many tokens in turn."""
    return timer(app, minted(secrets.token_urlsafe(48), count).in_turn())


def _folder() -> Path:
    """Make a folder that stays until the process ends, since the gateway keeps looking into it."""
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder)
    return Path(folder)


def _settings(options: Mapping[str, Any]) -> Settings:
    return Settings(token_key=secrets.token_urlsafe(48), **options)


def _guarded(kind: _Kind, settings: Settings) -> Timer:
    tokens = _Restless(settings) if kind.renewed else None
    gateway, sent = AuthGateway(app, settings, tokens=tokens), kind.sent(settings)
    headers = must_answer(gateway, sent, kind.status, key=kind.key)
    if (settings.token_header in headers) is not kind.renewed:
        raise RuntimeError("a token was renewed that was not due, or was due and not renewed")
    return timer(gateway, same(sent), status=kind.status, key=kind.key)
