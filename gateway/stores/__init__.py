"""The state that all workers share: who was logged out, and how often a login was tried.

One module for each place where it can be kept; each is imported only when a setting asks for it.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from gateway.errors import StateUnavailableError

SID: Final = "sid"
JTI: Final = "jti"
UID: Final = "uid"


class NotKeptError(StateUnavailableError):
    """The store answers, and yet cannot promise to keep what it was told."""

    is_down = False


class Revocation(NamedTuple):
    """Something that was ended: one session, or every session of a uid that had begun by a moment.

    `issuer` is "" for us. `kind` tells what `value` is: `SID` or `JTI`, which name one session, or `UID`.
    `moment` and `expires` (when nothing that it ends can live any more) are in seconds since 1970.
    """

    issuer: str
    kind: str
    value: str
    moment: float
    expires: float


class Batch(NamedTuple):
    """What was read: some revocations in the order in which they were appended, and the position after them.

    `more` tells that there may be more. `anew` tells that the position from which was to be read is none
    of this store (any more), so that these are from its beginning.
    """

    revocations: Sequence[Revocation]
    position: Hashable
    more: bool
    anew: bool


# Hits that lie further ahead are from before a clock was set back, and do not count.
MOST_AHEAD_SEC: Final = 60


class Store(ABC):
    """Keeps revocations in the order in which they were appended, and counts hits.

    All methods can be called from several threads at once, and raise StateUnavailableError where the store
    cannot do what it is asked. A store connects when it is first asked, and anew after a fork.
    """

    @abstractmethod
    def append(self, revocations: Sequence[Revocation], now: float) -> None:
        """Append revocations, all or none; it returns once they are there for good.

        Those that have expired by `now`, in seconds since 1970, are forgotten meanwhile.
        """

    @abstractmethod
    def read(self, position: Hashable | None, limit: int) -> Batch:
        """Return up to so many revocations after a position, or from the beginning for None."""

    @abstractmethod
    def admit(self, limits: Mapping[str, int], hit: str, window: float, now: float) -> float:
        """Count a hit under every key, if under each of them there is room for one more; else count none.

        Args:
            limits: how many hits each key has room for within the window.
            hit: names this hit, like no other.
            window: seconds for which a hit counts.
            now: the time, in seconds since 1970; a store with a clock of its own goes by that.

        Returns:
            0 if it was counted, else the seconds until there is room.
        """

    @abstractmethod
    def forgive(self, hit: str, keys: Iterable[str], cleared: Iterable[str]) -> None:
        """Take a hit back under some keys, and all hits under those to be cleared."""

    def doubts(self) -> Iterator[str]:
        """Yield why what it keeps might be lost, for the operator to know."""
        yield from ()

    def close(self) -> None:  # noqa: B027 - most have something to let go of, memory has not
        """Let go of the connections; when asked again, it connects anew."""


Entries = Sequence[tuple[Hashable, Revocation]]


def batch_after(
    position: Hashable | None, limit: int, entries_from: Callable[[Hashable | None, int], Entries]
) -> Batch:
    """Read after a position, and make sure that it is one.

    A store may have been emptied, or have lost its last entries, and have given their places to others.
    So the entry at the position itself is read as well: it must be the one that was read before.

    Args:
        position: that of the entry read last: its place and a random tag.
        limit: how many to read.
        entries_from: returns so many entries with their positions, beginning with the one at a place or, for
            None, with the first.
    """
    entries = entries_from(position, limit + 2)
    anew = position is not None and (not entries or entries[0][0] != position)
    if anew:
        entries, position = entries_from(None, limit + 1), None
    elif position is not None:
        entries = entries[1:]
    found = entries[:limit]
    if not all(_is_sound(revocation) for _, revocation in found):
        raise StateUnavailableError("it holds an entry that is no revocation")
    after = found[-1][0] if found else position
    return Batch([revocation for _, revocation in found], after, len(entries) > limit, anew)


def _is_sound(entry: Revocation) -> bool:
    return (
        isinstance(entry.issuer, str)
        and isinstance(entry.kind, str)
        and isinstance(entry.value, str)
        and isinstance(entry.moment, int | float)
        and isinstance(entry.expires, int | float)
        and math.isfinite(entry.moment)
        and math.isfinite(entry.expires)
    )
