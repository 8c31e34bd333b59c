"""Logins under attack: no more are tried than are allowed, and nobody can tell a uid from none."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
import webtest

from gateway import AuthGateway, Settings
from gateway.users import Users
from tests.integration.clients import PASSWORD, Client, Seen, gateway
from tests.integration.redis_servers import redis_server
from tests.integration.servers import Server
from tests.support import KEY, Recorder

THREADS = ("-k", "gthread", "--threads", "4")
PATIENT = {"GATEWAY_STATE_TIMEOUT_SEC": "20"}  # who is told to try again was not counted
WRONG, TOO_MANY = (401, "wrong_login"), (429, "too_many_attempts")
AT_ONCE = 16  # clients
SAMPLES = 8
ALIKE = 0.25  # the most by which the medians of two kinds of logins differ


@dataclass(frozen=True)
class Attacked:
    """A gunicorn of two workers, and what its login function was asked."""

    server: Server

    def at_once(self, uids: list[str], forwarded: Callable[[int], str] = str) -> Counter[Any]:
        """Try wrong passwords from many clients, and count what they are answered."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            parts = [list(enumerate(uids))[number::AT_ONCE] for number in range(AT_ONCE)]
            found = pool.map(lambda part: self._try_all(part, forwarded), parts)
        return Counter(seen.refusal for part in found for seen in part)

    def _try_all(self, uids: list[tuple[int, str]], forwarded: Callable[[int], str]) -> list[Seen]:
        with Client(self.server, keep=True) as client:
            return [
                client.try_login(uid, "a wrong one", **{"X-Forwarded-For": forwarded(number)})
                for number, uid in uids
            ]

    def tried(self) -> Counter[str]:
        """How often the function was asked for each uid."""
        file = self.server.folder / "tried"
        return Counter(file.read_text().split() if file.exists() else ())


@contextmanager
def attacked(folder: Path, kind: str, **settings: str) -> Iterator[Attacked]:
    if kind == "sqlite":
        with gateway(folder, f"sqlite:///{folder}/state.db", *THREADS, **PATIENT, **settings) as server:
            yield Attacked(server)
        return
    with (
        redis_server(folder / "redis") as redis,
        gateway(folder, redis.url, *THREADS, **PATIENT, **settings) as server,
    ):
        yield Attacked(server)


on_each_store = pytest.mark.parametrize("kind", ["sqlite", "redis"])


@on_each_store
def test_a_thousand_wrong_passwords_at_once_are_five_tries(tmp_path: Path, kind: str) -> None:
    with attacked(tmp_path, kind) as gunicorn:
        assert gunicorn.at_once(["12"] * 1000) == {WRONG: 5, TOO_MANY: 995}
        assert gunicorn.tried() == {"12": 5}


@on_each_store
def test_a_thousand_uids_from_one_address_are_fifty_tries(tmp_path: Path, kind: str) -> None:
    with attacked(tmp_path, kind) as gunicorn:
        uids = [f"user{number}" for number in range(1000)]
        assert gunicorn.at_once(uids) == {WRONG: 50, TOO_MANY: 950}
        assert gunicorn.tried().total() == 50


@on_each_store
def test_no_uid_of_many_is_tried_more_often_than_allowed(tmp_path: Path, kind: str) -> None:
    limits = {"GATEWAY_LOGIN_TRIES": "3", "GATEWAY_LOGIN_TRIES_PER_ADDRESS": "1000"}
    with attacked(tmp_path, kind, **limits) as gunicorn:
        uids = [f"user{number % 20}" for number in range(400)]
        assert gunicorn.at_once(uids) == {WRONG: 60, TOO_MANY: 340}
        assert gunicorn.tried() == dict.fromkeys(uids, 3)


def test_the_clients_of_a_trusted_proxy_are_told_apart(tmp_path: Path) -> None:
    with attacked(tmp_path, "sqlite", GATEWAY_TRUSTED_PROXIES="127.0.0.1") as gunicorn:
        found = gunicorn.at_once(["12"] * 200, lambda number: f"203.0.113.{number % 10}")
        assert found == {WRONG: 50, TOO_MANY: 150}


def test_what_a_client_writes_before_a_trusted_proxy_does_is_not_believed(tmp_path: Path) -> None:
    with attacked(tmp_path, "sqlite", GATEWAY_TRUSTED_PROXIES="127.0.0.1") as gunicorn:
        found = gunicorn.at_once(["12"] * 200, lambda number: f"198.51.100.{number}, 203.0.113.1")
        assert found == {WRONG: 5, TOO_MANY: 195}


