"""What was ended: in which worker, by when and for how long, whatever becomes of the store and the clocks."""

from __future__ import annotations

import gc
import itertools
import os
import signal
import threading
import time
import tracemalloc
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NoReturn

import pytest

from gateway import Settings
from gateway.authentication import Authenticator
from gateway.breaker import sharing
from gateway.claims import CLOCK_SKEW_SEC, ForeignRules
from gateway.errors import StateUnavailableError
from gateway.identity import Identity
from gateway.keys import FixedKeys, Key
from gateway.policyfile import IssuerRules
from gateway.rejections import Rejection
from gateway.revocations import Revocations
from gateway.stores import JTI, SID, UID, Batch, Revocation, Store, batch_after
from gateway.stores.bounded import BoundedStore
from gateway.stores.memory import MemoryStore
from tests.support import KEY, MINUTE, NOW, Clock, claims, forge

DEADLINE = 20  # seconds by which a thread must have ended
SYNC, STALE = 1.0, 10.0  # the defaults
LIFE = 1440 * MINUTE + CLOCK_SKEW_SEC
ISSUER = "https://login.example"
REVOKED, UNAVAILABLE = "token_revoked", "state_unavailable"
KEYS = FixedKeys(Key.secret(KEY))


class Log(Store):
    """A store that shows, as SQLite and Redis do, when it has lost something, as a test says."""

    def __init__(self) -> None:
        self.entries: list[tuple[tuple[int, int], Revocation]] = []  # each at its place, with a tag
        self.reads: list[int] = []  # how many each one returned
        self.appended: list[list[Revocation]] = []
        self.down = False
        self.failures = 0  # of the appends to come
        self.gate: threading.Event | None = None
        self.asked = threading.Event()
        self.after_append: Callable[[], None] = lambda: None
        self._tags = itertools.count()

    def append(self, revocations: Sequence[Revocation], now: float) -> None:
        self._called()
        if self.failures:
            self.failures -= 1
            raise StateUnavailableError("refused")
        while len(self.entries) > 1 and self.entries[0][1].expires <= now:
            del self.entries[0]
        for each in revocations:
            place = self.entries[-1][0][0] + 1 if self.entries else 1
            self.entries.append(((place, next(self._tags)), each))
        self.appended.append(list(revocations))
        self.after_append()

    def read(self, position: Hashable | None, limit: int) -> Batch:
        self._called()

        def entries_from(anchor: Any, count: int) -> list[tuple[Hashable, Revocation]]:
            first = anchor[0] if anchor else 0
            found = itertools.dropwhile(lambda entry: entry[0][0] < first, self.entries)
            return list(itertools.islice(found, count))

        batch = batch_after(position, limit, entries_from)
        self.reads.append(len(batch.revocations))
        return batch

    def lose(self, many: int | None = None) -> None:
        """Lose the last entries, or all, and give their places to others."""
        del self.entries[0 if many is None else len(self.entries) - many :]

    def admit(self, limits: Mapping[str, int], hit: str, window: float, now: float) -> float:
        raise NotImplementedError

    def forgive(self, hit: str, keys: Iterable[str], cleared: Iterable[str]) -> None:
        raise NotImplementedError

    def _called(self) -> None:
        self.asked.set()
        if self.gate is not None:
            self.gate.wait(DEADLINE)
        if self.down:
            raise StateUnavailableError("refused")


class World:
    """Workers on one store, and the time of all of them, which a test moves."""

    def __init__(self, store: Store | None = None) -> None:
        self.store = Log() if store is None else store
        self.time, self.ticks = NOW, 1000.0

    def wait(self, seconds: float) -> None:
        self.time += seconds
        self.ticks += seconds

    def worker(self, ahead: float = 0.0, store: Store | None = None, **options: Any) -> Worker:
        """A worker whose clock is so many seconds ahead."""
        return Worker(self, ahead, store or self.store, **options)

    @property
    def log(self) -> Log:
        assert isinstance(self.store, Log)
        return self.store


class Tokens(Clock):
    """Tokens by the clock of one worker."""

    def __init__(self, settings: Settings, told: Callable[[], float]) -> None:
        self._told = told
        super().__init__(settings)

    def now(self) -> float:
        return self._told()


class Worker:
    """A process: its tokens, and its copy of what was ended."""

    def __init__(self, world: World, ahead: float, store: Store, **options: Any) -> None:
        self._world, self._ahead = world, ahead
        self.settings = Settings(token_key=KEY, **options)
        self.tokens = Tokens(self.settings, self.now)
        self.revocations = Revocations(self.settings, store, self.now, lambda: world.ticks)
        self.tokens.ended_until = self.revocations.ended_until

    def now(self) -> float:
        return self._world.time + self._ahead

    def log_in(self, uid: int | str = 12) -> Identity:
        """Begin a session, after a look at what was ended, as a login does."""
        self.revocations.catch_up()
        return self.verified(self.tokens.create(uid))

    def named(self, **changes: Any) -> Identity:
        """A session by a token made by hand."""
        return self.verified(forge(claims(**changes)))

    def verified(self, token: str) -> Identity:
        return self.tokens.verify(token, self.now())

    def renewed(self, identity: Identity) -> Identity:
        """The session with its next token, which must be a new one."""
        token = self.tokens.refresh(identity.token)
        assert token != identity.token
        return self.verified(token)

    def says(self, identity: Identity) -> str | None:
        return self.revocations.refusal(identity)

    def ends(self, identity: Identity) -> None:
        self.revocations.end_session(identity)

    def ends_all(self, identity: Identity) -> None:
        self.revocations.end_all_of(identity)

    def heals(self) -> None:
        """Look at the store, and wait until it has been told what it had lost."""
        self.revocations.catch_up()
        teller = self.revocations._teller
        if teller is not None:
            teller.join(DEADLINE)
        assert self.revocations._teller is None

    @property
    def entries(self) -> int:
        """How many entries are held."""
        return sum(len(each.sessions) + len(each.uids) for each in self.revocations._ended.values())


def foreign(**changes: Any) -> Identity:
    """A session of another issuer, whose uids are ours."""
    rules = IssuerRules(
        issuer=ISSUER, audience="us", uid_claim="uid", uid_prefix="", max_token_min=60, leeway_sec=0
    )
    found = claims(iss=ISSUER, aud="us", **changes)
    return Identity("token", found, ForeignRules(rules, [rules]).facts(found), Key.secret(KEY), KEYS)


