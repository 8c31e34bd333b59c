"""The store goes down, slow, full, empty or elsewhere, and no session that was ended comes back for long."""

from __future__ import annotations

import os
import signal
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest

from gateway import TokenCreator
from gateway.stores.sqlite import SQLiteStore
from tests.integration.clients import (
    FAIR,
    PASSWORD,
    RECOVERY_SEC,
    SYNC_SEC,
    Client,
    Proxy,
    Seen,
    Session,
    Traffic,
    command,
    eventually,
    everywhere,
    gateway,
    workers,
)
from tests.integration.postgres import postgres
from tests.integration.redis_servers import SLOTS, RedisServer, cluster, redis_server
from tests.integration.redis_servers import sentinels as watched_by_sentinels
from tests.integration.servers import Server, log_of, until
from tests.support import KEY

THREADS = ("-k", "gthread", "--threads", "4")
WAYS = {"sync": ("-k", "sync"), "gthread": THREADS}
TIMES = 200
STALE = 1.0
TIMEOUT = 0.3
SMALL = {"GATEWAY_STATE_MAX_STALE_SEC": str(STALE), "GATEWAY_STATE_TIMEOUT_SEC": str(TIMEOUT)}
LONG = STALE + 0.5  # so that all workers have answered 503 for a while
REVOKED = (401, "token_revoked")
PASSES = (200, None)
UNAVAILABLE = (503, "state_unavailable")
TELLING = 3.0  # seconds in which a worker has told an emptied store what it alone knew
STREAM = "{gateway}:revocations"


@dataclass(frozen=True)
class Standing:
    """A gunicorn of two workers, and its Redis behind a proxy.

    `waits` are the seconds that a request may take for the store: at sync workers also for those before it.
    """

    server: Server
    redis: RedisServer
    proxy: Proxy
    waits: float


@pytest.fixture(scope="module")
def standing(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standing]:
    way = getattr(request, "param", "gthread")
    folder = tmp_path_factory.mktemp(way)
    with (
        redis_server(folder / "redis") as redis,
        Proxy(redis.port) as proxy,
        gateway(folder, f"redis://127.0.0.1:{proxy.port}/0", *WAYS[way], **SMALL) as server,
    ):
        yield Standing(server, redis, proxy, TIMEOUT if way == "gthread" else 3 * TIMEOUT)


@contextmanager
def killed(standing: Standing) -> Iterator[None]:
    standing.redis.kill()
    yield
    standing.redis.start()


@contextmanager
def frozen(standing: Standing) -> Iterator[None]:
    standing.redis.freeze()
    yield
    standing.redis.thaw()


@contextmanager
def full(standing: Standing) -> Iterator[None]:
    standing.redis.ask("CONFIG SET", "maxmemory", 1)
    yield
    standing.redis.ask("CONFIG SET", "maxmemory", 0)


def changed(way: str, delay: float = 0) -> Callable[[Standing], AbstractContextManager[None]]:
    """What the proxy does for as long as the block lasts."""

    @contextmanager
    def outage(standing: Standing) -> Iterator[None]:
        standing.proxy.change(way, delay)
        yield
        standing.proxy.change("pass")

    return outage


def down(way: str, outage: Callable[[Standing], AbstractContextManager[None]], what: str) -> Any:
    return pytest.param(way, outage, id=f"{way}, {what}")


@pytest.mark.parametrize(
    ("standing", "outage"),
    [
        down("sync", killed, "killed"),
        down("sync", frozen, "frozen"),
        down("sync", changed("drip"), "dripping"),
        down("gthread", killed, "killed"),
        down("gthread", frozen, "frozen"),
        down("gthread", changed("refuse"), "closing every connection"),
        down("gthread", changed("silent"), "never answering"),
        down("gthread", changed("late", 0.4), "a little late"),
        down("gthread", changed("late", 2), "very late"),
        down("gthread", changed("drip"), "dripping"),
    ],
    indirect=["standing"],
)
def test_a_store_that_is_down_revives_nothing_and_recovers(
    standing: Standing, outage: Callable[[Standing], AbstractContextManager[None]]
) -> None:
    with Traffic(standing.server) as traffic:
        traffic.until_ended(5)
        with traffic.outage(), outage(standing):
            traffic.last(LONG)
            eventually(standing.server, UNAVAILABLE, traffic.live)
        traffic.until_recovered()
        traffic.until_ended(5)
    traffic.check(timeout=standing.waits, stale=STALE)
    assert {seen.refusal for seen in traffic.during(0, after=STALE)} <= {UNAVAILABLE}


