"""Every place where the shared state can be, asked the same: real files, real servers."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import pytest

from gateway.errors import StateUnavailableError
from gateway.stores import JTI, SID, UID, Batch, Revocation, Store
from gateway.stores.bounded import open_store
from gateway.stores.redis import RedisStore
from gateway.stores.sqlite import SQLiteStore
from gateway.stores.urls import sqlite_path
from tests.integration.redis_servers import cluster, redis_server, replicated, sentinels
from tests.integration.servers import DEADLINE, ROOT, environment, run, until

NOW = 1_800_000_000.25
LATER = NOW + 3600
WINDOW = 60.0
TIMEOUT = 20.0  # seconds; what is slow here is the machine
THREADS = 40
PROCESSES = 3

KINDS = ("memory", "sqlite", "redis", "replicated", "sentinels", "cluster")
EACH = {
    "shared": ("sqlite", "redis", "replicated", "sentinels", "cluster"),
    "by now": ("memory", "sqlite"),  # those without a clock of their own
    "by its clock": ("redis", "replicated", "sentinels", "cluster"),
}

# Prints a line when it is ready, begins with the next line of its input, and prints one for each thing done.
CHILD = """\
import sys
import time

from gateway.stores import SID, Revocation
from gateway.stores.bounded import open_store

url, name, what, count = sys.argv[1:]
store = open_store(url, 20)
store.read(None, 1)
print("ready", flush=True)
sys.stdin.readline()
for number in range(int(count)):
    if what == "append":
        store.append([Revocation("", SID, f"{name} {number}", 0, time.time() + 3600)], time.time())
        print("done", flush=True)
    else:
        wait = store.admit({"one": 10, "other": 1000}, f"{name} {number}", 60, time.time())
        print("refused" if wait else "admitted", flush=True)
"""


def each(of: str) -> pytest.MarkDecorator:
    """Have a test ask some of the stores alone."""
    return pytest.mark.parametrize("base", EACH[of], indirect=True, scope="module")


def only(*kinds: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("base", kinds, indirect=True, scope="module")


@contextlib.contextmanager
def served(kind: str, folder: Path) -> Iterator[str]:
    """The address of such a store, with a server that runs if it needs one; "" for a file."""
    if kind == "memory":
        yield "memory://"
    elif kind == "sqlite":
        yield ""
    elif kind == "redis":
        with redis_server(folder) as server:
            yield server.url
    elif kind == "replicated":
        with replicated(folder) as (master, _):
            yield master.url
    elif kind == "sentinels":
        with sentinels(folder) as watched:
            yield watched.url
    else:
        with cluster(folder) as whole:
            yield whole.url


@pytest.fixture(scope="module", params=KINDS)
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served(request.param, tmp_path_factory.mktemp(request.param)) as address:
        yield address


@pytest.fixture
def url(base: str, tmp_path: Path) -> str:
    """The address of a store that nobody else uses."""
    if base.startswith("redis"):
        return f"{base}?prefix={uuid4().hex}"
    return base or f"sqlite:///{tmp_path / 'state.db'}"


@contextlib.contextmanager
def opened(url: str) -> Iterator[Store]:
    store = open_store(url, TIMEOUT)
    try:
        yield store
    finally:
        store.close()


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    with opened(url) as asked:
        yield asked


def ended(value: str = "s", *, expires: float = LATER) -> Revocation:
    return Revocation("", SID, value, NOW, expires)


def several(*values: str) -> list[Revocation]:
    return [ended(value) for value in values]


def numbered(count: int) -> list[str]:
    return [str(number) for number in range(count)]


def values(found: Batch | Sequence[Revocation]) -> list[str]:
    revocations = found.revocations if isinstance(found, Batch) else found
    return [revocation.value for revocation in revocations]


def whole(store: Store) -> list[str]:
    """The values of all that is there."""
    return values(store.read(None, 10_000))


def end_of(store: Store) -> Hashable:
    """The position after all that is there."""
    return store.read(None, 10_000).position


@contextlib.contextmanager
def data_of(url: str) -> Iterator[sqlite3.Connection]:
    """A connection of the test's own to a file."""
    path = sqlite_path(url)
    assert path is not None
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


def empty(store: Store, url: str) -> None:
    """Take everything away, and all memory of where it was."""
    if isinstance(store, RedisStore):
        with store._master() as master:
            master.delete(store._stream)
    else:
        with data_of(url) as data:
            data.executescript("DELETE FROM revocations; DELETE FROM sqlite_sequence")


