"""A real PostgreSQL, as another user where root runs the tests: it refuses to serve as root."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg

from tests.integration.servers import DEADLINE, environment, free_port
from tests.integration.stores import SERVERS, Store, program, running

USER = "gateway"  # the superuser, who needs no password

_PACKAGE = ("pgserver", "pgserver.libs")  # in folders that know each other by where they are
_PROGRAMS = ("pgserver", "pginstall", "bin")
_DATABASE = ("--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync", f"--username={USER}")
_OPTIONS = (
    *("-h", "127.0.0.1", "-k", ""),  # no socket of Unix
    "-F",  # what is written may stay in the kernel's memory, which outlives the server
    *("-c", "dynamic_shared_memory_type=mmap"),  # in its folder, as it is with all else
)


class Postgres(Store):
    """A server of a database cluster in this folder, with the programs of that one."""

    def __init__(self, folder: Path, port: int, programs: Path, *options: str) -> None:
        super().__init__(folder, port)
        self.data = folder / "data"
        self._programs = programs
        self._options = options

    def url(self, database: str = "postgres") -> str:
        """The address of a database, for SQLAlchemy."""
        return f"postgresql+psycopg://{USER}@127.0.0.1:{self.port}/{database}"

    def command(self) -> tuple[str | Path, ...]:
        place = ("-D", self.data, "-p", str(self.port))
        return (self._programs / "postgres", *place, *_OPTIONS, *self._options)

    def identity(self) -> dict[str, Any]:
        return super().identity() | _somebody()

    def answers(self) -> bool:
        try:
            psycopg.connect(self.url().replace("+psycopg", ""), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def kill(self) -> None:
        """End it and its children at once, and with them all that is not in its folder."""
        super().kill()
        # Its shared memory would stay for ever, were it not started again.
        for line in self.data.joinpath("postmaster.pid").read_text().splitlines()[6:7]:
            subprocess.run(("ipcrm", "-m", line.split()[1]), check=True, timeout=DEADLINE)

    def prepare(self) -> None:
        """Make the database cluster."""
        command = (self._programs / "initdb", *_DATABASE, "-D", self.data)
        with self.log.open("ab") as sink:
            done = subprocess.run(
                command,
                env=environment(),
                stdout=sink,
                stderr=sink,
                timeout=DEADLINE,
                check=False,
                **self.identity(),
            )
        assert done.returncode == 0, self.log.read_text()


@contextlib.contextmanager
def postgres(folder: Path, *options: str) -> Iterator[Postgres]:
    """Run a server with these options, in this folder or, as another user, in one of its own."""
    with _owned(folder) as place, free_port() as port:
        server = Postgres(place, port, _programs(), *options)
        server.prepare()
        with running(server):
            yield server


def _somebody() -> dict[str, Any]:
    """The user who is to run it, in the words of `subprocess`: this one, unless that is root."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": ()}


@contextlib.contextmanager
def _owned(folder: Path) -> Iterator[Path]:
    """A folder that is the server's user's: root's tests are in some that nobody else may read."""
    if os.geteuid() != 0:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
        return
    somebody = _somebody()
    with tempfile.TemporaryDirectory(prefix="gateway-postgres-") as name:
        os.chown(name, somebody["user"], somebody["group"])
        yield Path(name)


def _programs() -> Path:
    """Where the programs are that the server's user may run."""
    installed = program(*_PROGRAMS, "postgres").parent
    return _copied().joinpath(*_PROGRAMS) if os.geteuid() == 0 else installed


def _copied() -> Path:
    """A copy of the package that everybody may read and root alone may write, made once per machine."""
    (version,) = SERVERS.glob("pgserver-*.dist-info")
    copy = Path(tempfile.gettempdir()) / f"gateway-{version.stem}"
    if not copy.exists():
        _copy(copy)
    found = copy.lstat()
    assert (found.st_uid, found.st_mode) == (0, 0o40755), f"{copy} is not ours: remove it"
    return copy


def _copy(to: Path) -> None:
    """Make the copy beside its place and move it there, unless another process did so first."""
    with tempfile.TemporaryDirectory(prefix=f"{to.name}-") as name:
        fresh = Path(name, "copy")
        for part in _PACKAGE:
            shutil.copytree(SERVERS / part, fresh / part)
        for path in (fresh, *fresh.rglob("*")):
            path.chmod(0o755)
        with contextlib.suppress(OSError):
            fresh.rename(to)
