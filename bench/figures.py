"""What was measured, in microseconds, and how it is had from pyperf."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median, stdev
from typing import Any

import pyperf

from bench import ROOT
from bench.cases import TABLES
from bench.processes import run
from bench.state import VARIABLES

MICRO = 1e6


@dataclass(frozen=True, slots=True)
class Figure:
    """The median of what was measured several times, and the standard deviation."""

    value: float
    spread: float

    def __str__(self) -> str:
        return f"{number(self.value)} ± {number(self.spread)}"


@dataclass(frozen=True, slots=True)
class Effort:
    """How long the cases of one table are timed.

    Args:
        rounds: how often each case has its turn, so that a slow minute of the machine meets them all.
        values: how many values a process takes in each round.
        options: further options of pyperf.
    """

    rounds: int
    values: int
    options: tuple[str, ...]


class Timings:
    """The values of every case, in the order in which they were taken.

    Args:
        samples: the values in microseconds by the names of the cases.
        machine: what pyperf says about the machine.
    """

    def __init__(self, samples: Mapping[str, tuple[float, ...]], machine: Mapping[str, Any]) -> None:
        self._samples = samples
        self.machine = machine

    def whole(self, name: str) -> Figure:
        """Return what a call takes."""
        return _figure(self._samples[name])

    def added(self, name: str) -> Figure:
        """Return what a call takes longer than that of the case's base, each value less one of its time."""
        return _figure(
            tuple(
                value - base
                for value, base in zip(self._samples[name], self._samples[_BASES[name]], strict=True)
            )
        )

    def has(self, name: str) -> bool:
        """Tell whether a case was timed."""
        return name in self._samples


def timings(efforts: Mapping[str, Effort], folder: Path, say: Callable[[str], None]) -> Timings:
    """Time the cases of these tables.

    Args:
        efforts: how long, by the names of the tables.
        folder: where pyperf's results are put.
        say: is told what begins.
    """
    samples: dict[str, tuple[float, ...]] = {}
    machine: dict[str, Any] = {}
    for table, effort in efforts.items():
        for turn in range(effort.rounds):
            say(f"{len(TABLES[table])} cases of the table '{table}': round {turn + 1} of {effort.rounds}")
            suite = _round(table, effort, folder, turn)
            machine = suite.get_metadata()
            for bench in suite:
                values = tuple(value * MICRO for value in bench.get_values())
                samples[bench.get_name()] = samples.get(bench.get_name(), ()) + values
    return Timings(samples, machine)


def number(value: float, digits: int = 3) -> str:
    """Return a figure with so many digits, or more where it has more before the point."""
    before = len(str(int(abs(value))))
    return f"{value:,.{max(digits - before, 0)}f}"


def _round(table: str, effort: Effort, folder: Path, turn: int) -> Any:
    """Let pyperf time a table once; later rounds make as many calls per value as the first."""
    first, output = folder / f"{table}-0.json", folder / f"{table}-{turn}.json"
    again = ["--loops-of", str(first)] if turn else []
    command = [sys.executable, "-m", "bench.timed", "--table", table, "--quiet", "--processes", "1"]
    command += ["--values", str(effort.values), "--output", str(output), *effort.options, *again]
    command += ["--inherit-environ", ",".join(VARIABLES)]
    run(command, cwd=ROOT)
    return pyperf.BenchmarkSuite.load(str(output))


def _figure(values: tuple[float, ...]) -> Figure:
    return Figure(median(values), stdev(values))


_BASES = {case.name: case.base or case.name for table in TABLES.values() for case in table}