def roll_back(store: Store, url: str, count: int) -> list[Any]:
    """Take the last entries away, and return their places."""
    if isinstance(store, RedisStore):
        with store._master() as master:
            places = [place for place, _ in master.xrevrange(store._stream, count=count)]
            master.xdel(store._stream, *places)
            ((last, _),) = master.xrevrange(store._stream, count=1) or (("0-1", {}),)
            master.execute_command("XSETID", store._stream, last)
        return places[::-1]
    with data_of(url) as data:
        rows = data.execute("SELECT position FROM revocations ORDER BY position DESC LIMIT ?", (count,))
        found = [place for (place,) in rows]
        data.execute("DELETE FROM revocations WHERE position >= ?", (found[-1],))
        data.execute("UPDATE sqlite_sequence SET seq = ?", (found[-1] - 1,))
    return found[::-1]


def append_at(store: Store, places: list[Any], revocations: Sequence[Revocation]) -> None:
    """Give places to others; in a file the next are given anyway."""
    if not isinstance(store, RedisStore):
        store.append(revocations, NOW)
        return
    with store._master() as master:
        for place, each in zip(places, revocations, strict=True):
            fields = {"expires": each.expires, "revocation": json.dumps([uuid4().hex, *each])}
            master.xadd(store._stream, fields, id=place)


# Append and read


def test_an_empty_store_has_nothing(store: Store) -> None:
    batch = store.read(None, 10)
    assert (list(batch.revocations), batch.more, batch.anew) == ([], False, False)


def test_all_is_read_in_the_order_in_which_it_was_appended(store: Store) -> None:
    store.append(several("c", "a"), NOW)
    store.append(several("b"), NOW)
    assert whole(store) == ["c", "a", "b"]


def test_another_store_at_the_same_place_reads_it(base: str, url: str, store: Store) -> None:
    if base == "memory://":
        return  # which is one object's
    store.append(several("a"), NOW)
    with opened(url) as other:
        assert whole(other) == ["a"]


def test_reading_goes_on_from_a_position(store: Store) -> None:
    store.append(several("a", "b"), NOW)
    position = end_of(store)
    store.append(several("c"), NOW)
    batch = store.read(position, 10)
    assert (values(batch), batch.more, batch.anew) == (["c"], False, False)


def test_a_position_stays_while_there_is_nothing_new(store: Store) -> None:
    store.append(several("a", "b"), NOW)
    position = end_of(store)
    batch = store.read(position, 10)
    assert (list(batch.revocations), batch.position, batch.more, batch.anew) == ([], position, False, False)


def test_the_position_of_an_empty_store_is_before_all(store: Store) -> None:
    position = store.read(None, 10).position
    assert store.read(position, 10).position == position
    store.append(several("a"), NOW)
    batch = store.read(position, 10)
    assert (values(batch), batch.anew) == (["a"], False)


def test_a_position_can_be_read_from_more_than_once(store: Store) -> None:
    store.append(several("a"), NOW)
    position = end_of(store)
    store.append(several("b"), NOW)
    assert values(store.read(position, 10)) == values(store.read(position, 10)) == ["b"]


def test_a_position_is_hashable(store: Store) -> None:
    store.append(several("a"), NOW)
    assert {end_of(store): 1}


@pytest.mark.parametrize(
    ("limit", "count", "more"),
    [
        pytest.param(1, 1, True, id="one"),
        pytest.param(4, 4, True, id="all but one"),
        pytest.param(5, 5, False, id="as many as there are"),
        pytest.param(6, 5, False, id="more than there are"),
    ],
)
@pytest.mark.parametrize("first", [pytest.param(True, id="first"), pytest.param(False, id="on")])
def test_no_more_is_read_than_was_asked_for(
    store: Store, limit: int, count: int, more: bool, first: bool
) -> None:
    if not first:
        store.append(several("before"), NOW)
    position = None if first else end_of(store)
    store.append(several(*numbered(5)), NOW)
    batch = store.read(position, limit)
    assert (values(batch), batch.more) == (numbered(count), more)


@pytest.mark.parametrize("limit", [1, 2, 7])
def test_reading_in_parts_gives_each_once(store: Store, limit: int) -> None:
    store.append(several(*numbered(7)), NOW)
    found, batch = [], store.read(None, limit)
    found += values(batch)
    while batch.more:
        batch = store.read(batch.position, limit)
        found += values(batch)
    assert found == numbered(7)


def test_each_reader_has_a_place_of_its_own(store: Store) -> None:
    store.append(several("a", "b", "c"), NOW)
    slow, fast = store.read(None, 1).position, store.read(None, 2).position
    store.append(several("d"), NOW)
    assert values(store.read(slow, 10)) == ["b", "c", "d"]
    assert values(store.read(fast, 10)) == ["c", "d"]


