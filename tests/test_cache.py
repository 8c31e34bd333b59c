"""Verified tokens, remembered: how many, for how long, and that nobody is taken for anybody else."""

from __future__ import annotations

import random
import sys
import threading
import tracemalloc
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from wsgiref.types import WSGIEnvironment

import pytest

from gateway import InvalidTokenError, Settings
from gateway.cache import BYTES_EACH, TokenCache
from gateway.claims import OwnRules
from gateway.identity import BEARER, Identity
from gateway.keyfolder import LOOK_SEC, generate
from gateway.keys import Key, KeyRing
from tests.support import KEY, MINUTE, NOW, Clock, Guarded, Recorder, claims, forge

RULES = OwnRules(Settings(token_key=KEY))


class Keys:
    """Keys that a test takes away."""

    def __init__(self) -> None:
        self.key = Key.secret(KEY)
        self.ring = KeyRing([self.key])

    def candidates(self, kid: str | None, alg: str) -> tuple[Key, ...]:
        return self.ring.candidates(kid, alg)

    def keep_up(self, now: float) -> None:
        """Nothing changes but by a test."""

    def clear(self) -> None:
        self.ring = KeyRing([])


KEYS = Keys()
DEEP = {"deep": {"list": [1, {"a": "b"}], "none": None}, "truth": True}
MANY = {f"claim{number}": number for number in range(20)}
KINDS = [
    pytest.param({}, id="plain"),
    pytest.param({"role": "editor", "none": None, "half": 0.5, "yes": True}, id="more of them"),
    pytest.param(DEEP, id="nested"),
    pytest.param(MANY, id="many"),
    pytest.param(MANY | DEEP, id="many and nested"),
]


def identity(token: str = "token", keys: Keys = KEYS, **changes: Any) -> Identity:
    """An identity by a token with good claims, with changes."""
    found = claims(**changes)
    return Identity(token, found, RULES.facts(found), keys.key, keys)


def held(cache: TokenCache) -> list[str]:
    """The tokens that are remembered, the oldest first."""
    return [entry.token for entry in cache._identities.values()]


def used(cache: TokenCache) -> int:
    """The bytes in use, after a look at that they are what they would be if they were counted anew."""
    assert cache._used == sum(size_of(entry) for entry in cache._identities.values())
    return cache._used


def size_of(entry: Identity) -> int:
    entry.pack()
    return entry.size


def filled(most: int, tokens: Iterable[str]) -> TokenCache:
    cache = TokenCache(most)
    for token in tokens:
        cache.add(identity(token))
    return cache


# What is kept


def test_a_token_is_found_by_its_header() -> None:
    cache, one = TokenCache(3), identity("one")
    cache.add(one)
    assert cache.get("Bearer one") is one


@pytest.mark.parametrize("header", ["one", "Bearer two", "bearer one", "Bearer one ", "", None])
def test_nothing_is_found_by_another_header(header: str | None) -> None:
    assert filled(3, ["one"]).get(header) is None


def test_a_token_that_is_added_again_is_held_once() -> None:
    cache = filled(3, ["one", "one"])
    assert held(cache) == ["one"]
    assert used(cache) == size_of(identity("one"))


def test_no_more_are_held_than_there_may_be() -> None:
    cache = filled(3, map(str, range(10)))
    assert len(cache) == 3


def test_the_oldest_go_first() -> None:
    assert held(filled(3, "abcde")) == ["c", "d", "e"]


def test_a_token_that_is_added_again_is_a_new_one() -> None:
    assert held(filled(3, "abcad")) == ["c", "a", "d"]


def test_a_token_that_is_found_does_not_grow_younger() -> None:
    cache = filled(3, "abc")
    cache.get("Bearer a")
    cache.add(identity("d"))
    assert held(cache) == ["b", "c", "d"]


def test_of_many_some_go_at_once() -> None:
    cache = filled(640, map(str, range(641)))
    assert held(cache) == [str(number) for number in range(11, 641)]
    assert used(cache) > 0


