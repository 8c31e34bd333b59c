"""What a fork does not take with it: threads, who holds a lock, and what must not be open on both sides."""

from __future__ import annotations

import os
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
_paused: list[Pausing] = []


def begin_anew_after(thing: Beginning) -> None:
    """Have `thing` begin anew in every process that is forked from this one."""
    _concerned.add(thing)


def pause_during(thing: Pausing) -> None:
    """Have `thing` pause while this process is forked, and begin anew in the other."""
    _pausing.add(thing)
    _concerned.add(thing)


def _before() -> None:
    for thing in list(_pausing):
        thing.pause()
        _paused.append(thing)


def _in_the_parent() -> None:
    while _paused:
        _paused.pop().resume()


def _in_the_child() -> None:
    _paused.clear()
    for thing in list(_concerned):
        thing.begin_anew()


os.register_at_fork(before=_before, after_in_parent=_in_the_parent, after_in_child=_in_the_child)
