"""How often a login may be tried: by a uid from an address, and by an address; and who is not locked out."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import webtest

from gateway.stores.memory import MemoryStore
from tests.support import MINUTE, as_bytes
from tests.test_login import (
    HERE,
    LOGIN_DOWN,
    PASSWORD,
    STATE_DOWN,
    WRONG,
    WRONG_LOGIN,
    House,
    down,
    padded,
    raising,
    refused,
)

THERE = "198.51.100.7"
WINDOW = 15 * MINUTE
TOO_MANY = (429, "too_many_attempts")

Make = Callable[..., House]
Place = dict[str, Any]  # what the server says of a request


@pytest.fixture(name="house", params=["memory", "sqlite"])
def _house(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """What makes a house whose failures are counted in memory, or in a file."""
    urls = {"memory": "memory://", "sqlite": f"sqlite:///{tmp_path}/state.db"}
    return lambda **options: House(state_url=urls[request.param], **options)


def fail(house: House, times: int = 1, uid: object = 12, **environ: Any) -> list[int]:
    """Try to log in with a wrong password, so many times, and return the statuses."""
    return [house.log_in(uid, WRONG, **environ).status_int for _ in range(times)]


def wait_of(response: webtest.TestResponse) -> int:
    """The seconds to wait; an answer says so in whole ones."""
    assert refused(response) == TOO_MANY
    text = response.headers["Retry-After"]
    assert text.isascii()
    assert text.isdigit()
    return int(text)


# A uid from an address


@pytest.mark.parametrize("tries", [1, 2, 5])
def test_so_many_failures_are_allowed_to_a_uid_from_an_address(house: Make, tries: int) -> None:
    guarded = house(login_tries=tries)
    assert fail(guarded, tries + 2) == [401] * tries + [429] * 2
    assert len(guarded.door.asked) == tries


def test_the_default_is_five() -> None:
    assert fail(House(), 6) == [401] * 5 + [429]


def test_the_answer_says_when_to_try_again(house: Make) -> None:
    guarded = house(login_tries=1)
    fail(guarded)
    response = guarded.log_in()
    assert response.status == "429 Too Many Requests"
    assert response.json == {"error": "Too Many Requests", "code": "too_many_attempts"}
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["Content-Type"] == "application/json"
    assert "WWW-Authenticate" not in response.headers
    assert wait_of(response) == WINDOW


def test_a_right_password_is_refused_as_well(house: Make) -> None:
    guarded = house(login_tries=1)
    fail(guarded)
    assert refused(guarded.log_in()) == TOO_MANY
    assert guarded.door.asked == [(12, WRONG)]


@pytest.mark.parametrize("later", [1, 0.5, 100.75, WINDOW - 1, WINDOW - 0.25])
def test_the_seconds_to_wait_are_whole_ones_until_there_is_room(house: Make, later: float) -> None:
    guarded = house(login_tries=1)
    fail(guarded)
    guarded.clock.time += later
    wait = wait_of(guarded.log_in())
    assert 0 <= wait - (WINDOW - later) < 1
    guarded.clock.time += wait
    assert guarded.log_in().status_int == 200


def test_there_is_room_again_when_the_oldest_failure_is_over(house: Make) -> None:
    guarded = house(login_tries=2)
    fail(guarded)
    guarded.clock.time += 10 * MINUTE
    fail(guarded)
    assert wait_of(guarded.log_in()) == 5 * MINUTE
    guarded.clock.time += 5 * MINUTE
    assert fail(guarded, 2) == [401, 429]


@pytest.mark.parametrize(("later", "status"), [(59, 429), (60, 401), (61, 401)])
def test_the_window_can_be_another(house: Make, later: int, status: int) -> None:
    guarded = house(login_tries=1, login_window_min=1)
    fail(guarded)
    guarded.clock.time += later
    assert fail(guarded) == [status]


def test_refused_attempts_are_not_counted(house: Make) -> None:
    guarded = house(login_tries=2)
    fail(guarded, 2)
    guarded.clock.time += 14 * MINUTE
    assert fail(guarded, 20) == [429] * 20
    guarded.clock.time += MINUTE
    assert fail(guarded, 3) == [401, 401, 429]


def test_attempts_refused_to_a_uid_are_not_counted_to_the_address(house: Make) -> None:
    guarded = house(login_tries=1, login_tries_per_address=2)
    fail(guarded, 10)
    assert fail(guarded, uid=13) == [401]


@pytest.mark.parametrize(("first", "second"), [(12, "12"), ("12", 12), (-1, "-1"), (0, "0")])
def test_a_number_and_its_text_are_one_uid(house: Make, first: int | str, second: int | str) -> None:
    guarded = house(login_tries=1)
    fail(guarded, uid=first)
    assert refused(guarded.log_in(second)) == TOO_MANY


@pytest.mark.parametrize("other", ["012", "bob", 13, "12 ", ""])
def test_another_uid_is_another(house: Make, other: int | str) -> None:
    guarded = house(login_tries=1)
    fail(guarded)
    assert fail(guarded, uid=other) == [401]


def test_the_owner_is_not_locked_out_from_another_address(house: Make) -> None:
    guarded = house(login_tries=1)
    fail(guarded, 3)
    assert guarded.log_in(REMOTE_ADDR=THERE).status_int == 200


def test_a_success_elsewhere_does_not_make_room_here(house: Make) -> None:
    guarded = house(login_tries=1)
    fail(guarded)
    guarded.log_in(REMOTE_ADDR=THERE)
    assert fail(guarded) == [429]


@pytest.mark.parametrize("uid", ["", "a,b", "x" * 300, "\ud800"])
def test_what_can_be_no_uid_is_counted_alike(house: Make, uid: str) -> None:
    assert fail(house(login_tries=2), 3, uid) == [401, 401, 429]


# An address


def test_so_many_failures_are_allowed_to_an_address(house: Make) -> None:
    guarded = house(login_tries_per_address=4)
    assert [fail(guarded, uid=uid)[0] for uid in range(6)] == [401] * 4 + [429] * 2
    assert len(guarded.door.asked) == 4


def test_the_default_of_an_address_is_fifty() -> None:
    guarded = House()
    assert [fail(guarded, uid=uid)[0] for uid in range(51)] == [401] * 50 + [429]


def test_another_address_is_another(house: Make) -> None:
    guarded = house(login_tries_per_address=1)
    fail(guarded)
    assert wait_of(guarded.log_in(13)) == WINDOW
    assert guarded.log_in(13, REMOTE_ADDR=THERE).status_int == 200


def test_an_address_has_room_again_after_the_window(house: Make) -> None:
    guarded = house(login_tries_per_address=1)
    fail(guarded)
    guarded.clock.time += WINDOW
    assert fail(guarded, uid=13) == [401]


def test_whichever_is_longer_is_to_be_waited_for(house: Make) -> None:
    guarded = house(login_tries=1, login_tries_per_address=2)
    fail(guarded, uid=13)
    guarded.clock.time += 5 * MINUTE
    fail(guarded, uid=12)
    assert wait_of(guarded.log_in(12)) == WINDOW


# A success


def test_a_success_is_not_counted(house: Make) -> None:
    guarded = house(login_tries=1, login_tries_per_address=1)
    assert [guarded.log_in().status_int for _ in range(3)] == [200] * 3


def test_a_success_clears_the_failures_of_the_uid_from_there(house: Make) -> None:
    guarded = house(login_tries=3)
    fail(guarded, 2)
    guarded.log_in()
    assert fail(guarded, 4) == [401, 401, 401, 429]


def test_a_success_of_one_uid_does_not_clear_those_of_another(house: Make) -> None:
    guarded = house(login_tries=2)
    fail(guarded, uid=13)
    guarded.log_in(12)
    assert fail(guarded, 2, uid=13) == [401, 429]


def test_a_success_leaves_the_failures_of_the_address(house: Make) -> None:
    """So that whoever has one account cannot try all others from one address."""
    guarded = house(login_tries_per_address=3)
    fail(guarded, uid=13)
    fail(guarded, uid=12)
    guarded.log_in(12)
    assert fail(guarded, 2, uid=14) == [401, 429]


def test_a_function_that_raises_is_counted(house: Make) -> None:
    """It may be how that function says that a password is wrong."""
    guarded = house(login_tries=2)
    guarded.door.answer = raising(RuntimeError())
    found = [refused(guarded.log_in()) for _ in range(3)]
    assert found == [LOGIN_DOWN, LOGIN_DOWN, (429, "too_many_attempts")]


# What is no failure


def test_a_database_that_is_down_is_not_counted(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/missing/users.db"
    guarded = House(login=None, users_url=url, login_tries=1, login_tries_per_address=1)
    assert [refused(guarded.log_in()) for _ in range(3)] == [LOGIN_DOWN] * 3


def test_a_body_that_is_too_large_is_not_counted(house: Make) -> None:
    guarded = house(login_tries=1)
    assert [guarded.post(padded(70_000)).status_int for _ in range(3)] == [413] * 3
    assert guarded.log_in().status_int == 200


def test_a_store_that_cannot_count_is_no_reason_to_let_more_try(monkeypatch: pytest.MonkeyPatch) -> None:
    guarded = House(login_tries=2, state_sync_sec=0)
    fail(guarded)
    with monkeypatch.context() as patched:
        patched.setattr(MemoryStore, "admit", down)
        assert [refused(guarded.log_in(password=WRONG)) for _ in range(3)] == [STATE_DOWN] * 3
    assert len(guarded.door.asked) == 1


# Whose address


CHAINED: Place = {"HTTP_X_FORWARDED_FOR": f"{THERE}, {HERE}"}


def from_two(house: House, first: Place, second: Place) -> list[int]:
    """One failure each from two places, where one is allowed."""
    return [fail(house, **environ)[0] for environ in (first, second)]


def test_x_forwarded_for_is_not_believed_from_anybody() -> None:
    house = House(login_tries=1)
    assert from_two(house, {}, {"HTTP_X_FORWARDED_FOR": THERE}) == [401, 429]


def test_x_forwarded_for_is_not_believed_from_a_peer_beside_the_trusted_ones() -> None:
    house = House(login_tries=1, trusted_proxies="10.0.0.0/8")
    chained = {"REMOTE_ADDR": "11.0.0.1", "HTTP_X_FORWARDED_FOR": THERE}
    assert from_two(house, {"REMOTE_ADDR": "11.0.0.1"}, chained) == [401, 429]


def test_x_forwarded_for_is_believed_from_a_trusted_proxy() -> None:
    house = House(login_tries=1, trusted_proxies="10.0.0.0/8")
    places: list[Place] = [
        {"REMOTE_ADDR": "10.1.2.3", "HTTP_X_FORWARDED_FOR": each} for each in (HERE, THERE, HERE)
    ]
    assert [fail(house, **place)[0] for place in places] == [401, 401, 429]


def test_what_the_client_itself_wrote_before_the_proxies_entry_is_not_believed() -> None:
    house = House(login_tries=1, trusted_proxies=["10.0.0.0/8"])
    places: list[Place] = [
        {"REMOTE_ADDR": "10.1.2.3", "HTTP_X_FORWARDED_FOR": f"{written}, {HERE}"}
        for written in ("1.2.3.4", "5.6.7.8", "nonsense")
    ]
    assert [fail(house, **place)[0] for place in places] == [401, 429, 429]


def test_a_client_has_one_address_through_whichever_proxy() -> None:
    house = House(login_tries=1, trusted_proxies="10.0.0.0/8")
    chained = {"REMOTE_ADDR": "10.1.2.3", "HTTP_X_FORWARDED_FOR": f"{HERE}, 10.9.9.9"}
    assert from_two(house, {}, chained) == [401, 429]


def test_a_proxy_on_a_unix_socket_is_believed_where_it_is_trusted() -> None:
    house = House(login_tries=1, trusted_proxies="unix")
    places: list[Place] = [{"REMOTE_ADDR": "", "HTTP_X_FORWARDED_FOR": each} for each in (HERE, THERE, HERE)]
    assert [fail(house, **place)[0] for place in places] == [401, 401, 429]


@pytest.mark.parametrize(
    ("first", "second", "status"),
    [
        pytest.param("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", 429, id="one /64"),
        pytest.param("2001:db8:1:2::1", "2001:db8:1:3::1", 401, id="the next /64"),
        pytest.param("2001:db8:1:2::1", "2001:0DB8:0001:0002:0:0:0:1", 429, id="another spelling"),
        pytest.param("192.0.2.1", "::ffff:192.0.2.1", 429, id="IPv4 in IPv6"),
        pytest.param("192.0.2.1", "192.0.2.2", 401, id="the next IPv4"),
    ],
)
@pytest.mark.parametrize("proxied", [False, True], ids=["peer", "proxied"])
def test_an_ipv6_network_of_64_bits_is_one_address(
    first: str, second: str, status: int, proxied: bool
) -> None:
    house = House(login_tries=1, trusted_proxies="10.0.0.1")
    places: list[Place] = [
        {"REMOTE_ADDR": "10.0.0.1", "HTTP_X_FORWARDED_FOR": each} if proxied else {"REMOTE_ADDR": each}
        for each in (first, second)
    ]
    assert from_two(house, *places) == [401, status]


def test_a_zone_makes_no_other_address_of_a_peer() -> None:
    peers: list[Place] = [{"REMOTE_ADDR": each} for each in ("fe80::1%eth0", "fe80::2%eth1")]
    assert from_two(House(login_tries=1), *peers) == [401, 429]


def test_the_environ_of_the_app_is_left_as_it_came() -> None:
    house = House(trusted_proxies="10.0.0.0/8", public_paths="/public")
    sent = {"REMOTE_ADDR": "10.1.2.3", **CHAINED}
    house.client.get("/public", extra_environ=sent)
    assert {name: house.seen[name] for name in sent} == sent


# Many at once


def at_once(house: House, uids: list[int], password: str = WRONG) -> list[int]:
    """Try to log in, each from a thread of its own, all at one moment, and return the statuses."""
    ready = threading.Barrier(len(uids))

    def attempt(uid: int) -> int:
        client = webtest.TestApp(house.gateway, extra_environ={"REMOTE_ADDR": HERE})
        ready.wait(60)
        body = as_bytes({"uid": uid, "password": password})
        status: int = client.post("/auth", body, expect_errors=True).status_int
        return status

    with ThreadPoolExecutor(len(uids)) as pool:
        return sorted(pool.map(attempt, uids))


def test_at_once_no_more_passwords_of_a_uid_are_looked_at_than_are_allowed(house: Make) -> None:
    guarded = house(login_tries=5)
    assert at_once(guarded, [12] * 50) == [401] * 5 + [429] * 45
    assert len(guarded.door.asked) == 5


def test_at_once_no_more_passwords_from_an_address_are_looked_at_than_are_allowed(house: Make) -> None:
    guarded = house(login_tries_per_address=7)
    assert at_once(guarded, list(range(50))) == [401] * 7 + [429] * 43
    assert len(guarded.door.asked) == 7


def test_two_workers_count_as_one(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/state.db"
    first, second = (House(state_url=url, login_tries=3) for _ in range(2))
    assert [fail(each)[0] for each in (first, second, first, second, first)] == [401] * 3 + [429] * 2


def test_a_worker_that_starts_anew_knows_of_earlier_failures(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/state.db"
    fail(House(state_url=url, login_tries=1))
    assert refused(House(state_url=url, login_tries=1).log_in()) == TOO_MANY


def test_the_store_keeps_no_uid_and_no_address(tmp_path: Path) -> None:
    fail(House(state_url=f"sqlite:///{tmp_path}/state.db"), uid="alice-in-wonderland")
    kept = b"".join(path.read_bytes() for path in tmp_path.glob("state.db*"))
    assert b"alice" not in kept
    assert HERE.encode() not in kept


def test_a_wrong_login_below_the_limit_says_nothing_of_it() -> None:
    house = House(login_tries=2)
    first, second = house.log_in(password=WRONG), house.log_in(password=WRONG)
    assert (refused(first), first.headerlist, first.body) == (WRONG_LOGIN, second.headerlist, second.body)


def test_the_password_of_an_attempt_that_is_refused_is_not_looked_at() -> None:
    house = House(login_tries=1)
    fail(house, 4)
    house.log_in(password=PASSWORD)
    assert house.door.asked == [(12, WRONG)]
