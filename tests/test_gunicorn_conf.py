"""How gunicorn is configured, and what ends its start."""

from __future__ import annotations

import importlib
import secrets
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from gateway import startup
from gateway.settings import TABLE
from gateway.startup import settings_at_start
from tests.support import KEY

# Python 3.12 and later warn of a fork beside the threads of the test runner; a gunicorn master has none.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")

NAME = "gateway.gunicorn_conf"

Conf = Callable[..., ModuleType]


@pytest.fixture
def conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Conf:
    """Give a function that imports the configuration anew, in an environment of these variables."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delenv("GUNICORN_CMD_ARGS", raising=False)
    for variable in ("GATEWAY_CONFIG", *(row.variable for row in TABLE)):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("TOKEN_KEY", KEY)

    def imported(**environ: str) -> ModuleType:
        for variable, value in environ.items():
            monkeypatch.setenv(variable, value)
        monkeypatch.delitem(sys.modules, NAME, raising=False)
        monkeypatch.setattr(startup, "_in_force", [])
        return importlib.import_module(NAME)

    return imported


class Pidfile:
    """A pidfile that is there until it is unlinked."""

    there = True

    def unlink(self) -> None:
        self.there = False


def write_app(source: str) -> str:
    """Write a module of an app into the working directory, and return what names the app."""
    name = f"made_{secrets.token_hex(8)}"
    Path(f"{name}.py").write_text(source, "utf-8")
    return f"{name}:app"


def start(conf: ModuleType, pidfile: Pidfile | None = None, *, workers: int = 2) -> None:
    conf.on_starting(SimpleNamespace(pidfile=pidfile, cfg=SimpleNamespace(workers=workers), log=Log()))


def fault_of_start(conf: Conf, **environ: str) -> str:
    """What ends a start, and that it is one line."""
    with pytest.raises(SystemExit) as caught:
        start(conf(**environ))
    (line,) = str(caught.value.code).splitlines()
    return line


@pytest.fixture(params=[(), ("--chdir", ".")], ids=["on import", "when gunicorn has changed its place"])
def arguments(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take both times at which settings and app are checked."""
    monkeypatch.setattr(sys, "argv", ["gunicorn", *request.param])


def test_the_app_to_serve_is_the_gateway(conf: Conf) -> None:
    assert conf().wsgi_app == "gateway.wsgi:application"


def test_no_client_header_moves_the_path(conf: Conf) -> None:
    assert conf().forwarder_headers == ""


def test_there_is_no_control_socket(conf: Conf) -> None:
    assert conf().control_socket_disable is True


def test_every_name_for_gunicorn_is_exported_and_no_other(conf: Conf) -> None:
    """`from gateway.gunicorn_conf import *` is how the shipped file takes them over."""
    assert sorted(conf().__all__) == [
        "bind",
        "control_socket_disable",
        "forwarder_headers",
        "nworkers_changed",
        "on_reload",
        "on_starting",
        "post_worker_init",
        "workers",
        "wsgi_app",
    ]


def test_it_binds_to_loopback_unless_told_otherwise(conf: Conf) -> None:
    assert conf().bind == "127.0.0.1:8000"


def test_a_port_in_the_environment_binds_to_every_address(conf: Conf) -> None:
    assert conf(PORT="8001").bind == "0.0.0.0:8001"


def test_an_empty_port_in_the_environment_does_not(conf: Conf) -> None:
    assert conf(PORT="").bind == "127.0.0.1:8000"


def test_a_port_in_the_file_binds_to_loopback(conf: Conf) -> None:
    Path("config.env").write_text("PORT=8001\n", "utf-8")
    assert conf().bind == "127.0.0.1:8001"


@pytest.mark.parametrize(("environ", "workers"), [({}, 2), ({"WEB_CONCURRENCY": "5"}, 5)])
def test_workers_are_as_many_as_set(environ: dict[str, str], workers: int, conf: Conf) -> None:
    assert conf(**environ).workers == workers


