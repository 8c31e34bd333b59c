"""The folder in which gunicorn's workers keep their metrics, so that any of them can show those of all.

prometheus_client looks at `PROMETHEUS_MULTIPROC_DIR` when it is first imported, and not later.
"""

from __future__ import annotations

import atexit
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway.envfile import shown
from gateway.errors import ConfigError

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"

_OF_A_PROCESS = re.compile(r".*_([0-9]+)\.db")


class MetricsFolder:
    """The folder of a master and its workers: the operator's own, or a new one that goes with the master."""

    def __init__(self) -> None:
        self._made: Path | None = None
        self._owner = os.getpid()

    def prepare(self) -> None:
        """Set the variable, if it is not."""
        if not os.environ.get(VARIABLE):
            self._made = Path(tempfile.mkdtemp(prefix="gateway-metrics-"))
            os.environ[VARIABLE] = str(self._made)
            atexit.register(self._remove)

    def begin(self, uid: int, gid: int) -> None:
        """Have it ready for the first workers, which are of this user and group.

        Raises:
            ConfigError: the operator's own cannot be made, or be cleared of what a former run has left.
        """
        self._owner = os.getpid()  # a daemon's is another than it was
        self.grant(uid, gid)
        # Where a new master takes the place of one that still runs, both have the operator's own.
        if self._made is None and "GUNICORN_PID" not in os.environ:
            _clear(Path(os.environ[VARIABLE]))

    def grant(self, uid: int, gid: int) -> None:
        """Let workers of this user and group write into it, if it was made here."""
        if self._made is not None and os.geteuid() == 0:
            os.chown(self._made, uid, gid)

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Have processes that are forked meanwhile write elsewhere: what they count is not to be shown."""
        kept = os.environ.get(VARIABLE)
        if not kept:
            yield
            return
        with tempfile.TemporaryDirectory() as elsewhere:
            os.environ[VARIABLE] = elsewhere
            try:
                yield
            finally:
                os.environ[VARIABLE] = kept

    def _remove(self) -> None:
        """Remove it as the master ends; workers, which end as well, leave it."""
        if self._made is not None and os.getpid() == self._owner:
            shutil.rmtree(self._made, ignore_errors=True)


def _clear(folder: Path) -> None:
    """Make the folder if it is missing, and delete the files of all processes but this one."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file in folder.iterdir():
            named = _OF_A_PROCESS.fullmatch(file.name)
            if named is not None and int(named[1]) != os.getpid():
                file.unlink()
    except OSError as error:
        line = f"{VARIABLE} is {shown(folder)}, which cannot be made or cleared: {error.strerror}"
        raise ConfigError(f"{line}; it must be a folder for these metrics alone") from None
