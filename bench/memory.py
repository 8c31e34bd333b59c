"""Measures the memory that remembered tokens take, in a process of its own."""

from __future__ import annotations

import gc
import secrets
import sys
import tracemalloc
from dataclasses import dataclass

import click
import psutil

from bench import ROOT
from bench.caller import app, timer
from bench.mint import minted
from bench.processes import output
from gateway import AuthGateway, Settings

_FIRST = 100  # calls before the first look, so that what is made once is not counted


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes that a gateway has more after so many distinct tokens than before them.

    Args:
        count: the tokens.
        traced: what Python objects take, by tracemalloc.
        resident: what the process takes of the machine's memory.
    """

    count: int
    traced: int
    resident: int


def memory(count: int) -> Memory:
    """Measure twice, since tracemalloc takes memory itself."""
    return Memory(count, _grown(count, "--traced"), _grown(count, "--resident"))


def _grown(count: int, by: str) -> int:
    command = [sys.executable, "-m", "bench.memory", str(count), by]
    return int(output(command, cwd=ROOT))


@click.command(help=__doc__)
@click.argument("count", type=click.IntRange(1))
@click.option("--traced/--resident", help="Count Python's objects, or what the process takes.")
def main(count: int, traced: bool) -> None:
    """Print the bytes by which a gateway grows."""
    key = secrets.token_urlsafe(48)
    settings, others, tokens = Settings(token_key=key), minted(key, _FIRST), minted(key, count)
    timer(AuthGateway(app, settings), others.in_turn())(_FIRST)
    timed = timer(AuthGateway(app, settings), tokens.in_turn())
    if traced:
        tracemalloc.start()
    before = taken(traced=traced)
    timed(count)
    click.echo(taken(traced=traced) - before)


def taken(*, traced: bool) -> int:
    """Return the bytes that Python objects take since they are traced, or that the process takes."""
    gc.collect()
    return tracemalloc.get_traced_memory()[0] if traced else int(psutil.Process().memory_info().rss)


if __name__ == "__main__":
    main()
