"""`POST /auth/revoke` and `GET /auth/ready`, what a revocation ends, and who asks the store."""

from __future__ import annotations

import io
import json
import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

import pytest
import webtest
from werkzeug.test import run_wsgi_app

from gateway import middleware, passwords
from gateway.keyfolder import generate
from gateway.stores.memory import MemoryStore
from tests.support import MINUTE, NOW, Guarded, as_bytes, claims, forge
from tests.test_issuers import A_JWKS, BOTH, A, B, Keyless, Publisher, foreign, policy
from tests.test_issuers import guard as guard  # noqa: PLC0414 - a fixture
from tests.test_issuers import published as published  # noqa: PLC0414 - a fixture
from tests.test_login import House, down, padded, refused
from tests.test_passwords import CheapHasher

Guard = Callable[..., Guarded]

REVOKED = (401, "token_revoked")
EXPIRED = (401, "token_expired")
INVALID_CLAIMS = (401, "invalid_claims")
MISMATCH = (400, "uid_mismatch")
STATE_DOWN = (503, "state_unavailable")
NOT_FOUND = (404, "not_found")
ALL = b'{"all": true}'
DUE = claims(exp=int(NOW) + 5 * MINUTE)
SELDOM = {"state_sync_sec": 60, "state_max_stale_sec": 60}
with_and_without_cache = pytest.mark.parametrize("token_cache_size", [0, 100], ids=["uncached", "cached"])


def gateway(**options: Any) -> Guarded:
    """An app behind a gateway that hears of a revocation at once."""
    usual = {"state_url": "memory://", "state_sync_sec": 0, "state_timeout_sec": 60}
    return Guarded(**{**usual, **options})


def revoke(
    guarded: Guarded, token: str, body: bytes = b"", uid: str | None = "12", path: str = "/auth/revoke"
) -> webtest.TestResponse:
    sent = {"Authorization": f"Bearer {token}"} | ({} if uid is None else {"uid": uid})
    return guarded.client.post(path, body, headers=sent, expect_errors=True)


def statuses(guarded: Guarded, *tokens: str, uid: str = "12") -> list[int]:
    """What the app's own page is answered with for each of the tokens."""
    return [guarded.request(token=token, uid=uid).status_int for token in tokens]


# What is answered


@pytest.mark.parametrize("body", [b"", b"{}", b'{"all": false}', ALL, b' {"all" : true}\n'])
def test_the_answer_is_204_and_nothing_else(body: bytes) -> None:
    guarded = gateway()
    response = revoke(guarded, guarded.clock.create(uid=12), body)
    assert (response.status_int, response.body) == (204, b"")
    assert response.headerlist == [("Cache-Control", "no-store")]


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_it_is_for_post_alone(method: str) -> None:
    guarded = gateway()
    token = guarded.clock.create(uid=12)
    response = guarded.request("/auth/revoke", token=token, method=method)
    assert response.status_int == 405
    assert response.headers["Allow"] == "POST"
    assert statuses(guarded, token) == [200]


def test_there_is_none_without_a_state_store() -> None:
    guarded = Guarded()
    token = guarded.clock.create(uid=12)
    assert refused(revoke(guarded, token)) == NOT_FOUND
    assert statuses(guarded, token) == [200]


@pytest.mark.parametrize("path", ["/auth/revoke/", "/auth//revoke", "/auth/Revoke", "/auth/revoke/all"])
def test_it_is_at_its_path_alone(path: str) -> None:
    guarded = gateway()
    assert refused(revoke(guarded, guarded.clock.create(uid=12), path=path)) == NOT_FOUND


def test_it_moves_with_the_prefix() -> None:
    guarded = gateway(prefix="/_gateway")
    token = guarded.clock.create(uid=12)
    assert revoke(guarded, token, path="/_gateway/revoke").status_int == 204
    assert refused(revoke(guarded, token)) == REVOKED


def test_an_empty_prefix_turns_it_off() -> None:
    guarded = gateway(prefix="")
    token = guarded.clock.create(uid=12)
    assert revoke(guarded, token).body == b"from the app"
    assert statuses(guarded, token) == [200]


@pytest.mark.parametrize("public", [(), ("/auth/*",), ("/*",)])
def test_the_wrapped_app_never_sees_it(public: tuple[str, ...]) -> None:
    guarded = gateway(public_paths=public)
    revoke(guarded, guarded.clock.create(uid=12))
    revoke(guarded, "bad")
    assert guarded.reached == 0


def test_no_token_comes_with_it_though_one_is_due() -> None:
    assert "X-Refreshed-Token" not in revoke(gateway(), forge(DUE)).headers


# Who may


