"""Those who may log in: one table in any database that SQLAlchemy knows, with a hash of each password."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    URL,
    Boolean,
    Column,
    Connection,
    Double,
    Engine,
    MetaData,
    NullPool,
    Row,
    String,
    Table,
    Text,
    create_engine,
    delete,
    insert,
    inspect,
    make_url,
    select,
    update,
)
from sqlalchemy.exc import (
    ArgumentError,
    IntegrityError,
    NoSuchModuleError,
    SQLAlchemyError,
    StatementError,
)
from sqlalchemy.sql.dml import Delete, Update

from gateway import forks, passwords
from gateway.claims import uid_text
from gateway.errors import ConfigError, GatewayError, StoreError, UsersUnavailableError
from gateway.kinds import USERS_URL

VERSION: Final = 1  # of the table

_PAGE = 500  # users that are read at once
# The row in which the version is noted, in its claims: nobody's, since no uid is empty.
_NOBODY = ""

_table = Table(
    "gateway_users",
    MetaData(),
    Column("uid", String(255), primary_key=True),
    Column("password_hash", String(255), nullable=False),
    Column("claims", Text, nullable=False),  # a JSON object
    Column("disabled", Boolean, nullable=False),
    Column("created", Double, nullable=False),  # both in seconds since 1970
    Column("changed", Double, nullable=False),
)

_log = logging.getLogger("gateway")

# Engines of the process from which this one was forked. Their connections are not ours to close, and would
# be if nobody held them.
_abandoned: list[Engine | None] = []


class DuplicateUserError(GatewayError):
    """There is such a user already."""


class UnreadableUserError(UsersUnavailableError):
    """The row of one user is none that was written here."""

    is_down = False


class User(NamedTuple):
    """Who may log in, and what goes into the token then; times are in seconds since 1970."""

    uid: str
    claims: dict[str, Any]
    disabled: bool
    created: float
    changed: float


class Users:
    """The table of users, which is made where it is missing, unless `makes` is False.

    It connects when it is first asked, and anew after a fork, and can be used by several threads at once. No
    connection is held while a password is hashed. All methods raise UsersUnavailableError where the
    database cannot do what it is asked.

    Args:
        url: the database, as SQLAlchemy writes it; no memory of this process.
        timeout: seconds to wait for a free connection, or for others who write to a SQLite file. How long to
            wait for another database, its driver alone knows.
        clock: tells the time, in seconds since 1970.
        makes: whether the table is made where it is missing, and a SQLite file; else it cannot be asked.

    Raises:
        ConfigError: it is no such URL, or its driver is not installed.
    """

    def __init__(
        self,
        url: str,
        timeout: float = 5.0,
        clock: Callable[[], float] = time.time,
        *,
        makes: bool = True,
    ) -> None:
        self._url = _parsed(url)
        self._file = self._url.database if _is_file(self._url) else None
        self._timeout = timeout
        self._clock = clock
        self._makes = makes
        self._lock = threading.Lock()
        self._engine: Engine | None = _engine(self._url, timeout)
        self._is_prepared = False
        forks.begin_anew_after(self)

    def begin_anew(self) -> None:
        """Leave the connections to the process from which this one was forked."""
        _abandoned.append(self._engine)
        self._lock = threading.Lock()
        self._engine = None

    def add(self, uid: str, password: str, claims: Mapping[str, Any] | None = None) -> None:
        """Add a user.

        Args:
            uid: 1 to 255 visible ASCII characters without a comma.
            password: 1 to 1,024 bytes in UTF-8.
            claims: what else goes into the token, JSON values by name.

        Raises:
            DuplicateUserError: there is such a user already.
            ValueError: the uid, the password or a claim is none.
        """
        if uid_text(uid) != uid:
            raise ValueError("a uid is 1 to 255 visible ASCII characters without a comma")
        text = _as_json(claims or {})
        if self.get(uid) is not None:  # which spares the hash; the primary key decides
            raise DuplicateUserError(_there_is(uid))
        row = _new_row(uid, passwords.hashed(password), text, self._clock())
        with self._transaction() as connection:
            try:
                connection.execute(insert(_table).values(row))
            except IntegrityError:
                raise DuplicateUserError(_there_is(uid)) from None

    def get(self, uid: str) -> User | None:
        """Return a user, or None if there is no such."""
        row = self._find(uid)
        return None if row is None else _user(row)

    def all(self) -> Iterator[User]:
        """Yield all users, some of whom are read at a time, in the order that the database has for uids."""
        last = _NOBODY
        while rows := self._page(last):
            yield from map(_user, rows)
            last = rows[-1].uid

    def set_password(self, uid: str, password: str) -> bool:
        """Give a user another password, and tell whether there is such a user.

        Raises:
            ValueError: the password is empty or over 1,024 bytes in UTF-8.
        """
        return self._change(uid, password_hash=passwords.hashed(password))

    def set_disabled(self, uid: str, disabled: bool) -> bool:
        """Let a user log in no more, or again, and tell whether there is such a user."""
        return self._change(uid, disabled=disabled)

    def set_claims(self, uid: str, claims: Mapping[str, Any]) -> bool:
        """Replace the extra claims of a user, and tell whether there is such a user.

        Raises:
            ValueError: a claim is not plain JSON.
        """
        return self._change(uid, claims=_as_json(claims))

    def remove(self, uid: str) -> bool:
        """Remove a user, and tell whether there was such a user."""
        return self._execute(uid, delete(_table))

    def check(self, uid: str, password: str) -> dict[str, Any] | None:
        """Return the extra claims of a user who may log in with this password, else None.

        No user, a disabled one and a wrong password cost the same: one hash. After a right one the row is
        read again, so that nobody gets in by what was changed meanwhile; a hash of other parameters than
        those of today is replaced.

        Raises:
            BusyError: too many passwords are being hashed.
        """
        row = self._find(uid)
        while (
            passwords.verify(password, None if row is None else row.password_hash)
            and row is not None
            and not row.disabled
        ):
            before, row = row, self._find(uid)
            if row is not None and row.password_hash == before.password_hash:
                return None if row.disabled else self._granted(row, password)
        return None

    def ping(self) -> None:
        """Ask the database for the table.

        Raises:
            UsersUnavailableError: it cannot be had.
        """
        with self._transaction() as connection:
            _check_version(connection)

    def close(self) -> None:
        """Let go of the connections; when asked again, it connects anew."""
        with self._lock:
            engine, self._engine = self._engine, None
        if engine is not None:
            engine.dispose()

    def _granted(self, row: Row[Any], password: str) -> dict[str, Any]:
        if passwords.needs_rehash(row.password_hash):
            self._rehash(row, password)
        return _user(row).claims

    def _rehash(self, row: Row[Any], password: str) -> None:
        """Replace the hash of a right password; if that cannot be done now, the next login does it."""
        is_the_same = (_table.c.uid == row.uid) & (_table.c.password_hash == row.password_hash)
        try:
            fresh = passwords.hashed(password)
            with self._transaction() as connection:
                connection.execute(update(_table).where(is_the_same).values(password_hash=fresh))
        except StoreError as error:
            _log.warning("the password of a user cannot be hashed anew: %s", error)

    def _change(self, uid: str, **values: Any) -> bool:
        return self._execute(uid, update(_table).values(changed=self._clock(), **values))

    def _execute(self, uid: str, statement: Update | Delete) -> bool:
        with self._transaction() as connection:
            row = _row(connection, uid)
            return (
                row is not None and connection.execute(statement.where(_table.c.uid == row.uid)).rowcount > 0
            )

    def _find(self, uid: str) -> Row[Any] | None:
        with self._transaction() as connection:
            return _row(connection, uid)

    def _page(self, last: str) -> Sequence[Row[Any]]:
        with self._transaction() as connection:
            return connection.execute(
                select(_table).where(_table.c.uid > last).order_by(_table.c.uid).limit(_PAGE)
            ).all()

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        """Yield a connection, whose changes count once the block has ended well."""
        try:
            with self._prepared().begin() as connection:
                yield connection
        except UsersUnavailableError:
            self._is_prepared = False
            raise
        except (SQLAlchemyError, OSError) as error:
            self._is_prepared = False  # once it answers again, it may be another
            raise UsersUnavailableError(f"the users database: {_reason(error, self._url)}") from None

    def _prepared(self) -> Engine:
        """Return the engine of a database in which the table is, and is of our version."""
        with self._lock:
            if self._engine is None:
                self._engine = _engine(self._url, self._timeout)
            engine = self._engine
        if self._file is not None and self._is_missing(self._file):
            self._is_prepared = False
        if not self._is_prepared:
            if self._makes:
                _make(engine, self._clock())
            with engine.connect() as connection:
                _check_version(connection)
            self._is_prepared = True
        return engine

    def _is_missing(self, path: str) -> bool:
        """Tell whether a file was missing: it was then made for its owner alone."""
        if self._makes:
            return _make_private(path)
        if not Path(path).exists():
            raise UsersUnavailableError("the users database: its file is not there")
        return False


def _parsed(text: str) -> URL:
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise ConfigError(f"GATEWAY_USERS_URL cannot be read; it must be {USERS_URL.must}") from None
    if not _is_file(url):
        return url
    path = url.database or ""
    if path in ("", ":memory:") or path.startswith("file:"):
        raise ConfigError(f"GATEWAY_USERS_URL names no file; it must be {USERS_URL.must}")
    return url.set(database=str(Path(path).absolute()))


def _is_file(url: URL) -> bool:
    return url.get_backend_name() == "sqlite"


def _engine(url: URL, timeout: float) -> Engine:
    try:
        engine = create_engine(url, pool_pre_ping=True, hide_parameters=True, **_pooling(url, timeout))
    except ImportError as error:
        raise ConfigError(_missing(url, error)) from None
    except NoSuchModuleError:
        line = f"GATEWAY_USERS_URL begins with {url.drivername}, which SQLAlchemy does not know"
        raise ConfigError(f"{line}; it must be {USERS_URL.must}") from None
    except (ArgumentError, TypeError, ValueError):
        raise ConfigError(f"GATEWAY_USERS_URL cannot be used; it must be {USERS_URL.must}") from None
    if engine.dialect.is_async:
        line = f"GATEWAY_USERS_URL begins with {url.drivername}, which is for asyncio alone"
        raise ConfigError(f"{line}; it must be {USERS_URL.must}")
    return engine


def _pooling(url: URL, timeout: float) -> dict[str, Any]:
    """Return how connections are kept: to a file not at all, since it may be replaced at any time."""
    if not _is_file(url):
        return {"pool_timeout": timeout}
    return {"poolclass": NullPool, "connect_args": {} if "timeout" in url.query else {"timeout": timeout}}


def _missing(url: URL, error: ImportError) -> str:
    line = f"GATEWAY_USERS_URL begins with {url.drivername}, which needs {error.name or 'its driver'}"
    is_psycopg = "psycopg" in (error.name, url.drivername.partition("+")[2])
    return f"{line}: pip install 'psycopg[binary]'" if is_psycopg else f"{line}, which is not installed"


def _make_private(path: str) -> bool:
    """Make a file for its owner alone, if it is missing, and tell whether it was."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        return False
    return True


