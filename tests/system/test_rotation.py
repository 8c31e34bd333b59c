"""Keys are rotated and retired while two workers serve under load, and not one answer is wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jwt
import pytest

from gateway import TokenCreator
from tests.integration.servers import (
    ANY_PORT,
    DEADLINE,
    GUNICORN,
    SCRIPTS,
    SHIPPED,
    Server,
    run,
    serving,
    until,
)

pytestmark = pytest.mark.system

LOAD = Path(__file__).with_name("load.lua")
APP = """\
import os

def app(environ, start_response):
    start_response("200 OK", [("X-Worker", str(os.getpid())), ("Content-Length", "0")])
    return []
"""
# A token is renewed as soon as a second has passed, so that tokens of a new key are soon in use.
EAGER = {"EXP_TIME_MIN": "1", "REFRESH_TIME_MIN": "1", "GATEWAY_APP": "app:app"}
WORKERS = ("-w", "2", "--graceful-timeout", "5")
OLD, NEW = "the-secret-of-before-in-some-40-bytes...", "the-secret-that-comes-in-some-40-bytes.."


@contextmanager
def under_load(server: Server, token: str) -> Iterator[dict[str, Any]]:
    """Send requests with 8 connections until the block ends; then the dict holds what became of them."""
    found: dict[str, Any] = {}
    command = ("wrk", "-t", "2", "-c", "8", "-d", "600", "-s", str(LOAD), f"http://127.0.0.1:{server.port}/")
    with subprocess.Popen((*command, "--", token, "12"), stdout=subprocess.PIPE, text=True) as wrk:
        try:
            yield found
        finally:
            wrk.send_signal(signal.SIGINT)  # at which it says what it saw
            printed, _ = wrk.communicate(timeout=DEADLINE)
    found.update(json.loads(printed.splitlines()[-1]))


class Client:
    """A client beside the load, which keeps up its session too."""

    def __init__(self, server: Server, token: str) -> None:
        self.server = server
        self.token = token

    def ask(self) -> str:
        """Send a request that must pass, take over a renewed token, and return who answered."""
        answer = self.server.ask("/", f"Authorization: Bearer {self.token}", "uid: 12")
        assert answer.status == 200
        self.token = answer.headers.get("X-Refreshed-Token", self.token)
        return str(answer.headers["X-Worker"])

    def until_renewed(self) -> None:
        """Go on until another token comes."""
        token = self.token
        until(lambda: (self.ask() and self.token != token) or None, str)

    def until_signed_by(self, kid: str) -> None:
        """Go on until a renewal comes that this key signed."""

        def signed() -> bool | None:
            self.ask()
            return jwt.get_unverified_header(self.token)["kid"] == kid or None

        until(signed, self.server.folder.joinpath("server.log").read_text)


def keys(folder: Path, *arguments: str, **variables: str) -> list[str]:
    """Run `gateway keys` and return what it printed."""
    ended = run(folder, SCRIPTS / "gateway", "keys", *arguments, **variables)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.splitlines()


def signed(pem: str, algorithm: str, kid: str) -> str:
    """A good token, signed by a key that may be retired."""
    now = int(time.time())
    return jwt.encode(
        {"uid": 12, "iat": now, "exp": now + 60}, pem, algorithm=algorithm, headers={"kid": kid}
    )


@pytest.mark.parametrize("algorithm", ["RS256", "EdDSA"])
def test_keys_of_a_folder_rotate_under_load(tmp_path: Path, algorithm: str) -> None:
    (tmp_path / "app.py").write_text(APP)
    settings = {
        **EAGER,
        "GATEWAY_ALGORITHM": algorithm,
        "GATEWAY_KEY_DIR": "keys",
        "GATEWAY_KEY_ACTIVATION_SEC": "8",
    }
    keys(tmp_path, "generate", **settings)
    (file,) = (tmp_path / "keys").iterdir()
    first, pem = file.name.split(".")[2], file.read_text()
    token = signed(pem, algorithm, first)
    with serving(tmp_path, GUNICORN, *WORKERS, *ANY_PORT, *SHIPPED, **settings) as server:
        client = Client(server, token)
        with under_load(server, token) as load:
            retired = first
            for _ in range(2):
                _, said = keys(tmp_path, "rotate", **settings)
                new = said.split()[0]
                client.until_signed_by(new)
                client.until_renewed()  # within which time all others are too
                client.until_renewed()
                keys(tmp_path, "retire", retired, "--force", **settings)
                retired = new
            refused = until(lambda: refusal(server, signed(pem, algorithm, first)), str)
    assert refused == (498, "invalid_token")
    assert load["refused"] == load["lost"] == 0
    assert load["requests"] > 1000


def refusal(server: Server, token: str) -> tuple[int, str | None] | None:
    answer = server.ask("/", f"Authorization: Bearer {token}", "uid: 12")
    return answer.refusal if answer.status != 200 else None


def test_secrets_are_replaced_by_rolling_restarts_under_load(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    config = tmp_path / "config.env"

    def write(token_key: str, previous: str) -> None:
        lines = [f"TOKEN_KEY={token_key}", f"GATEWAY_PREVIOUS_KEYS={previous}"]
        config.write_text("\n".join(lines + [f"{name}={value}" for name, value in EAGER.items()]) + "\n")

    write(OLD, "")
    with serving(tmp_path, GUNICORN, *WORKERS, *ANY_PORT, *SHIPPED) as server:
        client = Client(server, TokenCreator(token_key=OLD, exp_time_min=1).create(uid=12))

        def restart() -> None:
            before = {client.ask() for _ in range(50)}
            os.kill(server.pid, signal.SIGHUP)
            until(lambda: before.isdisjoint({client.ask() for _ in range(50)}) or None, str)

        with under_load(server, client.token) as load:
            write(OLD, NEW)
            restart()
            write(NEW, OLD)
            restart()
            until(lambda: is_signed_by(client, NEW), str)
            client.until_renewed()
            client.until_renewed()
            write(NEW, "")
            restart()
            refused = refusal(server, TokenCreator(token_key=OLD, exp_time_min=1).create(uid=12))
    assert refused == (498, "invalid_token")
    assert load["refused"] == load["lost"] == 0
    assert load["requests"] > 1000


def is_signed_by(client: Client, secret: str) -> bool | None:
    client.ask()
    try:
        jwt.decode(client.token, secret, algorithms=["HS256"], options={"verify_exp": False})
    except jwt.InvalidSignatureError:
        return None
    return True
