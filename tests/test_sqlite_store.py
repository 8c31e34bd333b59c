"""The state in a file that is locked, gone, replaced, broken, full, or not to be written."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import StateUnavailableError
from gateway.stores import SID, Revocation
from gateway.stores.bounded import BoundedStore
from gateway.stores.sqlite import VERSION, SQLiteStore
from tests.integration.servers import DEADLINE, ROOT, environment, run

NOW = 1_800_000_000.25
LATER = NOW + 3600
TIMEOUT = 0.3  # seconds
SLACK = 1.0  # a busy machine is no fault of the code
PAGE = 4096

# Each begins with: import sys; the store at the first argument; how to append to it.
PROLOGUE = """\
import sys

from gateway.errors import StateUnavailableError
from gateway.stores import SID, Revocation
from gateway.stores.sqlite import SQLiteStore

store = SQLiteStore(sys.argv[1], float(sys.argv[2]))

def append(value):
    store.append([Revocation("", SID, value, 0, 2e9)], 1.8e9)

def whole():
    return [each.value for each in store.read(None, 100_000).revocations]

"""


def ended(value: str) -> Revocation:
    return Revocation("", SID, value, NOW, LATER)


def append(store: SQLiteStore, value: str = "s") -> None:
    store.append([ended(value)], NOW)


def whole(store: SQLiteStore) -> list[str]:
    return [each.value for each in store.read(None, 100_000).revocations]


def admit(store: SQLiteStore) -> float:
    return store.admit({"a": 1000}, "hit", 60, NOW)


Call = Callable[[SQLiteStore], object]
WRITES = (
    pytest.param(append, id="append"),
    pytest.param(admit, id="admit"),
    pytest.param(lambda store: store.forgive("hit", ["a"], ["b"]), id="forgive"),
)
CALLS = (*WRITES, pytest.param(whole, id="read"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@pytest.fixture
def store(path: Path) -> Iterator[SQLiteStore]:
    with opened(path) as asked:
        yield asked


@contextlib.contextmanager
def opened(path: Path | str, timeout: float = TIMEOUT) -> Iterator[SQLiteStore]:
    store = SQLiteStore(str(path), timeout)
    try:
        yield store
    finally:
        store.close()


@contextlib.contextmanager
def connected(path: Path) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


def pragma(path: Path, name: str) -> Any:
    with connected(path) as connection:
        return connection.execute(f"PRAGMA {name}").fetchone()[0]


def tolerated(call: Callable[[], object]) -> None:
    """It may fail, in the one way in which a store does."""
    with contextlib.suppress(StateUnavailableError):
        call()


def beside(path: Path) -> list[Path]:
    """The file and those that SQLite keeps beside it, as far as there are any."""
    return sorted(path.parent.glob(f"{path.name}*"))


def script(path: Path, code: str, *arguments: str) -> str:
    """What a process prints that does this with the store."""
    done = run(ROOT, sys.executable, "-c", PROLOGUE + code, str(path), str(TIMEOUT), *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


# Locked


@contextlib.contextmanager
def locked(path: Path, mode: str = "EXCLUSIVE") -> Iterator[None]:
    """Have another process hold a transaction."""
    code = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None);"
        " c.execute('BEGIN ' + sys.argv[2]); c.execute('DELETE FROM hits');"
        " print('locked', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        (sys.executable, "-c", code, path, mode),
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        try:
            yield
        finally:
            process.kill()


@pytest.mark.parametrize("call", WRITES)
def test_a_locked_file_is_given_up_in_time(store: SQLiteStore, path: Path, call: Call) -> None:
    append(store, "before")
    with locked(path):
        began = time.monotonic()
        with pytest.raises(StateUnavailableError):
            call(store)
        assert TIMEOUT / 2 < time.monotonic() - began < TIMEOUT + SLACK
    call(store)


@pytest.mark.parametrize("mode", ["EXCLUSIVE", "IMMEDIATE"])
def test_a_locked_file_is_read(store: SQLiteStore, path: Path, mode: str) -> None:
    append(store, "before")
    with locked(path, mode):
        assert whole(store) == ["before"]


@pytest.mark.parametrize("call", CALLS)
def test_a_file_that_others_hold_locked_is_opened_or_given_up_in_time(path: Path, call: Call) -> None:
    with opened(path) as first:
        append(first)
    with locked(path), opened(path) as store:
        began = time.monotonic()
        tolerated(lambda: call(store))
        assert time.monotonic() - began < 2 * TIMEOUT + SLACK


def test_a_lock_that_is_let_go_in_time_is_waited_for(path: Path) -> None:
    with opened(path, DEADLINE) as store, ThreadPoolExecutor(1) as pool:
        append(store, "before")
        with locked(path):
            waiting = pool.submit(append, store, "after")
            assert whole(store) == ["before"]
        waiting.result(DEADLINE)
        assert whole(store) == ["before", "after"]


def test_a_bounded_store_gives_a_locked_file_up_in_time(path: Path) -> None:
    store = BoundedStore(SQLiteStore(str(path), TIMEOUT), TIMEOUT, 60, 60)
    store.append([ended("before")], NOW)
    with locked(path):
        began = time.monotonic()
        with pytest.raises(StateUnavailableError):
            store.append([ended("locked")], NOW)
        assert time.monotonic() - began < TIMEOUT + SLACK
        assert [each.value for each in store.read(None, 10).revocations] == ["before"]
    store.close()


def test_a_reader_in_the_middle_keeps_nobody_from_writing(store: SQLiteStore, path: Path) -> None:
    append(store, "before")
    with connected(path) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM revocations").fetchall()
        for number in range(20):
            append(store, str(number))
    assert len(whole(store)) == 21


def test_threads_wait_for_each_other(path: Path) -> None:
    with opened(path, DEADLINE) as store, ThreadPoolExecutor(40) as pool:
        for _ in pool.map(lambda number: append(store, str(number)), range(200)):
            pass
        assert sorted(whole(store), key=int) == [str(number) for number in range(200)]


# Gone, replaced or broken while it is open


def test_a_file_that_was_removed_is_made_anew(store: SQLiteStore, path: Path) -> None:
    append(store, "lost")
    position = store.read(None, 10).position
    for each in beside(path):
        each.unlink()
    append(store, "since")
    batch = store.read(position, 10)
    assert ([each.value for each in batch.revocations], batch.anew) == (["since"], True)
    with opened(path) as other:
        assert whole(other) == ["since"]


def test_a_file_that_was_removed_alone_is_made_anew(store: SQLiteStore, path: Path) -> None:
    """What SQLite keeps beside it stays there, and is of another file."""
    append(store, "lost")
    path.unlink()
    for _ in range(3):
        tolerated(lambda: append(store, "since"))
    append(store, "at last")
    with opened(path) as other:
        assert whole(other) == whole(store)
    assert whole(store)[-1] == "at last"


def test_a_file_that_was_removed_is_noticed_by_who_reads(store: SQLiteStore, path: Path) -> None:
    append(store, "lost")
    for each in beside(path):
        each.unlink()
    assert whole(store) == []


def test_a_file_that_was_replaced_is_read(store: SQLiteStore, path: Path, tmp_path: Path) -> None:
    append(store, "old")
    position = store.read(None, 10).position
    another = tmp_path / "another.db"
    with opened(another) as other:
        append(other, "new")
    for each in beside(path)[1:]:
        each.unlink()
    another.rename(path)
    batch = store.read(position, 10)
    assert ([each.value for each in batch.revocations], batch.anew) == (["new"], True)
    append(store, "since")
    assert whole(store) == ["new", "since"]


def test_a_file_that_was_put_back_is_read_anew(store: SQLiteStore, path: Path, tmp_path: Path) -> None:
    """An older copy, whose places others were given since."""
    append(store, "kept")
    store.close()
    copy = shutil.copy(path, tmp_path / "copy.db")
    append(store, "lost")
    position = store.read(None, 10).position
    store.close()
    Path(copy).rename(path)
    append(store, "since")
    batch = store.read(position, 10)
    assert ([each.value for each in batch.revocations], batch.anew) == (["kept", "since"], True)


def truncate(path: Path) -> None:
    os.truncate(path, 0)


def halve(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def cut(path: Path) -> None:
    os.truncate(path, 50)


def overwrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"garbage " * (path.stat().st_size // 8))


def overwrite_the_rest(path: Path) -> None:
    """The header alone stays."""
    with path.open("r+b") as file:
        file.seek(100)
        file.write(b"\xff" * (path.stat().st_size - 100))


def overwrite_pages(path: Path) -> None:
    """The schema stays, and no page of any table."""
    with path.open("r+b") as file:
        file.seek(PAGE)
        file.write(b"\x0d\xff" * ((path.stat().st_size - PAGE) // 2))


DAMAGES = (truncate, halve, cut, overwrite, overwrite_the_rest, overwrite_pages)


@pytest.mark.parametrize("close", [True, False], ids=["closed", "open"])
@pytest.mark.parametrize("log", [True, False], ids=["with its log", "without"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_broken_file_is_unavailable_or_works(
    store: SQLiteStore, path: Path, damage: Callable[[Path], None], log: bool, close: bool
) -> None:
    copy = path.with_name("good")
    for number in range(50):
        append(store, f"{number} {'x' * 300}")
    assert not admit(store)
    good = whole(store)
    with connected(path) as connection:
        connection.execute("VACUUM INTO ?", (str(copy),))
        if not log:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    if close:
        store.close()
    damage(path)
    for _ in range(3):
        for call in (append, whole, admit, lambda asked: asked.forgive("hit", ["a"], ["b"])):
            tolerated(lambda call=call: call(store))  # type: ignore[misc]
    for each in beside(path)[1:]:
        each.unlink()
    copy.rename(path)
    append(store, "since")
    assert whole(store) == [*good, "since"]


@pytest.mark.parametrize("close", [True, False], ids=["closed", "open"])
def test_a_broken_log_is_unavailable_or_works(store: SQLiteStore, path: Path, close: bool) -> None:
    for number in range(50):
        append(store, str(number))
    if close:
        store.close()
    log = path.with_name(f"{path.name}-wal")
    log.write_bytes(b"garbage " * 10_000)
    for _ in range(3):
        for call in (append, whole, admit):
            tolerated(lambda call=call: call(store))  # type: ignore[misc]


@pytest.mark.parametrize(
    "content", [pytest.param(b"no database " * 1000, id="text"), pytest.param(b"\0" * 8192, id="zeros")]
)
@pytest.mark.parametrize("call", CALLS)
def test_what_is_no_database_is_unavailable(path: Path, call: Call, content: bytes) -> None:
    path.write_bytes(content)
    with opened(path) as store, pytest.raises(StateUnavailableError):
        call(store)
    assert path.read_bytes() == content


def test_an_empty_file_becomes_one(path: Path) -> None:
    path.touch()
    with opened(path) as store:
        append(store)
        assert whole(store) == ["s"]


def test_a_file_with_other_tables_is_unavailable(path: Path) -> None:
    with connected(path) as connection:
        connection.execute("CREATE TABLE revocations (a)")
    with opened(path) as store, pytest.raises(StateUnavailableError):
        append(store)


def test_a_file_that_lost_a_table_is_unavailable(store: SQLiteStore, path: Path) -> None:
    append(store)
    with connected(path) as connection:
        connection.execute("DROP TABLE hits")
    for _ in range(2):
        with pytest.raises(StateUnavailableError):
            admit(store)
    assert whole(store) == ["s"]


# Versions


@pytest.mark.parametrize("call", CALLS)
def test_a_newer_version_is_refused(path: Path, call: Call) -> None:
    with opened(path) as store:
        append(store)
    with connected(path) as connection:
        connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    with opened(path) as store:
        for _ in range(2):
            with pytest.raises(StateUnavailableError, match="newer version"):
                call(store)


def test_a_negative_version_is_refused(path: Path) -> None:
    with connected(path) as connection:
        connection.execute("PRAGMA user_version = -1")
    with opened(path) as store, pytest.raises(StateUnavailableError):
        append(store)


# Full


LIMITED = """\
import resource

resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
appended, failed = [], 0
for number in range(500):
    try:
        append(value := f"{number} " + "x" * 2000)
        appended.append(value)
    except StateUnavailableError:
        failed += 1
assert failed and appended
assert whole() == appended
store.close()
assert whole() == appended
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
append("since")
assert whole() == [*appended, "since"]
"""


def test_a_full_disk_is_read_and_not_written(path: Path) -> None:
    script(path, LIMITED)


def test_a_full_database_is_read_and_not_written(store: SQLiteStore) -> None:
    append(store, "before")
    connection = store._writer._connection
    assert connection is not None
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StateUnavailableError, match="full"):
        store.append([ended("a"), ended("x" * 100_000)], NOW)
    assert whole(store) == ["before"]


# By how much the file may grow while it is made: it is made in one step, or not at all.
MAKING = """\
import resource

resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
for _ in range(2):
    try:
        append("limited")
    except StateUnavailableError:
        pass
store.close()
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
append("since")
assert whole()[-1] == "since"
"""


@pytest.mark.parametrize("room", [0, 1, 5000, 9000, 13000, 17000, 21000, 25000, 33000, 41000, 50000, 70000])
def test_a_file_for_which_there_was_no_room_is_made_later(path: Path, room: int) -> None:
    script(path, MAKING, str(room))


# Where it cannot be


@pytest.mark.parametrize("call", CALLS)
def test_a_folder_that_is_missing_is_unavailable(tmp_path: Path, call: Call) -> None:
    with opened(tmp_path / "missing" / "state.db") as store:
        for _ in range(2):
            with pytest.raises(StateUnavailableError):
                call(store)
        (tmp_path / "missing").mkdir()
        call(store)


def test_a_folder_in_its_place_is_unavailable(path: Path) -> None:
    path.mkdir()
    with opened(path) as store, pytest.raises(StateUnavailableError):
        append(store)


def test_a_file_in_the_place_of_its_folder_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with opened(tmp_path / "file" / "state.db") as store, pytest.raises(StateUnavailableError):
        append(store)


def test_a_folder_that_becomes_a_file_is_unavailable(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    with opened(folder / "state.db") as store:
        append(store)
        shutil.rmtree(folder)
        folder.touch()
        for _ in range(2):
            with pytest.raises(StateUnavailableError):
                append(store)


@pytest.mark.parametrize(
    "name", ["two\nlines.db", "with space.db", "what?x=y#z.db", "per%20cent.db", "schön.db"]
)
def test_a_file_can_have_any_name(tmp_path: Path, name: str) -> None:
    with opened(tmp_path / name) as store:
        append(store)
        assert whole(store) == ["s"]
        assert (tmp_path / name).exists()


def test_a_message_is_of_one_line_whatever_the_name(tmp_path: Path) -> None:
    with (
        opened(tmp_path / "missing\n" / "state.db") as store,
        pytest.raises(StateUnavailableError) as caught,
    ):
        append(store)
    assert "\n" not in str(caught.value)


@contextlib.contextmanager
def shared_folder() -> Iterator[Path]:
    """A folder that everybody can reach, unlike those of pytest."""
    with tempfile.TemporaryDirectory(prefix="gateway-state-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def as_nobody(path: Path, code: str) -> str:
    """What a process of somebody else prints; root may write everything.

    This interpreter may be where nobody else may go, so a fork of this process changes its user.
    """
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.dup2(writer, 1)
        try:
            if os.geteuid() == 0:
                nobody = pwd.getpwnam("nobody")
                os.setgroups([])
                os.setgid(nobody.pw_gid)
                os.setuid(nobody.pw_uid)
            sys.argv = ["", str(path), str(TIMEOUT)]
            exec(PROLOGUE + code, {"out": lambda text: os.write(1, f"{text}\n".encode())})
        except BaseException as error:  # noqa: BLE001 - told by the test
            os.write(1, repr(error).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as file:
        printed = file.read()
    os.waitpid(pid, 0)
    return printed


TRYING = """\
for call in (lambda: append("denied"), whole):
    try:
        out(call())
    except StateUnavailableError:
        out("unavailable")