@pytest.mark.parametrize("most", [1, 2, 63, 64, 65, 128])
def test_the_newest_is_always_held(most: int) -> None:
    cache = TokenCache(most)
    for number in range(3 * most):
        cache.add(identity(str(number)))
        assert held(cache)[-1] == str(number)
        assert len(cache) <= most


def test_with_a_size_of_zero_nothing_is_held() -> None:
    cache = filled(0, ["one"])
    assert len(cache) == 0
    assert cache.get("Bearer one") is None


@pytest.mark.parametrize("extra", [{"x": "a" * 4000}, {"x": [["a" * 4000]]}, {"x": [[1]] * 800}])
def test_no_more_bytes_are_held_than_there_may_be(extra: dict[str, Any]) -> None:
    cache = TokenCache(10)
    for number in range(10):
        cache.add(identity(str(number), **extra))
        assert used(cache) <= 10 * BYTES_EACH
    assert held(cache) == ["8", "9"]


def test_a_large_token_takes_the_place_of_several() -> None:
    cache = filled(10, map(str, range(10)))
    cache.add(identity("large", x="a" * 8000))
    assert held(cache)[-1] == "large"
    assert 1 < len(cache) < 10
    assert used(cache) <= 10 * BYTES_EACH


@pytest.mark.parametrize("extra", [{"x": "a" * 10_000}, {"x": ["a" * 10_000]}])
def test_a_token_larger_than_all_the_room_is_not_held_and_leaves_the_others(extra: dict[str, Any]) -> None:
    cache = filled(3, "ab")
    cache.add(identity("large", **extra))
    assert held(cache) == ["a", "b"]
    assert used(cache) > 0


def test_a_long_token_counts_by_its_length() -> None:
    assert size_of(identity("a" * 1001)) - size_of(identity("a")) == 1000


@pytest.mark.parametrize("extra", KINDS)
def test_a_dropped_token_gives_its_room_back(extra: dict[str, Any]) -> None:
    cache = filled(10, "abc")
    before = used(cache)
    cache.add(identity("x", **extra))
    cache.drop("Bearer x")
    assert used(cache) == before
    assert held(cache) == ["a", "b", "c"]


def test_dropping_what_is_not_held_does_nothing() -> None:
    cache = filled(3, "abc")
    cache.drop("Bearer d")
    assert held(cache) == ["a", "b", "c"]


@pytest.mark.parametrize(
    "extra",
    [
        {},
        {"role": "editor", "scope": "read write"},
        {"roles": ["a", "b"]},
        pytest.param({"text": "a" * 4000}, id="long"),
        pytest.param({"lists": [[1] * 50] * 20}, id="lists"),
    ],
)
def test_a_full_cache_takes_no_more_memory_than_is_said(extra: dict[str, Any]) -> None:
    tokens = Clock(token_key=KEY, token_cache_size=300)
    made = [tokens.create(number, extra) for number in range(100_000, 100_400)]
    for token in made[:10]:  # what is made once and for all is not counted
        tokens.decode_token(token)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for token in made[10:]:
            tokens.decode_token(token)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before <= 300 * BYTES_EACH * 1.05


def test_usual_tokens_all_have_room() -> None:
    tokens = Clock(token_key=KEY, token_cache_size=300)
    for number in range(300):
        tokens.decode_token(tokens.create(number))
    assert len(tokens._cache) == 300


# Keys that go


def test_a_token_whose_key_went_is_dropped() -> None:
    cache, keys = filled(5, "ab"), Keys()
    cache.add(identity("x", keys))
    keys.clear()
    assert cache.get("Bearer x") is not None
    cache.drop_outdated()
    assert held(cache) == ["a", "b"]
    assert used(cache) > 0


def test_a_token_whose_key_went_while_it_came_is_not_held() -> None:
    cache, keys = filled(5, "ab"), Keys()
    late = identity("x", keys)
    keys.clear()
    cache.add(late)
    assert held(cache) == ["a", "b"]
    assert used(cache) > 0


# Claims


