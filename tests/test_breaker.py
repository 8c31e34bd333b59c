"""Calls to what may be down: how long they take, and when they are made at all."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import pytest

from gateway.breaker import LONGEST_PAUSE_SEC, SHORTEST_PAUSE_SEC, Breaker, sharing, within
from gateway.errors import StateUnavailableError, StoreError, UsersUnavailableError
from gateway.stores import NotKeptError

DEADLINE = 20  # seconds by which a thread must have ended
BRIEF = 0.05  # a timeout that is waited for
PAUSE, PATIENCE = 1.0, 10.0


class Ticks:
    """A monotonic clock that stands still until a test moves it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def taking(self, seconds: float, call: Callable[[], Any]) -> Callable[[], Any]:
        """A call that takes so long by this clock."""

        def slow() -> Any:
            self.now += seconds
            return call()

        return slow


class Calls:
    """Calls through a breaker, and which of them came through."""

    def __init__(self, timeout: float = DEADLINE, pause: float = PAUSE, **options: Any) -> None:
        self.ticks = Ticks()
        usual: dict[str, Any] = {"patience": PATIENCE, "error": StateUnavailableError}
        self.breaker = Breaker(
            "the store", timeout=timeout, pause=pause, monotonic=self.ticks, **(usual | options)
        )
        self.made = 0

    def fails(self, error: Exception | None = None) -> bool:
        """Make a call that fails; tell whether it came through."""
        before = self.made
        with pytest.raises(StoreError):
            self.breaker.call(self._counted(failing(error or StateUnavailableError("refused"))))
        return self.made > before

    def works(self) -> bool:
        """Make a call that would work; tell whether it came through."""
        before = self.made
        try:
            self.breaker.call(self._counted(lambda: None))
        except StateUnavailableError:
            assert self.made == before
        return self.made > before

    def pauses(self, many: int) -> list[float]:
        """The seconds from each of so many calls that fail to the next."""
        found = []
        for _ in range(many):
            began = self.ticks.now
            while not self.fails():
                self.ticks.now += 1 / 8
            found.append(self.ticks.now - began)
            self.ticks.now += 1 / 8
        return [pause + 1 / 8 for pause in found[1:]]

    def _counted(self, call: Callable[[], Any]) -> Callable[[], Any]:
        def counted() -> Any:
            self.made += 1
            return call()

        return counted


def failing(error: BaseException) -> Callable[[], NoReturn]:
    def call() -> NoReturn:
        raise error

    return call


def blocked(gate: threading.Event) -> Callable[[], bool]:
    """A call that ends when the gate is opened."""
    return lambda: gate.wait(DEADLINE)


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """A gate at which calls wait; it is open after the test, and they have ended."""
    made = threading.Event()
    yield made
    made.set()
    for thread in threading.enumerate():
        if thread.name == "store":
            thread.join(DEADLINE)


@pytest.fixture
def asking() -> Iterator[Callable[[Callable[[], object]], threading.Thread]]:
    """Start calls in threads of their own, which have ended after the test."""
    threads: list[threading.Thread] = []

    def start(call: Callable[[], object]) -> threading.Thread:
        threads.append(threading.Thread(target=call))
        threads[-1].start()
        return threads[-1]

    yield start
    for thread in threads:
        thread.join(DEADLINE)
        assert not thread.is_alive()


Asking = Callable[[Callable[[], object]], threading.Thread]


# In bounded time