def test_a_client_that_is_no_proxy_is_not_believed(tmp_path: Path) -> None:
    with attacked(tmp_path, "sqlite") as gunicorn:
        found = gunicorn.at_once(["12"] * 200, lambda number: f"198.51.100.{number}")
        assert found == {WRONG: 5, TOO_MANY: 195}


def test_who_is_locked_out_is_told_when_to_try_again(tmp_path: Path) -> None:
    with attacked(tmp_path, "sqlite") as gunicorn, Client(gunicorn.server) as client:
        gunicorn.at_once(["12"] * 10)
        seen = client.try_login(12)  # even with the right password
        assert seen.refusal == TOO_MANY
        assert 0 < int(seen.headers["Retry-After"]) <= 15 * 60


def test_who_is_locked_out_at_one_address_is_so_at_no_other(tmp_path: Path) -> None:
    with (
        attacked(tmp_path, "sqlite", GATEWAY_TRUSTED_PROXIES="127.0.0.1") as gunicorn,
        Client(gunicorn.server) as client,
    ):
        gunicorn.at_once(["12"] * 10, lambda _: "203.0.113.1")
        assert client.try_login(12, **{"X-Forwarded-For": "203.0.113.1"}).refusal == TOO_MANY
        assert client.try_login(12, **{"X-Forwarded-For": "203.0.113.2"}).status == 200


@on_each_store
def test_a_login_that_succeeds_clears_the_failures_of_its_uid(tmp_path: Path, kind: str) -> None:
    with attacked(tmp_path, kind) as gunicorn, Client(gunicorn.server) as client:
        for _ in range(3):
            assert gunicorn.at_once(["12"] * 4) == {WRONG: 4}
            client.log_in(12)


@on_each_store
def test_logins_that_succeed_are_never_too_many(tmp_path: Path, kind: str) -> None:
    """Not even when as many are on their way at once as failures are allowed."""
    with attacked(tmp_path, kind, GATEWAY_LOGIN_TRIES_PER_ADDRESS="5") as gunicorn:

        def log_in(number: int) -> None:
            with Client(gunicorn.server) as client:
                client.log_in(f"user{number}")

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(log_in, range(100)))


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> AuthGateway:
    """A gateway in this process, whose users have passwords by the true hash."""
    folder = tmp_path_factory.mktemp("users")
    url = f"sqlite:///{folder}/users.db"
    users = Users(url)
    users.add("known", PASSWORD)
    users.add("disabled", PASSWORD)
    users.set_disabled("disabled", True)
    users.close()
    settings = Settings(
        token_key=KEY,
        state_url="memory://",
        state_timeout_sec=20,
        users_url=url,
        login_tries=1_000_000,
        login_tries_per_address=1_000_000,
    )
    return AuthGateway(Recorder(), settings)


KINDS = {
    "a wrong password": ("known", "a wrong one"),
    "a wrong uid": ("unknown", PASSWORD),
    "a uid that nobody can have": ("no, body", PASSWORD),
    "a disabled user's password": ("disabled", PASSWORD),
    "a disabled user's wrong password": ("disabled", "a wrong one"),
    "no password": ("known", ""),
    "one that is too long": ("known", "x" * 1025),
}


def answered(app: AuthGateway, uid: str, password: str) -> tuple[Any, ...]:
    """All that a login is answered, save how long that takes."""
    body = {"uid": uid, "password": password}
    response = webtest.TestApp(app).post_json("/auth", body, expect_errors=True)
    return response.status, response.body, sorted(response.headers.items())


def test_all_that_is_wrong_with_a_login_is_answered_alike(guarded: AuthGateway) -> None:
    (answer,) = {str(answered(guarded, *login)) for login in KINDS.values()}
    assert "wrong_login" in answer


def test_what_is_wrong_with_a_login_cannot_be_told_by_its_time(guarded: AuthGateway) -> None:
    """It costs a hash, whatever it is; a busy machine is given three tries."""
    found = (medians(guarded) for _ in range(3))
    assert any(map(alike, found))


def medians(app: AuthGateway) -> dict[str, float]:
    """The time that each kind takes of the processors, of which others take some too, measured in turns."""
    times: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for kind in cycle(KINDS):
        if len(times[kind]) == SAMPLES:
            break
        began = time.process_time()
        answered(app, *KINDS[kind])
        times[kind].append(time.process_time() - began)
    return {kind: statistics.median(taken) for kind, taken in times.items()}


def alike(taken: dict[str, float]) -> bool:
    return max(taken.values()) <= min(taken.values()) * (1 + ALIKE)