@pytest.mark.parametrize("extra", KINDS)
@pytest.mark.parametrize("packed", [True, False])
def test_the_claims_are_those_of_the_token(packed: bool, extra: dict[str, Any]) -> None:
    found = identity(**extra)
    if packed:
        found.pack()
    assert found.claims() == claims(**extra)


@pytest.mark.parametrize("extra", KINDS)
def test_the_claims_of_a_kept_token_share_nothing_that_can_be_changed(extra: dict[str, Any]) -> None:
    found = identity(**extra)
    found.pack()
    spoil(found.claims())
    assert found.claims() == claims(**extra)


def spoil(found: dict[str, Any]) -> None:
    """Change all there is to be changed."""
    for value in list(found.values()):
        if isinstance(value, dict):
            spoil(value)
        elif isinstance(value, list):
            value.append("spoilt")
    found.clear()
    found["uid"] = "spoilt"


@pytest.mark.parametrize(
    "text",
    [
        *("é", "日本", "😀", "\x00\x1f", "\u2028"),
        pytest.param("\ud800", id="half of a pair"),
        pytest.param("a\udfff\ud83d", id="halves in the wrong order"),
    ],
)
@pytest.mark.parametrize("extra", [{}, MANY])
def test_text_of_any_kind_survives(text: str, extra: dict[str, Any]) -> None:
    changes: dict[str, Any] = {"x": text, text: 1} | extra
    found = identity(**changes)
    found.pack()
    assert found.claims() == claims(**changes)


@pytest.mark.parametrize("value", [2**31, 2**63, -(2**64), 10**4000, 0.1, -0.0, 5e-324, 1.7e308, True])
@pytest.mark.parametrize("extra", [{}, MANY])
def test_a_number_of_any_size_survives_as_it_is(value: float, extra: dict[str, Any]) -> None:
    found = identity(x=value, **extra)
    found.pack()
    assert repr(found.claims()["x"]) == repr(value)


def test_claims_nested_as_deep_as_a_token_may_be_survive() -> None:
    nested: list[Any] = []
    for _ in range(62):
        nested = [nested]
    tokens = Clock(token_key=KEY)
    token = tokens.create(12, x=nested)
    assert [tokens.decode_token(token)["x"] for _ in range(2)] == [nested, nested]


def test_the_order_of_the_claims_is_kept() -> None:
    changes: dict[str, Any] = MANY | DEEP
    found = identity(**changes)
    before = list(found.claims())
    found.pack()
    assert list(found.claims()) == before


# Identities


def test_the_repr_of_an_identity_hides_the_token_and_the_claims() -> None:
    found = identity("hunter2", secret="hunter2")
    assert repr(found) == f"Identity(uid='12', issuer=None, exp={found.exp})"
    found.pack()
    assert "hunter2" not in repr(found)


def test_the_repr_of_a_cache_hides_the_tokens() -> None:
    assert "hunter2" not in repr(filled(3, ["hunter2"]))


def test_an_identity_with_another_token_leaves_the_first_as_it_was() -> None:
    found = identity("one")
    other = found.with_next("Bearer two")
    assert (found.token, found.renewed) == ("one", False)
    assert (other.token, other.renewed, other.uid) == ("two", True, "12")
    assert other.bearer == BEARER + "two"


@pytest.mark.parametrize(
    ("changes", "offset", "good"),
    [
        ({"exp": NOW + 60}, 59.99, True),
        ({"exp": NOW + 60}, 60, False),
        ({"nbf": NOW + 60}, 50, True),
        ({"nbf": NOW + 60}, 49.99, False),
        ({"auth_time": NOW - 86_340, "exp": NOW + 600}, 60, True),
        ({"auth_time": NOW - 86_340, "exp": NOW + 600}, 60.01, False),
    ],
)
def test_an_identity_is_good_for_as_long_as_its_token(
    changes: dict[str, Any], offset: float, good: bool
) -> None:
    assert identity(**changes).is_good(NOW + offset) is good


# Threads


