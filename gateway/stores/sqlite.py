"""State in a SQLite file, shared by all workers of one machine (https://sqlite.org/wal.html)."""

from __future__ import annotations

import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gateway import forks
from gateway.envfile import shown
from gateway.errors import StateUnavailableError
from gateway.stores import MOST_AHEAD_SEC, Batch, Revocation, Store, batch_after

_PAUSE_SEC = 0.01
VERSION = 1  # of the tables, as the file's user_version

_TABLES = (
    """
    CREATE TABLE revocations (
        position INTEGER PRIMARY KEY AUTOINCREMENT,
        tag TEXT NOT NULL,
        issuer TEXT NOT NULL,
        kind TEXT NOT NULL,
        value TEXT NOT NULL,
        moment REAL NOT NULL,
        expires REAL NOT NULL
    )
    """,
    "CREATE INDEX revocations_by_expiry ON revocations (expires)",
    """
    CREATE TABLE hits (
        key TEXT NOT NULL,
        hit TEXT NOT NULL,
        at REAL NOT NULL,
        until REAL NOT NULL,
        PRIMARY KEY (key, hit)
    ) WITHOUT ROWID
    """,
    "CREATE INDEX hits_by_end ON hits (until)",
    f"PRAGMA user_version = {VERSION}",
)
_APPEND = "INSERT INTO revocations (tag, issuer, kind, value, moment, expires) VALUES (?, ?, ?, ?, ?, ?)"
# The last stays, so that those who have read up to it find their place.
_FORGET = """
DELETE FROM revocations WHERE position IN (SELECT position FROM revocations WHERE expires <= ? LIMIT 100)
    AND position < (SELECT max(position) FROM revocations)
"""
_READ = """
SELECT position, tag, issuer, kind, value, moment, expires FROM revocations
    WHERE position >= ? ORDER BY position LIMIT ?
"""


class SQLiteStore(Store):
    """A file in write-ahead mode, with every change on the disk before it counts as made.

    It is read and written by connections of their own: in that mode neither waits for the other.

    Args:
        path: the file; it is made, for its owner alone, where there is none.
        timeout: seconds to wait for others who write.
    """

    def __init__(self, path: str, timeout: float) -> None:
        self._reader = _File(path, timeout)
        self._writer = _File(path, timeout)

    def append(self, revocations: Sequence[Revocation], now: float) -> None:
        """Append revocations, in one transaction."""
        with self._writer.changed() as connection:
            connection.execute(_FORGET, (now,))
            connection.executemany(
                _APPEND, [(secrets.token_hex(8), *map(_storable, each)) for each in revocations]
            )

    def read(self, position: Hashable | None, limit: int) -> Batch:
        """Return revocations after a position."""
        with self._reader.connected() as connection:

            def entries_from(anchor: Any, count: int) -> list[tuple[Hashable, Revocation]]:
                rows = connection.execute(_READ, (anchor[0] if anchor else 0, count))
                return [(row[:2], Revocation(*map(_text, row[2:]))) for row in rows]

            return batch_after(position, limit, entries_from)

    def admit(self, limits: Mapping[str, int], hit: str, window: float, now: float) -> float:
        """Count a hit under every key, or under none, in one transaction."""
        with self._writer.changed() as connection:
            connection.execute("DELETE FROM hits WHERE until <= ? OR at > ?", (now, now + MOST_AHEAD_SEC))
            waits = [_wait(connection, key, limit, now) for key, limit in limits.items()]
            if not any(waits):
                rows = [(key, hit, now, now + window) for key in limits]
                connection.executemany("INSERT INTO hits VALUES (?, ?, ?, ?)", rows)
        return max(waits)

    def forgive(self, hit: str, keys: Iterable[str], cleared: Iterable[str]) -> None:
        """Take a hit back under some keys, and all hits under others, in one transaction."""
        with self._writer.changed() as connection:
            connection.executemany("DELETE FROM hits WHERE key = ? AND hit = ?", [(key, hit) for key in keys])
            connection.executemany("DELETE FROM hits WHERE key = ?", [(key,) for key in cleared])

    def close(self) -> None:
        """Let go of the file."""
        self._reader.close()
        self._writer.close()


