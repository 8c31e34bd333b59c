"""The `gateway users` commands, in a working directory and an environment of their own."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from gateway import Settings, kinds, passwords
from gateway.cli_sessions import end_sessions
from gateway.errors import StateUnavailableError, UsersUnavailableError
from gateway.users import Users
from tests.support import KEY
from tests.test_cli import run, succeed
from tests.test_passwords import CheapHasher

PASSWORD = "correct horse"
OTHER = "battery staple"
URL = "sqlite:///users.db"
SHORT = "the password has fewer than 8 characters"
ENDED = "no session is left"
ASK = "GATEWAY_USERS_URL says where the users database is, and gateway check asks it"
TAKEN = "there is a user 'bob' already; gateway users passwd or claims changes it"
NO_PASSWORD = "no password was given; it must be the first line of standard input, or be made by --generate"
NO_OBJECT = 'claims must be a JSON object, such as {"role": "editor"}'
QUOTED = 'a field with , or " in it must stand in quotes, and a " in it be doubled'
MUST = kinds.USERS_URL.must
COMMANDS = [
    ["add", "bob"],
    ["list"],
    ["passwd", "bob"],
    ["disable", "bob"],
    ["enable", "bob"],
    ["remove", "bob"],
    ["claims", "bob"],
    ["import", "-"],
]
_GATEWAY = (sys.executable, "-c", "from gateway.cli import main; main()", "users")
OF_ONE = [command for command in COMMANDS if command[0] not in ("add", "list", "import")]
ENDING = [
    pytest.param(["passwd", "bob"], "bob has another password", id="passwd"),
    pytest.param(["disable", "bob"], "bob is disabled", id="disable"),
    pytest.param(["remove", "bob"], "bob is removed", id="remove"),
    pytest.param(["claims", "bob", "--claim", "role=reader"], "bob has other claims", id="claims"),
]


class Sessions:
    """Who would have no session any more, and what the database said of them then."""

    def __init__(self) -> None:
        self.ended: list[str] = []
        self.seen: list[Any] = []
        self.fault: Exception | None = None

    def end(self, settings: Settings, uid: str) -> str:
        if self.fault is not None:
            raise self.fault
        self.ended.append(uid)
        with closing(Users(str(settings.users_url))) as users:
            self.seen.append(users.get(uid))
        return ENDED


@pytest.fixture(name="sessions", autouse=True)
def _sessions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sessions:
    """Leave the working directory empty, name a database, and keep who is to have no session any more."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    monkeypatch.setenv("TOKEN_KEY", KEY)
    monkeypatch.setenv("GATEWAY_USERS_URL", URL)
    monkeypatch.setenv("GATEWAY_STATE_URL", "sqlite:///state.db")
    monkeypatch.setattr(passwords, "hasher", CheapHasher())
    sessions = Sessions()
    monkeypatch.setattr("gateway.cli_users.end_sessions", sessions.end)
    return sessions


@pytest.fixture(name="users")
def _users() -> Iterator[Users]:
    """The table, with bob in it."""
    with closing(Users(URL, clock=lambda: 1_800_000_000.25)) as users:
        users.add("bob", PASSWORD, {"role": "editor", "scope": "read"})
        yield users


def claims_of(users: Users, uid: str = "bob") -> Mapping[str, Any] | None:
    found = users.get(uid)
    return None if found is None else found.claims


def refuse(*arguments: str, stdin: str | None = None, code: int = 1) -> str:
    """Run a command that fails with one fault and prints nothing else, and return the fault."""
    result = run("users", *arguments, stdin=stdin)
    assert (result.exit_code, result.stdout) == (code, ""), result.output
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    return line.removeprefix("error: ")


def test_the_commands_are_in_the_help() -> None:
    assert "\n  users " in succeed("--help")
    assert all(f"\n  {command[0]} " in succeed("users", "--help") for command in COMMANDS)


# Settings


