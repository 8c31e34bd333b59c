"""Users in a SQLite file: who gets in and at what cost, what is refused, and what no error shows."""

from __future__ import annotations

import logging
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from gateway import ConfigError, kinds, passwords
from gateway.claims import uid_claim
from gateway.errors import UsersUnavailableError
from gateway.passwords import BusyError
from gateway.users import DuplicateUserError, User, Users
from tests.support import NOW
from tests.test_passwords import CheapHasher

PASSWORD = "correct horse"
OTHER = "battery staple"
CLAIMS = {"role": "editor", "scope": "read write", "nested": {"list": [1, 2.5, None, True, "ä\ud800\0"]}}
MUST = f"it must be {kinds.USERS_URL.must}"


@pytest.fixture(name="hasher", autouse=True)
def _hasher(monkeypatch: pytest.MonkeyPatch) -> CheapHasher:
    hasher = CheapHasher()
    monkeypatch.setattr(passwords, "hasher", hasher)
    return hasher


@pytest.fixture(name="file")
def _file(tmp_path: Path) -> Path:
    return tmp_path / "users.db"


@pytest.fixture(name="users")
def _users(file: Path) -> Iterator[Users]:
    """A table with bob in it."""
    with closing(Users(f"sqlite:///{file}", timeout=0, clock=lambda: NOW)) as users:
        users.add("bob", PASSWORD, CLAIMS)
        yield users


def ask(file: Path, statement: str, *values: object) -> list[tuple[Any, ...]]:
    """Ask the file itself."""
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        return connection.execute(statement, values).fetchall()


def hash_of(file: Path, uid: str = "bob") -> str:
    ((found,),) = ask(file, "SELECT password_hash FROM gateway_users WHERE uid = ?", uid)
    return str(found)


# Uids


@pytest.mark.parametrize(
    ("uid", "claim"),
    [
        pytest.param("0", 0, id="zero"),
        pytest.param("12", 12, id="integer"),
        pytest.param("-12", -12, id="negative"),
        pytest.param("-" + "9" * 254, -int("9" * 254), id="longest"),
        pytest.param("012", "012", id="leading-zero"),
        pytest.param("-0", "-0", id="minus-zero"),
        pytest.param("+12", "+12", id="plus"),
        pytest.param("1_2", "1_2", id="underscore"),
        pytest.param("1e3", "1e3", id="exponent"),
        pytest.param("12.0", "12.0", id="fraction"),
        pytest.param("9" * 255, "9" * 255, id="255-digits"),
        pytest.param("bob", "bob", id="text"),
    ],
)
def test_a_uid_is_an_integer_in_a_token_where_it_reads_as_one(uid: str, claim: int | str) -> None:
    assert uid_claim(uid) == claim


NO_UIDS = [
    pytest.param("", id="empty"),
    pytest.param("a b", id="space"),
    pytest.param("a,b", id="comma"),
    pytest.param("bob\n", id="newline"),
    pytest.param("b\0b", id="nul"),
    pytest.param("böb", id="not-ascii"),
    pytest.param("\ud800", id="half-a-pair"),
    pytest.param("x" * 256, id="long"),
]


@pytest.mark.parametrize("uid", NO_UIDS)
def test_what_is_no_uid_cannot_be_added(uid: str, users: Users) -> None:
    with pytest.raises(ValueError, match="a uid is 1 to 255 visible ASCII characters without a comma"):
        users.add(uid, PASSWORD)


@pytest.mark.parametrize("uid", NO_UIDS)
@pytest.mark.parametrize(
    "ask_for",
    [
        pytest.param(lambda users, uid: users.get(uid), id="get"),
        pytest.param(lambda users, uid: users.check(uid, ""), id="check"),
        pytest.param(lambda users, uid: users.set_password(uid, PASSWORD), id="set-password"),
        pytest.param(lambda users, uid: users.set_disabled(uid, False), id="set-disabled"),
        pytest.param(lambda users, uid: users.set_claims(uid, {}), id="set-claims"),
        pytest.param(lambda users, uid: users.remove(uid), id="remove"),
    ],
)
def test_what_is_no_uid_is_nobody(ask_for: Callable[[Users, str], object], uid: str, users: Users) -> None:
    assert not ask_for(users, uid)
    users.ping()


# Claims


