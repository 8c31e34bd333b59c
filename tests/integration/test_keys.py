"""A folder of keys under gunicorn: whatever lies in it, the server that runs goes on."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway import Settings, TokenCreator
from gateway.keyfolder import generate
from tests.integration.servers import ANY_PORT, GUNICORN, SHIPPED, Server, log_of, serving, until

APP = """\
import os

def app(environ, start_response):
    start_response("200 OK", [("X-Worker", str(os.getpid())), ("Content-Length", "0")])
    return []
"""
MADE_AT = 1_790_000_000  # seconds since 1970


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """The gateway with two workers and one key."""
    (tmp_path / "app.py").write_text(APP)
    generate(tmp_path / "keys", "EdDSA", MADE_AT)
    settings = {"GATEWAY_APP": "app:app", "GATEWAY_ALGORITHM": "EdDSA", "GATEWAY_KEY_DIR": "keys"}
    with serving(tmp_path, GUNICORN, "-w", "2", *ANY_PORT, *SHIPPED, **settings) as running:
        yield running


def token(server: Server) -> str:
    folder = server.folder / "keys"
    return TokenCreator(Settings(algorithm="EdDSA", key_dir=str(folder))).create(uid=12)


def worker(server: Server, made: str) -> int | None:
    """Which worker lets a token pass; None where it is refused."""
    answer = server.ask("/", f"Authorization: Bearer {made}", "uid: 12")
    return int(answer.headers["X-Worker"]) if answer.status == 200 else None


def workers(server: Server, made: str) -> set[int | None]:
    return {worker(server, made) for _ in range(40)}


def test_a_broken_file_does_not_keep_a_worker_from_being_replaced(server: Server) -> None:
    made = token(server)
    first = worker(server, made)
    assert first is not None
    (server.folder / "keys" / "notes.txt").write_text("no key")
    os.kill(first, signal.SIGKILL)
    until(lambda: len(workers(server, made) - {first}) == 2 or None, lambda: log_of(server))
    assert "notes.txt is not called" in log_of(server)


def test_a_broken_file_does_not_end_the_server_on_reload(server: Server) -> None:
    made = token(server)
    before = workers(server, made)
    (server.folder / "keys" / "notes.txt").write_text("no key")
    os.kill(server.pid, signal.SIGHUP)
    until(lambda: before.isdisjoint(workers(server, made)) or None, lambda: log_of(server))
    assert worker(server, made) is not None


def test_a_key_that_was_deleted_is_refused_though_another_file_is_broken(server: Server) -> None:
    made = token(server)
    (old,) = (server.folder / "keys").iterdir()
    generate(server.folder / "keys", "EdDSA", MADE_AT)
    (server.folder / "keys" / "notes.txt").write_text("no key")
    old.unlink()
    until(lambda: workers(server, made) == {None} or None, lambda: log_of(server))
    assert worker(server, token_of_the_sound(server)) is not None


def token_of_the_sound(server: Server) -> str:
    (server.folder / "keys" / "notes.txt").unlink()
    return token(server)