@pytest.mark.parametrize(
    "result", [0, "", None, [1], pytest.param(ValueError("returned"), id="an exception")]
)
def test_what_a_call_returns_is_returned(result: object) -> None:
    assert within(DEADLINE, lambda: result) is result


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(ValueError("wrong"), id="an error"),
        pytest.param(SystemExit(3), id="an exit"),
        pytest.param(KeyboardInterrupt(), id="an interrupt"),
        pytest.param(TimeoutError("its own"), id="a timeout of its own"),
    ],
)
def test_what_a_call_raises_is_raised(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught:
        within(DEADLINE, failing(error))
    assert caught.value is error


def test_a_call_that_does_not_end_is_a_timeout(gate: threading.Event) -> None:
    with pytest.raises(TimeoutError):
        within(BRIEF, blocked(gate))


def test_a_call_that_ends_too_late_is_heard_of_by_nobody(gate: threading.Event) -> None:
    ended = threading.Event()

    def late() -> None:
        gate.wait(DEADLINE)
        ended.set()
        raise ValueError

    with pytest.raises(TimeoutError):
        within(BRIEF, late)
    gate.set()
    assert ended.wait(DEADLINE)


def test_a_call_runs_in_a_thread_that_keeps_no_process_from_ending() -> None:
    thread = within(DEADLINE, threading.current_thread)
    assert thread is not threading.current_thread()
    assert thread.daemon


# While all is well


def test_a_breaker_returns_what_a_call_returns() -> None:
    assert Calls().breaker.call(lambda: "result") == "result"


def test_a_call_that_returns_nothing_is_a_good_one() -> None:
    calls = Calls()
    calls.breaker.call(lambda: None)
    assert not calls.breaker.is_open


def test_calls_are_made_at_the_same_time(asking: Asking) -> None:
    breaker, together = Calls().breaker, threading.Barrier(3)
    for _ in range(2):
        asking(lambda: breaker.call(lambda: together.wait(DEADLINE)))
    breaker.call(lambda: together.wait(DEADLINE))


# While it fails


def test_a_failure_is_raised_as_it_is() -> None:
    error = StateUnavailableError("refused")
    with pytest.raises(StateUnavailableError) as caught:
        Calls().breaker.call(failing(error))
    assert caught.value is error


def test_a_failure_opens_the_breaker() -> None:
    calls = Calls()
    calls.fails()
    assert calls.breaker.is_open


def test_a_call_without_an_answer_in_time_opens_it(gate: threading.Event) -> None:
    calls = Calls(timeout=BRIEF)
    with pytest.raises(StateUnavailableError, match=r"^no answer in time$"):
        calls.breaker.call(blocked(gate))
    assert calls.breaker.is_open


def test_a_thread_that_cannot_be_started_opens_it(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Calls()
    with monkeypatch.context() as patch:
        patch.setattr(
            threading.Thread, "start", lambda self: failing(RuntimeError("can't start new thread"))()
        )
        with pytest.raises(StateUnavailableError, match=r"^RuntimeError$"):
            calls.breaker.call(lambda: None)
    assert calls.breaker.is_open


@pytest.mark.parametrize("kind", [StateUnavailableError, UsersUnavailableError])
def test_the_errors_of_its_own_are_of_the_kind_that_was_asked_for(
    kind: type[StoreError], gate: threading.Event
) -> None:
    breaker = Calls(timeout=BRIEF, error=kind).breaker
    raised = []
    for _ in range(2):  # no answer, and then none asked for
        with pytest.raises(StoreError) as caught:
            breaker.call(blocked(gate))
        raised.append(caught.type)
    assert raised == [kind, kind]


def test_whatever_else_a_call_raises_is_a_failure_of_the_store() -> None:
    calls, error = Calls(), ValueError("redis://:hunter2@host")
    with pytest.raises(StateUnavailableError, match=r"^ValueError$") as caught:
        calls.breaker.call(failing(error))
    assert caught.value.__cause__ is error
    assert calls.breaker.is_open


def test_a_refusal_by_what_is_not_down_does_not_open_it() -> None:
    calls = Calls()
    calls.fails(NotKeptError("no replica"))
    assert not calls.breaker.is_open
    assert calls.works()


def test_a_refusal_by_what_is_not_down_any_more_closes_it() -> None:
    calls = Calls()
    calls.fails()
    calls.ticks.now += PAUSE
    calls.fails(NotKeptError("no replica"))
    assert not calls.breaker.is_open


def test_no_call_is_made_before_the_pause_is_over() -> None:
    calls = Calls()
    calls.fails()
    calls.ticks.now += PAUSE - 1 / 8
    assert not calls.works()


def test_a_call_is_made_when_the_pause_is_over() -> None:
    calls = Calls()
    calls.fails()
    calls.ticks.now += PAUSE
    assert calls.works()


def test_the_pause_counts_from_when_the_call_began() -> None:
    calls = Calls()
    with pytest.raises(StateUnavailableError):
        calls.breaker.call(calls.ticks.taking(0.25, failing(StateUnavailableError("refused"))))
    calls.ticks.now += 0.625
    assert not calls.works()
    calls.ticks.now += 0.125
    assert calls.works()


def test_half_of_the_pause_is_left_after_a_call_that_took_long_to_fail() -> None:
    calls = Calls()
    with pytest.raises(StateUnavailableError):
        calls.breaker.call(calls.ticks.taking(0.75, failing(StateUnavailableError("refused"))))
    calls.ticks.now += 0.375
    assert not calls.works()
    calls.ticks.now += 0.125
    assert calls.works()


def test_a_thousand_calls_within_a_pause_make_none() -> None:
    calls = Calls()
    calls.fails()
    assert not any(calls.works() for _ in range(1000))


def test_there_is_always_some_pause() -> None:
    calls = Calls(pause=0)
    calls.fails()
    calls.ticks.now += SHORTEST_PAUSE_SEC * 0.9
    assert not calls.works()


def test_one_call_at_a_time_finds_out_whether_it_still_fails(asking: Asking, gate: threading.Event) -> None:
    calls, asked = Calls(), threading.Event()
    calls.fails()
    calls.ticks.now += PAUSE

    def probe() -> None:
        asked.set()
        gate.wait(DEADLINE)

    asking(lambda: calls.breaker.call(probe))
    assert asked.wait(DEADLINE)
    assert not any(calls.works() for _ in range(10))
    gate.set()


def test_a_call_that_works_closes_it() -> None:
    calls = Calls()
    calls.fails()
    calls.ticks.now += PAUSE
    calls.works()
    assert not calls.breaker.is_open
    assert [calls.works() for _ in range(3)] == [True, True, True]


def test_an_interrupt_of_the_one_call_lets_the_next_be_made() -> None:
    calls = Calls()
    calls.fails()
    calls.ticks.now += PAUSE
    with pytest.raises(KeyboardInterrupt):
        calls.breaker.call(failing(KeyboardInterrupt()))
    assert calls.works()


# Pauses that grow


def test_the_pauses_are_the_same_until_the_patience_is_over() -> None:
    assert Calls().pauses(10) == [PAUSE] * 9


def test_the_pauses_grow_after_that_up_to_the_longest() -> None:
    pauses = Calls().pauses(18)
    assert pauses[:11] == [PAUSE] * 11
    assert pauses[11:14] == [2 * PAUSE, 4 * PAUSE, LONGEST_PAUSE_SEC]
    assert set(pauses[14:]) == {LONGEST_PAUSE_SEC}


def test_a_pause_longer_than_the_longest_does_not_change() -> None:
    assert set(Calls(pause=2.0 * LONGEST_PAUSE_SEC).pauses(8)) == {2.0 * LONGEST_PAUSE_SEC}


def test_after_a_call_that_worked_the_pauses_begin_anew() -> None:
    calls = Calls()
    calls.pauses(18)
    calls.ticks.now += LONGEST_PAUSE_SEC
    assert calls.works()
    assert calls.pauses(5) == [PAUSE] * 4


# What the log says


def test_a_failure_is_logged_once_with_its_reason(caplog: pytest.LogCaptureFixture) -> None:
    Calls().pauses(18)
    assert caplog.messages == ["the store fails: refused"]


def test_an_end_of_failing_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    calls = Calls()
    calls.fails()
    calls.ticks.now += PAUSE
    assert [calls.works() for _ in range(3)] == [True, True, True]
    assert caplog.messages == ["the store fails: refused", "the store answers again"]


def test_each_change_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    calls = Calls()
    for _ in range(2):
        calls.fails()
        calls.ticks.now += PAUSE
        calls.works()
    assert caplog.messages == ["the store fails: refused", "the store answers again"] * 2


def test_calls_that_work_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    calls = Calls()
    calls.works()
    assert caplog.messages == []


def test_a_timeout_is_logged_as_one(caplog: pytest.LogCaptureFixture, gate: threading.Event) -> None:
    calls = Calls(timeout=BRIEF)
    with pytest.raises(StateUnavailableError):
        calls.breaker.call(blocked(gate))
    assert caplog.messages == ["the store fails: no answer in time"]


@pytest.mark.parametrize("text", ["one\ntwo", "one\rtwo", "\x1b[2J", "one\u2028two"])
def test_whatever_the_reason_is_it_takes_one_line(text: str, caplog: pytest.LogCaptureFixture) -> None:
    Calls().fails(StateUnavailableError(text))
    assert caplog.messages == [f"the store fails: {text!r}"]
    assert caplog.messages[0].isprintable()


def test_nothing_but_the_reason_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    def call() -> NoReturn:
        password = "hunter2"
        try:
            raise OSError(f"redis://:{password}@host")
        except OSError as error:
            raise StateUnavailableError("refused") from error

    with pytest.raises(StateUnavailableError):
        Calls().breaker.call(call)
    assert "hunter2" not in caplog.text
    assert [record.exc_info for record in caplog.records] == [None]


def test_of_an_error_that_is_not_a_stores_only_the_kind_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    Calls().fails(OSError("redis://:hunter2@host"))
    assert caplog.messages == ["the store fails: OSError"]


def test_a_long_reason_is_cut(caplog: pytest.LogCaptureFixture) -> None:
    Calls().fails(StateUnavailableError("a" * 100_000))
    assert len(caplog.messages[0]) < 1000


def test_calls_that_fail_together_are_logged_once(asking: Asking, caplog: pytest.LogCaptureFixture) -> None:
    breaker, together = Calls().breaker, threading.Barrier(4)

    def call() -> NoReturn:
        together.wait(DEADLINE)
        raise StateUnavailableError("refused")

    def asked() -> None:
        with pytest.raises(StateUnavailableError):
            breaker.call(call)

    threads = [asking(asked) for _ in range(4)]
    for thread in threads:
        thread.join(DEADLINE)
    assert caplog.messages == ["the store fails: refused"]


# Several calls of one request


class Waits:
    """Breakers whose calls take long, and the timeouts with which they are made."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ticks = Ticks()
        self.given: list[float] = []
        self.takes = 0.0
        monkeypatch.setattr("gateway.breaker.within", self._within)

    def breaker(self, timeout: float) -> Breaker:
        return Breaker(
            "the store",
            timeout=timeout,
            pause=PAUSE,
            patience=PATIENCE,
            error=StateUnavailableError,
            monotonic=self.ticks,
        )

    def _within(self, timeout: float, call: Callable[[], Any]) -> Any:
        self.given.append(round(timeout, 6))
        self.ticks.now += min(self.takes, timeout)
        if self.takes > timeout:
            raise TimeoutError
        return call()


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> Waits:
    return Waits(monkeypatch)


def test_calls_that_share_have_what_is_left(waits: Waits) -> None:
    waits.takes = 0.25
    with sharing(1.0):
        for breaker in [waits.breaker(5.0), waits.breaker(7.0), waits.breaker(9.0)]:
            breaker.call(lambda: None)
    assert waits.given == [1.0, 0.75, 0.5]


def test_calls_that_share_wait_no_longer_than_one_timeout(waits: Waits) -> None:
    waits.takes = 30.0
    began = waits.ticks.now
    with sharing(1.0):
        for breaker in [waits.breaker(1.0) for _ in range(4)]:
            with pytest.raises(StateUnavailableError):
                breaker.call(lambda: None)
    assert waits.ticks.now - began == pytest.approx(1.0, abs=0.01)


def test_calls_that_failed_are_counted_as_well(waits: Waits) -> None:
    waits.takes = 0.5
    with sharing(1.0):
        with pytest.raises(StateUnavailableError):
            waits.breaker(1.0).call(failing(StateUnavailableError("refused")))
        waits.breaker(1.0).call(lambda: None)
    assert waits.given == [1.0, 0.5]


def test_the_outermost_sharing_counts(waits: Waits) -> None:
    waits.takes = 0.25
    with sharing(1.0):
        waits.breaker(5.0).call(lambda: None)
        with sharing(10.0):
            waits.breaker(5.0).call(lambda: None)
        waits.breaker(5.0).call(lambda: None)
    assert waits.given == [1.0, 0.75, 0.5]


def test_after_sharing_a_call_has_its_own_time(waits: Waits) -> None:
    waits.takes = 0.25
    with sharing(1.0):
        waits.breaker(5.0).call(lambda: None)
    waits.breaker(5.0).call(lambda: None)
    with sharing(1.0):
        waits.breaker(5.0).call(lambda: None)
    assert waits.given == [1.0, 5.0, 1.0]


def test_sharing_ends_with_an_error_too(waits: Waits) -> None:
    with pytest.raises(ValueError, match="ours"), sharing(1.0):
        raise ValueError("ours")
    waits.breaker(5.0).call(lambda: None)
    assert waits.given == [5.0]


def test_threads_do_not_share_with_each_other(waits: Waits, asking: Asking) -> None:
    with sharing(1.0):
        asking(lambda: waits.breaker(5.0).call(lambda: None)).join(DEADLINE)
    assert waits.given == [5.0]


def test_a_call_that_had_hardly_any_time_left_does_not_tell_that_a_store_is_down(waits: Waits) -> None:
    slow, quick = waits.breaker(1.0), waits.breaker(1.0)
    with sharing(1.0):
        waits.takes = 0.999
        slow.call(lambda: None)
        waits.takes = 0.01
        with pytest.raises(StateUnavailableError):
            quick.call(lambda: None)
    assert not quick.is_open


# Forks


def test_a_process_forked_while_it_is_found_out_can_find_out_itself() -> None:
    calls = Calls()
    calls.fails()
    calls.ticks.now += PAUSE
    with calls.breaker._probing:
        child = os.fork()
        if child == 0:
            signal.alarm(DEADLINE)
            code = 1
            try:
                code = 0 if calls.works() and not calls.breaker.is_open else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert not calls.works()
