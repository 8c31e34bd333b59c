"""Other programs, run by their argument lists: nothing in them comes from outside."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

_END_SEC = 30


def run(command: Sequence[str], *, cwd: Path) -> None:
    """Run a program to its end.

    Raises:
        CalledProcessError: it failed.
    """
    subprocess.run(command, cwd=cwd, check=True)  # noqa: S603


def output(
    command: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    check: bool = True,
) -> str:
    """Return what a program prints.

    Raises:
        CalledProcessError: it failed, and `check` is set.
    """
    done = subprocess.run(command, cwd=cwd, env=env, check=check, stdout=subprocess.PIPE, text=True)  # noqa: S603
    return done.stdout


@contextmanager
def running(
    command: Sequence[str], *, cwd: Path, env: Mapping[str, str], pass_fds: Sequence[int]
) -> Iterator[None]:
    """Keep a program running meanwhile, and then ask it to end, and wait until it has."""
    with subprocess.Popen(command, cwd=cwd, env=env, pass_fds=pass_fds) as process:  # noqa: S603
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(_END_SEC)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
