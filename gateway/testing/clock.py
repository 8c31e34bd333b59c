"""A clock that a test moves, so that it need not wait."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from unittest import mock

from gateway import tokens


class Clock:
    """A clock that stands still until it is moved.

    Args:
        moment: where it stands: a `datetime` with a time zone, or seconds since 1970.
    """

    def __init__(self, moment: datetime | float) -> None:
        self.set(moment)

    def __repr__(self) -> str:
        return f"Clock({datetime.fromtimestamp(self._time, UTC)})"

    def time(self) -> float:
        """Return where it stands, in seconds since 1970, as `time.time` does."""
        return self._time

    def set(self, moment: datetime | float) -> None:
        """Set it to a moment, later or earlier.

        Args:
            moment: a `datetime` with a time zone, or seconds since 1970.

        Raises:
            ValueError: the `datetime` has no time zone, so that it is no moment.
        """
        if isinstance(moment, datetime):
            if moment.tzinfo is None:
                raise ValueError(f"{moment} has no time zone; give one, as in datetime.now(UTC)")
            moment = moment.timestamp()
        self._time = float(moment)

    def move(self, *, days: float = 0, hours: float = 0, minutes: float = 0, seconds: float = 0) -> None:
        """Move it on by so much; back, where that is negative.

        Args:
            days: days of 24 hours.
            hours: added to them, as are the others.
            minutes: minutes.
            seconds: seconds, with a fraction if need be.
        """
        by = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
        self._time += by.total_seconds()


@contextmanager
def standing_clock(moment: datetime | float | None = None) -> Iterator[Clock]:
    """Let all gateways of this process go by a clock that stands still, until the block ends.

        with standing_clock() as clock:
            client = webtest_client(app).as_user(12)
            clock.move(minutes=20)

    It makes no difference when a gateway was made. A `TokenCreator` of a class that has a `now` of its own
    is not moved, nor is anything that does not go by the gateway's time.

    Args:
        moment: where the clock stands at first, as for `Clock`; now, unless given.

    Yields:
        The clock, to be moved.

    Raises:
        ValueError: the moment is a `datetime` without a time zone.
    """
    clock = Clock(time.time() if moment is None else moment)
    # All time of a gateway comes from TokenCreator.now, which looks this name up on each call.
    with mock.patch.object(tokens, "time", clock):
        yield clock
