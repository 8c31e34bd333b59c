"""Sessions that are ended at one gunicorn are ended at all workers of another, whatever becomes of these."""

from __future__ import annotations

import os
import queue
import random
import re
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from tests.integration.clients import (
    PASSWORD,
    PRESENT,
    Client,
    Ended,
    Seen,
    Session,
    command,
    eventually,
    everywhere,
    gateway,
    one_for_each_worker,
    prepare,
    workers,
)
from tests.integration.postgres import postgres
from tests.integration.redis_servers import redis_server
from tests.integration.servers import ANY_PORT, DEADLINE, GUNICORN, SHIPPED, Server, log_of, run, until
from tests.support import KEY

THREADS = ("-k", "gthread", "--threads", "4")
ALL_DUE = {"EXP_TIME_MIN": "30", "REFRESH_TIME_MIN": "30"}  # as soon as a second has passed
REVOKED = (401, "token_revoked")
PASSES = (200, None)
TIMES = 200  # as often a session is ended at one gunicorn and asked with at the other


@contextmanager
def state(folder: Path, kind: str) -> Iterator[str]:
    """The address of a store of this kind."""
    if kind == "sqlite":
        yield f"sqlite:///{folder}/state.db"
        return
    with redis_server(folder / "redis") as server:
        yield server.url


@dataclass(frozen=True)
class Pair:
    """Two gunicorns on one store, of whom the first is asked by `here` and the second by `there`."""

    url: str
    first: Server
    second: Server
    here: Client
    there: Client


@contextmanager
def pair(folder: Path, url: str, *options: str, **settings: str) -> Iterator[Pair]:
    with (
        gateway(folder / "first", url, *options, **settings) as first,
        gateway(folder / "second", url, *options, **settings) as second,
        Client(first) as here,
        Client(second) as there,
    ):
        yield Pair(url, first, second, here, there)