def test_workers_go_on_for_a_while_with_what_they_know(standing: Standing) -> None:
    session = Session("12", TokenCreator(token_key=KEY).create(uid=12))
    eventually(standing.server, PASSES, session)
    with killed(standing):
        assert everywhere(standing.server, session) == {PASSES}
        eventually(standing.server, UNAVAILABLE, session)
    eventually(standing.server, PASSES, session)


def test_a_full_store_refuses_to_end_sessions_and_lets_those_pass_that_live(standing: Standing) -> None:
    with Traffic(standing.server) as traffic:
        traffic.until_ended(5)
        with traffic.outage(), full(standing):
            traffic.last(LONG)
        traffic.until_recovered()
        traffic.until_ended(5)
    traffic.check(timeout=TIMEOUT, stale=SYNC_SEC)  # which it can be asked all the while
    assert {seen.refusal for seen in traffic.during(0)} == {PASSES}
    began, end = traffic.outages[0]
    inside = [seen for seen in traffic.revokes if began + FAIR < seen.began and seen.ended < end]
    assert {seen.refusal for seen in inside} == {UNAVAILABLE}


def test_an_emptied_store_revives_nothing(standing: Standing) -> None:
    """And workers that are started later hear of it from those that knew."""
    with Traffic(standing.server) as traffic:
        traffic.until_ended(10)
        before = list(traffic.ended)
        traffic.last(2 * SYNC_SEC)  # so that all workers have read these
        with traffic.outage():
            standing.redis.ask("FLUSHALL")
        traffic.until_ended(10)
        traffic.last(1)
    traffic.check(timeout=TIMEOUT, stale=TELLING)
    emptied = traffic.outages[0].began
    met = {seen.refusal for ended, seen in traffic.asked if ended in before and seen.began > emptied}
    assert met == {REVOKED}
    until(lambda: standing.redis.ask("XLEN", STREAM) >= len(before) or None, lambda: log_of(standing.server))
    with gateway(standing.server.folder / "later", standing.redis.url) as later:
        eventually(later, REVOKED, *(ended.session for ended in traffic.ended))


def test_what_the_store_lost_before_anybody_read_it_is_told_again(tmp_path: Path) -> None:
    """By the worker that had it kept, which alone knows of it."""
    with (
        redis_server(tmp_path / "redis") as redis,
        gateway(tmp_path / "one", redis.url, *THREADS, **SMALL) as one,
        gateway(tmp_path / "other", redis.url, *THREADS, **SMALL) as other,
        Client(one) as client,
    ):
        session = client.log_in("somebody")
        client.log_out(session)
        redis.ask("FLUSHALL")
        both_refuse(one, other, session)


def test_what_a_failover_lost_before_anybody_read_it_is_told_again(tmp_path: Path) -> None:
    """The last entry is gone, and those before it are there: as if a replica had not yet had it."""
    with (
        redis_server(tmp_path / "redis") as redis,
        gateway(tmp_path / "one", redis.url, *THREADS, **SMALL) as one,
        gateway(tmp_path / "other", redis.url, *THREADS, **SMALL) as other,
        Client(one) as client,
    ):
        first, last = client.log_in("first"), client.log_in("last")
        client.log_out(first)
        eventually(one, REVOKED, first)
        eventually(other, REVOKED, first)
        client.log_out(last)
        ((place, _),) = redis.ask("XREVRANGE", STREAM, "+", "-", "COUNT", 1)
        redis.ask("XDEL", STREAM, place)
        both_refuse(one, other, last)


def both_refuse(one: Server, other: Server, session: Session) -> None:
    """In a while, in which both are asked: who is never asked has no moment to look at the store."""

    def refused() -> bool | None:
        return everywhere(one, session) | everywhere(other, session) == {REVOKED} or None

    until(refused, lambda: log_of(other))


