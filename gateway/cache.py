"""Verified tokens, remembered."""

from __future__ import annotations

import threading
from itertools import islice

from gateway import forks
from gateway.identity import Identity

BYTES_EACH = 1200  # the room for one token, on average; a usual one takes some 1,000


class TokenCache:
    """Identities by the `Authorization` header that carries their token.

    It holds up to a number of them, and up to `BYTES_EACH` for each; the oldest go first. Looking up
    takes no lock; what changes the cache does.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._room = most * BYTES_EACH
        self._used = 0
        self._identities: dict[str | None, Identity] = {}  # None, for no header, is never in it
        self.begin_anew()
        forks.begin_anew_after(self)
        self.get = self._identities.get

    def begin_anew(self) -> None:
        """Forget who was changing it when this process was forked."""
        self._changing = threading.Lock()

    def __len__(self) -> int:
        return len(self._identities)

    def add(self, identity: Identity) -> None:
        """Remember an identity, if there is room for one of its size and its key still is one."""
        if not self._room:
            return
        identity.pack()
        if identity.size > self._room:
            return
        with self._changing:
            self._drop(identity.bearer)
            while len(self._identities) >= self._most or self._used + identity.size > self._room:
                self._drop_oldest()
            self._identities[identity.bearer] = identity
            self._used += identity.size
        if not identity.is_current():  # its key went while it came
            self.drop(identity.bearer)

    def drop(self, bearer: str) -> None:
        """Forget an identity, if it is remembered."""
        if bearer in self._identities:
            with self._changing:
                self._drop(bearer)

    def drop_outdated(self) -> None:
        """Forget those whose key is none any more; to be called when keys have changed."""
        with self._changing:
            for bearer, identity in list(self._identities.items()):
                if not identity.is_current():
                    self._drop(bearer)

    def _drop(self, bearer: str | None) -> None:
        identity = self._identities.pop(bearer, None)
        if identity is not None:
            self._used -= identity.size

    def _drop_oldest(self) -> None:
        # Several at once: each search for the oldest passes over the places of those that went before.
        for bearer in list(islice(self._identities, 1 + self._most // 64)):
            self._drop(bearer)