def _make(engine: Engine, now: float) -> None:
    """Make the table, if it is missing; other processes may do the same just now."""
    try:
        _table.create(engine, checkfirst=True)
    except SQLAlchemyError:
        if not inspect(engine).has_table(_table.name):  # nobody else was faster
            raise
    with suppress(IntegrityError), engine.begin() as connection:
        if _noted_version(connection) is None:
            row = _new_row(_NOBODY, "", _as_json({"version": VERSION}), now)
            connection.execute(insert(_table).values({**row, "disabled": True}))


def _noted_version(connection: Connection) -> str | None:
    noted: str | None = connection.scalar(select(_table.c.claims).where(_table.c.uid == _NOBODY))
    return noted


def _check_version(connection: Connection) -> None:
    version = _object(_noted_version(connection)).get("version")
    if type(version) is not int or version < 1:
        raise UsersUnavailableError("the users database: its table gateway_users does not tell its version")
    if version > VERSION:
        line = f"the users database: its table gateway_users is of the version {version}"
        raise UsersUnavailableError(f"{line}, newer than {VERSION}; the gateway must be upgraded")


def _there_is(uid: str) -> str:
    return f"there is a user {uid!r} already; gateway users passwd or claims changes it"


def _new_row(uid: str, password_hash: str, claims: str, now: float) -> dict[str, Any]:
    values = {"password_hash": password_hash, "claims": claims, "disabled": False}
    return {"uid": uid, **values, "created": now, "changed": now}