def test_a_failing_store_and_fail_open_let_those_pass_that_are_not_known_to_be_ended(tmp_path: Path) -> None:
    with (
        redis_server(tmp_path / "redis") as redis,
        gateway(tmp_path, redis.url, *THREADS, **SMALL, GATEWAY_STATE_FAIL_OPEN="true") as server,
        Traffic(server) as traffic,
    ):
        traffic.until_ended(5)
        traffic.last(2 * SYNC_SEC)
        with traffic.outage():
            known = list(traffic.ended)
            traffic.last(2 * SYNC_SEC)
            redis.kill()
            traffic.last(LONG)
            redis.start()
        traffic.until_recovered()
        traffic.until_ended(5)
    traffic.check(timeout=TIMEOUT, stale=float("inf"))
    assert {seen.refusal for seen in traffic.lively} == {PASSES}
    sids = {ended.session for ended in known}
    met = {
        seen.refusal
        for ended, seen in traffic.asked
        if ended.session in sids and seen.began > ended.at + SYNC_SEC
    }
    assert met == {REVOKED}


@pytest.mark.parametrize(
    ("settings", "meets"),
    [
        pytest.param({}, UNAVAILABLE, id="closed"),
        pytest.param({"GATEWAY_STATE_FAIL_OPEN": "true"}, PASSES, id="open"),
    ],
)
def test_a_gateway_that_starts_without_its_store_serves_once_that_is_there(
    tmp_path: Path, settings: dict[str, str], meets: tuple[int, str | None]
) -> None:
    session = Session("12", TokenCreator(token_key=KEY).create(uid=12))
    with redis_server(tmp_path / "redis") as redis:
        redis.kill()
        with gateway(tmp_path, redis.url, **SMALL, **settings) as server, Client(server) as client:
            assert everywhere(server, session) == {meets}
            assert "the store cannot be asked" in log_of(server)
            redis.start()
            until(lambda: client.revoke(session).status == 204 or None, lambda: log_of(server))
            eventually(server, REVOKED, session)
            until(lambda: client.try_login(13).status == 200 or None, lambda: log_of(server))


def test_ready_names_the_state_store_that_is_down_and_health_does_not_hang_on_it(standing: Standing) -> None:
    with Client(standing.server) as client:
        assert ready(client) == (200, None)
        with killed(standing):
            until(lambda: ready(client) == (503, ["state store"]) or None, lambda: str(ready(client)))
            assert client.send("GET", "/auth/health", {}).status == 200
        until(lambda: {ready(client)[0] for _ in range(10)} == {200} or None, lambda: str(ready(client)))


def ready(client: Client) -> tuple[int, object]:
    """The status, and what is down."""
    seen = client.send("GET", "/auth/ready", {})
    assert seen.took < TIMEOUT + FAIR
    return seen.status, seen.json.get("down")


@dataclass(frozen=True)
class Failing:
    """A master that fails, and what waits until another has taken its place."""

    master: RedisServer
    url: str
    replaced: Callable[[], None]


@contextmanager
def of_sentinels(folder: Path) -> Iterator[Failing]:
    with watched_by_sentinels(folder) as whole:
        master = whole.master()
        yield Failing(
            master, whole.url, lambda: whole.sentinels[0].wait(lambda: whole.master() is not master)
        )


@contextmanager
def of_cluster(folder: Path) -> Iterator[Failing]:
    with cluster(folder, replicas=1) as whole:
        number = whole.masters[0].ask("CLUSTER KEYSLOT", STREAM) * len(whole.masters) // SLOTS
        replica = whole.replicas[number]
        yield Failing(
            whole.masters[number],
            whole.url,
            lambda: replica.wait(lambda: bool(replica.ask("ROLE")[0] == "master")),
        )


@pytest.mark.parametrize(
    ("kind", "end"),
    [
        pytest.param(of_sentinels, "freeze", id="sentinels"),  # and the master of before comes back
        pytest.param(of_cluster, "kill", id="cluster"),
    ],
)
def test_a_failover_revives_nothing(
    tmp_path: Path, kind: Callable[[Path], AbstractContextManager[Failing]], end: str
) -> None:
    with (
        kind(tmp_path / "redis") as failing,
        gateway(tmp_path, failing.url, *THREADS, **SMALL) as server,
        Traffic(server) as traffic,
    ):
        traffic.until_ended(5)
        with traffic.outage():
            getattr(failing.master, end)()
            failing.replaced()
            traffic.until_recovered()
            if end == "freeze":
                failing.master.thaw()
            traffic.until_ended(20)
        kept = list(traffic.ended)
        with gateway(tmp_path / "later", failing.url) as later:
            eventually(later, REVOKED, *(ended.session for ended in kept))
    traffic.check(timeout=TIMEOUT, stale=STALE)