@pytest.mark.usefixtures("arguments")
def test_bad_settings_end_the_start_with_a_line_for_each(conf: Conf) -> None:
    with pytest.raises(SystemExit) as caught:
        start(conf(EXP_TIME_MIN="soon", PORT="many"))
    assert str(caught.value.code).splitlines() == [
        "EXP_TIME_MIN is 'soon'; it must be a whole number of minutes from 1 to 1000000000",
        "PORT is 'many'; it must be a whole number from 1 to 65535",
    ]


def test_the_start_goes_on_with_the_demo(conf: Conf) -> None:
    pidfile = Pidfile()
    start(conf(), pidfile)
    assert pidfile.there


def test_the_start_goes_on_with_an_app_that_imports(conf: Conf) -> None:
    pidfile = Pidfile()
    start(conf(GATEWAY_APP=write_app("app = print\n")), pidfile)
    assert pidfile.there


def test_the_app_is_imported_in_another_process(conf: Conf) -> None:
    app = write_app("open('imported', 'w').close()\napp = print\n")
    start(conf(GATEWAY_APP=app))
    assert Path("imported").exists()
    assert app.removesuffix(":app") not in sys.modules


@pytest.mark.usefixtures("arguments")
@pytest.mark.parametrize(
    ("source", "reason"),
    [
        pytest.param("x = 1\n", "does not import: AttributeError: ", id="no app"),
        pytest.param("app = 1\n", "is int; it must be a WSGI callable", id="not callable"),
        pytest.param("raise RuntimeError('no\\ndb')\n", "does not import: RuntimeError: no db", id="raises"),
        pytest.param("raise RuntimeError('\\udcff é')\n", "RuntimeError: \\udcff é", id="odd text"),
        pytest.param("raise SystemExit(0)\n", "does not import: SystemExit: 0", id="exits"),
        pytest.param("def\n", "does not import: SyntaxError: ", id="syntax error"),
        pytest.param("import os\nos._exit(3)\n", "whose import ended the process", id="ends the process"),
        pytest.param("raise KeyboardInterrupt\n", "whose import ended the process", id="is interrupted"),
    ],
)
def test_an_app_that_does_not_import_ends_the_start_with_one_line(
    source: str, reason: str, conf: Conf
) -> None:
    app = write_app(source)
    fault = fault_of_start(conf, GATEWAY_APP=app)
    assert fault.startswith(f"GATEWAY_APP is {app!r}, wh")
    assert reason in fault


@pytest.mark.usefixtures("arguments")
def test_an_app_whose_import_ends_the_process_well_ends_the_start_too(conf: Conf) -> None:
    app = write_app("import os\nos._exit(0)\n")
    assert f"GATEWAY_APP is {app!r}" in fault_of_start(conf, GATEWAY_APP=app)


def test_a_start_that_ends_leaves_no_pidfile(conf: Conf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["gunicorn", "--chdir", "."])
    pidfile = Pidfile()
    with pytest.raises(SystemExit):
        start(conf(GATEWAY_APP="no_such_module:app"), pidfile)
    assert not pidfile.there


class Log:
    """A log that keeps its errors."""

    def __init__(self) -> None:
        self.errors: list[str] = []

    def error(self, message: str, *arguments: object) -> None:
        self.errors.append(message % arguments)


def test_the_settings_are_those_of_the_start_whatever_becomes_of_the_file(conf: Conf) -> None:
    Path("config.env").write_text("EXP_TIME_MIN=20")
    start(conf())
    Path("config.env").write_text("EXP_TIME_MIN=21")
    assert settings_at_start().exp_time_min == 20


def test_a_reload_takes_the_settings_anew(conf: Conf) -> None:
    Path("config.env").write_text("EXP_TIME_MIN=20")
    configuration, log = conf(), Log()
    start(configuration)
    Path("config.env").write_text("EXP_TIME_MIN=21")
    configuration.on_reload(server(log))
    assert (settings_at_start().exp_time_min, log.errors) == (21, [])