def _row(connection: Connection, uid: str) -> Row[Any] | None:
    """Return the row of exactly this uid: to some databases `bob` and `BOB` are the same."""
    if uid_text(uid) != uid:
        return None
    row = connection.execute(select(_table).where(_table.c.uid == uid)).first()
    return row if row is not None and row.uid == uid else None


def _user(row: Row[Any]) -> User:
    claims = _object(row.claims)
    return User(row.uid, claims, bool(row.disabled), row.created, row.changed)


def _as_json(claims: Mapping[str, Any]) -> str:
    try:
        return json.dumps(dict(claims), allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        raise ValueError("a claim is not plain JSON") from None


def _object(text: str | None) -> dict[str, Any]:
    with suppress(ValueError):
        found = json.loads(text or "")
        if isinstance(found, dict):
            return found
    raise UnreadableUserError("the users database: the claims of a user are no JSON object")


def _reason(error: Exception, url: URL) -> str:
    """Return why the database could not do it, in one line without a password."""
    cause = error.orig if isinstance(error, StatementError) and error.orig is not None else error
    name = type(cause).__name__
    line = next(iter(str(cause).splitlines()), "")
    secrets = [str(value) for key, value in url.query.items() if "pass" in key]
    if url.password is not None:
        secrets.append(str(url.password))
    return name if any(secret in line for secret in secrets) else f"{name}: {line}"
