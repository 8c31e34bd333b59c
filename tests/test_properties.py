"""Whatever is sent: no 5xx, and nothing reaches the app that the contract does not let through.

The oracle is a second, slow judge: it reads tokens with PyJWT and the standard library, and says what the
gateway may do at most.
"""

from __future__ import annotations

import json
import string
from typing import Any
from wsgiref.types import WSGIEnvironment
from wsgiref.util import setup_testing_defaults

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway import InvalidClaimsError
from tests.support import HEADER, MINUTE, NOW, Guarded, claims, forge

STATUSES = {200, 400, 401, 404, 405, 498}
GOOD = forge(claims())

header_values = st.text(alphabet=st.characters(max_codepoint=255), max_size=60)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=True)
    | st.text(alphabet=st.characters(codec=None), max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
token_like = st.builds(
    ".".join,
    st.lists(st.text(alphabet=string.ascii_letters + string.digits + "-_=+/ ", max_size=30), max_size=5),
)


def ask(guarded: Guarded, path: str = "/", method: str = "GET", **keys: str) -> int:
    """Send a request as a server would, with these environ keys, and return the status."""
    environ: WSGIEnvironment = {"PATH_INFO": path, "REQUEST_METHOD": method} | keys
    setup_testing_defaults(environ)
    statuses: list[str] = []
    b"".join(guarded.gateway(environ, lambda status, *_: statuses.append(status) or print))  # type: ignore[func-returns-value]
    (status,) = statuses
    return int(status[:3])


@given(authorization=header_values, uid=header_values, method=st.sampled_from(["GET", "HEAD", "PUT", "x"]))
@example(authorization=f"Bearer {GOOD}", uid="12\x00", method="GET")
@example(authorization=f"Bearer {GOOD},Bearer {GOOD}", uid="12", method="GET")
def test_no_header_bytes_pass(authorization: str, uid: str, method: str) -> None:
    guarded = Guarded()
    status = ask(guarded, method=method, HTTP_AUTHORIZATION=authorization, HTTP_UID=uid)
    assert status in STATUSES - {200}
    assert guarded.reached == 0


@given(token_like)
def test_no_string_that_is_like_a_token_passes(token: str) -> None:
    guarded = Guarded()
    assert ask(guarded, HTTP_AUTHORIZATION=f"Bearer {token}", HTTP_UID="12") in {400, 498}
    assert guarded.reached == 0


def is_utf8(path: str) -> bool:
    raw = path.encode("latin-1")
    return raw.decode("utf-8", "ignore").encode() == raw


@given(
    st.text(alphabet=st.characters(max_codepoint=255), max_size=30).map("/public/".__add__) | header_values
)
@example("/public/..")
@example("/public//x")
@example("/public/\xff")
@example("/public/\xc3\xa9")
@example("/auth/{x}")
@example("/auth/<x>")
def test_only_normal_paths_below_a_public_prefix_pass_without_credentials(path: str) -> None:
    guarded = Guarded(public_paths=["/public/*"])
    assert ask(guarded, path) in STATUSES
    segments = path.split("/")[1:]
    odd = {".", ".."}.intersection(segments) or "" in segments[:-1] or set(path) & set("\\;%\x7f")
    if not path.startswith("/public/") or odd or min(path) < " " or not is_utf8(path):
        assert guarded.reached == 0
    else:
        assert guarded.reached == 1


@given(
    st.dictionaries(
        st.text(alphabet=string.ascii_uppercase + "._-", min_size=1, max_size=25).map("HTTP_".__add__)
        | st.sampled_from(["HTTP_X.REFRESHED_TOKEN", "HTTP_U_ID", "HTTP_REMOTE.USER", "REMOTE_USER"]),
        st.just("evil"),
    )
)
def test_no_header_called_like_an_owned_one_reaches_the_app(sent: dict[str, str]) -> None:
    guarded = Guarded(public_paths=["/*"])
    ask(guarded, **sent)
    for key, value in guarded.seen.items():
        bare = "".join(filter(str.isalnum, key.removeprefix("HTTP_")))
        assert value != "evil" or bare not in {"XREFRESHEDTOKEN", "UID", "REMOTEUSER", "AUTHTYPE"}


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


@given(st.dictionaries(st.sampled_from([*claims(), "nbf", "jti", "iss", "aud", "x"]), json_values))
@example({"exp": NOW + 60, "uid": 12})
@example({"exp": 10**15 - 1, "uid": "12"})
@example({"exp": float("inf"), "uid": 12})
@example({"exp": NOW + 60, "uid": "\ud800"})
def test_any_claims_under_our_own_signature_are_judged(payload: dict[str, Any]) -> None:
    guarded = Guarded()
    status = ask(guarded, HTTP_AUTHORIZATION=f"Bearer {forge(payload)}", HTTP_UID="12")
    assert status in STATUSES
    if status == 200:
        assert str(payload["uid"]) == "12"
        assert is_number(payload["exp"])
        assert payload["exp"] > NOW
        assert "aud" not in payload
    else:
        assert guarded.reached == 0


@given(st.dictionaries(st.sampled_from(["role", "deep", "x", "y", "nbf"]), json_values, min_size=1))
def test_a_token_that_could_be_made_is_accepted_and_keeps_its_claims(extra: dict[str, Any]) -> None:
    guarded = Guarded()
    extra = {name: value for name, value in extra.items() if name != "nbf" or value == 0}
    try:
        token = guarded.clock.create(12, extra)
    except InvalidClaimsError:
        return
    guarded.clock.time += 20 * MINUTE
    assert ask(guarded, HTTP_AUTHORIZATION=f"Bearer {token}", HTTP_UID="12") == 200
    renewed = guarded.clock.decode_token(guarded.seen["HTTP_X_REFRESHED_TOKEN"])
    assert {name: renewed[name] for name in extra} == json.loads(json.dumps(extra))


@given(st.dictionaries(st.sampled_from(["alg", "typ", "kid", "crit", "b64", "jwk", "x"]), json_values))
@example(HEADER)
@example({"alg": "HS256", "jwk": {"kty": "oct", "k": "AA"}})
def test_any_header_under_our_own_signature_is_judged(header: dict[str, Any]) -> None:
    guarded = Guarded()
    status = ask(guarded, HTTP_AUTHORIZATION=f"Bearer {forge(claims(), header)}", HTTP_UID="12")
    assert status in {200, 498}
    if status == 200:
        assert header["alg"] == "HS256"
        assert not {"kid", "crit", "b64"}.intersection(header)


@given(payload=st.binary(max_size=60), header=st.binary(max_size=40))
def test_any_bytes_under_our_own_signature_are_judged(payload: bytes, header: bytes) -> None:
    guarded = Guarded()
    for token in (forge(payload), forge(claims(), header)):
        assert ask(guarded, HTTP_AUTHORIZATION=f"Bearer {token}", HTTP_UID="12") in {401, 498}
    assert guarded.reached == 0


@pytest.mark.parametrize("leeway", [0, 7])
@given(offset=st.floats(-100, 100))
def test_the_moment_of_expiry_is_exact(leeway: int, offset: float) -> None:
    guarded = Guarded(leeway_sec=leeway)
    exp = NOW + offset
    status = ask(guarded, HTTP_AUTHORIZATION=f"Bearer {forge(claims(exp=exp))}", HTTP_UID="12")
    assert (status == 200) is (exp + leeway > NOW)