def sessions(many: int, expires: float = NOW + 600) -> list[Revocation]:
    return [Revocation("", SID, f"other{number}", NOW, expires) for number in range(many)]


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def worker(world: World) -> Worker:
    return world.worker()


@pytest.fixture
def _telling_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.revocations._TELLING_SEC", 0)
    monkeypatch.setattr("gateway.revocations._HURRYING_SEC", 0)


@pytest.fixture
def telling(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Let nobody tell the store anything before this is set."""
    gate = threading.Event()
    monkeypatch.setattr("gateway.revocations.time.sleep", lambda seconds: gate.wait(DEADLINE))
    yield gate
    gate.set()


# One session

NAMES = [
    pytest.param({"sid": "s", "jti": ...}, id="sid"),
    pytest.param({"sid": ..., "jti": "j"}, id="jti"),
    pytest.param({"sid": "s", "jti": "j"}, id="both"),
    pytest.param({"sid": "", "jti": "j"}, id="an empty sid"),
]


def test_a_session_that_was_never_ended_lives(worker: Worker) -> None:
    assert worker.says(worker.log_in()) is None


@pytest.mark.parametrize("names", NAMES)
def test_a_session_that_was_ended_is_refused(names: dict[str, Any], worker: Worker) -> None:
    session = worker.named(**names)
    worker.ends(session)
    assert worker.says(session) == REVOKED


@pytest.mark.parametrize("names", NAMES)
def test_another_session_of_the_same_uid_lives(names: dict[str, Any], worker: Worker) -> None:
    worker.ends(worker.named(**names))
    assert worker.says(worker.log_in()) is None


def test_ending_a_session_that_has_no_name_is_a_fault_of_the_caller(worker: Worker) -> None:
    with pytest.raises(ValueError, match="names no session"):
        worker.ends(worker.named(sid=...))


@pytest.mark.parametrize(
    ("ended", "lives"),
    [
        pytest.param({"sid": "x"}, {"sid": ..., "jti": "x"}, id="sid"),
        pytest.param({"sid": ..., "jti": "x"}, {"sid": "x"}, id="jti"),
        pytest.param({"sid": ..., "jti": "sid"}, {"sid": "sid"}, id="the word sid"),
        pytest.param({"sid": ..., "jti": "x"}, {"sid": "jti", "jti": "x"}, id="a jti beside a sid"),
        pytest.param({"sid": "x"}, {"sid": "X"}, id="another case"),
        pytest.param({"sid": "12"}, {"sid": "other", "uid": 12}, id="the uid"),
    ],
)
def test_a_name_ends_nothing_else_that_is_called_so(
    ended: dict[str, Any], lives: dict[str, Any], worker: Worker
) -> None:
    worker.ends(worker.named(**ended))
    assert worker.says(worker.named(**lives)) is None


@pytest.mark.parametrize("names", NAMES)
@pytest.mark.parametrize("first", ["renewed", "ended"])
def test_a_renewal_does_not_revive_a_session(first: str, names: dict[str, Any], world: World) -> None:
    worker, other = world.worker(), world.worker()
    session = worker.named(**names)
    if first == "ended":
        worker.ends(session)
    world.wait(20 * MINUTE)
    renewed = other.renewed(session)
    if first == "renewed":
        worker.ends(session)
    assert [each.says(renewed) for each in (worker, other)] == [REVOKED, REVOKED]


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        pytest.param(SID, {"sid": "x"}, id="sid"),
        pytest.param(JTI, {"sid": ..., "jti": "x"}, id="jti"),
        pytest.param(UID, {"uid": "x"}, id="uid"),
    ],
)
def test_a_session_can_be_ended_by_its_name_alone(kind: str, names: dict[str, Any], worker: Worker) -> None:
    worker.revocations.end_named(None, kind, "x")
    assert worker.says(worker.named(**names)) == REVOKED


def test_what_could_not_be_kept_is_no_end(world: World, worker: Worker) -> None:
    session = worker.log_in()
    world.log.down = True
    for end in (worker.ends, worker.ends_all):
        with pytest.raises(StateUnavailableError):
            end(session)
    assert worker.says(session) is None


# All sessions of somebody


def test_every_session_that_has_begun_is_refused(world: World, worker: Worker) -> None:
    found = []
    for _ in range(3):
        found.append(worker.log_in())
        world.wait(5)
    worker.ends_all(found[1])
    assert [worker.says(each) for each in found] == [REVOKED] * 3


def test_a_session_of_somebody_else_lives(worker: Worker) -> None:
    worker.ends_all(worker.log_in(12))
    assert [worker.says(worker.named(uid=uid, sid="other")) for uid in (1, 121, "ann")] == [None] * 3


def test_a_uid_is_one_whether_it_is_a_number_or_text(worker: Worker) -> None:
    worker.ends_all(worker.named(uid=12, sid="one"))
    assert worker.says(worker.named(uid="12", sid="other")) == REVOKED


def test_a_session_begun_later_lives(world: World, worker: Worker) -> None:
    worker.ends_all(worker.log_in())
    world.wait(0.000_01)
    assert worker.says(worker.log_in()) is None


def test_a_session_begun_at_the_same_moment_and_before_is_refused(worker: Worker) -> None:
    first, second = worker.log_in(), worker.log_in()
    worker.ends_all(first)
    assert worker.says(second) == REVOKED


def test_a_session_begun_at_the_same_moment_and_after_lives(worker: Worker) -> None:
    worker.ends_all(worker.log_in())
    assert worker.says(worker.log_in()) is None


def test_all_can_be_ended_at_the_same_moment_again_and_again(worker: Worker) -> None:
    sessions = []
    for _ in range(50):
        sessions.append(worker.log_in())
        assert worker.says(sessions[-1]) is None
        worker.ends_all(sessions[-1])
    assert {worker.says(each) for each in sessions} == {REVOKED}
    assert worker.says(worker.log_in()) is None


def test_a_login_by_another_worker_at_the_same_moment_lives(world: World) -> None:
    one, other = world.worker(), world.worker()
    one.ends_all(one.log_in())
    session = other.log_in()
    world.wait(SYNC)
    assert [each.says(session) for each in (one, other)] == [None, None]


def test_all_can_be_ended_by_another_worker_at_the_same_moment(world: World) -> None:
    one, other = world.worker(), world.worker()
    one.ends_all(one.log_in())
    session = other.log_in()
    other.ends_all(session)
    world.wait(SYNC)
    assert [each.says(session) for each in (one, other)] == [REVOKED, REVOKED]


def test_a_session_goes_by_its_beginning_and_not_by_its_iat(worker: Worker) -> None:
    worker.revocations.end_named(None, UID, "12")
    assert worker.says(worker.named(auth_time=NOW - 5, iat=NOW + 5)) == REVOKED
    assert worker.says(worker.named(auth_time=NOW + 5, iat=NOW - 5)) is None


@pytest.mark.parametrize(("iat", "code"), [(NOW, REVOKED), (NOW + 0.001, None)])
def test_a_session_without_auth_time_goes_by_its_iat(iat: float, code: str | None, worker: Worker) -> None:
    worker.revocations.end_named(None, UID, "12")
    assert worker.says(worker.named(auth_time=..., iat=iat)) == code


def test_a_session_without_auth_time_is_not_revived_by_a_renewal(world: World, worker: Worker) -> None:
    session = worker.named(auth_time=...)
    worker.ends_all(worker.log_in())
    world.wait(20 * MINUTE)
    assert worker.says(worker.renewed(session)) == REVOKED


def test_a_session_that_tells_no_beginning_began_before(world: World, worker: Worker) -> None:
    worker.ends_all(worker.log_in())
    world.wait(MINUTE)
    assert worker.says(worker.named(auth_time=..., iat=..., sid="new")) == REVOKED


def test_a_session_that_tells_no_beginning_lives_until_something_is_ended(worker: Worker) -> None:
    assert worker.says(worker.named(auth_time=..., iat=...)) is None


@pytest.mark.parametrize("ahead", [0.0, 0.000_000_4, 1.0, 9.75, 10.0])
@pytest.mark.parametrize(
    "names",
    [
        pytest.param({"sid": "s"}, id="sid"),
        pytest.param({"sid": ..., "jti": "j"}, id="jti"),
        pytest.param({"sid": ...}, id="no name"),
    ],
)
def test_the_session_of_who_ends_all_is_ended_itself(
    names: dict[str, Any], ahead: float, worker: Worker
) -> None:
    own = worker.named(auth_time=NOW + ahead, **names)
    worker.ends_all(own)
    assert worker.says(own) == REVOKED


def test_a_session_without_a_name_is_ended_to_the_last_digit_of_its_beginning(worker: Worker) -> None:
    began = NOW + 5.000_000_4
    assert round(began, 6) < began
    own = worker.named(auth_time=began, sid=...)
    worker.ends_all(own)
    assert worker.says(own) == REVOKED


def test_a_renewal_of_the_session_of_who_ends_all_is_refused(world: World, worker: Worker) -> None:
    own = worker.named(auth_time=NOW + 5)
    worker.ends_all(own)
    world.wait(20 * MINUTE)
    assert worker.says(worker.renewed(own)) == REVOKED


def test_nothing_was_ended_of_somebody_who_never_ended_anything(worker: Worker) -> None:
    worker.ends(worker.log_in())
    assert worker.revocations.ended_until("12") == float("-inf")


def test_until_when_all_was_ended_is_known(worker: Worker) -> None:
    worker.ends_all(worker.log_in())
    assert worker.revocations.ended_until("12") == NOW


def test_a_clock_put_back_does_not_take_back_what_was_ended(world: World, worker: Worker) -> None:
    session = worker.log_in()
    worker.ends_all(session)
    world.time -= 5
    worker.revocations.end_named(None, UID, "12")
    assert worker.says(session) == REVOKED


# Clocks that differ

AHEAD = [0.0, 0.5, 1.0, 5.0, 9.75]


@pytest.mark.parametrize("ahead", AHEAD)
def test_a_login_on_a_machine_behind_lives(ahead: float, world: World) -> None:
    fast, slow = world.worker(ahead), world.worker()
    fast.ends_all(fast.log_in())
    session = slow.log_in()
    world.wait(SYNC)
    assert [each.says(session) for each in (fast, slow)] == [None, None]


@pytest.mark.parametrize("ahead", AHEAD)
def test_a_login_on_a_machine_ahead_lives(ahead: float, world: World) -> None:
    fast, slow = world.worker(ahead), world.worker()
    slow.ends_all(slow.log_in())
    session = fast.log_in()
    world.wait(SYNC)
    assert [each.says(session) for each in (fast, slow)] == [None, None]


@pytest.mark.parametrize("ahead", AHEAD)
@pytest.mark.parametrize("ending", ["the one ahead", "the one behind"])
def test_a_login_after_another_end_on_a_machine_behind_can_be_ended(
    ending: str, ahead: float, world: World
) -> None:
    fast, slow = world.worker(ahead), world.worker()
    fast.ends_all(fast.log_in())
    session = slow.log_in()
    (fast if ending == "the one ahead" else slow).revocations.end_named(None, UID, "12")
    world.wait(SYNC)
    assert [each.says(session) for each in (fast, slow)] == [REVOKED, REVOKED]


@pytest.mark.parametrize("ahead", AHEAD)
def test_a_session_begun_ahead_is_ended_once_it_is_as_old_as_the_clocks_differ(
    ahead: float, world: World
) -> None:
    fast, slow = world.worker(ahead), world.worker()
    session = fast.log_in()
    world.wait(ahead)
    slow.revocations.end_named(None, UID, "12")
    world.wait(SYNC)
    assert [each.says(session) for each in (fast, slow)] == [REVOKED, REVOKED]


def test_an_end_far_ahead_is_not_believed_by_a_login(world: World) -> None:
    fast, slow = world.worker(60.0), world.worker()
    fast.ends_all(fast.log_in())
    session = slow.log_in()
    assert session.began == NOW
    assert slow.says(session) == REVOKED


# Issuers


@pytest.mark.parametrize("names", [{"sid": "s"}, {"sid": ..., "jti": "s"}], ids=["sid", "jti"])
def test_the_end_of_an_issuers_session_is_not_that_of_ours(names: dict[str, Any], worker: Worker) -> None:
    worker.ends(foreign(**names))
    assert worker.says(foreign(**names)) == REVOKED
    assert worker.says(worker.named(**names)) is None


@pytest.mark.parametrize("names", [{"sid": "s"}, {"sid": ..., "jti": "s"}], ids=["sid", "jti"])
def test_the_end_of_our_session_is_not_that_of_an_issuers(names: dict[str, Any], worker: Worker) -> None:
    worker.ends(worker.named(**names))
    assert worker.says(foreign(**names)) is None


def test_the_end_of_all_of_an_issuers_uid_is_not_that_of_ours(worker: Worker) -> None:
    worker.ends_all(foreign(sid="one"))
    assert worker.says(foreign(sid="other")) == REVOKED
    assert worker.says(worker.named()) is None
    assert worker.revocations.ended_until("12") == float("-inf")
    assert worker.revocations.ended_until("12", ISSUER) == NOW


def test_the_end_of_all_of_our_uid_is_not_that_of_an_issuers(worker: Worker) -> None:
    worker.ends_all(worker.named())
    assert worker.says(foreign()) is None


def test_the_end_of_an_issuers_session_is_heard_of_by_another_worker(world: World) -> None:
    one, other = world.worker(), world.worker()
    one.revocations.end_named(ISSUER, SID, "s")
    assert other.says(foreign()) == REVOKED
    assert other.says(other.named()) is None


# Every request


def test_every_request_is_checked_also_one_with_a_known_token(world: World) -> None:
    one, other = world.worker(), world.worker()
    judge = Authenticator(one.settings, one.tokens, one.revocations)
    token = f"Bearer {one.log_in().token}"
    assert [isinstance(judge.authenticate("GET", "/", token, "12"), Identity) for _ in range(2)] == [True] * 2
    other.ends(other.verified(token.removeprefix("Bearer ")))
    world.wait(SYNC)
    refused = judge.authenticate("GET", "/", token, "12")
    assert isinstance(refused, Rejection)
    assert refused == judge._rejections[REVOKED]


def test_one_request_reads_for_all_of_a_second(world: World, worker: Worker) -> None:
    session = worker.log_in()
    world.wait(SYNC)
    world.log.reads.clear()
    for _ in range(1000):
        worker.says(session)
        world.wait(SYNC / 1024)
    assert len(world.log.reads) == 1


def test_in_steady_state_only_what_is_new_is_read(world: World, worker: Worker) -> None:
    world.log.append(sessions(100), NOW)
    session = worker.log_in()
    for _ in range(3):
        world.wait(SYNC)
        world.log.append(sessions(2), NOW)
        worker.says(session)
    assert world.log.reads == [100, 2, 2, 2]


def test_one_query_asks_for_no_more_than_there_may_be(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.revocations.MOST_READ", 7)
    worker = world.worker()
    world.log.append(sessions(30), NOW)
    worker.log_in()
    worker.says(worker.named())
    assert max(world.log.reads) <= 7


# Workers


@pytest.mark.parametrize("store", [Log, MemoryStore])
@pytest.mark.parametrize("end", ["ends", "ends_all"])
def test_another_worker_hears_within_the_second(end: str, store: Callable[[], Store]) -> None:
    world = World(store())
    one, other = world.worker(), world.worker()
    session = one.log_in()
    other.says(session)  # which reads at the very moment before
    getattr(one, end)(session)
    world.wait(SYNC)
    assert other.says(session) == REVOKED


@pytest.mark.parametrize("store", [Log, MemoryStore])
def test_a_worker_that_starts_later_knows_all(store: Callable[[], Store]) -> None:
    world = World(store())
    one = world.worker()
    session = one.log_in()
    one.ends(session)
    assert world.worker().says(session) == REVOKED


def test_with_a_sync_of_zero_another_worker_hears_at_once(world: World) -> None:
    one, other = (world.worker(state_sync_sec=0) for _ in range(2))
    session = one.log_in()
    assert other.says(session) is None
    one.ends(session)
    assert other.says(session) == REVOKED


@pytest.mark.parametrize("store", [Log, MemoryStore])
def test_more_than_one_query_returns_are_all_heard_of_at_once(
    store: Callable[[], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.revocations.MOST_READ", 3)
    world = World(store())
    one, other = world.worker(), world.worker()
    other.log_in()
    found = [one.named(sid=str(number)) for number in range(20)]
    for session in found:
        one.ends(session)
    world.wait(SYNC)
    assert {other.says(session) for session in found} == {REVOKED}


def test_more_than_can_be_read_in_time_are_no_full_copy(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.revocations.MOST_READ", 1)
    world.log.append(sessions(20), NOW)
    worker = world.worker()
    slow = worker.revocations._read

    def read() -> bool:
        world.wait(0.125)
        return slow()

    monkeypatch.setattr(worker.revocations, "_read", read)
    session = worker.named()
    codes = [worker.says(session) for _ in range(6)]
    assert codes == [UNAVAILABLE] * 4 + [None] * 2  # four reads a request, of which it has half a second
    assert worker.entries == 20


def test_starting_reads_all(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.revocations.MOST_READ", 3)
    world.log.append(sessions(100), NOW)
    worker = world.worker()
    worker.revocations.start()
    assert worker.entries == 100
    reads = len(world.log.reads)
    assert worker.says(worker.named()) is None
    assert len(world.log.reads) == reads


# A store that cannot be asked


def test_a_start_without_a_store_is_no_error_and_lets_nobody_pass(world: World, worker: Worker) -> None:
    world.log.down = True
    worker.revocations.start()
    assert worker.says(worker.named()) == UNAVAILABLE
    assert not worker.revocations.is_up


def test_a_start_without_a_store_is_made_up_for(world: World, worker: Worker) -> None:
    session = worker.named()
    world.worker().ends(session)
    world.log.down = True
    worker.revocations.start()
    world.log.down = False
    assert worker.says(session) == REVOKED
    assert worker.says(worker.log_in()) is None
    assert worker.revocations.is_up


def test_a_start_that_fails_midway_is_made_up_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.revocations.MOST_READ", 3)
    world.log.append(sessions(10), NOW)
    worker, read = world.worker(), world.log.read

    def once(position: Hashable | None, limit: int) -> Batch:
        world.log.down = position is not None
        return read(position, limit)

    monkeypatch.setattr(world.log, "read", once)
    worker.revocations.start()
    assert worker.says(worker.named()) == UNAVAILABLE
    monkeypatch.setattr(world.log, "read", read)
    world.log.down = False
    assert worker.says(worker.named()) is None
    assert worker.entries == 10


@pytest.mark.parametrize(
    ("age", "code"),
    [(0.0, None), (SYNC, None), (STALE - 0.125, None), (STALE, UNAVAILABLE), (3600.0, UNAVAILABLE)],
)
def test_the_copy_is_believed_until_it_is_too_old(age: float, code: str | None, world: World) -> None:
    worker = world.worker()
    session = worker.log_in()
    assert worker.says(session) is None
    world.log.down = True
    world.wait(age)
    assert worker.says(session) == code


def test_what_is_known_to_be_ended_is_refused_however_old_the_copy_is(world: World, worker: Worker) -> None:
    session = worker.log_in()
    worker.ends(session)
    worker.says(session)
    world.log.down = True
    world.wait(3600)
    assert worker.says(session) == REVOKED


@pytest.mark.parametrize("age", [0.0, STALE, 3600.0])
def test_an_open_gateway_goes_on_with_what_it_knows(age: float, world: World) -> None:
    worker = world.worker(state_fail_open=True)
    ended, other = worker.log_in(), worker.log_in()
    worker.ends(ended)
    world.log.down = True
    world.wait(age)
    assert [worker.says(each) for each in (ended, other)] == [REVOKED, None]


def test_an_open_gateway_that_has_never_heard_of_anything_lets_pass(world: World) -> None:
    world.log.down = True
    worker = world.worker(state_fail_open=True)
    worker.revocations.start()
    assert worker.says(worker.named()) is None


def test_an_open_gateway_is_not_up_while_the_store_is_down(world: World) -> None:
    worker = world.worker(state_fail_open=True)
    assert worker.revocations.is_up
    world.log.down = True
    world.wait(SYNC)
    assert not worker.revocations.is_up


def test_an_open_gateway_hears_again_when_the_store_is_back(world: World) -> None:
    one, other = (world.worker(state_fail_open=True) for _ in range(2))
    session = one.log_in()
    world.log.down = True
    world.wait(3600)
    assert other.says(session) is None
    world.log.down = False
    one.ends(session)
    assert other.says(session) == REVOKED


def test_a_store_that_is_back_is_asked_again_by_itself(world: World) -> None:
    one, other = world.worker(), world.worker()
    session, lives = one.log_in(), one.log_in()
    other.says(session)
    world.log.down = True
    world.wait(STALE)
    assert other.says(session) == UNAVAILABLE
    world.log.down = False
    one.ends(session)
    assert [other.says(each) for each in (session, lives)] == [REVOKED, None]


def bounded(world: World, timeout: float = DEADLINE, pause: float = SYNC) -> BoundedStore:
    """The store behind its breakers, by the clock of the test."""
    return BoundedStore(world.store, timeout, pause, STALE, monotonic=lambda: world.ticks)


@pytest.mark.parametrize(
    ("sync", "timeout"),
    [pytest.param(1.0, 0.5, id="as by default"), pytest.param(0.25, 0.5, id="a timeout over the sync")],
)
def test_a_dead_store_is_not_asked_by_every_request(
    sync: float, timeout: float, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"state_sync_sec": sync, "state_timeout_sec": timeout}
    worker, asked = world.worker(store=bounded(world, timeout, sync), **options), []

    def hang(limit: float, call: Callable[[], Any]) -> NoReturn:
        asked.append(world.ticks)
        world.wait(limit)
        raise TimeoutError

    session = worker.named()
    assert worker.says(session) is None
    world.wait(sync)
    monkeypatch.setattr("gateway.breaker.within", hang)
    for _ in range(100):
        worker.says(session)
    assert len(asked) == 1


def test_a_store_that_stays_dead_is_asked_less_and_less(world: World) -> None:
    worker = world.worker(store=bounded(world), state_fail_open=True)
    session = worker.log_in()
    world.log.down = True
    asked = []
    for _ in range(600):
        world.wait(0.125)
        world.log.asked.clear()
        worker.says(session)
        if world.log.asked.is_set():
            asked.append(world.ticks)
    pauses = [later - sooner for sooner, later in itertools.pairwise(asked)]
    assert (pauses[0], pauses[-1]) == (1.0, 5.0)
    assert pauses == sorted(pauses)


# Threads


class Hanging:
    """A worker of several threads, by the real clock, whose store hangs."""

    def __init__(self, timeout: float, sync: float) -> None:
        self.log = Log()
        settings = Settings(
            token_key=KEY, state_timeout_sec=timeout, state_sync_sec=sync, state_max_stale_sec=DEADLINE * 10
        )
        store = BoundedStore(self.log, timeout, sync, DEADLINE)
        self.tokens = Clock(settings)
        self.revocations = Revocations(settings, store, self.tokens.now)
        self.session = self.tokens.verify(self.tokens.create(12), NOW)
        self.log.gate = threading.Event()
        self.codes: list[str | None] = []
        self.waits: list[float] = []
        self.timeout = timeout

    def ask(self, many: int, call: Callable[[], object] | None = None) -> None:
        """Make requests in as many threads."""

        def request() -> None:
            began = time.monotonic()
            if call is None:
                self.codes.append(self.revocations.refusal(self.session))
            else:
                call()
            self.waits.append(time.monotonic() - began)

        threads = [threading.Thread(target=request) for _ in range(many)]
        for thread in threads:
            thread.start()
            thread.join(min(self.timeout, 0.4) / 8)  # the first asks well before the others come
        for thread in threads:
            thread.join(DEADLINE)
            assert not thread.is_alive()


@pytest.fixture
def hanging(request: pytest.FixtureRequest) -> Iterator[Hanging]:
    """A store that hangs; its calls have ended after the test."""
    timeout, sync = getattr(request, "param", (0.4, 60.0))
    made = Hanging(timeout, sync)
    yield made
    assert made.log.gate is not None
    made.log.gate.set()
    for thread in threading.enumerate():
        if thread.name == "store":
            thread.join(DEADLINE)


SETTINGS = [
    pytest.param((0.4, 60.0), id="as by default"),
    pytest.param((0.4, 0.1), id="a timeout over the sync"),
]


@pytest.mark.parametrize("hanging", SETTINGS, indirect=True)
def test_nobody_waits_longer_than_the_timeout_for_a_store_that_begins_to_hang(hanging: Hanging) -> None:
    hanging.ask(6)
    assert hanging.codes == [UNAVAILABLE] * 6
    assert max(hanging.waits) < 1.75 * hanging.timeout


@pytest.mark.parametrize("hanging", SETTINGS, indirect=True)
def test_no_login_waits_longer_than_the_timeout_for_a_store_that_begins_to_hang(hanging: Hanging) -> None:
    hanging.ask(6, hanging.revocations.catch_up)
    assert max(hanging.waits) < 1.75 * hanging.timeout


def test_who_ends_a_session_waits_no_longer_than_the_timeout(hanging: Hanging) -> None:
    def end() -> None:
        with sharing(hanging.timeout):
            hanging.revocations.refusal(hanging.session)
            with pytest.raises(StateUnavailableError):
                hanging.revocations.end_session(hanging.session)

    hanging.ask(4, end)
    assert max(hanging.waits) < 1.75 * hanging.timeout


def test_once_the_store_is_known_to_hang_nobody_waits(hanging: Hanging) -> None:
    hanging.revocations.refusal(hanging.session)
    hanging.waits.clear()
    hanging.ask(6)
    assert max(hanging.waits) < hanging.timeout / 2


@pytest.mark.parametrize("hanging", [pytest.param((0.5, 0.1), id="-")], indirect=True)
def test_while_one_finds_out_nobody_else_waits(hanging: Hanging) -> None:
    hanging.revocations.refusal(hanging.session)
    hanging.log.asked.clear()
    probe = threading.Thread(target=hanging.ask, args=[1])
    while not hanging.log.asked.is_set():  # it asks when the pause is over
        hanging.revocations._store._reading._retry_at = 0.0  # type: ignore[attr-defined]
        if not probe.ident:
            probe.start()
    began = time.monotonic()
    code = hanging.revocations.refusal(hanging.session)
    waited = time.monotonic() - began
    probe.join(DEADLINE)
    assert code == UNAVAILABLE
    assert waited < hanging.timeout / 2


def test_many_requests_at_once_read_once() -> None:
    healthy = Hanging(DEADLINE, 60.0)
    assert healthy.log.gate is not None
    healthy.log.gate.set()
    healthy.ask(8)
    assert healthy.codes == [None] * 8
    assert len(healthy.log.reads) == 1


# Memory


def test_an_entry_lives_as_long_as_what_it_ends_can(world: World, worker: Worker) -> None:
    session = worker.log_in()
    worker.ends_all(session)
    world.wait(LIFE - 1)
    assert worker.says(session) == REVOKED


@pytest.mark.parametrize("ahead", [-10.0, 0.0, 10.0])
def test_no_session_outlives_the_entry_that_ends_it(ahead: float, world: World) -> None:
    one, other = world.worker(), world.worker(ahead)
    session = one.named(auth_time=NOW + 10, exp=NOW + 10 + 30 * MINUTE)
    one.ends(session)
    other.says(session)
    while session.is_good(other.now()):
        assert other.says(session) == REVOKED
        world.wait(10 * MINUTE)
        if now_due(other, session):
            session = other.renewed(session)


def now_due(worker: Worker, session: Identity) -> bool:
    """Whether the session's next token is a new one."""
    return session.is_good(worker.now()) and worker.tokens.refresh(session.token) != session.token


@pytest.mark.parametrize("end", ["ends", "ends_all"])
def test_an_entry_is_forgotten_after_that(end: str, world: World, worker: Worker) -> None:
    session = worker.log_in()
    getattr(worker, end)(session)
    assert worker.entries > 0
    world.wait(LIFE + 1)
    worker.says(session)
    assert worker.entries == 0
    assert worker.revocations.ended_until("12") == float("-inf")


def test_what_was_ended_again_is_kept_for_as_long_as_the_last_end_says(world: World, worker: Worker) -> None:
    worker.revocations.end_named(None, UID, "12")
    world.wait(LIFE / 2)
    session = worker.log_in()
    worker.revocations.end_named(None, UID, "12")
    world.wait(LIFE - 1)
    assert worker.says(session) == REVOKED


def test_the_lives_of_sessions_are_as_the_settings_say(world: World) -> None:
    worker = world.worker(max_session_min=60, leeway_sec=30)
    assert worker.revocations.life(None) == 60 * MINUTE + 30 + CLOCK_SKEW_SEC


def test_an_unknown_issuers_sessions_are_kept_as_long_as_the_longest(worker: Worker) -> None:
    assert worker.revocations.life("gone") == LIFE


def test_an_entry_out_of_order_is_not_forgotten_before_its_time(world: World, worker: Worker) -> None:
    for sid, seconds in [("late", 100), ("early", 10), ("later", 200)]:
        world.log.append([Revocation("", SID, sid, NOW, NOW + seconds)], NOW)
    found = {sid: worker.named(sid=sid) for sid in ("late", "early", "later")}
    assert [worker.says(found[sid]) for sid in found] == [REVOKED] * 3
    world.wait(50)
    assert [worker.says(found[sid]) for sid in ("late", "later")] == [REVOKED] * 2
    world.wait(100)
    assert worker.says(found["later"]) == REVOKED


def test_entries_out_of_order_are_all_forgotten_in_the_end(world: World, worker: Worker) -> None:
    for sid, seconds in [("late", 100), ("early", 10), ("later", 200)]:
        world.log.append([Revocation("", SID, sid, NOW, NOW + seconds)], NOW)
    worker.says(worker.named())
    world.wait(200)
    worker.says(worker.named())
    assert worker.entries == 0


def test_what_has_expired_gives_its_memory_back(world: World, worker: Worker) -> None:
    def used() -> int:
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    worker.says(worker.named())
    tracemalloc.start()
    try:
        before = used()
        world.log.append(sessions(4000), NOW)
        world.log.append([Revocation("", UID, f"u{each}", NOW, NOW + 600) for each in range(4000)], NOW)
        world.wait(SYNC)
        worker.revocations.start()
        del world.log.entries[:-1]  # which were read
        world.log.appended.clear()
        held = used() - before
        world.wait(600)
        worker.says(worker.named())
        left = used() - before
    finally:
        tracemalloc.stop()
    assert worker.entries == 0
    assert held > 500_000
    assert left < held / 2  # the empty tables, which shrink when next they grow


def test_more_than_are_forgotten_at_once_are_forgotten_in_turns(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.revocations._MOST_FORGOTTEN", 10)
    worker = world.worker()
    world.log.append(sessions(25), NOW)
    worker.says(worker.named())
    world.wait(600)
    held = []
    for _ in range(4):
        world.wait(SYNC)
        worker.says(worker.named())
        held.append(worker.entries)
    assert held == [15, 5, 0, 0]


# A store that forgets

LOSSES = [pytest.param(None, id="all"), pytest.param(1, id="the last"), pytest.param(2, id="the last two")]


def ended_sessions(worker: Worker) -> list[Identity]:
    """Sessions that a worker has ended in each way."""
    found = [worker.named(sid="a"), worker.named(sid=..., jti="b"), worker.named(uid=13, sid="c")]
    worker.ends(found[0])
    worker.ends(found[1])
    worker.revocations.end_named(None, UID, "13")
    return found


@pytest.mark.usefixtures("_telling_at_once")
@pytest.mark.parametrize("many", LOSSES)
def test_what_the_store_forgets_is_still_refused(many: int | None, world: World, worker: Worker) -> None:
    found = ended_sessions(worker)
    worker.revocations.catch_up()
    world.log.lose(many)
    world.wait(SYNC)
    worker.heals()
    assert {worker.says(session) for session in found} == {REVOKED}


@pytest.mark.usefixtures("_telling_at_once")
@pytest.mark.parametrize("many", LOSSES)
@pytest.mark.parametrize("heard", [True, False], ids=["heard of", "not heard of"])
def test_what_the_store_forgets_is_told_again(heard: bool, many: int | None, world: World) -> None:
    one = world.worker()
    found = ended_sessions(one)
    if heard:
        one.revocations.catch_up()
    world.log.lose(many)
    world.wait(SYNC)
    one.heals()
    other = world.worker()
    assert {other.says(session) for session in found} == {REVOKED}


@pytest.mark.usefixtures("_telling_at_once")
def test_what_the_store_forgot_before_anything_was_read_is_told_again(world: World, worker: Worker) -> None:
    session = worker.named()
    worker.says(session)  # of an empty store, which has no place to read on from
    worker.ends(session)
    world.log.lose()
    world.wait(SYNC)
    worker.heals()
    assert world.worker().says(session) == REVOKED


@pytest.mark.usefixtures("_telling_at_once")
def test_others_entries_are_told_again_as_well(world: World) -> None:
    one, other = world.worker(), world.worker()
    found = ended_sessions(one)
    other.says(found[0])
    world.log.lose()
    world.wait(SYNC)
    other.heals()
    assert {world.worker().says(session) for session in found} == {REVOKED}


@pytest.mark.usefixtures("_telling_at_once")
def test_what_is_told_again_expires_when_it_would_have(world: World, worker: Worker) -> None:
    ended_sessions(worker)
    worker.revocations.catch_up()
    before = {each.value: each.expires for _, each in world.log.entries}
    world.log.lose()
    world.wait(MINUTE)
    worker.heals()
    assert {each.value: each.expires for _, each in world.log.entries} == before


@pytest.mark.usefixtures("_telling_at_once")
def test_only_what_is_lost_is_told_again(world: World, worker: Worker) -> None:
    ended_sessions(worker)
    worker.revocations.catch_up()
    world.log.lose(1)
    world.log.appended.clear()
    world.wait(SYNC)
    worker.heals()
    assert [each.value for part in world.log.appended for each in part] == ["13"]


@pytest.mark.usefixtures("_telling_at_once")
def test_what_has_expired_meanwhile_is_not_told_again(world: World, worker: Worker) -> None:
    worker.ends(worker.named(sid="old"))
    world.wait(LIFE - 5)
    worker.ends(worker.named(sid="new", auth_time=NOW + LIFE - 5, iat=NOW + LIFE - 5, exp=NOW + LIFE + 600))
    worker.revocations.catch_up()
    world.log.lose()
    world.log.appended.clear()
    world.wait(10)
    worker.heals()
    assert [each.value for part in world.log.appended for each in part] == ["new"]


@pytest.mark.usefixtures("_telling_at_once")
def test_what_others_told_meanwhile_is_not_told_again(world: World) -> None:
    one, other = world.worker(), world.worker()
    found = ended_sessions(one)
    for each in (one, other):
        each.revocations.catch_up()
    world.log.lose()
    world.wait(SYNC)
    one.heals()
    world.log.appended.clear()
    other.heals()
    assert world.log.appended == []
    assert {each.says(session) for session in found for each in (one, other)} == {REVOKED}


@pytest.mark.usefixtures("_telling_at_once")
@pytest.mark.parametrize("seen", [True, False], ids=["seen in the store", "not seen there yet"])
def test_a_moment_later_than_the_stores_is_told_again(seen: bool, world: World, worker: Worker) -> None:
    worker.revocations.end_named(None, UID, "12")
    world.wait(MINUTE)
    session = worker.log_in()
    worker.revocations.end_named(None, UID, "12")
    if seen:
        worker.revocations.catch_up()
    world.log.lose(1)
    world.wait(SYNC)
    worker.heals()
    assert world.worker().says(session) == REVOKED


@pytest.mark.usefixtures("_telling_at_once")
def test_a_later_moment_that_another_told_before_this_was_read_is_told_again(world: World) -> None:
    one, other = world.worker(), world.worker()
    other.revocations.end_named(None, UID, "12")
    world.wait(MINUTE)
    session = one.named(auth_time=world.time)
    one.revocations.end_named(None, UID, "12")
    world.log.lose(1)
    world.wait(SYNC)
    one.heals()
    assert world.worker().says(session) == REVOKED


@pytest.mark.usefixtures("_telling_at_once")
def test_an_earlier_moment_than_the_stores_is_not_told_again(world: World) -> None:
    one, other = world.worker(), world.worker()
    one.revocations.end_named(None, UID, "12")
    one.revocations.catch_up()
    world.log.lose()
    world.wait(SYNC / 2)
    other.revocations.end_named(None, UID, "12")
    world.log.appended.clear()
    world.wait(SYNC)
    one.heals()
    assert world.log.appended == []


@pytest.mark.usefixtures("_telling_at_once")
def test_a_store_that_fails_meanwhile_is_told_when_it_is_back(world: World, worker: Worker) -> None:
    found = ended_sessions(worker)
    worker.revocations.catch_up()
    world.log.lose()
    world.log.failures = 5
    world.wait(SYNC)
    worker.heals()
    assert {world.worker().says(session) for session in found} == {REVOKED}


@pytest.mark.usefixtures("_telling_at_once")
def test_a_store_that_forgets_again_while_it_is_told_is_told_again(
    world: World, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = ended_sessions(worker)
    worker.revocations.catch_up()
    world.log.lose()

    def forget_once() -> None:
        world.log.after_append = lambda: None
        world.log.lose()
        worker.revocations.catch_up()

    world.log.after_append = forget_once
    world.wait(SYNC)
    worker.heals()
    world.wait(SYNC)
    worker.heals()
    assert {world.worker().says(session) for session in found} == {REVOKED}


@pytest.mark.usefixtures("_telling_at_once")
def test_a_store_that_forgets_right_after_it_was_told_is_told_again(world: World, worker: Worker) -> None:
    found = ended_sessions(worker)
    worker.revocations.catch_up()
    world.log.lose()

    def forget_once() -> None:
        world.log.after_append = lambda: None
        world.log.lose()

    world.log.after_append = forget_once
    world.wait(SYNC)
    worker.heals()
    world.wait(SYNC)
    worker.heals()
    assert {world.worker().says(session) for session in found} == {REVOKED}


@pytest.mark.usefixtures("_telling_at_once")
def test_what_is_read_while_it_is_appended_is_told_once(world: World, worker: Worker) -> None:
    session = worker.log_in()
    world.log.after_append = worker.revocations.catch_up
    worker.ends(session)
    for _ in range(2):
        world.wait(SYNC)
        worker.heals()
    assert len(world.log.appended) == 1


@pytest.mark.usefixtures("_telling_at_once")
def test_more_than_are_told_at_once_are_told_in_parts(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.revocations._MOST_TOLD", 10)
    world.log.append(sessions(25), NOW)
    worker = world.worker()
    worker.revocations.catch_up()
    world.log.lose()
    world.log.appended.clear()
    world.wait(SYNC)
    worker.heals()
    assert [len(part) for part in world.log.appended] == [10, 10, 5]
    assert len({each.value for part in world.log.appended for each in part}) == 25


def test_telling_a_part_takes_no_longer_the_more_is_lost(world: World) -> None:
    worker = world.worker()
    lost = {("", SID, each.value): each for each in sessions(200_000)}
    worker.revocations._lost = lost
    began = time.process_time()
    worker.revocations._tell_part()
    assert time.process_time() - began < 1.0


@pytest.mark.usefixtures("_telling_at_once")
def test_a_store_that_is_in_order_is_told_nothing(world: World) -> None:
    workers = [world.worker() for _ in range(3)]
    for worker in workers:
        ended_sessions(worker)
        world.wait(SYNC)
    world.log.appended.clear()
    for _ in range(3):
        for worker in workers:
            worker.heals()
        world.wait(SYNC)
    assert world.log.appended == []


def test_requests_do_not_wait_for_the_telling(world: World, worker: Worker, telling: threading.Event) -> None:
    found = ended_sessions(worker)
    worker.revocations.catch_up()
    world.log.lose()
    world.wait(SYNC)
    assert worker.says(found[0]) == REVOKED
    teller = worker.revocations._teller
    assert teller is not None
    assert teller.daemon
    assert world.log.entries == []
    telling.set()
    teller.join(DEADLINE)
    assert len(world.log.entries) == 3


def test_no_second_thread_tells_meanwhile(world: World, worker: Worker, telling: threading.Event) -> None:
    ended_sessions(worker)
    worker.revocations.catch_up()
    world.log.lose()
    world.wait(SYNC)
    worker.revocations.catch_up()
    teller = worker.revocations._teller
    worker.revocations.catch_up()
    assert worker.revocations._teller is teller is not None
    telling.set()
    teller.join(DEADLINE)


@pytest.mark.usefixtures("_telling_at_once")
def test_where_no_thread_can_be_started_it_is_tried_again(
    world: World, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = ended_sessions(worker)
    worker.revocations.catch_up()
    world.log.lose()
    world.wait(SYNC)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", cannot_start)
        assert worker.says(found[0]) == REVOKED
    assert worker.revocations._teller is None
    worker.heals()
    assert {world.worker().says(session) for session in found} == {REVOKED}


def cannot_start(thread: threading.Thread) -> NoReturn:
    raise RuntimeError("can't start new thread")


# Forks


def exit_code_of_child(check: Callable[[], bool]) -> int:
    """Look at something in a forked process; a lock that is held for ever ends it by a signal."""
    child = os.fork()
    if child == 0:
        signal.alarm(DEADLINE)
        code = 1
        try:
            code = 0 if check() else 2
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_process_forked_while_others_read_can_read() -> None:
    world = World(MemoryStore())
    worker = world.worker()
    session = worker.log_in()
    worker.ends(session)
    world.wait(SYNC)
    assert isinstance(world.store, MemoryStore)
    revocations = worker.revocations
    with revocations._reading, revocations._changing, world.store._lock:
        assert exit_code_of_child(lambda: worker.says(session) == REVOKED) == 0


def test_a_process_forked_while_others_change_can_change() -> None:
    world = World(MemoryStore())
    worker = world.worker()
    session = worker.log_in()
    assert isinstance(world.store, MemoryStore)

    def ends() -> bool:
        worker.ends(session)
        return worker.says(session) == REVOKED

    with worker.revocations._reading, worker.revocations._changing, world.store._lock:
        assert exit_code_of_child(ends) == 0


@pytest.mark.usefixtures("_telling_at_once")
def test_a_process_forked_while_another_tells_the_store_tells_it_itself(world: World, worker: Worker) -> None:
    found = ended_sessions(worker)
    worker.revocations.catch_up()
    world.log.lose()
    world.wait(SYNC)
    worker.revocations._teller = threading.current_thread()  # who is not there in the child

    def tells() -> bool:
        worker.heals()
        return {world.worker().says(session) for session in found} == {REVOKED}

    assert exit_code_of_child(tells) == 0
