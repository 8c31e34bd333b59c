"""What a shell completes, by a real one where there is one."""

from __future__ import annotations

import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete

from gateway import passwords
from gateway.cli import main
from gateway.users import Users
from tests.integration.servers import DEADLINE, ROOT, environment
from tests.support import KEY
from tests.test_cli import succeed
from tests.test_issuers import A, policy
from tests.test_keyfolder import add as add_key
from tests.test_keyfolder import kid
from tests.test_passwords import CheapHasher

URL = "sqlite:///users.db"
COMPLETE = """\
eval "$(gateway completion bash)"
COMP_WORDS=({words}) COMP_CWORD={last} COMP_LINE= COMP_POINT=0
_gateway_completion gateway
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.fixture(autouse=True)
def _environ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the working directory empty, and name a key, a database and a folder of state alone."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(passwords, "hasher", CheapHasher())
    monkeypatch.setenv("TOKEN_KEY", KEY)
    monkeypatch.setenv("GATEWAY_USERS_URL", URL)
    monkeypatch.setenv("GATEWAY_STATE_URL", "sqlite:///state.db")


@pytest.fixture
def _users() -> None:
    with closing(Users(URL)) as users:
        for uid in ("anna", "andy", "bob"):
            users.add(uid, "correct horse")


def completed(*words: str) -> list[str]:
    """What the last of the words, which is begun, may become."""
    *before, begun = words
    shell = ShellComplete(main, {}, "gateway", "_GATEWAY_COMPLETE")
    return [item.value for item in shell.get_completions(list(before), begun)]


def typed(*words: str, **variables: str) -> tuple[list[str], str]:
    """What bash makes of it, and what is printed besides."""
    bin_ = Path("bin")
    bin_.mkdir()
    (bin_ / "gateway").write_text(f"#!{sys.executable}\nfrom gateway.cli import main\nmain()\n")
    (bin_ / "gateway").chmod(0o755)
    known = environment(TOKEN_KEY=KEY, PYTHONPATH=str(ROOT), **variables)
    quoted = " ".join(f"'{word}'" for word in ("gateway", *words))
    done = subprocess.run(
        ["bash", "--norc", "-c", COMPLETE.format(words=quoted, last=len(words))],
        env=known | {"PATH": f"{bin_.absolute()}:{known['PATH']}"},
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=True,
    )
    return done.stdout.split(), done.stderr


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["e"], ["env-example", "explain"]),
        (["users", "add", "--s"], ["--scope"]),
        (["completion", "f"], ["fish"]),
    ],
)
def test_bash_completes_commands_options_and_choices(words: list[str], found: list[str]) -> None:
    assert typed(*words) == (found, "")


@pytest.mark.usefixtures("_users")
def test_bash_completes_a_uid() -> None:
    variables = {"GATEWAY_USERS_URL": URL, "GATEWAY_STATE_URL": "sqlite:///state.db"}
    assert typed("users", "passwd", "an", **variables) == (["andy", "anna"], "")


def test_bash_is_told_nothing_where_settings_are_wrong() -> None:
    assert typed("users", "passwd", "an", PORT="many") == ([], "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_each_shell_is_printed(shell: str) -> None:
    assert f"_GATEWAY_COMPLETE={shell}_complete" in succeed("completion", shell)


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["e"], ["env-example", "explain"]),
        (["users", "en"], ["enable"]),
        (["token", "create", "--ag"], ["--age"]),
        (["completion", ""], ["bash", "zsh", "fish"]),
        (["explain", "p"], ["POST", "PUT", "PATCH"]),
        (["users", "passwd", "an"], ["andy", "anna"]),
        (["sessions", "revoke", "--uid", ""], ["andy", "anna", "bob"]),
        (["users", "add", ""], []),
    ],
)
@pytest.mark.usefixtures("_users")
def test_what_is_begun_is_completed(words: list[str], found: list[str]) -> None:
    assert completed(*words) == found


def test_a_key_is_completed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_KEY_DIR", "keys")
    monkeypatch.setenv("GATEWAY_ALGORITHM", "EdDSA")
    keys = [kid(add_key(Path("keys"), age, "EdDSA")) for age in (200, 100)]
    assert completed("keys", "retire", "") == keys
    assert completed("keys", "retire", keys[1][:10]) == [keys[1]]


def test_an_issuer_is_completed(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("policy.toml").write_text(policy())
    monkeypatch.setenv("GATEWAY_POLICY_FILE", "policy.toml")
    assert completed("sessions", "revoke", "--issuer", "") == [A]


@pytest.mark.parametrize(
    "variables",
    [
        pytest.param({"PORT": "many"}, id="wrong setting"),
        pytest.param({"GATEWAY_CONFIG": "missing.env"}, id="no file"),
        pytest.param({"GATEWAY_USERS_URL": "sqlite:///bad.db"}, id="no database"),
        pytest.param({"GATEWAY_USERS_URL": "postgresql+psycopg://u:p@127.0.0.1:1/x"}, id="no server"),
    ],
)
def test_nothing_is_completed_where_it_cannot_be_told(
    variables: dict[str, str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    Path("bad.db").write_bytes(b"no database at all" * 100)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert completed("users", "passwd", "") == []
    assert capfd.readouterr() == ("", "")


def test_a_key_that_is_pressed_connects_to_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        monkeypatch.setenv("GATEWAY_USERS_URL", f"postgresql+psycopg://anna:secret@127.0.0.1:{port}/users")
        assert completed("users", "passwd", "") == []
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_a_key_that_is_pressed_makes_no_database() -> None:
    assert completed("users", "passwd", "") == []
    assert not Path("users.db").exists()


def test_a_key_that_is_pressed_makes_no_table_in_a_database_of_something_else() -> None:
    with closing(sqlite3.connect("users.db")) as other:
        other.execute("create table cookies (name)")
    before = Path("users.db").read_bytes()
    assert completed("users", "passwd", "") == []
    assert Path("users.db").read_bytes() == before


def test_a_uid_of_which_a_shell_could_make_a_command_is_not_completed() -> None:
    with closing(Users(URL)) as users:
        for uid in ("$(reboot)", "`reboot`", ";reboot", "a|b", "*", "~root", "-x", "<x", "a'b", "a\\b", "!!"):
            users.add(uid, "correct horse")
        for uid in ("anna@example.org", "id:12", "a-b"):
            users.add(uid, "correct horse")
    found = ["a-b", "anna@example.org", "id:12"]
    assert completed("users", "passwd", "") == found
    variables = {"GATEWAY_USERS_URL": URL, "GATEWAY_STATE_URL": "sqlite:///state.db"}
    assert typed("users", "passwd", "", **variables) == (found, "")


def test_a_weak_key_is_not_warned_of_where_a_key_is_pressed(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TOKEN_KEY", "hunter2")
    monkeypatch.setenv("GATEWAY_ALLOW_WEAK_KEY", "true")
    assert completed("users", "passwd", "") == []
    assert capfd.readouterr() == ("", "")
