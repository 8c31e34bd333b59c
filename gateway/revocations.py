"""What was ended, as far as this process has heard: each worker's copy of what the store keeps."""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import islice, takewhile
from typing import Final, TypeVar

from gateway import forks
from gateway.breaker import sharing
from gateway.claims import CLOCK_SKEW_SEC, SHORTEST_SEC, Session
from gateway.errors import StateUnavailableError
from gateway.identity import Identity
from gateway.settings import Settings
from gateway.stores import SID, UID, Batch, Revocation, Store
from gateway.stores.bounded import bounded_store
from gateway.tokens import TokenCreator

MOST_READ: Final = 5000  # revocations in one query
_LEAST_READ: Final = 50
_TRIES_AT_START: Final = 4  # a store that is asked by a thousand workers at once is slow, and not down
_PAUSE_AT_START_SEC: Final = 0.25
_GRACE_SEC: Final = 3600  # after its end a revocation still counts where it is read: clocks may be wrong
_MOST_FORGOTTEN: Final = 10_000  # at once
_MOST_TOLD: Final = 500  # at once, to a store that has lost them
_HURRYING_SEC: Final = 0.1
_TELLING_SEC: Final = 2  # between two such parts, on average; each worker has its own moments

Name = TypeVar("Name", bound=Hashable)
_Key = tuple[str, str, str]  # issuer, kind and value


@dataclass(slots=True)
class _Ended:
    """What was ended of one issuer: sessions, and up to which moment all of a uid.

    Each is kept until a moment of the monotonic clock, whatever becomes of the other. They stand in the order
    in which they came, which is that in which they go.
    """

    sessions: dict[Session, float] = field(default_factory=dict)
    uids: dict[str, float] = field(default_factory=dict)
    uids_expire: dict[str, float] = field(default_factory=dict)
    gone: int = 0

    def add(self, each: Revocation, until: float) -> None:
        if each.kind == UID:
            if each.moment > self.uids.get(each.value, -math.inf):
                self.uids[each.value] = each.moment
                self.uids_expire.pop(each.value, None)  # to stand where it comes now
                self.uids_expire[each.value] = until
        else:
            self.sessions.setdefault(session_named(each.kind, each.value), until)

    def forget(self, now: float) -> None:
        for session in _expired(self.sessions, now):
            del self.sessions[session]
            self.gone += 1
        for uid in _expired(self.uids_expire, now):
            del self.uids[uid], self.uids_expire[uid]
            self.gone += 1
        if self.gone > len(self.sessions) + len(self.uids) + _MOST_FORGOTTEN:
            # Whoever looks at the front of a dict passes over the places of all that stood there.
            self.sessions, self.uids_expire, self.gone = dict(self.sessions), dict(self.uids_expire), 0

    def all(self, issuer: str, epoch: float) -> Iterator[Revocation]:
        """Yield all as revocations; `epoch` is when the monotonic clock was 0, in seconds since 1970."""
        for session, until in self.sessions.items():
            yield Revocation(issuer, *kind_and_value(session), 0.0, epoch + until)
        for uid, until in self.uids_expire.items():
            yield Revocation(issuer, UID, uid, self.uids[uid], epoch + until)