def hammer(cache: TokenCache, most: int, seed: int, *keys: Keys) -> Iterator[str]:
    """Do all that can be done to a cache, many times, and yield what is wrong meanwhile."""
    chance = random.Random(seed)
    for _ in range(1500):
        number = chance.randrange(40)
        entry = identity(str(number), chance.choice(keys), x="a" * 40 * number)
        if chance.randrange(3):
            cache.add(entry)
        else:
            cache.drop(entry.bearer)
        if chance.randrange(20) == 0:
            cache.drop_outdated()
        found = cache.get(entry.bearer)
        if found is not None and found.token != entry.token:
            yield "another's identity was found"
        if len(cache) > most:
            yield "there were too many"


@pytest.fixture
def _switching_often() -> Iterator[None]:
    """Let threads come between each other's steps."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("_switching_often")
def test_many_threads_leave_the_count_right() -> None:
    cache, most, changing = TokenCache(20), 20, Keys()
    faults: list[object] = []

    def run(seed: int) -> None:
        try:
            faults.extend(hammer(cache, most, seed, KEYS, changing))
        except Exception as error:  # noqa: BLE001 - it would be lost in its thread
            faults.append(error)

    threads = [threading.Thread(target=run, args=[seed]) for seed in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        changing.clear()
        cache.drop_outdated()
        changing.ring = KeyRing([changing.key])
        threads[0].join(0.001)
    changing.clear()
    cache.drop_outdated()
    assert faults == []
    assert 0 < used(cache) <= most * BYTES_EACH
    assert all(entry.is_current() for entry in cache._identities.values())


# Behind the gateway


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Every signature that is checked."""
    checked: list[bytes] = []
    verify = Key.verify

    def recorded(key: Key, data: bytes, signature: bytes) -> bool:
        checked.append(signature)
        return verify(key, data, signature)

    monkeypatch.setattr(Key, "verify", recorded)
    return checked


GOOD = forge(claims())


def code_of(guarded: Guarded, **sent: Any) -> str | None:
    """The code of the rejection of a request; None where the app answered."""
    response = guarded.request(**sent)
    return None if response.status_int == 200 else response.json["code"]


def test_a_known_token_is_not_checked_again(checks: list[bytes]) -> None:
    guarded = Guarded()
    assert [code_of(guarded, token=GOOD) for _ in range(3)] == [None, None, None]
    assert len(checks) == 1


def test_a_known_token_is_known_to_the_creator_too(checks: list[bytes]) -> None:
    guarded = Guarded()
    guarded.request(token=GOOD)
    assert guarded.clock.decode_token(GOOD) == claims()
    assert guarded.clock.refresh(GOOD) == GOOD
    assert len(checks) == 1


def test_with_a_size_of_zero_every_request_is_checked(checks: list[bytes]) -> None:
    guarded = Guarded(token_cache_size=0)
    assert [code_of(guarded, token=GOOD) for _ in range(3)] == [None, None, None]
    assert len(checks) == 3


def test_two_gateways_remember_on_their_own(checks: list[bytes]) -> None:
    for _ in range(2):
        assert code_of(Guarded(), token=GOOD) is None
    assert len(checks) == 2


def test_a_refused_token_is_not_remembered(checks: list[bytes]) -> None:
    guarded = Guarded()
    refused = [forge(claims(), key="other" * 8), forge(claims(exp=NOW)), forge(claims(uid=None)), "a.b.c"]
    for token in refused:
        assert code_of(guarded, token=token) is not None
    assert len(guarded.clock._cache) == 0


SPELLINGS = ["Bearer {}", "Bearer  {}", "bEARER {}", "BEARER     {}"]


@pytest.mark.parametrize("first", SPELLINGS)
def test_however_a_header_is_spelled_its_token_is_one(first: str, checks: list[bytes]) -> None:
    guarded = Guarded()
    for spelling in (first, *SPELLINGS):
        sent = {"Authorization": spelling.format(GOOD), "uid": "12"}
        assert guarded.send(headers=sent).status_int == 200
    assert len(checks) == 1
    assert len(guarded.clock._cache) == 1


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_the_token_to_use_next_is_the_token_alone(spelling: str) -> None:
    guarded = Guarded()
    guarded.send(headers={"Authorization": spelling.format(GOOD), "uid": "12"})
    assert guarded.seen["HTTP_X_REFRESHED_TOKEN"] == GOOD


