"""What the start and `gateway check` doubt of stores and databases, and start with all the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway import Settings
from gateway.startup import doubts_about_state, doubts_about_users
from tests.integration.postgres import postgres
from tests.integration.redis_servers import redis_server
from tests.integration.servers import ANY_PORT, GUNICORN, SCRIPTS, SHIPPED, run, serving
from tests.support import KEY


def of_state(url: str) -> list[str]:
    return list(doubts_about_state(Settings(token_key=KEY, state_url=url)))


def of_users(url: str) -> list[str]:
    return list(doubts_about_users(Settings(token_key=KEY, state_url="memory://", users_url=url)))


def test_nothing_is_doubted_where_nothing_is_kept() -> None:
    settings = Settings(token_key=KEY)
    assert [*doubts_about_state(settings), *doubts_about_users(settings)] == []


def test_a_file_is_not_doubted(tmp_path: Path) -> None:
    assert of_state(f"sqlite:///{tmp_path}/state.db") == of_users(f"sqlite:///{tmp_path}/users.db") == []


def test_a_file_that_cannot_be_is_doubted(tmp_path: Path) -> None:
    (line,) = of_state(f"sqlite:///{tmp_path}/missing/state.db")
    assert line.startswith("GATEWAY_STATE_URL: the store cannot be asked: ")
    (line,) = of_users(f"sqlite:///{tmp_path}/missing/users.db")
    assert line.startswith("GATEWAY_USERS_URL: the database cannot be asked: ")


def test_a_server_that_keeps_everything_is_not_doubted(tmp_path: Path) -> None:
    with redis_server(tmp_path) as redis:
        assert of_state(redis.url) == []
    with postgres(tmp_path / "postgres") as database:
        assert of_users(database.url()) == []


@pytest.mark.parametrize(
    ("options", "doubt"),
    [
        pytest.param(("--appendonly", "no"), "should run with appendonly yes", id="keeps nothing on disk"),
        pytest.param(
            ("--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"),
            "by its maxmemory-policy allkeys-lru; it should be noeviction",
            id="may evict",
        ),
    ],
)
def test_a_redis_that_may_lose_what_it_was_told_is_warned_of(
    tmp_path: Path, options: tuple[str, ...], doubt: str
) -> None:
    settings = {"TOKEN_KEY": KEY}
    with redis_server(tmp_path, *options) as redis:
        settings["GATEWAY_STATE_URL"] = redis.url
        checked = run(tmp_path, SCRIPTS / "gateway", "check", **settings)
        with serving(tmp_path, GUNICORN, *SHIPPED, *ANY_PORT, **settings) as server:
            assert server.ask("/health-of-app").status == 200
    assert checked.returncode == 0
    assert checked.stderr.startswith("warning: Redis ")
    assert checked.stderr.endswith(f"{doubt}\n")
    assert f"[WARNING] {checked.stderr.removeprefix('warning: ')}" in (tmp_path / "server.log").read_text()