def test_a_reload_with_faulty_settings_goes_on_with_those_of_before(conf: Conf) -> None:
    Path("config.env").write_text("EXP_TIME_MIN=20")
    configuration, log = conf(), Log()
    start(configuration)
    Path("config.env").write_text("EXP_TIME_MIN=x")
    configuration.on_reload(server(log))
    assert settings_at_start().exp_time_min == 20
    (line,) = log.errors
    assert line.startswith("EXP_TIME_MIN is 'x'; it must be")
    assert line.endswith("; the settings of before stay in force")


def test_a_reload_with_an_app_that_does_not_import_goes_on_with_that_of_before(conf: Conf) -> None:
    configuration, log = conf(), Log()
    start(configuration)
    Path("config.env").write_text("GATEWAY_APP=no_such_module:app")
    configuration.on_reload(server(log))
    assert settings_at_start().app is None
    (line,) = log.errors
    assert line.startswith("GATEWAY_APP is 'no_such_module:app', which does not import")


def test_a_reload_of_what_was_loaded_before_the_fork_says_that_it_changes_nothing(conf: Conf) -> None:
    configuration, log = conf(), Log()
    start(configuration)
    Path("config.env").write_text("EXP_TIME_MIN=21")
    configuration.on_reload(server(log, preload=True))
    assert settings_at_start().exp_time_min == 30
    assert log.errors == ["with --preload changed settings take a restart; those of before stay in force"]


def server(log: object, *, preload: bool = False) -> SimpleNamespace:
    """What a reload sees of gunicorn's master."""
    return SimpleNamespace(log=log, cfg=SimpleNamespace(preload_app=preload, workers=2))


MEMORY = (
    "GATEWAY_STATE_URL is 'memory://', which is for one worker, and there are to be 2;"
    " it must be sqlite:///path or redis://host:port/0, or the workers one"
)


def test_state_in_memory_does_not_start_with_two_workers(conf: Conf) -> None:
    pidfile = Pidfile()
    with pytest.raises(SystemExit) as caught:
        start(conf(GATEWAY_STATE_URL="memory://"), pidfile)
    assert caught.value.code == MEMORY
    assert not pidfile.there


def test_state_in_memory_starts_with_one_worker(conf: Conf) -> None:
    start(conf(GATEWAY_STATE_URL="memory://"), workers=1)


def test_a_second_worker_of_a_state_in_memory_is_told_of(conf: Conf) -> None:
    configuration, log = conf(GATEWAY_STATE_URL="memory://"), Log()
    start(configuration, workers=1)
    configuration.nworkers_changed(server(log), 1, None)
    configuration.nworkers_changed(server(log), 2, 1)
    assert log.errors == [MEMORY]


def test_a_reload_with_state_in_the_memory_of_two_goes_on_with_the_settings_of_before(conf: Conf) -> None:
    configuration, log = conf(), Log()
    start(configuration)
    Path("config.env").write_text("GATEWAY_STATE_URL=memory://")
    configuration.on_reload(server(log))
    assert settings_at_start().state_url is None
    assert log.errors == [f"{MEMORY}; the settings of before stay in force"]


def test_a_login_that_does_not_import_does_not_start(conf: Conf) -> None:
    state = {"GATEWAY_STATE_URL": "sqlite:///state.db"}
    line = fault_of_start(conf, GATEWAY_LOGIN="no_such_module:login", **state)
    assert line.startswith("GATEWAY_LOGIN is 'no_such_module:login', which does not import")


def test_the_master_makes_no_file_which_workers_of_another_user_could_not_open(conf: Conf) -> None:
    """With --user it is root, and they are not."""
    files = {"GATEWAY_STATE_URL": "sqlite:///state.db", "GATEWAY_USERS_URL": "sqlite:///users.db"}
    start(conf(**files))
    assert not list(Path().glob("*.db*"))
