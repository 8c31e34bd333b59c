"""What a fork does not take with it: threads, and who holds a lock."""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Beginning(Protocol):
    """Something with locks or threads of its own."""

    def begin_anew(self) -> None:
        """Make the locks anew, and count no thread as running."""


_concerned: weakref.WeakSet[Beginning] = weakref.WeakSet()


def begin_anew_after(thing: Beginning) -> None:
    """Have `thing` begin anew in every process that is forked from this one."""
    _concerned.add(thing)


def _in_the_child() -> None:
    for thing in list(_concerned):
        thing.begin_anew()


os.register_at_fork(after_in_child=_in_the_child)