@pytest.fixture(scope="module", params=["sqlite", "redis"])
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Two gunicorns of two workers each, at which every token is due to be renewed."""
    folder = tmp_path_factory.mktemp(request.param)
    with state(folder, request.param) as url, pair(folder, url, *THREADS, **ALL_DUE) as servers:
        yield servers


names = map("user{}".format, iter(range(10**9)))


@dataclass
class Witness:
    """Asks one worker with each session that was ended: at once, now and then, and as the second is over."""

    client: Client
    sync: float
    seen: list[tuple[Ended, Seen]] = field(default_factory=list)
    told: queue.SimpleQueue[Ended | None] = field(default_factory=queue.SimpleQueue)

    def run(self) -> None:
        due: list[Ended] = []
        open_ = True
        while open_ or due:
            pause = due[0].at + self.sync + PRESENT - time.monotonic() if due else DEADLINE
            try:
                new = self.told.get(timeout=max(pause, 0)) if open_ else None
            except queue.Empty:
                new = due.pop(0)
            else:
                open_ = open_ and new is not None
                if new is None:
                    time.sleep(max(pause, 0) if due else 0)
                    new = due.pop(0) if due else None
                else:
                    due.append(new)
            if new is not None:
                self.seen.append((new, self.client.ask(new.session)))


@contextmanager
def witnesses(servers: list[Server], sync: float) -> Iterator[list[Witness]]:
    """One for each worker of all these; with the block they come to the end of what they were told."""
    with ExitStack() as stack:
        found = [
            Witness(client, sync)
            for server in servers
            for client in stack.enter_context(one_for_each_worker(server))
        ]
        threads = [threading.Thread(target=witness.run) for witness in found]
        for thread in threads:
            thread.start()
        try:
            yield found
        finally:
            for witness, thread in zip(found, threads, strict=True):
                witness.told.put(None)
                thread.join(DEADLINE)


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_a_session_ended_at_one_gunicorn_is_refused_by_all_workers_of_another_within_the_second(
    tmp_path: Path, kind: str
) -> None:
    sync = 1.0
    with (
        state(tmp_path, kind) as url,
        pair(tmp_path, url, *THREADS, GATEWAY_STATE_SYNC_SEC=str(sync)) as servers,
    ):
        sessions = [servers.here.log_in(number) for number in range(TIMES)]
        assert {servers.there.ask(session).refusal for session in sessions} == {PASSES}
        with witnesses([servers.first, servers.second], sync) as watching:
            for session in sessions:
                ended = Ended(session, servers.here.log_out(session))
                for witness in watching:
                    witness.told.put(ended)
                time.sleep(random.uniform(0, 0.01))  # at any moment of the time between two looks
    for witness in watching:
        late = [seen for ended, seen in witness.seen if seen.began > ended.at + sync]
        assert len(late) >= TIMES
        assert {seen.refusal for seen in late} == {REVOKED}
        assert {seen.refusal for _, seen in witness.seen} <= {REVOKED, PASSES}


def renewed(client: Client, session: Session) -> Session:
    """The session with another token, which comes as soon as a second has passed."""
    token = until(lambda: client.ask(session).headers["X-Refreshed-Token"], lambda: "never renewed")
    return session._replace(token=token)


def test_a_token_that_was_renewed_at_another_gunicorn_dies_with_the_session(both: Pair) -> None:
    session = both.here.log_in(next(names))
    new = renewed(both.there, session)
    assert everywhere(both.first, new) == everywhere(both.second, new) == {PASSES}
    both.here.log_out(session)
    eventually(both.second, REVOKED, new)
    eventually(both.first, REVOKED, new)


def test_the_token_of_before_dies_with_the_renewed_one(both: Pair) -> None:
    session = both.here.log_in(next(names))
    both.here.log_out(renewed(both.there, session))
    eventually(both.second, REVOKED, session)


def test_a_session_that_is_ended_ends_no_other_of_the_same_uid(both: Pair) -> None:
    uid = next(names)
    one, other = both.here.log_in(uid), both.there.log_in(uid)
    both.here.log_out(one)
    eventually(both.second, REVOKED, one)
    assert everywhere(both.first, other) == everywhere(both.second, other) == {PASSES}


def test_all_sessions_of_a_uid_are_ended_at_both(both: Pair) -> None:
    uid = next(names)
    sessions = [client.log_in(uid) for client in (both.here, both.there, both.here, both.there)]
    both.there.log_out(sessions[0], everything=True)
    eventually(both.first, REVOKED, *sessions)
    eventually(both.second, REVOKED, *sessions)


def test_all_sessions_of_a_uid_do_not_end_those_of_another(both: Pair) -> None:
    one, other = both.here.log_in(next(names)), both.there.log_in(next(names))
    both.here.log_out(one, everything=True)
    eventually(both.second, REVOKED, one)
    assert everywhere(both.first, other) == everywhere(both.second, other) == {PASSES}


def test_a_login_right_after_all_were_ended_works_at_both(both: Pair) -> None:
    """In the same second, many times over, and at workers that have not heard of it yet."""
    uid = next(names)
    new = both.here.log_in(uid)
    for again in (both.there, both.here) * 5:
        both.here.log_out(new, everything=True)
        new = again.log_in(uid)
        assert everywhere(both.first, new) == everywhere(both.second, new) == {PASSES}


def test_a_session_that_was_ended_cannot_be_renewed(both: Pair) -> None:
    session = both.here.log_in(next(names))
    renewed(both.there, session)
    both.here.log_out(session)
    eventually(both.second, REVOKED, session)
    assert "X-Refreshed-Token" not in both.there.ask(session).headers


def test_a_session_that_was_ended_cannot_end_others(both: Pair) -> None:
    uid = next(names)
    one, other = both.here.log_in(uid), both.there.log_in(uid)
    both.here.log_out(one)
    eventually(both.first, REVOKED, one)
    assert both.here.revoke(one, everything=True).refusal == REVOKED
    assert everywhere(both.second, other) == {PASSES}


def test_sessions_revoke_ends_those_of_a_uid_in_running_workers(both: Pair) -> None:
    uid = next(names)
    sessions = [client.log_in(uid) for client in (both.here, both.there)]
    said = command(both.first.folder, "sessions", "revoke", "--uid", uid, **of_state(both.url))
    eventually(both.first, REVOKED, *sessions)
    eventually(both.second, REVOKED, *sessions)
    assert said.startswith(f"every session of {uid} that had begun is ended")


def test_the_command_takes_nothing_away_from_a_worker_that_writes_too(tmp_path: Path) -> None:
    """SQLite's locks are the process's: had that lost them, the command would remove the log as the last."""
    url = f"sqlite:///{tmp_path}/state.db"
    with gateway(tmp_path, url, "-w", "1") as server, Client(server) as client:
        for uid in ("one", "two", "three"):
            client.log_out(client.log_in(uid), everything=True)
            assert uid in command(tmp_path, "sessions", "list-revoked", **of_state(url))


def test_a_login_right_after_sessions_revoke_works_at_both(both: Pair) -> None:
    uid = next(names)
    old = both.here.log_in(uid)
    command(both.first.folder, "sessions", "revoke", "--uid", uid, **of_state(both.url))
    new = both.there.log_in(uid)
    assert everywhere(both.first, new) == everywhere(both.second, new) == {PASSES}
    eventually(both.first, REVOKED, old)


def of_state(url: str) -> dict[str, str]:
    return {"TOKEN_KEY": KEY, "GATEWAY_STATE_URL": url}


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_a_restart_forgets_nothing(tmp_path: Path, kind: str) -> None:
    with state(tmp_path, kind) as url:
        with gateway(tmp_path / "server", url) as server, Client(server) as client:
            one, other, live = (client.log_in(uid) for uid in ("one", "other", "live"))
            client.log_out(one)
            client.log_out(other, everything=True)
        with gateway(tmp_path / "server", url) as server:
            assert everywhere(server, one) == everywhere(server, other) == {REVOKED}
            assert everywhere(server, live) == {PASSES}


def test_a_worker_in_place_of_one_that_was_killed_forgets_nothing(both: Pair) -> None:
    session = both.here.log_in(next(names))
    both.here.log_out(session)
    before = workers(both.second)
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    until(lambda: is_replaced(both.second, before), lambda: log_of(both.second))
    assert everywhere(both.second, session) == {REVOKED}


def is_replaced(server: Server, before: set[int]) -> bool | None:
    """Whether there are as many other workers."""
    now = workers(server)
    return (len(now) == len(before) and now.isdisjoint(before)) or None


@pytest.mark.parametrize(
    "way", [pytest.param((), id="as it is"), pytest.param(("--preload",), id="preloaded")]
)
def test_a_reload_forgets_nothing(tmp_path: Path, way: tuple[str, ...]) -> None:
    with gateway(tmp_path, f"sqlite:///{tmp_path}/state.db", *way) as server, Client(server) as client:
        session = client.log_in("somebody")
        client.log_out(session)
        before = workers(server)
        os.kill(server.pid, signal.SIGHUP)
        until(lambda: is_replaced(server, before), lambda: log_of(server))
        assert everywhere(server, session) == {REVOKED}
        assert client.ask(client.log_in("somebody")).refusal == PASSES


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
@pytest.mark.parametrize(
    "options",
    [
        pytest.param(("-k", "sync"), id="sync"),
        pytest.param((*THREADS, "--preload"), id="preloaded"),
    ],
)
def test_workers_of_each_kind_hear_of_one_another(
    tmp_path: Path, kind: str, options: tuple[str, ...]
) -> None:
    with (
        state(tmp_path, kind) as url,
        gateway(tmp_path / "server", url, *options) as server,
        Client(server) as client,
    ):
        session = client.log_in("somebody")
        client.log_out(session)
        eventually(server, REVOKED, session)
        assert everywhere(server, client.log_in("somebody")) == {PASSES}


@pytest.mark.parametrize(
    "options", [pytest.param((), id="as it is"), pytest.param(("--preload",), id="preloaded")]
)
def test_the_master_opens_no_connection_to_redis_and_each_worker_its_own(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    with redis_server(tmp_path / "redis") as redis, gateway(tmp_path, redis.url, *options) as server:
        check_connections(server, redis.port)


def check_connections(server: Server, port: int) -> None:
    """The master has none to a port, and each worker has its own."""
    one, other = (ports(pid, port) for pid in workers(server))
    assert ports(server.pid, port) == set()
    assert one
    assert other
    assert one.isdisjoint(other)


def ports(pid: int, port: int) -> set[int]:
    """The ports from which a process has connections to a port."""
    connections = psutil.Process(pid).net_connections("tcp")
    return {each.laddr.port for each in connections if each.raddr and each.raddr.port == port}


@pytest.mark.parametrize(
    "options", [pytest.param((), id="as it is"), pytest.param(("--preload",), id="preloaded")]
)
def test_the_master_keeps_no_state_file_open(tmp_path: Path, options: tuple[str, ...]) -> None:
    with gateway(tmp_path, f"sqlite:///{tmp_path}/state.db", *options) as server:
        assert not any("state.db" in each.path for each in psutil.Process(server.pid).open_files())
        for pid in workers(server):
            assert any("state.db" in each.path for each in psutil.Process(pid).open_files())


def started(folder: Path, *options: str, url: str = "memory://") -> list[str]:
    """What a start that fails says, besides gunicorn's log."""
    prepare(folder)
    settings = of_state(url) | {"GATEWAY_APP": "app:app", "GATEWAY_LOGIN": "app:check"}
    ended = run(folder, GUNICORN, *ANY_PORT, *options, *SHIPPED, **settings)
    assert ended.returncode != 0
    return [line for line in ended.stderr.splitlines() if not re.match(r"\[[0-9 :+-]+\] ", line)]


