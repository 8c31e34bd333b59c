"""What the command line says of itself, and of a mistake: examples that run, and what to do next."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from gateway import TokenCreator, passwords
from gateway.cli import SECTIONS, main
from gateway.cli_check import misnamed
from gateway.cli_group import EXIT_CODES
from gateway.users import Users
from tests.integration.servers import DEADLINE, ROOT, environment
from tests.support import KEY
from tests.test_cli import fail, run, succeed, unsound, warnings_of
from tests.test_keyfolder import add as add_key
from tests.test_keyfolder import kid
from tests.test_passwords import CheapHasher

PASSWORD = "correct horse battery staple"
EXAMPLE = re.compile(r"^  (\S.*)$", re.MULTILINE)
OF_A_SHELL = re.compile(r"[|<>]|\$\(|^\w+=")
# A command that serves is to end at once.
NO_GUNICORN = "import sys; print('serves with', *sys.argv[1:])\n"
REFUSED = {"gateway explain GET /reports/2026": 1}  # without a token


def commands(group: click.Group = main, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The path of each command and group."""
    yield path
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        elif not command.hidden:
            yield (*path, name)


COMMANDS = list(commands())


def help_of(path: tuple[str, ...]) -> str:
    result = CliRunner().invoke(main, [*path, "--help"], prog_name="gateway")
    assert result.exit_code == 0
    return result.stdout


def examples_of(path: tuple[str, ...]) -> list[str]:
    _, _, after = help_of(path).partition("\nExamples:\n")
    return EXAMPLE.findall(after.partition("\n\n")[0])


EXAMPLES = [
    pytest.param(example, id=example)
    for example in dict.fromkeys(e for p in COMMANDS for e in examples_of(p))
]


