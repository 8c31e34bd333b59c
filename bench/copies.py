"""Measures a worker's copy of the live revocations, in a process of its own."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from statistics import median
from time import perf_counter
from typing import Final

import click

from bench import ROOT
from bench.cases import STORES
from bench.memory import taken
from bench.processes import output
from bench.revoking import filled, known

_ROUNDS, _CALLS = 10, 50
# Every request of such a gateway asks its store.
_ALWAYS: Final = {"state_sync_sec": 0}


@dataclass(frozen=True, slots=True)
class Copy:
    """What a worker's copy of a store costs.

    Args:
        live: the live revocations in the store.
        start_sec: the seconds that a worker takes to read them when it starts.
        resident: the bytes by which the process grew.
        catch_up_sec: the seconds of a request that asks the store, where there is nothing new: the median.
    """

    live: int
    start_sec: float
    resident: int
    catch_up_sec: float


def copy(store: str, live: int) -> Copy:
    """Measure in a process that this run's stores are known to."""
    return Copy(**json.loads(output([sys.executable, "-m", "bench.copies", store, str(live)], cwd=ROOT)))


@click.command(help=__doc__)
@click.argument("store", type=click.Choice(STORES))
@click.argument("live", type=click.IntRange(0))
def main(store: str, live: int) -> None:
    """Print what was measured, as JSON."""
    first, token = filled(store, 0, {})
    first.start()
    known(first, token, 0)(1)  # what is made once is not counted
    click.echo(json.dumps(asdict(_copied(store, live))))


def _copied(store: str, live: int) -> Copy:
    before = taken(traced=False)
    gateway, token = filled(store, live, _ALWAYS)
    began = perf_counter()
    gateway.start()
    start_sec = perf_counter() - began
    timed = known(gateway, token, live)
    resident = taken(traced=False) - before
    return Copy(live, start_sec, resident, median(timed(_CALLS) / _CALLS for _ in range(_ROUNDS)))


if __name__ == "__main__":
    main()
