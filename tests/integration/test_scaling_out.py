"""The moves to Redis and to PostgreSQL that docs/sessions.md shows, with real servers."""

from __future__ import annotations

import os
import re
from contextlib import closing
from pathlib import Path
from subprocess import CompletedProcess

from gateway.users import Users
from tests.integration.postgres import postgres
from tests.integration.redis_servers import redis_server
from tests.integration.servers import ROOT, SCRIPTS, run
from tests.pages import blocks, name_of
from tests.support import KEY

PASSWORD = "correct horse battery staple"
BLOCKS = blocks(ROOT / "docs" / "sessions.md")
NEW = re.compile(r"NEW=\S+")


def typed(marker: str, url: str) -> str:
    """The one block of shell with `marker` in it, with another address of the new store."""
    (block,) = [source for language, source in BLOCKS if language == "sh" and f"NEW={marker}" in source]
    return NEW.sub(f"NEW={url}", block)


def bash(folder: Path, script: str, **variables: str) -> CompletedProcess[str]:
    path = f"{SCRIPTS}:{os.environ['PATH']}"
    given = {"TOKEN_KEY": KEY, "PATH": path, "PYTHONPATH": str(ROOT)} | variables
    done = run(folder, "bash", "-euo", "pipefail", "-c", script, **given)
    assert done.returncode == 0, done.stderr
    return done


def test_what_was_ended_is_told_to_redis(tmp_path: Path) -> None:
    end = (
        "gateway sessions revoke --uid 12; gateway sessions revoke --sid=-s1; gateway sessions revoke --jti j"
    )
    bash(tmp_path, end, GATEWAY_STATE_URL="sqlite:///gateway-state.db")
    with redis_server(tmp_path / "redis") as server:
        bash(tmp_path, typed("redis", server.url))
        listed = bash(tmp_path, "gateway sessions list-revoked", GATEWAY_STATE_URL=server.url).stdout
    assert sorted(re.findall(r"^(sid|jti|uid) +(\S+)", listed, re.MULTILINE)) == [
        ("jti", "j"),
        ("sid", "-s1"),
        ("uid", "12"),
    ]


def test_who_is_moved_to_postgresql_logs_in_with_the_same_password(tmp_path: Path) -> None:
    (script,) = [source for _, source in BLOCKS if name_of(source) == "move_users.py"]
    (tmp_path / "move_users.py").write_text(script, "utf-8")
    add = f"gateway users add 12 --scope read <<< '{PASSWORD}'; gateway users add anna <<< '{PASSWORD}'"
    disable = "gateway users disable anna"
    bash(tmp_path, f"{add}; {disable}", GATEWAY_USERS_URL="sqlite:///gateway-users.db")
    with postgres(tmp_path / "postgres") as server:
        done = bash(tmp_path, typed("postgresql", server.url()))
        with closing(Users(server.url())) as users:
            assert users.check("12", PASSWORD) == {"scope": "read"}
            assert users.check("anna", PASSWORD) is None
    assert "2 copied\n" in done.stdout