@pytest.mark.parametrize("command", COMMANDS)
def test_a_database_must_be_named(command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GATEWAY_USERS_URL")
    assert refuse(*command, code=3) == f"GATEWAY_USERS_URL is not set; it must be {MUST}"


@pytest.mark.parametrize("command", COMMANDS)
def test_the_extra_must_be_installed(command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.extras.find_spec", lambda module: None)
    assert refuse(*command, code=3) == (
        "GATEWAY_USERS_URL needs the extra users: pip install 'wsgi-auth-gateway[users]'"
    )


def test_the_command_runs_without_the_extra() -> None:
    code = (
        "import sys; sys.modules['sqlalchemy'] = sys.modules['argon2'] = None\n"
        "from gateway.cli import main; main(['users', '--help'])"
    )
    subprocess.run((sys.executable, "-c", code), check=True, capture_output=True, timeout=30)


@pytest.mark.parametrize("command", COMMANDS)
def test_settings_must_be_sound(command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "many")
    assert refuse(*command, code=3).startswith("PORT is 'many'; ")


@pytest.mark.parametrize("command", [each for each in COMMANDS if each[0] not in ("add", "import")])
def test_a_database_that_cannot_be_asked_is_a_fault(command: list[str]) -> None:
    Path("users.db").write_bytes(b"no database at all" * 100)
    assert refuse(*command, code=3) == (
        "the users database: DatabaseError: file is not a database;"
        " GATEWAY_USERS_URL says where the users database is, and gateway check asks it"
    )


@pytest.mark.parametrize("command", OF_ONE)
def test_an_unknown_user_is_a_fault(command: list[str], users: Users, sessions: Sessions) -> None:
    assert refuse(command[0], "a\nb", *command[2:]) == (
        "there is no user 'a\\nb'; gateway users list shows all"
    )
    assert sessions.ended == []


# gateway users add


def test_add_adds_a_user(users: Users) -> None:
    assert succeed("users", "add", "alice", stdin=f"{PASSWORD}\n") == "alice added\n"
    assert users.check("alice", PASSWORD) == {}


def test_add_stores_claims_and_scopes(users: Users) -> None:
    options = ["--claim", "role=editor", "--claim", "level=3", "--scope", "read", "--scope", "write:all"]
    succeed("users", "add", "alice", *options, stdin=PASSWORD)
    assert claims_of(users, "alice") == {"role": "editor", "level": 3, "scope": "read write:all"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        pytest.param("true", True, id="json"),
        pytest.param('{"a": [1]}', {"a": [1]}, id="object"),
        pytest.param("a=b", "a=b", id="equals"),
        pytest.param("", "", id="empty"),
        pytest.param("NaN", "NaN", id="no-json"),
        pytest.param('"12"', "12", id="text-in-quotes"),
    ],
)
def test_a_claim_is_json_or_else_text(text: str, value: object, users: Users) -> None:
    succeed("users", "add", "alice", "--claim", f"x={text}", stdin=PASSWORD)
    assert claims_of(users, "alice") == {"x": value}


@pytest.mark.parametrize("text", ["x", "=x"])
def test_a_claim_must_have_a_name_and_a_value(text: str) -> None:
    result = run("users", "add", "alice", "--claim", text, stdin=PASSWORD)
    assert result.exit_code == 2
    assert f"'{text}' must be NAME=VALUE" in result.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param(
            ["--claim", "a=1", "--claim", "a=2"], "the claim 'a' is given twice; one must go", id="twice"
        ),
        pytest.param(
            ["--claim", "scope=a", "--scope", "b"],
            "the claim scope is given twice, as a claim and by scopes; one must go",
            id="scope-twice",
        ),
        pytest.param(
            ["--scope", "a b"],
            'a scope must be visible ASCII characters without " and \\',
            id="scope-with-a-space",
        ),
        pytest.param(
            ["--scope", ""], 'a scope must be visible ASCII characters without " and \\', id="empty-scope"
        ),
        pytest.param(
            ["--claim", "exp=1"],
            "exp: issued by the gateway, so no extra claim; it must have another name",
            id="issued-claim",
        ),
        pytest.param(["--claim", "jti=1"], "jti must be a string", id="claim-of-the-wrong-type"),
    ],
)
def test_claims_that_no_token_could_have_are_refused(options: list[str], message: str, users: Users) -> None:
    assert refuse("add", "alice", *options, stdin=PASSWORD) == message
    assert users.get("alice") is None


