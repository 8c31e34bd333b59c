"""Other issuers: how their keys are fetched and kept, and what becomes of their tokens."""

from __future__ import annotations

import gc
import http.server
import itertools
import json
import logging
import ssl
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import jwt
import pytest
import webtest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway import AuthGateway, ConfigError, InvalidClaimsError, InvalidTokenError, Settings
from gateway.demo import Demo
from gateway.errors import KeysUnavailableError
from gateway.issuers import COOLDOWN_SEC, REFRESH_SEC, TIMEOUT_SEC, FetchedKeys, _keep_up
from gateway.keys import Key
from gateway.policyfile import IssuerRules
from tests.integration.servers import DEADLINE, run, until
from tests.remote import self_signed
from tests.support import KEY, MINUTE, NOW, Clock, Guarded, Recorder, claims, forge

A = "https://a.example"
B = "https://b.example"
A_JWKS = "http://127.0.0.1:1/a"  # where nobody is
B_JWKS = "http://127.0.0.1:1/b"
THREADS = [f"keys of {A}", f"keys of {B}"]

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


class Signer:
    """A key of an issuer."""

    def __init__(self, private: PrivateKey, alg: str, kid: str | None = "k1") -> None:
        self.private = private
        self.alg = alg
        self.kid = kid

    def jwk(self, **changes: Any) -> dict[str, Any]:
        """What is published of it; a change to `...` takes a member out."""
        public: Any = self.private.public_key()
        jwk = dict(jwt.get_algorithm_by_name(self.alg).to_jwk(public, as_dict=True))
        jwk.pop("key_ops", None)
        jwk |= {"kid": self.kid, "alg": self.alg, "use": "sig"} | changes
        return {name: value for name, value in jwk.items() if value is not ...}

    def token(self, payload: dict[str, Any], **header: Any) -> str:
        """A token of these claims, made by another library than ours; a member of None is left out."""
        named = {"kid": self.kid} | header
        named = {name: value for name, value in named.items() if value is not None or name == "typ"}
        return jwt.encode(payload, self.private, self.alg, named)

    def pem(self) -> bytes:
        return self.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def es256(kid: str | None = "k1") -> Signer:
    return Signer(ec.generate_private_key(ec.SECP256R1()), "ES256", kid)


@cache
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


FIRST = es256("k1")
SECOND = es256("k2")
EDDSA = Signer(ed25519.Ed25519PrivateKey.generate(), "EdDSA", "ed")


def jwks(*signers: Signer) -> dict[str, Any]:
    return {"keys": [signer.jwk() for signer in signers]}


class Publisher:
    """Stands in for the network: what there is at each address, and the addresses that were asked for.

    A class of errors stands for one of them.
    """

    def __init__(self) -> None:
        self.sets: dict[str, object] = {A_JWKS: jwks(FIRST), B_JWKS: jwks(FIRST)}
        self.fetched: list[str] = []
        self.held = threading.Event()  # answers wait for it
        self.held.set()

    def __call__(self, url: str) -> Any:
        self.fetched.append(url)
        found = self.sets[url]
        assert self.held.wait(DEADLINE)
        if isinstance(found, type) and issubclass(found, Exception):
            raise found
        return found


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> Publisher:
    publisher = Publisher()
    monkeypatch.setattr("gateway.issuers._fetched", publisher)
    return publisher


def refreshers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name in THREADS]


def have_ended(threads: list[threading.Thread]) -> bool:
    """Whether threads of what nobody has any more have ended, after a while for them to do so."""
    gc.collect()
    for thread in threads:
        thread.join(0.05)
    return not any(thread.is_alive() for thread in threads)


def in_words(record: logging.LogRecord) -> bool:
    """Take the error out of what is logged: it holds what it was raised in for as long as the test lasts."""
    record.msg, record.args = record.getMessage(), ()
    return True


