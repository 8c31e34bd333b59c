"""How a server starts, and how it does not: one line for each thing wrong, and never a worker without end."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from gateway import TokenCreator
from tests.integration.servers import ANY_PORT, GUNICORN, ROOT, SCRIPTS, SHIPPED, Server, run, serving, until
from tests.support import KEY

SHORT_KEY = "no 32 bytes"
GOOD = {"TOKEN_KEY": KEY}

bad_settings = pytest.mark.parametrize(
    ("file", "variables", "lines"),
    [
        pytest.param(None, {}, ["TOKEN_KEY is not set"], id="no key"),
        pytest.param(None, {"TOKEN_KEY": SHORT_KEY}, ["TOKEN_KEY holds 11 bytes"], id="a short key"),
        pytest.param(
            f"TOKEN_KEY={SHORT_KEY}", {}, ["TOKEN_KEY holds 11 bytes"], id="a short key in the file"
        ),
        pytest.param(
            None,
            {"TOKEN_KEY": KEY, "EXP_TIME_MIN": "soon", "GATEWAY_PREFIX": "auth"},
            ["EXP_TIME_MIN is 'soon'", "GATEWAY_PREFIX is 'auth'"],
            id="two bad ones",
        ),
        pytest.param(None, GOOD | {"WEB_CONCURRENCY": "0"}, ["WEB_CONCURRENCY is '0'"], id="no workers"),
        pytest.param(
            f"TOKEN_KEY={KEY}\nEXP_TIME_MINS=30\n",
            {},
            ["config.env, line 2: EXP_TIME_MINS is no setting"],
            id="an unknown name",
        ),
        pytest.param(
            f"# settings\n\nTOKEN_KEY='{KEY}\n",
            {},
            ["config.env, line 3: cannot be parsed"],
            id="an unclosed quote",
        ),
        pytest.param(
            "",
            GOOD | {"GATEWAY_CONFIG": "nowhere.env"},
            [
                "GATEWAY_CONFIG is 'nowhere.env': nowhere.env cannot be read: No such file or directory;"
                " it must be a file of NAME=value lines"
            ],
            id="a missing file",
        ),
    ],
)
bad_apps = pytest.mark.parametrize(
    ("source", "spec", "line"),
    [
        pytest.param("", "nowhere:app", "does not import: ModuleNotFoundError: ", id="no module"),
        pytest.param("", "site_app:app", "does not import: AttributeError: ", id="no attribute"),
        pytest.param("app = {", "site_app:app", "does not import: SyntaxError: ", id="no Python"),
        pytest.param(
            "raise RuntimeError('no\\ndatabase')",
            "site_app:app",
            "does not import: RuntimeError: no database (",
            id="an error of two lines",
        ),
        pytest.param(
            "raise SystemExit('no database')",
            "site_app:app",
            "does not import: SystemExit: no database (",
            id="an exit",
        ),
        pytest.param("raise SystemExit(0)", "site_app:app", "does not import: SystemExit: 0 (", id="exit 0"),
        pytest.param("app = 12", "site_app:app", "is int; it must be a WSGI callable", id="not callable"),
    ],
)
ways = pytest.mark.parametrize(
    "options",
    [
        pytest.param(("-w", "1"), id="one worker"),
        pytest.param(("-w", "4"), id="four workers"),
        pytest.param(("-w", "4", "--preload"), id="preloaded"),
    ],
)

own_ways = pytest.mark.parametrize(
    "options",
    [pytest.param(("-w", "1"), id="one worker"), pytest.param(("-w", "4", "--preload"), id="preloaded")],
)


def complaints(ended: subprocess.CompletedProcess[str]) -> list[str]:
    """What a start that failed says besides gunicorn's log; it never says a secret."""
    assert ended.returncode != 0
    assert KEY not in ended.stdout + ended.stderr
    assert SHORT_KEY not in ended.stdout + ended.stderr
    return [line for line in ended.stderr.splitlines() if not re.match(r"\[[0-9 :+-]+\] ", line)]


def agree(complained: list[str], beginnings: list[str]) -> bool:
    """Whether there are so many lines, each with its beginning."""
    return len(complained) == len(beginnings) and all(map(str.startswith, complained, beginnings))