def test_none_can_be_appended(store: Store) -> None:
    store.append(several("a"), NOW)
    position = end_of(store)
    store.append([], NOW)
    assert store.read(position, 10).position == position


def test_many_are_appended_at_once_in_their_order(store: Store) -> None:
    store.append(several(*numbered(600)), NOW)
    assert whole(store) == numbered(600)


@pytest.mark.parametrize(
    "revocation",
    [
        pytest.param(Revocation("", JTI, "x", 0.0, LATER), id="jti"),
        pytest.param(Revocation("https://op.example/a?b#c", UID, "op:12", 0.1 + 0.2, LATER + 0.1), id="all"),
        pytest.param(Revocation("", SID, "", 0.0, LATER), id="empty value"),
        pytest.param(ended("two\nlines\r\n"), id="newlines"),
        pytest.param(ended("nul\0inside"), id="nul"),
        pytest.param(ended("schön \u2028 \U0001f511 e\u0301"), id="unicode"),
        pytest.param(ended("quotes ' \" \\ %s ? :x {}"), id="quotes"),
        pytest.param(ended("x" * 300), id="300 characters"),
        pytest.param(ended("\U0001f511" * 300), id="300 wide characters"),
        pytest.param(ended("123"), id="a number as text"),
        pytest.param(ended("1e3"), id="a float as text"),
        pytest.param(ended(expires=1e300), id="expires never"),
    ],
)
def test_a_revocation_is_read_as_it_was_appended(store: Store, revocation: Revocation) -> None:
    store.append([revocation], NOW)
    assert list(store.read(None, 10).revocations) == [revocation]


def test_a_lone_surrogate_is_kept_or_refused(store: Store) -> None:
    kept = []
    with contextlib.suppress(StateUnavailableError):
        store.append(several("a\ud800"), NOW)
        kept = ["a\ud800"]
    store.append(several("after"), NOW)
    assert whole(store) == [*kept, "after"]


def test_what_is_refused_in_part_is_refused_as_a_whole(store: Store) -> None:
    kept: list[str] = []
    with contextlib.suppress(StateUnavailableError, ValueError):
        store.append(several("sound", "a\ud800"), NOW)
        kept = ["sound", "a\ud800"]
    assert whole(store) == kept


def test_what_is_appended_at_once_is_read_all_or_none(store: Store) -> None:
    done = threading.Event()

    def read() -> set[int]:
        counts = set()
        while not done.is_set():
            counts.add(len(whole(store)) % 3)
        return counts

    with ThreadPoolExecutor(2) as pool:
        reading = [pool.submit(read) for _ in range(2)]
        for _ in range(30):
            store.append(several("a", "b", "c"), NOW)
        done.set()
    assert [counts.result() for counts in reading] == [{0}, {0}]


def test_threads_that_append_at_once_lose_nothing(store: Store) -> None:
    with ThreadPoolExecutor(THREADS) as pool:
        for _ in pool.map(lambda number: store.append(several(str(number)), NOW), range(THREADS)):
            pass
    assert sorted(whole(store), key=int) == numbered(THREADS)


def test_a_reader_misses_nothing_while_threads_append(store: Store) -> None:
    found: list[str] = []

    def read(position: Hashable) -> Hashable:
        batch = store.read(position, 5)
        assert not batch.anew
        found.extend(values(batch))
        return batch.position

    position = None
    with ThreadPoolExecutor(4) as pool:
        appending = [pool.submit(store.append, several(str(number)), NOW) for number in range(60)]
        while len(found) < 60 and not any(done.done() and done.exception() for done in appending):
            position = read(position)
    assert sorted(found, key=int) == numbered(60)


# Expired ones


def test_what_has_expired_is_forgotten_at_the_next_append(store: Store) -> None:
    store.append([ended("short", expires=NOW + 10), ended("long")], NOW)
    store.append(several("next"), NOW + 10)
    assert whole(store) == ["long", "next"]


def test_what_has_not_expired_stays(store: Store) -> None:
    store.append([ended("short", expires=NOW + 10), ended("long")], NOW)
    store.append(several("next"), NOW + 9)
    assert whole(store) == ["short", "long", "next"]


def test_a_reader_of_the_last_goes_on_though_it_expired(store: Store) -> None:
    store.append([ended("short", expires=NOW + 10)], NOW)
    position = end_of(store)
    store.append(several("next"), NOW + 20)
    batch = store.read(position, 10)
    assert (values(batch), batch.anew) == (["next"], False)


