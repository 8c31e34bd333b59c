"""All that one run measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bench import cases
from bench.figures import Timings
from bench.memory import Memory
from bench.served import Served
from bench.sessions import Sessions


@dataclass(frozen=True, slots=True)
class Results:
    """What the page is made from.

    Args:
        timings: what was timed within one process.
        memory: what remembered tokens take, for so many tokens and for more than are remembered.
        sessions: what beginning, ending and remembering sessions costs.
        served: what was measured under gunicorn, by worker class; empty where wrk is missing.
        wrk: wrk's version, None where it is missing.
        quick: whether this was a run for developing, too short for figures to be relied on.
        load: the machine's load before the run, as an average over one minute.
    """

    timings: Timings
    memory: tuple[Memory, Memory]
    sessions: Sessions
    served: Mapping[str, Served]
    wrk: str | None
    quick: bool
    load: float

    def added_ratio(self, name: str, base: str) -> float:
        """Return what one guard adds, in terms of what another adds."""
        return self.timings.added(name).value / self.timings.added(base).value

    def counts(self) -> tuple[int, ...]:
        """Return the numbers of distinct tokens that were met."""
        every = (*cases.COUNTS, cases.MOST)
        return tuple(count for count in every if self.timings.has(cases.sent(count)))