@pytest.mark.parametrize(
    "claims",
    [
        pytest.param({"x": float("nan")}, id="nan"),
        pytest.param({"x": float("inf")}, id="infinity"),
        pytest.param({"x": b"x"}, id="bytes"),
        pytest.param({"x": {1}}, id="set"),
    ],
)
def test_a_claim_is_json(claims: dict[str, Any], users: Users) -> None:
    with pytest.raises(ValueError, match="a claim is not plain JSON"):
        users.set_claims("bob", claims)
    assert users.get("bob") == User("bob", CLAIMS, False, NOW, NOW)


@pytest.mark.parametrize("text", ["", "null", "[]", "{", '"x"'])
@pytest.mark.parametrize(
    "ask_for",
    [
        pytest.param(lambda users: users.get("bob"), id="get"),
        pytest.param(lambda users: list(users.all()), id="all"),
        pytest.param(lambda users: users.check("bob", PASSWORD), id="check"),
    ],
)
def test_claims_that_somebody_spoiled_are_a_fault_of_the_database(
    ask_for: Callable[[Users], object], text: str, users: Users, file: Path
) -> None:
    ask(file, "UPDATE gateway_users SET claims = ? WHERE uid = 'bob'", text)
    with pytest.raises(UsersUnavailableError, match="the claims of a user are no JSON object"):
        ask_for(users)


# Who gets in


def disabled(users: Users) -> None:
    users.set_disabled("bob", True)


def removed(users: Users) -> None:
    users.remove("bob")


def nothing(users: Users) -> None:
    pass


REFUSED = [
    pytest.param("bob", OTHER, nothing, id="wrong-password"),
    pytest.param("bob", "", nothing, id="empty-password"),
    pytest.param("bob", "x" * 1025, nothing, id="long-password"),
    pytest.param("nobody", PASSWORD, nothing, id="wrong-uid"),
    pytest.param("BOB", PASSWORD, nothing, id="other-case"),
    pytest.param("", "", nothing, id="row-of-the-version"),
    pytest.param("b b", PASSWORD, nothing, id="no-uid"),
    pytest.param("bob", PASSWORD, disabled, id="disabled"),
    pytest.param("bob", OTHER, disabled, id="disabled-and-wrong-password"),
    pytest.param("bob", PASSWORD, removed, id="removed"),
]


def test_the_right_password_gives_the_claims(users: Users) -> None:
    assert users.check("bob", PASSWORD) == CLAIMS


def test_there_may_be_no_claims(users: Users) -> None:
    users.add("alice", OTHER)
    assert users.check("alice", OTHER) == {}


@pytest.mark.parametrize(("uid", "password", "change"), REFUSED)
def test_all_else_gives_none(uid: str, password: str, change: Callable[[Users], None], users: Users) -> None:
    change(users)
    assert users.check(uid, password) is None


@pytest.mark.parametrize(("uid", "password", "change"), REFUSED)
def test_all_else_costs_one_hash(
    uid: str, password: str, change: Callable[[Users], None], users: Users, hasher: CheapHasher
) -> None:
    change(users)
    users.check(uid, password)
    assert len(hasher.computed) == 1


def test_the_right_password_costs_one_hash(users: Users, hasher: CheapHasher) -> None:
    users.check("bob", PASSWORD)
    assert len(hasher.computed) == 1


def test_nobody_is_added_a_second_time_and_pays_for_no_hash(users: Users, hasher: CheapHasher) -> None:
    hasher.while_hashing = lambda: pytest.fail("hashed in vain")
    with pytest.raises(DuplicateUserError, match="there is a user 'bob' already"):
        users.add("bob", OTHER)


def test_no_connection_is_held_while_a_password_is_verified(
    users: Users, hasher: CheapHasher, file: Path
) -> None:
    hasher.while_verifying = lambda: ask(file, "BEGIN EXCLUSIVE")
    assert users.check("bob", PASSWORD) == CLAIMS


def test_no_connection_is_held_while_a_password_is_hashed(
    users: Users, hasher: CheapHasher, file: Path
) -> None:
    hasher.while_hashing = lambda: ask(file, "BEGIN EXCLUSIVE")
    assert users.set_password("bob", OTHER)


# What is changed while a password is verified