"""


@pytest.mark.parametrize("mode", [0o444, 0o000], ids=["read-only", "closed"])
def test_a_file_of_somebody_else_is_unavailable_or_read(mode: int) -> None:
    with shared_folder() as folder, opened(folder / "state.db") as store:
        append(store, "before")
        for each in beside(folder / "state.db"):
            each.chmod(mode)
        append_answer, read_answer = as_nobody(folder / "state.db", TRYING).splitlines()
        assert append_answer == "unavailable"
        assert read_answer in ({"unavailable", "['before']"} if mode else {"unavailable"})
        append(store, "after")
        assert whole(store) == ["before", "after"]


def test_a_folder_of_somebody_else_is_unavailable() -> None:
    with shared_folder() as folder:
        folder.chmod(0o555)
        printed = as_nobody(folder / "state.db", TRYING).splitlines()
        assert printed == ["unavailable", "unavailable"]
        assert not list(folder.iterdir())


# Made, kept, and sound


def test_the_file_is_its_owners_alone(store: SQLiteStore, path: Path) -> None:
    before = os.umask(0)
    try:
        append(store)
    finally:
        os.umask(before)
    found = beside(path)
    assert len(found) == 3
    assert {stat.S_IMODE(each.stat().st_mode) for each in found} == {0o600}


def test_a_file_that_a_link_leads_to_is_its_owners_alone(path: Path, tmp_path: Path) -> None:
    path.symlink_to(tmp_path / "real.db")
    with opened(path) as store:
        tolerated(lambda: append(store))
    if (tmp_path / "real.db").exists():
        assert stat.S_IMODE((tmp_path / "real.db").stat().st_mode) == 0o600


def test_what_is_appended_is_durable(store: SQLiteStore, path: Path) -> None:
    append(store)
    connection = store._writer._connection
    assert connection is not None
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
    assert pragma(path, "journal_mode") == "wal"
    assert pragma(path, "user_version") == VERSION


def test_a_process_that_reopens_is_as_durable(store: SQLiteStore, path: Path) -> None:
    append(store)
    store.close()
    append(store)
    connection = store._writer._connection
    assert connection is not None
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)


ROUNDS = 30
CREATING = f"""
for number in range({ROUNDS}):
    store = SQLiteStore(sys.argv[1] + str(number), 20)
    print("ready", flush=True)
    sys.stdin.readline()
    append(sys.argv[3])
    print(whole().count(sys.argv[3]), flush=True)
    store.close()