def test_claims_that_make_a_token_too_long_are_refused(users: Users) -> None:
    assert "and none over 8000 is looked at" in refuse("add", "alice", "--claim", f"x={'x' * 8000}")


@pytest.mark.parametrize("uid", ["", "a b", "a,b", "bäb", "x" * 256])
def test_what_is_no_uid_is_refused(uid: str) -> None:
    assert refuse("add", uid, stdin=PASSWORD) == (
        "the uid must be an integer, or 1 to 255 visible ASCII characters without a comma"
    )


def test_a_uid_may_be_negative(users: Users) -> None:
    succeed("users", "add", "--", "-5", stdin=PASSWORD)
    assert users.get("-5") is not None


def test_a_duplicate_is_refused(users: Users) -> None:
    assert refuse("add", "bob", stdin=OTHER) == TAKEN
    assert users.check("bob", PASSWORD) is not None


def test_add_ends_no_session(sessions: Sessions) -> None:
    succeed("users", "add", "alice", stdin=PASSWORD)
    assert sessions.ended == []


# Passwords


@pytest.mark.parametrize(
    ("stdin", "password"),
    [
        pytest.param("correct horse", "correct horse", id="no-newline"),
        pytest.param("correct horse\n", "correct horse", id="newline"),
        pytest.param("correct horse\r\n", "correct horse", id="newline-of-dos"),
        pytest.param("correct horse\nbattery staple\n", "correct horse", id="first-line"),
        pytest.param(" correct horse \n", " correct horse ", id="spaces-around"),
        pytest.param("körrect hörse\n", "körrect hörse", id="not-ascii"),
    ],
)
def test_the_password_is_the_first_line(stdin: str, password: str, users: Users) -> None:
    succeed("users", "add", "alice", stdin=stdin)
    assert users.check("alice", password) is not None


@pytest.mark.parametrize(
    ("stdin", "message"),
    [
        pytest.param("", NO_PASSWORD, id="nothing"),
        pytest.param("\nx", NO_PASSWORD, id="empty-line"),
        pytest.param(
            "x" * 1025,
            "the password is over 1,024 bytes long; it must be 1 to 1,024 bytes in UTF-8",
            id="long",
        ),
    ],
)
@pytest.mark.parametrize("command", [["add", "alice"], ["passwd", "bob"]])
def test_a_password_that_is_none_is_refused(
    command: list[str], stdin: str, message: str, users: Users, sessions: Sessions
) -> None:
    assert refuse(*command, stdin=stdin) == message
    assert users.get("alice") is None
    assert users.check("bob", PASSWORD) is not None
    assert sessions.ended == []


def test_a_password_must_be_utf_8(users: Users) -> None:
    done = gateway("add", "alice", stdin=b"p\xe4ssword")
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr == b"error: the password is not UTF-8; it must be text in UTF-8\n"


@pytest.mark.parametrize("command", [["add", "alice"], ["passwd", "bob"]])
def test_a_short_password_is_warned_of(command: list[str], users: Users) -> None:
    result = run("users", *command, stdin="1234567")
    assert (result.exit_code, result.stderr) == (0, f"warning: {SHORT}\n")
    assert users.check(command[1], "1234567") is not None


def test_a_password_of_eight_characters_is_not_warned_of() -> None:
    assert run("users", "add", "alice", stdin="12345678").stderr == ""