@pytest.mark.parametrize(
    "header",
    [
        *(
            "{}",
            "Basics {}",
            "bearers {}",
            "Bearer{}",
            "Bearer\t{}",
            " Bearer {}",
            "Bearer {} ",
            "Bearer {}\n",
        ),
        *("Bearer {0},Bearer {0}", "Bearer {0}, Bearer {0}", "Bearer {0} {0}", "Bearer {},", '"Bearer {}"'),
        *("\tBearer {}", "Bearer \u00a0{}", "Bearer  {}\x00"),
    ],
)
def test_a_header_that_only_holds_a_known_token_is_malformed(header: str) -> None:
    guarded = Guarded()
    guarded.request(token=GOOD)
    environ = {"HTTP_AUTHORIZATION": header.format(GOOD), "HTTP_UID": "12"}
    response = guarded.client.get("/", extra_environ=environ, expect_errors=True)
    assert response.json["code"] == "malformed_credentials"
    assert guarded.reached == 1


@pytest.mark.parametrize("change", [lambda token: token[:-1], lambda token: token + "A", str.swapcase])
def test_a_token_that_is_nearly_a_known_one_is_invalid(change: Any) -> None:
    guarded = Guarded()
    guarded.request(token=GOOD)
    assert code_of(guarded, token=change(GOOD)) == "invalid_token"


def test_a_known_token_is_refused_once_it_is_expired() -> None:
    guarded = Guarded()
    token = forge(claims(exp=NOW + 60))
    assert code_of(guarded, token=token) is None
    guarded.clock.time += 59.9
    assert code_of(guarded, token=token) is None
    guarded.clock.time = NOW + 60
    assert code_of(guarded, token=token) == "token_expired"


def test_a_known_token_is_refused_once_its_leeway_is_over() -> None:
    guarded = Guarded(leeway_sec=30)
    token = forge(claims(exp=NOW + 60))
    guarded.clock.time += 89.9
    assert code_of(guarded, token=token) is None
    guarded.clock.time = NOW + 90
    assert code_of(guarded, token=token) == "token_expired"


def test_a_known_token_is_refused_before_its_time_when_the_clock_is_put_back() -> None:
    guarded = Guarded()
    token = forge(claims(nbf=NOW))
    assert code_of(guarded, token=token) is None
    guarded.clock.time -= 11
    assert code_of(guarded, token=token) == "invalid_claims"
    guarded.clock.time += 11
    assert code_of(guarded, token=token) is None