def test_a_reader_of_the_last_goes_on_though_nothing_was_appended_since(store: Store) -> None:
    store.append([ended("a", expires=NOW + 10), ended("b", expires=NOW + 10)], NOW)
    position = end_of(store)
    store.append([], NOW + 20)
    batch = store.read(position, 10)
    assert (values(batch), batch.position, batch.anew) == ([], position, False)


def test_a_reader_whose_place_was_forgotten_misses_nothing(store: Store) -> None:
    store.append([ended("short", expires=NOW + 10)], NOW)
    position = end_of(store)
    store.append(several("a"), NOW + 20)
    store.append(several("b"), NOW + 20)
    assert values(store.read(position, 10)) == ["a", "b"]


def test_many_that_have_expired_are_forgotten_by_and_by(store: Store) -> None:
    store.append([ended(str(number), expires=NOW + 10) for number in range(250)], NOW)
    for _ in range(4):
        store.append(several("live"), NOW + 20)
    assert set(whole(store)) == {"live"}


# A store that was emptied or rolled back


@each("shared")
def test_an_emptied_store_is_read_anew(url: str, store: Store) -> None:
    store.append(several("a", "b"), NOW)
    position = end_of(store)
    empty(store, url)
    store.append(several("c"), NOW)
    batch = store.read(position, 10)
    assert (values(batch), batch.more, batch.anew) == (["c"], False, True)


@each("shared")
def test_an_emptied_store_is_anew_once(url: str, store: Store) -> None:
    store.append(several("a", "b"), NOW)
    position = end_of(store)
    empty(store, url)
    first = store.read(position, 10)
    assert (list(first.revocations), first.more, first.anew) == ([], False, True)
    store.append(several("c"), NOW)
    second = store.read(first.position, 10)
    assert (values(second), second.anew) == (["c"], False)


@each("shared")
def test_an_emptied_store_is_read_anew_in_parts(url: str, store: Store) -> None:
    store.append(several("a"), NOW)
    position = end_of(store)
    empty(store, url)
    store.append(several("b", "c", "d"), NOW)
    first = store.read(position, 2)
    assert (values(first), first.more, first.anew) == (["b", "c"], True, True)
    second = store.read(first.position, 2)
    assert (values(second), second.more, second.anew) == (["d"], False, False)


@each("shared")
def test_a_store_that_lost_its_last_is_read_anew(url: str, store: Store) -> None:
    store.append(several("a", "b", "c"), NOW)
    position = end_of(store)
    roll_back(store, url, 1)
    batch = store.read(position, 10)
    assert (values(batch), batch.anew) == (["a", "b"], True)


@each("shared")
@pytest.mark.parametrize("since", [2, 3], ids=["as many as were lost", "one more"])
def test_a_store_that_gave_their_places_to_others_is_read_anew(url: str, store: Store, since: int) -> None:
    store.append(several("a", "b", "c"), NOW)
    position = end_of(store)
    places = roll_back(store, url, 2)
    others = several(*numbered(2))
    append_at(store, places, others)
    store.append(several("last")[: since - 2], NOW)
    batch = store.read(position, 10)
    assert (values(batch), batch.anew) == (["a", "0", "1", "last"][: since + 1], True)


@each("shared")
def test_a_reader_of_what_was_not_lost_goes_on(url: str, store: Store) -> None:
    store.append(several("a", "b", "c"), NOW)
    position = store.read(None, 1).position
    append_at(store, roll_back(store, url, 2), several("d", "e"))
    batch = store.read(position, 10)
    assert (values(batch), batch.anew) == (["d", "e"], False)


# Counting hits


def admitted(store: Store, limits: dict[str, int], *, window: float = WINDOW, now: float = NOW) -> float:
    return store.admit(limits, uuid4().hex, window, now)


def room(store: Store, key: str, limit: int) -> int:
    """How many more hits are admitted under a key, by admitting them."""
    return next(count for count in range(limit + 1) if admitted(store, {key: limit}))


def test_as_many_are_admitted_as_there_is_room_for(store: Store) -> None:
    assert [admitted(store, {"a": 3}) for _ in range(3)] == [0, 0, 0]
    assert 0 < admitted(store, {"a": 3}) <= WINDOW


def test_a_key_does_not_count_for_another(store: Store) -> None:
    assert not admitted(store, {"a": 1})
    assert not admitted(store, {"b": 1})


def test_a_hit_counts_under_every_key(store: Store) -> None:
    assert not admitted(store, {"a": 2, "b": 3})
    assert (room(store, "a", 2), room(store, "b", 3)) == (1, 2)