@pytest.mark.parametrize("command", [["add", "alice"], ["passwd", "bob"]])
def test_a_password_can_be_made(command: list[str], users: Users) -> None:
    printed = succeed("users", *command, "--generate").splitlines()
    (password,) = [line.removeprefix("password  ") for line in printed if line.startswith("password  ")]
    assert len(password) == 16
    assert users.check(command[1], password) is not None


def test_each_made_password_is_another() -> None:
    printed = [succeed("users", "add", uid, "--generate").splitlines()[1] for uid in ("a", "b")]
    assert len(set(printed)) == 2


# On a terminal


def gateway(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run the command in a process of its own."""
    return subprocess.run((*_GATEWAY, *arguments), input=stdin, capture_output=True, check=False, timeout=30)


class Terminal:
    """A process with a terminal as standard input and standard error."""

    def __init__(self, *arguments: str) -> None:
        self._ours, theirs = pty.openpty()
        # In a session of its own, or the password would be asked for on the terminal of the tests.
        self._process = subprocess.Popen(
            (*_GATEWAY, *arguments),
            stdin=theirs,
            stdout=subprocess.PIPE,
            stderr=theirs,
            start_new_session=True,
            text=True,
        )
        os.close(theirs)
        self.shown = ""

    def answer(self, prompt: str, line: str) -> None:
        """Wait for this prompt, since what comes before it is dropped, and type a line."""
        seen = len(self.shown)
        while prompt not in self.shown[seen:]:
            self._read()
        os.write(self._ours, f"{line}\n".encode())

    def end(self) -> tuple[int, str]:
        """Wait for the end, and return the exit code and what stands on standard output."""
        with contextlib.suppress(OSError):  # which is how it ends
            while True:
                self._read()
        os.close(self._ours)
        printed, _ = self._process.communicate(timeout=30)
        return self._process.returncode, printed

    def _read(self) -> None:
        data = os.read(self._ours, 1000).decode()
        assert data
        self.shown += data


def test_on_a_terminal_the_password_is_asked_for_twice(users: Users) -> None:
    terminal = Terminal("add", "alice")
    terminal.answer("Password: ", PASSWORD)
    terminal.answer("Repeat for confirmation: ", PASSWORD)
    assert terminal.end() == (0, "alice added\n")
    assert terminal.shown.split("\r\n")[:2] == ["Password: ", "Repeat for confirmation: "]
    assert users.get("alice") is not None


def test_on_a_terminal_a_password_that_is_not_repeated_is_asked_for_again(users: Users) -> None:
    terminal = Terminal("passwd", "bob")
    for first, second in ((PASSWORD, OTHER), ("another one", "another one")):
        terminal.answer("Password: ", first)
        terminal.answer("Repeat for confirmation: ", second)
    assert terminal.end()[0] == 0
    assert users.check("bob", "another one") is not None


def test_on_a_terminal_an_import_shows_how_far_it_is(users: Users) -> None:
    Path("users.csv").write_text(f"uid,password\nbob,{PASSWORD}\nalice,{PASSWORD}\n")
    terminal = Terminal("import", "users.csv")
    assert terminal.end() == (1, "1 added, 1 not\n")
    assert "100%" in terminal.shown
    assert f"\r\x1b[Kline 2: {TAKEN}\r\n" in terminal.shown


def test_off_a_terminal_an_import_shows_nothing() -> None:
    Path("users.csv").write_text(f"uid,password\nalice,{PASSWORD}\n")
    assert gateway("import", "users.csv").stderr == b""


# gateway users list


def test_list_shows_each_user_in_a_line(users: Users) -> None:
    users.add("a-longer-uid", PASSWORD, {"name": "ä\n\x1b\x7f"})
    users.set_disabled("a-longer-uid", True)
    made = "2027-01-15 08:00:00 UTC"
    assert succeed("users", "list").splitlines() == [
        f'a-longer-uid  disabled  {made}  {{"name": "\\u00e4\\n\\u001b\\u007f"}}',
        f'bob           enabled   {made}  {{"role": "editor", "scope": "read"}}',
    ]


def test_list_of_nobody_is_empty() -> None:
    assert succeed("users", "list") == ""


# gateway users passwd, disable, enable, remove


def test_passwd_changes_the_password(users: Users) -> None:
    assert succeed("users", "passwd", "bob", stdin=OTHER) == f"bob has another password\n{ENDED}\n"
    assert users.check("bob", PASSWORD) is None
    assert users.check("bob", OTHER) is not None


def test_disable_keeps_a_user_from_logging_in(users: Users) -> None:
    assert succeed("users", "disable", "bob") == f"bob is disabled\n{ENDED}\n"
    assert users.check("bob", PASSWORD) is None


def test_enable_lets_a_user_log_in_again(users: Users) -> None:
    users.set_disabled("bob", True)
    assert succeed("users", "enable", "bob") == "bob is enabled\n"
    assert users.check("bob", PASSWORD) is not None


def test_enable_ends_no_session(users: Users, sessions: Sessions) -> None:
    succeed("users", "enable", "bob")
    assert sessions.ended == []


def test_remove_removes_a_user(users: Users) -> None:
    assert succeed("users", "remove", "bob") == f"bob is removed\n{ENDED}\n"
    assert users.get("bob") is None


# gateway users claims


def test_claims_shows_them(users: Users, sessions: Sessions) -> None:
    assert json.loads(succeed("users", "claims", "bob")) == {"role": "editor", "scope": "read"}
    assert sessions.ended == []


@pytest.mark.parametrize(
    ("options", "claims"),
    [
        pytest.param(["--claim", "role=reader"], {"role": "reader", "scope": "read"}, id="replaced"),
        pytest.param(["--claim", "x=1"], {"role": "editor", "scope": "read", "x": 1}, id="added"),
        pytest.param(["--scope", "a", "--scope", "b"], {"role": "editor", "scope": "a b"}, id="scopes"),
        pytest.param(["--scope", "a", "--scope", "a"], {"role": "editor", "scope": "a"}, id="scope-twice"),
        pytest.param(["--claim", "scope=b"], {"role": "editor", "scope": "b"}, id="scope-as-a-claim"),
        pytest.param(["--remove", "role"], {"scope": "read"}, id="removed"),
        pytest.param(["--remove", "role", "--remove", "scope"], {}, id="all-removed"),
        pytest.param(["--remove", "role", "--scope", "b"], {"scope": "b"}, id="removed-and-replaced"),
    ],
)
def test_claims_changes_those_that_are_named(
    options: list[str], claims: Mapping[str, Any], users: Users
) -> None:
    assert succeed("users", "claims", "bob", *options) == f"bob has other claims\n{ENDED}\n"
    assert claims_of(users) == claims


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param(["--remove", "x"], "there is no claim 'x'; there is role, scope", id="unknown"),
        pytest.param(
            ["--remove", "x", "--claim", "x=1"],
            "the claim 'x' is both given and removed; one must go",
            id="both",
        ),
        pytest.param(
            ["--claim", "sid=x"],
            "sid: issued by the gateway, so no extra claim; it must have another name",
            id="issued",
        ),
        pytest.param(
            ["--scope", 'a"'], 'a scope must be visible ASCII characters without " and \\', id="scope"
        ),
    ],
)
def test_claims_that_cannot_be_stay_as_they_are(
    options: list[str], message: str, users: Users, sessions: Sessions
) -> None:
    assert refuse("claims", "bob", *options) == message
    assert claims_of(users) == {"role": "editor", "scope": "read"}
    assert sessions.ended == []


# Sessions


@pytest.mark.parametrize(("command", "change"), ENDING)
def test_a_change_ends_the_sessions(
    command: list[str], change: str, users: Users, sessions: Sessions
) -> None:
    succeed("users", *command, stdin=OTHER)
    assert sessions.ended == ["bob"]


@pytest.mark.parametrize(("command", "change"), ENDING)
def test_sessions_are_ended_after_the_change(
    command: list[str], change: str, users: Users, sessions: Sessions
) -> None:
    before = users.get("bob")
    succeed("users", *command, stdin=OTHER)
    assert sessions.seen == [users.get("bob")]
    assert sessions.seen != [before]


@pytest.mark.parametrize(("command", "change"), ENDING)
def test_sessions_that_cannot_be_ended_are_a_fault(
    command: list[str], change: str, users: Users, sessions: Sessions
) -> None:
    sessions.fault = StateUnavailableError("Redis: no answer")
    result = run("users", *command, stdin=OTHER)
    assert (result.exit_code, result.stdout) == (3, f"{change}\n")
    assert result.stderr == (
        f"error: {change}, but the sessions of bob live on: Redis: no answer;"
        " gateway sessions revoke --uid bob ends them\n"
    )


def test_sessions_end_also_where_nobody_reads_that(users: Users) -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run((*_GATEWAY, "disable", "bob"), stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, b"")
    assert succeed("sessions", "list-revoked").startswith("uid  bob  ")


def test_a_uid_can_be_copied_from_a_fault(users: Users, sessions: Sessions) -> None:
    users.add("$(rm)", PASSWORD)
    sessions.fault = StateUnavailableError("no answer")
    result = run("users", "disable", "$(rm)")
    assert "gateway sessions revoke --uid '$(rm)' ends them" in result.stderr


def test_a_made_password_is_shown_even_if_sessions_live_on(users: Users, sessions: Sessions) -> None:
    sessions.fault = StateUnavailableError("no answer")
    printed = run("users", "passwd", "bob", "--generate").stdout.splitlines()
    assert users.check("bob", printed[0].removeprefix("password  ")) is not None


def test_sessions_are_ended_in_the_state_store(users: Users, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.cli_users.end_sessions", end_sessions)
    printed = succeed("users", "disable", "bob").splitlines()
    assert printed[0] == "bob is disabled"
    assert printed[1].startswith("every session of bob ")
    assert succeed("sessions", "list-revoked").startswith("uid  bob  ")


# gateway users import


def import_(text: str | bytes) -> Result:
    """Import a file of this text, on which nothing of a password is printed."""
    Path("users.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    result = run("users", "import", "users.csv")
    assert PASSWORD not in result.output
    return result


def refused_rows(text: str) -> list[str]:
    """Import a file with bad rows, and return what is said of them."""
    result = import_(text)
    lines = result.stderr.splitlines()
    assert result.exit_code == 1
    assert result.stdout.endswith(f" added, {len(lines)} not\n")
    return lines


def test_import_adds_every_row(users: Users) -> None:
    result = import_(f"uid,password\nalice,{PASSWORD}\n12,{OTHER}\n")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "2 added, 0 not\n", "")
    assert users.check("alice", PASSWORD) == {}
    assert users.check("12", OTHER) == {}


def test_import_reads_standard_input(users: Users) -> None:
    succeed("users", "import", "-", stdin=f"uid,password\nalice,{PASSWORD}\n")
    assert users.get("alice") is not None


@pytest.mark.parametrize(
    ("row", "claims"),
    [
        pytest.param(",", {}, id="none"),
        pytest.param("read write,", {"scope": "read write"}, id="scopes"),
        pytest.param(" read  read ,", {"scope": "read"}, id="scopes-with-spaces"),
        pytest.param(',"{""role"": ""editor""}"', {"role": "editor"}, id="claims"),
        pytest.param('a,"{""role"": 1}"', {"role": 1, "scope": "a"}, id="both"),
        pytest.param(',"{""scope"": ""a""}"', {"scope": "a"}, id="scope-as-a-claim"),
    ],
)
def test_import_stores_scopes_and_claims(row: str, claims: Mapping[str, Any], users: Users) -> None:
    import_(f"uid,password,scope,claims\nalice,{PASSWORD},{row}\n")
    assert claims_of(users, "alice") == claims


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(f"password,claims,uid\n{PASSWORD},,alice\n", id="other-order"),
        pytest.param(f"uid,password\r\nalice,{PASSWORD}\r\n", id="newlines-of-dos"),
        pytest.param(f"uid,password\ralice,{PASSWORD}\r", id="newlines-of-old-macs"),
        pytest.param(f"\ufeffuid,password\nalice,{PASSWORD}\n", id="byte-order-mark"),
        pytest.param(f'"uid","password"\n"alice","{PASSWORD}"', id="quotes-and-no-newline"),
        pytest.param(f"\nuid,password\n\nalice,{PASSWORD}\n\n", id="blank-lines"),
    ],
)
def test_import_takes_any_csv(text: str, users: Users) -> None:
    assert import_(text).stdout == "1 added, 0 not\n"
    assert users.check("alice", PASSWORD) is not None


@pytest.mark.parametrize("password", [" a ", 'a"b', "a,b", "a\nb", "pässword"])
def test_import_takes_a_password_as_it_stands(password: str, users: Users) -> None:
    quoted = password.replace('"', '""')
    import_(f'uid,password\nalice,"{quoted}"\n')
    assert users.check("alice", password) is not None


@pytest.mark.parametrize(
    ("row", "why"),
    [
        pytest.param(f"bob,{PASSWORD},,", TAKEN, id="in-the-database"),
        pytest.param(
            f"alice,{PASSWORD},,", "'alice' stands on line 2 already; one must go", id="in-the-file"
        ),
        pytest.param(
            f"a b,{PASSWORD},,",
            "the uid must be an integer, or 1 to 255 visible ASCII characters without a comma",
            id="no-uid",
        ),
        pytest.param(
            f",{PASSWORD},,",
            "the uid must be an integer, or 1 to 255 visible ASCII characters without a comma",
            id="empty-uid",
        ),
        pytest.param(
            "eve,,,", "the password is empty; it must be 1 to 1,024 bytes in UTF-8", id="no-password"
        ),
        pytest.param(
            f"eve,{'x' * 1025},,",
            "the password is over 1,024 bytes long; it must be 1 to 1,024 bytes in UTF-8",
            id="long-password",
        ),
        pytest.param(f"eve,{PASSWORD},,[]", NO_OBJECT, id="no-object"),
        pytest.param(f"eve,{PASSWORD},,{{", NO_OBJECT, id="no-json"),
        pytest.param(f'eve,{PASSWORD},,"{{""a"": 1, ""a"": 2}}"', NO_OBJECT, id="claim-twice"),
        pytest.param(f"eve,{PASSWORD},,{'[' * 5000}", NO_OBJECT, id="too-deep"),
        pytest.param(
            f'eve,{PASSWORD},a,"{{""scope"": ""b""}}"',
            "the claim scope is given twice, as a claim and by scopes; one must go",
            id="scope-twice",
        ),
        pytest.param(
            f'eve,{PASSWORD},"a""b",',
            'a scope must be visible ASCII characters without " and \\',
            id="no-scope",
        ),
        pytest.param(
            f'eve,{PASSWORD},,"{{""iat"": 1}}"',
            "iat: issued by the gateway, so no extra claim; it must have another name",
            id="issued-claim",
        ),
        pytest.param(
            f"eve,{PASSWORD},", "there are 3 fields; there must be 4, as in the header", id="too-few-fields"
        ),
        pytest.param(
            f"eve,{PASSWORD},,,",
            "there are 5 fields; there must be 4, as in the header",
            id="too-many-fields",
        ),
        pytest.param(
            f'eve,"{PASSWORD}"x,,', f"it is no CSV: ',' expected after '\"'; {QUOTED}", id="after-a-quote"
        ),
    ],
)
def test_import_reports_a_bad_row_and_keeps_the_rest(row: str, why: str, users: Users) -> None:
    text = f"uid,password,scope,claims\nalice,{PASSWORD},,\n{row}\ncarol,{PASSWORD},,\n"
    assert refused_rows(text) == [f"line 3: {why}"]
    assert [user.uid for user in users.all()] == ["alice", "bob", "carol"]


def test_import_counts_the_lines_of_a_row(users: Users) -> None:
    text = f'uid,password\nalice,"{PASSWORD}\n\n"\n\n"c\nd",{PASSWORD}\nbob,{PASSWORD}\n'
    assert [line.split(":")[0] for line in refused_rows(text)] == ["line 6", "line 8"]


def test_import_reports_a_quote_that_is_not_closed_where_it_opens() -> None:
    text = f'uid,password\nalice,{PASSWORD}\neve,"{PASSWORD}\ncarol,{PASSWORD}\n'
    assert refused_rows(text) == [f"line 3: it is no CSV: unexpected end of data; {QUOTED}"]


def test_import_adds_a_uid_whose_first_row_was_bad(users: Users) -> None:
    assert len(refused_rows(f"uid,password\nalice,\nalice,{PASSWORD}\n")) == 1
    assert users.get("alice") is not None


def test_import_warns_of_a_short_password(users: Users) -> None:
    result = import_("uid,password\nalice,short\n")
    assert (result.exit_code, result.stderr) == (0, f"warning: line 2: {SHORT}\n")
    assert users.check("alice", "short") is not None


def test_import_again_adds_nobody() -> None:
    text = f"uid,password\nalice,{PASSWORD}\n"
    import_(text)
    assert refused_rows(text) == [f"line 2: {TAKEN.replace('bob', 'alice')}"]


def test_import_ends_no_session(sessions: Sessions) -> None:
    import_(f"uid,password\nalice,{PASSWORD}\n")
    assert sessions.ended == []


@pytest.mark.parametrize(
    "header",
    [
        pytest.param("", id="empty"),
        pytest.param(f"alice,{PASSWORD}", id="none"),
        pytest.param("uid", id="too-few"),
        pytest.param("uid,password,role", id="unknown"),
        pytest.param("uid,password,uid", id="twice"),
        pytest.param("UID,Password", id="other-case"),
        pytest.param("uid;password", id="semicolons"),
        pytest.param('"uid', id="no-csv"),
    ],
)
def test_import_needs_a_header(header: str, users: Users) -> None:
    result = import_(f"{header}\ncarol,{PASSWORD}\n")
    assert (result.exit_code, result.stdout) == (1, "")
    line = 2 if not header else 1
    must = "the header must be uid,password and, where wanted, scope and claims"
    assert result.stderr == f"error: users.csv, line {line}: {must}\n"
    assert users.get("carol") is None


def test_import_needs_utf_8(users: Users) -> None:
    result = import_(f"uid,password\ncarol,{PASSWORD}\neve,p\u00e4ssword\n".encode("latin-1"))
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "error: users.csv, line 3: not UTF-8; it must be saved as UTF-8\n"
    assert users.get("carol") is None


def test_import_needs_a_file() -> None:
    assert refuse("import", "users.csv") == (
        "users.csv cannot be read: No such file or directory; it must be a CSV file, or - for standard input"
    )


def test_import_says_how_far_it_came_when_the_database_is_gone(
    users: Users, monkeypatch: pytest.MonkeyPatch
) -> None:
    def add(self: Users, uid: str, *rest: Any) -> None:
        if uid == "carol":
            raise UsersUnavailableError("the users database: gone")

    monkeypatch.setattr(Users, "add", add)
    result = import_(f"uid,password\nalice,{PASSWORD}\nx y,\ncarol,{PASSWORD}\ndave,{PASSWORD}\n")
    assert (result.exit_code, result.stdout) == (3, "")
    assert result.stderr.splitlines()[1:] == [
        "1 added, 1 not, before line 4",
        f"error: the users database: gone; {ASK}",
    ]