@dataclass(frozen=True)
class OnFile:
    """A gunicorn of two workers, and its state file."""

    server: Server
    file: Path


@pytest.fixture
def on_file(tmp_path: Path) -> Iterator[OnFile]:
    file = tmp_path / "state.db"
    with gateway(tmp_path, f"sqlite:///{file}", *THREADS, **SMALL) as server:
        yield OnFile(server, file)


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Another writes for a long time."""
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


@contextmanager
def garbage(file: Path) -> Iterator[None]:
    """Something else is in its place, which is then gone as well."""
    remove(file)
    write_garbage(file)
    yield
    remove(file)


@contextmanager
def set_aside(file: Path) -> Iterator[None]:
    """Something else is in its place, until it is put back."""
    aside = file.with_name("aside")
    aside.mkdir()
    for each in parts(file):
        each.rename(aside / each.name)
    write_garbage(file)
    yield
    remove(file)
    for each in aside.iterdir():
        each.rename(file.with_name(each.name))


def write_garbage(file: Path) -> None:
    other = file.with_name("garbage")
    other.write_bytes(b"garbage " * 1000)
    other.replace(file)


def parts(file: Path) -> list[Path]:
    """A file of SQLite and those that belong to it."""
    return list(file.parent.glob(f"{file.name}*"))


def remove(file: Path) -> None:
    for each in parts(file):
        each.unlink(missing_ok=True)


def test_a_locked_file_keeps_sessions_from_being_ended_alone(on_file: OnFile) -> None:
    with Traffic(on_file.server) as traffic:
        traffic.until_ended(5)
        with traffic.outage(), locked(on_file.file):
            traffic.last(LONG)
        traffic.until_recovered()
        traffic.until_ended(5)
    traffic.check(timeout=TIMEOUT, stale=SYNC_SEC)
    assert {seen.refusal for seen in traffic.during(0)} == {PASSES}


@pytest.mark.parametrize(
    ("outage", "stale"),
    [
        pytest.param(garbage, LONG + RECOVERY_SEC + TELLING, id="then removed"),  # and what was in the file
        pytest.param(set_aside, STALE, id="then put back"),
    ],
)
def test_garbage_in_place_of_the_file_revives_nothing(
    on_file: OnFile, outage: Callable[[Path], AbstractContextManager[None]], stale: float
) -> None:
    with Traffic(on_file.server) as traffic:
        traffic.until_ended(5)
        with traffic.outage(), outage(on_file.file):
            traffic.last(LONG)
            eventually(on_file.server, UNAVAILABLE, traffic.live)
        traffic.until_recovered()
        traffic.until_ended(5)
    traffic.check(timeout=TIMEOUT, stale=stale)
    assert {seen.refusal for seen in traffic.during(0, after=STALE)} <= {UNAVAILABLE}
    heard_later(on_file, traffic)


def test_a_removed_file_revives_nothing(on_file: OnFile) -> None:
    with Traffic(on_file.server) as traffic:
        traffic.until_ended(10)
        traffic.last(2 * SYNC_SEC)
        with traffic.outage():
            remove(on_file.file)
        traffic.until_recovered()
        traffic.until_ended(10)
    traffic.check(timeout=TIMEOUT, stale=TELLING)
    heard_later(on_file, traffic)


def heard_later(on_file: OnFile, traffic: Traffic) -> None:
    """Workers that are started now hear of all that was ended, in a while."""
    sessions = [ended.session for ended in traffic.ended]
    eventually(on_file.server, REVOKED, *sessions)
    with gateway(on_file.server.folder / "later", f"sqlite:///{on_file.file}") as later:

        def is_heard() -> bool | None:
            everywhere(on_file.server, traffic.live)  # whoever knows tells it, as long as there are requests
            return everywhere(later, *sessions) == {REVOKED} or None

        until(is_heard, lambda: log_of(later))


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_a_worker_that_is_killed_forgets_nothing_that_was_answered(tmp_path: Path, kind: str) -> None:
    """Killed amid many ends of sessions, five times."""
    with storing(tmp_path, kind) as url, gateway(tmp_path, url, *THREADS) as server:
        with Client(server) as client:
            sessions = [client.log_in(f"u{number}") for number in range(TIMES)]
        kept: list[Session] = []

        def end(session: Session) -> None:
            with Client(server) as client, suppress(OSError, HTTPException):
                if client.revoke(session).status == 204:
                    kept.append(session)

        with ThreadPoolExecutor(4) as pool:
            ends = pool.map(end, sessions)
            for number in range(5):
                until(partial(holds, kept, number * TIMES // 10), lambda: log_of(server))
                os.kill(min(workers(server)), signal.SIGKILL)
            list(ends)
        until(lambda: len(workers(server)) == 2 or None, lambda: log_of(server))
        assert len(kept) > TIMES / 2
        eventually(server, REVOKED, *kept)


def holds(kept: list[Session], count: int) -> bool | None:
    return len(kept) >= count or None


@contextmanager
def storing(folder: Path, kind: str) -> Iterator[str]:
    if kind == "sqlite":
        yield f"sqlite:///{folder}/state.db"
    else:
        with redis_server(folder / "redis") as redis:
            yield redis.url


def test_those_who_open_a_new_file_at_once_all_have_it(tmp_path: Path) -> None:
    """As the workers of a first start do."""
    together = threading.Barrier(4)

    def first_read(path: Path) -> None:
        store = SQLiteStore(str(path), 5)
        together.wait()
        store.read(None, 1)
        store.close()

    with ThreadPoolExecutor(4) as pool:
        for number in range(40):
            list(pool.map(first_read, [tmp_path / f"{number}.db"] * 4))


def users_of(folder: Path, url: str) -> dict[str, str]:
    return {
        "TOKEN_KEY": KEY,
        "GATEWAY_STATE_URL": f"sqlite:///{folder}/state.db",
        "GATEWAY_USERS_URL": url,
    }


@pytest.mark.parametrize("end", ["kill", "freeze"])
def test_a_users_database_that_is_down_keeps_logins_from_working_for_as_long(
    tmp_path: Path, end: str
) -> None:
    """And no longer, and nothing else; nobody who may log in is lost by it."""
    with postgres(tmp_path / "postgres") as database:
        settings = users_of(tmp_path, database.url())
        command(tmp_path, "users", "add", "12", stdin=f"{PASSWORD}\n", **settings)
        with gateway(
            tmp_path, settings["GATEWAY_STATE_URL"], *THREADS, GATEWAY_USERS_URL=database.url()
        ) as server:
            with Client(server) as client:
                session = client.log_in(12)
            getattr(database, end)()
            with ThreadPoolExecutor(4) as pool:
                seen = list(pool.map(lambda _: tried(server), range(4)))
            assert {each.refusal for each in seen} == {(503, "login_unavailable")}
            assert all("Retry-After" in each.headers for each in seen)
            assert max(each.took for each in seen) < 10 + 2 * FAIR
            assert everywhere(server, session) == {PASSES}
            (database.thaw if end == "freeze" else database.start)()
            until(lambda: all(tried(server).status == 200 for _ in range(4)) or None, lambda: log_of(server))


def test_ready_names_the_users_database_that_is_down(tmp_path: Path) -> None:
    with postgres(tmp_path / "postgres") as database:
        settings = users_of(tmp_path, database.url())
        url = settings["GATEWAY_STATE_URL"]
        with (
            gateway(tmp_path, url, *THREADS, GATEWAY_USERS_URL=database.url()) as server,
            Client(server) as client,
        ):
            until(lambda: ready(client) == (200, None) or None, lambda: log_of(server))
            database.kill()
            until(lambda: ready(client) == (503, ["users database"]) or None, lambda: log_of(server))
            database.start()
            until(lambda: ready(client) == (200, None) or None, lambda: log_of(server))


def tried(server: Server) -> Seen:
    with Client(server) as client:
        return client.try_login(12)
