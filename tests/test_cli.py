"""The `gateway` command, in a working directory and an environment of its own."""

from __future__ import annotations

import errno
import importlib.metadata
import importlib.util
import json
import os
import re
import secrets
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gateway import ExpiredTokenError, Settings, TokenCreator, describe
from gateway.cli import main
from gateway.envfile import assignments, read_text
from gateway.settings import TABLE
from gateway.users import Users
from tests.support import KEY, claims, forge

TOKENS = TokenCreator(token_key=KEY)
ESCAPES = "\x1b[31m\x1b]0;title\x07\x9b31m\x7f"


@pytest.fixture(autouse=True)
def _environ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the working directory empty, and one good key alone in the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    monkeypatch.setenv("TOKEN_KEY", KEY)


def run(*arguments: str, stdin: str | None = None) -> Result:
    """Run the command; it ends by itself, and what it prints is kept as it is."""
    return CliRunner().invoke(main, arguments, input=stdin, catch_exceptions=False, color=True)


def succeed(*arguments: str, stdin: str | None = None) -> str:
    """Run the command, which succeeds, and return what it prints to standard output."""
    result = run(*arguments, stdin=stdin)
    assert result.exit_code == 0, result.output
    return result.stdout


def fail(*arguments: str, code: int = 1) -> list[str]:
    """Run the command, which fails and prints nothing else, and return its faults."""
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (code, "")
    lines = result.stderr.splitlines()
    assert all(line.startswith("error: ") for line in lines)
    return [line.removeprefix("error: ") for line in lines]


def unsound(*arguments: str) -> list[str]:
    """Run the command, which fails for a setting or for what it names, and return its faults."""
    return fail(*arguments, code=3)


def warnings_of(*arguments: str) -> list[str]:
    """Run the command, which succeeds, and return its warnings."""
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    lines = result.stderr.splitlines()
    assert all(line.startswith("warning: ") for line in lines)
    return [line.removeprefix("warning: ") for line in lines]


def write(text: str, name: str = "config.env", mode: int = 0o600) -> Path:
    path = Path(name)
    path.write_text(text, "utf-8")
    path.chmod(mode)
    return path


def write_app(source: str) -> str:
    """Write a module of an app, and return what names the app."""
    name = f"made_{secrets.token_hex(8)}"
    write(source, f"{name}.py")
    return f"{name}:app"


# gateway


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_names_every_command(option: str) -> None:
    text = succeed(option)
    assert all(f"\n  {name} " in text for name in ("check", "env-example", "init", "serve", "token"))


def test_version_is_that_of_the_package() -> None:
    assert succeed("--version") == f"wsgi-auth-gateway {importlib.metadata.version('wsgi-auth-gateway')}\n"


