"""A store that is asked in bounded time: which calls reach it, and what one failure means for the others."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import pytest

from gateway import Settings
from gateway.breaker import sharing
from gateway.errors import StateUnavailableError
from gateway.stores import SID, Batch, NotKeptError, Revocation, Store
from gateway.stores.bounded import BoundedStore, bounded_store, open_store
from gateway.stores.memory import MemoryStore
from tests.support import KEY

DEADLINE = 20  # seconds by which a thread must have ended
BRIEF = 0.05  # a timeout that is waited for
PAUSE, PATIENCE = 1.0, 10.0
ENTRY = Revocation("", SID, "s", 0.0, 1000.0)
READING = ("read", "doubts")
WRITING = ("append", "admit", "forgive")
Call = Callable[[Store], Any]
CALLS: Mapping[str, Call] = {
    "read": lambda store: store.read(None, 10),
    "doubts": lambda store: list(store.doubts()),
    "append": lambda store: store.append([ENTRY], 0.0),
    "admit": lambda store: store.admit({"key": 1}, "hit", 60.0, 0.0),
    "forgive": lambda store: store.forgive("hit", ["key"], ["other"]),
}


class Faulty(MemoryStore):
    """A store that fails, or hangs until a gate opens, where a test says so, and records its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, ...]] = []
        self.errors: dict[str, Exception] = {}
        self.hanging: set[str] = set()
        self.gate = threading.Event()
        self.closed = 0

    def read(self, position: Hashable | None, limit: int) -> Batch:
        self._called("read", position, limit)
        return super().read(position, limit)

    def append(self, revocations: Sequence[Revocation], now: float) -> None:
        self._called("append", revocations, now)
        super().append(revocations, now)

    def admit(self, limits: Mapping[str, int], hit: str, window: float, now: float) -> float:
        self._called("admit", limits, hit, window, now)
        return super().admit(limits, hit, window, now)

    def forgive(self, hit: str, keys: Iterable[str], cleared: Iterable[str]) -> None:
        self._called("forgive", hit, keys, cleared)
        super().forgive(hit, keys, cleared)

    def doubts(self) -> Iterator[str]:
        self._called("doubts")
        yield "it forgets"

    def close(self) -> None:
        self.closed += 1

    def fail(self, *names: str) -> None:
        self.errors = dict.fromkeys(names, StateUnavailableError("refused"))

    def _called(self, name: str, *arguments: Any) -> None:
        self.calls.append((name, *arguments))
        if name in self.hanging:
            self.gate.wait(DEADLINE)
        if name in self.errors:
            raise self.errors[name]


class Bounded:
    """A store behind its breakers, whose time a test moves."""

    def __init__(self, timeout: float = DEADLINE) -> None:
        self.now = 1000.0
        self.inner = Faulty()
        self.store = BoundedStore(self.inner, timeout, PAUSE, PATIENCE, monotonic=lambda: self.now)

    def works(self, name: str) -> bool:
        """Make a call; tell whether it worked."""
        try:
            CALLS[name](self.store)
        except StateUnavailableError:
            return False
        return True

    def reaches(self, name: str) -> bool:
        """Make a call; tell whether it reached the store."""
        before = len(self.inner.calls)
        self.works(name)
        return len(self.inner.calls) > before


@pytest.fixture
def hung() -> Iterator[Bounded]:
    """A store that can hang; its calls have ended after the test."""
    made = Bounded(timeout=BRIEF)
    yield made
    made.inner.gate.set()
    for thread in threading.enumerate():
        if thread.name == "store":
            thread.join(DEADLINE)


# While all is well


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("read", (None, 10)),
        ("append", ([ENTRY], 0.0)),
        ("admit", ({"key": 1}, "hit", 60.0, 0.0)),
        ("forgive", ("hit", ["key"], ["other"])),
        ("doubts", ()),
    ],
)
def test_a_call_reaches_the_store_as_it_is(name: str, arguments: tuple[Any, ...]) -> None:
    bounded = Bounded()
    CALLS[name](bounded.store)
    assert bounded.inner.calls == [(name, *arguments)]


def test_what_was_appended_is_read() -> None:
    bounded = Bounded()
    bounded.store.append([ENTRY], 0.0)
    assert bounded.store.read(None, 10) == Batch([ENTRY], 1, more=False, anew=False)


def test_the_seconds_to_wait_are_those_of_the_store() -> None:
    bounded = Bounded()
    assert [bounded.store.admit({"key": 1}, hit, 60.0, 5.0) for hit in "ab"] == [0.0, 60.0]


def test_the_doubts_are_those_of_the_store() -> None:
    assert list(Bounded().store.doubts()) == ["it forgets"]


def test_closing_closes_the_store() -> None:
    bounded = Bounded()
    bounded.store.close()
    assert bounded.inner.closed == 1


