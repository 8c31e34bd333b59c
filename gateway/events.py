"""What happens at a gateway, as values, and what those have who watch it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol
from wsgiref.types import WSGIEnvironment

from gateway.claims import Session
from gateway.identity import Identity

# What stands for the code of a rejection where there is none.
ACCEPTED: Final = "accepted"
ANONYMOUS: Final = "anonymous"

SESSION: Final = "session"
ALL: Final = "all"


class Holder(Protocol):
    """Whose a token is, by its signature; an `Identity` is one."""

    @property
    def uid(self) -> str | None:
        """The canonical text of the uid; None if the token does not name one."""

    @property
    def issuer(self) -> str | None:
        """Another issuer than us."""

    @property
    def session(self) -> Session | None:
        """What names the session."""

    @property
    def kid(self) -> str | None:
        """The name of the key that signed."""


class Named(NamedTuple):
    """A `Holder`, as far as it is known."""

    uid: str | None = None
    issuer: str | None = None
    session: Session | None = None
    kid: str | None = None


class Verdict(NamedTuple):
    """A request was judged.

    `code` is `accepted`, `anonymous` (a public path) or the rejection's, and `status` the rejection's: of
    another answer the app decides. `identity` is there if it was accepted. `cached` tells whether the token
    was known from before; it is None where none was looked at. It took so many `seconds`.
    """

    code: str
    status: int | None
    method: str
    path: str
    identity: Identity | None
    cached: bool | None
    seconds: float

    @property
    def renewed(self) -> bool:
        """Whether the next token is a new one."""
        return self.identity is not None and self.identity.renewed


class LoginTried(NamedTuple):
    """Somebody tried to log in: `code` is `accepted` or the rejection's, and `holder` who, if it is known."""

    code: str
    status: int
    holder: Holder | None


class Revoked(NamedTuple):
    """Sessions were ended for good: one (`session`) or every one of a uid (`all`), as `code` says."""

    code: str
    holder: Holder


class KeysTaken(NamedTuple):
    """A process has taken keys, of an issuer or (None) our own, that are good until a moment.

    `added` and `removed` are the names of those that came and went since it took some before. Both are
    empty where nothing has changed, and where it had none before, as when it starts.
    """

    issuer: str | None
    good_until: float
    added: Sequence[str]
    removed: Sequence[str]

    @property
    def changed(self) -> bool:
        """Whether one came or went."""
        return bool(self.added or self.removed)


class Observer(Protocol):
    """Is told what happens. `environ` is that of the request; it has none if a command did it."""

    def judged(self, environ: WSGIEnvironment, verdict: Verdict) -> None:
        """A request was judged."""

    def login_tried(self, environ: WSGIEnvironment, tried: LoginTried) -> None:
        """Somebody tried to log in."""

    def revoked(self, environ: WSGIEnvironment | None, revoked: Revoked) -> None:
        """Sessions were ended."""

    def keys_taken(self, taken: KeysTaken) -> None:
        """Keys were fetched, or changed."""