class _File:
    """One connection to the file, opened when it is first needed, and used by one thread at a time."""

    def __init__(self, path: str, timeout: float) -> None:
        self._connection: sqlite3.Connection | None = None
        self._path = path
        self._timeout = timeout
        self._identity: tuple[int, int] | None = None
        self._lock = threading.Lock()
        forks.pause_during(self)

    def pause(self) -> None:
        """Close the file: SQLite counts its locks by process, and must not be forked with one open."""
        self._lock.acquire()
        self._drop()

    def resume(self) -> None:
        """Let it be opened again."""
        self._lock.release()

    def begin_anew(self) -> None:
        """Forget who was at it when this process was forked."""
        self._lock = threading.Lock()

    @contextmanager
    def changed(self) -> Iterator[sqlite3.Connection]:
        """Yield a connection in a transaction, which counts once the block has ended well."""
        with self.connected() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    @contextmanager
    def connected(self) -> Iterator[sqlite3.Connection]:
        """Yield a connection."""
        if not self._lock.acquire(timeout=self._timeout):
            raise StateUnavailableError("the state file is being waited for")
        try:
            yield self._sound_connection()
        except (sqlite3.Error, OSError) as error:
            self._drop()
            raise StateUnavailableError(f"{shown(Path(self._path))}: {error}") from error
        except UnicodeError as error:
            raise StateUnavailableError("the state file holds what is no text") from error
        finally:
            self._lock.release()

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._drop()

    def __del__(self) -> None:
        self._drop()

    def _sound_connection(self) -> sqlite3.Connection:
        """Return a connection to the file that is at the path now: it may be another than it was."""
        if self._connection is not None and not self._is_there():
            self._drop()
        if self._connection is None:
            self._connection = self._open()
        return self._connection

    def _open(self) -> sqlite3.Connection:
        _make_private(self._path)
        connection = sqlite3.connect(
            self._path, timeout=self._timeout, isolation_level=None, check_same_thread=False
        )
        try:
            _prepare(connection, time.monotonic() + self._timeout)
        except BaseException:
            connection.close()
            raise
        self._identity = _identity(self._path)
        return connection

    def _is_there(self) -> bool:
        try:
            return self._identity == _identity(self._path)
        except FileNotFoundError:
            return False

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _storable(value: object) -> object:
    """Return a value as SQLite keeps it: text with half of a surrogate pair, as JSON can hold, as bytes."""
    if isinstance(value, str) and not value.isascii():
        encoded = value.encode("utf-8", "surrogatepass")
        return encoded if encoded != value.encode("utf-8", "replace") else value
    return value


def _text(value: Any) -> Any:
    return value.decode("utf-8", "surrogatepass") if isinstance(value, bytes) else value


def _make_private(path: str) -> None:
    """Make the file, if it is missing, for its owner alone, and see that it is not lost from its folder.

    One that is there is not even opened: closing it would drop the locks that SQLite has on it in this
    process (https://sqlite.org/howtocorrupt.html#_posix_advisory_locks_canceled_by_a_separate_thread).
    """
    file = Path(path).resolve()  # where a link leads
    try:
        os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        return
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _prepare(connection: sqlite3.Connection, deadline: float) -> None:
    _write_ahead(connection, deadline)
    connection.execute("PRAGMA synchronous = FULL")
    if _version(connection) == 0:
        connection.execute("BEGIN IMMEDIATE")
        if _version(connection) == 0:  # nobody else was faster
            for statement in _TABLES:
                connection.execute(statement)
        connection.execute("COMMIT")
    if _version(connection) > VERSION:
        raise StateUnavailableError(f"the state file is of a newer version than {VERSION}")


def _write_ahead(connection: sqlite3.Connection, deadline: float) -> None:
    """Switch to write-ahead mode, in which SQLite does not wait for others who do so: a new file's first."""
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_PAUSE_SEC)
        else:
            return


def _version(connection: sqlite3.Connection) -> int:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)


def _identity(path: str) -> tuple[int, int]:
    found = Path(path).stat()
    return found.st_dev, found.st_ino


def _wait(connection: sqlite3.Connection, key: str, limit: int, now: float) -> float:
    """Return the seconds until there is room under a key: until the oldest of its hits has ended."""
    (count, first) = connection.execute(
        "SELECT count(*), min(until) FROM hits WHERE key = ?", (key,)
    ).fetchone()
    return float(first - now) if count >= limit else 0.0