def own_configuration(folder: Path, *options: str) -> tuple[str | Path, ...]:
    """The command of an operator whose gunicorn configuration is not ours."""
    (folder / "own.py").touch()
    return GUNICORN, *ANY_PORT, *options, "--no-control-socket", "-c", "own.py", "gateway.wsgi:application"


@ways
@bad_settings
def test_a_bad_setting_ends_the_start(
    tmp_path: Path, file: str | None, variables: dict[str, str], lines: list[str], options: tuple[str, ...]
) -> None:
    """One line for each, once, whatever the number of workers, and nothing else."""
    if file is not None:
        (tmp_path / "config.env").write_text(file)
    ended = run(tmp_path, GUNICORN, *ANY_PORT, *options, *SHIPPED, **variables)
    complained = complaints(ended)
    assert agree(complained, lines), complained
    assert complained == ended.stderr.splitlines()


@ways
@bad_apps
def test_an_app_that_does_not_import_ends_the_start(
    tmp_path: Path, source: str, spec: str, line: str, options: tuple[str, ...]
) -> None:
    """One line, once, whatever the number of workers."""
    (tmp_path / "site_app.py").write_text(source)
    ended = run(tmp_path, GUNICORN, *ANY_PORT, *options, *SHIPPED, TOKEN_KEY=KEY, GATEWAY_APP=spec)
    complained = complaints(ended)
    assert agree([c.partition("which ")[2] for c in complained], [line]), complained
    assert agree(complained, [f"GATEWAY_APP is '{spec}', "])
    assert complained == ended.stderr.splitlines()


@pytest.mark.parametrize(
    "source",
    [
        pytest.param("import os; os._exit(0)", id="exit 0"),
        pytest.param("import os; os._exit(7)", id="exit 7"),
        pytest.param("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", id="killed"),
        pytest.param("raise KeyboardInterrupt", id="interrupted"),
    ],
)
def test_an_app_whose_import_ends_the_process_ends_the_start(tmp_path: Path, source: str) -> None:
    (tmp_path / "site_app.py").write_text(source)
    ended = run(tmp_path, GUNICORN, *ANY_PORT, *SHIPPED, TOKEN_KEY=KEY, GATEWAY_APP="site_app:app")
    complained = complaints(ended)
    assert agree(complained, ["GATEWAY_APP is 'site_app:app', whose import ended the process"]), complained


def test_a_start_that_failed_leaves_no_pid_file(tmp_path: Path) -> None:
    ended = run(
        tmp_path, GUNICORN, *ANY_PORT, "-p", "pid", *SHIPPED, TOKEN_KEY=KEY, GATEWAY_APP="nowhere:app"
    )
    assert complaints(ended)
    assert not (tmp_path / "pid").exists()


@own_ways
@bad_settings
def test_a_bad_setting_ends_the_start_under_a_configuration_of_ones_own(
    tmp_path: Path, file: str | None, variables: dict[str, str], lines: list[str], options: tuple[str, ...]
) -> None:
    """The worker is not started again for ever."""
    if file is not None:
        (tmp_path / "config.env").write_text(file)
    complained = complaints(run(tmp_path, *own_configuration(tmp_path, *options), **variables))
    assert agree(complained, lines), complained


@own_ways
@bad_apps
def test_a_bad_app_ends_the_start_under_a_configuration_of_ones_own(
    tmp_path: Path, source: str, spec: str, line: str, options: tuple[str, ...]
) -> None:
    """The worker is not started again for ever."""
    (tmp_path / "site_app.py").write_text(source)
    command = own_configuration(tmp_path, *options)
    complained = complaints(run(tmp_path, *command, TOKEN_KEY=KEY, GATEWAY_APP=spec))
    assert agree([c.partition("which ")[2] for c in complained], [line]), complained


def test_many_workers_end_the_start_under_a_configuration_of_ones_own(tmp_path: Path) -> None:
    """Each worker may say what is wrong, since no master of ours asked before them."""
    command = own_configuration(tmp_path, "-w", "4")
    ended = run(tmp_path, *command, TOKEN_KEY=KEY, GATEWAY_APP="nowhere:app")
    assert any(line.startswith("GATEWAY_APP is 'nowhere:app', ") for line in complaints(ended))


