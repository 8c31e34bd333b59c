"""Passwords are hashed as RFC 9106 says, at one cost whatever the answer, and not too many at once."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from typing import Literal

import pytest
from argon2 import PasswordHasher, extract_parameters
from argon2.exceptions import HashingError, VerificationError, VerifyMismatchError
from argon2.profiles import RFC_9106_LOW_MEMORY

from gateway import passwords
from gateway.passwords import (
    MAX_BYTES,
    MOST_AT_ONCE,
    BusyError,
    UnfitPasswordError,
    hashed,
    needs_rehash,
    verify,
)

PASSWORD = "correct horse"
LONG = "x" * (MAX_BYTES + 1)


class CheapHasher(PasswordHasher):
    """Hashes at next to no cost, and keeps each hash against which a secret was computed."""

    def __init__(self, time_cost: int = 1) -> None:
        super().__init__(time_cost=time_cost, memory_cost=8, parallelism=1)
        self.computed: list[str] = []
        self.while_verifying: Callable[[], object] = lambda: None
        self.while_hashing: Callable[[], object] = lambda: None

    def verify(self, hash: str | bytes, password: str | bytes) -> Literal[True]:  # noqa: A002 - it is theirs
        try:
            verdict = super().verify(hash, password)
        except VerifyMismatchError:
            self._count(hash)
            raise
        self._count(hash)
        return verdict

    def hash(self, password: str | bytes, *, salt: bytes | None = None) -> str:
        self.while_hashing()
        return super().hash(password, salt=salt)

    def _count(self, stored: str | bytes) -> None:
        self.computed.append(str(stored))
        self.while_verifying()


@pytest.fixture(name="hasher", autouse=True)
def _hasher(monkeypatch: pytest.MonkeyPatch) -> CheapHasher:
    hasher = CheapHasher()
    monkeypatch.setattr(passwords, "hasher", hasher)
    return hasher


def test_the_parameters_are_those_of_the_rfc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert extract_parameters(passwords.hasher.hash(PASSWORD)) == RFC_9106_LOW_MEMORY


# A hash


@pytest.mark.parametrize(
    "password",
    [
        pytest.param("x", id="one-letter"),
        pytest.param(PASSWORD, id="usual"),
        pytest.param("pässwörd", id="not-ascii"),
        pytest.param("a\0b", id="nul"),
        pytest.param("\ud800", id="half-a-pair"),
        pytest.param(" x ", id="spaces-around"),
        pytest.param("x" * MAX_BYTES, id="longest"),
        pytest.param("ä" * (MAX_BYTES // 2), id="longest-not-ascii"),
    ],
)
def test_a_password_is_that_of_its_hash(password: str) -> None:
    assert verify(password, hashed(password))


def test_a_hash_does_not_hold_the_password() -> None:
    assert PASSWORD not in hashed(PASSWORD)


def test_each_hash_has_its_own_salt() -> None:
    assert hashed(PASSWORD) != hashed(PASSWORD)


@pytest.mark.parametrize(
    ("password", "message"),
    [
        pytest.param("", "the password is empty; it must be 1 to 1,024 bytes in UTF-8", id="empty"),
        pytest.param(
            LONG, "the password is over 1,024 bytes long; it must be 1 to 1,024 bytes in UTF-8", id="long"
        ),
        pytest.param(
            "ä" * 513,
            "the password is over 1,024 bytes long; it must be 1 to 1,024 bytes in UTF-8",
            id="long-not-ascii",
        ),
    ],
)
def test_a_password_that_is_none_has_no_hash(password: str, message: str) -> None:
    with pytest.raises(UnfitPasswordError) as caught:
        hashed(password)
    assert str(caught.value) == message


def test_a_password_that_is_none_is_a_value_error() -> None:
    assert issubclass(UnfitPasswordError, ValueError)


# Verifying


NO_HASHES = [
    pytest.param("", id="empty"),
    pytest.param(PASSWORD, id="the-password-itself"),
    pytest.param("häsh", id="not-ascii"),
    pytest.param("$2b$12$abcdefghijklmnopqrstuv", id="bcrypt"),
    pytest.param("$argon2id$v=19$m=8,t=1,p=1$", id="cut"),
    pytest.param("$argon2id$v=19$m=8,t=1,p=1$!!!!$!!!!", id="no-base64"),
    pytest.param("$argon2id$v=19$m=0,t=0,p=0$c29tZXNhbHQ$c29tZWhhc2g", id="impossible-parameters"),
]


@pytest.mark.parametrize(
    ("password", "other"),
    [
        pytest.param("Correct horse", PASSWORD, id="case"),
        pytest.param(PASSWORD + " ", PASSWORD, id="space-after"),
        pytest.param("a", "a\0b", id="up-to-nul"),
        pytest.param("x" * MAX_BYTES, "x" * (MAX_BYTES - 1), id="one-more"),
    ],
)
def test_another_password_is_wrong(password: str, other: str) -> None:
    assert not verify(password, hashed(other))


@pytest.mark.parametrize(
    "password",
    [
        pytest.param(PASSWORD, id="usual"),
        pytest.param("", id="empty"),
        pytest.param(LONG, id="long"),
        pytest.param("x" * 1_000_000, id="very-long"),
    ],
)
def test_nobody_has_a_password(password: str) -> None:
    assert not verify(password, None)


@pytest.mark.parametrize("stored", NO_HASHES)
def test_what_is_no_hash_has_no_password(stored: str) -> None:
    assert not verify(PASSWORD, stored)


def test_an_empty_password_is_wrong_even_if_its_hash_is_stored(hasher: CheapHasher) -> None:
    assert not verify("", hasher.hash(b""))


def test_a_long_password_is_wrong_even_if_its_hash_is_stored(hasher: CheapHasher) -> None:
    assert not verify(LONG, hasher.hash(LONG))


@pytest.mark.parametrize("password", [pytest.param(PASSWORD, id="right"), pytest.param("x", id="wrong")])
def test_a_user_costs_one_hash(password: str, hasher: CheapHasher) -> None:
    stored = hashed(PASSWORD)
    verify(password, stored)
    assert hasher.computed == [stored]


@pytest.mark.parametrize(
    ("password", "stored"),
    [
        pytest.param(PASSWORD, None, id="nobody"),
        pytest.param("", None, id="nobody-empty"),
        pytest.param(LONG, None, id="nobody-long"),
        pytest.param("", CheapHasher().hash(PASSWORD), id="empty"),
        pytest.param(LONG, CheapHasher().hash(PASSWORD), id="long"),
        *[pytest.param(PASSWORD, *each.values, id=f"no-hash-{each.id}") for each in NO_HASHES],
    ],
)
def test_who_has_no_hash_costs_one_of_the_same_parameters(
    password: str, stored: str | None, hasher: CheapHasher
) -> None:
    verify(password, stored)
    (computed,) = hasher.computed
    assert extract_parameters(computed) == extract_parameters(hashed(PASSWORD))


def test_a_hash_of_other_parameters_is_verified_by_those() -> None:
    assert verify(PASSWORD, CheapHasher(time_cost=3).hash(PASSWORD))


# Hashing anew


@pytest.mark.parametrize(
    ("stored", "needs"),
    [
        pytest.param(CheapHasher().hash(PASSWORD), False, id="of-today"),
        pytest.param(CheapHasher(time_cost=2).hash(PASSWORD), True, id="of-other-parameters"),
        pytest.param(PASSWORD, True, id="no-hash"),
    ],
)
def test_a_hash_of_other_parameters_needs_another(stored: str, needs: bool) -> None:
    assert needs_rehash(stored) is needs


# At once


def no_memory(*_: object, **__: object) -> str:
    raise HashingError("Memory allocation error")


def no_memory_to_verify(*_: object) -> Literal[True]:
    raise VerificationError("Memory allocation error")


def busy(monkeypatch: pytest.MonkeyPatch, hasher: CheapHasher, ask: Callable[[], object]) -> None:
    """Ask while as many hash as may at once."""
    hashing, go_on = threading.Semaphore(0), threading.Event()

    def wait() -> None:
        hashing.release()
        assert go_on.wait(30)

    monkeypatch.setattr(hasher, "while_hashing", wait)
    threads = [threading.Thread(target=hashed, args=(PASSWORD,)) for _ in range(MOST_AT_ONCE)]
    for thread in threads:
        thread.start()
    try:
        assert all(hashing.acquire(timeout=30) for _ in threads)
        monkeypatch.setattr(passwords, "WAIT_SEC", 0)
        ask()
    finally:
        go_on.set()
        for thread in threads:
            thread.join()


def ask_to_hash() -> None:
    with pytest.raises(BusyError, match="too many passwords are being hashed"):
        hashed(PASSWORD)


def ask_to_verify() -> None:
    with pytest.raises(BusyError, match="too many passwords are being hashed"):
        verify(PASSWORD, None)


@pytest.mark.parametrize("ask", [ask_to_hash, ask_to_verify])
def test_no_more_than_so_many_hash_at_once(
    ask: Callable[[], None], hasher: CheapHasher, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy(monkeypatch, hasher, ask)


def test_a_turn_comes_when_another_has_ended(hasher: CheapHasher, monkeypatch: pytest.MonkeyPatch) -> None:
    busy(monkeypatch, hasher, ask_to_hash)
    assert hashed(PASSWORD)


def test_a_fork_begins_with_all_turns() -> None:
    with contextlib.ExitStack() as turns:
        for _ in range(MOST_AT_ONCE):
            turns.enter_context(passwords._turns.one())
        child = os.fork()
        if child == 0:
            code = 1
            try:
                verify(PASSWORD, None)
                code = 0
            finally:
                os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_there_may_be_no_memory_to_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CheapHasher, "hash", no_memory)
    with pytest.raises(BusyError, match="a password cannot be hashed: Memory allocation error"):
        hashed(PASSWORD)


@pytest.mark.parametrize(
    "stored", [pytest.param(None, id="nobody"), pytest.param(CheapHasher().hash(PASSWORD), id="user")]
)
def test_there_may_be_no_memory_to_verify(stored: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CheapHasher, "verify", no_memory_to_verify)
    with pytest.raises(BusyError, match="a password cannot be hashed: Memory allocation error"):
        verify(PASSWORD, stored)


def test_a_turn_is_given_back_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "WAIT_SEC", 0)
    with monkeypatch.context() as context:
        context.setattr(CheapHasher, "hash", no_memory)
        for _ in range(MOST_AT_ONCE):
            with pytest.raises(BusyError, match="Memory"):
                hashed(PASSWORD)
    assert hashed(PASSWORD)
