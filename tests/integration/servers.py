"""Real servers and commands in child processes, and raw HTTP to talk to them."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.message import Message
from email.parser import BytesHeaderParser
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")

ROOT = Path(__file__).parents[2]
SCRIPTS = Path(sysconfig.get_path("scripts"))
GUNICORN = SCRIPTS / "gunicorn"
WAITRESS = SCRIPTS / "waitress-serve"
SHIPPED = ("-c", "python:gateway.gunicorn_conf", "gateway.wsgi:application")
ANY_PORT = ("-b", "127.0.0.1:0")
UNIX_SOCKET = "gateway.sock"  # in the server's folder, where one is bound
DEADLINE = 30  # seconds, for what takes one

_KEPT = re.compile(r"PATH|LD_LIBRARY_PATH|COVERAGE_.*")
_LISTENING = re.compile(r"(?:Listening at:|Serving on) http://127\.0\.0\.1:([0-9]+)")


def environment(**variables: str) -> dict[str, str]:
    """An environment of these variables and of those without which nothing runs or is measured."""
    return {name: value for name, value in os.environ.items() if _KEPT.fullmatch(name)} | variables


def run(folder: Path, *command: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, in `folder`."""
    return subprocess.run(
        command,
        cwd=folder,
        env=environment(**variables),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )


def until(found: Callable[[], T | None], otherwise: Callable[[], str]) -> T:
    """What `found` returns once it is something, asked often; past the deadline the test fails."""
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        value = found()
        if value is not None:
            return value
        time.sleep(0.01)
    raise AssertionError(otherwise())


class Answer(NamedTuple):
    """A response, as it came."""

    line: str
    headers: Message
    body: bytes

    @classmethod
    def parse(cls, raw: bytes) -> Answer:
        head, _, body = raw.partition(b"\r\n\r\n")
        line, _, fields = head.partition(b"\r\n")
        return cls(line.decode("latin-1"), BytesHeaderParser().parsebytes(fields), body)

    @property
    def status(self) -> int:
        return int(self.line.split()[1])

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def refusal(self) -> tuple[int, str | None]:
        """Status and code; no code where the answer is not the gateway's."""
        return self.status, self.json.get("code")


@dataclass(frozen=True)
class Server:
    """A server that runs: its master's pid, its folder and its port of 127.0.0.1."""

    pid: int
    folder: Path
    port: int

    def send(self, raw: bytes, *, over: str = "tcp") -> bytes:
        """Send these bytes on a connection of their own, and return all that comes back."""
        kind, address = (
            (socket.AF_UNIX, str(self.folder / UNIX_SOCKET))
            if over == "unix"
            else (socket.AF_INET, ("127.0.0.1", self.port))
        )
        received = b""
        with socket.socket(kind, socket.SOCK_STREAM) as connection:
            connection.settimeout(DEADLINE)
            connection.connect(address)
            # A server may close before it has read everything; what it said before counts.
            with contextlib.suppress(ConnectionError):
                connection.sendall(raw)
                connection.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionError):
                while chunk := connection.recv(65536):
                    received += chunk
        return received

    def ask(self, target: str, *headers: str, method: str = "GET", over: str = "tcp") -> Answer:
        """Send a request with these header lines, each exactly as it stands."""
        lines = (f"{method} {target} HTTP/1.1", "Host: test", "Connection: close", *headers, "", "")
        return Answer.parse(self.send("\r\n".join(lines).encode("latin-1"), over=over))


def log_of(server: Server) -> str:
    """All that a server has written."""
    return (server.folder / "server.log").read_text()


@contextlib.contextmanager
def free_port() -> Iterator[int]:
    """A port that the kernel gives to nobody else until the block ends."""
    with socket.socket() as holder:
        # On Linux, who says so as well, as gunicorn does, may have a port that is bound but not listened at.
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        port: int = holder.getsockname()[1]
        if sys.platform != "linux":
            holder.close()  # the port is free, but another may take it
        yield port


@contextlib.contextmanager
def serving(folder: Path, *command: str | Path, **variables: str) -> Iterator[Server]:
    """Run a server that binds to a port of the kernel's choosing, until the block ends."""
    log = folder / "server.log"
    with (
        log.open("wb") as sink,
        subprocess.Popen(
            command,
            cwd=folder,
            env=environment(**variables),
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
        ) as process,
    ):

        def port() -> int | None:
            assert process.poll() is None, log.read_text()
            listening = _LISTENING.search(log.read_text())
            return int(listening[1]) if listening else None

        try:
            yield Server(process.pid, folder, until(port, log.read_text))
        finally:
            process.terminate()
            try:
                process.wait(DEADLINE)
            except subprocess.TimeoutExpired:
                process.kill()