@pytest.mark.parametrize(
    ("command", "code"),
    [(["check"], 1), (["token", "create", "--uid", "1"], 3), (["token", "inspect", "x"], 3)],
)
def test_bad_settings_are_lines_and_no_traceback(
    command: list[str], code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PORT", "many")
    monkeypatch.setenv("TOKEN_KEY", "hunter2")
    assert [fault.split()[0] for fault in fail(*command, code=code)] == ["PORT", "TOKEN_KEY"]
    assert "hunter2" not in run(*command).output


@pytest.mark.filterwarnings("default::gateway.WeakKeyWarning")
@pytest.mark.parametrize("command", [["check"], ["token", "create", "--uid", "1"], ["token", "inspect", "x"]])
def test_a_weak_key_is_warned_of_in_one_line(command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN_KEY", "hunter2")
    monkeypatch.setenv("GATEWAY_ALLOW_WEAK_KEY", "true")
    result = run(*command)
    assert result.stderr == "warning: TOKEN_KEY holds 7 bytes: a secret so short can be guessed\n"


# gateway init


@pytest.fixture
def open_umask() -> Iterator[None]:
    """Let new files have every permission that they ask for."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("open_umask")
def test_init_writes_a_file_that_its_owner_alone_may_read() -> None:
    succeed("init")
    assert stat.S_IMODE(Path("config.env").stat().st_mode) == 0o600


def test_init_writes_settings_to_start_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TOKEN_KEY")
    succeed("init")
    settings = Settings.from_env({})
    assert settings == Settings(
        token_key=settings.token_key,
        state_url="sqlite:///gateway-state.db",
        users_url="sqlite:///gateway-users.db",
    )


def test_init_makes_a_first_user_with_a_password_that_it_shows() -> None:
    printed = succeed("init", "--uid", "12")
    (password,) = re.findall(
        r"the user 12 is added; the password, which is shown only now, is (\S+)", printed
    )
    assert password not in Path("config.env").read_text()
    with closing(Users("sqlite:///gateway-users.db")) as users:
        assert users.check("12", password) == {}


def test_init_leaves_a_user_that_is_there_as_it_is() -> None:
    succeed("init")
    assert "the user admin is there already" in succeed("init", "--file", "other.env")


def test_init_refuses_a_uid_that_is_none_before_it_writes_anything() -> None:
    assert fail("init", "--uid", "a,b")[0].startswith("--uid is 'a,b'; it must be")
    assert not list(Path().iterdir())


def test_init_makes_no_user_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.extras.find_spec", lambda module: None)
    assert "pip install 'wsgi-auth-gateway[users]'" in succeed("init")
    assert [path.name for path in Path().iterdir()] == ["config.env"]


def test_init_in_another_folder_keeps_everything_there(tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    succeed("init", "--file", str(folder / "config.env"))
    assert sorted(path.name for path in folder.iterdir()) == ["config.env", "gateway-users.db"]
    assert Settings.from_env({"GATEWAY_CONFIG": str(folder / "config.env")}).state_url == (
        f"sqlite:///{folder}/gateway-state.db"
    )


def test_init_makes_another_key_each_time_and_does_not_print_it() -> None:
    paths = [Path("a.env"), Path("b.env")]
    printed = "".join(succeed("init", "--file", str(path)) for path in paths)
    keys = [next(assignments(path, read_text(path))).value for path in paths]
    assert keys[0] != keys[1]
    assert not any(key in printed for key in keys)


def test_init_writes_the_file_that_gateway_config_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_CONFIG", "other.env")
    assert succeed("init").startswith("other.env written")
    assert sorted(path.name for path in Path().iterdir()) == ["gateway-users.db", "other.env"]


def test_init_leaves_a_file_that_is_there_as_it_is() -> None:
    path = write("PORT=1\n")
    assert fail("init") == ["config.env is there already, and stays as it is; --file names another"]
    assert path.read_text("utf-8") == "PORT=1\n"


def test_init_does_not_follow_a_dangling_link() -> None:
    Path("config.env").symlink_to("elsewhere.env")
    assert fail("init") == ["config.env is there already, and stays as it is; --file names another"]
    assert not Path("elsewhere.env").exists()


def test_init_says_why_it_cannot_write() -> None:
    assert fail("init", "--file", "no/where.env") == [
        "no/where.env cannot be written: No such file or directory; --file names another place"
    ]


# gateway check


def test_check_shows_every_setting_with_secrets_masked() -> None:
    lines = succeed("check").splitlines()
    assert [line.split()[0] for line in lines[:-1]] == [row.variable for row in TABLE]
    assert lines[0].split(maxsplit=1)[1] == "40 bytes, not shown  (environment)"
    assert lines[-1] == "All settings are sound, and the app imports."
    assert KEY not in "".join(lines)


def test_check_imports_an_app_of_the_working_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    app = write_app("app = print\n")
    monkeypatch.setenv("GATEWAY_APP", app)
    assert f"  {app}  (environment)\n" in succeed("check")


def test_check_reports_every_fault_and_an_app_that_does_not_import(monkeypatch: pytest.MonkeyPatch) -> None:
    app = write_app("raise RuntimeError('no database')\n")
    write(f"COLOUR=red\nEXP_TIME_MIN=soon\nGATEWAY_APP={app}\n")
    monkeypatch.setenv("TOKEN_KEY", "hunter2")
    unknown, lifetime, key, broken = fail("check")
    assert unknown.startswith("config.env, line 1: COLOUR is no setting")
    assert lifetime.startswith("EXP_TIME_MIN is 'soon'; ")
    assert key.startswith("TOKEN_KEY holds 7 bytes; ")
    assert broken.startswith(f"GATEWAY_APP is {app!r}, which does not import: RuntimeError: no database")


def test_check_reports_an_ill_formed_app_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_APP", "myapp:make()")
    (fault,) = fail("check")
    assert fault.startswith("GATEWAY_APP is 'myapp:make()'; ")


def test_check_reports_a_file_that_cannot_be_parsed() -> None:
    write("PORT=1\nGATEWAY_ISSUER='hunter2\n")
    assert fail("check") == ["config.env, line 2: cannot be parsed; it must be NAME=value, each quote closed"]


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o622])
def test_check_warns_of_a_settings_file_that_others_may_open(
    mode: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(f"TOKEN_KEY={KEY!r}\n", mode=mode)
    monkeypatch.delenv("TOKEN_KEY")
    assert warnings_of("check") == [
        "config.env holds a secret that others on this machine may read; chmod 600 config.env"
    ]


def test_check_does_not_warn_of_a_settings_file_of_its_owner_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    write(f"TOKEN_KEY={KEY!r}\n")
    monkeypatch.delenv("TOKEN_KEY")
    assert warnings_of("check") == []


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("workers = 2\n", "'SCRIPT_NAME,PATH_INFO'"),
        ("forwarder_headers = 'PATH_INFO'\n", "'PATH_INFO'"),
        ("forwarder_headers = ['SCRIPT_NAME']\n", "['SCRIPT_NAME']"),
    ],
)
def test_check_warns_of_a_gunicorn_configuration_by_which_a_client_may_move_the_path(
    text: str, left: str
) -> None:
    write(text, "gunicorn.conf.py")
    (warning,) = warnings_of("check")
    assert warning.startswith(f"gunicorn.conf.py leaves forwarder_headers at {left}, ")
    assert warning.endswith('; set forwarder_headers = ""')


def test_check_does_not_warn_of_a_gunicorn_configuration_without_such_headers() -> None:
    write('forwarder_headers = ""\n', "gunicorn.conf.py")
    assert warnings_of("check") == []


@pytest.mark.parametrize("location", ["other_conf.py", "file:other_conf.py", "python:other_conf"])
def test_check_looks_at_the_gunicorn_configuration_that_it_is_given(location: str) -> None:
    write('forwarder_headers = ""\n', "gunicorn.conf.py")
    write("workers = 2\n", "other_conf.py")
    (warning,) = warnings_of("check", "-c", location)
    assert warning.startswith(f"{location} leaves forwarder_headers at ")


def test_check_does_not_warn_of_our_own_gunicorn_configuration() -> None:
    assert warnings_of("check", "-c", "python:gateway.gunicorn_conf") == []


@pytest.mark.parametrize("arguments", ["-c other_conf.py", "-w 3 --config=other_conf.py -b unix:x"])
def test_check_looks_at_the_gunicorn_configuration_that_the_environment_names(
    arguments: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write('forwarder_headers = ""\n', "gunicorn.conf.py")
    write("workers = 2\n", "other_conf.py")
    monkeypatch.setenv("GUNICORN_CMD_ARGS", arguments)
    (warning,) = warnings_of("check")
    assert warning.startswith("other_conf.py leaves forwarder_headers at ")


@pytest.mark.parametrize(
    ("arguments", "left"), [("--forwarder-headers SCRIPT_NAME", 1), ("--forwarder-headers ''", 0)]
)
@pytest.mark.parametrize("configured", [True, False])
def test_check_looks_at_the_forwarder_headers_that_the_environment_sets(
    arguments: str, left: int, configured: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if configured:
        write("", "gunicorn.conf.py")
    monkeypatch.setenv("GUNICORN_CMD_ARGS", arguments)
    warned = warnings_of("check")
    assert len(warned) == left
    assert all(line.startswith("GUNICORN_CMD_ARGS leaves forwarder_headers at 'SCRIPT") for line in warned)


@pytest.mark.parametrize("arguments", ["-w '3", "-w 3 -c"])
def test_check_says_when_arguments_for_gunicorn_cannot_be_read(
    arguments: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GUNICORN_CMD_ARGS", arguments)
    result = run("check")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: ")
    assert "GUNICORN_CMD_ARGS" in result.stderr


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("raise RuntimeError('no\\nluck')\n", "RuntimeError: no luck"),
        ("def\n", "SyntaxError: invalid syntax (gunicorn.conf.py, line 1)"),
        ("raise SystemExit('no luck')\n", "SystemExit: no luck"),
    ],
)
def test_check_reports_a_gunicorn_configuration_that_does_not_run_in_one_line(text: str, reason: str) -> None:
    write(text, "gunicorn.conf.py")
    result = run("check")
    assert result.exit_code == 1
    must = "it must be a gunicorn configuration, and -c names another"
    assert result.stderr == f"error: gunicorn.conf.py does not run: {reason}; {must}\n"


def test_check_reports_a_gunicorn_configuration_that_is_given_and_missing() -> None:
    result = run("check", "-c", "missing.py")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: missing.py does not run: FileNotFoundError: ")


# gateway serve


@pytest.fixture
def executed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[str]]]:
    """Return the list of what takes the place of the process, which nothing does."""
    calls: list[tuple[str, list[str]]] = []
    monkeypatch.setattr(os, "execv", lambda path, arguments: calls.append((path, arguments)))
    return calls


SERVE = [sys.executable, "-m", "gunicorn", "-c", "python:gateway.gunicorn_conf", "gateway.wsgi:application"]


@pytest.mark.parametrize("arguments", [[], ["--threads", "4", "-b", "unix:x"]])
@pytest.mark.parametrize("dashes", [["--"], []])
def test_serve_becomes_gunicorn_with_the_arguments_for_it(
    arguments: list[str], dashes: list[str], executed: list[tuple[str, list[str]]]
) -> None:
    succeed("serve", *dashes, *arguments)
    assert executed == [(sys.executable, [*SERVE, *arguments])]


def test_serve_warns_of_a_name_in_the_environment_that_is_nearly_a_setting(
    executed: list[tuple[str, list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEWAY_PUBLIC_PATH", "/health")
    said = "GATEWAY_PUBLIC_PATH in the environment is no setting; did you mean GATEWAY_PUBLIC_PATHS?"
    assert run("serve").stderr == f"warning: {said}\n"
    assert len(executed) == 1


def test_serve_without_gunicorn_says_how_to_get_it(
    executed: list[tuple[str, list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert unsound("serve") == ["gunicorn is not installed; pip install 'wsgi-auth-gateway[server]'"]
    assert executed == []


# gateway env-example


def test_env_example_prints_the_example_and_writes_nothing() -> None:
    assert succeed("env-example") == describe.example({})
    assert list(Path().iterdir()) == []


def test_env_example_of_a_file_has_its_values_taken_out() -> None:
    path = write(f"# note\nTOKEN_KEY='{KEY}'\nexport OWN_NAME=hunter2 # why\n#PORT=1\n")
    assert succeed("env-example", str(path)) == "config.env.example written\n"
    assert Path("config.env.example").read_text("utf-8") == "# note\nTOKEN_KEY=\nexport OWN_NAME=\n#PORT=\n"


def test_env_example_of_a_file_that_cannot_be_parsed_writes_nothing() -> None:
    path = write("PORT=1\nTOKEN_KEY='hunter2\n")
    assert fail("env-example", str(path)) == [
        "config.env, line 2: cannot be parsed; it must be NAME=value, each quote closed"
    ]
    assert not Path("config.env.example").exists()


def test_env_example_of_a_file_that_is_not_there_says_so() -> None:
    (fault,) = fail("env-example", "missing.env")
    assert fault.startswith("missing.env cannot be read: No such file or directory")


def test_env_example_that_cannot_be_written_says_so() -> None:
    path = write("PORT=1\n")
    Path("config.env.example").mkdir()
    (fault,) = fail("env-example", str(path))
    assert fault.startswith("config.env.example cannot be ")


def test_a_check_of_the_example_that_is_up_to_date_passes() -> None:
    write(describe.example({}), "config.env.example")
    assert succeed("env-example", "--check") == ""


@pytest.mark.parametrize("text", [None, "", "PORT=\n"])
def test_a_check_of_the_example_that_is_not_up_to_date_fails_and_writes_nothing(text: str | None) -> None:
    if text is not None:
        write(text, "config.env.example")
    assert fail("env-example", "--check") == [
        "config.env.example is not up to date; gateway env-example > config.env.example makes it so"
    ]
    assert [path.read_text("utf-8") for path in Path().iterdir()] == ([] if text is None else [text])


def test_a_check_of_a_file_with_its_example_passes() -> None:
    path = str(write("PORT=1\r\nOWN=2"))
    succeed("env-example", path)
    assert succeed("env-example", path, "--check") == ""


@pytest.mark.parametrize("text", [None, "PORT=\nNEW=\n"])
def test_a_check_of_a_file_with_another_example_fails(text: str | None) -> None:
    path = write("PORT=1\n")
    if text is not None:
        write(text, "config.env.example")
    assert fail("env-example", str(path), "--check") == [
        "config.env.example is not up to date; gateway env-example config.env makes it so"
    ]


def test_a_check_of_a_file_that_is_not_here_passes_with_a_note() -> None:
    """As in a fresh clone, which has the example alone."""
    write("PORT=\n", "config.env.example")
    result = run("env-example", "config.env", "--check")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == ("config.env is not here, so config.env.example cannot be compared with it\n")


# gateway token create


def created(*arguments: str) -> str:
    return succeed("token", "create", *arguments).removesuffix("\n")


@pytest.mark.parametrize(
    ("text", "uid"),
    [
        *(("12", 12), ("0", 0), ("-3", -3), ("9" * 254, int("9" * 254))),
        *((text, text) for text in ("012", "+12", "1_2", "12.0", "-0", "\\u0661", "anna@example.org")),
    ],
)
def test_a_uid_is_an_integer_only_in_its_canonical_form(text: str, uid: int | str) -> None:
    assert TOKENS.decode_token(created(f"--uid={text}"))["uid"] == uid


def test_a_uid_is_required() -> None:
    assert run("token", "create").exit_code == 2


@pytest.mark.parametrize("uid", ["", "a,b", "a b", "é", "x" * 256])
def test_a_uid_that_would_be_refused_is_not_issued(uid: str) -> None:
    (fault,) = fail("token", "create", f"--uid={uid}")
    assert fault.startswith("the uid must be ")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("editor", "editor"),
        ("3", 3),
        ("true", True),
        ("null", None),
        ('"3"', "3"),
        ('["a", {"b": 1.5}]', ["a", {"b": 1.5}]),
        ("a=b", "a=b"),
        ("", ""),
        ("NaN", "NaN"),
        ("1e400", "1e400"),
        ('{"a": 1, "a": 2}', '{"a": 1, "a": 2}'),
        pytest.param("[" * 50_000, "[" * 50_000, id="nested too deep"),
    ],
)
def test_a_claim_is_json_or_else_text(text: str, value: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_MAX_TOKEN_BYTES", "100000")
    tokens = TokenCreator(token_key=KEY, max_token_bytes=100_000)
    assert tokens.decode_token(created("--uid=1", "--claim", f"role={text}"))["role"] == value


def test_several_claims_are_taken() -> None:
    found = TOKENS.decode_token(created("--uid=1", "--claim=a=1", "--claim=b=2"))
    assert (found["a"], found["b"]) == (1, 2)


@pytest.mark.parametrize("claim", ["role", "=editor", ""])
def test_a_claim_needs_a_name_and_an_equals_sign(claim: str) -> None:
    result = run("token", "create", "--uid=1", f"--claim={claim}")
    assert result.exit_code == 2
    assert f"{claim!r} must be NAME=VALUE" in result.stderr


def test_a_claim_given_twice_is_refused() -> None:
    assert fail("token", "create", "--uid=1", "--claim=a=1", "--claim=a=1") == [
        "the claim 'a' is given twice; one must go"
    ]


@pytest.mark.parametrize("name", ["uid", "iat", "exp", "auth_time", "sid", "iss", "aud"])
def test_a_claim_named_like_an_issued_one_is_refused(name: str) -> None:
    (fault,) = fail("token", "create", "--uid=1", f"--claim={name}=1")
    assert fault.startswith(f"{name}: issued by the gateway")


def test_a_claim_for_a_token_too_long_to_be_looked_at_is_refused() -> None:
    (fault,) = fail("token", "create", "--uid=1", f"--claim=a={'x' * 8000}")
    assert fault.startswith("the token would be ")


def test_a_token_of_no_age_is_good_and_not_yet_to_be_renewed() -> None:
    token = created("--uid=1")
    assert TOKENS.refresh(token) == token


def test_a_token_of_some_age_is_good_and_to_be_renewed() -> None:
    token = created("--uid=1", "--age=20")
    assert TOKENS.refresh(token) != token


def test_a_token_older_than_its_lifetime_is_expired() -> None:
    with pytest.raises(ExpiredTokenError):
        TOKENS.decode_token(created("--uid=1", "--age=31"))


@pytest.mark.parametrize("age", ["-1", "1.5", "1000000001", "x"])
def test_an_age_is_a_whole_number_of_minutes(age: str) -> None:
    assert run("token", "create", "--uid=1", f"--age={age}").exit_code == 2


# gateway token inspect


Inspect = Callable[[str], Result]


def by_argument(token: str) -> Result:
    return run("token", "inspect", token)


def by_stdin(token: str) -> Result:
    return run("token", "inspect", stdin=f" {token}\n")


def by_dash(token: str) -> Result:
    return run("token", "inspect", "-", stdin=token)


def shown_claims(result: Result) -> object:
    """The JSON object that is printed."""
    text = result.stdout
    return json.loads(text[text.index("{") : text.rindex("}") + 1])


@pytest.mark.parametrize("inspect", [by_argument, by_stdin, by_dash])
def test_inspect_shows_a_good_token(inspect: Inspect) -> None:
    token = TOKENS.create(uid=12, role="editor")
    result = inspect(token)
    assert (result.exit_code, result.stderr) == (0, "")
    assert shown_claims(result) == TOKENS.decode_token(token)
    first, *_, expires, answer = result.stdout.splitlines()
    assert first == "claims"
    assert re.match(r"expires  in (29|30)\.\d minutes, \d{4}-\d\d-\d\d ", expires)
    assert answer == "answer   the app's own, for uid 12"


def test_inspect_answers_for_a_path_that_is_not_public(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_PUBLIC_PATHS", "/,/*")
    assert run("token", "inspect", "x.y.z").exit_code == 1


def test_inspect_shows_an_expired_token() -> None:
    result = by_argument(created("--uid=12", "--age=40"))
    assert (result.exit_code, result.stderr) == (1, "")
    first, *_, expires, answer = result.stdout.splitlines()
    assert first == "claims"
    assert re.match(r"expires  10\.\d minutes ago, \d{4}-\d\d-\d\d ", expires)
    assert answer == "answer   401 Unauthorized: Token is expired (token_expired)"


def test_inspect_shows_a_forged_token_as_not_verified() -> None:
    result = by_argument(forge(claims(), key="another secret for tests, as long as it."))
    assert (result.exit_code, result.stderr) == (1, "")
    assert result.stdout.startswith("claims   not verified: anyone may have written them\n{")
    assert shown_claims(result) == claims()
    assert result.stdout.endswith("\nanswer   498 Invalid Token: Invalid Token (invalid_token)\n")


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("garbage", "498 Invalid Token: Invalid Token (invalid_token)"),
        ("e30.e30", "498 Invalid Token: Invalid Token (invalid_token)"),
        ("W10.W10.W10", "498 Invalid Token: Invalid Token (invalid_token)"),
        ("two words", "400 Bad Request: Bad Request (malformed_credentials)"),
        ("é\x1b[31m", "400 Bad Request: Bad Request (malformed_credentials)"),
    ],
)
def test_inspect_shows_nothing_of_what_is_no_token(text: str, answer: str) -> None:
    result = by_stdin(text)
    assert (result.exit_code, result.stderr) == (1, "")
    assert result.stdout == f"claims   cannot be read\n{{}}\nanswer   {answer}\n"


def test_inspect_shows_a_token_for_another_audience() -> None:
    token = TokenCreator(token_key=KEY, audience="others").create(uid=12)
    result = by_argument(token)
    assert (result.exit_code, result.stderr) == (1, "")
    assert '"aud": "others"' in result.stdout
    assert result.stdout.startswith("claims\n")
    assert result.stdout.endswith("\nanswer   401 Unauthorized: Token is invalid (invalid_claims)\n")


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"uid": ...}, id="no uid"),
        pytest.param({"uid": None}, id="uid of the wrong type"),
        pytest.param({"exp": ...}, id="no exp"),
        pytest.param({"exp": "soon"}, id="exp of the wrong type"),
        pytest.param({"exp": 10**14, "sid": 1}, id="exp after the year 9999"),
        pytest.param({"exp": True}, id="exp that is a boolean"),
    ],
)
def test_inspect_shows_a_token_with_claims_that_are_refused(changes: dict[str, object]) -> None:
    now = int(time.time())
    wanted = claims(**{"iat": now, "exp": now + 60, "auth_time": now, **changes})
    result = by_argument(forge(wanted))
    assert (result.exit_code, shown_claims(result)) == (1, wanted)
    assert result.stdout.endswith("\nanswer   401 Unauthorized: Token is invalid (invalid_claims)\n")


@pytest.mark.parametrize("key", [KEY, "another secret for tests, as long as it."])
@pytest.mark.parametrize("name", ["role", "uid", "exp", ESCAPES])
def test_no_escape_sequence_of_a_claim_reaches_the_terminal(name: str, key: str) -> None:
    result = by_argument(forge(claims(**{name: ESCAPES}), key=key))
    assert "31m" in result.stdout
    assert not set("\x1b\x07\x9b\x7f").intersection(result.output)


def test_inspect_reads_the_uid_claim_that_is_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_UID_CLAIM", "sub")
    token = TokenCreator(token_key=KEY, uid_claim="sub").create(uid="anna")
    assert by_argument(token).stdout.endswith("\nanswer   the app's own, for uid anna\n")


def test_init_on_a_full_disk_says_so_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, *_: object, **__: object) -> None:
        os.close(descriptor)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fdopen", full)
    assert fail("init") == [
        "config.env cannot be written: No space left on device; --file names another place"
    ]
    assert not Path("config.env").exists()


def test_check_sees_an_app_whose_import_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    write("import os\nos._exit(0)\n", "ends_at_import.py")
    monkeypatch.setenv("GATEWAY_APP", "ends_at_import:app")
    (fault,) = fail("check")
    assert fault.startswith("GATEWAY_APP is 'ends_at_import:app', whose import ended the process")


def test_a_fault_is_one_line_whatever_the_files_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_CONFIG", "two\nlines")
    (fault,) = fail("check")
    assert r"'two\nlines'" in fault


def test_inspect_takes_any_bytes() -> None:
    result = CliRunner().invoke(main, ["token", "inspect"], input=b"\xff\xfe\x00", catch_exceptions=False)
    assert result.exit_code == 1


@pytest.mark.parametrize("text", ["", " \n"])
def test_inspect_asks_for_a_token_where_none_was_given(text: str) -> None:
    result = run("token", "inspect", stdin=text)
    assert result.exit_code == 1
    assert result.stderr == "error: no token was given; it must be an argument, or come by standard input\n"


def test_inspect_takes_a_token_as_it_stands_in_the_header() -> None:
    token = succeed("token", "create", "--uid", "12")
    assert "answer   the app's own, for uid 12\n" in succeed("token", "inspect", f"Bearer {token}")


def test_inspect_tells_that_a_token_would_be_renewed() -> None:
    token = succeed("token", "create", "--uid", "12", "--age", "20")
    assert "for uid 12, and a renewed token\n" in succeed("token", "inspect", stdin=token)


def test_serve_keeps_an_empty_number_of_workers_from_gunicorn(
    executed: list[tuple[str, list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEB_CONCURRENCY", "")
    succeed("serve")
    assert "WEB_CONCURRENCY" not in os.environ
    assert len(executed) == 1


def test_serve_refuses_a_number_of_workers_on_which_gunicorn_would_unsound(
    executed: list[tuple[str, list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEB_CONCURRENCY", "many")
    (fault,) = unsound("serve")
    assert fault.startswith("WEB_CONCURRENCY is 'many'; it must be")
    assert executed == []


def test_the_example_of_a_file_just_made_is_the_example_of_all_settings() -> None:
    succeed("init")
    succeed("env-example", "config.env")
    example = succeed("env-example")
    for variable in (
        "GATEWAY_STATE_URL",
        "GATEWAY_USERS_URL",
    ):  # which it sets, and TOKEN_KEY is set in any case
        example = example.replace(f"#{variable}=", f"{variable}=")
    assert Path("config.env.example").read_text() == example


def test_a_default_that_was_changed_is_blanked_in_a_comment_too() -> None:
    write("#PORT=8000\n#PORT=8001\n")
    succeed("env-example", "config.env")
    assert Path("config.env.example").read_text() == "#PORT=8000\n#PORT=\n"


# gateway explain

POLICY = """\
[[routes]]
path = "/health"
access = "public"

[[routes]]
path = "/feed"
access = "optional"

[[routes]]
path = "/admin/*"
methods = ["GET"]
scopes = ["admin"]
any_scope = ["a", "b"]
claims = { team = "blue" }
issuers = [""]

[[routes]]
path = "/me"

[headers]
X-Team = "team"
"""


@pytest.fixture
def _policy(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("policy.toml").write_text(POLICY)
    monkeypatch.setenv("GATEWAY_POLICY_FILE", "policy.toml")
    monkeypatch.setenv("GATEWAY_APP", "some:app")


def explained(*arguments: str, stdin: str | None = None) -> tuple[int, list[str]]:
    """The exit code of `gateway explain`, and what it tells after the request."""
    result = run("explain", *arguments, stdin=stdin)
    assert result.stderr == ""
    return result.exit_code, result.stdout.splitlines()[1:]


@pytest.mark.usefixtures("_policy")
def test_explain_tells_of_a_public_path() -> None:
    assert explained("GET", "/health") == (
        0,
        [
            "route    '/health' at policy.toml, line 1: public",
            "answer   the app's own, for nobody in particular",
            "why      nobody is asked there",
        ],
    )


@pytest.mark.usefixtures("_policy")
def test_explain_tells_of_an_optional_one_without_credentials() -> None:
    assert explained("GET", "/feed")[1][-1] == "why      no credentials were sent"


@pytest.mark.usefixtures("_policy")
def test_explain_tells_what_a_token_lacks() -> None:
    assert explained("GET", "/admin", "--token", TOKENS.create(12)) == (
        1,
        [
            "route    '/admin/*' (GET) at policy.toml, line 9: protected, scopes admin, any_scope a b,"
            " claims team='blue', issuers \"\"",
            "answer   403 Forbidden: Insufficient Scope (insufficient_scope)",
            "why      The route asks for a scope or claim that the token lacks",
            "why      the token lacks the scope 'admin'",
            "why      the token lacks one of the scopes 'a', 'b'",
            "why      the token lacks the claim 'team' that is, or holds, 'blue'",
        ],
    )


@pytest.mark.usefixtures("_policy")
def test_explain_tells_of_a_route_for_what_an_app_may_take_for_the_same_path() -> None:
    with Path("policy.toml").open("a") as file:
        file.write('[[routes]]\npath = "/*"\naccess = "public"\n')
    assert explained("GET", "/me/")[1] == [
        "route    '/*' at policy.toml, line 22: protected",
        "and      '/me' at policy.toml, line 17: protected: an app may take both for the same path",
        "answer   400 Bad Request: Bad Request (missing_credentials)",
        "why      The Authorization or the uid header is missing",
    ]


@pytest.mark.usefixtures("_policy")
def test_explain_tells_the_headers_that_the_app_is_given() -> None:
    token = TOKENS.create(12, team="blue")
    assert explained("GET", "/me", "--token", "-", stdin=token) == (
        0,
        [
            "route    '/me' at policy.toml, line 17: protected",
            "answer   the app's own, for uid 12",
            "header   X-Team: blue",
        ],
    )


@pytest.mark.usefixtures("_policy")
def test_explain_tells_of_a_claim_that_cannot_be_a_header() -> None:
    assert explained("GET", "/me", "--token", TOKENS.create(12, team="a\nb")) == (
        1,
        [
            "route    '/me' at policy.toml, line 17: protected",
            "answer   401 Unauthorized: Token is invalid (invalid_claims)",
            "why      A claim of the token is missing or not acceptable",
            "why      team is to be a header, and holds what no header can",
        ],
    )


@pytest.mark.usefixtures("_policy")
@pytest.mark.parametrize(
    ("target", "answer"),
    [
        ("/nowhere", "403 Forbidden: Forbidden (no_route)"),
        ("/admin%2f..", "400 Bad Request: Bad Request (malformed_path)"),
        ("//admin?x=/me", "400 Bad Request: Bad Request (malformed_path)"),
        ("/me?x", "400 Bad Request: Bad Request (missing_credentials)"),
    ],
)
def test_explain_judges_a_path_as_a_server_hands_it_on(target: str, answer: str) -> None:
    code, lines = explained("GET", target)
    assert (code, lines[1]) == (1, f"answer   {answer}")


@pytest.mark.usefixtures("_policy")
def test_explain_takes_another_uid_header() -> None:
    code, lines = explained("GET", "/me", "--token", TOKENS.create(12), "--uid", "13")
    assert (code, lines[1]) == (1, "answer   400 Bad Request: User not permission (uid_mismatch)")


@pytest.mark.parametrize("target", ["/auth", "/auth/health", "/auth/x/y"])
def test_explain_tells_what_the_gateway_answers_itself(target: str) -> None:
    assert explained("GET", target) == (
        0,
        ["answer   the gateway's own: it is at or under GATEWAY_PREFIX, /auth"],
    )


def test_explain_knows_the_public_paths_of_the_demo_where_that_is_served(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert explained("GET", "/health-of-app")[1][0] == "route    public, by its path alone"
    monkeypatch.setenv("GATEWAY_APP", "some:app")
    code, lines = explained("GET", "/health-of-app")
    assert (code, lines[0]) == (1, "route    none of its own: a good token, and no more")


def test_explain_prints_no_control_characters() -> None:
    assert "\x1b" not in run("explain", "GET", "/%1b[31m").stdout
    assert "\x1b" not in run("explain", ESCAPES, "/x").stdout


def test_explain_prints_no_control_characters_of_a_header(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("policy.toml").write_text('[headers]\nX-Name = "name"\n')
    monkeypatch.setenv("GATEWAY_POLICY_FILE", "policy.toml")
    token = succeed("token", "create", "--uid", "12", "--claim", "name=a\x9b31m").strip()
    told = succeed("explain", "GET", "/x", "--token", token)
    assert "header   X-Name: a" in told
    assert told.replace("\n", "").isprintable()


def test_a_name_of_a_file_is_written_without_control_characters() -> None:
    assert "\x1b" not in run("env-example", "\x1b[31m.env", "--check").output
    Path("\x1b[31m.env").write_text("PORT=80\n")
    assert succeed("env-example", "\x1b[31m.env") == "\\x1b[31m.env.example written\n"


# gateway check, for a gateway that proxies ask


def test_check_warns_of_the_demos_public_paths_where_proxies_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_TRUSTED_PROXIES", "127.0.0.1")
    assert "the demo's public paths are public for the proxies as well" in run("check").stderr
    monkeypatch.setenv("GATEWAY_APP", "gateway.forwardauth:nothing")
    assert run("check").stderr == ""