@pytest.mark.parametrize("limits", [{"full": 1, "a": 3}, {"a": 3, "full": 1}], ids=["first", "last"])
def test_a_hit_counts_under_no_key_if_one_is_full(store: Store, limits: dict[str, int]) -> None:
    assert not admitted(store, {"full": 1})
    assert admitted(store, limits)
    assert room(store, "a", 3) == 3


def test_a_refused_hit_does_not_make_the_wait_longer(store: Store) -> None:
    assert not admitted(store, {"a": 1})
    first = admitted(store, {"a": 1})
    assert 0 < admitted(store, {"a": 1}) <= first


def test_a_lower_limit_refuses_as_well(store: Store) -> None:
    assert not any(admitted(store, {"a": 5}) for _ in range(3))
    assert 0 < admitted(store, {"a": 2}) <= WINDOW


@each("by now")
def test_the_wait_is_until_the_oldest_has_ended(store: Store) -> None:
    assert not admitted(store, {"a": 2}, now=NOW)
    assert not admitted(store, {"a": 2}, now=NOW + 10)
    assert admitted(store, {"a": 2}, now=NOW + 20) == WINDOW - 20


@each("by now")
def test_the_wait_is_that_of_the_key_that_takes_longest(store: Store) -> None:
    assert not admitted(store, {"a": 1}, now=NOW)
    assert not admitted(store, {"b": 1}, now=NOW + 10)
    assert admitted(store, {"a": 1, "b": 1, "c": 1}, now=NOW + 20) == WINDOW - 10


@each("by now")
def test_there_is_room_again_once_the_oldest_has_ended(store: Store) -> None:
    assert not admitted(store, {"a": 2}, now=NOW)
    assert not admitted(store, {"a": 2}, now=NOW + 10)
    assert not admitted(store, {"a": 2}, now=NOW + WINDOW)
    assert admitted(store, {"a": 2}, now=NOW + WINDOW) == 10


@each("by now")
def test_a_hit_counts_for_its_own_window(store: Store) -> None:
    assert not admitted(store, {"long": 1}, window=3600, now=NOW)
    assert not admitted(store, {"short": 1}, window=10, now=NOW + 100)
    assert admitted(store, {"long": 1}, window=3600, now=NOW + 200) == 3400


@each("by now")
def test_the_wait_is_long_enough(store: Store) -> None:
    for number in range(200):
        key, window, now = str(number), 0.1 + number / 7, NOW + number / 3
        assert not admitted(store, {key: 1}, window=window, now=now)
        wait = admitted(store, {key: 1}, window=window, now=now)
        assert not admitted(store, {key: 1}, window=window, now=now + wait + 1e-6)


@each("by now")
def test_whoever_is_not_counted_has_to_wait(store: Store) -> None:
    """Whatever is rounded: just where the window ends, a hit is either counted or told to wait."""
    for number in range(200):
        key, window, now = str(number), 0.1 + number / 7, NOW + number / 3
        admitted(store, {key: 1}, window=window, now=now)
        last = now + window
        for later in (last, last - 2**-22, last + 2**-22):
            if not admitted(store, {key: 1}, window=window, now=later):
                assert admitted(store, {key: 1}, window=window, now=later)
                break


@each("by its clock")
def test_there_is_room_again_by_the_clock_of_the_server(store: Store) -> None:
    assert not admitted(store, {"a": 1}, window=0.05, now=0)
    began = time.monotonic()
    until(lambda: not admitted(store, {"a": 1}, window=0.05, now=0) or None, lambda: "there is no room")
    assert time.monotonic() - began < 10


@each("by its clock")
def test_the_wait_is_by_the_clock_of_the_server(store: Store) -> None:
    assert not admitted(store, {"a": 1}, now=0)
    assert WINDOW - 10 < admitted(store, {"a": 1}, now=NOW + 10 * WINDOW) <= WINDOW


def test_a_hit_is_taken_back_under_some_keys(store: Store) -> None:
    assert not store.admit({"a": 2, "b": 2}, "hit", WINDOW, NOW)
    store.forgive("hit", ["a"], [])
    assert (room(store, "a", 2), room(store, "b", 2)) == (2, 1)


def test_other_hits_are_not_taken_back(store: Store) -> None:
    assert not store.admit({"a": 2}, "hit", WINDOW, NOW)
    assert not store.admit({"a": 2}, "other", WINDOW, NOW)
    store.forgive("hit", ["a"], [])
    assert room(store, "a", 2) == 1


def test_all_hits_are_taken_back_under_a_cleared_key(store: Store) -> None:
    for hit in ("one", "two"):
        assert not store.admit({"a": 2, "b": 2}, hit, WINDOW, NOW)
    store.forgive("one", ["b"], ["a"])
    assert (room(store, "a", 2), room(store, "b", 2)) == (2, 1)


