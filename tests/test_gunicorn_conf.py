"""How gunicorn is configured, and what ends its start."""

from __future__ import annotations

import importlib
import os
import secrets
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from gateway import startup
from gateway.metricsfolder import VARIABLE
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
    cfg = SimpleNamespace(workers=workers, uid=os.getuid(), gid=os.getgid())
    conf.on_starting(SimpleNamespace(pidfile=pidfile, cfg=cfg, log=Log()))


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
        "child_exit",
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
    cfg = SimpleNamespace(preload_app=preload, workers=2, uid=os.getuid(), gid=os.getgid())
    return SimpleNamespace(log=log, cfg=cfg)


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


# Metrics

METRICS = {"GATEWAY_METRICS_FROM": "127.0.0.1"}


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> Callable[[], str | None]:
    """What tells the folder of the metrics; whatever it becomes, it is forgotten afterwards."""
    monkeypatch.setenv(VARIABLE, "")
    monkeypatch.setattr("tempfile.tempdir", str(Path.cwd()))
    return lambda: os.environ.get(VARIABLE)


Shared = Callable[[], str | None]


def test_metrics_have_a_new_folder_before_an_app_is_loaded(conf: Conf, shared: Shared) -> None:
    conf(**METRICS)
    folder = Path(str(shared()))
    assert folder.is_dir()
    assert list(folder.iterdir()) == []
    assert folder.stat().st_mode & 0o077 == 0


def test_without_metrics_there_is_none(conf: Conf, shared: Shared) -> None:
    start(conf())
    assert shared() == ""


def test_metrics_that_are_only_found_when_gunicorn_has_changed_its_place_have_a_folder(
    conf: Conf, shared: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["gunicorn", "--chdir", "."])
    configuration = conf()
    assert shared() == ""
    Path("config.env").write_text("GATEWAY_METRICS_FROM=127.0.0.1")
    start(configuration)
    assert Path(str(shared())).is_dir()


def test_a_reload_that_brings_metrics_makes_the_folder(conf: Conf, shared: Shared) -> None:
    configuration, log = conf(), Log()
    start(configuration)
    Path("config.env").write_text("GATEWAY_METRICS_FROM=127.0.0.1")
    configuration.on_reload(server(log))
    assert Path(str(shared())).is_dir()


def test_the_operators_own_folder_stays_and_is_cleared_of_a_former_run(
    conf: Conf, shared: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path("own").absolute()
    folder.mkdir()
    ours, others = folder / f"counter_{os.getpid()}.db", folder / "gauge_livemax_1.db"
    for file in (ours, others, folder / "notes.txt"):
        file.touch()
    start(conf(**METRICS, **{VARIABLE: str(folder)}))
    assert shared() == str(folder)
    assert set(folder.iterdir()) == {ours, folder / "notes.txt"}


def test_the_operators_own_folder_is_made_if_it_is_missing(conf: Conf, shared: Shared) -> None:
    start(conf(**METRICS, **{VARIABLE: "some/where"}))
    assert Path("some/where").is_dir()


def test_a_folder_that_cannot_be_made_ends_the_start(conf: Conf, shared: Shared) -> None:
    Path("file").touch()
    line = fault_of_start(conf, **METRICS, **{VARIABLE: "file/below"})
    assert line == (
        "PROMETHEUS_MULTIPROC_DIR is file/below, which cannot be made or cleared: Not a directory;"
        " it must be a folder for these metrics alone"
    )


def test_a_master_that_takes_anothers_place_leaves_its_files(
    conf: Conf, shared: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GUNICORN_PID", "1")
    Path("own").mkdir()
    theirs = Path("own/counter_1.db")
    theirs.touch()
    start(conf(**METRICS, **{VARIABLE: "own"}))
    assert theirs.exists()


def test_what_a_check_of_the_app_counts_is_not_counted(conf: Conf, shared: Shared) -> None:
    """It is imported in a process that nobody tells from a worker."""
    app = write_app(
        "import os\nopen(f\"{os.environ['PROMETHEUS_MULTIPROC_DIR']}/counter_1.db\", 'w')\napp = print"
    )
    configuration, log = conf(**METRICS), Log()
    start(configuration)
    Path("config.env").write_text(f"GATEWAY_APP={app}")
    configuration.on_reload(server(log))
    assert (settings_at_start().app, log.errors) == (app, [])
    assert list(Path(str(shared())).iterdir()) == []


def test_of_a_worker_that_has_ended_its_counts_stay_and_its_state_goes(conf: Conf, shared: Shared) -> None:
    configuration = conf(**METRICS)
    start(configuration)
    folder = Path(str(shared()))
    files = {folder / name for name in ("counter_77.db", "gauge_livemax_77.db", "gauge_livemin_78.db")}
    for file in files:
        file.touch()
    configuration.child_exit(None, SimpleNamespace(pid=77))
    assert {file.name for file in folder.iterdir()} == {"counter_77.db", "gauge_livemin_78.db"}


def test_the_folder_goes_with_the_master_alone(conf: Conf, shared: Shared) -> None:
    configuration = conf(**METRICS)
    start(configuration)
    folder = Path(str(shared()))
    child = os.fork()
    if child == 0:
        configuration._metrics._remove()
        os._exit(0)
    os.waitpid(child, 0)
    assert folder.is_dir()
    configuration._metrics._remove()
    assert not folder.exists()