@pytest.fixture(autouse=True)
def _no_refresher_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let no thread rest for long after a failure, and end those of a test with it."""
    monkeypatch.setattr("gateway.issuers.COOLDOWN_SEC", 0.01)
    logger = logging.getLogger("gateway")
    logger.addFilter(in_words)
    yield
    for _ in range(20):  # after a test that failed, some may stay
        if not refreshers() or have_ended(refreshers()):
            break
    logger.removeFilter(in_words)


def eventually(holds: Callable[[], bool]) -> None:
    until(lambda: holds() or None, lambda: "it never came true")


class Fetching:
    """The keys of one issuer whose time a test moves."""

    def __init__(self, **changes: Any) -> None:
        self.time = NOW
        self.changes = 0
        usual = {
            "issuer": A,
            "jwks_url": A_JWKS,
            "audience": "us",
            "algorithms": ("ES256",),
            "uid_claim": "sub",
            "uid_prefix": "a:",
            "max_token_min": 1440,
            "leeway_sec": 60,
            "max_stale_min": 1440,
            "shared_uids": False,
        }
        self.keys = FetchedKeys(IssuerRules(**{**usual, **changes}), lambda: self.time, self._changed)

    def _changed(self) -> None:
        self.changes += 1

    @property
    def known(self) -> set[tuple[str | None, str]]:
        """The names and algorithms of the keys."""
        return {(key.kid, key.alg) for key in self.keys.ring.keys}


@pytest.fixture
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """No thread: the keys are fetched when a test says so, and nobody waits for them."""
    monkeypatch.setattr(FetchedKeys, "keep_up", lambda keys, now: None)
    monkeypatch.setattr("gateway.issuers.TIMEOUT_SEC", 0)


# Sets of keys


@pytest.mark.parametrize("alg", ["RS256", "PS256", "ES256", "EdDSA"])
def test_a_key_of_a_set_verifies(published: Publisher, alg: str) -> None:
    private = {"ES256": FIRST.private, "EdDSA": EDDSA.private}.get(alg) or rsa_key()
    signer = Signer(private, alg)
    published.sets[A_JWKS] = jwks(signer)
    fetching = Fetching(algorithms=(alg,))
    assert fetching.keys.refresh()
    (key,) = fetching.keys.ring.candidates("k1", alg)
    signed, _, signature = signer.token({}).rpartition(".")
    assert key.verify(signed.encode(), jwt.utils.base64url_decode(signature))


@pytest.mark.parametrize(
    ("changes", "algorithms", "known"),
    [
        pytest.param({}, ("ES256",), {("k1", "ES256")}, id="as usual"),
        pytest.param({"alg": ...}, ("ES256",), {("k1", "ES256")}, id="without alg"),
        pytest.param({"use": ...}, ("ES256",), {("k1", "ES256")}, id="without use"),
        pytest.param({"use": ..., "key_ops": ["verify"]}, ("ES256",), {("k1", "ES256")}, id="key_ops"),
        pytest.param({"key_ops": ["sign", "verify"]}, ("ES256",), {("k1", "ES256")}, id="both key_ops"),
        pytest.param({"kid": ...}, ("ES256",), {(None, "ES256")}, id="without a name"),
        pytest.param({"x5c": ["MII"], "x5t": 3}, ("ES256",), {("k1", "ES256")}, id="a certificate"),
        pytest.param({}, ("RS256", "ES256"), {("k1", "ES256")}, id="one of two algorithms"),
    ],
)
def test_a_key_is_for_the_algorithms_that_it_fits(
    published: Publisher, changes: dict[str, Any], algorithms: tuple[str, ...], known: set[tuple[str, str]]
) -> None:
    published.sets[A_JWKS] = {"keys": [FIRST.jwk(**changes)]}
    fetching = Fetching(algorithms=algorithms)
    fetching.keys.refresh()
    assert fetching.known == known


@pytest.mark.parametrize(
    ("alg", "known"),
    [
        (..., {("k1", "RS256"), ("k1", "PS256")}),
        ("PS256", {("k1", "PS256")}),
        ("RS256", {("k1", "RS256")}),
    ],
)
def test_an_rsa_key_is_for_both_algorithms_unless_it_names_one(
    published: Publisher, alg: object, known: set[tuple[str, str]]
) -> None:
    published.sets[A_JWKS] = {"keys": [Signer(rsa_key(), "RS256").jwk(alg=alg)]}
    fetching = Fetching(algorithms=("RS256", "PS256"))
    fetching.keys.refresh()
    assert fetching.known == known


def private_jwk() -> dict[str, Any]:
    private: Any = FIRST.private
    return FIRST.jwk() | dict(jwt.get_algorithm_by_name("ES256").to_jwk(private, as_dict=True))


PASSED_OVER = {
    "a number": 3,
    "null": None,
    "true": True,
    "text": json.dumps(FIRST.jwk()),
    "a list": [FIRST.jwk()],
    "nothing in it": {},
    "no type": FIRST.jwk(kty=...),
    "a type in another case": FIRST.jwk(kty="ec"),
    "a type that is no text": FIRST.jwk(kty=["EC"]),
    "another type": FIRST.jwk(kty="RSA"),
    "no curve": FIRST.jwk(crv=...),
    "another curve": FIRST.jwk(crv="P-384"),
    "a curve that is no text": FIRST.jwk(crv={"P-256": 1}),
    "no point": FIRST.jwk(x=..., y=...),
    "half a point": FIRST.jwk(y=...),
    "a point off the curve": FIRST.jwk(y=FIRST.jwk()["x"]),
    "a number for a point": FIRST.jwk(x=12),
    "null for a point": FIRST.jwk(x=None),
    "a list for a point": FIRST.jwk(x=[1]),
    "an empty point": FIRST.jwk(x="", y=""),
    "a point that is no base64url": FIRST.jwk(x="é!"),
    "a long point": FIRST.jwk(x="A" * 100_000),
    "for encryption": FIRST.jwk(use="enc"),
    "a use that is no text": FIRST.jwk(use=["sig"]),
    "a use of null": FIRST.jwk(use=None),
    "for signing alone": FIRST.jwk(key_ops=["sign"]),
    "key_ops that are no list": FIRST.jwk(key_ops="verify"),
    "for another algorithm": FIRST.jwk(alg="ES384"),
    "for a symmetric algorithm": FIRST.jwk(alg="HS256"),
    "for none": FIRST.jwk(alg="none"),
    "an algorithm of null": FIRST.jwk(alg=None),
    "a name that is a number": FIRST.jwk(kid=1),
    "a name that is a list": FIRST.jwk(kid=["k1"]),
    "private": private_jwk(),
    "symmetric": {"kty": "oct", "k": "c2VjcmV0" * 8, "kid": "k1"},
    "symmetric, said to be ours": {"kty": "oct", "k": "c2VjcmV0" * 8, "kid": "k1", "alg": "ES256"},
    "of an algorithm that is not configured": EDDSA.jwk(),
}
ALL_PASSED_OVER = [pytest.param(jwk, id=name) for name, jwk in PASSED_OVER.items()]


@pytest.mark.parametrize("jwk", ALL_PASSED_OVER)
def test_what_is_no_key_for_us_is_passed_over(published: Publisher, jwk: object) -> None:
    published.sets[A_JWKS] = {"keys": [jwk, SECOND.jwk()]}
    fetching = Fetching()
    assert fetching.keys.refresh()
    assert fetching.known == {("k2", "ES256")}


@pytest.mark.parametrize(
    ("alg", "jwk"),
    [
        pytest.param("EdDSA", EDDSA.jwk(crv="Ed448"), id="Ed448"),
        pytest.param("EdDSA", EDDSA.jwk(crv="X25519"), id="X25519"),
        pytest.param("EdDSA", EDDSA.jwk(x="A" * 43), id="a point of small order"),
        pytest.param("RS256", {"kty": "RSA", "n": "AQAB", "e": "AQAB"}, id="RSA of 17 bits"),
        pytest.param("RS256", {"kty": "RSA", "n": "_" + "_" * 170, "e": "AQAB"}, id="RSA of 1026 bits"),
        pytest.param("RS256", {"kty": "RSA", "n": "_" * 342}, id="RSA without an exponent"),
        pytest.param("RS256", {"kty": "RSA", "n": "_" * 342, "e": "AQ"}, id="RSA with an exponent of 1"),
        pytest.param("RS256", {"kty": "RSA", "n": "_" * 342, "e": "_" * 342}, id="a huge exponent"),
        pytest.param("RS256", {"kty": "RSA", "n": 65537, "e": 3}, id="RSA of numbers"),
        pytest.param("RS256", {"kty": "RSA", "n": "", "e": ""}, id="RSA of nothing"),
    ],
)
def test_a_weak_or_odd_key_is_passed_over(published: Publisher, alg: str, jwk: dict[str, Any]) -> None:
    published.sets[A_JWKS] = {"keys": [jwk, SECOND.jwk()]}
    fetching = Fetching(algorithms=(alg, "ES256"))
    assert fetching.keys.refresh()
    assert fetching.known == {("k2", "ES256")}


def test_a_set_may_hold_very_many_keys(published: Publisher) -> None:
    published.sets[A_JWKS] = {"keys": [*PASSED_OVER.values()] * 100 + [SECOND.jwk()]}
    fetching = Fetching()
    assert fetching.keys.refresh()
    assert fetching.known == {("k2", "ES256")}


def test_two_keys_of_one_name_are_both_candidates(published: Publisher) -> None:
    published.sets[A_JWKS] = jwks(FIRST, es256("k1"))
    fetching = Fetching()
    fetching.keys.refresh()
    assert len(fetching.keys.ring.candidates("k1", "ES256")) == 2


NO_SETS: dict[str, object] = {
    "a list": [FIRST.jwk()],
    "null": None,
    "text": "keys",
    "a number": 3,
    "an empty object": {},
    "a key alone": FIRST.jwk(),
    "no list of keys": {"keys": FIRST.jwk()},
    "keys by name": {"keys": {"k1": FIRST.jwk()}},
    "no keys": {"keys": []},
    "keys of null": {"keys": None},
    "keys of text": {"keys": "k1"},
    "another member": {"Keys": [FIRST.jwk()]},
    "useless keys alone": {"keys": list(PASSED_OVER.values())},
    "a network that fails": OSError,
    "too little memory": MemoryError,
    "too deep": RecursionError,
}
ALL_NO_SETS = [pytest.param(found, id=name) for name, found in NO_SETS.items()]


@pytest.mark.parametrize("found", ALL_NO_SETS)
def test_what_is_no_set_leaves_the_last_good_one(published: Publisher, found: object) -> None:
    fetching = Fetching()
    fetching.keys.refresh()
    ring = fetching.keys.ring
    published.sets[A_JWKS] = found
    assert not fetching.keys.refresh()
    assert fetching.keys.ring is ring


@pytest.mark.parametrize("found", ALL_NO_SETS)
def test_what_is_no_set_is_reported_once_in_one_line(
    published: Publisher, caplog: pytest.LogCaptureFixture, found: object
) -> None:
    fetching = Fetching()
    published.sets[A_JWKS] = found
    fetching.keys.refresh()
    fetching.keys.refresh()
    (record,) = caplog.records
    assert (record.name, record.levelno, record.exc_info) == ("gateway", logging.WARNING, None)
    message = record.getMessage()
    assert message.startswith(f"the keys of {A!r} cannot be fetched: ")
    assert message.isprintable()


def test_a_good_set_is_not_reported(published: Publisher, caplog: pytest.LogCaptureFixture) -> None:
    Fetching().keys.refresh()
    assert caplog.records == []


def test_a_failure_after_a_recovery_is_reported_again(
    published: Publisher, caplog: pytest.LogCaptureFixture
) -> None:
    fetching = Fetching()
    for found in ({}, jwks(FIRST), {}, {}):
        published.sets[A_JWKS] = found
        fetching.keys.refresh()
    assert len(caplog.records) == 2


def test_a_good_set_after_a_bad_one_is_taken(published: Publisher) -> None:
    fetching = Fetching()
    for found in ({}, jwks(SECOND)):
        published.sets[A_JWKS] = found
        fetching.keys.refresh()
    assert fetching.known == {("k2", "ES256")}


def test_a_new_set_takes_the_place_of_the_old_one(published: Publisher) -> None:
    fetching = Fetching()
    for found in (jwks(FIRST, SECOND), jwks(SECOND)):
        published.sets[A_JWKS] = found
        fetching.keys.refresh()
    assert fetching.known == {("k2", "ES256")}


def keys_of_two_sets(published: Publisher, first: object, second: object) -> list[frozenset[Key]]:
    fetching = Fetching()
    found = []
    for published.sets[A_JWKS] in (first, second):
        fetching.keys.refresh()
        found.append(fetching.keys.ring.keys)
    return found


@pytest.mark.parametrize(
    "second",
    [
        pytest.param(jwks(FIRST), id="the same set"),
        pytest.param({"keys": [FIRST.jwk(use=..., alg=...)]}, id="described in another way"),
        pytest.param(jwks(SECOND, FIRST), id="with another"),
    ],
)
def test_a_key_that_stays_is_the_same_object(published: Publisher, second: object) -> None:
    before, after = keys_of_two_sets(published, jwks(FIRST), second)
    assert before <= after


@pytest.mark.parametrize(
    "second",
    [
        pytest.param(jwks(es256("k1")), id="another key of its name"),
        pytest.param({"keys": [FIRST.jwk(kid="k2")]}, id="another name"),
        pytest.param({"keys": [FIRST.jwk(kid=...)]}, id="no name"),
    ],
)
def test_a_key_that_changes_is_another_object(published: Publisher, second: object) -> None:
    before, after = keys_of_two_sets(published, jwks(FIRST), second)
    assert before.isdisjoint(after)


def test_a_new_set_is_announced_once_it_is_there(published: Publisher) -> None:
    seen: list[int] = []
    rules = Fetching().keys._rules
    keys = FetchedKeys(rules, lambda: NOW, lambda: seen.append(len(keys.ring.keys)))
    keys.refresh()
    assert seen == [1]


def test_a_failure_announces_nothing(published: Publisher) -> None:
    published.sets[A_JWKS] = {}
    fetching = Fetching()
    fetching.keys.refresh()
    assert fetching.changes == 0


# Sets that are missing or old


@pytest.mark.usefixtures("still")
def test_without_a_set_there_are_no_keys_to_ask_for(published: Publisher) -> None:
    with pytest.raises(KeysUnavailableError, match="missing or too old"):
        Fetching().keys.candidates("k1", "ES256")


@pytest.mark.usefixtures("still")
def test_another_algorithm_than_the_configured_ones_needs_no_keys(published: Publisher) -> None:
    assert Fetching().keys.candidates("k1", "RS256") == ()


@pytest.mark.usefixtures("still")
def test_a_set_serves_until_it_is_too_old(published: Publisher) -> None:
    fetching = Fetching(max_stale_min=60)
    fetching.keys.refresh()
    fetching.time = NOW + 60 * MINUTE - 1
    assert fetching.keys.candidates("k1", "ES256")
    fetching.time = NOW + 60 * MINUTE
    with pytest.raises(KeysUnavailableError):
        fetching.keys.candidates("k1", "ES256")


@pytest.mark.usefixtures("still")
def test_a_failure_makes_no_set_younger(published: Publisher) -> None:
    fetching = Fetching(max_stale_min=60)
    fetching.keys.refresh()
    published.sets[A_JWKS] = {}
    fetching.time = NOW + 59 * MINUTE
    fetching.keys.refresh()
    fetching.time = NOW + 60 * MINUTE
    with pytest.raises(KeysUnavailableError):
        fetching.keys.candidates("k1", "ES256")


@pytest.mark.usefixtures("still")
def test_the_same_set_fetched_again_is_younger(published: Publisher) -> None:
    fetching = Fetching(max_stale_min=60)
    for fetching.time in (NOW, NOW + 59 * MINUTE):
        fetching.keys.refresh()
    fetching.time = NOW + 100 * MINUTE
    assert fetching.keys.candidates("k1", "ES256")


@pytest.mark.usefixtures("still")
def test_a_set_that_was_too_old_recovers(published: Publisher) -> None:
    fetching = Fetching(max_stale_min=1)
    fetching.keys.refresh()
    fetching.time = NOW + 60 * MINUTE
    fetching.keys.refresh()
    assert fetching.keys.candidates("k1", "ES256")


# When they are fetched


class Schedule:
    """What the thread of one issuer does, without a thread and without time: each fetch, sleep and wait.

    Args:
        rounds: for each fetch, whether it goes well, and whether a token asks before the wait ends.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *rounds: tuple[bool, bool]) -> None:
        self.done: list[tuple[str, float]] = []
        self._rounds = list(rounds)
        self._alive: list[Schedule._Keys] = [self._Keys(self)]
        monkeypatch.setattr("gateway.issuers.COOLDOWN_SEC", COOLDOWN_SEC)
        monkeypatch.setattr("gateway.issuers.time", SimpleNamespace(sleep=self._sleep))
        asked = cast("Any", SimpleNamespace(wait=self._wait))
        _keep_up(cast("Any", weakref.ref(self._alive[0])), asked, REFRESH_SEC)

    class _Keys:
        def __init__(self, schedule: Schedule) -> None:
            self._schedule = schedule

        def refresh(self) -> bool:
            self._schedule.done.append(("fetch", 0))
            return self._schedule._rounds[0][0]

    def _sleep(self, seconds: float) -> None:
        self.done.append(("sleep", seconds))

    def _wait(self, seconds: float) -> bool:
        self.done.append(("wait", seconds))
        _, asks = self._rounds.pop(0)
        if not self._rounds:
            self._alive.clear()
        return asks


