"""The `gateway sessions` commands, in a working directory and an environment of their own."""

from __future__ import annotations

import json
import socket
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
import webtest

from gateway import AuthGateway, Settings, TokenCreator
from tests.support import KEY, Recorder
from tests.test_audit import logger as logger  # noqa: PLC0414 - a fixture
from tests.test_cli import fail, run, succeed, unsound
from tests.test_issuers import A, policy

DATABASE = Path("state.db")
COMMANDS = [["revoke", "--uid", "12"], ["list-revoked"]]


@pytest.fixture(autouse=True)
def _environ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the working directory empty, and name a key and a file of state alone."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    monkeypatch.setenv("TOKEN_KEY", KEY)
    monkeypatch.setenv("GATEWAY_STATE_URL", f"sqlite:///{DATABASE}")


class Served:
    """A gateway on the same file, at the time that it is."""

    def __init__(self) -> None:
        url = f"sqlite:///{DATABASE}"
        settings = Settings(token_key=KEY, state_url=url, state_sync_sec=0, state_timeout_sec=60)
        self.tokens = TokenCreator(settings)
        self.client = webtest.TestApp(AuthGateway(Recorder(), settings, tokens=self.tokens))

    def answers(self, token: str, uid: str = "12") -> tuple[int, str | None]:
        sent = {"Authorization": f"Bearer {token}", "uid": uid}
        response = self.client.get("/", headers=sent, expect_errors=True)
        return response.status_int, response.json["code"] if response.status_int != 200 else None


@pytest.fixture
def served() -> Served:
    return Served()


PASSES = (200, None)
REVOKED = (401, "token_revoked")


def kept() -> list[tuple[str, str, str]]:
    """Whose, what kind, and what, of each revocation in the file."""
    with closing(sqlite3.connect(DATABASE)) as connection:
        found = connection.execute("SELECT issuer, kind, value FROM revocations ORDER BY position")
        return [tuple(row) for row in found]


def expire_all() -> None:
    with closing(sqlite3.connect(DATABASE, isolation_level=None)) as connection:
        connection.execute("UPDATE revocations SET expires = ?", (time.time() - 1,))


def test_the_commands_are_in_the_help() -> None:
    assert "\n  sessions " in succeed("--help")
    assert all(f"\n  {name} " in succeed("sessions", "--help") for name in ("revoke", "list-revoked"))


# revoke


def test_every_session_of_a_uid_ends(served: Served) -> None:
    tokens = [served.tokens.create(uid=12) for _ in range(2)]
    theirs = served.tokens.create(uid=13)
    assert [served.answers(token) for token in tokens] == [PASSES] * 2
    assert succeed("sessions", "revoke", "--uid", "12") == (
        "every session of 12 that had begun is ended; all workers know it within 1 s\n"
    )
    assert [served.answers(token) for token in tokens] == [REVOKED] * 2
    assert served.answers(theirs, "13") == PASSES


def test_whoever_was_logged_out_can_log_in_again(served: Served) -> None:
    succeed("sessions", "revoke", "--uid", "12")
    served.answers("x")
    assert served.answers(served.tokens.create(uid=12)) == PASSES


def test_one_session_ends_by_its_sid(served: Served) -> None:
    first, second = (served.tokens.create(uid=12) for _ in range(2))
    sid = served.tokens.decode_token(first)["sid"]
    said = succeed("sessions", "revoke", "--sid", sid)
    assert said == f"the session {sid} is ended; all workers know it within 1 s\n"
    assert [served.answers(token) for token in (first, second)] == [REVOKED, PASSES]


def test_one_session_ends_by_its_jti() -> None:
    succeed("sessions", "revoke", "--jti", "x")
    assert kept() == [("", "jti", "x")]


def test_the_seconds_are_those_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_STATE_SYNC_SEC", "2.5")
    assert succeed("sessions", "revoke", "--uid", "12").endswith("know it within 2.5 s\n")


@pytest.mark.parametrize(
    "options",
    [
        pytest.param([], id="none"),
        pytest.param(["--uid", "12", "--sid", "x"], id="uid and sid"),
        pytest.param(["--sid", "x", "--jti", "y"], id="sid and jti"),
        pytest.param(["--uid", "12", "--sid", "x", "--jti", "y"], id="all"),
    ],
)
def test_exactly_one_is_named(options: list[str]) -> None:
    (fault,) = fail("sessions", "revoke", *options, code=2)
    assert fault.startswith("nothing is revoked: give one of --uid, --sid and --jti; ")
    assert not DATABASE.exists()