class Revocations:
    """The live revocations, in memory, of which every request asks.

    The copy catches up with the store at most once in `state_sync_sec`, in the request that comes then: by
    what was appended since. It never forgets a live entry because the store did; it tells the store instead.

    Args:
        settings: the settings.
        store: where revocations are kept; its calls end in time.
        clock: tells the time, in seconds since 1970.
        monotonic: a clock that is never set, in seconds.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        clock: Callable[[], float],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._clock = clock
        self._monotonic = monotonic
        self._sync = settings.state_sync_sec
        self._max_stale = math.inf if settings.state_fail_open else settings.state_max_stale_sec
        self._timeout = settings.state_timeout_sec
        self._lives = _lives(settings)
        self._ended: dict[str | None, _Ended] = {}
        self._position: Hashable | None = None
        self._failing = False
        self._most = MOST_READ
        # What the store was told by this worker and has not shown since, None while it is being told; what it
        # must be told again; and how often it was found to have lost something.
        self._unseen: dict[_Key, Revocation | None] = {}
        self._lost: dict[_Key, Revocation] = {}
        self._losses = 0
        self._unheard: set[_Key] = set()  # of what was lost, what no other worker may have heard of
        # Until when, by the monotonic clock, there is no need to ask, and until when the copy is believed.
        self._current_until = -math.inf
        self._good_until = math.inf if settings.state_fail_open else -math.inf
        # Is told whether an attempt to read all that is new went well; set by what watches.
        self.on_asked: Callable[[bool], None] = _unwatched
        self.begin_anew()
        forks.begin_anew_after(self)

    def begin_anew(self) -> None:
        """Forget who was reading when this process was forked."""
        self._reading = threading.Lock()
        self._changing = threading.Lock()
        self._teller: threading.Thread | None = None

    def refusal(self, identity: Identity) -> str | None:
        """Return the code of the rejection by which a session is refused, or None if it lives."""
        known = self._monotonic() < self._current_until or self._catch_up()
        ended = self._ended.get(identity.issuer)
        if ended is not None:
            if identity.session in ended.sessions:
                return "token_revoked"
            moment = ended.uids.get(identity.uid)
            if moment is not None and (identity.began is None or identity.began <= moment):
                return "token_revoked"
        return None if known else "state_unavailable"

    def ended_until(self, uid: str, issuer: str | None = None) -> float:
        """Return the moment up to which every session of a uid was ended, in seconds since 1970."""
        ended = self._ended.get(issuer)
        return -math.inf if ended is None else ended.uids.get(uid, -math.inf)

    def end_session(self, identity: Identity) -> None:
        """End the session of an identity, for good, in all workers.

        Raises:
            StateUnavailableError: the store could not be made to keep that.
        """
        self._append(self._session_of(identity))

    def end_all_of(self, identity: Identity) -> None:
        """End every session of somebody that has begun so far, and the identity's own in any case.

        Raises:
            StateUnavailableError: the store could not be made to keep that.
        """
        self.catch_up()
        if identity.session is not None:
            own = self._session_of(identity)
            self._append(self._all_of(identity.issuer, identity.uid), own)
        else:
            # Its beginning alone tells it, and may lie a little ahead of this machine's clock.
            self._append(self._all_of(identity.issuer, identity.uid, identity.began or 0))

    def end_named(self, issuer: str | None, kind: str, value: str) -> None:
        """End what is called so: a session by `SID` or `JTI`, or all of a uid that have begun so far.

        Raises:
            StateUnavailableError: the store could not be made to keep that.
        """
        self.catch_up()
        if kind == UID:
            self._append(self._all_of(issuer, value))
        else:
            self._append(self._revocation(issuer, kind, value, self._clock()))

    def life(self, issuer: str | None) -> float:
        """Return the seconds that a session of an issuer can live, counted from now."""
        return self._lives.get(issuer, max(self._lives.values()))

    def start(self) -> None:
        """Read all that there is, however long that takes, as long as the store answers."""
        tries = _TRIES_AT_START
        with self._reading:
            while not self._read() and tries:
                if self._failing:
                    tries -= 1
                    time.sleep(_PAUSE_AT_START_SEC)

    def catch_up(self) -> None:
        """Read what is new at once, if the store can be asked."""
        with self._turn() as is_ours:
            if is_ours:
                self._read_in_time()

    @property
    def is_up(self) -> bool:
        """Whether the store can be asked: whether it could when it was asked last, which is not long ago."""
        if self._monotonic() >= self._current_until:
            self._catch_up()
        return not self._failing and self._monotonic() < self._good_until

    def _catch_up(self) -> bool:
        """Read what is new, and return whether the copy is to be believed."""
        with self._turn() as is_ours:
            # Another may have read it in the meantime.
            is_current = self._monotonic() < self._current_until or (is_ours and self._read_in_time())
        return is_current or self._monotonic() < self._good_until

    @contextmanager
    def _turn(self) -> Iterator[bool]:
        """Wait for a turn to read, and tell whether it came.

        While the store fails, one request asks it, and the others do not wait for that one.
        """
        was_failing = self._failing
        with sharing(self._timeout) as left:
            began = self._monotonic()
            if not self._reading.acquire(timeout=0 if was_failing else left[0]):
                yield False
                return
            left[0] = max(left[0] - (self._monotonic() - began), 0)
            try:
                yield was_failing or not self._failing
            finally:
                self._reading.release()

    def _read_in_time(self) -> bool:
        deadline = self._monotonic() + self._timeout
        while not self._read():
            if self._failing or self._monotonic() >= deadline:
                return False
        return True

    def _read(self) -> bool:
        """Read on from where this copy is, and return whether that was all."""
        began = self._monotonic()
        told = [each for each in list(self._unseen.values()) if each is not None] if self._unseen else []
        try:
            batch = self._store.read(self._position, self._most)
        except StateUnavailableError:
            self._failing = True
            self.on_asked(False)
            if self._monotonic() - began >= self._timeout / 2:  # it may have been too much at once
                self._most = max(self._most // 2, _LEAST_READ)
            return False
        self._failing = False
        self._most = min(2 * self._most, MOST_READ)
        with self._changing:
            self._take(batch)
            if not batch.more:
                self._miss(told)
        if not batch.more:
            self._current_until = began + self._sync
            self._good_until = max(self._good_until, began + self._max_stale)
            self.on_asked(True)
            self._tell_what_is_lost()
        return not batch.more

    def _take(self, batch: Batch) -> None:
        if batch.anew:
            self._lost = {_key(each): each for each in self._all()}
            self._unheard.update(key for key, each in self._unseen.items() if each is not None)
            self._losses += 1
        long_ago = self._clock() - _GRACE_SEC
        for each in batch.revocations:
            if each.expires > long_ago:
                self._add(each)
        if self._unseen or self._lost:
            for each in batch.revocations:
                self._found(each)
        self._position = batch.position
        now = self._monotonic()
        for ended in self._ended.values():
            ended.forget(now)

    def _miss(self, told: Iterable[Revocation]) -> None:
        """Count as lost what the store was told before it was asked for all, and has not shown."""
        for each in told:
            if self._unseen.get(_key(each)) is each:
                del self._unseen[_key(each)]
                self._lost[_key(each)] = each
                self._unheard.add(_key(each))
                self._losses += 1

    def _found(self, each: Revocation) -> None:
        key = _key(each)
        for missing in (self._unseen, self._lost):
            known = missing.get(key, each)
            if known is None or each.kind != UID or each.moment >= known.moment:
                missing.pop(key, None)
        if key not in self._lost:
            self._unheard.discard(key)

    def _tell_what_is_lost(self) -> None:
        if self._lost and self._teller is None:
            self._teller = threading.Thread(target=self._tell, name="revocations", daemon=True)
            with suppress(RuntimeError):  # no room for it now; it is tried again when next is read
                self._teller.start()
                return
            self._teller = None

    def _tell(self) -> None:
        """Tell the store what it has lost, in parts, at moments and in an order unlike other workers'."""
        while self._lost:
            if self._unheard:
                time.sleep(_HURRYING_SEC)
            else:
                time.sleep(random.uniform(0, _TELLING_SEC))  # noqa: S311 - no secret
                self.catch_up()  # others may have told it
            with suppress(StateUnavailableError):
                self._tell_part()
        self._teller = None

    def _tell_part(self) -> None:
        now = self._clock()
        with self._changing:
            part = [self._lost[key] for key in islice(self._unheard, _MOST_TOLD) if key in self._lost]
            if not part:
                part = random.sample(list(self._lost.values()), min(len(self._lost), _MOST_TOLD))
            losses = self._losses
        self._tell_store([each for each in part if each.expires > now], now)
        with self._changing:
            if losses == self._losses:  # else it may have lost it already
                for each in part:
                    self._lost.pop(_key(each), None)
                    self._unheard.discard(_key(each))

    def _append(self, *revocations: Revocation) -> None:
        self._tell_store(revocations, self._clock())
        with self._changing:
            for each in revocations:
                self._add(each)

    def _tell_store(self, revocations: Sequence[Revocation], now: float) -> None:
        """Have the store keep revocations, and look out for them in what is read from now on."""
        if not revocations:
            return
        with self._changing:
            self._unseen.update((_key(each), None) for each in revocations)
        told = False
        try:
            # Nothing is forgotten there that may be alive, even if this machine's clock is some hours ahead.
            self._store.append(revocations, now - self.life(None))
            told = True
        finally:
            with self._changing:
                for each in revocations:
                    if self._unseen.pop(_key(each), each) is None and told:
                        self._unseen[_key(each)] = each

    def _add(self, each: Revocation) -> None:
        issuer = each.issuer or None
        until = self._monotonic() + min(self.life(issuer), each.expires - each.moment)
        self._ended.setdefault(issuer, _Ended()).add(each, until)

    def _all(self) -> Iterator[Revocation]:
        for issuer, ended in self._ended.items():
            yield from ended.all(issuer or "", self._clock() - self._monotonic())

    def _session_of(self, identity: Identity) -> Revocation:
        if identity.session is None:
            raise ValueError("the token names no session")
        kind, value = kind_and_value(identity.session)
        return self._revocation(identity.issuer, kind, value, self._clock())

    def _all_of(self, issuer: str | None, uid: str, moment: float = 0.0) -> Revocation:
        # A session that has begun since the last time may begin just after it, whatever the clock says.
        last = round(self.ended_until(uid, issuer) + SHORTEST_SEC, 6)
        now = self._clock()
        return self._revocation(issuer, UID, uid, max(now, round(now, 6), moment, last))

    def _revocation(self, issuer: str | None, kind: str, value: str, moment: float) -> Revocation:
        return Revocation(issuer or "", kind, value, moment, moment + self.life(issuer))


