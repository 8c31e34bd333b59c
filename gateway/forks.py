"""What a fork does not take with it: threads, who holds a lock, and what must not be open on both sides."""

from __future__ import annotations

import os
import threading
import weakref
from typing import Protocol


class Beginning(Protocol):
    """Something with locks or threads of its own."""

    def begin_anew(self) -> None:
        """Make the locks anew, and count no thread as running."""


class Pausing(Beginning, Protocol):
    """Something that must be in nobody's hands when this process is forked."""

    def pause(self) -> None:
        """Take it out of everybody's hands, before a fork."""

    def resume(self) -> None:
        """Give it back, after a fork, in the process that was forked."""


_concerned: weakref.WeakSet[Beginning] = weakref.WeakSet()
_pausing: weakref.WeakSet[Pausing] = weakref.WeakSet()
_forking = threading.Lock()  # one thread forks at a time; who has it may take the locks of what pauses
_paused: list[Pausing] = []


def begin_anew_after(thing: Beginning) -> None:
    """Have `thing` begin anew in every process that is forked from this one."""
    _concerned.add(thing)


def pause_during(thing: Pausing) -> None:
    """Have `thing` pause while this process is forked, and begin anew in the other."""
    _pausing.add(thing)
    _concerned.add(thing)


def begin_anew() -> None:
    """Have everything begin anew in this process, before it serves: its locks may be of another kind now."""
    for thing in list(_concerned):
        thing.begin_anew()


def _before() -> None:
    _forking.acquire()
    for thing in list(_pausing):
        thing.pause()
        _paused.append(thing)


def _in_the_parent() -> None:
    while _paused:
        _paused.pop().resume()
    _forking.release()


def _in_the_child() -> None:
    global _forking  # noqa: PLW0603 - a lock that was forked while it was held
    _forking = threading.Lock()
    _paused.clear()
    begin_anew()


os.register_at_fork(before=_before, after_in_parent=_in_the_parent, after_in_child=_in_the_child)