FETCH = ("fetch", 0)
COOLDOWN = ("sleep", 30)
REST = ("wait", 300)
NO_REST = ("wait", 0)


def test_the_constants_are_those_that_are_promised() -> None:
    assert (REFRESH_SEC, COOLDOWN_SEC, TIMEOUT_SEC) == (300, 30, 5)


def test_a_set_is_fetched_again_before_it_grows_old(monkeypatch: pytest.MonkeyPatch) -> None:
    done = Schedule(monkeypatch, (True, False), (True, False)).done
    assert done == [FETCH, REST, FETCH, REST]


def test_a_token_that_asks_has_it_fetched_at_once_and_then_not_for_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done = Schedule(monkeypatch, (True, True), (True, True), (True, False)).done
    assert done == [FETCH, REST, FETCH, COOLDOWN, REST, FETCH, COOLDOWN, REST]


def test_a_failure_is_tried_again_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    done = Schedule(monkeypatch, (False, False), (False, False), (True, False)).done
    assert done == [FETCH, COOLDOWN, NO_REST, FETCH, COOLDOWN, NO_REST, FETCH, REST]


def test_a_token_that_asks_does_not_hurry_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    done = Schedule(monkeypatch, (False, True), (False, True)).done
    assert done == [FETCH, COOLDOWN, NO_REST] * 2