@pytest.mark.parametrize("public", [(), ("/auth/*",), ("/*",)])
@pytest.mark.parametrize(
    ("headers", "code", "classic", "registered"),
    [
        pytest.param({}, "missing_credentials", 400, 401, id="nothing"),
        pytest.param({"uid": "12"}, "missing_credentials", 400, 401, id="uid alone"),
        pytest.param({"Authorization": "Bearer x"}, "missing_credentials", 400, 401, id="no uid"),
        pytest.param(
            {"Authorization": "Basic x", "uid": "12"}, "malformed_credentials", 400, 400, id="Basic"
        ),
        pytest.param({"Authorization": "Bearer x", "uid": "12"}, "invalid_token", 498, 401, id="no token"),
        pytest.param(
            {"Authorization": f"Bearer {forge(claims(exp=int(NOW)))}", "uid": "12"},
            "token_expired",
            401,
            401,
            id="expired",
        ),
        pytest.param(
            {"Authorization": f"Bearer {forge(claims(uid=None))}", "uid": "12"},
            "invalid_claims",
            401,
            401,
            id="invalid claims",
        ),
        pytest.param(
            {"Authorization": f"Bearer {forge(claims())}", "uid": "13"}, "uid_mismatch", 400, 403, id="uid"
        ),
    ],
)
def test_bad_credentials_are_rejected_as_anywhere_else(
    headers: dict[str, str], code: str, classic: int, registered: int, public: tuple[str, ...]
) -> None:
    for profile, status in {"classic": classic, "rfc6750": registered}.items():
        guarded = gateway(status_profile=profile, public_paths=public)
        answers = [guarded.send(path, headers, "POST") for path in ("/auth/revoke", "/x/../protected")]
        assert refused(answers[0]) == (status, code)
        assert answers[0].headerlist == answers[1].headerlist
        assert answers[0].body == answers[1].body
        assert "WWW-Authenticate" in answers[0].headers


def test_bad_credentials_are_rejected_before_the_body_is_read() -> None:
    body = io.BytesIO(padded(70_000))
    request = webtest.TestRequest.blank("/auth/revoke", method="POST")
    request.environ |= {"CONTENT_LENGTH": "70000", "wsgi.input": body}
    assert refused(gateway().client.do_request(request, expect_errors=True)) == (400, "missing_credentials")
    assert body.tell() == 0


def test_no_uid_header_is_needed_where_none_is_required() -> None:
    guarded = gateway(require_uid=False)
    token = guarded.clock.create(uid=12)
    assert revoke(guarded, token, uid=None).status_int == 204
    assert refused(guarded.request(token=token, uid=None)) == REVOKED


@with_and_without_cache
def test_nobody_ends_a_session_of_somebody_else(token_cache_size: int) -> None:
    guarded = gateway(token_cache_size=token_cache_size)
    token = guarded.clock.create(uid=12)
    statuses(guarded, token)
    assert refused(revoke(guarded, token, ALL, uid="13")) == MISMATCH
    assert statuses(guarded, token) == [200]


# Bodies


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"null", id="null"),
        pytest.param(b"true", id="true"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b"all=true", id="a form"),
        pytest.param(b"{", id="cut short"),
        pytest.param(b'{"all": true, "all": false}', id="a member twice"),
        pytest.param(b'{"all": NaN}', id="NaN"),
        pytest.param(b'{"all": "\xff"}', id="not UTF-8"),
        pytest.param(b"[" * 60_000, id="60,000 lists"),
    ],
)
def test_a_body_that_is_no_json_object_is_malformed(body: bytes) -> None:
    guarded = gateway()
    token = guarded.clock.create(uid=12)
    assert refused(revoke(guarded, token, body)) == (400, "malformed_body")
    assert statuses(guarded, token) == [200]


NO_FLAGS: list[object] = [None, 0, 1, 1.0, "true", "", [], [True], {}]


@pytest.mark.parametrize(
    "body",
    [
        *({"all": value} for value in NO_FLAGS),
        {"All": True},
        {"all": True, "uid": 13},
        {"sid": "another"},
        {"": False},
    ],
    ids=repr,
)
def test_a_body_of_other_members_or_types_is_invalid(body: dict[str, object]) -> None:
    guarded = gateway()
    token = guarded.clock.create(uid=12)
    assert refused(revoke(guarded, token, as_bytes(body))) == (422, "invalid_body")
    assert statuses(guarded, token) == [200]


def test_a_body_over_64_kib_is_too_large() -> None:
    guarded = gateway()
    token = guarded.clock.create(uid=12)
    assert refused(revoke(guarded, token, ALL.ljust(65_537))) == (413, "body_too_large")
    assert revoke(guarded, token, ALL.ljust(65_536)).status_int == 204


@pytest.mark.parametrize("size", [65_537, 200_000])
def test_a_body_over_64_kib_is_too_large_without_a_length(size: int) -> None:
    house = House()
    sent: dict[str, Any] = {"HTTP_AUTHORIZATION": f"Bearer {house.clock.create(uid=12)}", "HTTP_UID": "12"}
    response = house.stream(ALL.ljust(size), "/auth/revoke", **sent)
    assert response.status_int == 413
    assert response.json["code"] == "body_too_large"


# One session


@with_and_without_cache
@pytest.mark.parametrize("body", [b"", b"{}", b'{"all": false}'])
def test_the_session_is_refused_from_then_on(body: bytes, token_cache_size: int) -> None:
    guarded = gateway(token_cache_size=token_cache_size)
    token = guarded.clock.create(uid=12)
    assert statuses(guarded, token) == [200]
    revoke(guarded, token, body)
    response = guarded.request(token=token)
    assert (response.status_int, response.json) == (
        401,
        {"error": "Token is revoked", "code": "token_revoked"},
    )
    assert 'error="invalid_token"' in response.headers["WWW-Authenticate"]
    assert response.headers["Cache-Control"] == "no-store"
    assert guarded.reached == 1


