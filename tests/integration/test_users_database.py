"""The table of users, in a SQLite file and in a real PostgreSQL: many processes, crashes and forks."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import NullPool, create_engine, text

from gateway import passwords
from gateway.errors import UsersUnavailableError
from gateway.users import DuplicateUserError, User, Users
from tests.integration.postgres import Postgres, postgres
from tests.integration.servers import DEADLINE, environment
from tests.support import NOW
from tests.test_passwords import CheapHasher

PASSWORD = "correct horse"
OTHER = "battery staple"
CLAIMS = {"role": "editor", "nested": {"list": [1, 2.5, None, True, "ä\ud800\0"]}}
LONGEST = "x" * 255
MANY = 8

_ASK_WHEN_TOLD = """
import sys
from gateway.users import Users

users = Users(sys.argv[1], timeout=30)
print("ready", flush=True)
sys.stdin.readline()
users.ping()
print(len(list(users.all())))
"""


@pytest.fixture(name="server", scope="module")
def _server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    with postgres(tmp_path_factory.mktemp("postgres")) as server:
        yield server


@pytest.fixture(name="url", params=["sqlite", "postgres"])
def _url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a database without a table."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'users.db'}"
    url: str = request.getfixturevalue("server").url()
    ask(url, "DROP TABLE IF EXISTS gateway_users")
    return url


@pytest.fixture(name="hasher", autouse=True)
def _hasher(monkeypatch: pytest.MonkeyPatch) -> CheapHasher:
    hasher = CheapHasher()
    monkeypatch.setattr(passwords, "hasher", hasher)
    return hasher


@pytest.fixture(name="users")
def _users(url: str) -> Iterator[Users]:
    """A table with bob in it."""
    with closing(Users(url, clock=lambda: NOW)) as users:
        users.add("bob", PASSWORD, CLAIMS)
        yield users


def ask(url: str, statement: str) -> list[tuple[Any, ...]]:
    """Ask the database itself."""
    engine = create_engine(url, poolclass=NullPool)
    with engine.begin() as connection:
        found = connection.execute(text(statement))
        return [tuple(row) for row in found] if found.returns_rows else []


def at_once(*calls: Callable[[], object]) -> None:
    """Make these calls in threads of their own, all at the same moment."""
    together = threading.Barrier(len(calls), timeout=DEADLINE)

    def make(call: Callable[[], object]) -> None:
        together.wait()
        call()

    threads = [threading.Thread(target=make, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


# What it does


def test_a_user_is_found(users: Users) -> None:
    assert users.get("bob") == User("bob", CLAIMS, disabled=False, created=NOW, changed=NOW)


def test_there_may_be_no_such_user(users: Users) -> None:
    assert users.get("alice") is None


def test_a_user_outlives_the_process(url: str, users: Users) -> None:
    with closing(Users(url)) as others:
        assert others.check("bob", PASSWORD) == CLAIMS


def test_the_longest_uid_and_long_claims_are_kept(users: Users) -> None:
    claims = {"x": "ä" * 10_000}
    users.add(LONGEST, PASSWORD, claims)
    assert users.check(LONGEST, PASSWORD) == claims


def test_uids_in_another_case_are_others(users: Users) -> None:
    users.add("BOB", OTHER)
    assert users.check("BOB", PASSWORD) is None
    assert users.check("BOB", OTHER) == {}
    assert users.check("bob", PASSWORD) == CLAIMS


def test_all_users_are_listed_in_order(users: Users, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.users._PAGE", 2)
    for uid in ("eve", "alice", "dave", "carol"):
        users.add(uid, PASSWORD)
    assert [user.uid for user in users.all()] == ["alice", "bob", "carol", "dave", "eve"]


def test_nobody_is_listed_where_nobody_is(url: str) -> None:
    with closing(Users(url)) as users:
        assert list(users.all()) == []


def test_a_duplicate_is_refused(users: Users) -> None:
    with pytest.raises(DuplicateUserError, match="there is a user 'bob' already"):
        users.add("bob", OTHER)
    assert users.check("bob", PASSWORD) == CLAIMS


@pytest.mark.parametrize(
    ("uid", "password"),
    [
        pytest.param("bob", OTHER, id="wrong-password"),
        pytest.param("alice", PASSWORD, id="wrong-uid"),
        pytest.param("", "", id="row-of-the-version"),
        pytest.param("b\0b", PASSWORD, id="no-uid"),
        pytest.param("bob' OR '1'='1", PASSWORD, id="injection"),
    ],
)
def test_who_may_not_gets_nothing(uid: str, password: str, users: Users, hasher: CheapHasher) -> None:
    assert users.check(uid, password) is None
    assert len(hasher.computed) == 1


def test_a_password_is_changed(users: Users) -> None:
    users._clock = lambda: NOW + 1
    assert users.set_password("bob", OTHER)
    assert users.check("bob", PASSWORD) is None
    assert users.check("bob", OTHER) == CLAIMS
    assert users.get("bob") == User("bob", CLAIMS, disabled=False, created=NOW, changed=NOW + 1)


def test_a_user_is_disabled_and_enabled(users: Users) -> None:
    users._clock = lambda: NOW + 1
    assert users.set_disabled("bob", True)
    assert users.check("bob", PASSWORD) is None
    assert users.get("bob") == User("bob", CLAIMS, disabled=True, created=NOW, changed=NOW + 1)
    assert users.set_disabled("bob", False)
    assert users.check("bob", PASSWORD) == CLAIMS


def test_claims_are_replaced(users: Users) -> None:
    users._clock = lambda: NOW + 1
    assert users.set_claims("bob", {"role": "reader"})
    assert users.get("bob") == User("bob", {"role": "reader"}, False, created=NOW, changed=NOW + 1)


def test_a_user_is_removed_and_can_be_added_again(users: Users) -> None:
    assert users.remove("bob")
    assert users.check("bob", PASSWORD) is None
    users.add("bob", OTHER)
    assert users.check("bob", OTHER) == {}


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda users: users.set_password("alice", OTHER), id="password"),
        pytest.param(lambda users: users.set_disabled("alice", True), id="disabled"),
        pytest.param(lambda users: users.set_claims("alice", {}), id="claims"),
        pytest.param(lambda users: users.remove("alice"), id="remove"),
    ],
)
def test_nobody_is_changed_where_there_is_no_such_user(change: Callable[[Users], bool], users: Users) -> None:
    assert change(users) is False
    assert [user.uid for user in users.all()] == ["bob"]


def test_a_login_hashes_anew(users: Users, monkeypatch: pytest.MonkeyPatch) -> None:
    later = CheapHasher(time_cost=2)
    monkeypatch.setattr(passwords, "hasher", later)
    assert users.check("bob", PASSWORD) == CLAIMS
    assert users.check("bob", PASSWORD) == CLAIMS
    assert [later.check_needs_rehash(stored) for stored in later.computed] == [True, False]


def test_a_password_that_is_changed_meanwhile_stays_changed(
    users: Users, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = CheapHasher(time_cost=2)
    monkeypatch.setattr(passwords, "hasher", later)

    def once() -> None:
        later.while_hashing = lambda: None
        users.set_password("bob", OTHER)

    later.while_hashing = once
    users.check("bob", PASSWORD)
    assert users.check("bob", OTHER) == CLAIMS


# At once


def test_of_many_who_add_the_same_user_one_succeeds(users: Users, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Users, "get", lambda *_: None)  # so that the primary key alone decides
    outcomes: list[object] = []

    def add(number: int) -> None:
        try:
            users.add("alice", f"password {number}")
            outcomes.append(number)
        except DuplicateUserError as error:
            outcomes.append(str(error))

    at_once(*(lambda number=number: add(number) for number in range(MANY)))
    refused = [said for said in outcomes if str(said).startswith("there is a user 'alice' already")]
    assert len(refused) == MANY - 1
    (winner,) = [each for each in outcomes if isinstance(each, int)]
    assert users.check("alice", f"password {winner}") == {}


def test_many_log_in_at_once(users: Users) -> None:
    found: list[object] = []
    at_once(*[lambda: found.append(users.check("bob", PASSWORD))] * MANY)
    assert found == [CLAIMS] * MANY


@pytest.mark.parametrize("attempt", range(3))
def test_of_processes_that_make_the_table_at_once_all_go_on(url: str, attempt: int) -> None:
    command = (sys.executable, "-c", _ASK_WHEN_TOLD, url)
    pipe: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    started = [subprocess.Popen(command, env=environment(), text=True, **pipe) for _ in range(4)]
    assert [str(process.stdout and process.stdout.readline()) for process in started] == ["ready\n"] * 4
    for process in started:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    ends = [process.communicate(timeout=DEADLINE) for process in started]
    assert ends == [("0\n", "")] * 4
    assert ask(url, "SELECT uid, claims FROM gateway_users") == [("", '{"version": 1}')]


def test_no_connection_is_held_while_a_password_is_verified(server: Postgres, hasher: CheapHasher) -> None:
    ask(server.url(), "DROP TABLE IF EXISTS gateway_users")
    with closing(Users(server.url())) as users:
        users.add("bob", PASSWORD)
        held: list[int] = []
        assert users._engine is not None
        pool: Any = users._engine.pool
        hasher.while_verifying = lambda: held.append(pool.checkedout())
        assert users.check("bob", PASSWORD) == {}
    assert held == [0]


# Versions


def test_a_newer_version_is_refused_and_not_touched(url: str, users: Users) -> None:
    ask(url, "UPDATE gateway_users SET claims = '{\"version\": 2}' WHERE uid = ''")
    before = ask(url, "SELECT * FROM gateway_users ORDER BY uid")
    with closing(Users(url)) as others, pytest.raises(UsersUnavailableError, match="newer than 1"):
        others.add("alice", PASSWORD)
    assert ask(url, "SELECT * FROM gateway_users ORDER BY uid") == before


def test_a_table_without_a_version_is_given_one(url: str, users: Users) -> None:
    ask(url, "DELETE FROM gateway_users WHERE uid = ''")
    with closing(Users(url)) as others:
        assert others.check("bob", PASSWORD) == CLAIMS
    assert ask(url, "SELECT claims FROM gateway_users WHERE uid = ''") == [('{"version": 1}',)]


# Forks


def test_a_fork_begins_with_connections_of_its_own(users: Users) -> None:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            found = users.check("bob", PASSWORD) == CLAIMS and users.set_claims("bob", {"role": "reader"})
            code = 0 if found else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert users.check("bob", PASSWORD) == {"role": "reader"}


def test_connections_of_before_a_fork_outlive_the_child(users: Users) -> None:
    before = users._engine
    child = os.fork()
    if child == 0:
        code = 1
        try:
            users.ping()
            code = 0 if users._engine is not before else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    users.ping()
    assert users._engine is before


# Databases that fail


def test_a_database_that_was_killed_is_unavailable_until_it_is_back(
    server: Postgres, hasher: CheapHasher
) -> None:
    ask(server.url(), "DROP TABLE IF EXISTS gateway_users")
    with closing(Users(server.url())) as users:
        users.add("bob", PASSWORD, CLAIMS)
        server.kill()
        try:
            for _ in range(2):
                with pytest.raises(UsersUnavailableError, match="the users database: OperationalError: "):
                    users.check("bob", PASSWORD)
        finally:
            server.start()
        assert users.check("bob", PASSWORD) == CLAIMS


def test_connections_of_before_a_crash_are_not_used_after_it(server: Postgres) -> None:
    with closing(Users(server.url())) as users:
        users.ping()
        server.kill()
        server.start()
        users.ping()


def test_a_database_that_is_not_there_is_unavailable(server: Postgres) -> None:
    with closing(Users(server.url("missing"))) as users, pytest.raises(UsersUnavailableError) as caught:
        users.ping()
    assert str(caught.value).endswith('FATAL:  database "missing" does not exist')


def test_who_may_not_make_the_table_is_told_so(server: Postgres) -> None:
    ask(server.url(), "DROP TABLE IF EXISTS gateway_users")
    ask(server.url(), "DROP ROLE IF EXISTS guest")
    ask(server.url(), "CREATE ROLE guest LOGIN")
    ask(server.url(), "REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    url = server.url().replace("//gateway@", "//guest:hunter2@")
    with closing(Users(url)) as users, pytest.raises(UsersUnavailableError) as caught:
        users.ping()
    assert str(caught.value) == (
        "the users database: InsufficientPrivilege: permission denied for schema public"
    )


def test_a_corrupt_file_is_unavailable_and_stays_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "users.db"
    content = b"no database at all" * 100
    file.write_bytes(content)
    with closing(Users(f"sqlite:///{file}")) as users, pytest.raises(UsersUnavailableError) as caught:
        users.check("bob", PASSWORD)
    assert str(caught.value) == "the users database: DatabaseError: file is not a database"
    assert file.read_bytes() == content