def configured(folder: Path, file: str, variables: dict[str, str]) -> dict[str, str]:
    """What the shipped configuration tells gunicorn, as gunicorn prints it."""
    (folder / "config.env").write_text(file)
    printed = run(folder, GUNICORN, *SHIPPED[:2], "--print-config", TOKEN_KEY=KEY, **variables)
    assert printed.stderr == ""
    return dict(re.findall(r"^(\w+) += (.*)$", printed.stdout, re.MULTILINE))


@pytest.mark.parametrize(
    ("file", "variables", "bind"),
    [
        pytest.param("", {}, "127.0.0.1:8000", id="unset"),
        pytest.param("", {"PORT": "8123"}, "0.0.0.0:8123", id="environment"),
        pytest.param("PORT=8123", {}, "127.0.0.1:8123", id="file"),
        pytest.param("PORT=8123", {"PORT": "8124"}, "0.0.0.0:8124", id="both"),
        pytest.param("PORT=8123", {"PORT": ""}, "127.0.0.1:8123", id="file, and empty in the environment"),
    ],
)
def test_port(tmp_path: Path, file: str, variables: dict[str, str], bind: str) -> None:
    """A port of the environment is bound on every address, as hosts expect; any other on loopback."""
    assert configured(tmp_path, file, variables)["bind"] == f"['{bind}']"


@pytest.mark.parametrize(
    ("file", "variables", "workers"),
    [
        pytest.param("", {}, "2", id="unset"),
        pytest.param("", {"WEB_CONCURRENCY": "3"}, "3", id="environment"),
        pytest.param("WEB_CONCURRENCY=3", {}, "3", id="file"),
        pytest.param("WEB_CONCURRENCY=3", {"WEB_CONCURRENCY": "4"}, "4", id="both"),
    ],
)
def test_web_concurrency(tmp_path: Path, file: str, variables: dict[str, str], workers: str) -> None:
    assert configured(tmp_path, file, variables)["workers"] == workers


def test_no_header_is_trusted_to_move_the_path(tmp_path: Path) -> None:
    assert configured(tmp_path, "", {})["forwarder_headers"] == "[]"


def is_the_demo(server: Server) -> bool:
    """Whether the demo is served: two paths public, one protected."""
    sent = (f"Authorization: Bearer {TokenCreator(token_key=KEY).create(uid=12)}", "uid: 12")
    public = [server.ask(path).status for path in ("/", "/health-of-app")]
    protected = [server.ask("/secret", *headers).status for headers in ((), sent)]
    return public == [200, 200] and protected == [400, 200]