@with_and_without_cache
def test_a_token_that_was_never_sent_before_is_refused(token_cache_size: int) -> None:
    guarded = gateway(token_cache_size=token_cache_size)
    first, second = forge(claims()), forge(claims(iat=int(NOW) - 1))
    revoke(guarded, first)
    assert refused(guarded.request(token=second)) == REVOKED


@with_and_without_cache
def test_a_renewed_token_of_the_session_is_refused(token_cache_size: int) -> None:
    guarded = gateway(token_cache_size=token_cache_size)
    renewed = guarded.request(token=forge(DUE)).headers["X-Refreshed-Token"]
    revoke(guarded, forge(DUE))
    assert statuses(guarded, renewed, forge(DUE)) == [401, 401]


@with_and_without_cache
def test_the_token_before_a_renewal_is_refused(token_cache_size: int) -> None:
    guarded = gateway(token_cache_size=token_cache_size)
    renewed = guarded.request(token=forge(DUE)).headers["X-Refreshed-Token"]
    revoke(guarded, renewed)
    assert refused(guarded.request(token=forge(DUE))) == REVOKED


def test_a_session_is_not_renewed_after_its_end() -> None:
    guarded = gateway()
    revoke(guarded, forge(DUE))
    assert "X-Refreshed-Token" not in guarded.request(token=forge(DUE)).headers


@pytest.mark.parametrize(
    "spelling",
    ["bearer {}", "BEARER {}", "Bearer  {}", "bEaReR   {}"],
    ids=["lower", "upper", "two", "mixed"],
)
def test_another_spelling_of_the_header_is_refused(spelling: str) -> None:
    guarded = gateway()
    token = guarded.clock.create(uid=12)
    statuses(guarded, token)
    revoke(guarded, token)
    sent = {"Authorization": spelling.format(token), "uid": "12"}
    assert refused(guarded.send(headers=sent)) == REVOKED


def test_another_spelling_of_the_token_is_refused() -> None:
    """The same session, in claims of another order and a header of other members."""
    guarded = gateway()
    revoke(guarded, forge(claims()))
    other = forge(dict(reversed(claims().items())), {"typ": "at+jwt", "alg": "HS256"})
    assert refused(guarded.request(token=other)) == REVOKED


def test_a_token_by_a_previous_key_is_refused() -> None:
    previous = "another secret for tests, 40 bytes long."
    guarded = gateway(previous_keys=[previous])
    revoke(guarded, forge(claims()))
    assert refused(guarded.request(token=forge(claims(), key=previous))) == REVOKED


def test_other_sessions_live_on() -> None:
    guarded = gateway()
    first, second = (guarded.clock.create(uid=12) for _ in range(2))
    theirs = guarded.clock.create(uid=13)
    revoke(guarded, first)
    assert statuses(guarded, second) == [200]
    assert statuses(guarded, theirs, uid="13") == [200]


def test_a_session_is_not_ended_twice() -> None:
    guarded = gateway()
    token = guarded.clock.create(uid=12)
    assert revoke(guarded, token).status_int == 204
    assert [refused(revoke(guarded, token, body)) for body in (b"", ALL, b"no JSON")] == [REVOKED] * 3


def test_a_session_is_ended_until_its_last_token_expires() -> None:
    guarded = gateway(max_session_min=60)
    guarded.clock.time = NOW
    revoke(guarded, forge(claims()))
    for minutes in range(0, 60, 5):
        guarded.clock.time = NOW + minutes * MINUTE
        token = forge(claims(iat=int(guarded.clock.time), exp=int(NOW) + 60 * MINUTE))
        revoke(guarded, guarded.clock.create(uid=13), uid="13")  # by which the store forgets what expired
        assert refused(guarded.request(token=token)) == REVOKED


@pytest.mark.parametrize(
    ("named", "other", "status"),
    [
        pytest.param({"sid": "x"}, {"sid": "x"}, 401, id="the same sid"),
        pytest.param({"sid": "x"}, {"sid": "y"}, 200, id="another sid"),
        pytest.param({"sid": ..., "jti": "x"}, {"sid": ..., "jti": "x"}, 401, id="the same jti"),
        pytest.param({"sid": ..., "jti": "x"}, {"sid": ..., "jti": "y"}, 200, id="another jti"),
        pytest.param({"sid": ..., "jti": "x"}, {"sid": "x"}, 200, id="a sid like the jti"),
        pytest.param({"sid": "x"}, {"sid": ..., "jti": "x"}, 200, id="a jti like the sid"),
        pytest.param({"sid": "x", "jti": "1"}, {"sid": "x", "jti": "2"}, 401, id="sid goes before jti"),
        pytest.param({"sid": "", "jti": "x"}, {"sid": ..., "jti": "x"}, 401, id="an empty sid is none"),
    ],
)
def test_a_session_is_named_by_sid_or_else_by_jti(
    named: dict[str, Any], other: dict[str, Any], status: int
) -> None:
    guarded = gateway()
    assert revoke(guarded, forge(claims(**named))).status_int == 204
    assert statuses(guarded, forge(claims(**other))) == [status]