def test_what_is_not_there_can_be_forgiven(store: Store) -> None:
    store.forgive("hit", ["a"], ["b"])
    assert (room(store, "a", 2), room(store, "b", 2)) == (2, 2)


def test_nothing_can_be_forgiven(store: Store) -> None:
    assert not admitted(store, {"a": 1})
    store.forgive("hit", [], [])
    assert admitted(store, {"a": 1})


def test_hits_and_revocations_do_not_touch(store: Store) -> None:
    store.append(several("revocations"), NOW)
    assert not admitted(store, {"revocations": 1})
    store.forgive("x", [], ["revocations"])
    assert whole(store) == ["revocations"]


@pytest.mark.parametrize(
    "key",
    [
        pytest.param("", id="empty"),
        pytest.param("a b\nc", id="newline"),
        pytest.param("nul\0", id="nul"),
        pytest.param("{other}", id="braces"),
        pytest.param("schön\U0001f511", id="unicode"),
        pytest.param("x" * 1000, id="long"),
    ],
)
def test_a_key_can_be_any_text(store: Store, key: str) -> None:
    assert not store.admit({key: 2, "other": 2}, "hit", WINDOW, NOW)
    store.forgive("hit", [key], [])
    assert (room(store, key, 2), room(store, "other", 2)) == (2, 1)


def test_threads_at_once_are_admitted_up_to_the_limit(store: Store) -> None:
    start = threading.Barrier(THREADS)

    def ask(_: int) -> bool:
        start.wait(DEADLINE)
        return not admitted(store, {"a": 10, "b": 1000})

    with ThreadPoolExecutor(THREADS) as pool:
        assert sum(pool.map(ask, range(THREADS))) == 10
    assert room(store, "b", 20) == 10


# Several processes