def test_gateway_serve_serves_the_demo(tmp_path: Path) -> None:
    with serving(tmp_path, SCRIPTS / "gateway", "serve", "--", *ANY_PORT, TOKEN_KEY=KEY) as server:
        assert is_the_demo(server)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with the two doors."""
    for door in ("wsgi.py", "gunicorn.conf.py"):
        shutil.copy(ROOT / door, tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "options", [pytest.param((), id="as it is"), pytest.param(("--preload",), id="preloaded")]
)
def test_a_checkout_serves_the_demo(checkout: Path, options: tuple[str, ...]) -> None:
    """With the settings of its config.env."""
    (checkout / "config.env").write_text(f"TOKEN_KEY={KEY}\n")
    with serving(checkout, GUNICORN, *ANY_PORT, *options, "wsgi:application") as server:
        assert is_the_demo(server)


@pytest.mark.parametrize(
    "command",
    [
        pytest.param((GUNICORN, *ANY_PORT, "wsgi:application"), id="checkout"),
        pytest.param((SCRIPTS / "gateway", "serve", "--", *ANY_PORT), id="gateway serve"),
    ],
)
def test_each_door_says_once_what_is_wrong(checkout: Path, command: tuple[str | Path, ...]) -> None:
    complained = complaints(run(checkout, *command, WEB_CONCURRENCY="4"))
    assert agree(complained, ["TOKEN_KEY is not set"]), complained


def test_the_master_does_not_import_the_app(tmp_path: Path) -> None:
    """What the app opens at its import would be shared by all workers through the fork."""
    (tmp_path / "site_app.py").write_text(
        "import os\n"
        "with open('imported', 'a') as file:\n"
        "    file.write(f'{os.getpid()}\\n')\n"
        "def app(environ, start_response):\n"
        "    start_response('200 OK', [('Content-Length', '0')])\n"
        "    return []\n"
    )
    command = (GUNICORN, *ANY_PORT, *SHIPPED)
    with serving(
        tmp_path, *command, TOKEN_KEY=KEY, GATEWAY_APP="site_app:app", GATEWAY_PUBLIC_PATHS="/"
    ) as server:
        assert server.ask("/").status == 200
        importers = (tmp_path / "imported").read_text().split()
        assert len(importers) >= 2
        assert str(server.pid) not in importers


def reloaded(server: Server, file: str) -> None:
    """Change the settings file, and have gunicorn reload."""
    (server.folder / "config.env").write_text(file)
    os.kill(server.pid, signal.SIGHUP)


def test_a_reload_takes_changed_settings(tmp_path: Path) -> None:
    (tmp_path / "config.env").write_text(f"TOKEN_KEY={KEY}\n")
    with serving(tmp_path, GUNICORN, *SHIPPED, *ANY_PORT) as server:
        assert server.ask("/secret").status == 400
        reloaded(server, f"TOKEN_KEY={KEY}\nGATEWAY_STATUS_PROFILE=rfc6750\n")
        until(lambda: server.ask("/secret").status == 401 or None, lambda: "never reloaded")


def test_a_reload_with_a_bad_setting_goes_on_with_those_of_before(tmp_path: Path) -> None:
    (tmp_path / "config.env").write_text(f"TOKEN_KEY={KEY}\n")
    log = tmp_path / "server.log"
    with serving(tmp_path, GUNICORN, *SHIPPED, *ANY_PORT) as server:
        reloaded(server, f"TOKEN_KEY={KEY}\nGATEWAY_STATUS_PROFILE=none\n")
        until(lambda: log.read_text().count("Booting worker") == 4 or None, log.read_text)
        assert "GATEWAY_STATUS_PROFILE is 'none'" in log.read_text()
        assert server.ask("/secret").status == 400


def test_settings_are_those_of_the_folder_that_gunicorn_changes_to(tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "config.env").write_text(f"TOKEN_KEY={KEY}\nGATEWAY_PUBLIC_PATHS=/*\n")
    with serving(tmp_path, GUNICORN, *SHIPPED, *ANY_PORT, "--chdir", folder) as server:
        assert server.ask("/secret").status == 200


def test_a_bad_setting_in_that_folder_ends_the_start_once(tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "config.env").write_text(f"TOKEN_KEY={KEY}\nGATEWAY_LEEWAY_SEC=9999\n")
    ended = run(tmp_path, GUNICORN, *SHIPPED, *ANY_PORT, "-w", "3", "--chdir", folder, TOKEN_KEY=KEY)
    assert ended.returncode != 0
    assert agree(complaints(ended), ["GATEWAY_LEEWAY_SEC is '9999'"])


def test_settings_that_gunicorn_puts_into_the_environment_count(tmp_path: Path) -> None:
    with serving(tmp_path, GUNICORN, *SHIPPED, *ANY_PORT, "-e", f"TOKEN_KEY={KEY}") as server:
        assert server.ask("/secret").status == 400


def test_a_worker_that_is_started_anew_goes_by_the_settings_of_the_start(tmp_path: Path) -> None:
    (tmp_path / "config.env").write_text(f"TOKEN_KEY={KEY}\n")
    log = tmp_path / "server.log"
    with serving(tmp_path, GUNICORN, *SHIPPED, *ANY_PORT, "-w", "1") as server:
        booted = until(lambda: re.search(r"Booting worker with pid: (\d+)", log.read_text()), log.read_text)
        (tmp_path / "config.env").write_text("TOKEN_KEY='half a line")
        os.kill(int(booted[1]), signal.SIGKILL)
        until(lambda: log.read_text().count("Booting worker") == 2 or None, log.read_text)
        assert server.ask("/secret").status == 400