@pytest.mark.parametrize("named", [{"sid": ...}, {"sid": ""}, {"sid": ..., "jti": ""}], ids=repr)
@pytest.mark.parametrize("body", [b"", b"{}", b'{"all": false}'])
def test_a_token_that_names_no_session_cannot_be_ended_alone(named: dict[str, Any], body: bytes) -> None:
    guarded = gateway()
    token = forge(claims(**named))
    response = revoke(guarded, token, body)
    assert refused(response) == (409, "not_revocable")
    assert response.json["error"] == "Conflict"
    assert response.headers["Cache-Control"] == "no-store"
    assert statuses(guarded, token) == [200]


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="all times"),
        pytest.param({"auth_time": ...}, id="iat alone"),
        pytest.param({"auth_time": ..., "iat": ...}, id="no time"),
        pytest.param({"auth_time": NOW + 9}, id="a beginning ahead of our clock"),
    ],
)
@pytest.mark.parametrize("named", [{"sid": ...}, {"sid": "x"}, {"sid": ..., "jti": "x"}], ids=repr)
def test_all_ends_the_session_that_asks_in_any_case(changes: dict[str, Any], named: dict[str, Any]) -> None:
    guarded = gateway()
    token = forge(claims(**changes, **named))
    assert revoke(guarded, token, ALL).status_int == 204
    assert refused(guarded.request(token=token)) == REVOKED


# All of a uid


@with_and_without_cache
def test_all_ends_every_session_begun_so_far(token_cache_size: int) -> None:
    guarded = gateway(token_cache_size=token_cache_size)
    tokens = []
    for _ in range(3):
        tokens.append(guarded.clock.create(uid=12))
        guarded.clock.time += 1
    tokens.append(guarded.clock.create(uid=12))
    assert statuses(guarded, *tokens) == [200] * 4
    revoke(guarded, tokens[1], ALL)
    assert statuses(guarded, *tokens) == [401] * 4


def test_all_ends_renewed_tokens_of_sessions_begun_before() -> None:
    guarded = gateway()
    token = guarded.clock.create(uid=12)
    guarded.clock.time += 20 * MINUTE
    renewed = guarded.request(token=token).headers["X-Refreshed-Token"]
    revoke(guarded, guarded.clock.create(uid=12), ALL)
    assert refused(guarded.request(token=renewed)) == REVOKED


def test_all_leaves_other_uids_alone() -> None:
    guarded = gateway()
    theirs = guarded.clock.create(uid=13)
    revoke(guarded, guarded.clock.create(uid=12), ALL)
    assert statuses(guarded, theirs, uid="13") == [200]


def test_all_of_a_number_are_all_of_its_text() -> None:
    guarded = gateway()
    text = guarded.clock.create(uid="12")
    revoke(guarded, guarded.clock.create(uid=12), ALL)
    assert refused(guarded.request(token=text)) == REVOKED


INSTANTS = [
    pytest.param(NOW, id="a quarter"),
    pytest.param(float(int(NOW)), id="whole"),
    pytest.param(NOW + 0.1234561, id="rounded down"),
    pytest.param(NOW + 0.1234564, id="nearly half"),
    pytest.param(NOW + 0.1234567, id="rounded up"),
    pytest.param(NOW + 0.7499999, id="before a second"),
]


@pytest.mark.parametrize("instant", INSTANTS)
def test_the_next_login_in_the_same_instant_lives(instant: float) -> None:
    house = House(state_sync_sec=0)
    house.clock.time = instant
    before = [house.log_in().json["token"] for _ in range(2)]
    revoke(house, before[0], ALL)
    after = house.log_in().json["token"]
    assert statuses(house, *before, after) == [401, 401, 200]


@pytest.mark.parametrize("instant", INSTANTS)
def test_all_can_be_ended_again_in_the_same_instant(instant: float) -> None:
    house = House(state_sync_sec=0)
    house.clock.time = instant
    tokens = []
    for _ in range(3):
        tokens.append(house.log_in().json["token"])
        assert revoke(house, tokens[-1], ALL).status_int == 204
    tokens.append(house.log_in().json["token"])
    assert statuses(house, *tokens) == [401, 401, 401, 200]


def test_a_session_that_an_app_begins_in_the_same_instant_lives() -> None:
    guarded = gateway()
    revoke(guarded, guarded.clock.create(uid=12), ALL)
    assert statuses(guarded, guarded.clock.create(uid=12)) == [200]


def test_a_login_whose_password_was_looked_at_while_all_ended_is_ended_as_well() -> None:
    """As when a password is changed while a thief logs in with the old one."""
    house = House(state_sync_sec=0)
    other = house.clock.create(uid=12)

    def meanwhile(uid: int | str, password: str) -> dict[str, Any]:
        house.clock.time += 1
        assert revoke(house, other, ALL).status_int == 204
        house.clock.time += 1
        return {}

    house.door.answer = meanwhile
    assert refused(house.log_in()) == (503, "login_unavailable")


# The order of checks


