"""What a protected request meets: every row of the table, in both status profiles, through WebTest's lint."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from tests.support import MINUTE, NOW, Clock, Guarded, claims, forge

Headers = dict[str, str]


def sends(token: str, uid: str | None = "12") -> Headers:
    headers = {"Authorization": f"Bearer {token}"}
    return headers if uid is None else headers | {"uid": uid}


GOOD = forge(claims())


class Row(NamedTuple):
    """One row: what is sent, and what is answered in the classic and in the rfc6750 profile."""

    name: str
    sent: Headers
    classic: int
    rfc6750: int
    error: str
    code: str
    challenge: str | None


MISSING = (400, 401, "Bad Request", "missing_credentials", None)
ROWS = [
    Row("neither header", {}, *MISSING),
    Row("no uid", sends(GOOD, None), *MISSING),
    Row("an empty uid", sends(GOOD, ""), *MISSING),
    Row("no Authorization", {"uid": "12"}, *MISSING),
    Row("an empty Authorization", {"Authorization": "", "uid": "12"}, *MISSING),
    Row(
        "Basic",
        {"Authorization": "Basic eDp5", "uid": "12"},
        *(400, 400, "Bad Request", "malformed_credentials", "invalid_request"),
    ),
    Row("no token", sends("abc"), 498, 401, "Invalid Token", "invalid_token", "invalid_token"),
    Row(
        "an expired token",
        sends(forge(claims(exp=int(NOW)))),
        *(401, 401, "Token is expired", "token_expired", "invalid_token"),
    ),
    Row(
        "a claim of the wrong type",
        sends(forge(claims(uid=None))),
        *(401, 401, "Token is invalid", "invalid_claims", "invalid_token"),
    ),
    Row(
        "another's uid",
        sends(GOOD, "13"),
        *(400, 403, "User not permission", "uid_mismatch", "invalid_request"),
    ),
]


@pytest.fixture(params=ROWS, ids=[row.name for row in ROWS])
def row(request: pytest.FixtureRequest) -> Row:
    found: Row = request.param
    return found


def test_a_row_answers_with_its_status_error_and_code(row: Row) -> None:
    response = Guarded().send(headers=row.sent)
    assert response.status_int == row.classic
    assert response.json == {"error": row.error, "code": row.code}


def test_a_row_has_a_registered_status_in_the_rfc6750_profile_and_the_same_body(row: Row) -> None:
    response = Guarded(status_profile="rfc6750").send(headers=row.sent)
    assert response.status_int == row.rfc6750
    assert response.json == {"error": row.error, "code": row.code}


def test_a_refused_request_never_reaches_the_app(row: Row) -> None:
    guarded = Guarded()
    guarded.send(headers=row.sent, method="POST")
    assert guarded.reached == 0


def test_a_rejection_is_json_not_to_be_stored_of_the_right_length(row: Row) -> None:
    response = Guarded().send(headers=row.sent)
    assert response.headers["Content-Type"] == "application/json"
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["Content-Length"] == str(len(response.body))


@pytest.mark.parametrize("profile", ["classic", "rfc6750"])
def test_a_rejection_challenges_as_rfc6750_section_3_says(row: Row, profile: str) -> None:
    header = Guarded(status_profile=profile).send(headers=row.sent).headers["WWW-Authenticate"]
    challenge = f', error="{row.challenge}", error_description="' if row.challenge else ""
    assert header.startswith(f'Bearer realm="gateway"{challenge}')
    assert ("error" in header) == (row.challenge is not None)


def test_head_gets_the_same_headers_and_no_body(row: Row) -> None:
    guarded = Guarded()
    get, head = guarded.send(headers=row.sent), guarded.send(headers=row.sent, method="HEAD")
    assert head.headerlist == get.headerlist
    assert head.body == b""


def test_the_reason_phrase_of_498_is_invalid_token() -> None:
    assert Guarded().request(token="abc").status == "498 Invalid Token"


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        pytest.param({"Authorization": "Basic x"}, "missing_credentials", id="1 before 2"),
        pytest.param(sends("a" * 9000 + "!"), "malformed_credentials", id="2 before 3"),
        pytest.param(sends(forge(claims(exp=1), key="other" * 9)), "invalid_token", id="4 before 5"),
        pytest.param(sends(forge(claims(exp=1, uid=None))), "token_expired", id="5 before 6"),
        pytest.param(sends(forge(claims(sid=1)), "13"), "invalid_claims", id="6 before 8"),
    ],
)
def test_the_first_row_that_fails_answers(earlier: Headers, later: str) -> None:
    assert Guarded().send(headers=earlier).json["code"] == later


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("{token}", id="no scheme"),
        pytest.param("Bearer", id="scheme alone"),
        pytest.param("Bearer ", id="no token"),
        pytest.param("Bearer{token}", id="no space"),
        pytest.param("Bearer\t{token}", id="tab"),
        pytest.param("Bearer {token} ", id="space after"),
        pytest.param(" Bearer {token}", id="space before"),
        pytest.param("Bearer {token} {token}", id="two tokens"),
        pytest.param("Bearer {token},Bearer {token}", id="two headers joined"),
        pytest.param("Bearer {token}, Bearer {token}", id="two headers joined by comma and space"),
        pytest.param("Basic eDp5,Bearer {token}", id="another scheme before"),
        pytest.param('Bearer "{token}"', id="quoted"),
        pytest.param("Bearer {token}\xe9", id="beyond ASCII"),
        pytest.param("Bearer token={token}:", id="colon"),
        pytest.param("Digest {token}", id="another scheme"),
    ],
)
def test_authorization_that_is_not_bearer_and_one_token_is_malformed(value: str) -> None:
    sent = {"Authorization": value.replace("{token}", GOOD), "uid": "12"}
    assert Guarded().send(headers=sent).json["code"] == "malformed_credentials"


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "bEaReR"])
def test_the_scheme_is_read_in_any_case(scheme: str) -> None:
    sent = {"Authorization": f"{scheme} {GOOD}", "uid": "12"}
    assert Guarded().send(headers=sent).status_int == 200


def test_more_than_one_space_may_follow_the_scheme() -> None:
    assert Guarded().send(headers={"Authorization": f"Bearer   {GOOD}", "uid": "12"}).status_int == 200


def test_a_token_longer_than_the_limit_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    def decode(*_: object) -> None:
        pytest.fail("it was decoded")

    guarded = Guarded(max_token_bytes=len(GOOD) - 1)
    monkeypatch.setattr("gateway.jws.decode", decode)
    assert guarded.request(token=GOOD).json["code"] == "invalid_token"


def test_a_token_as_long_as_the_limit_is_good() -> None:
    assert Guarded(max_token_bytes=len(GOOD)).request(token=GOOD).status_int == 200


@pytest.mark.parametrize(
    ("leeway", "late", "status"),
    [(0, -0.001, 200), (0, 0.0, 401), (5, 4.999, 200), (5, 5.0, 401)],
)
def test_a_token_is_good_until_its_end_and_the_leeway_after_it(leeway: int, late: float, status: int) -> None:
    guarded = Guarded(leeway_sec=leeway)
    exp = int(NOW) + 60
    guarded.clock.time = exp + late
    assert guarded.request(token=forge(claims(exp=exp))).status_int == status


@pytest.mark.parametrize(
    ("claim", "uid", "code"),
    [
        pytest.param(12, "12", None, id="integer"),
        pytest.param(12, "012", "uid_mismatch", id="leading zero"),
        pytest.param(12, "+12", "uid_mismatch", id="plus"),
        pytest.param(12, "1_2", "uid_mismatch", id="underscore"),
        pytest.param(12, "12.0", "uid_mismatch", id="fraction"),
        pytest.param(12, "12,12", "uid_mismatch", id="two headers joined"),
        pytest.param(12, "12\xa0", "uid_mismatch", id="no-break space"),
        pytest.param(-3, "-3", None, id="negative"),
        pytest.param("012", "012", None, id="string as it stands"),
        pytest.param("012", "12", "uid_mismatch", id="string is no number"),
        pytest.param("Ann", "ann", "uid_mismatch", id="other case"),
        pytest.param("a@b!~", "a@b!~", None, id="punctuation"),
    ],
)
def test_the_uid_header_must_be_exactly_the_uid(claim: object, uid: str, code: str | None) -> None:
    response = Guarded().request(token=forge(claims(uid=claim)), uid=uid)
    assert (response.json["code"] if response.status_int != 200 else None) == code


class TestWithoutRequiredUid:
    def test_the_token_alone_is_enough(self) -> None:
        guarded = Guarded(require_uid=False)
        guarded.request(uid=None)
        assert guarded.seen["HTTP_UID"] == guarded.seen["REMOTE_USER"] == "12"

    def test_an_empty_uid_counts_as_none(self) -> None:
        assert Guarded(require_uid=False).request(uid="").status_int == 200

    def test_a_uid_that_was_sent_is_compared_all_the_same(self) -> None:
        assert Guarded(require_uid=False).request(uid="13").json["code"] == "uid_mismatch"

    def test_authorization_is_still_asked_for(self) -> None:
        assert Guarded(require_uid=False).request(token="").json["code"] == "missing_credentials"


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda tokens: tokens.create(uid=12), id="integer"),
        pytest.param(lambda tokens: tokens.create(uid=12, scope="read", roles=["a"]), id="extra claims"),
        pytest.param(lambda tokens: tokens.refresh(tokens.create(12)), id="refreshed"),
    ],
)
def test_a_token_that_was_made_here_passes(make: Callable[[Clock], str]) -> None:
    guarded = Guarded()
    assert guarded.request(token=make(guarded.clock)).body == b"from the app"


@pytest.mark.parametrize(
    ("options", "payload"),
    [
        pytest.param({"uid_claim": "sub"}, claims(uid=..., sub="12"), id="uid claim"),
        pytest.param({"issuer": "me"}, claims(iss="me"), id="issuer"),
        pytest.param({"audience": "us"}, claims(aud="us"), id="audience"),
        pytest.param({"audience": "us"}, claims(aud=["them", "us"]), id="audience among several"),
    ],
)
def test_a_token_with_the_configured_claims_passes(options: dict[str, Any], payload: dict[str, Any]) -> None:
    assert Guarded(**options).request(token=forge(payload)).status_int == 200


def test_the_session_ends_at_its_longest_however_often_it_is_renewed() -> None:
    guarded = Guarded(exp_time_min=30, refresh_time_min=30, max_session_min=60)
    token = guarded.clock.create(uid=12)
    for _ in range(6):
        guarded.clock.time += 10 * MINUTE - 1
        response = guarded.request(token=token)
        assert response.status_int == 200
        token = response.headers.get("X-Refreshed-Token", token)
    guarded.clock.time = NOW + 60 * MINUTE
    assert guarded.request(token=token).json["code"] == "token_expired"