"""


@contextlib.contextmanager
def child(path: Path, code: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A process that does this with the store, for as long as the block lasts."""
    with subprocess.Popen(
        (sys.executable, "-c", PROLOGUE + code, str(path), "20", *arguments),
        cwd=ROOT,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def expect(process: subprocess.Popen[str], line: str) -> None:
    """Have it print this next."""
    assert process.stdout is not None
    found = process.stdout.readline()
    assert found == f"{line}\n", process.communicate(timeout=DEADLINE)[1]


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def test_processes_at_once_make_one_file(tmp_path: Path) -> None:
    """Many times, as it is a matter of luck who is first where."""
    names = ["p0", "p1", "p2"]
    with contextlib.ExitStack() as stack:
        children = [stack.enter_context(child(tmp_path / "state", CREATING, name)) for name in names]
        for _ in range(ROUNDS):
            for process in children:
                expect(process, "ready")
            for process in children:
                go(process)
            for process in children:
                expect(process, "1")
    for number in range(ROUNDS):
        with opened(tmp_path / f"state{number}") as store:
            assert sorted(whole(store)) == names


def test_threads_at_once_make_one_file(tmp_path: Path) -> None:
    """One reads and one writes, each by a connection of its own."""
    with ThreadPoolExecutor(2) as pool:
        for number in range(50):
            start = threading.Barrier(2)

            def ask(call: Call, store: SQLiteStore, start: threading.Barrier) -> None:
                start.wait(DEADLINE)
                call(store)

            with opened(tmp_path / str(number), DEADLINE) as store:
                asking = [pool.submit(ask, call, store, start) for call in (append, whole)]
                assert [each.exception() for each in asking] == [None] * 2
                assert whole(store) == ["s"]


@pytest.mark.parametrize("stop", [1, 2, 3, 4, 5, 6])
def test_a_file_whose_maker_died_is_made_in_full(path: Path, stop: int) -> None:
    """It dies at each of the statements by which the tables are made."""
    code = f"""
import os
import sqlite3

made = 0
real = sqlite3.connect

def connect(*args, **kwargs):
    connection = real(*args, **kwargs)
    def count(statement):
        global made
        if statement.lstrip().startswith(("CREATE", "PRAGMA user_version =")):
            made += 1
            if made == {stop}:
                os._exit(9)
    connection.set_trace_callback(count)
    return connection

sqlite3.connect = connect
append("lost")
"""
    done = run(ROOT, sys.executable, "-c", PROLOGUE + code, str(path), str(TIMEOUT))
    assert (done.returncode, done.stderr) in {(9, ""), (0, "")}
    with opened(path) as store:
        append(store, "since")
        assert whole(store)[-1] == "since"
        assert not admit(store)


DYING = """\
for number in range(100_000):
    append(f"{number}")
    print(number, flush=True)
"""


@pytest.mark.parametrize("after", [1, 20, 150])
def test_a_killed_process_has_kept_what_it_acknowledged(path: Path, after: int) -> None:
    with child(path, DYING) as process:
        for number in range(after):
            expect(process, str(number))
        process.kill()
        assert process.stdout is not None
        told = after + process.stdout.read().count("\n")
    with opened(path) as store:
        found = whole(store)
        assert found in ([str(number) for number in range(count)] for count in (told, told + 1))
        append(store, "since")
    assert pragma(path, "integrity_check") == "ok"


def test_a_process_that_is_killed_leaves_the_file_to_others(path: Path) -> None:
    with opened(path, DEADLINE) as store:
        append(store, "first")
        for _ in range(3):
            with child(path, DYING) as process:
                expect(process, "0")
                append(store, "meanwhile")
                process.kill()
            append(store, "after")
        assert whole(store)[-1] == "after"
    assert pragma(path, "integrity_check") == "ok"


def test_the_log_does_not_grow_for_ever(store: SQLiteStore, path: Path) -> None:
    for _ in range(300):
        store.append([ended("x" * 50_000)], NOW)
    log = path.with_name(f"{path.name}-wal")
    assert log.stat().st_size < path.stat().st_size / 2
