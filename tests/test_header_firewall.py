"""What only the gateway may set: whatever a client sends under such a name, the app never sees it."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.headers import INJECTED_KEYS, UID_KEY, Firewall, environ_key, fold
from tests.support import ROUTES, Guarded, Recorder, by_policy

EVIL = "evil"
POLICY = f"""
[headers]
X-Role = "role"
X-Team-Names = "teams"
X-Missing = "missing"
{ROUTES}"""
# The words of each name that is injected.
NAMES = {
    "uid": ("uid",),
    "the token's header": ("X", "Next", "Token"),
    "Remote-User": ("Remote", "User"),
    "Auth-Type": ("Auth", "Type"),
    "gateway.claims": ("gateway", "claims"),
    "gateway.tokens": ("gateway", "tokens"),
    "gateway.issuer": ("gateway", "issuer"),
    "a claim's header": ("X", "Role"),
    "a claim's header of three words": ("X", "Team", "Names"),
    "the header of a claim that is missing": ("X", "Missing"),
}
JOINTS = ("_", "-", ".", "", "__", "-_", "!", "\xa0")
ENDS = (("", ""), ("_", ""), ("", "_"), ("", "."), ("-", "-"))


def spellings(words: tuple[str, ...]) -> list[str]:
    """The keys under which servers may hand on a header of a name called alike."""
    joined = {joint.join(words) for joint in JOINTS}
    cased = {change(name) for name in joined for change in (str.upper, str.lower, str.title, str.swapcase)}
    return [f"HTTP_{before}{name}{after}" for name in sorted(cased) for before, after in ENDS]


def keys_of(words: tuple[str, ...]) -> list[str]:
    """The keys that may not come through: the gateway's own besides those of headers."""
    own = [key for key in INJECTED_KEYS if fold(key) == fold("".join(words))]
    return [key for key in (*spellings(words), *own) if key != UID_KEY]


KINDS: dict[str, tuple[str, str]] = {
    "protected": ("GET", "/secret"),
    "optional, known": ("GET", "/optional"),
    "optional, anonymous": ("GET", "/optional"),
    "public": ("GET", "/public/x"),
    "preflight": ("OPTIONS", "/secret"),
    "HEAD": ("HEAD", "/secret"),
}
KNOWN = {"protected", "optional, known", "HEAD"}


@pytest.fixture
def guarded(tmp_path: Path) -> Guarded:
    return by_policy(tmp_path, POLICY, token_header="X-Next-Token", allow_preflight=True)


def environ_of(guarded: Guarded, kind: str) -> dict[str, str]:
    """What a server hands on of a good request of this kind, besides the line of the request."""
    if kind == "preflight":
        return {"HTTP_ORIGIN": "https://a.example", "HTTP_ACCESS_CONTROL_REQUEST_METHOD": "PUT"}
    if kind not in KNOWN:
        return {}
    token = guarded.clock.create(12, {"role": "user", "teams": ["a", "b"]})
    return {"HTTP_AUTHORIZATION": f"Bearer {token}", UID_KEY: "12"}


def seen_with(guarded: Guarded, kind: str, injected: dict[str, str]) -> dict[str, Any]:
    """The environ that the app sees of a request of this kind that has these keys besides."""
    assert isinstance(guarded.app, Recorder)
    method, path = KINDS[kind]
    before = guarded.reached
    environ = environ_of(guarded, kind) | injected
    response = guarded.hand_on(path, environ, method)
    assert (response.status_int, guarded.reached) == (200, before + 1)
    return guarded.app.calls[-1]


def evil_in(environ: dict[str, Any]) -> list[str]:
    return [key for key, value in environ.items() if EVIL in repr(value)]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", KINDS)
def test_no_spelling_of_a_name_reaches_the_app(guarded: Guarded, kind: str, name: str) -> None:
    for key in keys_of(NAMES[name]):
        for _ in range(2):  # a name is remembered once it was judged
            assert evil_in(seen_with(guarded, kind, {key: EVIL})) == [], key


@pytest.mark.parametrize("kind", KINDS)
def test_nor_do_all_of_them_at_once(guarded: Guarded, kind: str) -> None:
    keys = itertools.chain.from_iterable(map(keys_of, NAMES.values()))
    assert evil_in(seen_with(guarded, kind, dict.fromkeys(keys, f"{EVIL},{EVIL}"))) == []


@pytest.mark.parametrize("kind", KINDS)
def test_only_what_is_verified_is_set(guarded: Guarded, kind: str) -> None:
    injected = dict.fromkeys(itertools.chain.from_iterable(map(keys_of, NAMES.values())), EVIL)
    seen = seen_with(guarded, kind, injected)
    folded = {fold("".join(words)) for words in NAMES.values()}
    left = {key for key in seen if fold(key.removeprefix("HTTP_")) in folded}
    verified = {"HTTP_UID", "REMOTE_USER", "AUTH_TYPE", "gateway.claims", "HTTP_X_NEXT_TOKEN"}
    verified |= {"HTTP_X_ROLE", "HTTP_X_TEAM_NAMES"}
    assert left == {"gateway.tokens"} | (verified if kind in KNOWN else set())


@pytest.mark.parametrize("kind", ["public", "preflight"])
def test_a_uid_is_not_seen_where_nobody_asks_for_it(guarded: Guarded, kind: str) -> None:
    assert UID_KEY not in seen_with(guarded, kind, {UID_KEY: EVIL})


@pytest.mark.parametrize("kind", ["protected", "optional, known", "optional, anonymous"])
def test_a_uid_that_is_not_verified_is_refused_where_somebody_may_be_known(
    guarded: Guarded, kind: str
) -> None:
    method, path = KINDS[kind]
    environ = environ_of(guarded, kind) | {UID_KEY: EVIL}
    response = guarded.hand_on(path, environ, method)
    assert (response.status_int, guarded.reached) == (400, 0)


@pytest.mark.parametrize("path", ["/auth", "/auth/health", "/auth/verify", "/auth/none", "/auth/"])
def test_the_endpoints_neither_hand_it_on_nor_answer_it(guarded: Guarded, path: str) -> None:
    keys = itertools.chain.from_iterable(map(keys_of, NAMES.values()))
    environ = dict.fromkeys(keys, EVIL) | {UID_KEY: EVIL}
    response = guarded.hand_on(path, environ)
    assert guarded.reached == 0
    assert EVIL not in repr((response.status, response.headerlist, response.body))


NOISE = st.text(st.characters(max_codepoint=0xFF).filter(lambda each: not each.isalnum()), max_size=3)


@given(st.sampled_from(sorted(NAMES.values())), st.data())
def test_no_sign_between_the_letters_makes_a_difference(words: tuple[str, ...], data: st.DataObject) -> None:
    owned = tuple(environ_key("-".join(each)) for each in NAMES.values())
    noisy = "".join(data.draw(NOISE) + letter for letter in "".join(words)) + data.draw(NOISE)
    environ = {f"HTTP_{noisy}": EVIL}
    Firewall((*owned, *INJECTED_KEYS)).strip(environ)
    assert environ == {}