def meanwhile(hasher: CheapHasher, change: Callable[[], object]) -> None:
    """Change something while the next password is verified."""

    def once() -> None:
        hasher.while_verifying = lambda: None
        change()

    hasher.while_verifying = once


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(disabled, id="disabled"),
        pytest.param(removed, id="removed"),
        pytest.param(lambda users: users.set_password("bob", OTHER), id="other-password"),
    ],
)
def test_nobody_gets_in_who_may_not_any_more(
    change: Callable[[Users], object], users: Users, hasher: CheapHasher
) -> None:
    meanwhile(hasher, lambda: change(users))
    assert users.check("bob", PASSWORD) is None


def test_the_claims_are_those_of_after_the_hash(users: Users, hasher: CheapHasher) -> None:
    meanwhile(hasher, lambda: users.set_claims("bob", {"role": "reader"}))
    assert users.check("bob", PASSWORD) == {"role": "reader"}


def test_another_hash_of_the_same_password_lets_in(users: Users, hasher: CheapHasher) -> None:
    meanwhile(hasher, lambda: users.set_password("bob", PASSWORD))
    assert users.check("bob", PASSWORD) == CLAIMS


# Hashing anew


@pytest.fixture(name="costlier")
def _costlier(users: Users, monkeypatch: pytest.MonkeyPatch) -> CheapHasher:
    """The hasher of a later day, with other parameters than those of bob's hash."""
    hasher = CheapHasher(time_cost=2)
    monkeypatch.setattr(passwords, "hasher", hasher)
    return hasher


def test_a_login_hashes_anew(users: Users, costlier: CheapHasher, file: Path) -> None:
    users.check("bob", PASSWORD)
    assert not costlier.check_needs_rehash(hash_of(file))
    assert users.check("bob", PASSWORD) == CLAIMS


def test_a_hash_of_today_stays(users: Users, file: Path) -> None:
    before = hash_of(file)
    users.check("bob", PASSWORD)
    assert hash_of(file) == before


@pytest.mark.parametrize(("uid", "password", "change"), REFUSED)
def test_nothing_is_hashed_anew_for_who_is_refused(
    uid: str, password: str, change: Callable[[Users], None], users: Users, costlier: CheapHasher
) -> None:
    change(users)
    costlier.while_hashing = lambda: pytest.fail("hashed")
    users.check(uid, password)


def test_hashing_anew_is_no_change(users: Users, costlier: CheapHasher, file: Path) -> None:
    users._clock = lambda: NOW + 1
    users.check("bob", PASSWORD)
    found = users.get("bob")
    assert found is not None
    assert found.changed == NOW


def test_a_password_that_is_changed_meanwhile_stays_changed(users: Users, costlier: CheapHasher) -> None:
    def once() -> None:
        costlier.while_hashing = lambda: None
        users.set_password("bob", OTHER)

    costlier.while_hashing = once
    users.check("bob", PASSWORD)
    assert users.check("bob", OTHER) == CLAIMS


def busy() -> None:
    raise BusyError("too many passwords are being hashed")


