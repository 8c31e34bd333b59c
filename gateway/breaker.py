"""Calls to what may be down: in bounded time, and left alone while they fail."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final, TypeVar

from gateway import forks
from gateway.errors import StoreError

T = TypeVar("T")

# The seconds that calls of this request may still wait, if they share them.
_left: ContextVar[list[float] | None] = ContextVar("_left", default=None)

LONGEST_PAUSE_SEC: Final = 5
SHORTEST_PAUSE_SEC: Final = 0.1
_LONGEST_REASON: Final = 300  # characters
_LEAST_SEC: Final = 0.001

_log = logging.getLogger("gateway")


def within(timeout: float, call: Callable[[], T]) -> T:
    """Return what a call returns, or raise what it raises, if it ends in so many seconds.

    It runs in a thread of its own, since nothing else bounds all that a call to another machine may wait
    for, the name of that machine among it. A call that takes longer goes on there, and nobody hears of it.

    Raises:
        TimeoutError: it has not ended.
    """
    outcome: list[tuple[T | None, BaseException | None]] = []
    ended = threading.Event()  # made for each call: of what gevent has put in its place by then

    def run() -> None:
        try:
            outcome.append((call(), None))
        except BaseException as error:  # noqa: BLE001 - raised anew where it was asked
            outcome.append((None, error))
        ended.set()

    threading.Thread(target=run, name="store", daemon=True).start()
    if not ended.wait(timeout):
        raise TimeoutError
    ((result, error),) = outcome
    if error is not None:
        raise error
    return result  # type: ignore[return-value]  # None only where the call returns it


@contextmanager
def sharing(timeout: float) -> Iterator[list[float]]:
    """Have all calls inside wait no longer together than so many seconds, and yield those that are left.

    The outermost counts.
    """
    outer = _left.get()
    if outer is not None:
        yield outer
        return
    left = [timeout]
    token = _left.set(left)
    try:
        yield left
    finally:
        _left.reset(token)


class Breaker:
    """Makes calls in bounded time, and after one that failed only one at a time, with a pause between.

    Args:
        what: is called, in the log.
        timeout: seconds that a call may take.
        pause: seconds from the beginning of a call that failed to the next, of which half are left after its
            end at least.
        patience: seconds of failing after which the pauses grow.
        error: is raised.
        monotonic: a clock that is never set, in seconds.
    """

    def __init__(
        self,
        what: str,
        *,
        timeout: float,
        pause: float,
        patience: float,
        error: type[StoreError],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._what = what
        self._timeout = timeout
        self._pause = max(pause, SHORTEST_PAUSE_SEC)
        self._patience = patience
        self._error = error
        self._monotonic = monotonic
        self._failing_since: float | None = None
        self._retry_at = 0.0
        self._wait = self._pause
        self.begin_anew()
        forks.begin_anew_after(self)

    def begin_anew(self) -> None:
        """Forget who was asking when this process was forked."""
        self._probing = threading.Lock()

    @property
    def is_open(self) -> bool:
        """Whether the call that was made last has failed."""
        return self._failing_since is not None

    def call(self, call: Callable[[], T]) -> T:
        """Return what a call returns.

        Raises:
            StoreError: of the given kind; it failed, took too long, or came too soon after one that did.
        """
        if self._failing_since is None:
            return self._tried(call)
        if self._monotonic() < self._retry_at or not self._probing.acquire(blocking=False):
            raise self._error(f"{self._what} failed a moment ago")
        try:
            return self._tried(call)
        finally:
            self._probing.release()

    def _tried(self, call: Callable[[], T]) -> T:
        began = self._monotonic()
        shared = _left.get()
        timeout = self._timeout if shared is None else min(shared[0], self._timeout)
        try:
            result = within(timeout, call)
        except TimeoutError:
            error = self._error("no answer in time")
            if timeout >= self._timeout / 2:  # else others have used up its time
                self._note(began, error)
            raise error from None
        except StoreError as error:
            if error.is_down:
                self._note(began, error)
            else:
                self._note_answer()
            raise
        except Exception as error:  # no room for another thread, or what a library does not own up to
            self._note(began, error)
            raise self._error(type(error).__name__) from error
        finally:
            if shared is not None:
                shared[0] = max(shared[0] - (self._monotonic() - began), _LEAST_SEC)
        self._note_answer()
        return result

    def _note_answer(self) -> None:
        if self._failing_since is not None:
            _log.warning("%s answers again", self._what)
            self._failing_since, self._wait = None, self._pause

    def _note(self, began: float, error: Exception) -> None:
        if self._failing_since is None:
            self._failing_since = began
            reason = str(error) if str(error).isprintable() else repr(str(error))
            reason = reason[:_LONGEST_REASON] if isinstance(error, StoreError) else type(error).__name__
            _log.warning("%s fails: %s", self._what, reason)
        elif began - self._failing_since > self._patience:
            self._wait = min(2 * self._wait, max(LONGEST_PAUSE_SEC, self._pause))
        # Not at once in any case, however long it took to fail.
        self._retry_at = max(began + self._wait, self._monotonic() + self._wait / 2)
