"""The shared state while Redis is down, frozen, full, emptied, locked or replaced by another server."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest

from gateway import Settings
from gateway.errors import StateUnavailableError
from gateway.stores import SID, NotKeptError, Revocation, Store
from gateway.stores.bounded import BoundedStore, bounded_store, open_store
from tests.integration.redis_servers import (
    MASTER,
    RedisServer,
    cluster,
    redis_server,
    replicated,
    sentinels,
)
from tests.integration.servers import DEADLINE, free_port, until
from tests.support import KEY

NOW = 1_800_000_000.25
LATER = NOW + 3600
WINDOW = 60.0
TIMEOUT = 0.5
SLACK = 1.0  # seconds; a busy machine is no fault of the code
PAUSE = 0.3
BALLAST = "x" * 2_000_000


def ended(value: str) -> Revocation:
    return Revocation("", SID, value, NOW, LATER)


def append(store: Store, value: str = "s") -> None:
    store.append([ended(value)], NOW)


def whole(store: Store) -> list[str]:
    return [each.value for each in store.read(None, 100_000).revocations]


def admit(store: Store) -> float:
    return store.admit({"a": 1000}, uuid4().hex, WINDOW, NOW)


CALLS = (
    pytest.param(append, id="append"),
    pytest.param(whole, id="read"),
    pytest.param(admit, id="admit"),
    pytest.param(lambda store: store.forgive("hit", ["a"], ["b"]), id="forgive"),
    pytest.param(lambda store: list(store.doubts()), id="doubts"),
)
Call = Callable[[Store], object]


@contextlib.contextmanager
def opened(url: str, timeout: float = TIMEOUT) -> Iterator[Store]:
    store = open_store(url, timeout)
    try:
        yield store
    finally:
        store.close()


@contextlib.contextmanager
def bounded(url: str, pause: float = PAUSE, timeout: float = TIMEOUT) -> Iterator[BoundedStore]:
    store = BoundedStore(open_store(url, timeout), timeout, pause, 60)
    try:
        yield store
    finally:
        store.close()


def settings(url: str) -> Settings:
    return Settings(token_key=KEY, state_url=url, state_timeout_sec=TIMEOUT)


def seconds_of(call: Callable[[], object]) -> float:
    """How long it takes to fail as a store may."""
    began = time.monotonic()
    with pytest.raises(StateUnavailableError):
        call()
    return time.monotonic() - began


def works(call: Callable[[], object]) -> bool | None:
    """True if it does; None if the store cannot be asked yet."""
    try:
        call()
    except StateUnavailableError:
        return None
    return True


def soon(call: Callable[[], object]) -> None:
    """Wait until it works."""
    until(partial(works, call), lambda: "the store never came back")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_server(tmp_path) as running:
        yield running


# Nobody there


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("scheme", ["redis://{}", "redis+sentinel://{}/name", "redis+cluster://{}"])
def test_a_port_at_which_nobody_listens_is_an_error(scheme: str, call: Call) -> None:
    with (
        free_port() as port,
        opened(scheme.format(f"127.0.0.1:{port}")) as store,
        pytest.raises(StateUnavailableError),
    ):
        call(store)


@pytest.mark.parametrize("scheme", ["redis://{}", "redis+sentinel://{}/name", "redis+cluster://{}"])
def test_a_host_of_no_name_is_an_error(scheme: str) -> None:
    with opened(scheme.format("nobody.invalid")) as store, pytest.raises(StateUnavailableError):
        append(store)


@pytest.mark.parametrize("scheme", ["redis://{}", "redis+sentinel://{}/name", "redis+cluster://{}"])
def test_who_says_nothing_is_given_up_in_time(scheme: str) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        bounded(scheme.format(f"127.0.0.1:{silent.getsockname()[1]}")) as store,
    ):
        assert seconds_of(lambda: append(store)) < TIMEOUT + SLACK
        assert seconds_of(lambda: whole(store)) < TIMEOUT + SLACK


@pytest.mark.parametrize("scheme", ["redis://{}", "redis+sentinel://{}/name", "redis+cluster://{}"])
def test_a_store_that_hangs_is_closed_in_time(scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host = f"127.0.0.1:{silent.getsockname()[1]}"
        store = BoundedStore(open_store(scheme.format(host), 3), 0.1, PAUSE, 60)
        assert seconds_of(lambda: append(store)) < 0.1 + SLACK
        began = time.monotonic()
        store.close()
        assert time.monotonic() - began < SLACK


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"HTTP/1.1 400 Bad Request\r\n\r\n", id="HTTP"),
        pytest.param(b"\xff\xfe\x00", id="noise"),
        pytest.param(b"+" + b"\xff\r\n" * 20, id="no UTF-8"),
        pytest.param(b"$5\r\nab", id="half of an answer"),
        pytest.param(b"*-1\r\n:x\r\n", id="no number"),
        pytest.param(b"-ERR \xff\r\n" * 20, id="an error of no UTF-8"),
    ],
)
def test_who_is_no_redis_is_an_error(answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:

        def serve() -> None:
            with listener.accept()[0] as connection:
                connection.recv(65536)
                connection.sendall(answer)

        serving = pool.submit(serve)
        with (
            opened(f"redis://127.0.0.1:{listener.getsockname()[1]}") as store,
            pytest.raises(StateUnavailableError),
        ):
            whole(store)
        serving.result()


# One server


@pytest.mark.parametrize("call", CALLS)
def test_a_killed_server_is_an_error(server: RedisServer, call: Call) -> None:
    with opened(server.url) as store:
        append(store)
        server.kill()
        for _ in range(2):
            with pytest.raises(StateUnavailableError):
                call(store)


def test_a_killed_server_has_kept_what_it_acknowledged(server: RedisServer) -> None:
    with opened(server.url) as store:
        for number in range(20):
            append(store, str(number))
        position = store.read(None, 100).position
        server.kill()
        with pytest.raises(StateUnavailableError):
            append(store)
        server.start()
        append(store, "since")
        batch = store.read(position, 100)
        assert ([each.value for each in batch.revocations], batch.anew) == (["since"], False)
        assert whole(store) == [*map(str, range(20)), "since"]


def test_a_server_killed_in_the_middle_has_kept_what_it_acknowledged(server: RedisServer) -> None:
    kept: list[str] = []

    def go_on() -> None:
        with contextlib.suppress(StateUnavailableError), opened(server.url) as store:
            while True:
                append(store, value := uuid4().hex)
                kept.append(value)

    with ThreadPoolExecutor(4) as pool:
        appending = [pool.submit(go_on) for _ in range(4)]
        until(lambda: len(kept) > 100 or None, lambda: "nothing is appended")
        server.kill()
    assert [each.exception() for each in appending] == [None] * 4
    server.start()
    with opened(server.url) as store:
        assert set(kept) <= set(whole(store))


def test_a_restarted_server_is_asked_again_though_nothing_failed_meanwhile(server: RedisServer) -> None:
    with bounded(server.url) as store:
        append(store, "before")
        server.kill()
        server.start()
        soon(lambda: append(store, "since"))
        assert whole(store)[-1] == "since"


def test_an_emptied_server_is_read_anew(server: RedisServer) -> None:
    with opened(server.url) as store:
        append(store, "lost")
        assert not store.admit({"a": 1}, "hit", WINDOW, NOW)
        position = store.read(None, 10).position
        server.ask("FLUSHALL")
        append(store, "since")
        batch = store.read(position, 10)
        assert ([each.value for each in batch.revocations], batch.anew) == (["since"], True)
        assert not store.admit({"a": 1}, "other", WINDOW, NOW)


def test_a_server_that_forgot_its_scripts_is_told_them_again(server: RedisServer) -> None:
    with opened(server.url) as store:
        append(store, "a")
        server.ask("SCRIPT", "FLUSH")
        append(store, "b")
        assert whole(store) == ["a", "b"]


def test_a_server_that_dropped_every_connection_is_asked_again(server: RedisServer) -> None:
    with opened(server.url) as store:
        append(store, "a")
        server.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        soon(lambda: append(store, "b"))
        assert whole(store) == ["a", "b"]


def fill(server: RedisServer) -> None:
    """Have no room in it any more."""
    server.ask("SET", "ballast", BALLAST)
    server.ask("CONFIG", "SET", "maxmemory", "1mb")
    server.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")


@contextlib.contextmanager
def full(server: RedisServer) -> Iterator[list[str]]:
    """A server that has no room, and what was appended before."""
    with opened(server.url) as store:
        append(store, "first")
        fill(server)
        yield whole(store)


def test_a_full_server_is_read_and_not_written(server: RedisServer) -> None:
    with full(server) as before, opened(server.url) as store:
        for _ in range(2):
            with pytest.raises(StateUnavailableError):
                store.append([ended("a"), ended("b")], NOW)
            assert whole(store) == before


def test_a_full_server_counts_a_hit_or_refuses_it(server: RedisServer) -> None:
    with full(server), opened(server.url) as store:
        counted = [works(lambda: admit(store)) for _ in range(5)]
        server.ask("CONFIG", "SET", "maxmemory", "0")
        room = counted.count(True) + 1
        assert not store.admit({"a": room}, "another", WINDOW, NOW)
        assert store.admit({"a": room}, "one too many", WINDOW, NOW)


def test_a_full_server_that_forgets_what_has_expired_appends_all_or_none(server: RedisServer) -> None:
    with opened(server.url) as store:
        store.append([Revocation("", SID, "short", NOW, NOW + 10), ended("long")], NOW)
        fill(server)
        appended = works(lambda: store.append([ended("a"), ended("b")], NOW + 20))
        assert whole(store) == (["long", "a", "b"] if appended else ["short", "long"])


def test_a_server_with_room_again_is_written(server: RedisServer) -> None:
    with full(server) as before, opened(server.url) as store:
        with pytest.raises(StateUnavailableError):
            append(store)
        server.ask("CONFIG", "SET", "maxmemory", "0")
        append(store, "since")
        assert whole(store) == [*before, "since"]


def test_a_full_server_is_read_by_threads_while_others_cannot_write(server: RedisServer) -> None:
    """A write that is refused takes no connection away from those who read."""
    with full(server) as before, opened(server.url, DEADLINE) as store:

        def write() -> None:
            for _ in range(200):
                with pytest.raises(StateUnavailableError):
                    append(store)

        with ThreadPoolExecutor(6) as pool:
            writing = [pool.submit(write) for _ in range(2)]
            reading = [pool.submit(lambda: [whole(store) for _ in range(200)]) for _ in range(4)]
        assert [each.exception() for each in writing] == [None] * 2
        assert [each.exception() for each in reading] == [None] * 4
        assert all(each.result() == [before] * 200 for each in reading)


def test_threads_see_a_dying_server_as_unavailable_alone(server: RedisServer) -> None:
    with opened(server.url) as store:

        def go_on() -> None:
            for _ in range(300):
                with contextlib.suppress(StateUnavailableError):
                    append(store)
                    store.read(None, 5)

        with ThreadPoolExecutor(8) as pool:
            asking = [pool.submit(go_on) for _ in range(8)]
            while not all(each.done() for each in asking):
                server.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        assert [each.exception() for each in asking] == [None] * 8
        soon(lambda: append(store))


@pytest.mark.parametrize(
    ("userinfo", "right"),
    [
        pytest.param(":s%40cret%2F@", True, id="right"),
        pytest.param("default:s%40cret%2F@", True, id="right, with a user"),
        pytest.param(":wrong@", False, id="wrong"),
        pytest.param("", False, id="none"),
        pytest.param("nobody:s%40cret%2F@", False, id="another user"),
    ],
)
def test_a_password_is_needed(tmp_path: Path, userinfo: str, right: bool) -> None:
    with redis_server(tmp_path, "--requirepass", "s@cret/") as server:
        url = server.url.replace("//", f"//{userinfo}")
        with opened(url) as store:
            if right:
                append(store)
                assert whole(store) == ["s"]
            else:
                with pytest.raises(StateUnavailableError) as caught:
                    append(store)
                assert "cret" not in str(caught.value)


# A server that is frozen


@pytest.mark.parametrize("call", CALLS)
def test_a_frozen_server_is_given_up_in_time(server: RedisServer, call: Call) -> None:
    with bounded(server.url) as store:
        append(store)
        server.freeze()
        assert seconds_of(lambda: call(store)) < TIMEOUT + SLACK


def test_many_give_a_frozen_server_up_in_time(server: RedisServer) -> None:
    with bounded(server.url) as store, ThreadPoolExecutor(30) as pool:
        append(store)
        server.freeze()
        asking = [pool.submit(seconds_of, lambda: append(store)) for _ in range(30)]
        assert max(each.result() for each in asking) < TIMEOUT + SLACK


def test_a_frozen_server_is_left_alone_for_a_moment(server: RedisServer) -> None:
    with bounded(server.url, pause=60) as store:
        append(store)
        server.freeze()
        seconds_of(lambda: append(store))
        assert sum(seconds_of(lambda: append(store)) for _ in range(100)) < TIMEOUT
        assert seconds_of(lambda: admit(store)) < TIMEOUT / 2  # is writing too


def test_a_frozen_server_is_probed_by_one_at_a_time(server: RedisServer) -> None:
    timeout = 1.5
    with bounded(server.url, pause=0.1, timeout=timeout) as store, ThreadPoolExecutor(10) as pool:
        append(store)
        server.freeze()
        seconds_of(lambda: append(store))
        until(lambda: time.monotonic() > store._writing._retry_at or None, lambda: "the pause has no end")
        probing = pool.submit(seconds_of, lambda: append(store))
        until(lambda: store._writing._probing.locked() or None, lambda: "nobody probes")
        others = [pool.submit(seconds_of, lambda: append(store)) for _ in range(8)]
        assert max(each.result() for each in others) < timeout / 2
        assert timeout / 2 < probing.result() < timeout + SLACK


def test_a_server_that_thaws_is_asked_again(server: RedisServer) -> None:
    with bounded(server.url) as store:
        append(store, "before")
        server.freeze()
        seconds_of(lambda: append(store, "frozen"))
        server.thaw()
        soon(lambda: append(store, "since"))
        soon(lambda: whole(store))
        assert (whole(store)[0], whole(store)[-1]) == ("before", "since")


def test_a_store_of_the_settings_is_given_up_in_time(server: RedisServer) -> None:
    store = bounded_store(settings(server.url))
    append(store)
    server.freeze()
    assert seconds_of(lambda: append(store)) < TIMEOUT + SLACK
    server.thaw()
    soon(lambda: append(store))
    store.close()


def test_a_full_server_is_read_though_it_cannot_be_written(server: RedisServer) -> None:
    with full(server) as before, bounded(server.url, pause=60) as store:
        for _ in range(3):
            seconds_of(lambda: append(store))
            assert whole(store) == before


# Replicas


def test_a_replica_cannot_be_written(tmp_path: Path) -> None:
    with replicated(tmp_path) as (master, replica), opened(replica.url) as store:
        with opened(master.url) as original:
            append(original, "copied")
        assert whole(store) == ["copied"]
        with pytest.raises(StateUnavailableError):
            append(store)
        with pytest.raises(StateUnavailableError):
            admit(store)
        assert whole(store) == ["copied"]


def test_a_replica_that_was_made_the_master_can_be_written(tmp_path: Path) -> None:
    with replicated(tmp_path) as (_, replica), opened(replica.url) as store:
        with pytest.raises(StateUnavailableError):
            append(store)
        replica.ask("REPLICAOF", "NO", "ONE")
        append(store, "since")
        assert whole(store) == ["since"]


def test_what_no_replica_has_is_not_kept(tmp_path: Path) -> None:
    with replicated(tmp_path) as (master, replica), opened(master.url) as store:
        append(store, "before")
        replica.freeze()
        began = time.monotonic()
        with pytest.raises(NotKeptError):
            append(store, "frozen")
        assert time.monotonic() - began < TIMEOUT + SLACK
        replica.thaw()
        soon(lambda: append(store, "since"))
        assert (whole(store)[0], whole(store)[-1]) == ("before", "since")


def test_a_store_whose_replica_hangs_is_not_taken_for_down(tmp_path: Path) -> None:
    """Logins are counted, and every append is tried: the master answers."""
    with replicated(tmp_path) as (master, replica), bounded(master.url, pause=60) as store:
        append(store)
        replica.freeze()
        with pytest.raises(NotKeptError):
            append(store)
        assert not admit(store)
        replica.thaw()
        soon(lambda: append(store))


def test_a_store_whose_replica_is_gone_is_written(tmp_path: Path) -> None:
    with replicated(tmp_path) as (master, replica), opened(master.url) as store:
        append(store)
        replica.kill()
        soon(lambda: append(store, "alone"))
        assert whole(store)[-1] == "alone"


# A server that another takes the place of


def test_sentinels_name_a_new_master_who_has_what_was_acknowledged(tmp_path: Path) -> None:
    with sentinels(tmp_path) as watched, bounded(watched.url, pause=0.1) as store:
        kept = []
        for number in range(20):
            append(store, str(number))
            kept.append(str(number))
        master = watched.master()
        master.kill()
        seconds_of(lambda: append(store, "nobody"))
        began = time.monotonic()
        soon(lambda: append(store, "since"))
        assert time.monotonic() - began < 15
        assert watched.master() is not master
        soon(lambda: whole(store))
        found = whole(store)
        assert [value for value in found if value in kept] == kept
        assert found[-1] == "since"


def test_sentinels_of_whom_some_are_down_are_asked(tmp_path: Path) -> None:
    with sentinels(tmp_path) as watched:
        watched.sentinels[0].kill()
        watched.sentinels[1].freeze()
        with bounded(watched.url) as store:
            append(store)
            assert whole(store) == ["s"]


def test_sentinels_that_are_all_gone_are_an_error(tmp_path: Path) -> None:
    with sentinels(tmp_path) as watched:
        for each in watched.sentinels:
            each.kill()
        with opened(watched.url) as store, pytest.raises(StateUnavailableError):
            append(store)


def test_a_master_of_another_name_is_an_error(tmp_path: Path) -> None:
    with (
        sentinels(tmp_path) as watched,
        opened(watched.url.replace(MASTER, "another")) as store,
        pytest.raises(StateUnavailableError),
    ):
        append(store)


def test_a_master_that_was_made_a_replica_is_left(tmp_path: Path) -> None:
    """It still answers; who wrote to it goes to the new one."""
    with sentinels(tmp_path) as watched, bounded(watched.url, pause=0.1) as store:
        append(store, "before")
        old = watched.master()
        watched.sentinels[0].ask("SENTINEL FAILOVER", MASTER)
        watched.sentinels[0].wait(lambda: watched.master() is not old)
        old.ask("REPLICAOF", "127.0.0.1", watched.master().port)  # as the sentinels do, after ten seconds
        soon(lambda: append(store, "since"))
        assert whole(store) == ["before", "since"]


def test_a_cluster_names_a_new_master_who_has_what_was_acknowledged(tmp_path: Path) -> None:
    with cluster(tmp_path, replicas=1) as whole_cluster:
        url = f"{whole_cluster.url}?prefix=a"
        with bounded(url, pause=0.1) as store:
            kept = []
            for number in range(20):
                append(store, str(number))
                kept.append(str(number))
            (serving,) = (each for each in whole_cluster.masters if each.ask("DBSIZE"))
            serving.kill()
            seconds_of(lambda: append(store, "nobody"))
            began = time.monotonic()
            soon(lambda: append(store, "since"))
            assert time.monotonic() - began < 15
            soon(lambda: whole(store))
            found = whole(store)
            assert [value for value in found if value in kept] == kept
            assert found[-1] == "since"
            serving.start()
            append(store, "both")
            assert whole(store)[-1] == "both"


def test_a_cluster_without_the_node_is_an_error(tmp_path: Path) -> None:
    with cluster(tmp_path) as nodes, opened(nodes.url) as store:
        append(store)
        (serving,) = (each for each in nodes.masters if each.ask("DBSIZE"))
        serving.kill()
        for _ in range(5):
            with pytest.raises(StateUnavailableError):
                append(store)
        (other, *_) = (each for each in nodes.masters if each is not serving)
        other.wait(lambda: other.ask("CLUSTER INFO")["cluster_state"] == "fail")
        with pytest.raises(StateUnavailableError):
            append(store)
        serving.start()
        soon(lambda: append(store, "since"))
        assert whole(store) == ["s", "since"]


def test_a_cluster_that_hangs_is_given_up_in_time(tmp_path: Path) -> None:
    with cluster(tmp_path) as nodes, bounded(nodes.url) as store:
        append(store)
        for node in nodes.nodes:
            node.freeze()
        assert seconds_of(lambda: append(store)) < TIMEOUT + SLACK
        assert seconds_of(lambda: whole(store)) < TIMEOUT + SLACK
        began = time.monotonic()
        store.close()
        assert time.monotonic() - began < TIMEOUT + SLACK
        for node in nodes.nodes:
            node.thaw()
        soon(lambda: append(store, "since"))


def test_a_slot_that_nobody_serves_is_an_error(tmp_path: Path) -> None:
    with cluster(tmp_path) as nodes, opened(nodes.url) as store:
        append(store)
        (serving,) = (each for each in nodes.masters if each.ask("DBSIZE"))
        (slot,) = (serving.ask("CLUSTER KEYSLOT", "{gateway}:revocations"),)
        for node in nodes.masters:
            node.ask("CLUSTER DELSLOTS", slot)
        for _ in range(3):
            with pytest.raises(StateUnavailableError):
                append(store)


# What the operator is told


def doubts_of(server: RedisServer) -> list[str]:
    with opened(server.url) as store:
        return list(store.doubts())


def test_a_durable_server_raises_no_doubts(server: RedisServer) -> None:
    assert doubts_of(server) == []


@pytest.mark.parametrize(
    ("maxmemory", "policy", "count"),
    [
        pytest.param("0", "allkeys-lru", 1, id="no bound yet"),
        pytest.param("100mb", "noeviction", 0, id="no eviction"),
        pytest.param("100mb", "allkeys-lru", 1, id="any key"),
        pytest.param("100mb", "volatile-ttl", 1, id="keys that expire"),
    ],
)
def test_a_server_that_may_evict_raises_a_doubt(
    server: RedisServer, maxmemory: str, policy: str, count: int
) -> None:
    server.ask("CONFIG", "SET", "maxmemory", maxmemory)
    server.ask("CONFIG", "SET", "maxmemory-policy", policy)
    found = doubts_of(server)
    assert [policy in doubt for doubt in found] == [True] * count


def test_a_server_that_writes_nothing_down_raises_a_doubt(tmp_path: Path) -> None:
    with redis_server(tmp_path, "--appendonly", "no") as server:
        (doubt,) = doubts_of(server)
        assert "appendonly yes" in doubt