@contextlib.contextmanager
def child(url: str, name: str, what: str, count: int) -> Iterator[subprocess.Popen[str]]:
    """A process that is ready to ask the store so often."""
    with subprocess.Popen(
        (sys.executable, "-c", CHILD, url, name, what, str(count)),
        cwd=ROOT,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


def from_processes(url: str, what: str, count: int, meanwhile: Callable[[], object] = int) -> list[str]:
    """What several processes print that ask at once."""
    with contextlib.ExitStack() as stack:
        children = [stack.enter_context(child(url, f"p{n}", what, count)) for n in range(PROCESSES)]
        for process in children:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        meanwhile()
        printed = [process.communicate(timeout=DEADLINE)[0] for process in children]
        assert [process.returncode for process in children] == [0] * PROCESSES
    return "".join(printed).splitlines()


@only("sqlite", "redis", "cluster")
def test_processes_at_once_are_admitted_up_to_the_limit(url: str, store: Store) -> None:
    assert from_processes(url, "admit", 8).count("admitted") == 10
    with contextlib.closing(open_store(url, TIMEOUT)) as other:
        assert other.admit({"one": 10}, "another", WINDOW, time.time())
        assert not other.admit({"other": 11}, "another", WINDOW, time.time())


@only("sqlite", "redis", "replicated")
def test_a_reader_misses_nothing_while_processes_append(url: str, store: Store) -> None:
    found: list[str] = []

    def follow() -> None:
        position: Hashable = None
        deadline = time.monotonic() + DEADLINE
        while len(found) < 20 * PROCESSES and time.monotonic() < deadline:
            batch = store.read(position, 5)
            assert not batch.anew
            position = batch.position
            found.extend(values(batch))

    assert from_processes(url, "append", 20, follow) == ["done"] * 20 * PROCESSES
    assert sorted(found) == sorted(f"p{n} {number}" for n in range(PROCESSES) for number in range(20))
    assert found == whole(store)


def in_a_fork(act: Callable[[], object]) -> int:
    """The exit code of a forked process that does this."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            act()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_forked_process_can_ask_while_its_parent_goes_on(base: str, store: Store) -> None:
    store.append(several("parent"), NOW)
    position = end_of(store)
    done = threading.Event()
    failures: list[Exception] = []

    def go_on() -> None:
        while not done.is_set():
            try:
                store.append(several("more"), NOW)
            except Exception as error:  # noqa: BLE001 - told by the test
                failures.append(error)

    def child() -> None:
        for number in range(20):
            store.append(several(f"child {number}"), NOW)
            assert not store.admit({"a": 100}, str(number), WINDOW, NOW)
        assert f"child {19}" in values(store.read(position, 10_000))
        store.close()

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        assert in_a_fork(child) == 0
    finally:
        done.set()
        thread.join()
    assert not failures
    seen = [value for value in values(store.read(position, 100_000)) if value != "more"]
    assert seen == ([] if base == "memory://" else [f"child {number}" for number in range(20)])


FORKING = """\
import os
import sys

from gateway.stores import SID, Revocation
from gateway.stores.bounded import open_store

store = open_store(sys.argv[1], 20)

def append(value):
    store.append([Revocation("", SID, value, 0, 2e9)], 1.8e9)

append("before")
for number in range(3):
    pid = os.fork()
    if pid == 0:
        append(f"child {number}")
        sys.exit()  # in good order: whatever it holds is let go
    assert os.waitpid(pid, 0)[1] == 0
    append(f"parent {number}")
store.close()
"""


@each("shared")
def test_a_forked_process_that_ends_takes_nothing_from_its_parent(url: str, store: Store) -> None:
    done = run(ROOT, sys.executable, "-c", FORKING, url)
    assert (done.returncode, done.stderr) == (0, "")
    rest = [f"{who} {number}" for number in range(3) for who in ("child", "parent")]
    assert whole(store) == ["before", *rest]


OUTLIVING = """\
import os
import sys

from gateway.stores import SID, Revocation
from gateway.stores.bounded import open_store

store = open_store(sys.argv[1], 20)
appended, closed = os.pipe(), os.pipe()

def append(value):
    store.append([Revocation("", SID, value, 0, 2e9)], 1.8e9)

append("parent")
pid = os.fork()
if pid == 0:
    append("child")
    os.write(appended[1], b"x")
    os.read(closed[0], 1)
    append("child, since")
    os._exit(0)
os.read(appended[0], 1)
store.close()
os.write(closed[1], b"x")
assert os.waitpid(pid, 0)[1] == 0
"""


@each("shared")
def test_a_forked_process_loses_nothing_when_its_parent_closes(url: str, store: Store) -> None:
    done = run(ROOT, sys.executable, "-c", OUTLIVING, url)
    assert (done.returncode, done.stderr) == (0, "")
    assert whole(store) == ["parent", "child", "child, since"]


@only("sqlite")
def test_a_process_forked_while_another_thread_writes_can_write(url: str) -> None:
    store = open_store(url, 5)
    assert isinstance(store, SQLiteStore)
    store.append(several("before"), NOW)
    writing, forked = threading.Event(), threading.Event()

    def write() -> None:
        with store._writer.changed():
            writing.set()
            forked.wait(1)  # the fork may wait for this to end

    thread = threading.Thread(target=write)
    thread.start()
    writing.wait(DEADLINE)
    pid = os.fork()
    if pid == 0:
        try:
            store.append(several("child"), NOW)
            os._exit(0)
        finally:
            os._exit(1)
    forked.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert whole(store) == ["before", "child"]
    store.close()


# Closing, and what goes wrong


def test_a_closed_store_goes_on_when_it_is_asked(store: Store) -> None:
    store.append(several("a"), NOW)
    assert not admitted(store, {"a": 1})
    position = end_of(store)
    store.close()
    store.close()
    store.append(several("b"), NOW)
    assert values(store.read(position, 10)) == ["b"]
    assert admitted(store, {"a": 1})


def test_a_store_can_be_closed_before_it_was_asked(store: Store) -> None:
    store.close()
    assert whole(store) == []


def test_a_store_that_is_closed_while_others_ask_fails_in_its_own_way(url: str) -> None:
    """What is under way when it is closed may fail, as unavailable, and nothing else."""
    store = open_store(url, 0.5)

    def ask() -> None:
        for _ in range(50):
            with contextlib.suppress(StateUnavailableError):
                store.append(several("a"), NOW)
                store.read(None, 5)

    with ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(ask) for _ in range(4)]
        while not all(each.done() for each in asking):
            store.close()
    store.close()
    assert [each.exception() for each in asking] == [None] * 4


@only("sqlite")
@pytest.mark.parametrize(
    "row",
    [
        pytest.param({"value": b"\xff"}, id="value of bytes"),
        pytest.param({"issuer": b"\xff"}, id="issuer of bytes"),
        pytest.param({"kind": b"\xff"}, id="kind of bytes"),
        pytest.param({"moment": "soon"}, id="moment of text"),
        pytest.param({"expires": b"\xff"}, id="expiry of bytes"),
    ],
)
def test_a_row_of_wrong_types_is_an_error(url: str, store: Store, row: dict[str, Any]) -> None:
    store.append(several("a"), NOW)
    sound = {"tag": "t", "issuer": "", "kind": SID, "value": "v", "moment": NOW, "expires": LATER}
    columns = {**sound, **row}
    names, marks = ", ".join(columns), ", ".join("?" for _ in columns)
    with data_of(url) as data:
        data.execute(f"INSERT INTO revocations ({names}) VALUES ({marks})", tuple(columns.values()))
    with pytest.raises(StateUnavailableError):
        store.read(None, 10)


@only("sqlite")
def test_a_row_whose_text_is_none_is_an_error(url: str, store: Store) -> None:
    store.append(several("a"), NOW)
    with data_of(url) as data:
        data.execute("UPDATE revocations SET value = CAST(x'ff' AS TEXT)")
    with pytest.raises(StateUnavailableError):
        store.read(None, 10)


def entry(*members: Any) -> dict[str, str]:
    return {"expires": str(LATER), "revocation": json.dumps(members)}


GARBAGE = [
    pytest.param({"other": "x"}, id="other fields"),
    pytest.param({"expires": "x"}, id="no revocation"),
    pytest.param({"expires": "1", "revocation": "{"}, id="no JSON"),
    pytest.param({"expires": "1", "revocation": "5"}, id="a number"),
    pytest.param({"expires": "1", "revocation": "[]"}, id="an empty list"),
    pytest.param({"expires": "1", "revocation": '{"a": 1}'}, id="an object"),
    pytest.param({"expires": "1", "revocation": '{"a":1,"b":1,"c":1,"d":1,"e":1,"f":1}'}, id="six keys"),
    pytest.param(entry("tag", "", SID, "v", NOW), id="one too few"),
    pytest.param(entry("tag", "", SID, "v", NOW, LATER, 1), id="one too many"),
    pytest.param(entry("tag", "", SID, 5, NOW, LATER), id="value of a number"),
    pytest.param(entry("tag", "", SID, "v", "soon", LATER), id="moment of text"),
    pytest.param(entry("tag", "", SID, "v", NOW, None), id="expiry of null"),
    pytest.param({"expires": "1", "revocation": b"\xff\xfe"}, id="no UTF-8"),
    pytest.param({b"\xff": "1"}, id="a field of no UTF-8"),
    pytest.param({"expires": "1", "revocation": "[" * 100_000}, id="nested deeply"),
]


@only("redis")
@pytest.mark.parametrize("fields", GARBAGE)
def test_an_entry_of_another_form_is_an_error(url: str, store: Store, fields: dict[Any, Any]) -> None:
    assert isinstance(store, RedisStore)
    store.append(several("a"), NOW)
    position = end_of(store)
    with store._master() as master:
        master.xadd(store._stream, fields)
    for _ in range(2):
        with pytest.raises(StateUnavailableError):
            store.read(position, 10)
    empty(store, url)
    assert whole(store) == []


@only("redis")
@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda store: store.append(several("a"), NOW), id="append"),
        pytest.param(lambda store: store.read(None, 10), id="read"),
        pytest.param(lambda store: admitted(store, {"a": 1}), id="admit"),
        pytest.param(lambda store: store.forgive("x", ["a"], []), id="forgive"),
    ],
)
def test_a_key_of_another_kind_is_an_error(store: Store, call: Callable[[Store], object]) -> None:
    assert isinstance(store, RedisStore)
    with store._master() as master:
        master.set(store._stream, "text")
        master.set(f"{store._hits}a", "text")
    with pytest.raises(StateUnavailableError):
        call(store)


@only("redis", "cluster")
@pytest.mark.parametrize("prefix", ["a", "shop-2", "a.b_c", "0"])
def test_any_prefix_does(base: str, prefix: str) -> None:
    with opened(f"{base}?prefix={quote(prefix)}") as store:
        store.append(several(prefix), NOW)
        assert prefix in whole(store)
        hit = uuid4().hex
        assert not store.admit({f"a{hit}": 1, f"b{hit}": 1, f"c{hit}": 1}, hit, WINDOW, NOW)
        store.forgive(hit, [f"a{hit}"], [f"b{hit}"])
        assert admitted(store, {f"c{hit}": 1})


@only("redis")
def test_prefixes_keep_stores_apart(url: str, store: Store) -> None:
    store.append(several("a"), NOW)
    assert not admitted(store, {"a": 1})
    with opened(f"{url}2") as other:
        assert whole(other) == []
        assert not admitted(other, {"a": 1})


@only("redis")
def test_databases_keep_stores_apart(url: str, store: Store) -> None:
    store.append(several("a"), NOW)
    with opened(url.replace("/0?", "/1?")) as other:
        assert whole(other) == []


def test_a_sound_store_raises_no_doubts(store: Store) -> None:
    assert list(store.doubts()) == []
