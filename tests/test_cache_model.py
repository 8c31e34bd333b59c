"""Whatever is remembered, nothing but the speed changes: gateways that do and one that does not agree.

They stand over one folder of keys, at one time, and are asked the same. The one that remembers nothing is the
model of the others.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock
from wsgiref.util import setup_testing_defaults

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule

from gateway import KeysUnavailableError, TokenError, jws
from gateway.cache import BYTES_EACH
from gateway.claims import CLOCK_SKEW_SEC
from gateway.keyfolder import LOOK_SEC, KeyFile, generate
from tests.support import MINUTE, NOW, Clock, Guarded

SIZES = (1, 3, 100)
EXP_TIME_MIN, REFRESH_TIME_MIN, MAX_SESSION_MIN = 30, 15, 60
# The moments around which something changes, in seconds.
MOMENTS = (0, 0.5, 1, 5, 9.75, 10, 11, 60, 600, 15 * MINUTE, 15 * MINUTE + 1, 30 * MINUTE, 45 * MINUTE, 3600)


@cache
def pool() -> list[tuple[KeyFile, bytes]]:
    """Keys that can be put into a folder: made before, about, and after the time at which tests begin."""
    with tempfile.TemporaryDirectory() as folder:
        files = [generate(Path(folder), "EdDSA", NOW + offset) for offset in (-10_000, -590, 0, 1200)]
        return [(file, file.path.read_bytes()) for file in files]


class Verdict(NamedTuple):
    """What is answered to a request, and what the app saw of it."""

    status: str
    code: str | None
    uid: str | None
    claims: str
    token: str | None
    renewed: str | None


def ask(guarded: Guarded, path: str, authorization: str, uid: str | None) -> Verdict:
    """Send a request as a server would."""
    environ: dict[str, Any] = {"PATH_INFO": path, "HTTP_AUTHORIZATION": authorization}
    if uid is not None:
        environ["HTTP_UID"] = uid
    setup_testing_defaults(environ)
    answers: list[tuple[str, dict[str, str]]] = []
    body = b"".join(
        guarded.gateway(environ, lambda status, headers, *_: answers.append((status, dict(headers))) or print)  # type: ignore[func-returns-value]
    )
    ((status, headers),) = answers
    return Verdict(
        status,
        None if status == "200 OK" else json.loads(body)["code"],
        environ.get("REMOTE_USER"),
        repr(environ.get("gateway.claims")),
        environ.get("HTTP_X_REFRESHED_TOKEN"),
        headers.get("X-Refreshed-Token"),
    )


def decoded(tokens: Clock, token: str) -> str:
    """What a creator of tokens says of one."""
    try:
        return repr(tokens.decode_token(token))
    except TokenError as error:
        return f"{error.code}: {error.claims}"
    except KeysUnavailableError as error:
        return error.code


values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats(-1, 1) | st.sampled_from(["", "é", "\ud800"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=4,
)
extras = st.one_of(
    st.just({}),
    st.dictionaries(st.sampled_from(["role", "x", "y"]), values, max_size=3),
    st.just({f"claim{number}": number for number in range(18)}),
    st.just({"large": "a" * 900}),
    st.just({"larger": ["a" * 3000]}),
)
offsets = st.sampled_from([*MOMENTS, *(-moment for moment in MOMENTS)])
uids = st.sampled_from([12, 12, "12", "ann", None])
numbers = st.integers(0, 3)
spellings = st.sampled_from(
    [
        *(
            "Bearer {}",
            "Bearer  {}",
            "bEARER {}",
            "{}",
            "Basics {}",
            " Bearer {}",
            "Bearer {} ",
            "Bearer {0},Bearer {0}",
        ),
    ]
)


class Gateways(RuleBasedStateMachine):
    """All that can happen to gateways, in any order."""

    tokens = Bundle("tokens")

    @initialize(require_uid=st.booleans(), leeway=st.sampled_from([0, 0, 30]))
    def begin(self, require_uid: bool, leeway: int) -> None:
        self.time, self.leeway = NOW, leeway
        # The same steps make the same tokens, so that a failure is one again when it is replayed.
        self.random = mock.patch("secrets.token_urlsafe", side_effect=map(str, itertools.count()))
        self.random.start()
        self.folder = Path(tempfile.mkdtemp())
        self.broken = self.folder / "broken.pem"
        self.put(0)
        options: dict[str, Any] = {
            "algorithm": "EdDSA",
            "key_dir": self.folder,
            "exp_time_min": EXP_TIME_MIN,
            "refresh_time_min": REFRESH_TIME_MIN,
            "max_session_min": MAX_SESSION_MIN,
            "public_paths": ["/public"],
        }
        self.issuer = Clock(**options)  # another process: what it looks at, the others may not have seen
        options |= {"require_uid": require_uid, "leeway_sec": leeway}
        self.model = Guarded(token_cache_size=0, **options)
        self.others = {size: Guarded(token_cache_size=size, **options) for size in SIZES}

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            self.random.stop()
            shutil.rmtree(self.folder)

    def put(self, number: int) -> None:
        file, pem = pool()[number]
        unfinished = self.folder / ".unfinished"
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "wb") as written:
            written.write(pem)
        unfinished.rename(self.folder / file.path.name)

    # Time and keys

    @rule(seconds=st.sampled_from([0.5, 1, 5, 60, -1, -5]) | offsets)
    def let_time_pass(self, seconds: float) -> None:
        self.time += seconds
        for clock in (self.issuer, self.model.clock, *(other.clock for other in self.others.values())):
            clock.time = self.time

    @rule(number=numbers, there=st.booleans())
    def add_or_retire_a_key(self, number: int, there: bool) -> None:
        if there:
            self.put(number)
        else:
            (self.folder / pool()[number][0].path.name).unlink(missing_ok=True)
        self.let_time_pass(LOOK_SEC)

    @rule(whole=st.booleans())
    def break_or_mend_the_folder(self, whole: bool) -> None:
        if whole:
            self.broken.unlink(missing_ok=True)
        else:
            self.broken.touch()

    # Tokens

    @rule(target=tokens, uid=st.sampled_from([12, "ann"]), extra=extras)
    def issue(self, uid: int | str, extra: dict[str, Any]) -> Any:
        try:
            return self.issuer.create(uid, extra)
        except KeysUnavailableError:  # there is no key left
            return multiple()

    @rule(
        target=tokens,
        key=st.just(0) | numbers,
        uid=uids,
        left=st.sampled_from([60, 15 * MINUTE, 20 * MINUTE, 30 * MINUTE]) | offsets,
        times=st.sampled_from([{}, {"auth_time": -45 * MINUTE}])
        | st.dictionaries(st.sampled_from(["nbf", "iat", "auth_time"]), offsets),
        extra=extras,
    )
    def mint(self, key: int, uid: object, left: float, times: dict[str, float], extra: dict[str, Any]) -> str:
        """Sign any claims with any key, of the folder or not."""
        moments = {"auth_time": self.time} | {name: self.time + offset for name, offset in times.items()}
        return jws.encode({"uid": uid, "exp": self.time + left, **moments, **extra}, pool()[key][0].key)

    # Requests

    @rule(target=tokens, token=tokens)
    def come_as_oneself(self, token: str) -> Any:
        return self.renewed_by([self.agreed("/", f"Bearer {token}", str(jws.peek(token)[1]["uid"]))])

    @rule(target=tokens, token=tokens, beside=st.sampled_from([0, 0.5, -0.5]))
    def come_at_every_turn(self, token: str, beside: float) -> Any:
        """Come as oneself now, and about the moments at which the verdict on a token may change."""
        claims = jws.peek(token)[1]
        turns = [
            max(claims[name] for name in ("nbf", "iat", "auth_time") if name in claims) - CLOCK_SKEW_SEC,
            claims["exp"] - REFRESH_TIME_MIN * MINUTE,
            claims["exp"] + self.leeway,
            claims["auth_time"] + MAX_SESSION_MIN * MINUTE,
        ]
        verdicts = []
        for moment in (self.time, *(turn + beside for turn in sorted(turns))):
            self.let_time_pass(moment - self.time)
            verdicts.append(self.agreed("/", f"Bearer {token}", str(claims["uid"])))
        return self.renewed_by(verdicts)

    @rule(
        target=tokens,
        token=tokens,
        path=st.sampled_from(["/", "/", "/public"]),
        spelling=spellings,
        uid=st.sampled_from(["12", "12", "ann", "13", "", None]),
    )
    def come_somehow(self, token: str, path: str, spelling: str, uid: str | None) -> Any:
        return self.renewed_by([self.agreed(path, spelling.format(token), uid)])

    @rule(token=tokens, cut=st.integers(1, 400), change=st.sampled_from(["", "A", "."]))
    def come_with_a_garbled_token(self, token: str, cut: int, change: str) -> None:
        self.agreed("/", f"Bearer {token[:-cut]}{change}{token[-cut:][1:]}", "12")

    @rule(token=tokens)
    def decode(self, token: str) -> None:
        expected = decoded(self.model.clock, token)
        for size, other in self.others.items():
            assert decoded(other.clock, token) == expected, f"with a cache of {size}"

    def agreed(self, path: str, authorization: str, uid: str | None) -> Verdict:
        """The verdict of the model on a request, after a look at that the others agree."""
        expected = ask(self.model, path, authorization, uid)
        for size, other in self.others.items():
            assert ask(other, path, authorization, uid) == expected, f"with a cache of {size}"
        return expected

    def renewed_by(self, verdicts: list[Verdict]) -> Any:
        return multiple(*sorted({verdict.renewed for verdict in verdicts if verdict.renewed is not None}))

    # What is always so

    @invariant()
    def the_caches_are_within_their_bounds(self) -> None:
        for size, other in getattr(self, "others", {}).items():
            cached = other.clock._cache
            assert len(cached) <= size
            assert cached._used == sum(entry.size for entry in cached._identities.values())
            assert cached._used <= size * BYTES_EACH
            assert all(bearer == entry.bearer for bearer, entry in cached._identities.items())

    @invariant()
    def the_model_remembers_nothing(self) -> None:
        assert not hasattr(self, "model") or len(self.model.clock._cache) == 0


TestGateways = Gateways.TestCase
TestGateways.settings = settings(
    max_examples=120, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
