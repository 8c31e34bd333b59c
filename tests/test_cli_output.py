"""What the commands print: on a terminal, into a pipe, and as JSON."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gateway import TokenCreator, passwords
from gateway.cli_output import Column, one_line, print_table, width_of
from gateway.users import Users
from tests.integration.servers import DEADLINE, ROOT, environment
from tests.support import KEY, claims, forge
from tests.test_cli import fail, run, succeed
from tests.test_keyfolder import add as add_key
from tests.test_keyfolder import kid
from tests.test_passwords import CheapHasher

GATEWAY = (sys.executable, "-c", "from gateway.cli import main; main(prog_name='gateway')")
ESCAPE = "\x1b["
COLUMNS = (Column("NAME"), Column("MADE", plain="made {}"), Column("NOTE", ragged=True), Column("OF", "({})"))
ROWS = [("a", "today", "first", "us"), ("longer", "yesterday", "a second note", "")]
TOKENS = TokenCreator(token_key=KEY)


@pytest.fixture(autouse=True)
def _environ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the working directory empty, and one good key alone in the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    monkeypatch.setenv("TOKEN_KEY", KEY)
    for name in ("NO_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")


def variables(**more: str) -> dict[str, str]:
    return environment(**{"TOKEN_KEY": KEY, "PYTHONPATH": str(ROOT), "TERM": "xterm", **more})


def on_terminal(*arguments: str, stream: str = "stdout", **more: str) -> tuple[str, bytes]:
    """Run the command with one of its streams on a terminal; return what it shows, and the other stream."""
    ours, theirs = pty.openpty()
    other = "stderr" if stream == "stdout" else "stdout"
    process = subprocess.Popen(
        (*GATEWAY, *arguments),
        stdin=subprocess.DEVNULL,
        env=variables(**more),
        **{stream: theirs, other: subprocess.PIPE},  # type: ignore[call-overload]
    )
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # which is how it ends
        while data := os.read(ours, 4096):
            shown += data
    os.close(ours)
    printed, told = process.communicate(timeout=DEADLINE)
    return shown.decode().replace("\r\n", "\n"), printed if stream == "stderr" else told


@pytest.mark.parametrize("arguments", [["check"], ["explain", "GET", "/"], ["env-example"]])
def test_a_closed_output_is_no_fault(arguments: list[str]) -> None:
    line = shlex.join([*GATEWAY, *arguments])
    done = subprocess.run(
        ["sh", "-c", f"{line} >&-"], env=variables(), capture_output=True, timeout=DEADLINE, check=True
    )
    assert done.stderr == b""


# Colours


@pytest.mark.parametrize(
    ("arguments", "coloured"),
    [
        (["check"], "\x1b[32mAll settings are sound, and the app imports.\x1b[0m"),
        (["explain", "GET", "/x"], "\x1b[31m400 Bad Request: Bad Request (missing_credentials)\x1b[0m"),
        (["explain", "GET", "/x"], "\x1b[1manswer  \x1b[0m"),
    ],
)
def test_there_are_colours_on_a_terminal(arguments: list[str], coloured: str) -> None:
    assert coloured in on_terminal(*arguments)[0]


def test_a_fault_is_coloured_on_a_terminal_of_its_own() -> None:
    shown, printed = on_terminal("chekc", stream="stderr")
    assert shown == "\x1b[31m\x1b[1merror:\x1b[0m there is no command 'chekc'; did you mean check?\n"
    assert printed == b""


def test_a_warning_is_coloured_on_a_terminal_while_the_rest_goes_plain_into_a_pipe() -> None:
    shown, printed = on_terminal("check", stream="stderr", GATEWAY_PUBLIC_PATH="/x")
    assert shown.startswith("\x1b[33m\x1b[1mwarning:\x1b[0m GATEWAY_PUBLIC_PATH ")
    assert ESCAPE.encode() not in printed


@pytest.mark.parametrize("asked", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_nobody_gets_colours_who_asks_for_none(stream: str, asked: dict[str, str]) -> None:
    shown, _ = on_terminal("check", stream=stream, **{"GATEWAY_PUBLIC_PATH": "/x", "TERM": "xterm", **asked})
    assert shown
    assert ESCAPE not in shown


def test_an_empty_no_color_counts_for_nothing() -> None:
    assert ESCAPE in on_terminal("check", NO_COLOR="")[0]


def test_a_pipe_gets_the_same_bytes_whatever_the_terminal_is() -> None:
    plain = [
        subprocess.run((*GATEWAY, "check"), env=variables(**more), capture_output=True, check=True).stdout
        for more in ({}, {"COLUMNS": "20"}, {"NO_COLOR": "1"})
    ]
    assert plain[0] == plain[1] == plain[2]
    assert ESCAPE.encode() not in plain[0]


# Tables


def table(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *, width: int) -> list[str]:
    """What a terminal of a width shows of the table."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", str(width))
    print_table(COLUMNS, ROWS)
    return capsys.readouterr().out.splitlines()


