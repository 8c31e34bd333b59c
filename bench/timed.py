"""Times one table of cases with pyperf, each case in processes of its own."""

from __future__ import annotations

from argparse import Namespace
from functools import cache

import pyperf

from bench.cases import TABLES, Case
from bench.state import is_there


def main() -> None:
    """Time the cases of the table named on the command line."""
    runner = pyperf.Runner(program_args=("-m", "bench.timed"), add_cmdline_args=_pass_on)
    runner.argparser.add_argument("--table", choices=TABLES, required=True)
    runner.argparser.add_argument(
        "--loops-of", metavar="FILENAME", help="calls per value as in these results"
    )
    args = runner.parse_args()
    known = _loops(args.loops_of) if args.loops_of else {}
    for case in TABLES[args.table]:
        if case.store is not None and not is_there(case.store):
            continue
        if case.name in known:
            args.loops = known[case.name]
        runner.bench_time_func(case.name, _Lazy(case))


class _Lazy:
    """A timer that is made when it is first needed: not for the cases that other processes time."""

    def __init__(self, case: Case) -> None:
        self._timer = cache(case.timer)

    def __call__(self, loops: int) -> float:
        return self._timer()(loops)


def _pass_on(command: list[str], args: Namespace) -> None:
    command.extend(("--table", args.table))


def _loops(filename: str) -> dict[str, int]:
    return {bench.get_name(): bench.get_loops() for bench in pyperf.BenchmarkSuite.load(filename)}


if __name__ == "__main__":
    main()