def test_a_login_goes_well_where_hashing_anew_does_not(
    users: Users, costlier: CheapHasher, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = hash_of(file)
    costlier.while_hashing = busy
    assert users.check("bob", PASSWORD) == CLAIMS
    assert hash_of(file) == before
    assert caplog.messages == [
        "the password of a user cannot be hashed anew: too many passwords are being hashed"
    ]


def test_a_login_goes_well_where_the_new_hash_cannot_be_written(
    users: Users, costlier: CheapHasher, file: Path
) -> None:
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        costlier.while_hashing = lambda: other.execute("BEGIN IMMEDIATE")
        assert users.check("bob", PASSWORD) == CLAIMS


# The file


def test_the_file_is_for_its_owner_alone(users: Users, file: Path) -> None:
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_the_rights_of_a_file_that_is_there_stay(file: Path) -> None:
    file.touch(0o640)
    file.chmod(0o640)
    with closing(Users(f"sqlite:///{file}")) as users:
        users.ping()
    assert stat.S_IMODE(file.stat().st_mode) == 0o640


def test_no_file_is_made_before_anything_is_asked(file: Path) -> None:
    Users(f"sqlite:///{file}").close()
    assert not file.exists()


def test_a_relative_path_is_one_of_here_and_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    users = Users("sqlite:///users.db")
    monkeypatch.chdir("/")
    users.ping()
    users.close()
    assert (tmp_path / "users.db").exists()


def test_a_closed_table_opens_again(users: Users) -> None:
    users.close()
    assert users.get("bob") is not None


def test_a_table_can_be_closed_twice(users: Users) -> None:
    users.close()
    users.close()


def test_a_file_that_takes_the_place_of_another_counts(users: Users, file: Path, tmp_path: Path) -> None:
    with closing(Users(f"sqlite:///{tmp_path / 'other.db'}")) as other:
        other.add("alice", OTHER)
    (tmp_path / "other.db").rename(file)
    assert [user.uid for user in users.all()] == ["alice"]


def test_a_file_that_is_gone_is_made_again(users: Users, file: Path) -> None:
    file.unlink()
    assert users.get("bob") is None
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_table_that_is_gone_is_made_again_after_an_error(users: Users, file: Path) -> None:
    ask(file, "DROP TABLE gateway_users")
    with pytest.raises(UsersUnavailableError, match="no such table: gateway_users"):
        users.get("bob")
    assert users.get("bob") is None


def test_some_users_are_read_at_a_time(users: Users, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.users._PAGE", 2)
    for uid in ("eve", "alice", "dave", "carol"):
        users.add(uid, PASSWORD)
    found = users.all()
    assert [user.uid for user in found] == ["alice", "bob", "carol", "dave", "eve"]


def test_who_lists_users_keeps_nobody_from_changing_them(users: Users) -> None:
    found = users.all()
    next(found)
    assert users.remove("bob")


# What cannot be asked


def test_a_corrupt_file_cannot_be_asked(users: Users, file: Path) -> None:
    file.write_bytes(b"no database at all" * 100)
    with pytest.raises(UsersUnavailableError) as caught:
        users.ping()
    assert str(caught.value) == "the users database: DatabaseError: file is not a database"


def test_a_folder_that_is_missing_has_no_file(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "users.db"
    with pytest.raises(UsersUnavailableError) as caught:
        Users(f"sqlite:///{path}").ping()
    assert (
        str(caught.value)
        == f"the users database: FileNotFoundError: [Errno 2] No such file or directory: '{path}'"
    )


def test_a_file_that_another_writes_to_is_waited_for_only_so_long(users: Users, file: Path) -> None:
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(UsersUnavailableError, match="OperationalError: database is locked"):
            users.get("bob")
    assert users.get("bob") is not None


def test_the_address_itself_may_say_how_long(file: Path) -> None:
    with closing(Users(f"sqlite:///{file}?timeout=0", timeout=3600)) as users:
        users.ping()
        with closing(sqlite3.connect(file, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            with pytest.raises(UsersUnavailableError, match="OperationalError: database is locked"):
                users.ping()


# The version


def note(file: Path, claims: str) -> None:
    ask(file, "UPDATE gateway_users SET claims = ? WHERE uid = ''", claims)


def rows(file: Path) -> list[tuple[Any, ...]]:
    return ask(file, "SELECT * FROM gateway_users ORDER BY uid")


def test_the_version_is_noted_in_the_table(users: Users, file: Path) -> None:
    assert ask(file, "SELECT * FROM gateway_users WHERE uid = ''") == [
        ("", "", '{"version": 1}', 1, NOW, NOW)
    ]


def test_a_table_without_a_version_is_given_one(users: Users, file: Path) -> None:
    ask(file, "DELETE FROM gateway_users WHERE uid = ''")
    with closing(Users(f"sqlite:///{file}", clock=lambda: NOW)) as other:
        assert other.get("bob") is not None
    assert rows(file)[0] == ("", "", '{"version": 1}', 1, NOW, NOW)


@pytest.mark.parametrize(
    ("claims", "message"),
    [
        pytest.param(
            '{"version": 2}',
            "the users database: its table gateway_users is of the version 2, newer than 1;"
            " the gateway must be upgraded",
            id="newer",
        ),
        *[
            pytest.param(
                text, "the users database: its table gateway_users does not tell its version", id=text
            )
            for text in ("{}", '{"version": 0}', '{"version": "1"}', '{"version": true}')
        ],
        pytest.param("?", "the users database: the claims of a user are no JSON object", id="no-json"),
    ],
)
def test_a_version_that_is_not_ours_is_refused(claims: str, message: str, users: Users, file: Path) -> None:
    note(file, claims)
    before = rows(file)
    with closing(Users(f"sqlite:///{file}")) as other, pytest.raises(UsersUnavailableError) as caught:
        other.add("alice", OTHER)
    assert str(caught.value) == message
    assert rows(file) == before


def test_a_newer_version_is_seen_by_who_asks(users: Users, file: Path) -> None:
    note(file, '{"version": 2}')
    with pytest.raises(UsersUnavailableError, match="newer than 1"):
        users.ping()
    with pytest.raises(UsersUnavailableError, match="newer than 1"):
        users.check("bob", PASSWORD)


# Addresses


@pytest.mark.parametrize(
    ("url", "message"),
    [
        pytest.param("hunter2", f"cannot be read; {MUST}", id="no-url"),
        pytest.param("postgresql://bob:x@host:hunter2/x", f"cannot be read; {MUST}", id="no-port"),
        pytest.param("sqlite://", f"names no file; {MUST}", id="no-file"),
        pytest.param("sqlite:///:memory:", f"names no file; {MUST}", id="memory"),
        pytest.param("sqlite:///file:x?mode=memory&uri=true", f"names no file; {MUST}", id="file-uri"),
        pytest.param("sqlite://hunter2/x", f"cannot be used; {MUST}", id="sqlite-host"),
        pytest.param("sqlite:///x?timeout=hunter2", f"cannot be used; {MUST}", id="no-number"),
        pytest.param(
            "guesswork://bob:hunter2@host/x",
            f"begins with guesswork, which SQLAlchemy does not know; {MUST}",
            id="unknown",
        ),
        pytest.param(
            "postgresql+psycopg_async://bob:hunter2@host/x",
            f"begins with postgresql+psycopg_async, which is for asyncio alone; {MUST}",
            id="asyncio",
        ),
    ],
)
def test_an_address_that_cannot_be_used_is_refused_and_not_shown(url: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Users(url)
    assert str(caught.value) == f"GATEWAY_USERS_URL {message}"


@pytest.mark.parametrize(
    ("url", "missing", "message"),
    [
        pytest.param(
            "postgresql+psycopg://bob:hunter2@host/x",
            ModuleNotFoundError(name="psycopg"),
            "begins with postgresql+psycopg, which needs psycopg: pip install 'psycopg[binary]'",
            id="psycopg",
        ),
        pytest.param(
            "postgresql+psycopg://bob:hunter2@host/x",
            ImportError("no pq wrapper available"),
            "begins with postgresql+psycopg, which needs its driver: pip install 'psycopg[binary]'",
            id="psycopg-without-its-library",
        ),
        pytest.param(
            "mysql+pymysql://bob:hunter2@host/x",
            ModuleNotFoundError(name="pymysql"),
            "begins with mysql+pymysql, which needs pymysql, which is not installed",
            id="another",
        ),
    ],
)
def test_a_driver_that_is_missing_is_named(
    url: str, missing: ImportError, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise missing

    monkeypatch.setattr("gateway.users.create_engine", fail)
    with pytest.raises(ConfigError) as caught:
        Users(url)
    assert str(caught.value) == f"GATEWAY_USERS_URL {message}"


# What is shown


def test_a_user_is_shown_without_a_hash(users: Users, file: Path) -> None:
    assert hash_of(file) not in repr(users.get("bob"))


def test_an_error_shows_neither_password_nor_hash(users: Users, file: Path) -> None:
    ask(file, "CREATE TRIGGER t BEFORE UPDATE ON gateway_users BEGIN SELECT raise(ABORT, 'no'); END")
    with pytest.raises(UsersUnavailableError) as caught:
        users.set_password("bob", OTHER)
    assert str(caught.value) == "the users database: IntegrityError: no"


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("postgresql+psycopg://bob:hunter2@127.0.0.1:1/x", id="password"),
        pytest.param("postgresql+psycopg://bob@127.0.0.1:1/x?sslpassword=hunter2", id="option"),
    ],
)
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param("refused for bob", "OperationalError: refused for bob", id="harmless"),
        pytest.param("refused\nwhere hunter2", "OperationalError: refused", id="later-line"),
        pytest.param("refused hunter2", "OperationalError", id="secret"),
    ],
)
def test_an_error_of_the_driver_is_one_line_without_a_password(
    text: str, reason: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OperationalError("SELECT", {}, sqlite3.OperationalError(text))

    monkeypatch.setattr("gateway.users._make", fail)
    with pytest.raises(UsersUnavailableError) as caught:
        Users(url).ping()
    assert str(caught.value) == f"the users database: {reason}"


def test_nothing_is_logged_of_passwords_and_hashes(
    users: Users, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        users.close()
        users.set_password("bob", OTHER)
        users.check("bob", OTHER)
    assert OTHER not in caplog.text
    assert hash_of(file) not in caplog.text