def test_a_known_token_is_refused_once_its_session_is_over() -> None:
    guarded = Guarded(max_session_min=60)
    token = forge(claims(auth_time=NOW - 59 * MINUTE, iat=NOW - 59 * MINUTE, exp=NOW + 30 * MINUTE))
    assert code_of(guarded, token=token) is None
    guarded.clock.time += 60
    assert code_of(guarded, token=token) is None
    guarded.clock.time += 0.01
    assert code_of(guarded, token=token) == "invalid_claims"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a key that signs and one that does not."""
    for age in (10_000, 0):
        generate(tmp_path, "EdDSA", NOW - age)
    return tmp_path


def test_a_known_token_is_refused_once_its_key_is_gone(folder: Path) -> None:
    guarded = Guarded(algorithm="EdDSA", key_dir=folder)
    token = guarded.clock.create(uid=12)
    assert code_of(guarded, token=token) is None
    min(folder.iterdir()).unlink()
    guarded.clock.time += LOOK_SEC
    assert code_of(guarded, token=token) == "invalid_token"
    assert len(guarded.clock._cache) == 0


def test_a_creator_refuses_a_known_token_once_its_key_is_gone(folder: Path) -> None:
    tokens = Clock(algorithm="EdDSA", key_dir=folder)
    token = tokens.create(uid=12)
    tokens.decode_token(token)
    min(folder.iterdir()).unlink()
    tokens.time += LOOK_SEC
    with pytest.raises(InvalidTokenError):
        tokens.decode_token(token)


def test_a_known_token_stays_known_when_another_key_comes(folder: Path, checks: list[bytes]) -> None:
    guarded = Guarded(algorithm="EdDSA", key_dir=folder)
    token = guarded.clock.create(uid=12)
    guarded.request(token=token)
    before = len(checks)
    generate(folder, "EdDSA", NOW)
    guarded.clock.time += LOOK_SEC
    assert code_of(guarded, token=token) is None
    assert len(checks) == before


@pytest.mark.parametrize(
    ("uid", "code"),
    [
        *(("13", "uid_mismatch"), ("012", "uid_mismatch"), (" 12", "uid_mismatch"), ("1", "uid_mismatch")),
        *(("", "missing_credentials"), (None, "missing_credentials")),
    ],
)
def test_the_uid_is_judged_each_time(uid: str | None, code: str) -> None:
    guarded = Guarded()
    assert code_of(guarded, token=GOOD) is None
    assert code_of(guarded, token=GOOD, uid=uid) == code
    assert code_of(guarded, token=GOOD) is None


@pytest.mark.parametrize(("uid", "code"), [("13", "uid_mismatch"), ("", None), (None, None), ("12", None)])
def test_a_uid_that_was_sent_is_judged_each_time_where_none_is_needed(
    uid: str | None, code: str | None
) -> None:
    guarded = Guarded(require_uid=False)
    assert code_of(guarded, token=GOOD) is None
    assert code_of(guarded, token=GOOD, uid=uid) == code


def test_two_known_tokens_are_told_apart() -> None:
    guarded = Guarded()
    other = forge(claims(uid=13, sid="t"))
    for _ in range(2):
        assert code_of(guarded, token=GOOD, uid="12") is None
        assert code_of(guarded, token=other, uid="13") is None
        assert code_of(guarded, token=other, uid="12") == "uid_mismatch"


def test_requests_of_one_second_are_given_the_same_renewal(tmp_path: Path) -> None:
    """Where each signature is another one, as of ES256, a client could else fill the cache by itself."""
    generate(tmp_path, "ES256", NOW)
    clock = Clock(Settings(algorithm="ES256", key_dir=str(tmp_path)))
    token = clock.create(uid=12)
    clock.time += 20 * MINUTE
    renewals = {clock.refresh(token) for _ in range(5)}
    assert len(renewals) == 1
    clock.time += 1
    assert clock.refresh(token) not in renewals


def test_no_renewal_is_given_that_another_key_signed(tmp_path: Path) -> None:
    generate(tmp_path, "EdDSA", NOW)
    clock = Clock(Settings(algorithm="EdDSA", key_dir=str(tmp_path), key_activation_sec=0))
    token = clock.create(uid=12)
    clock.time += 20 * MINUTE
    second = generate(tmp_path, "EdDSA", clock.time)
    clock.time += LOOK_SEC
    renewed = clock.refresh(token)
    clock.time += 0.5
    second.path.unlink()
    clock.time += LOOK_SEC - 1
    assert clock.decode_token(renewed)
    clock.time += 0.5
    assert clock.decode_token(clock.refresh(token))


def test_a_renewed_token_is_known_already(checks: list[bytes]) -> None:
    guarded = Guarded()
    renewed = guarded.request(token=forge(claims(exp=NOW + 60))).headers["X-Refreshed-Token"]
    before = len(checks)
    assert code_of(guarded, token=renewed) is None
    assert len(checks) == before == 1


@pytest.mark.parametrize("extra", KINDS)
def test_a_renewed_token_is_known_by_the_claims_that_are_in_it(extra: dict[str, Any]) -> None:
    guarded = Guarded()
    renewed = guarded.clock.refresh(forge(claims(exp=NOW + 60, **extra)))
    fresh = Clock(token_key=KEY).decode_token(renewed)
    assert guarded.clock.decode_token(renewed) == fresh
    assert repr(guarded.clock.decode_token(renewed)) == repr(fresh)


def test_a_token_that_is_due_is_renewed_on_each_request_and_checked_once(checks: list[bytes]) -> None:
    guarded = Guarded()
    token = forge(claims(exp=NOW + 60))
    for _ in range(2):
        assert "X-Refreshed-Token" in guarded.request(token=token).headers
    assert len(checks) == 1


def test_a_token_that_is_due_is_renewed_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    signed: list[bytes] = []
    sign = Key.sign

    def recorded(key: Key, data: bytes) -> bytes:
        signed.append(data)
        return sign(key, data)

    monkeypatch.setattr(Key, "sign", recorded)
    guarded = Guarded()
    token = forge(claims(exp=NOW + 60))
    renewed = []
    for _ in range(4):
        renewed.append(guarded.request(token=token).headers["X-Refreshed-Token"])
        guarded.clock.time += 0.5
    assert renewed[0] == renewed[1] != renewed[2] == renewed[3]
    assert len(signed) == 2
    assert all(code_of(guarded, token=each) is None for each in renewed)


def test_a_known_token_becomes_due() -> None:
    guarded = Guarded()
    token = guarded.clock.create(uid=12)
    assert "X-Refreshed-Token" not in guarded.request(token=token).headers
    guarded.clock.time += 15 * MINUTE + 1
    assert "X-Refreshed-Token" in guarded.request(token=token).headers
    guarded.clock.time -= 15 * MINUTE
    assert "X-Refreshed-Token" not in guarded.request(token=token).headers


class Spoiler(Recorder):
    """An app that changes the claims which it was given, after a look at them."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[dict[str, Any]] = []

    def __call__(self, environ: WSGIEnvironment, start_response: Any) -> list[bytes]:
        self.seen.append(dict(environ["gateway.claims"]))
        self.seen[-1] |= {name: list(value) for name, value in self.seen[-1].items() if type(value) is list}
        spoil(environ["gateway.claims"])
        return super().__call__(environ, start_response)


