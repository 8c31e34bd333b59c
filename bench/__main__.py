"""`python -m bench`: measures what the gateway costs, and writes the page about it."""

from __future__ import annotations

import os
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

from bench import ROOT, report
from bench.cases import FEWER_LIVE, LIVE
from bench.figures import Effort, timings
from bench.memory import memory
from bench.redis_server import PROGRAM, redis_version
from bench.results import Results
from bench.served import Served, served, wrk_version
from bench.sessions import Sessions, sessions
from bench.stores import stores
from bench.targets import CACHE_SIZE

# So many calls a value that the tokens of the cases with many are not all met anew for each.
_LOOPS: Final = ("--loops", "10000")


@dataclass(frozen=True, slots=True)
class _Plan:
    """How long everything is measured."""

    efforts: dict[str, Effort]
    live: int
    sessions_sec: float
    served_rounds: int
    served_sec: int


_FULL: Final = _Plan(
    {
        "single": Effort(8, 4, ("--min-time", "0.05")),
        "many": Effort(3, 4, _LOOPS),
        "most": Effort(1, 8, _LOOPS),
        "revocation": Effort(8, 4, ("--min-time", "0.05")),
        "live": Effort(2, 8, _LOOPS),
    },
    live=LIVE,
    sessions_sec=2,
    served_rounds=15,
    served_sec=2,
)
_QUICK: Final = _Plan(
    {
        "single": Effort(2, 2, ("--min-time", "0.02")),
        "many": Effort(1, 2, _LOOPS),
        "revocation": Effort(2, 2, ("--min-time", "0.02")),
        "fewer live": Effort(2, 2, _LOOPS),
    },
    live=FEWER_LIVE,
    sessions_sec=0.5,
    served_rounds=2,
    served_sec=1,
)


@click.command(help=__doc__)
@click.option("--quick", is_flag=True, help="Rough figures in about two minutes, without the most tokens.")
@click.option("--no-write", is_flag=True, help="Print the page, and leave the files as they are.")
def main(quick: bool, no_write: bool) -> None:
    """Measure, then write or print."""
    results = _measured(_QUICK if quick else _FULL, quick)
    if no_write:
        click.echo(report.page(results))
    else:
        docs = ROOT / "docs"
        docs.mkdir(exist_ok=True)
        (docs / "performance.md").write_text(report.page(results), "utf-8")
        (docs / "performance.svg").write_text(report.drawing(results), "utf-8")
    click.echo(report.summary(results))


def _measured(plan: _Plan, quick: bool) -> Results:
    load, wrk, redis = os.getloadavg()[0], wrk_version(), redis_version()
    if wrk is None:
        click.echo("wrk is missing, so nothing is measured under gunicorn (Debian package: wrk)", err=True)
    if redis is None:
        click.echo(f"{PROGRAM} is missing, so nothing is measured with Redis", err=True)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stack.enter_context(stores(plan.live, folder, redis is not None, click.echo))
        return Results(
            timings=timings(plan.efforts, folder, click.echo),
            memory=(memory(CACHE_SIZE), memory(3 * CACHE_SIZE)),
            sessions=_sessions(plan, redis, folder),
            served=_served(plan, folder) if wrk else {},
            wrk=wrk,
            quick=quick,
            load=load,
        )


def _sessions(plan: _Plan, redis: str | None, folder: Path) -> Sessions:
    return sessions(plan.live, redis, plan.sessions_sec, folder, click.echo)


def _served(plan: _Plan, folder: Path) -> dict[str, Served]:
    return served(plan.served_rounds, plan.served_sec, folder, click.echo)


if __name__ == "__main__":
    main()