@pytest.mark.parametrize(
    ("changes", "uid", "answer"),
    [
        pytest.param({"exp": int(NOW)}, "12", EXPIRED, id="after expiry"),
        pytest.param({"aud": "somebody"}, "12", INVALID_CLAIMS, id="after invalid claims"),
        pytest.param({"nbf": NOW + 100}, "12", INVALID_CLAIMS, id="after a time ahead"),
        pytest.param({}, "13", REVOKED, id="before the uid"),
        pytest.param({}, "12", REVOKED, id="nothing else"),
    ],
)
@with_and_without_cache
@pytest.mark.parametrize("body", [b"", ALL], ids=["one", "all"])
def test_revocation_has_its_place_among_the_checks(
    changes: dict[str, Any], uid: str, answer: tuple[int, str], body: bytes, token_cache_size: int
) -> None:
    guarded = gateway(token_cache_size=token_cache_size)
    statuses(guarded, forge(claims()))
    revoke(guarded, forge(claims()), body)
    assert refused(guarded.request(token=forge(claims(**changes)), uid=uid)) == answer


def test_an_ended_session_is_expired_once_it_is() -> None:
    guarded = gateway()
    token = guarded.clock.create(uid=12)
    revoke(guarded, token)
    guarded.clock.time += 30 * MINUTE
    assert refused(guarded.request(token=token)) == EXPIRED


# Other issuers


def test_a_session_of_an_issuer_ends_by_its_issuer(guard: Guard) -> None:
    guarded = guard(BOTH, state_url="memory://", state_sync_sec=0, state_timeout_sec=60)
    ours = guarded.clock.create(uid="x", claims={"jti": "1"})
    theirs = foreign(jti="1", sid="s")
    others = foreign(iss=B, jti="1", sid="s")
    assert revoke(guarded, theirs, uid="a:alice").status_int == 204
    assert refused(guarded.request(token=theirs, uid="a:alice")) == REVOKED
    assert statuses(guarded, others, uid="b:alice") == [200]
    assert statuses(guarded, ours, uid="x") == [200]


def test_our_own_session_of_the_same_name_lives_on(guard: Guard) -> None:
    guarded = guard(state_url="memory://", state_sync_sec=0, state_timeout_sec=60)
    revoke(guarded, foreign(sid="s"), uid="a:alice")
    assert statuses(guarded, forge(claims(sid="s"))) == [200]


def test_a_session_of_an_issuer_is_named_by_jti_where_it_has_no_sid(guard: Guard) -> None:
    guarded = guard(state_url="memory://", state_sync_sec=0, state_timeout_sec=60)
    first, second = foreign(jti="1"), foreign(jti="2")
    revoke(guarded, first, uid="a:alice")
    assert statuses(guarded, first, second, uid="a:alice") == [401, 200]


def test_a_token_of_an_issuer_that_names_no_session_is_ended_with_all(guard: Guard) -> None:
    guarded = guard(state_url="memory://", state_sync_sec=0, state_timeout_sec=60)
    token = foreign()
    assert refused(revoke(guarded, token, uid="a:alice")) == (409, "not_revocable")
    assert revoke(guarded, token, ALL, uid="a:alice").status_int == 204
    assert refused(guarded.request(token=token, uid="a:alice")) == REVOKED


def test_all_of_a_uid_ends_by_its_issuer_though_the_uid_is_shared(guard: Guard) -> None:
    shared = {"shared_uids": "true"}
    text = policy(prefix="", **shared) + policy(B, "", "http://127.0.0.1:1/b", **shared)
    guarded = guard(text, own_key=False, state_url="memory://", state_sync_sec=0, state_timeout_sec=60)
    revoke(guarded, foreign(jti="1"), ALL, uid="alice")
    assert refused(guarded.request(token=foreign(jti="2"), uid="alice")) == REVOKED
    assert statuses(guarded, foreign(iss=B, jti="3"), uid="alice") == [200]


def test_all_of_an_issuers_uid_can_begin_anew_a_second_later(guard: Guard) -> None:
    guarded = guard(state_url="memory://", state_sync_sec=0, state_timeout_sec=60)
    revoke(guarded, foreign(), ALL, uid="a:alice")
    guarded.clock.time += 1
    assert statuses(guarded, foreign(iat=int(NOW) + 1), uid="a:alice") == [200]


def test_where_nothing_is_issued_sessions_can_be_ended_all_the_same(guard: Guard) -> None:
    guarded = guard(own_key=False, state_url="memory://", state_sync_sec=0, state_timeout_sec=60)
    assert isinstance(guarded, Keyless)
    token = foreign(sid="s")
    assert revoke(guarded, token, uid="a:alice").status_int == 204
    assert refused(guarded.request(token=token, uid="a:alice")) == REVOKED


# A store that fails