@pytest.mark.parametrize("size", [0, 1, 10_000])
@pytest.mark.parametrize(
    "extra", [pytest.param({"role": "x"}, id="plain"), pytest.param({"x": [1]}, id="nested"), MANY]
)
@pytest.mark.parametrize("left", [pytest.param(60, id="renewed"), pytest.param(1800, id="fresh")])
def test_what_an_app_does_to_its_claims_shows_in_no_later_request(
    left: int, extra: dict[str, Any], size: int
) -> None:
    app = Spoiler()
    guarded = Guarded(app, token_cache_size=size)
    sent = claims(exp=int(NOW) + left, **extra)
    for _ in range(3):
        assert guarded.request(token=forge(sent)).status_int == 200
    assert app.seen == [sent] * 3


def test_a_public_path_gets_no_identity_although_the_token_is_known() -> None:
    guarded = Guarded(public_paths=["/public"])
    assert code_of(guarded, token=GOOD) is None
    assert isinstance(guarded.app, Recorder)
    guarded.app.calls.clear()
    assert code_of(guarded, path="/public", token=GOOD) is None
    owned = {"gateway.claims", "HTTP_UID", "HTTP_X_REFRESHED_TOKEN", "REMOTE_USER", "AUTH_TYPE"}
    assert not owned.intersection(guarded.seen)


def test_a_known_token_too_long_to_be_looked_at_elsewhere_is_refused_there() -> None:
    tokens = Clock(token_key=KEY, max_token_bytes=len(GOOD) - 1)
    tokens._cache.add(identity(GOOD))
    with pytest.raises(InvalidTokenError):
        tokens.decode_token(GOOD)


def test_a_full_cache_goes_on() -> None:
    guarded = Guarded(token_cache_size=2)
    made = [forge(claims(uid=number)) for number in range(6)]
    for _ in range(2):
        for number, token in enumerate(made):
            assert code_of(guarded, token=token, uid=str(number)) is None
    assert len(guarded.clock._cache) == 2
    assert used(guarded.clock._cache) > 0