@pytest.fixture(autouse=True)
def _environ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the working directory empty, and one good key alone in the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    monkeypatch.setattr(passwords, "hasher", CheapHasher())
    monkeypatch.setenv("TOKEN_KEY", KEY)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Make what an operator has: settings, users, keys; and return the variables that name it."""
    monkeypatch.delenv("TOKEN_KEY")
    text = f"TOKEN_KEY='{KEY}'\nGATEWAY_STATE_URL=sqlite:///state.db\nGATEWAY_USERS_URL=sqlite:///users.db\n"
    for name in ("config.env", "staging.env"):
        Path(name).write_text(text)
        Path(name).chmod(0o600)
    succeed("env-example", "config.env")
    with closing(Users("sqlite:///users.db")) as users:
        users.add("anna", PASSWORD, {"role": "reader"})
    old, _, _ = (add_key(Path("keys"), age, "EdDSA") for age in (90_000_000, 80_000_000, 70_000_000))
    Path("people.csv").write_text(f"uid,password\ncarol,{PASSWORD}\n")
    Path("password.txt").write_text(PASSWORD)
    Path("home/.config/fish/completions").mkdir(parents=True)
    return {
        "TOKEN": TokenCreator(token_key=KEY).create(uid=12),
        "KID": kid(old),
        "HOME": str(tmp_path / "home"),
    }


def typed(example: str, variables: dict[str, str]) -> tuple[int, str]:
    """Type an example into a shell, with a password where one is asked for; return its end and its errors."""
    bin_ = Path("bin")
    bin_.mkdir()
    (bin_ / "gateway").write_text(f"#!{sys.executable}\nfrom gateway.cli import main\nmain()\n")
    (bin_ / "gateway").chmod(0o755)
    (bin_ / "gunicorn.py").write_text(NO_GUNICORN)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", example],
        env=environment()
        | variables
        | {
            "PATH": f"{bin_.absolute()}:{os.environ['PATH']}",
            "PYTHONPATH": f"{bin_.absolute()}:{ROOT}" if " serve" in example else str(ROOT),
        },
        input=PASSWORD,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    return done.returncode, done.stderr


def called(example: str, variables: dict[str, str]) -> tuple[int, str]:
    """Run an example in this process."""
    _, *arguments = shlex.split(example, comments=True)
    result = CliRunner().invoke(
        main,
        [re.sub(r"\$(\w+)", lambda found: variables[found[1]], argument) for argument in arguments],
        input=PASSWORD,
        catch_exceptions=False,
    )
    return result.exit_code, result.stderr


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_help_has_examples(path: tuple[str, ...]) -> None:
    assert examples_of(path)


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_runs(example: str, world: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    if example.startswith("gateway keys"):
        world |= {"GATEWAY_ALGORITHM": "EdDSA", "GATEWAY_KEY_DIR": "keys"}
    if example.startswith("gateway init"):
        Path("config.env").unlink()
        Path("staging.env").unlink()
    if "users add anna" in example:
        succeed("users", "remove", "anna")
    for name, value in world.items():
        monkeypatch.setenv(name, value)
    for_bash = re.sub("^eval (?=.*zsh)", ": ", example)  # which bash cannot read
    by_shell = OF_A_SHELL.search(example) or " serve" in example or example.startswith("eval")
    code, errors = typed(for_bash, world) if by_shell else called(example, world)
    assert (code, errors) == (REFUSED.get(example, 0), "")


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_no_help_is_wider_than_a_terminal_or_cut(path: tuple[str, ...]) -> None:
    lines = help_of(path).splitlines()
    assert [
        line for line in lines if len(line) > 80 or (line.endswith("...") and line.startswith("  "))
    ] == []


def test_the_help_has_each_command_in_one_section() -> None:
    named = [name for names in SECTIONS.values() for name in names]
    assert sorted(named) == sorted(name for name, command in main.commands.items() if not command.hidden)
    assert all(f"\n{title}:\n" in help_of(()) for title in SECTIONS)


def test_the_help_has_the_exit_codes_and_names_the_documents() -> None:
    shown = help_of(())
    assert all(f"\n  {code:<3}  {meaning}\n" in shown for code, meaning in EXIT_CODES.items())
    assert "docs/command-line.md" in shown
    assert (ROOT / "docs" / "command-line.md").exists()


def test_the_page_has_the_exit_codes_too() -> None:
    page = (ROOT / "docs" / "command-line.md").read_text("utf-8")
    assert all(f"| {code} | {meaning}" in page for code, meaning in EXIT_CODES.items())


@pytest.mark.parametrize("path", [(), ("users",), ("token", "create")])
def test_help_before_a_command_is_help_behind_it(path: tuple[str, ...]) -> None:
    assert succeed("help", *path).partition("\n")[2] == help_of(path).partition("\n")[2]


@pytest.mark.parametrize("group", [(), ("users",), ("keys",), ("sessions",), ("token",)])
def test_a_group_alone_shows_its_help_and_is_wrong_usage(group: tuple[str, ...]) -> None:
    result = run(*group)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.partition("\n")[2] == help_of(group).partition("\n")[2]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("chekc", "there is no command 'chekc'; did you mean check?"),
        ("Users list", "there is no command 'Users'; did you mean users?"),
        ("users lst", "there is no command 'lst'; did you mean list?"),
        ("users delete anna", "there is no command 'delete'; did you mean remove?"),
        ("run", "there is no command 'run'; did you mean serve?"),
        ("version", "there is no command 'version'; did you mean --version?"),
        ("rotate", "there is no command 'rotate'; did you mean keys rotate?"),
        ("list", "there is no command 'list'; did you mean keys list or users list?"),
        ("xyzzy", "there is no command 'xyzzy'; gateway --help shows what there is"),
        ("keys xyzzy", "there is no command 'xyzzy'; gateway keys --help shows what there is"),
        ("help xyzzy", "there is no command 'xyzzy'; gateway --help shows what there is"),
        ("--verison", "there is no option '--verison'; did you mean --version?"),
        ("token create --uidd 1", "there is no option '--uidd'; did you mean --uid?"),
        ("check --xyzzy", "there is no option '--xyzzy'; gateway check --help shows what there is"),
        ("token create", "missing option '--uid'; gateway token create --help shows what there is"),
        (
            "token create --uid 1 --age x",
            "invalid value for '--age': 'x' is not a valid whole number of minutes;"
            " gateway token create --help shows what there is",
        ),
        (
            "token create --uid 1 --claim x",
            "invalid value for --claim: 'x' must be NAME=VALUE, such as role=editor;"
            " gateway token create --help shows what there is",
        ),
        ("users remove", "missing argument 'UID'; gateway users remove --help shows what there is"),
        (
            "sessions revoke",
            "nothing is revoked: give one of --uid, --sid and --jti;"
            " gateway sessions revoke --help shows what there is",
        ),
        (
            "users claims anna --json --remove role",
            "--json shows claims, and changes none; leave it or the changes out;"
            " gateway users claims --help shows what there is",
        ),
    ],
)
def test_a_mistyped_line_is_told_in_one_that_helps(arguments: str, line: str) -> None:
    result = CliRunner().invoke(main, shlex.split(arguments), prog_name="gateway", catch_exceptions=False)
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", f"error: {line}\n")


def test_a_mistyped_line_gives_no_order_to_the_terminal() -> None:
    for arguments in (["\x1b[31m"], ["check", "--\x1b[31m"], ["users", "remove", "a", "\x1b]0;x\x07"]):
        result = run(*arguments)
        assert result.exit_code == 2
        assert not set("\x1b\x07").intersection(result.output)


# What is refused


@pytest.mark.usefixtures("world")
@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("init", "config.env is there already, and stays as it is; --file names another"),
        (
            "init --file no/where.env",
            "no/where.env cannot be written: No such file or directory; --file names another place",
        ),
        (
            "init --uid a,b",
            "--uid is 'a,b'; it must be 1 to 255 visible ASCII characters without a comma",
        ),
        (
            "check -c python:missing",
            "python:missing does not run: ModuleNotFoundError: No module named 'missing';"
            " it must be a gunicorn configuration, and -c names another",
        ),
        (
            "env-example missing.env",
            "missing.env cannot be read: No such file or directory; it must be a file of NAME=value lines",
        ),
        (
            "env-example staging.env --check",
            "staging.env.example is not up to date; gateway env-example staging.env makes it so",
        ),
        (
            "token create --uid a,b",
            "the uid must be an integer, or 1 to 255 visible ASCII characters without a comma",
        ),
        ("token create --uid 1 --claim a=1 --claim a=2", "the claim 'a' is given twice; one must go"),
        (
            "token create --uid 1 --claim exp=1",
            "exp: issued by the gateway, so no extra claim; it must have another name",
        ),
        (
            "token inspect ''",
            "no token was given; it must be an argument, or come by standard input",
        ),
        (
            "explain GET / --token ''",
            "no token was given; it must be an argument, or come by standard input",
        ),
        (
            "users add anna --generate",
            "there is a user 'anna' already; gateway users passwd or claims changes it",
        ),
        (
            "users add bob",
            "no password was given; it must be the first line of standard input, or be made by --generate",
        ),
        (
            "users add bob --scope 'a b'",
            'a scope must be visible ASCII characters without " and \\',
        ),
        ("users remove ana", "there is no user 'ana'; did you mean anna?"),
        ("users remove xyzzy", "there is no user 'xyzzy'; gateway users list shows all"),
        ("users claims anna --remove rol", "there is no claim 'rol'; there is role; did you mean role?"),
        (
            "users claims anna --remove role --claim role=x",
            "the claim 'role' is both given and removed; one must go",
        ),
        (
            "users import missing.csv",
            "missing.csv cannot be read: No such file or directory;"
            " it must be a CSV file, or - for standard input",
        ),
        (
            "users import config.env",
            "config.env, line 1: the header must be uid,password and, where wanted, scope and claims",
        ),
        (
            "sessions revoke --uid 'a b'",
            "--uid is 'a b'; it must be 1 to 255 visible ASCII characters without a comma",
        ),
        ("sessions revoke --sid ''", "--sid is ''; it must be text"),
        (
            "sessions revoke --uid 1 --issuer x",
            "--issuer is 'x'; the policy file names none, so leave it out",
        ),
    ],
)
def test_a_refusal_says_what_to_do_next(arguments: str, line: str) -> None:
    assert fail(*shlex.split(arguments)) == [line]


@pytest.mark.parametrize(
    ("arguments", "variables", "line"),
    [
        (
            "token create --uid 1",
            {"GATEWAY_ALGORITHM": "hs256 "},
            "GATEWAY_ALGORITHM is 'hs256 '; it must be HS256, HS384, HS512, RS256, PS256, ES256 or EdDSA;"
            " did you mean HS256?",
        ),
        (
            "explain GET /",
            {"GATEWAY_STATUS_PROFILE": "clasic"},
            "GATEWAY_STATUS_PROFILE is 'clasic'; it must be classic or rfc6750; did you mean classic?",
        ),
        (
            "explain GET /",
            {"GATEWAY_STATUS_PROFILE": "xyzzy"},
            "GATEWAY_STATUS_PROFILE is 'xyzzy'; it must be classic or rfc6750",
        ),
        (
            "keys list",
            {},
            "GATEWAY_KEY_DIR is not set; it must be the folder of the private keys",
        ),
        (
            "keys list",
            {"GATEWAY_KEY_DIR": "missing", "GATEWAY_ALGORITHM": "EdDSA"},
            "GATEWAY_KEY_DIR is 'missing', which cannot be read: No such file or directory; it must be a"
            " folder of private keys, which gateway keys generate makes",
        ),
        (
            "users list",
            {"GATEWAY_USERS_URL": ""},
            "GATEWAY_USERS_URL is not set; it must be an SQLAlchemy URL, such as sqlite:///users.db or"
            " postgresql+psycopg://user:password@host/name, with %40 for an @ and %3F for a ? in user or"
            " password",
        ),
        (
            "users list",
            {"GATEWAY_USERS_URL": "sqlite:///people.csv"},
            "the users database: DatabaseError: file is not a database; GATEWAY_USERS_URL says where the"
            " users database is, and gateway check asks it",
        ),
        (
            "sessions list-revoked",
            {"GATEWAY_STATE_URL": "memory://"},
            "GATEWAY_STATE_URL is 'memory://', which no other process can reach; it must be sqlite:///path or"
            " redis://host:port/0",
        ),
    ],
)
def test_a_setting_that_is_wrong_is_told_with_what_would_be_right(
    arguments: str,
    variables: dict[str, str],
    line: str,
    world: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines = Path("config.env").read_text().splitlines(keepends=True)
    Path("config.env").write_text("".join(each for each in lines if each.split("=")[0] not in variables))
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    Path("people.csv").write_bytes(b"no database at all" * 100)
    assert unsound(*shlex.split(arguments)) == [line]


def test_a_key_that_is_not_there_is_told_with_those_that_are(
    world: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEWAY_ALGORITHM", "EdDSA")
    monkeypatch.setenv("GATEWAY_KEY_DIR", "keys")
    (fault,) = fail("keys", "retire", world["KID"][:-1])
    assert fault.startswith(f"keys holds no key {world['KID'][:-1]!r}; it holds {world['KID']}, ")
    assert fault.endswith(f"; did you mean {world['KID']}?")


# Names in the environment


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("GATEWAY_PUBLIC_PATH", "GATEWAY_PUBLIC_PATHS"),
        ("TOKEN_KEYS", "TOKEN_KEY"),
        ("EXP_TIME_MINS", "EXP_TIME_MIN"),
        ("token_key", "TOKEN_KEY"),
        ("gateway_app", "GATEWAY_APP"),
        ("GATEWAY_TOKEN_KEY", "TOKEN_KEY"),
        ("GATEWAY_EXP_TIME_MIN", "EXP_TIME_MIN"),
        ("GATEWAY_STATEURL", "GATEWAY_STATE_URL"),
        ("GATEWAY_POLCIY_FILE", "GATEWAY_POLICY_FILE"),
        ("GATEWAY_CONFIGS", "GATEWAY_CONFIG"),
        ("WEB_CONCURENCY", "WEB_CONCURRENCY"),
    ],
)
def test_check_warns_of_a_name_in_the_environment_that_is_nearly_a_setting(
    name: str, meant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "hunter2")
    assert warnings_of("check") == [f"{name} in the environment is no setting; did you mean {meant}?"]


def test_check_warns_of_such_a_name_also_where_something_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TOKEN_KEY")
    monkeypatch.setenv("TOKEN_KEYS", KEY)
    warning, fault = run("check").stderr.splitlines()
    assert warning == "warning: TOKEN_KEYS in the environment is no setting; did you mean TOKEN_KEY?"
    assert fault.startswith("error: TOKEN_KEY is not set; ")


@pytest.mark.parametrize(
    "name",
    [
        *("GATEWAY_INTERFACE", "GATEWAY_PORT", "GATEWAY_SERVICE_HOST", "GATEWAY_SERVICE_PORT"),
        *("GATEWAY_SERVICE_PORT_HTTP", "GATEWAY_PORT_80_TCP", "GATEWAY_PORT_80_TCP_ADDR"),
        *("GATEWAY_PORT_80_TCP_PORT", "GATEWAY_PORT_80_TCP_PROTO", "GATEWAY_APP_SERVICE_HOST"),
        *("GATEWAY_APP_PORT", "GATEWAY_APP_PORT_8000_TCP", "GATEWAY_LOGIN_SERVICE_PORT"),
        *("port", "PORTS", "HOST", "PATH", "HOME", "TERM", "TOKEN", "API_TOKEN", "SECRET_KEY", "APP"),
        *("GATEWAY_HOST", "GATEWAY_URL", "GATEWAY_VERSION", "SERVER_PORT", "REMOTE_PORT", "PREFIX"),
        *("TOKEN_KEY", "GATEWAY_CONFIG", "GATEWAY_APP", "PORT"),
    ],
)
def test_other_names_in_the_environment_are_left_alone(name: str) -> None:
    assert list(misnamed([name])) == []
