"""Passwords: hashed by Argon2id (RFC 9106), and verified in the same time whether a user is there or not."""

from __future__ import annotations

import os
import threading
import unicodedata
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import HashingError, InvalidHashError, VerificationError, VerifyMismatchError

from gateway import forks
from gateway.errors import GatewayError, StoreError
from gateway.kinds import MOST_PASSWORD_BYTES

MAX_BYTES = MOST_PASSWORD_BYTES

_MUST = f"it must be 1 to {MAX_BYTES:,} bytes in UTF-8"
MOST_AT_ONCE: Final = min(4, os.cpu_count() or 1)  # each takes 64 MiB, and all of a core
WAIT_SEC = 5.0

# By which all is hashed and verified: argon2-cffi's defaults, the second choice of RFC 9106 section 4. It is
# looked up at each use, so that a test can put a cheaper one here.
hasher = PasswordHasher()


class BusyError(StoreError):
    """So many passwords are being hashed that there was no turn for one more, or no memory."""

    is_down = False


class UnfitPasswordError(GatewayError, ValueError):
    """A password that nobody can have: it is empty, or too long."""


class _Turns:
    """Lets so many hash at once in this process."""

    def __init__(self) -> None:
        self.begin_anew()
        forks.begin_anew_after(self)

    def begin_anew(self) -> None:
        """Forget who was hashing when this process was forked."""
        self._free = threading.BoundedSemaphore(MOST_AT_ONCE)

    @contextmanager
    def one(self) -> Iterator[None]:
        """Wait for a turn, and have it until the block ends.

        Raises:
            BusyError: none came in `WAIT_SEC`, or the memory for the hash is not to be had.
        """
        free = self._free
        if not free.acquire(timeout=WAIT_SEC):
            raise BusyError("too many passwords are being hashed")
        try:
            yield
        except (HashingError, VerificationError) as error:
            raise BusyError(f"a password cannot be hashed: {error}") from error
        finally:
            free.release()


_turns = _Turns()


def hashed(password: str) -> str:
    """Return the Argon2id hash of a password, with a salt of its own.

    Args:
        password: 1 to `MAX_BYTES` bytes in UTF-8.

    Raises:
        UnfitPasswordError: a ValueError: it is empty or longer.
        BusyError: there was no turn for it, or no memory.
    """
    secret = _secret(password)
    if not secret:
        raise UnfitPasswordError(f"the password is empty; {_MUST}")
    if len(secret) > MAX_BYTES:
        raise UnfitPasswordError(f"the password is over {MAX_BYTES:,} bytes long; {_MUST}")
    with _turns.one():
        return hasher.hash(secret)


def verify(password: str, stored: str | None) -> bool:
    """Tell whether a password is that of a hash, at the cost of one hash whatever the answer.

    Where there is no user, where the password is none that anybody can have, and where what is stored is no
    hash, a hash that nothing matches is verified instead. That one has the parameters of today: while a user
    still has a hash of others, from before they changed, that user can be told from nobody by the time, until
    the next login or `gateway users passwd`.

    Args:
        password: the password that was given, of any length.
        stored: the hash; None for that of a user who is not there.

    Raises:
        BusyError: there was no turn for it, or no memory.
    """
    secret = _secret(password)
    is_fit = 0 < len(secret) <= MAX_BYTES
    with _turns.one():
        verdict = _matches(secret, stored) if is_fit and stored is not None else None
        if verdict is None:
            _matches_nothing(secret if is_fit else b"")
    return bool(verdict)


def needs_rehash(stored: str) -> bool:
    """Tell whether a hash has other parameters than those of today, or is none."""
    try:
        return hasher.check_needs_rehash(stored)
    except InvalidHashError:
        return True


def _secret(password: str) -> bytes:
    # RFC 8265 section 4.2: whatever a keyboard makes of an umlaut, it is the same one. JSON can hold half of
    # a surrogate pair, too.
    return unicodedata.normalize("NFC", password).encode("utf-8", "surrogatepass")


def _matches(secret: bytes, stored: str) -> bool | None:
    """Tell whether a secret is that of a hash; None if that is no hash, which costs next to nothing."""
    try:
        return hasher.verify(stored, secret)
    except VerifyMismatchError:
        return False
    except (VerificationError, ValueError):  # the latter also for text that is not ASCII
        return None  # if it was for want of memory, what is verified instead says so


def _matches_nothing(secret: bytes) -> None:
    """Verify a hash of today's parameters that is random bits, for which no password is known.

    It is written, not computed: made by hashing, the first would cost twice as much as any other.
    """
    costs = f"m={hasher.memory_cost},t={hasher.time_cost},p={hasher.parallelism}"
    salt, digest = _random(hasher.salt_len), _random(hasher.hash_len)
    try:
        hasher.verify(f"$argon2id$v=19${costs}${salt}${digest}", secret)
    except VerifyMismatchError:
        return


def _random(length: int) -> str:
    return b64encode(os.urandom(length)).rstrip(b"=").decode("ascii")
