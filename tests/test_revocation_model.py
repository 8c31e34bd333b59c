"""Workers on one store, and all that can happen to them: nobody who was ended lives, and nobody else dies."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway import TokenError
from gateway.errors import StateUnavailableError
from gateway.identity import Identity
from gateway.revocations import Revocations
from gateway.stores import JTI, SID, UID
from tests.support import claims, forge
from tests.test_revocations import ISSUER, Log, Worker, World

EXP_SEC, SESSION_SEC = 60, 120
SYNC, STALE = 1.0, 10.0
UIDS = (12, "ann")
REVOKED, UNAVAILABLE = "token_revoked", "state_unavailable"


@dataclass(slots=True)
class Ended:
    """That something was ended: when, by which worker, and whether the store is sure to have been told."""

    at: float
    by: Worker
    is_sure: bool


@dataclass(slots=True)
class Session:
    """A session, its newest token, and how it was ended."""

    identity: Identity
    born: float
    ended: list[Ended] = field(default_factory=list)

    @property
    def goes_on_until(self) -> float:
        """The last moment at which a token of it can be good, by any clock."""
        began = self.identity.began
        return math.inf if began is None else began + SESSION_SEC


class Failing(Log):
    """A store that may also keep what it was told, and yet not say so."""

    is_late = False

    def append(self, *arguments: Any) -> None:
        super().append(*arguments)
        if self.is_late:
            raise StateUnavailableError("no answer in time")


workers = st.integers(0, 2)
picks = st.integers(0, 1000)


class Workers(RuleBasedStateMachine):
    """Three workers, none of which has threads, by clocks that a rule moves."""

    @initialize(
        ahead=st.sampled_from([(0, 0, 0), (0, 0, 0), (0, 3, -3), (0.5, 0, 0)]),
        fail_open=st.booleans(),
        sync=st.sampled_from([SYNC, SYNC, 0]),
        most_read=st.sampled_from([1, 2, 5000]),
    )
    def begin(self, ahead: tuple[float, ...], fail_open: bool, sync: float, most_read: int) -> None:
        self.patches: list[Any] = [
            # The same steps make the same tokens, so that a failure is one again when it is replayed.
            mock.patch("secrets.token_urlsafe", side_effect=map(str, itertools.count())),
            mock.patch("gateway.revocations.MOST_READ", most_read),
            mock.patch.object(Revocations, "_tell_what_is_lost", return_value=None),
        ]
        for patch in self.patches:
            patch.start()
        self.log = Failing()
        self.world = World(self.log)
        self.ahead = ahead
        # Moments of different machines are not to be told apart when they are as near as this.
        self.blur = max(ahead) - min(ahead)
        self.sync, self.fail_open = sync, fail_open
        self.options: dict[str, Any] = {
            "exp_time_min": EXP_SEC // 60,
            "refresh_time_min": EXP_SEC // 60,
            "max_session_min": SESSION_SEC // 60,
            "state_sync_sec": sync,
            "state_max_stale_sec": STALE,
            "state_fail_open": fail_open,
        }
        self.workers = [self.world.worker(each, **self.options) for each in ahead]
        self.sessions: list[Session] = []
        self.is_known_to_nobody = False

    def teardown(self) -> None:
        for patch in getattr(self, "patches", ()):
            patch.stop()

    @property
    def is_up(self) -> bool:
        return not self.log.down and not self.log.is_late

    # Time, and the store

    @rule(seconds=st.sampled_from([0, 1e-6, 0.25, 0.5, 1, 1, 2, 5, 10, 30, 60, 131, 140]))
    def let_time_pass(self, seconds: float) -> None:
        self.world.wait(seconds)
        self.sessions = [each for each in self.sessions if each.goes_on_until > self.world.time - self.blur]

    @rule(down=st.booleans(), late=st.sampled_from([False, False, True]))
    def take_the_store_down_or_up(self, down: bool, late: bool) -> None:
        self.log.down, self.log.is_late = down, late

    @precondition(lambda self: self.is_up)
    @rule(many=st.sampled_from([None, 1, 2, 3]))
    def lose_entries(self, many: int | None) -> None:
        """Lose some, and have each worker tell the store what it knows, as its thread would."""
        if self.is_known_to_nobody:  # the store is the last that knows; what it loses now would be gone
            for worker in self.workers:
                self.catch_up(worker)
        self.is_known_to_nobody = False
        self.log.lose(None if many is None else min(many, len(self.log.entries)))
        for worker in self.workers:
            self.heal(worker)
        for worker in self.workers:
            self.catch_up(worker)  # what others have told meanwhile
            assert not worker.revocations._lost

    def heal(self, worker: Worker) -> None:
        self.catch_up(worker)
        while worker.revocations._lost:
            worker.revocations._tell_part()
            self.catch_up(worker)

    def catch_up(self, worker: Worker) -> None:
        """Read all that there is, as requests do."""
        worker.revocations.start()

    @rule(which=workers)
    def restart(self, which: int) -> None:
        """End a worker's process; all that it was told and the store was not is gone with it."""
        if self.is_up:
            self.heal(self.workers[which])
        else:
            self.is_known_to_nobody = True
        self.workers[which] = self.world.worker(self.ahead[which], **self.options)
        self.workers[which].revocations.start()

    # Sessions

    @precondition(lambda self: self.is_up)  # or else nobody logs in
    @rule(which=workers, uid=st.sampled_from(UIDS))
    def log_in(self, which: int, uid: int | str) -> None:
        worker = self.workers[which]
        self.catch_up(worker)
        self.sessions.append(Session(worker.verified(worker.tokens.create(uid)), self.world.ticks))

    @rule(
        which=workers,
        uid=st.sampled_from(UIDS),
        names=st.sampled_from([{"sid": ..., "jti": "{}"}, {"sid": ...}, {"sid": "{}", "jti": "x"}]),
        times=st.sampled_from([("auth_time", "iat"), ("iat",), ("auth_time",)]),
    )
    def log_in_by_a_token_made_elsewhere(
        self, which: int, uid: int | str, names: dict[str, Any], times: tuple[str, ...]
    ) -> None:
        """Begin a session of which the gateway was not asked, at a moment like no other."""
        self.world.wait(self.blur + 0.001)
        worker = self.workers[which]
        number = f"made{len(self.sessions)}-{self.world.ticks}"
        named = {key: value if value is ... else value.format(number) for key, value in names.items()}
        moments = {key: self.world.time if key in times else ... for key in ("auth_time", "iat")}
        known = max((each.revocations.ended_until(str(uid)) for each in self.workers), default=0)
        made = claims(uid=uid, exp=int(self.world.time) + EXP_SEC, **moments, **named)
        if known < self.world.time:  # or else it begins before what is ended ahead
            found = worker.tokens._verify_anew(forge(made), self.world.time)
            self.sessions.append(Session(found, self.world.ticks))

    @precondition(lambda self: self.sessions)
    @rule(which=workers, pick=picks)
    def renew(self, which: int, pick: int) -> None:
        session, worker = self.picked(pick), self.workers[which]
        try:
            session.identity = worker.verified(worker.tokens.refresh(session.identity.token))
        except TokenError:  # it has expired
            return

    # Ends

    @precondition(lambda self: self.sessions)
    @rule(which=workers, pick=picks)
    def end_one(self, which: int, pick: int) -> None:
        session, worker = self.picked(pick), self.workers[which]
        if session.identity.session is None:
            return
        kept = self.kept(worker, session.identity, "end_session")
        self.note(session, worker, kept)

    @precondition(lambda self: self.sessions)
    @rule(which=workers, pick=picks, up_to_date=st.booleans())
    def end_all(self, which: int, pick: int, up_to_date: bool) -> None:
        session, worker = self.picked(pick), self.workers[which]
        if up_to_date:
            self.catch_up(worker)
        kept = self.kept(worker, session.identity, "end_all_of")
        self.note_all(session.identity.uid, worker, kept, up_to_date, own=session)

    @rule(which=workers, uid=st.sampled_from(UIDS), up_to_date=st.booleans())
    def end_all_by_name(self, which: int, uid: int | str, up_to_date: bool) -> None:
        worker = self.workers[which]
        if up_to_date:
            self.catch_up(worker)
        kept = self.kept(worker, None, UID, str(uid))
        self.note_all(str(uid), worker, kept, up_to_date)

    @precondition(lambda self: self.sessions and self.is_up)
    @rule(which=workers, pick=picks)
    def end_what_only_sounds_alike(self, which: int, pick: int) -> None:
        """End, of another issuer, what is called as one of ours, and of ours a sid like a jti or a uid."""
        session, worker = self.picked(pick).identity, self.workers[which]
        name = session.session[1] if isinstance(session.session, tuple) else session.session or "none"
        for kind in (SID, JTI):
            worker.revocations.end_named(ISSUER, kind, name)
        worker.revocations.end_named(ISSUER, UID, session.uid)
        worker.revocations.end_named(None, JTI if isinstance(session.session, str) else SID, name)
        worker.revocations.end_named(None, SID, session.uid)

    def kept(self, worker: Worker, what: Identity | None, how: str, value: str = "") -> bool:
        try:
            if what is None:
                worker.revocations.end_named(None, how, value)
            else:
                getattr(worker.revocations, how)(what)
        except StateUnavailableError:
            return False
        return True

    def note(self, session: Session, worker: Worker, kept: bool) -> None:
        if kept or self.log.is_late:
            session.ended.append(Ended(self.world.ticks, worker, kept))

    def note_all(
        self, uid: str, worker: Worker, kept: bool, up_to_date: bool, own: Session | None = None
    ) -> None:
        for session in self.sessions:
            if session.identity.uid == uid:
                age = self.world.ticks - session.born
                # Else it may have begun, by its own clock, just after the moment that this worker knows of.
                is_older = age >= 2 * self.blur and (up_to_date or age > 0.001)
                if kept or self.log.is_late:
                    sure = kept and (session is own or is_older)
                    session.ended.append(Ended(self.world.ticks, worker, sure))

    def picked(self, pick: int) -> Session:
        return self.sessions[pick % len(self.sessions)]

    # What must hold

    @precondition(lambda self: self.sessions)
    @rule(which=workers)
    def come_to_one_worker(self, which: int) -> None:
        self.check(self.workers[which])

    @precondition(lambda self: self.sessions)
    @rule()
    def come_to_all_workers(self) -> None:
        for worker in self.workers:
            self.check(worker)

    def check(self, worker: Worker) -> None:
        for session in self.sessions:
            code = worker.revocations.refusal(session.identity)
            if not session.ended:
                assert code in self.codes_of_the_living()
            elif self.must_be_refused(worker, session):
                assert code == REVOKED
            elif self.must_not_pass(session):
                assert code is not None

    def codes_of_the_living(self) -> tuple[str | None, ...]:
        return (None,) if not self.log.down or self.fail_open else (None, UNAVAILABLE)

    def must_be_refused(self, worker: Worker, session: Session) -> bool:
        """Whether a worker has ended it itself, or has had the time to hear of it from the store."""
        return any(
            each.is_sure
            and (each.by is worker or (not self.log.down and self.world.ticks >= each.at + self.sync))
            for each in session.ended
        )

    def must_not_pass(self, session: Session) -> bool:
        """Whether no worker can believe a copy so old that it does not say so."""
        return not self.fail_open and any(
            each.is_sure and self.world.ticks >= each.at + STALE for each in session.ended
        )

    @invariant()
    def what_is_lost_is_known(self) -> None:
        for worker in getattr(self, "workers", ()):
            for ended in worker.revocations._ended.values():
                assert ended.uids.keys() == ended.uids_expire.keys()
            known = {each[:3] for each in worker.revocations._all()}
            lost = worker.revocations._lost.values()
            assert known.issuperset(each[:3] for each in lost if each.expires > worker.now())


TestWorkers = Workers.TestCase
TestWorkers.settings = settings(
    max_examples=100, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