def revocations_of(settings: Settings, tokens: TokenCreator, store: Store) -> Revocations:
    """Return what was ended as a store keeps it, and have `tokens` begin sessions after that."""
    revocations = Revocations(settings, store, tokens.now)
    tokens.ended_until = revocations.ended_until
    return revocations


def revocations_in_force(settings: Settings, tokens: TokenCreator) -> Revocations | None:
    """Return what was ended as the store of the settings keeps it; None where they name none."""
    if settings.state_url is None:
        return None
    return revocations_of(settings, tokens, bounded_store(settings))


def session_named(kind: str, value: str) -> Session:
    """Return a session as identities carry it."""
    return value if kind == SID else (kind, value)


def kind_and_value(session: Session) -> tuple[str, str]:
    """Return how a session is named in a store."""
    return session if isinstance(session, tuple) else (SID, session)


def _unwatched(_: bool) -> None:
    """Nobody is to be told."""


def _key(each: Revocation) -> _Key:
    return each.issuer, each.kind, each.value


def _lives(settings: Settings) -> dict[str | None, float]:
    """Return how long sessions of each issuer can live after they were revoked, in seconds."""
    ours = settings.max_session_min * 60
    lives: dict[str | None, float] = {None: ours + settings.leeway_sec + CLOCK_SKEW_SEC}
    for rules in settings.issuers:
        longest = max(ours, rules.max_token_min * 60)
        lives[rules.issuer] = longest + rules.leeway_sec + CLOCK_SKEW_SEC
    return lives


def _expired(entries: Mapping[Name, float], now: float) -> list[Name]:
    """Return the names of those at the front that have expired."""
    expired = takewhile(lambda entry: entry[1] <= now, entries.items())
    return [name for name, _ in islice(expired, _MOST_FORGOTTEN)]