@pytest.mark.parametrize(
    "rounds", list(itertools.product(itertools.product([True, False], repeat=2), repeat=3))
)
def test_no_two_fetches_that_failed_or_were_asked_for_come_without_a_while_between(
    rounds: tuple[tuple[bool, bool], ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    done = Schedule(monkeypatch, *rounds).done
    fetches = "".join(name[0] for name, _ in done).split("f")[1:]
    for number, ((went_well, _), between) in enumerate(zip(rounds, fetches, strict=True)):
        was_asked = number > 0 and rounds[number - 1][1]
        assert between == ("w" if went_well and not was_asked else "sw")


@pytest.mark.parametrize(("max_stale_min", "rest"), [(1, 20), (2, 40), (14, 280), (15, 300), (1440, 300)])
def test_a_set_of_an_issuer_that_is_up_never_grows_too_old(
    monkeypatch: pytest.MonkeyPatch, max_stale_min: int, rest: int
) -> None:
    """Not even where a fetch that a token asked for delays the next by a cooldown."""
    rests: list[float] = []
    monkeypatch.setattr("gateway.issuers._keep_up", lambda keys, asked, seconds: rests.append(seconds))
    Fetching(max_stale_min=max_stale_min).keys.keep_up(NOW)
    eventually(lambda: rests == [rest])
    assert rest + COOLDOWN_SEC + TIMEOUT_SEC < max_stale_min * MINUTE


class HeldSleep:
    """A sleep that lasts until the test ends it."""

    def __init__(self) -> None:
        self.began = threading.Event()
        self.over = threading.Event()

    def __call__(self, seconds: float) -> None:
        self.began.set()
        self.over.wait(DEADLINE)


@pytest.fixture
def cooldown(monkeypatch: pytest.MonkeyPatch) -> Iterator[HeldSleep]:
    held = HeldSleep()
    monkeypatch.setattr("gateway.issuers.time", SimpleNamespace(sleep=held))
    yield held
    held.over.set()


def at_once(times: int, ask: Callable[[], object]) -> list[object]:
    """What so many threads get that ask at the same time; an error instead of raising it."""
    barrier = threading.Barrier(times)

    def asking(_: int) -> object:
        barrier.wait(DEADLINE)
        try:
            return ask()
        except KeysUnavailableError as error:
            return type(error)

    with ThreadPoolExecutor(times) as pool:
        return list(pool.map(asking, range(times)))


def test_many_unknown_names_at_once_cost_one_fetch(published: Publisher, cooldown: HeldSleep) -> None:
    keys = Fetching().keys
    assert keys.candidates("k1", "ES256")
    names = itertools.count()
    found = at_once(50, lambda: keys.candidates(f"unknown {next(names)}", "ES256"))
    assert cooldown.began.wait(DEADLINE)
    assert (found, published.fetched) == ([()] * 50, [A_JWKS] * 2)


def test_a_name_that_was_asked_for_is_known_soon_after(published: Publisher) -> None:
    keys = Fetching().keys
    assert keys.candidates("k1", "ES256")
    published.sets[A_JWKS] = jwks(FIRST, SECOND)
    eventually(lambda: keys.candidates("k2", "ES256") != ())


def test_a_name_asked_for_in_the_cooldown_is_fetched_after_it(
    published: Publisher, cooldown: HeldSleep
) -> None:
    keys = Fetching().keys
    assert keys.candidates("k1", "ES256")
    assert keys.candidates("unknown", "ES256") == ()
    assert cooldown.began.wait(DEADLINE)
    published.sets[A_JWKS] = jwks(FIRST, SECOND)
    assert keys.candidates("k2", "ES256") == ()
    cooldown.over.set()
    eventually(lambda: keys.ring.candidates("k2", "ES256") != ())


@pytest.mark.parametrize("name", ["k1", None])
def test_a_known_name_or_none_asks_for_nothing(
    published: Publisher, cooldown: HeldSleep, name: str | None
) -> None:
    """The unknown one after them is the first that does."""
    keys = Fetching().keys
    for _ in range(10):
        assert keys.candidates(name, "ES256")
    assert published.fetched == [A_JWKS]
    keys.candidates("unknown", "ES256")
    assert cooldown.began.wait(DEADLINE)
    assert published.fetched == [A_JWKS] * 2


def test_another_algorithm_asks_for_nothing(published: Publisher, cooldown: HeldSleep) -> None:
    keys = Fetching().keys
    assert keys.candidates("k1", "ES256")
    for _ in range(10):
        assert keys.candidates("unknown", "HS256") == ()
    assert published.fetched == [A_JWKS]
    keys.candidates("unknown", "ES256")
    assert cooldown.began.wait(DEADLINE)
    assert published.fetched == [A_JWKS] * 2


# The thread


def test_nothing_starts_at_import() -> None:
    code = "import threading, gateway, gateway.issuers, gateway.cli; print(threading.active_count())"
    assert run(Path(), sys.executable, "-c", code).stdout == "1\n"


def test_nothing_starts_at_construction(published: Publisher) -> None:
    fetching = Fetching()
    assert (refreshers(), published.fetched, fetching.known) == ([], [], set())


def test_requests_at_once_start_one_thread(published: Publisher) -> None:
    keys = Fetching().keys
    at_once(20, lambda: keys.keep_up(NOW))
    assert len(refreshers()) == 1


def test_the_first_request_has_the_first_set(published: Publisher) -> None:
    assert Fetching().keys.candidates("k1", "ES256")


def test_one_request_alone_waits_for_the_first_set(
    published: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.issuers.TIMEOUT_SEC", 10 * DEADLINE)
    published.held.clear()
    keys = Fetching().keys
    with ThreadPoolExecutor(5) as pool:
        try:
            asked = {pool.submit(keys.candidates, "k1", "ES256") for _ in range(5)}
            eventually(lambda: sum(future.done() for future in asked) == 4)
            refused = {future for future in asked if future.done()}
            (waits,) = asked - refused
            assert {type(future.exception()) for future in refused} == {KeysUnavailableError}
        finally:
            published.held.set()
        assert waits.result(DEADLINE)


def test_a_request_after_that_does_not_wait_either(
    published: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.issuers.TIMEOUT_SEC", 0.01)
    published.held.clear()
    keys = Fetching().keys
    with pytest.raises(KeysUnavailableError):
        keys.candidates("k1", "ES256")
    monkeypatch.setattr("gateway.issuers.TIMEOUT_SEC", 10 * DEADLINE)
    began = time.monotonic()
    with pytest.raises(KeysUnavailableError):
        keys.candidates("k1", "ES256")
    assert time.monotonic() - began < DEADLINE
    published.held.set()
    eventually(lambda: keys.ring.candidates("k1", "ES256") != ())


def test_the_first_request_waits_no_longer_than_until_a_failure(
    published: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.issuers.TIMEOUT_SEC", 10 * DEADLINE)
    published.sets[A_JWKS] = OSError
    began = time.monotonic()
    with pytest.raises(KeysUnavailableError):
        Fetching().keys.candidates("k1", "ES256")
    assert time.monotonic() - began < DEADLINE


def test_a_fetch_that_hangs_does_not_hold_up_known_keys(
    published: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.issuers.REFRESH_SEC", 0.01)
    keys = Fetching().keys
    assert keys.candidates("k1", "ES256")
    published.held.clear()
    before = len(published.fetched)
    eventually(lambda: len(published.fetched) > before)
    assert keys.candidates("k1", "ES256")
    assert keys.candidates("unknown", "ES256") == ()
    published.held.set()


def test_a_failure_recovers_without_a_request(published: Publisher) -> None:
    published.sets[A_JWKS] = {}
    keys = Fetching().keys
    with pytest.raises(KeysUnavailableError):
        keys.candidates("k1", "ES256")
    published.sets[A_JWKS] = jwks(FIRST)
    eventually(lambda: keys.ring.candidates("k1", "ES256") != ())


def test_the_thread_survives_whatever_is_found(published: Publisher, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetched_since(before: int) -> bool:
        return len(published.fetched) > before + 1

    monkeypatch.setattr("gateway.issuers.REFRESH_SEC", 0)
    fetching = Fetching()
    fetching.keys.keep_up(NOW)
    for found in NO_SETS.values():
        published.sets[A_JWKS] = found
        before = len(published.fetched)
        eventually(partial(fetched_since, before))
    assert len(refreshers()) == 1


def test_the_thread_ends_with_the_keys(published: Publisher) -> None:
    fetching = Fetching()
    assert fetching.keys.candidates("k1", "ES256")
    threads = refreshers()
    assert len(threads) == 1
    del fetching
    eventually(lambda: have_ended(threads))


def test_the_thread_does_not_keep_a_process_alive(tmp_path: Path) -> None:
    code = f"{CHILD}\nkeys.candidates(None, 'ES256')\nprint('ended')\n"
    done = run(tmp_path, sys.executable, "-c", code, SET=json.dumps(jwks(FIRST)))
    assert (done.returncode, done.stdout) == (0, "ended\n")


CHILD = f"""\
import json, os, threading, time
import gateway.issuers
from gateway.policyfile import IssuerRules

def fetched(url):
    with open(str(os.getpid()), "a") as fetches:
        fetches.write("one\\n")
    return json.loads(os.environ["SET"])

gateway.issuers._fetched = fetched
rules = IssuerRules(issuer="a", jwks_url={A_JWKS!r}, algorithms=("ES256",), max_stale_min=60)
keys = gateway.issuers.FetchedKeys(rules, time.time, lambda: None)
"""
FORK = """\
child = os.fork()
if not child:
    before = threading.active_count()
    assert keys.candidates("k1", "ES256")
    assert (before, threading.active_count()) == (1, 2), before
    deadline = time.monotonic() + 20
    while not os.path.exists(str(os.getpid())) and time.monotonic() < deadline:
        time.sleep(0.01)
    os._exit(0 if os.path.exists(str(os.getpid())) else 1)
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.parametrize(
    "before",
    [
        pytest.param("", id="before the first request"),
        pytest.param("assert keys.candidates('k1', 'ES256')\n", id="after it"),
        pytest.param("keys.keep_up(0)\n", id="while the first set is fetched"),
    ],
)
def test_a_fork_has_a_thread_of_its_own_with_its_first_request(tmp_path: Path, before: str) -> None:
    code = CHILD + before + FORK
    done = run(tmp_path, sys.executable, "-W", "ignore", "-c", code, SET=json.dumps(jwks(FIRST)))
    assert (done.returncode, done.stderr) == (0, "")


# A server on the loopback


class Peer:
    """A server whose answer a test gives: bytes as they go over the wire."""

    def __init__(self) -> None:
        self.raw: bytes | None = None  # None: no answer at all
        self.pause = 0.0  # between any two bytes
        self.asked: list[str] = []
        self.over = threading.Event()
        peer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                peer.asked.append(self.path)
                if peer.raw is None:
                    peer.over.wait(DEADLINE)
                elif peer.pause:
                    for byte in peer.raw:
                        if peer.over.wait(peer.pause):
                            break
                        self.wfile.write(bytes([byte]))
                else:
                    self.wfile.write(peer.raw)

            def log_message(self, *args: object) -> None:
                pass

        class Server(http.server.ThreadingHTTPServer):
            def handle_error(self, request: object, client_address: object) -> None:
                """Who has had enough hangs up."""

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/jwks"

    def answer(
        self, body: object, status: str = "200 OK", *headers: str, content_type: str = "application/json"
    ) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        lines = (
            f"HTTP/1.1 {status}",
            f"Content-Type: {content_type}",
            f"Content-Length: {len(content)}",
            "Connection: close",
            *headers,
        )
        self.raw = "".join(f"{line}\r\n" for line in lines).encode() + b"\r\n" + content


@pytest.fixture
def peer(monkeypatch: pytest.MonkeyPatch) -> Iterator[Peer]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    running = Peer()
    thread = threading.Thread(target=running.server.serve_forever, args=(0.01,))
    thread.start()
    yield running
    running.over.set()
    running.server.shutdown()
    running.server.server_close()
    thread.join()


def fetching_from(peer: Peer) -> Fetching:
    return Fetching(jwks_url=peer.url)


def test_a_set_comes_over_http(peer: Peer) -> None:
    peer.answer(jwks(FIRST))
    fetching = fetching_from(peer)
    assert fetching.keys.refresh()
    assert (fetching.known, peer.asked) == ({("k1", "ES256")}, ["/jwks"])


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See", "307 Temporary", "308 Permanent"])
def test_a_redirect_is_not_followed(peer: Peer, status: str) -> None:
    peer.answer(jwks(FIRST), status, "Location: /other")
    assert not fetching_from(peer).keys.refresh()
    assert peer.asked == ["/jwks"]


@pytest.mark.parametrize("status", ["201 Created", "206 Partial Content"])
def test_any_status_of_success_will_do(peer: Peer, status: str) -> None:
    peer.answer(jwks(FIRST), status)
    assert fetching_from(peer).keys.refresh()


@pytest.mark.parametrize(
    "status", ["304 Not Modified", "401 Unauthorized", "404 Not Found", "500 Oops", "503 Service Unavailable"]
)
def test_a_set_with_the_status_of_a_failure_is_not_taken(peer: Peer, status: str) -> None:
    peer.answer(jwks(FIRST), status)
    assert not fetching_from(peer).keys.refresh()


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"<!DOCTYPE html><title>Sign in</title>", id="HTML"),
        pytest.param(b"", id="nothing"),
        pytest.param(b"\xff\xfe\x00", id="no text"),
        pytest.param(b"\x1f\x8b\x08\x00", id="gzip"),
        pytest.param(b'{"keys": [', id="half of it"),
        pytest.param(b"[" * 100_000, id="too deep"),
        pytest.param(b"9" * 10_000, id="a number of too many digits"),
        pytest.param(FIRST.pem(), id="PEM"),
        pytest.param([FIRST.jwk()], id="a list"),
        pytest.param("keys", id="text"),
        pytest.param(None, id="null"),
        pytest.param({"keys": []}, id="no keys"),
    ],
)
def test_what_is_no_set_is_not_taken_over_http(
    peer: Peer, caplog: pytest.LogCaptureFixture, body: object
) -> None:
    peer.answer(body)
    assert not fetching_from(peer).keys.refresh()
    (record,) = caplog.records
    assert record.getMessage().isprintable()


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01", id="TLS"),
        pytest.param(b"HTTP/1.1 200 OK\r\n", id="half a head"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n{", id="half a body"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{", id="a broken chunk"),
        pytest.param(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000 + b"\r\n{}", id="many headers"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n{}", id="a long header"),
    ],
)
def test_what_is_no_http_is_a_failure(peer: Peer, raw: bytes) -> None:
    peer.raw = raw
    assert not fetching_from(peer).keys.refresh()


def test_a_server_that_does_not_answer_is_given_up(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.issuers.TIMEOUT_SEC", 0.05)
    assert not fetching_from(peer).keys.refresh()
    assert peer.asked == ["/jwks"]


def test_where_nobody_listens_nothing_is_found(peer: Peer, caplog: pytest.LogCaptureFixture) -> None:
    assert not Fetching(jwks_url=A_JWKS).keys.refresh()
    assert "refused" in caplog.text


def test_a_certificate_that_nobody_vouches_for_is_refused(
    peer: Peer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(self_signed(tmp_path))
    peer.server.socket = context.wrap_socket(peer.server.socket, server_side=True)
    peer.answer(jwks(FIRST))
    assert not Fetching(jwks_url=peer.url.replace("http:", "https:")).keys.refresh()
    assert "CERTIFICATE_VERIFY_FAILED" in caplog.text
    assert peer.asked == []


# Tokens, end to end


def policy(name: str = A, prefix: str = "a:", url: str = A_JWKS, **changes: str) -> str:
    """The table of an issuer in the policy file, with changes in TOML."""
    members = {
        "issuer": f'"{name}"',
        "jwks_url": f'"{url}"',
        "audience": '"us"',
        "algorithms": '["ES256"]',
        "uid_prefix": f'"{prefix}"',
    }
    return "[[issuers]]\n" + "".join(f"{key} = {value}\n" for key, value in (members | changes).items())


BOTH = policy() + policy(B, "b:", B_JWKS)
Guard = Callable[..., Guarded]


class Keyless(Guarded):
    """A gateway that issues nothing."""

    def __init__(self, **options: Any) -> None:
        settings = Settings(**options)
        self.app = Recorder()
        self.clock = Clock(settings)
        self.gateway = AuthGateway(self.app, settings, tokens=self.clock)
        self.client = webtest.TestApp(self.gateway)


@pytest.fixture
def guard(tmp_path: Path, published: Publisher) -> Guard:
    """What makes a gateway with a policy file, around an app that records its calls."""

    def made(text: str = "", *, own_key: bool = True, **options: Any) -> Guarded:
        path = tmp_path / "policy.toml"
        path.write_text(text or policy())
        return (Guarded if own_key else Keyless)(policy_file=path, **options)

    return made


def foreign(signer: Signer = FIRST, header: dict[str, Any] | None = None, **changes: Any) -> str:
    """A good token of an issuer at `NOW`, with changes; a change to `...` takes the claim out."""
    good = {"iss": A, "aud": "us", "sub": "alice", "iat": int(NOW), "exp": int(NOW) + 30 * MINUTE}
    payload = {name: value for name, value in (good | changes).items() if value is not ...}
    return signer.token(payload, **(header or {}))


def refused(response: webtest.TestResponse) -> tuple[int, str]:
    return response.status_int, response.json["code"]


INVALID_TOKEN = (498, "invalid_token")
INVALID_CLAIMS = (401, "invalid_claims")
EXPIRED = (401, "token_expired")
MISMATCH = (400, "uid_mismatch")
UNAVAILABLE = (503, "keys_unavailable")

with_and_without_own = pytest.mark.parametrize("own_key", [True, False])


@with_and_without_own
def test_a_good_token_reaches_the_app(guard: Guard, own_key: bool) -> None:
    guarded = guard(own_key=own_key)
    token = foreign()
    assert guarded.request(token=token, uid="a:alice").status_int == 200
    seen = guarded.seen
    assert seen["gateway.issuer"] == A
    assert (seen["HTTP_UID"], seen["REMOTE_USER"], seen["AUTH_TYPE"]) == ("a:alice", "a:alice", "Bearer")
    assert seen["HTTP_X_REFRESHED_TOKEN"] == token
    assert seen["gateway.claims"] == jwt.decode(token, options={"verify_signature": False})


def test_a_token_that_is_remembered_reaches_the_app_alike(guard: Guard) -> None:
    guarded = guard()
    token = foreign()
    for _ in range(3):
        assert guarded.request(token=token, uid="a:alice").status_int == 200
    names = ("gateway.issuer", "HTTP_UID", "REMOTE_USER", "HTTP_X_REFRESHED_TOKEN", "gateway.claims")
    seen = [[call[name] for name in names] for call in cast("Recorder", guarded.app).calls]
    assert seen[0] == seen[1] == seen[2]


@pytest.mark.parametrize("size", [0, 10_000])
@pytest.mark.parametrize("uid", ["alice", "a:", "A:alice", "a:a:alice", "a:Alice", "b:alice", "12"])
def test_the_uid_is_prefix_and_claim_together(guard: Guard, uid: str, size: int) -> None:
    guarded = guard(token_cache_size=size)
    token = foreign()
    guarded.request(token=token, uid="a:alice")
    assert refused(guarded.request(token=token, uid=uid)) == MISMATCH
    assert guarded.reached == 1


def test_an_empty_prefix_is_none(guard: Guard) -> None:
    guarded = guard(policy(prefix=""), own_key=False)
    assert guarded.request(token=foreign(), uid="alice").status_int == 200
    assert guarded.seen["HTTP_UID"] == "alice"


def test_a_uid_may_be_an_integer(guard: Guard) -> None:
    assert guard().request(token=foreign(sub=12), uid="a:12").status_int == 200


def test_where_no_uid_header_is_required_the_app_sees_the_verified_uid(guard: Guard) -> None:
    guarded = guard(require_uid=False)
    assert guarded.request(token=foreign(), uid=None).status_int == 200
    assert guarded.seen["HTTP_UID"] == "a:alice"


@pytest.mark.parametrize("sub", [..., None, True, 1.0, "", ["alice"], {"id": 1}, "a,b", "a b", "é"])
def test_a_claim_that_is_no_uid_is_refused(guard: Guard, sub: object) -> None:
    assert refused(guard().request(token=foreign(sub=sub), uid="a:alice")) == INVALID_CLAIMS


@pytest.mark.parametrize(("length", "status"), [(253, 200), (254, 401), (255, 401)])
def test_a_uid_is_not_too_long_with_its_prefix(guard: Guard, length: int, status: int) -> None:
    sub = "x" * length
    assert guard().request(token=foreign(sub=sub), uid=f"a:{sub}").status_int == status


def test_another_claim_may_hold_the_uid(guard: Guard) -> None:
    guarded = guard(policy(uid_claim='"email"'))
    token = foreign(email="alice@a.example", sub=...)
    assert guarded.request(token=token, uid="a:alice@a.example").status_int == 200


def test_where_another_claim_holds_the_uid_sub_does_not(guard: Guard) -> None:
    guarded = guard(policy(uid_claim='"email"'))
    assert refused(guarded.request(token=foreign(), uid="a:alice")) == INVALID_CLAIMS


def test_the_claim_of_our_own_uids_is_none_of_theirs(guard: Guard) -> None:
    guarded = guard()
    token = foreign(uid=12)
    assert refused(guarded.request(token=token, uid="12")) == MISMATCH
    assert refused(guarded.request(token=token, uid="a:12")) == MISMATCH


def test_no_uid_of_one_issuer_begins_as_those_of_another(guard: Guard) -> None:
    guarded = guard(policy() + policy(B, "a:b:", B_JWKS))
    assert refused(guarded.request(token=foreign(sub="b:alice"), uid="a:b:alice")) == INVALID_CLAIMS
    assert guarded.request(token=foreign(iss=B), uid="a:b:alice").status_int == 200


@pytest.mark.parametrize("uid", ["a:alice", "a:", "b:12"])
def test_we_issue_no_uid_that_begins_as_those_of_an_issuer(guard: Guard, uid: str) -> None:
    with pytest.raises(InvalidClaimsError, match="another issuer"):
        guard(BOTH).clock.create(uid)


@pytest.mark.parametrize("uid", ["a", "A:alice", "c:alice", "alice"])
def test_we_issue_any_other_uid(guard: Guard, uid: str) -> None:
    guarded = guard(BOTH)
    assert guarded.request(token=guarded.clock.create(uid), uid=uid).status_int == 200


def test_a_token_of_ours_with_the_uid_of_an_issuer_is_refused(guard: Guard) -> None:
    """An older one, or one from somewhere else with our key."""
    assert refused(guard().request(token=forge(claims(uid="a:alice")), uid="a:alice")) == INVALID_CLAIMS


def test_sharing_uids_between_issuers_does_not_share_them_with_us(guard: Guard) -> None:
    shared = policy(shared_uids="true") + policy(B, "a:", B_JWKS, shared_uids="true")
    with pytest.raises(InvalidClaimsError):
        guard(shared).clock.create("a:alice")


# Renewal


def test_a_token_near_its_end_is_not_renewed(guard: Guard) -> None:
    guarded = guard()
    token = foreign(exp=int(NOW) + 1, auth_time=int(NOW) - MINUTE, sid="s")
    response = guarded.request(token=token, uid="a:alice")
    assert (response.status_int, response.headers.get("X-Refreshed-Token")) == (200, None)
    assert guarded.seen["HTTP_X_REFRESHED_TOKEN"] == token


def test_refreshing_a_token_of_an_issuer_returns_it_as_it_came(guard: Guard) -> None:
    token = foreign(exp=int(NOW) + 1)
    assert guard().clock.refresh(token) == token


def test_a_token_of_an_issuer_is_not_shortened(guard: Guard) -> None:
    with pytest.raises(InvalidTokenError, match="another issuer's"):
        guard().clock.shortened(foreign(), int(NOW) + MINUTE)


def test_the_demo_ages_no_token_of_an_issuer(guard: Guard) -> None:
    guarded = guard(app=Demo(Settings(token_key=KEY)))
    headers = {"Authorization": f"Bearer {foreign()}", "uid": "a:alice"}
    answer = guarded.client.post("/age", b'{"left": "near"}', headers=headers, status=409)
    assert answer.json["code"] == "not_ours"


def test_the_longest_session_is_about_ours_alone(guard: Guard) -> None:
    guarded = guard(max_session_min=30)
    token = foreign(auth_time=int(NOW) - 10**6, iat=int(NOW) - 10**6)
    assert guarded.request(token=token, uid="a:alice").status_int == 200


def test_a_token_of_ours_is_renewed_beside_them(guard: Guard) -> None:
    guarded = guard()
    due = forge(claims(exp=int(NOW) + MINUTE))
    assert guarded.request(token=due).headers["X-Refreshed-Token"] != due
    assert "gateway.issuer" not in guarded.seen


# Times


@pytest.mark.parametrize(("beyond", "status"), [(-1, 200), (0, 200), (11, 401), (MINUTE, 401)])
def test_a_token_does_not_end_too_late(guard: Guard, beyond: int, status: int) -> None:
    """The ten seconds between are for clocks that differ."""
    guarded = guard(policy(max_token_min="60"))
    response = guarded.request(token=foreign(exp=int(NOW) + 60 * MINUTE + beyond), uid="a:alice")
    assert response.status_int == status
    if status == 401:
        assert refused(response) == INVALID_CLAIMS


@pytest.mark.parametrize(("minutes", "status"), [(1440, 200), (1441, 401)])
def test_a_token_ends_within_a_day_by_default(guard: Guard, minutes: int, status: int) -> None:
    token = foreign(exp=int(NOW) + minutes * MINUTE)
    assert guard().request(token=token, uid="a:alice").status_int == status


def test_a_token_that_ended_too_late_is_good_once_it_does_not(guard: Guard) -> None:
    guarded = guard(policy(max_token_min="60"))
    token = foreign(exp=int(NOW) + 90 * MINUTE)
    assert refused(guarded.request(token=token, uid="a:alice")) == INVALID_CLAIMS
    guarded.clock.time = NOW + 30 * MINUTE
    assert guarded.request(token=token, uid="a:alice").status_int == 200


@pytest.mark.parametrize(
    ("leeway", "past", "status"),
    [("60", 59, 200), ("60", 60, 401), ("0", -1, 200), ("0", 0, 401), ("300", 299, 200), ("300", 300, 401)],
)
def test_a_token_lasts_a_leeway_longer(guard: Guard, leeway: str, past: int, status: int) -> None:
    guarded = guard(policy(leeway_sec=leeway), leeway_sec=7)
    response = guarded.request(token=foreign(exp=int(NOW) - past), uid="a:alice")
    assert response.status_int == status
    if status == 401:
        assert refused(response) == EXPIRED


@pytest.mark.parametrize("own_leeway", [0, 300])
def test_the_leeway_of_ours_is_another(guard: Guard, own_leeway: int) -> None:
    guarded = guard(policy(leeway_sec="60"), leeway_sec=own_leeway)
    past = int(NOW) - 100
    assert guarded.request(token=foreign(exp=past), uid="a:alice").status_int == 401
    assert guarded.request(token=forge(claims(exp=past))).status_int == (200 if own_leeway else 401)


def test_a_token_that_is_remembered_expires(guard: Guard) -> None:
    guarded = guard(policy(leeway_sec="0"))
    token = foreign()
    assert guarded.request(token=token, uid="a:alice").status_int == 200
    guarded.clock.time = int(NOW) + 30 * MINUTE
    assert refused(guarded.request(token=token, uid="a:alice")) == EXPIRED


@pytest.mark.parametrize("name", ["iat", "nbf", "auth_time"])
@pytest.mark.parametrize(
    ("leeway", "ahead", "status"),
    [("60", 60, 200), ("60", 61, 401), ("0", 10, 200), ("0", 11, 401), ("300", 300, 200), ("300", 301, 401)],
)
def test_no_time_lies_in_the_future(guard: Guard, name: str, leeway: str, ahead: int, status: int) -> None:
    guarded = guard(policy(leeway_sec=leeway))
    changes: dict[str, Any] = {name: int(NOW) + ahead}
    response = guarded.request(token=foreign(**changes), uid="a:alice")
    assert response.status_int == status
    if status == 401:
        assert refused(response) == INVALID_CLAIMS


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": ...},
        {"exp": None},
        {"exp": str(int(NOW) + MINUTE)},
        {"exp": True},
        {"iat": None},
        {"nbf": "0"},
        {"auth_time": True},
        {"sid": 7},
        {"sid": None},
        {"jti": 7},
        {"jti": ["j"]},
    ],
)
def test_a_claim_of_the_wrong_type_is_refused(guard: Guard, changes: dict[str, Any]) -> None:
    assert refused(guard().request(token=foreign(**changes), uid="a:alice")) == INVALID_CLAIMS


def test_a_token_needs_no_claim_but_four(guard: Guard) -> None:
    assert guard().request(token=foreign(iat=...), uid="a:alice").status_int == 200


@pytest.mark.parametrize(
    ("aud", "status"),
    [
        ("us", 200),
        (["us"], 200),
        (["them", "us"], 200),
        (..., 401),
        (None, 401),
        ("", 401),
        ([], 401),
        ("them", 401),
        (["them"], 401),
        ("US", 401),
        ("us, them", 401),
        ("usage", 401),
        (["us", 3], 401),
        ([["us"]], 401),
        ({"us": True}, 401),
        (True, 401),
    ],
)
@pytest.mark.parametrize("own_audience", [None, "them"])
def test_the_audience_names_us(guard: Guard, aud: object, status: int, own_audience: str | None) -> None:
    guarded = guard(audience=own_audience)
    response = guarded.request(token=foreign(aud=aud), uid="a:alice")
    assert response.status_int == status
    if status == 401:
        assert refused(response) == INVALID_CLAIMS


# Headers and keys


@pytest.mark.parametrize(
    ("typ", "status"),
    [
        (None, 200),
        ("JWT", 200),
        ("at+jwt", 200),
        ("application/at+jwt", 200),
        ("AT+JWT", 200),
        ("logout+jwt", 498),
        ("secevent+jwt", 498),
    ],
)
def test_the_type_is_that_of_an_access_or_id_token(guard: Guard, typ: str | None, status: int) -> None:
    token = foreign(header={"typ": typ})
    assert guard().request(token=token, uid="a:alice").status_int == status


@pytest.mark.parametrize("alg", ["RS256", "EdDSA"])
def test_a_key_of_another_algorithm_is_not_used_though_published(
    guard: Guard, published: Publisher, alg: str
) -> None:
    signer = EDDSA if alg == "EdDSA" else Signer(rsa_key(), alg, "rsa")
    published.sets[A_JWKS] = jwks(FIRST, signer)
    assert refused(guard().request(token=foreign(signer), uid="a:alice")) == INVALID_TOKEN


@pytest.mark.parametrize("alg", ["RS256", "PS256", "EdDSA"])
def test_any_configured_algorithm_will_do(guard: Guard, published: Publisher, alg: str) -> None:
    signer = EDDSA if alg == "EdDSA" else Signer(rsa_key(), alg, "rsa")
    published.sets[A_JWKS] = jwks(FIRST, signer)
    guarded = guard(policy(algorithms=f'["ES256", "{alg}"]'))
    assert guarded.request(token=foreign(signer), uid="a:alice").status_int == 200


def test_the_algorithm_is_rs256_by_default(guard: Guard, published: Publisher) -> None:
    signer = Signer(rsa_key(), "RS256")
    published.sets[A_JWKS] = jwks(signer, SECOND)
    guarded = guard(policy().replace('algorithms = ["ES256"]\n', ""))
    assert guarded.request(token=foreign(signer), uid="a:alice").status_int == 200
    assert refused(guarded.request(token=foreign(SECOND), uid="a:alice")) == INVALID_TOKEN


def their_claims() -> dict[str, Any]:
    return jwt.decode(foreign(), options={"verify_signature": False})


@pytest.mark.parametrize(
    "secret",
    [
        pytest.param(KEY, id="our secret"),
        pytest.param(FIRST.pem().decode(), id="their public key as PEM"),
        pytest.param(json.dumps(FIRST.jwk()), id="their public key as JWK"),
        pytest.param(FIRST.jwk()["x"], id="a coordinate of it"),
        pytest.param("", id="nothing"),
    ],
)
@pytest.mark.parametrize("header", [{"alg": "HS256"}, {"alg": "HS256", "kid": "k1"}])
def test_no_secret_signs_for_an_issuer(guard: Guard, secret: str, header: dict[str, str]) -> None:
    token = forge(their_claims(), header, secret)
    assert refused(guard().request(token=token, uid="a:alice")) == INVALID_TOKEN


def test_a_symmetric_key_in_the_set_signs_nothing(guard: Guard, published: Publisher) -> None:
    secret = "c2VjcmV0" * 8
    published.sets[A_JWKS] = {"keys": [FIRST.jwk(), {"kty": "oct", "k": secret, "kid": "s", "alg": "HS256"}]}
    for key in (secret, "secret" * 8):
        token = forge(their_claims(), {"alg": "HS256", "kid": "s"}, key)
        assert refused(guard().request(token=token, uid="a:alice")) == INVALID_TOKEN


def test_a_token_without_a_signature_is_refused(guard: Guard) -> None:
    token = jwt.encode(their_claims(), None, "none")  # type: ignore[arg-type]
    assert refused(guard().request(token=f"{token}AA", uid="a:alice")) == INVALID_TOKEN


def test_a_token_of_another_key_of_that_name_is_refused(guard: Guard) -> None:
    assert refused(guard().request(token=foreign(es256("k1")), uid="a:alice")) == INVALID_TOKEN


def test_keys_in_the_token_are_never_used(guard: Guard, published: Publisher) -> None:
    stranger = es256("k9")
    header = {"jwk": stranger.jwk(), "jku": "http://127.0.0.1:1/evil", "x5u": "http://127.0.0.1:1/evil"}
    assert refused(guard().request(token=foreign(stranger, header), uid="a:alice")) == INVALID_TOKEN
    assert set(published.fetched) == {A_JWKS}


def test_a_token_that_names_no_key_is_tried_with_the_only_one(guard: Guard) -> None:
    token = foreign(header={"kid": None})
    assert "kid" not in jwt.get_unverified_header(token)
    assert guard().request(token=token, uid="a:alice").status_int == 200


def test_a_token_that_names_no_key_is_refused_where_there_are_several(
    guard: Guard, published: Publisher
) -> None:
    published.sets[A_JWKS] = jwks(FIRST, SECOND)
    assert refused(guard().request(token=foreign(header={"kid": None}), uid="a:alice")) == INVALID_TOKEN


# Several issuers


def side_by_side(guard: Guard, published: Publisher) -> tuple[Guarded, dict[str, Signer]]:
    """A gateway of two issuers whose keys bear the same name, and those keys."""
    signers = {A: es256("k1"), B: es256("k1")}
    published.sets |= {A_JWKS: jwks(signers[A]), B_JWKS: jwks(signers[B])}
    return guard(BOTH), signers


@pytest.mark.parametrize(("issuer", "uid"), [(A, "a:alice"), (B, "b:alice")])
def test_two_issuers_may_have_keys_of_one_name(
    guard: Guard, published: Publisher, issuer: str, uid: str
) -> None:
    guarded, signers = side_by_side(guard, published)
    assert guarded.request(token=foreign(signers[issuer], iss=issuer), uid=uid).status_int == 200
    assert (guarded.seen["HTTP_UID"], guarded.seen["gateway.issuer"]) == (uid, issuer)


@pytest.mark.parametrize(("issuer", "signer"), [(A, B), (B, A)])
@pytest.mark.parametrize("remembered", [True, False])
def test_no_issuer_signs_for_another(
    guard: Guard, published: Publisher, issuer: str, signer: str, remembered: bool
) -> None:
    guarded, signers = side_by_side(guard, published)
    if remembered:
        for name in (A, B):
            guarded.request(token=foreign(signers[name], iss=name), uid=f"{name[8]}:alice")
    token = foreign(signers[signer], iss=issuer)
    assert refused(guarded.request(token=token, uid=f"{issuer[8]}:alice")) == INVALID_TOKEN


def test_each_issuer_has_rules_of_its_own(guard: Guard) -> None:
    guarded = guard(policy() + policy(B, "b:", B_JWKS, audience='"we"', uid_claim='"id"'))
    assert guarded.request(token=foreign(iss=B, aud="we", id=7), uid="b:7").status_int == 200
    assert refused(guarded.request(token=foreign(iss=B, id=7), uid="b:7")) == INVALID_CLAIMS


def test_shared_uids_are_one_persons(guard: Guard) -> None:
    text = "shared_uids = true\n" + policy(prefix="") + policy(B, "", B_JWKS)
    guarded = guard(text)
    for token in (foreign(sub=12), foreign(iss=B, sub="12"), forge(claims())):
        assert guarded.request(token=token, uid="12").status_int == 200


@pytest.mark.parametrize("iss", ["https://c.example", "", f"{A}/", A.upper(), ...])
@with_and_without_own
def test_a_token_of_an_unknown_issuer_is_refused(guard: Guard, iss: object, own_key: bool) -> None:
    token = foreign(iss=iss)
    assert refused(guard(own_key=own_key).request(token=token, uid="a:alice")) == INVALID_TOKEN


@pytest.mark.parametrize("iss", [None, 3, [A], {A: 1}, True])
def test_an_issuer_that_is_no_text_is_unknown(guard: Guard, iss: object) -> None:
    token = forge(their_claims() | {"iss": iss})
    assert refused(guard(own_key=False).request(token=token, uid="a:alice")) == INVALID_TOKEN


def test_an_issuer_that_is_no_text_is_none_of_ours_either(guard: Guard) -> None:
    assert refused(guard().request(token=forge(claims(iss=3)))) == INVALID_CLAIMS


@pytest.mark.parametrize("issuer", [None, "https://us.example"])
def test_tokens_of_our_own_pass_beside_them(guard: Guard, issuer: str | None) -> None:
    guarded = guard(issuer=issuer)
    assert guarded.request().status_int == 200
    assert "gateway.issuer" not in guarded.seen


def test_a_token_that_our_key_signed_in_an_issuers_name_is_refused(guard: Guard) -> None:
    assert refused(guard().request(token=forge(claims(iss=A)))) == INVALID_TOKEN


def test_without_a_key_of_ours_nothing_is_issued(guard: Guard) -> None:
    guarded = guard(own_key=False)
    guarded.request(token=foreign(), uid="a:alice")
    with pytest.raises(ConfigError, match="nothing is issued here"):
        guarded.seen["gateway.tokens"].create(uid=12)


def test_without_a_key_of_ours_no_token_of_it_passes(guard: Guard) -> None:
    assert refused(guard(own_key=False).request(token=forge(claims()))) == INVALID_TOKEN


def test_the_keys_of_issuers_are_not_ours_to_publish(guard: Guard) -> None:
    guarded = guard(own_key=False)
    guarded.request(token=foreign(), uid="a:alice")
    assert guarded.send("/auth/jwks.json").status_int == 404
    assert guarded.clock.public_keys() == {"keys": []}


# Keys that come and go


def test_a_key_that_leaves_the_set_takes_its_tokens_with_it(
    guard: Guard, published: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.issuers.REFRESH_SEC", 0.01)
    published.sets[A_JWKS] = jwks(FIRST, SECOND)
    guarded = guard()
    token = foreign()
    assert guarded.request(token=token, uid="a:alice").status_int == 200
    published.sets[A_JWKS] = jwks(SECOND)
    eventually(lambda: guarded.request(token=token, uid="a:alice").status_int == 498)
    assert guarded.request(token=foreign(SECOND), uid="a:alice").status_int == 200


def test_another_key_of_the_same_name_takes_the_tokens_of_the_old_one(
    guard: Guard, published: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.issuers.REFRESH_SEC", 0.01)
    guarded = guard()
    token = foreign()
    assert guarded.request(token=token, uid="a:alice").status_int == 200
    successor = es256("k1")
    published.sets[A_JWKS] = jwks(successor)
    eventually(lambda: guarded.request(token=token, uid="a:alice").status_int == 498)
    assert guarded.request(token=foreign(successor), uid="a:alice").status_int == 200


def test_tokens_stay_remembered_while_their_key_stays(
    guard: Guard, published: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.issuers.REFRESH_SEC", 0.01)
    guarded = guard()
    token = foreign()
    guarded.request(token=token, uid="a:alice")
    identity = guarded.clock.known(f"Bearer {token}")
    assert identity is not None
    before = len(published.fetched)
    eventually(lambda: len(published.fetched) > before + 2)
    assert guarded.clock.known(f"Bearer {token}") is identity


def test_a_token_of_a_new_key_passes_soon(guard: Guard, published: Publisher) -> None:
    guarded = guard()
    guarded.request(token=foreign(), uid="a:alice")
    published.sets[A_JWKS] = jwks(FIRST, SECOND)
    token = foreign(SECOND)
    eventually(lambda: guarded.request(token=token, uid="a:alice").status_int == 200)


# Keys that are not to be had


@pytest.fixture
def down(published: Publisher) -> Publisher:
    """The first issuer cannot be reached."""
    published.sets[A_JWKS] = OSError
    return published


@pytest.mark.usefixtures("down")
@with_and_without_own
def test_keys_that_were_never_fetched_are_no_fault_of_the_tokens(guard: Guard, own_key: bool) -> None:
    guarded = guard(own_key=own_key)
    response = guarded.request(token=foreign(), uid="a:alice")
    assert response.status == "503 Service Unavailable"
    assert response.json == {"error": "Service Unavailable", "code": "keys_unavailable"}
    assert response.headers["Retry-After"].isdigit()
    assert response.headers["Content-Type"] == "application/json"
    assert response.headers["Cache-Control"] == "no-store"
    assert "WWW-Authenticate" not in response.headers
    assert guarded.reached == 0


@pytest.mark.usefixtures("down")
def test_head_of_that_has_the_headers_of_get_and_no_body(guard: Guard) -> None:
    guarded = guard()
    get, head = (guarded.request(token=foreign(), uid="a:alice", method=method) for method in ("GET", "HEAD"))
    assert (head.status, head.headers, head.body) == (get.status, get.headers, b"")
    assert get.body


@pytest.mark.usefixtures("down")
@pytest.mark.parametrize("profile", ["classic", "rfc6750"])
def test_that_is_a_503_in_both_profiles(guard: Guard, profile: str) -> None:
    guarded = guard(status_profile=profile)
    assert refused(guarded.request(token=foreign(), uid="a:alice")) == UNAVAILABLE


@pytest.mark.usefixtures("down")
@pytest.mark.parametrize(
    "header", [pytest.param({"kid": None}, id="no name"), pytest.param({"kid": "unknown"}, id="unknown name")]
)
def test_without_keys_every_token_of_the_issuer_is_alike(guard: Guard, header: dict[str, Any]) -> None:
    assert refused(guard().request(token=foreign(header=header), uid="a:alice")) == UNAVAILABLE


@pytest.mark.usefixtures("down")
def test_without_keys_another_algorithm_is_refused_all_the_same(guard: Guard) -> None:
    assert refused(guard().request(token=foreign(EDDSA), uid="a:alice")) == INVALID_TOKEN


@pytest.mark.usefixtures("down")
def test_tokens_of_ours_pass_while_an_issuer_is_down(guard: Guard) -> None:
    assert guard().request().status_int == 200


@pytest.mark.usefixtures("down")
def test_tokens_of_another_issuer_pass_while_one_is_down(guard: Guard) -> None:
    assert guard(BOTH).request(token=foreign(iss=B), uid="b:alice").status_int == 200


@pytest.mark.usefixtures("down")
def test_public_paths_and_endpoints_answer_while_an_issuer_is_down(guard: Guard) -> None:
    guarded = guard(public_paths="/pub")
    assert guarded.send("/pub").status_int == 200
    assert guarded.send("/auth/health").status_int == 200


def test_an_issuer_that_recovers_is_believed_again(guard: Guard, down: Publisher) -> None:
    guarded = guard()
    assert refused(guarded.request(token=foreign(), uid="a:alice")) == UNAVAILABLE
    down.sets[A_JWKS] = jwks(FIRST)
    eventually(lambda: guarded.request(token=foreign(), uid="a:alice").status_int == 200)


@pytest.mark.parametrize("size", [0, 10_000])
def test_the_last_good_keys_serve_until_they_are_too_old(
    guard: Guard, published: Publisher, size: int
) -> None:
    guarded = guard(policy(max_stale_min="60", max_token_min="240"), token_cache_size=size)
    known, unknown = (foreign(exp=int(NOW) + 200 * MINUTE, jti=jti) for jti in ("1", "2"))
    assert guarded.request(token=known, uid="a:alice").status_int == 200
    published.sets[A_JWKS] = OSError
    guarded.clock.time = NOW + 60 * MINUTE - 1
    assert guarded.request(token=known, uid="a:alice").status_int == 200
    guarded.clock.time = NOW + 60 * MINUTE
    assert refused(guarded.request(token=known, uid="a:alice")) == UNAVAILABLE
    assert refused(guarded.request(token=unknown, uid="a:alice")) == UNAVAILABLE


def test_no_request_starts_the_fetching_but_the_first(guard: Guard, published: Publisher) -> None:
    guarded = guard()
    assert (refreshers(), published.fetched) == ([], [])
    for _ in range(3):
        guarded.request()
    eventually(lambda: published.fetched == [A_JWKS])
    assert len(refreshers()) == 1


def test_a_gateway_that_goes_takes_its_threads_with_it(guard: Guard) -> None:
    guarded = guard(BOTH)
    assert guarded.request(token=foreign(), uid="a:alice").status_int == 200
    threads = refreshers()
    assert sorted(thread.name for thread in threads) == THREADS
    del guarded
    eventually(lambda: have_ended(threads))