def test_closing_works_while_it_fails() -> None:
    bounded = Bounded()
    bounded.inner.fail(*CALLS)
    bounded.works("read")
    bounded.store.close()
    assert bounded.inner.closed == 1


# While it fails


@pytest.mark.parametrize("name", CALLS)
def test_a_failure_is_raised(name: str) -> None:
    bounded = Bounded()
    bounded.inner.fail(name)
    with pytest.raises(StateUnavailableError, match=r"^refused$"):
        CALLS[name](bounded.store)


@pytest.mark.parametrize("name", CALLS)
def test_a_call_that_hangs_is_one_that_failed(name: str, hung: Bounded) -> None:
    hung.inner.hanging = {name}
    with pytest.raises(StateUnavailableError, match=r"^no answer in time$"):
        CALLS[name](hung.store)


@pytest.mark.parametrize("first", READING)
@pytest.mark.parametrize("second", READING)
def test_after_a_failure_to_read_none_is_asked_at_once(first: str, second: str) -> None:
    bounded = Bounded()
    bounded.inner.fail(first)
    bounded.works(first)
    assert not bounded.reaches(second)


@pytest.mark.parametrize("first", WRITING)
@pytest.mark.parametrize("second", WRITING)
def test_after_a_failure_to_write_none_is_asked_at_once(first: str, second: str) -> None:
    bounded = Bounded()
    bounded.inner.fail(first)
    bounded.works(first)
    assert not bounded.reaches(second)


@pytest.mark.parametrize("reading", READING)
@pytest.mark.parametrize("writing", WRITING)
def test_what_cannot_be_written_can_be_read(reading: str, writing: str) -> None:
    bounded = Bounded()
    bounded.inner.fail(*WRITING)
    assert not bounded.works(writing)
    assert bounded.works(reading)


@pytest.mark.parametrize("reading", READING)
@pytest.mark.parametrize("writing", WRITING)
def test_what_cannot_be_read_can_be_written(reading: str, writing: str) -> None:
    bounded = Bounded()
    bounded.inner.fail(*READING)
    assert not bounded.works(reading)
    assert bounded.works(writing)


@pytest.mark.parametrize("name", CALLS)
def test_it_is_asked_again_after_the_pause(name: str) -> None:
    bounded = Bounded()
    bounded.inner.fail(name)
    bounded.works(name)
    bounded.inner.fail()
    bounded.now += PAUSE
    assert bounded.works(name)


def test_a_store_that_cannot_promise_to_keep_is_asked_again_at_once() -> None:
    bounded = Bounded()
    bounded.inner.errors = {"append": NotKeptError("no replica")}
    assert [bounded.works("append") for _ in range(2)] == [False, False]
    assert len(bounded.inner.calls) == 2
    assert bounded.works("admit")


def test_a_store_that_promises_nothing_again_still_counts() -> None:
    bounded = Bounded()
    bounded.inner.fail("append")
    bounded.works("append")
    bounded.now += PAUSE
    bounded.inner.errors = {"append": NotKeptError("no replica")}
    bounded.works("append")
    assert not bounded.store._writing.is_open


def test_reading_and_writing_together_wait_no_longer_than_one_timeout(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bounded, given = Bounded(timeout=1.0), []

    def within(timeout: float, call: Callable[[], Any]) -> Any:
        given.append(timeout)
        bounded.now += 0.75
        return call()

    monkeypatch.setattr("gateway.breaker.within", within)
    with sharing(1.0):
        bounded.works("admit")
        bounded.works("read")
    assert given == [1.0, 0.25]


def test_a_read_that_had_hardly_any_time_left_does_not_tell_that_reading_fails(hung: Bounded) -> None:
    hung.inner.hanging = {"read"}
    with sharing(BRIEF / 10):
        assert not hung.works("read")
    hung.inner.hanging = set()
    assert hung.works("read")


@pytest.mark.parametrize("name", CALLS)
def test_a_process_forked_while_it_is_found_out_can_find_out_itself(name: str) -> None:
    bounded = Bounded()
    bounded.inner.fail(*CALLS)
    bounded.works(name)
    bounded.inner.fail()
    bounded.now += PAUSE
    with bounded.store._reading._probing, bounded.store._writing._probing, bounded.inner._lock:
        child = os.fork()
        if child == 0:
            signal.alarm(DEADLINE)
            code = 1
            try:
                code = 0 if bounded.works(name) else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


# By the settings


def test_the_store_is_the_one_that_the_settings_name() -> None:
    store = bounded_store(Settings(token_key=KEY, state_url="memory://"))
    assert isinstance(store._store, MemoryStore)


def test_an_address_of_memory_is_a_store_in_memory() -> None:
    assert isinstance(open_store("memory://", 1.0), MemoryStore)
