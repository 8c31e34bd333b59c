"""The same app alone and behind the gateway, served by gunicorn and asked by wrk over loopback."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path
from statistics import median
from typing import Final

from bench import ROOT
from bench.caller import app
from bench.processes import output, running
from gateway import AuthGateway, Settings, TokenCreator

# gunicorn's worker classes with their options: one worker of each.
WORKERS: Final = {
    "sync": (),
    "gthread, keep-alive": ("--worker-class", "gthread", "--threads", "4"),
}
_APPS: Final = ("app", "guarded()")  # in this module, as gunicorn is told them
CONNECTIONS: Final = 8
_PATIENCE_SEC: Final = 30


@dataclass(frozen=True, slots=True)
class Served:
    """Requests a second in each round, of the app alone and of the same behind the gateway."""

    alone: tuple[float, ...]
    guarded: tuple[float, ...]

    @property
    def ratios(self) -> tuple[float, ...]:
        """What is left of the rate behind the gateway, by round."""
        return tuple(guarded / alone for alone, guarded in zip(self.alone, self.guarded, strict=True))

    @property
    def ratio(self) -> float:
        """The median of the rounds' ratios."""
        return median(self.ratios)


def guarded() -> AuthGateway:
    """Return what gunicorn serves: the app behind the gateway, by the settings in the environment."""
    return AuthGateway(app, Settings.from_env())


def wrk_version() -> str | None:
    """Return wrk's version, or None where there is no wrk."""
    wrk = shutil.which("wrk")
    if wrk is None:
        return None
    # It prints its version and then, having no address to ask, ends with an error.
    said = output([wrk, "-v"], check=False)
    found = re.match(r"wrk \S*?(\d+(?:\.\d+)+)", said)
    return found[1] if found else "of unknown version"


def served(rounds: int, seconds: int, folder: Path, say: Callable[[str], None]) -> dict[str, Served]:
    """Measure each worker class, both apps in turn in every round.

    Args:
        rounds: how often both apps are asked.
        seconds: how long each is asked.
        folder: where gunicorn is started, so that it finds no configuration.
        say: is told what begins.
    """
    return {name: _measured(name, rounds, seconds, folder, say) for name in WORKERS}


def _measured(name: str, rounds: int, seconds: int, folder: Path, say: Callable[[str], None]) -> Served:
    key = secrets.token_urlsafe(48)
    token = TokenCreator(token_key=key).create(uid=12)
    rates: dict[str, list[float]] = {served_app: [] for served_app in _APPS}
    with ExitStack() as servers:
        ports = {
            served_app: servers.enter_context(_gunicorn(served_app, WORKERS[name], key, folder))
            for served_app in _APPS
        }
        for port in ports.values():
            _wait_until_answered(port, token)
        for number in range(rounds):
            say(f"gunicorn, {name}: round {number + 1} of {rounds}")
            for served_app in _APPS if number % 2 else reversed(_APPS):
                rates[served_app].append(_asked(ports[served_app], token, seconds))
    return Served(*(tuple(rates[served_app]) for served_app in _APPS))


@contextmanager
def _gunicorn(served_app: str, options: tuple[str, ...], key: str, folder: Path) -> Iterator[int]:
    """Serve an app on a port of its own, and yield the port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        command = [sys.executable, "-m", "gunicorn", f"bench.served:{served_app}", "--workers", "1", *options]
        command += ["--bind", f"fd://{listener.fileno()}", "--log-level", "warning", "--no-control-socket"]
        environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "TOKEN_KEY": key}
        with running(command, cwd=folder, env=environ, pass_fds=[listener.fileno()]):
            yield listener.getsockname()[1]


def _headers(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}", "uid": "12"}


def _wait_until_answered(port: int, token: str) -> None:
    """Ask once, and wait: the socket listens before there is a worker."""
    connection = HTTPConnection("127.0.0.1", port, timeout=_PATIENCE_SEC)
    connection.request("GET", "/", headers=_headers(token))
    status = connection.getresponse().status
    connection.close()
    if status != HTTPStatus.OK:
        raise RuntimeError(f"gunicorn answers {status}")


def _asked(port: int, token: str, seconds: int) -> float:
    """Return the requests a second that wrk had answered."""
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", f"http://127.0.0.1:{port}/"]
    for name, value in _headers(token).items():
        command += ["-H", f"{name}: {value}"]
    said = output(command)
    found = re.search(r"Requests/sec: +([\d.]+)", said)
    if found is None or "Non-2xx" in said:
        raise RuntimeError(f"wrk says:\n{said}")
    return float(found[1])