@pytest.mark.parametrize(
    "options",
    [
        pytest.param((), id="the default"),
        pytest.param(("-w", "2", "--preload", *THREADS), id="preloaded"),
    ],
)
def test_memory_with_two_workers_ends_the_start_with_one_line(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    (line,) = started(tmp_path, *options)
    assert line.startswith(
        "GATEWAY_STATE_URL is 'memory://', which is for one worker, and there are to be 2;"
    )


@pytest.mark.parametrize("options", [pytest.param((), id="sync"), pytest.param(THREADS, id="gthread")])
def test_memory_with_one_worker_works(tmp_path: Path, options: tuple[str, ...]) -> None:
    with gateway(tmp_path, "memory://", "-w", "1", *options) as server, Client(server) as client:
        session, other = client.log_in("somebody"), client.log_in("somebody")
        client.log_out(session)
        assert client.ask(session).refusal == REVOKED
        assert client.ask(other).refusal == PASSES
        client.log_out(other, everything=True)
        assert client.ask(other).refusal == REVOKED
        assert client.ask(client.log_in("somebody")).refusal == PASSES


@pytest.mark.parametrize(
    ("options", "warned"),
    [
        pytest.param(("--appendonly", "no"), ["should run with appendonly yes"], id="no appendonly"),
        pytest.param(
            ("--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"),
            ["by its maxmemory-policy allkeys-lru"],
            id="evicting",
        ),
        pytest.param((), [], id="as it should be"),
    ],
)
def test_the_start_warns_of_a_redis_that_may_lose_what_it_was_told(
    tmp_path: Path, options: tuple[str, ...], warned: list[str]
) -> None:
    with redis_server(tmp_path / "redis", *options) as redis, gateway(tmp_path, redis.url) as server:
        warnings = [line for line in log_of(server).splitlines() if "[WARNING]" in line]
    assert len(warnings) == len(warned)
    assert all(text in line for text, line in zip(warned, warnings, strict=True))


@dataclass(frozen=True)
class Database:
    """A gunicorn with a users database, and the settings by which the command finds it."""

    server: Server
    settings: dict[str, str]

    def users(self, *arguments: str, password: str = "") -> str:
        return command(self.server.folder, "users", *arguments, stdin=f"{password}\n", **self.settings)


@contextmanager
def with_users(folder: Path, users_url: str) -> Iterator[Database]:
    state_url = f"sqlite:///{folder}/state.db"
    settings = {**of_state(state_url), "GATEWAY_USERS_URL": users_url}
    with gateway(folder, state_url, *THREADS, GATEWAY_USERS_URL=users_url) as server:
        yield Database(server, settings)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    folder = tmp_path_factory.mktemp("users")
    with with_users(folder, f"sqlite:///{folder}/users.db") as made:
        yield made


changes = pytest.mark.parametrize(
    ("change", "then"),
    [
        pytest.param(("disable",), 401, id="disable"),
        pytest.param(("remove",), 401, id="remove"),
        pytest.param(("claims", "--scope", "read"), 200, id="claims"),
        pytest.param(("passwd",), 401, id="passwd"),
    ],
)


def ends_sessions(database: Database, uid: str, change: tuple[str, ...], then: int) -> None:
    """A change of a user ends the sessions; whether it lets the same password in tells the status."""
    database.users("add", uid, password=PASSWORD)
    with Client(database.server) as client:
        sessions = [client.log_in(uid) for _ in range(2)]
        assert everywhere(database.server, sessions[0]) == {PASSES}
        name, *options = change
        database.users(name, uid, *options, password="another password")
        eventually(database.server, REVOKED, *sessions)
        assert client.try_login(uid).status == then


@changes
def test_a_changed_user_has_no_session_left(database: Database, change: tuple[str, ...], then: int) -> None:
    ends_sessions(database, next(names), change, then)


def test_a_user_with_another_password_logs_in_with_it_at_once(database: Database) -> None:
    uid = next(names)
    database.users("add", uid, password=PASSWORD)
    database.users("passwd", uid, password="another password")
    with Client(database.server) as client:
        assert everywhere(database.server, client.log_in(uid, "another password")) == {PASSES}


def test_a_disabled_user_who_is_enabled_has_no_session_of_before(database: Database) -> None:
    uid = next(names)
    database.users("add", uid, password=PASSWORD)
    with Client(database.server) as client:
        session = client.log_in(uid)
        database.users("disable", uid)
        database.users("enable", uid)
        eventually(database.server, REVOKED, session)
        assert everywhere(database.server, client.log_in(uid)) == {PASSES}


def test_a_user_of_postgresql_who_is_disabled_has_no_session_left(tmp_path: Path) -> None:
    """And each worker has its own connection to the database, the master none."""
    with postgres(tmp_path / "postgres") as server, with_users(tmp_path, server.url()) as made:
        ends_sessions(made, "12", ("disable",), 401)
        made.users("enable", "12")
        with one_for_each_worker(made.server) as clients:
            for client in clients:
                client.log_in(12)
        check_connections(made.server, server.port)