@pytest.mark.parametrize("body", [b"", ALL], ids=["one", "all"])
def test_a_revocation_that_cannot_be_kept_is_none(body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    guarded = gateway()
    token = guarded.clock.create(uid=12)
    monkeypatch.setattr(MemoryStore, "append", down)
    response = revoke(guarded, token, body)
    assert refused(response) == STATE_DOWN
    assert int(response.headers["Retry-After"]) > 0
    assert "WWW-Authenticate" not in response.headers
    assert statuses(guarded, token) == [200]


def test_a_revocation_that_waits_too_long_for_a_file_is_none(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/state.db"
    guarded = gateway(state_url=url, state_timeout_sec=1)
    token = guarded.clock.create(uid=12)
    assert statuses(guarded, token) == [200]
    with closing(sqlite3.connect(tmp_path / "state.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert refused(revoke(guarded, token)) == STATE_DOWN
        other.execute("ROLLBACK")
    assert statuses(guarded, token) == [200]


def test_where_the_store_was_never_read_nobody_passes(tmp_path: Path) -> None:
    guarded = gateway(state_url=f"sqlite:///{tmp_path}/missing/state.db")
    response = guarded.request()
    assert refused(response) == STATE_DOWN
    assert int(response.headers["Retry-After"]) > 0
    assert response.headers["Cache-Control"] == "no-store"
    assert guarded.reached == 0


def test_where_the_store_was_never_read_nobody_ends_a_session(tmp_path: Path) -> None:
    guarded = gateway(state_url=f"sqlite:///{tmp_path}/missing/state.db")
    assert refused(revoke(guarded, guarded.clock.create(uid=12))) == STATE_DOWN


def test_where_it_may_fail_open_requests_pass_by_their_tokens_alone(tmp_path: Path) -> None:
    guarded = gateway(state_url=f"sqlite:///{tmp_path}/missing/state.db", state_fail_open=True)
    assert statuses(guarded, guarded.clock.create(uid=12)) == [200]
    assert refused(guarded.request(token="bad")) == (498, "invalid_token")


def test_where_it_may_fail_open_a_revocation_that_cannot_be_kept_is_none_all_the_same(tmp_path: Path) -> None:
    guarded = gateway(state_url=f"sqlite:///{tmp_path}/missing/state.db", state_fail_open=True)
    assert refused(revoke(guarded, guarded.clock.create(uid=12))) == STATE_DOWN


def test_what_was_ended_stays_so_while_the_store_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    guarded = gateway()
    ended, alive = (guarded.clock.create(uid=12) for _ in range(2))
    revoke(guarded, ended)
    monkeypatch.setattr(MemoryStore, "read", down)
    assert statuses(guarded, ended, alive) == [401, 200]


@pytest.mark.parametrize("profile", ["classic", "rfc6750"])
def test_a_store_that_is_down_is_503_in_both_profiles(profile: str, tmp_path: Path) -> None:
    guarded = gateway(state_url=f"sqlite:///{tmp_path}/missing/state.db", status_profile=profile)
    assert refused(guarded.request()) == STATE_DOWN


@pytest.mark.parametrize(
    "url",
    ["redis://127.0.0.1:1", "redis+sentinel://127.0.0.1:1/mymaster", "redis+cluster://127.0.0.1:1"],
)
def test_a_server_that_is_not_there_is_503_to_whoever_asks(url: str) -> None:
    guarded = gateway(state_url=url)
    assert refused(guarded.request()) == STATE_DOWN
    assert refused(revoke(guarded, guarded.clock.create(uid=12))) == STATE_DOWN
    assert ready(guarded) == (503, ["state store"])


# Workers


def test_what_one_worker_ends_another_refuses(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/state.db"
    first, second = (gateway(state_url=url) for _ in range(2))
    token = first.clock.create(uid=12)
    assert statuses(second, token) == [200]
    revoke(first, token)
    assert refused(second.request(token=token)) == REVOKED


def test_what_was_ended_stays_so_when_a_worker_starts_anew(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/state.db"
    token = forge(claims())
    revoke(gateway(state_url=url), token)
    assert refused(gateway(state_url=url).request(token=token)) == REVOKED


def test_all_that_one_worker_ends_another_knows_at_the_next_login_in_that_instant(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/state.db"
    first, second = (House(state_url=url, **SELDOM) for _ in range(2))
    before = second.log_in().json["token"]
    assert statuses(second, before) == [200]
    revoke(first, before, ALL)
    after = second.log_in().json["token"]
    assert statuses(second, before, after) == [401, 200]
    assert statuses(first, before, after) == [401, 200]


def inone_of_many(guarded: Guarded) -> Guarded:
    """The same, served by one of several processes."""

    def served(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        environ["wsgi.multiprocess"] = True
        return guarded.gateway(environ, start_response)

    guarded.client = webtest.TestApp(served)
    return guarded


@pytest.mark.parametrize("path", ["/", "/public"])
def test_memory_is_not_forone_of_many_workers(path: str, caplog: pytest.LogCaptureFixture) -> None:
    middleware.one_of_many.cache_clear()  # it says so once
    guarded = inone_of_many(gateway(public_paths="/public"))
    response = guarded.request(path)
    assert refused(response) == STATE_DOWN
    assert int(response.headers["Retry-After"]) > 0
    assert guarded.reached == 0
    assert "GATEWAY_STATE_URL is memory://" in caplog.text


def test_no_token_comes_with_that_refusal() -> None:
    guarded = inone_of_many(gateway())
    assert "X-Refreshed-Token" not in guarded.request(token=forge(DUE)).headers


@pytest.mark.parametrize("options", [{"state_url": None}, {"state_url": "sqlite:///state.db"}], ids=repr)
def test_whatever_else_there_is_serves_inone_of_many_workers(
    options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert inone_of_many(gateway(**options)).request().status_int == 200


# Who asks the store


class Counted:
    """How often a store was asked, by method."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[str] = []
        for name in ("read", "append", "admit", "forgive"):
            monkeypatch.setattr(MemoryStore, name, self._counting(name, getattr(MemoryStore, name)))

    def _counting(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def counting(*args: Any, **options: Any) -> Any:
            self.asked.append(name)
            return method(*args, **options)

        return counting


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    return Counted(monkeypatch)


PREFLIGHT = {"Origin": "https://a.example", "Access-Control-Request-Method": "PUT"}
BAD = {"Authorization": "Bearer bad", "uid": "12"}


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        pytest.param("GET", "/public/x", {}, id="public"),
        pytest.param("GET", "/public/x", BAD, id="public with a token"),
        pytest.param("OPTIONS", "/x", PREFLIGHT, id="preflight"),
        pytest.param("GET", "/auth/health", BAD, id="health"),
        pytest.param("GET", "/auth/nothing", BAD, id="not found"),
        pytest.param("GET", "/auth/revoke", BAD, id="wrong method"),
        pytest.param("POST", "/auth/revoke", BAD, id="revoke with a bad token"),
        pytest.param("POST", "/auth/revoke", {}, id="revoke without a token"),
        pytest.param("POST", "/auth", {}, id="a login without a body"),
        pytest.param("GET", "/x", BAD, id="a bad token"),
        pytest.param("GET", "/x", {}, id="no token"),
        pytest.param(
            "GET",
            "/x",
            {"Authorization": f"Bearer {forge(claims(exp=1))}", "uid": "12"},
            id="an expired token",
        ),
    ],
)
def test_what_needs_no_store_asks_none(
    method: str, path: str, headers: dict[str, str], counted: Counted
) -> None:
    house = House(public_paths="/public/*", allow_preflight=True, state_sync_sec=0)
    house.send(path, headers, method)
    assert counted.asked == []


def test_the_public_keys_ask_no_store(counted: Counted, tmp_path: Path) -> None:
    generate(tmp_path, "ES256", NOW)
    assert gateway(algorithm="ES256", key_dir=tmp_path).send("/auth/jwks.json").status_int == 200
    assert counted.asked == []


def test_a_protected_request_asks_once_in_the_time_of_a_sync(counted: Counted) -> None:
    guarded = gateway(**SELDOM)
    for _ in range(5):
        guarded.request()
    assert counted.asked == ["read"]


def test_a_start_asks_nothing_before_the_first_request(counted: Counted) -> None:
    gateway()
    assert counted.asked == []


def test_start_reads_what_there_is(counted: Counted) -> None:
    guarded = gateway(**SELDOM)
    guarded.gateway.start()
    guarded.request()
    assert counted.asked == ["read"]


# Ready


def ready(guarded: Guarded, path: str = "/auth/ready") -> tuple[int, list[str]]:
    response = guarded.send(path)
    assert response.headers["Content-Type"] == "application/json"
    assert response.headers["Cache-Control"] == "no-store"
    if response.status_int == 503:
        assert response.json["error"] == "Service Unavailable"
        assert response.json["code"]
        assert int(response.headers["Retry-After"]) > 0
    return response.status_int, response.json.get("down", [])


@pytest.fixture(name="cheap")
def _cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "hasher", CheapHasher())


READY: tuple[int, list[str]] = (200, [])


@pytest.mark.parametrize("options", [{"state_url": None}, {}], ids=["stateless", "memory"])
def test_a_gateway_whose_parts_are_up_is_ready(options: dict[str, Any]) -> None:
    assert ready(gateway(**options)) == READY


def test_a_gateway_with_a_login_function_is_ready() -> None:
    assert ready(House()) == READY


@pytest.mark.usefixtures("cheap")
def test_a_gateway_whose_databases_answer_is_ready(tmp_path: Path) -> None:
    urls = {"state_url": f"sqlite:///{tmp_path}/state.db", "users_url": f"sqlite:///{tmp_path}/users.db"}
    assert ready(gateway(**urls)) == READY


def test_a_gateway_without_its_state_store_is_not_ready(tmp_path: Path) -> None:
    guarded = gateway(state_url=f"sqlite:///{tmp_path}/missing/state.db")
    assert ready(guarded) == (503, ["state store"])


def test_a_gateway_without_its_state_store_is_not_ready_though_it_may_fail_open(tmp_path: Path) -> None:
    guarded = gateway(state_url=f"sqlite:///{tmp_path}/missing/state.db", state_fail_open=True)
    assert ready(guarded) == (503, ["state store"])


def test_a_gateway_without_its_users_is_not_ready(tmp_path: Path) -> None:
    guarded = gateway(users_url=f"sqlite:///{tmp_path}/missing/users.db")
    assert ready(guarded) == (503, ["users database"])


def test_every_part_that_is_down_is_named(tmp_path: Path) -> None:
    missing = f"sqlite:///{tmp_path}/missing"
    guarded = gateway(users_url=f"{missing}/users.db", state_url=f"{missing}/state.db")
    assert ready(guarded) == (503, ["state store", "users database"])


def test_a_gateway_without_the_keys_of_an_issuer_is_not_ready(guard: Guard, published: Publisher) -> None:
    published.sets[A_JWKS] = OSError
    guarded = guard(BOTH)
    guarded.request(token=foreign(iss=B), uid="b:alice")  # which waits for the keys
    assert ready(guarded) == (503, [f"keys of {A}"])


def test_a_gateway_with_the_keys_of_its_issuers_is_ready(guard: Guard) -> None:
    guarded = guard(BOTH)
    for token, uid in ((foreign(), "a:alice"), (foreign(iss=B), "b:alice")):
        guarded.request(token=token, uid=uid)  # which waits for the keys
    assert ready(guarded) == READY


def test_a_gateway_with_keys_that_are_too_old_is_not_ready(guard: Guard, published: Publisher) -> None:
    guarded = guard(policy(max_stale_min="5"))
    assert guarded.request(token=foreign(), uid="a:alice").status_int == 200
    published.sets[A_JWKS] = OSError
    guarded.clock.time += 5 * MINUTE + 1
    assert ready(guarded) == (503, [f"keys of {A}"])


def test_ready_moves_with_the_prefix() -> None:
    guarded = gateway(prefix="/_gateway")
    assert ready(guarded, "/_gateway/ready") == READY
    assert guarded.send("/auth/ready").json["code"] == "missing_credentials"


def test_an_empty_prefix_turns_ready_off() -> None:
    guarded = gateway(prefix="")
    assert guarded.send("/auth/ready").json["code"] == "missing_credentials"
    assert guarded.request("/ready").body == b"from the app"


@pytest.mark.parametrize("is_ready", [True, False])
def test_ready_gives_head_the_same_headers_and_no_body(is_ready: bool, tmp_path: Path) -> None:
    url = None if is_ready else f"sqlite:///{tmp_path}/missing/state.db"
    guarded = gateway(state_url=url)
    get, head = guarded.send("/auth/ready"), guarded.send("/auth/ready", method="HEAD")
    assert (head.status, head.headerlist, head.body) == (get.status, get.headerlist, b"")


def test_ready_is_for_get_alone() -> None:
    response = gateway().send("/auth/ready", method="POST")
    assert (response.status_int, response.headers["Allow"]) == (405, "GET, HEAD")


def test_ready_needs_no_credentials_and_looks_at_none() -> None:
    assert gateway().send("/auth/ready", BAD).status_int == 200


def test_ready_tells_no_address_and_no_path(tmp_path: Path) -> None:
    missing = f"sqlite:///{tmp_path}/missing"
    response = gateway(users_url=f"{missing}/u.db", state_url=f"{missing}/s.db").send("/auth/ready")
    assert str(tmp_path) not in response.text


def test_health_is_well_while_parts_are_down(tmp_path: Path) -> None:
    guarded = gateway(state_url=f"sqlite:///{tmp_path}/missing/state.db")
    assert guarded.send("/auth/health").status_int == 200


def test_a_database_that_comes_is_one_to_be_ready_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.breaker.SHORTEST_PAUSE_SEC", 0)
    folder = tmp_path / "later"
    guarded = gateway(state_url=f"sqlite:///{folder}/state.db")
    assert ready(guarded) == (503, ["state store"])
    folder.mkdir()
    assert ready(guarded) == READY


def test_the_users_database_is_asked_once_a_second_at_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []
    now = [1000.0]
    monkeypatch.setattr("gateway.directory.time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr("gateway.users.Users.ping", lambda _: asked.append(now[0]))
    guarded = gateway(state_url="memory://", users_url=f"sqlite:///{tmp_path}/users.db")
    for moment in (1000.0, 1000.0, 1000.9, 1001.0, 1001.5):
        now[0] = moment
        assert ready(guarded) == READY
    assert asked == [1000.0, 1001.0]


def test_a_body_is_read_before_its_sender_is_judged() -> None:
    """Or else whoever holds it back is judged long before it is there."""
    guarded = gateway()
    stolen, others = guarded.clock.create(uid=12), guarded.clock.create(uid=12)

    class HeldBack(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            revoke(guarded, others, ALL)
            return super().read(size)

    body = b'{"all": true}'
    environ = {"wsgi.input": HeldBack(body), "CONTENT_LENGTH": str(len(body))}
    headers = {"Authorization": f"Bearer {stolen}", "uid": "12"}
    request = webtest.TestRequest.blank("/auth/revoke", environ, method="POST", headers=headers)
    assert refused(guarded.client.do_request(request, expect_errors=True)) == REVOKED


@pytest.mark.parametrize("length", ["abc", "-5", "+10", "1_0"])
def test_a_length_that_is_no_number_is_malformed(length: str) -> None:
    guarded = gateway()
    headers = {"Authorization": f"Bearer {guarded.clock.create(uid=12)}", "uid": "12"}
    environ = webtest.TestRequest.blank("/auth/revoke", {}, method="POST", headers=headers).environ
    body, status, _ = run_wsgi_app(guarded.gateway, environ | {"CONTENT_LENGTH": length})
    assert (status[:3], json.loads(b"".join(body))["code"]) == ("400", "malformed_body")