def test_a_terminal_shows_titles_over_what_is_aligned(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert table(monkeypatch, capsys, width=80) == [
        "NAME    MADE       NOTE           OF",
        "a       today      first          us",
        "longer  yesterday  a second note",
    ]


def test_a_table_is_cut_to_the_terminal_where_it_is_widest(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert table(monkeypatch, capsys, width=32) == [
        "NAME    MADE       NOTE       OF",
        "a       today      first      us",
        "longer  yesterday  a second…",
    ]


def test_a_table_is_not_cut_beyond_recognition(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert table(monkeypatch, capsys, width=1)[2] == "longer  yesterd…  a secon…"


def test_a_pipe_gets_rows_that_are_whole_and_no_titles(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(COLUMNS, ROWS)
    assert capsys.readouterr().out.splitlines() == [
        "a       made today      first  (us)",
        "longer  made yesterday  a second note",
    ]


@pytest.mark.parametrize("terminal", [True, False])
def test_a_table_of_nothing_is_empty(
    terminal: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    print_table(COLUMNS, [])
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(("text", "width"), [("abc", 3), ("日本", 4), ("e\u0301", 1), ("ﬁ", 1), ("", 0)])
def test_a_wide_character_takes_two_cells_and_an_accent_none(text: str, width: int) -> None:
    assert width_of(text) == width


def test_wide_cells_are_cut_and_aligned_by_what_they_take(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "14")
    print_table([Column("A"), Column("B")], [("日本語日本語", "x"), ("abc", "y")])
    assert capsys.readouterr().out.splitlines()[1:] == ["日本語日本…  x", "abc          y"]


@pytest.mark.parametrize(
    "character", ["\n", "\r", "\x1b", "\x07", "\x9b", "\x7f", "\u2028", "\u202e", "\ud800"]
)
@pytest.mark.parametrize("terminal", [True, False])
def test_no_cell_breaks_a_line_or_gives_an_order(
    terminal: bool, character: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    monkeypatch.setenv("NO_COLOR", "1")
    print_table([Column("A")], [(f"a{character}b",)])
    *titles, line = capsys.readouterr().out.splitlines()
    assert len(titles) == terminal
    assert line == f"a{one_line(character)}b"
    assert line.isprintable()


def test_a_list_on_a_terminal_has_titles_and_fits() -> None:
    with closing(Users("sqlite:///users.db")) as users:
        users.add("anna", "correct horse", {"note": "x" * 200})
    shown, _ = on_terminal(
        "users", "list", COLUMNS="60", NO_COLOR="1", GATEWAY_USERS_URL="sqlite:///users.db"
    )
    lines = shown.splitlines()
    assert lines[0].split() == ["UID", "STATE", "ADDED", "CLAIMS"]
    assert [len(line) for line in lines[1:]] == [60]
    assert lines[1].endswith("…")


def test_check_on_a_terminal_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    shown, _ = on_terminal("check", COLUMNS="70", NO_COLOR="1", GATEWAY_PUBLIC_PATHS="/a" * 100)
    assert max(map(len, shown.splitlines())) == 70
    assert shown.splitlines()[0].split() == ["SETTING", "VALUE", "FROM"]


# JSON


def document(*arguments: str, code: int = 0, stdin: str | None = None) -> Any:
    """Run the command with --json, and return the one document that it prints."""
    result = run(*arguments, "--json", stdin=stdin)
    assert result.exit_code == code, result.output
    assert result.stdout.isascii()
    return json.loads(result.stdout)


def shape(value: Any) -> Any:
    """The names of members, all through."""
    if isinstance(value, Mapping):
        return {name: shape(member) for name, member in value.items()}
    return [shape(member) for member in value] if isinstance(value, list) else None


def test_check_tells_a_script_what_is_in_effect() -> None:
    told = document("check")
    assert (told["ok"], told["faults"], told["warnings"]) == (True, [], [])
    assert told["settings"]["TOKEN_KEY"] == {"value": "40 bytes, not shown", "from": "environment"}
    assert told["settings"]["PORT"] == {"value": "8000", "from": "default"}
    assert KEY not in json.dumps(told)


def test_check_tells_a_script_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "many")
    monkeypatch.setenv("TOKEN_KEYS", "hunter2")
    told = document("check", code=1)
    assert told == {
        "ok": False,
        "faults": ["PORT is 'many'; it must be a whole number from 1 to 65535"],
        "warnings": ["TOKEN_KEYS in the environment is no setting; did you mean TOKEN_KEY?"],
    }


@pytest.mark.filterwarnings("default::gateway.WeakKeyWarning")
def test_check_tells_a_script_of_each_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN_KEY", "hunter2")
    monkeypatch.setenv("GATEWAY_ALLOW_WEAK_KEY", "true")
    result = run("check", "--json")
    assert result.stderr == ""
    assert json.loads(result.stdout)["warnings"] == [
        "TOKEN_KEY holds 7 bytes: a secret so short can be guessed"
    ]


def test_check_tells_a_script_where_the_gunicorn_configuration_does_not_run() -> None:
    (fault,) = document("check", "-c", "python:missing", code=1)["faults"]
    assert fault.startswith("python:missing does not run: ")


def test_explain_tells_a_script_who_passes() -> None:
    assert document("explain", "GET", "/x", "--token", TOKENS.create(12)) == {
        "method": "GET",
        "path": "/x",
        "route": "none of its own: a good token, and no more",
        "besides": None,
        "answered_by": "app",
        "ok": True,
        "uid": "12",
        "issuer": None,
        "renewed": False,
        "status": None,
        "error": None,
        "code": None,
        "headers": {},
        "why": [],
    }


def test_explain_tells_a_script_the_path_as_it_is() -> None:
    assert document("explain", "GET", "/%1b%C3%A9", code=1)["path"] == "/\x1bé"


def test_explain_tells_a_script_what_is_refused() -> None:
    told = document("explain", "GET", "/x", code=1)
    assert (told["ok"], told["answered_by"], told["status"], told["error"], told["code"]) == (
        *(False, "gateway", 400),
        *("Bad Request", "missing_credentials"),
    )
    assert told["why"] == ["The Authorization or the uid header is missing"]


@pytest.mark.parametrize(("path", "by"), [("/auth/health", "gateway"), ("/health-of-app", "app")])
def test_explain_tells_a_script_of_nobody(path: str, by: str) -> None:
    told = document("explain", "GET", path)
    assert (told["ok"], told["answered_by"], told["uid"]) == (True, by, None)


def test_inspect_tells_a_script_of_a_good_token() -> None:
    token = TOKENS.create(12, role="é")
    told = document("token", "inspect", token)
    assert (told["ok"], told["verified"], told["uid"], told["renewed"]) == (True, True, "12", False)
    assert told["claims"] == TOKENS.decode_token(token)
    assert 29 <= told["minutes_left"] <= 30
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", told["expires"])
    assert token not in json.dumps(told)


@pytest.mark.parametrize(
    ("text", "verified", "readable"),
    [
        (forge(claims(exp=1)), True, True),
        (forge(claims(), key="x" * 40), False, True),
        ("x.y.z", False, False),
    ],
)
def test_inspect_tells_a_script_of_a_bad_token(text: str, verified: bool, readable: bool) -> None:
    told = document("token", "inspect", code=1, stdin=text)
    assert (told["ok"], told["verified"], told["claims"] is not None) == (False, verified, readable)
    assert told["status"] in (401, 498)


def test_create_tells_a_script_the_token() -> None:
    told = document("token", "create", "--uid", "12", "--claim", "role=editor")
    assert told["claims"] == TOKENS.decode_token(told["token"])


def test_users_are_told_to_a_script(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "hasher", CheapHasher())
    monkeypatch.setenv("GATEWAY_USERS_URL", "sqlite:///users.db")
    with closing(Users("sqlite:///users.db", clock=lambda: 1_800_000_000.25)) as users:
        users.add("bob", "correct horse", {"role": "editor"})
    moment = "2027-01-15T08:00:00Z"
    bob = {"uid": "bob", "disabled": False, "added": moment, "changed": moment, "claims": {"role": "editor"}}
    assert document("users", "list") == {"users": [bob]}
    assert document("users", "claims", "bob") == {"uid": "bob", "claims": {"role": "editor"}}


def test_revocations_are_told_to_a_script(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_STATE_URL", "sqlite:///state.db")
    succeed("sessions", "revoke", "--sid", "\x1b[31m")
    (told,) = document("sessions", "list-revoked")["revocations"]
    assert (told["kind"], told["value"], told["issuer"]) == ("sid", "\x1b[31m", None)
    assert told["revoked"] < told["kept_until"]


@pytest.fixture
def _folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_KEY_DIR", "keys")
    monkeypatch.setenv("GATEWAY_ALGORITHM", "EdDSA")


@pytest.mark.usefixtures("_folder")
def test_keys_are_told_to_a_script() -> None:
    made = document("keys", "generate")["made"]
    assert Path(made["file"]).exists()
    (listed,) = document("keys", "list")["keys"]
    assert {**listed, **{name: made[name] for name in ("kid", "algorithm", "file", "made")}} == listed
    assert (listed["signs"], listed["can_be_retired"], listed["verifies_until"]) == (True, False, None)


@pytest.mark.usefixtures("_folder")
def test_keys_that_come_and_go_are_told_to_a_script() -> None:
    old, last = (add_key(Path("keys"), age, "EdDSA") for age in (90_000_000, 80_000_000))
    told = document("keys", "rotate")
    assert (told["retired"], set(told["made"])) == (
        [kid(old)],
        {"kid", "algorithm", "file", "made", "signs_from"},
    )
    assert told["made"]["signs_from"] > told["made"]["made"]
    assert document("keys", "retire", kid(last), "--force") == {"made": None, "retired": [kid(last)]}


def test_a_script_is_told_nothing_by_a_command_that_fails() -> None:
    assert fail("users", "list", "--json", code=3)[0].startswith("GATEWAY_USERS_URL is not set; ")


# How it ends


@pytest.mark.parametrize("arguments", [["check"], ["--help"], ["users", "--help"], ["env-example"]])
def test_a_closed_pipe_ends_it_without_a_word(arguments: list[str]) -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        (*GATEWAY, *arguments), stdout=write, stderr=subprocess.PIPE, env=variables(), check=False
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (141, b"")


def test_ctrl_c_ends_it_without_a_traceback() -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        (*GATEWAY, "users", "add", "anna"),
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=theirs,
        start_new_session=True,
        env=variables(GATEWAY_USERS_URL="sqlite:///users.db"),
    )
    os.close(theirs)
    shown = b""
    while b"Password: " not in shown:
        shown += os.read(ours, 1000)
    deadline = time.monotonic() + DEADLINE
    process.send_signal(signal.SIGINT)
    with contextlib.suppress(OSError):
        while time.monotonic() < deadline:
            shown += os.read(ours, 1000)
    os.close(ours)
    assert process.communicate(timeout=DEADLINE)[0] == b""
    assert process.returncode == 130
    assert b"Traceback" not in shown