@pytest.mark.parametrize("uid", ["", "12,", "a b", "é", "12\n", "x" * 256])
def test_what_can_be_no_uid_is_refused(uid: str) -> None:
    """Else it would be said that its sessions are ended, and those that were meant live on."""
    assert run("sessions", "revoke", "--uid", uid).exit_code == 1


def test_sessions_of_an_issuer_end_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("policy.toml").write_text(policy())
    monkeypatch.setenv("GATEWAY_POLICY_FILE", "policy.toml")
    succeed("sessions", "revoke", "--uid", "a:alice", "--issuer", A)
    succeed("sessions", "revoke", "--jti", "1", "--issuer", A)
    assert kept() == [(A, "uid", "a:alice"), (A, "jti", "1")]


@pytest.mark.parametrize(
    ("text", "must"),
    [
        ("", "the policy file names none, so leave it out"),
        (policy(), f"it must be one of {A}; did you mean {A}?"),
    ],
    ids=["none", "one"],
)
def test_an_issuer_that_is_not_known_is_refused(
    text: str, must: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("policy.toml").write_text(text)
    monkeypatch.setenv("GATEWAY_POLICY_FILE", "policy.toml")
    assert fail("sessions", "revoke", "--uid", "x", "--issuer", "https://other.example") == [
        f"--issuer is 'https://other.example'; {must}"
    ]
    assert not DATABASE.exists()


def test_a_revocation_can_be_made_again(served: Served) -> None:
    token = served.tokens.create(uid=12)
    for _ in range(3):
        succeed("sessions", "revoke", "--uid", "12")
    assert served.answers(token) == REVOKED


def test_a_session_that_began_between_two_revocations_ends(served: Served) -> None:
    succeed("sessions", "revoke", "--uid", "12")
    token = served.tokens.create(uid=12)
    assert served.answers(token) == PASSES
    succeed("sessions", "revoke", "--uid", "12")
    assert served.answers(token) == REVOKED


# list-revoked


def test_nothing_is_listed_where_nothing_is_revoked() -> None:
    assert succeed("sessions", "list-revoked") == ""


def test_what_was_revoked_is_listed_the_oldest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("policy.toml").write_text(policy())
    monkeypatch.setenv("GATEWAY_POLICY_FILE", "policy.toml")
    succeed("sessions", "revoke", "--uid", "12")
    succeed("sessions", "revoke", "--sid", "s")
    succeed("sessions", "revoke", "--jti", "j", "--issuer", A)
    lines = succeed("sessions", "list-revoked").splitlines()
    assert [line.split()[:2] for line in lines] == [["uid", "12"], ["sid", "s"], ["jti", "j"]]
    assert [line.endswith(f"of {A}") for line in lines] == [False, False, True]


def test_a_line_tells_when_and_for_how_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_MAX_SESSION_MIN", "60")
    began = time.time()
    succeed("sessions", "revoke", "--uid", "12")
    ended = time.time()
    (line,) = succeed("sessions", "list-revoked").splitlines()
    moment, until = (part.strip() for part in line.split("revoked ")[1].split("kept until "))
    assert began - 1 <= seconds_of(moment) <= ended
    assert 3600 <= seconds_of(until) - seconds_of(moment) <= 3700


def seconds_of(text: str) -> float:
    return datetime.strptime(text, "%Y-%m-%d %H:%M:%S UTC").replace(tzinfo=UTC).timestamp()


def test_what_has_expired_is_not_listed() -> None:
    succeed("sessions", "revoke", "--uid", "12")
    expire_all()
    succeed("sessions", "revoke", "--uid", "13")
    assert [line.split()[1] for line in succeed("sessions", "list-revoked").splitlines()] == ["13"]


def test_what_a_client_named_is_shown_escaped() -> None:
    succeed("sessions", "revoke", "--sid", "\x1b[31mred\nuid  12")
    (line,) = succeed("sessions", "list-revoked").splitlines()
    assert line.startswith("sid  \\x1b[31mred\\nuid  12  revoked ")


def test_a_client_that_ends_its_session_is_listed(served: Served) -> None:
    token = served.tokens.create(uid=12)
    sent = {"Authorization": f"Bearer {token}", "uid": "12"}
    served.client.post("/auth/revoke", headers=sent, status=204)
    (line,) = succeed("sessions", "list-revoked").splitlines()
    assert line.split()[:2] == ["sid", served.tokens.decode_token(token)["sid"]]


# Where there is no store


@pytest.mark.parametrize("command", COMMANDS)
def test_a_store_must_be_set(command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GATEWAY_STATE_URL")
    (fault,) = unsound("sessions", *command)
    assert fault.startswith("GATEWAY_STATE_URL is not set; it must be memory://, sqlite:///path, ")


@pytest.mark.parametrize("command", COMMANDS)
def test_the_memory_of_another_process_is_out_of_reach(
    command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEWAY_STATE_URL", "memory://")
    assert unsound("sessions", *command) == [
        "GATEWAY_STATE_URL is 'memory://', which no other process can reach; it must be sqlite:///path or"
        " redis://host:port/0"
    ]


@pytest.fixture
def nobody() -> Iterator[int]:
    """A port at which nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("scheme", ["redis", "redis+cluster"])
def test_a_server_that_is_not_there_is_told_in_one_line(
    scheme: str, command: list[str], nobody: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEWAY_STATE_URL", f"{scheme}://:hunter2@127.0.0.1:{nobody}/0")
    (fault,) = unsound("sessions", *command)
    assert "hunter2" not in fault
    assert "refused" in fault


@pytest.mark.parametrize("command", COMMANDS)
def test_a_file_that_cannot_be_had_is_told_in_one_line(
    command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEWAY_STATE_URL", "sqlite:///missing/state.db")
    (fault,) = unsound("sessions", *command)
    assert "missing/state.db" in fault


@pytest.mark.parametrize("command", COMMANDS)
def test_a_file_that_is_no_database_is_told_in_one_line(command: list[str]) -> None:
    DATABASE.write_bytes(b"no database " * 1000)
    (fault,) = unsound("sessions", *command)
    assert "state.db" in fault
    assert DATABASE.read_bytes() == b"no database " * 1000


@pytest.mark.parametrize("command", COMMANDS)
def test_a_setting_must_be_sound(command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXP_TIME_MIN", "soon")
    (fault,) = unsound("sessions", *command)
    assert fault.startswith("EXP_TIME_MIN is 'soon'; it must be ")


def test_a_file_of_state_is_for_its_owner_alone() -> None:
    succeed("sessions", "revoke", "--uid", "12")
    assert DATABASE.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        pytest.param(
            ["--uid", "alice", "--issuer", A],
            "--uid is 'alice'; it must begin with 'a:', as all of that issuer",
            id="without its prefix",
        ),
        pytest.param(
            ["--uid", "a:alice"],
            f"--uid is 'a:alice', which is of another issuer; add --issuer {A}",
            id="as if it were ours",
        ),
    ],
)
def test_a_uid_of_an_issuer_is_named_with_its_prefix_and_the_issuer(
    options: list[str], fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("policy.toml").write_text(policy())
    monkeypatch.setenv("GATEWAY_POLICY_FILE", "policy.toml")
    assert fail("sessions", "revoke", *options) == [fault]


# The audit log


def event_of(*arguments: str) -> dict[str, object]:
    """Run the command, which succeeds, and return the one event that it logs."""
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    (line,) = result.stderr.splitlines()
    event: dict[str, object] = json.loads(line)
    return {name: value for name, value in event.items() if name != "time" and value is not None}


@pytest.mark.parametrize(
    ("arguments", "logged"),
    [
        (["--uid", "12"], {"code": "all", "uid": "12"}),
        (["--sid", "s"], {"code": "session", "sid": "s"}),
        (["--jti", "j"], {"code": "session", "jti": "j"}),
    ],
)
def test_what_is_ended_is_logged(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], logged: dict[str, str]
) -> None:
    monkeypatch.setenv("GATEWAY_LOG_FORMAT", "json")
    assert event_of("sessions", "revoke", *arguments) == {"event": "revocation", **logged}
