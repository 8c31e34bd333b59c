"""Servers of data in child processes: a test kills, freezes and starts them as it likes."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import psutil

from tests.integration.servers import environment, until

S = TypeVar("S", bound="Store")

SERVERS = Path(sys.prefix) / "servers"  # beside the packages, as none of them is ever imported


def program(*parts: str) -> Path:
    """A server's program, from the folder where `make` puts them."""
    path = SERVERS.joinpath(*parts)
    assert path.exists(), f"{path} is missing: `make test` puts it there"
    return path


class Store(ABC):
    """A server at a port of 127.0.0.1 that stays its own while it is down."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.port = port
        self.log = folder / "server.log"
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self) -> tuple[str | Path, ...]:
        """What runs it."""

    @abstractmethod
    def answers(self) -> bool:
        """Tell whether it serves."""

    def identity(self) -> dict[str, Any]:
        """As whom it runs and where, in the words of `subprocess`."""
        return {"cwd": self.folder}

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Begin to serve, and return once it answers."""
        assert not self.runs
        with self.log.open("ab") as sink:
            self._process = subprocess.Popen(
                (*_leash(), *self.command()),
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                start_new_session=True,  # an interrupt is for the tests, which end it
                **self.identity(),
            )
        self.wait(self._ready)

    def wait(self, holds: Callable[[], bool]) -> None:
        """Wait until this holds; if it never does, the log may tell why."""
        until(lambda: holds() or None, self.log.read_text)

    def kill(self) -> None:
        """End it at once, with no word to anybody."""
        children = self._signal(signal.SIGKILL)
        self.wait(lambda: not self.runs and all(map(_gone, children)))

    def freeze(self) -> None:
        """Keep its connections, and answer nobody."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Go on from where it froze."""
        self._signal(signal.SIGCONT)

    def end(self) -> None:
        """Kill it, if it runs; who stops in good order does so late, or never while frozen."""
        if self.runs:
            self.kill()

    def _ready(self) -> bool:
        assert self.runs, self.log.read_text()
        return self.answers()

    def _signal(self, number: signal.Signals) -> list[psutil.Process]:
        """Send this to it and to its children, and tell who these are.

        No process group has them all: each child of PostgreSQL is in one of its own.
        """
        assert self.runs, self.log.read_text()
        os.kill(self.pid, signal.SIGSTOP)  # it has no more children from here on
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        parent = psutil.Process(self.pid)
        children: list[psutil.Process] = parent.children(recursive=True)
        for process in (*children, parent):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)
        return children


@contextlib.contextmanager
def running(store: S) -> Iterator[S]:
    """Start it, and end it with the block."""
    try:
        store.start()
        yield store
    finally:
        store.end()


def _leash() -> tuple[str, ...]:
    """What to write before a command that is to end with this process, even if that is killed."""
    # To the kernel, who starts a child is a thread: the child of one that is done would end at once.
    lasts = threading.current_thread() is threading.main_thread()
    return ("setpriv", "--pdeathsig", "KILL", "--") if lasts and shutil.which("setpriv") else ()


def _gone(process: psutil.Process) -> bool:
    """Tell whether it holds nothing any more; who reaps it is another matter."""
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True
