"""`POST /auth`: who gets in, what is refused, and what nobody is told."""

from __future__ import annotations

import io
import json
import secrets
import sqlite3
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any

import jwt
import pytest
import webtest

from gateway import AuthGateway, ConfigError, Settings, passwords
from gateway.directory import USERS_TIMEOUT_SEC
from gateway.errors import KeysUnavailableError, StateUnavailableError
from gateway.stores.memory import MemoryStore
from gateway.users import Users
from tests.support import KEY, MINUTE, NOW, Clock, Guarded, Recorder, as_bytes
from tests.test_passwords import CheapHasher

PASSWORD = "correct horse"
WRONG = "battery staple"
HERE = "192.0.2.1"
MOST = 64 * 1024  # bytes of a body

Check = Callable[[int | str, str], Any]


def knows_one_password(uid: int | str, password: str) -> Mapping[str, Any] | None:
    return {"role": "editor"} if password == PASSWORD else None


class Door:
    """A login function in a module of its own, which keeps what it was asked; `answer` is what it does."""

    def __init__(self) -> None:
        self.asked: list[tuple[int | str, str]] = []
        self.answer: Check = knows_one_password
        module = ModuleType(f"door_{secrets.token_hex(8)}")
        vars(module)["check"] = self.check
        sys.modules[module.__name__] = module
        self.spec = f"{module.__name__}:check"

    def check(self, uid: int | str, password: str) -> Any:
        self.asked.append((uid, password))
        return self.answer(uid, password)


class House(Guarded):
    """An app behind the gateway, with a login function at its door."""

    def __init__(self, app: Any = None, **options: Any) -> None:
        self.door = Door()
        usual = {"state_url": "memory://", "state_timeout_sec": 60, "login": self.door.spec}
        super().__init__(app, **{**usual, **options})

    def post(self, body: bytes | str, path: str = "/auth", **environ: Any) -> webtest.TestResponse:
        """Send a body from an address."""
        environ = {"REMOTE_ADDR": HERE, **environ}
        return self.client.post(
            path, body, content_type="application/json", extra_environ=environ, expect_errors=True
        )

    def log_in(self, uid: object = 12, password: object = PASSWORD, **environ: Any) -> webtest.TestResponse:
        """Try to log in."""
        return self.post(as_bytes({"uid": uid, "password": password}), **environ)

    def stream(
        self, body: bytes, path: str = "/auth", *, terminated: bool = True, **environ: Any
    ) -> webtest.TestResponse:
        """Send a body without its length, as a server hands on one in chunks."""
        request = webtest.TestRequest.blank(path, environ=environ, method="POST")
        request.environ.pop("CONTENT_LENGTH", None)
        request.environ["wsgi.input"] = io.BytesIO(body)
        if terminated:
            request.environ["wsgi.input_terminated"] = True
        return self.client.do_request(request, expect_errors=True)


def refused(response: webtest.TestResponse) -> tuple[int, str]:
    return response.status_int, response.json["code"]


def whole(response: webtest.TestResponse) -> tuple[str, list[tuple[str, str]], bytes]:
    """All that a client sees."""
    return response.status, response.headerlist, response.body


def down(*_: object, **__: object) -> Any:
    """Stand in for a method of a store that is down."""
    raise StateUnavailableError("it is down")


def padded(size: int) -> bytes:
    """A good body of so many bytes."""
    return as_bytes({"uid": 12, "password": PASSWORD}).ljust(size)


WRONG_LOGIN = (401, "wrong_login")
MALFORMED = (400, "malformed_body")
INVALID = (422, "invalid_body")
TOO_LARGE = (413, "body_too_large")
LOGIN_DOWN = (503, "login_unavailable")
STATE_DOWN = (503, "state_unavailable")


@pytest.fixture(name="users_url")
def _users_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A users database with 12 and bob in it, and eve, who is disabled."""
    monkeypatch.setattr(passwords, "hasher", CheapHasher())
    url = f"sqlite:///{tmp_path}/users.db"
    with closing(Users(url)) as users:
        for uid in ("12", "bob", "eve"):
            users.add(uid, PASSWORD, {"role": "editor"})
        users.set_disabled("eve", True)
    return url


# A login that goes well


def test_the_answer_is_a_bearer_token_and_the_seconds_it_lives() -> None:
    response = House(exp_time_min=20).log_in()
    assert response.status_int == 200
    assert response.json.keys() == {"token", "token_type", "expires_in"}
    assert (response.json["token_type"], response.json["expires_in"]) == ("Bearer", 20 * MINUTE)


def test_the_answer_is_json_that_nobody_keeps() -> None:
    response = House().log_in()
    assert response.headers["Content-Type"] == "application/json"
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["Content-Length"] == str(len(response.body))
    assert "WWW-Authenticate" not in response.headers


def test_the_seconds_are_those_until_the_token_expires() -> None:
    house = House()
    answer = house.log_in().json
    assert house.clock.decode_token(answer["token"])["exp"] == int(NOW) + answer["expires_in"]


@pytest.mark.parametrize(
    "uid",
    [
        pytest.param(12, id="integer"),
        pytest.param("12", id="digits"),
        pytest.param("bob", id="text"),
        pytest.param(0, id="zero"),
        pytest.param(-12, id="negative"),
        pytest.param("012", id="leading zero"),
        pytest.param("x" * 255, id="longest"),
        pytest.param(10**254, id="longest integer"),
    ],
)
def test_the_token_passes_for_the_uid_that_logged_in(uid: int | str) -> None:
    house = House()
    token = house.log_in(uid).json["token"]
    assert house.clock.decode_token(token)["uid"] == uid
    assert house.request(token=token, uid=str(uid)).status_int == 200
    assert house.seen["REMOTE_USER"] == str(uid)


def test_the_token_carries_the_claims_of_the_function() -> None:
    house = House()
    house.door.answer = lambda uid, password: {"scope": "read write", "deep": {"list": [1, None, "ä"]}}
    house.request(token=house.log_in().json["token"])
    claims = house.seen["gateway.claims"]
    assert (claims["scope"], claims["deep"]) == ("read write", {"list": [1, None, "ä"]})


def test_no_claims_are_good_claims() -> None:
    house = House()
    house.door.answer = lambda uid, password: {}
    assert house.log_in().status_int == 200


def test_the_token_begins_a_session_of_its_own() -> None:
    house = House()
    claims = [house.clock.decode_token(house.log_in().json["token"]) for _ in range(2)]
    assert claims[0]["sid"] != claims[1]["sid"]
    assert [each["auth_time"] for each in claims] == [NOW, NOW]


def test_the_token_has_the_configured_source_and_uid_claim() -> None:
    house = House(uid_claim="sub", issuer="https://us.example", audience="app")
    token = house.log_in().json["token"]
    claims = jwt.decode(token, options={"verify_signature": False})
    assert (claims["sub"], claims["iss"], claims["aud"]) == (12, "https://us.example", "app")
    assert house.request(token=token).status_int == 200


@pytest.mark.parametrize("uid", [pytest.param(12, id="integer"), pytest.param("12", id="text")])
def test_the_function_is_given_uid_and_password_as_they_came(uid: int | str) -> None:
    house = House()
    house.log_in(uid, "pass wörd \0")
    assert house.door.asked == [(uid, "pass wörd \0")]
    assert type(house.door.asked[0][0]) is type(uid)


def test_other_members_of_the_body_do_not_matter() -> None:
    house = House()
    assert house.post(as_bytes({"uid": 12, "password": PASSWORD, "remember": True})).status_int == 200


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_the_content_type_does_not_matter(kind: str) -> None:
    house = House()
    assert house.post(padded(100), CONTENT_TYPE=kind).status_int == 200


def test_credentials_make_no_difference() -> None:
    house = House()
    assert house.log_in(HTTP_AUTHORIZATION="Bearer bad", HTTP_UID="13").status_int == 200


def test_a_body_without_a_length_is_read_where_the_server_ends_it() -> None:
    assert House().stream(padded(100)).status_int == 200


def test_a_body_without_a_length_is_none_where_the_server_does_not_end_it() -> None:
    assert refused(House().stream(padded(100), terminated=False)) == MALFORMED


# Where it is


@pytest.mark.parametrize("public", [(), ("/auth", "/auth/*"), ("/*",)])
def test_the_wrapped_app_never_sees_a_login(public: tuple[str, ...]) -> None:
    house = House(public_paths=public)
    assert house.log_in().status_int == 200
    assert refused(house.log_in(password=WRONG)) == WRONG_LOGIN
    assert house.reached == 0


def test_there_is_none_where_none_is_configured() -> None:
    guarded = Guarded(state_url="memory://")
    response = guarded.client.post("/auth", padded(100), expect_errors=True)
    assert refused(response) == (404, "not_found")
    assert guarded.reached == 0


@pytest.mark.parametrize("path", ["/auth/", "/auth//", "/auth/login", "/auth/%20", "/auth/."])
def test_it_is_at_the_prefix_alone(path: str) -> None:
    house = House()
    assert refused(house.log_in(path=path)) == (404, "not_found")
    assert house.door.asked == []


def test_it_moves_with_the_prefix() -> None:
    house = House(prefix="/_gateway/v1")
    assert house.log_in(path="/_gateway/v1").status_int == 200
    assert refused(house.log_in(path="/auth")) == (400, "missing_credentials")


def test_an_empty_prefix_turns_it_off() -> None:
    house = House(prefix="")
    assert house.log_in(path="/auth").json["code"] == "missing_credentials"
    assert house.door.asked == []


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_it_is_for_post_alone(method: str) -> None:
    house = House()
    response = house.send("/auth", method=method)
    assert response.status_int == 405
    assert response.headers["Allow"] == "POST"
    assert house.door.asked == []


# Wrong ones


def test_a_wrong_password_is_refused() -> None:
    response = House().log_in(password=WRONG)
    assert response.status == "401 Unauthorized"
    assert response.json == {"error": "Wrong uid or password", "code": "wrong_login"}
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["Content-Type"] == "application/json"
    assert response.headers["WWW-Authenticate"] == 'Bearer realm="gateway"'


@pytest.mark.parametrize("profile", ["classic", "rfc6750"])
def test_a_wrong_login_is_the_same_in_both_profiles(profile: str) -> None:
    assert refused(House(status_profile=profile).log_in(password=WRONG)) == WRONG_LOGIN


@pytest.mark.parametrize(
    ("uid", "password"),
    [
        pytest.param("nobody", PASSWORD, id="nobody"),
        pytest.param("eve", PASSWORD, id="disabled"),
        pytest.param("BOB", PASSWORD, id="another case"),
        pytest.param("012", PASSWORD, id="another number"),
        pytest.param("bob", "", id="empty password"),
        pytest.param("bob", "x" * 1025, id="password too long"),
        pytest.param("bob", f"{PASSWORD}\0", id="NUL"),
        pytest.param("bob", "\ud800", id="half a character"),
        pytest.param("\ud800", PASSWORD, id="uid of half a character"),
        pytest.param("", PASSWORD, id="empty uid"),
        pytest.param("b,ob", PASSWORD, id="uid with a comma"),
        pytest.param("bob ", PASSWORD, id="uid with a space"),
        pytest.param("x" * 256, PASSWORD, id="uid too long"),
        pytest.param(10**300, PASSWORD, id="integer too long"),
    ],
)
def test_whoever_is_refused_is_told_the_same(uid: object, password: str, users_url: str) -> None:
    house = House(login=None, users_url=users_url)
    assert whole(house.log_in(uid, password)) == whole(house.log_in("bob", WRONG))


@pytest.mark.parametrize(
    "uid",
    [
        pytest.param("", id="empty"),
        pytest.param("a,b", id="comma"),
        pytest.param("a b", id="space"),
        pytest.param("é", id="beyond ASCII"),
        pytest.param("\ud800", id="half a character"),
        pytest.param("x" * 256, id="long text"),
        pytest.param(10**255, id="long integer"),
        pytest.param(-(10**4000), id="very long integer"),
        pytest.param("a\nb", id="line break"),
    ],
)
def test_what_can_be_no_uid_is_a_wrong_one_of_which_the_function_is_not_asked(uid: int | str) -> None:
    house = House()
    house.door.answer = lambda uid, password: {}
    assert refused(house.log_in(uid)) == WRONG_LOGIN
    assert house.door.asked == []


@pytest.mark.parametrize(
    "password",
    [
        pytest.param("", id="empty"),
        pytest.param("x" * 1025, id="long"),
        pytest.param("\ud800", id="half a character"),
    ],
)
def test_an_odd_password_is_a_wrong_one(password: str) -> None:
    assert refused(House().log_in(password=password)) == WRONG_LOGIN


# Bodies


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b" ", id="blank"),
        pytest.param(b"uid=12&password=x", id="a form"),
        pytest.param(b"{", id="cut short"),
        pytest.param(b"null", id="null"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b'"text"', id="text"),
        pytest.param(b"12", id="a number"),
        pytest.param(b'{"uid": 12, "password": "x"} {}', id="two objects"),
        pytest.param(b'{"uid": 12, "password": "x",}', id="trailing comma"),
        pytest.param(b"{'uid': 12, 'password': 'x'}", id="single quotes"),
        pytest.param(b'{"uid": 12, "password": "\xff"}', id="not UTF-8"),
        pytest.param(b'{"uid": 12, "password": "\xed\xa0\x80"}', id="a surrogate in UTF-8"),
        pytest.param(b'\xef\xbb\xbf{"uid": 12, "password": "x"}', id="BOM"),
        pytest.param('{"uid": 12, "password": "x"}'.encode("utf-16"), id="UTF-16"),
        pytest.param(b'{"uid": 12, "uid": 13, "password": "x"}', id="uid twice"),
        pytest.param(b'{"uid": 12, "password": "x", "a": {"b": 1, "b": 2}}', id="a member twice"),
        pytest.param(b'{"uid": NaN, "password": "x"}', id="NaN"),
        pytest.param(b'{"uid": 12, "password": "x", "a": -Infinity}', id="Infinity"),
        pytest.param(b'{"uid": 1e999, "password": "x"}', id="beyond a double"),
        pytest.param(b'{"uid": %s, "password": "x"}' % (b"9" * 5000), id="5,000 digits"),
        pytest.param(b'{"uid": 012, "password": "x"}', id="leading zero"),
        pytest.param(b"[" * 60_000, id="60,000 lists"),
        pytest.param(b'{"a":' * 10_000 + b"1" + b"}" * 10_000, id="10,000 objects"),
        pytest.param(b'{"uid": 12, "password": "a\nb"}', id="control character"),
        pytest.param(b"\0" * 100, id="NUL"),
    ],
)
def test_a_body_that_is_no_json_object_is_malformed(body: bytes) -> None:
    house = House()
    response = house.post(body)
    assert refused(response) == MALFORMED
    assert response.json["error"] == "Bad Request"
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["WWW-Authenticate"].startswith('Bearer realm="gateway"')
    assert house.door.asked == []


NO_UIDS: list[object] = [None, True, False, 12.0, 1.5, [], [12], {}, {"uid": 12}]
NO_TEXTS: list[object] = [None, True, 12, 1.5, [], ["x"], {}]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({}, id="empty object"),
        pytest.param({"uid": 12}, id="no password"),
        pytest.param({"password": "x"}, id="no uid"),
        pytest.param({"UID": 12, "password": "x"}, id="another case"),
        *(pytest.param({"uid": uid, "password": "x"}, id=f"uid {uid!r}") for uid in NO_UIDS),
        *(pytest.param({"uid": 12, "password": text}, id=f"password {text!r}") for text in NO_TEXTS),
    ],
)
def test_a_field_that_is_missing_or_of_the_wrong_type_is_invalid(body: dict[str, object]) -> None:
    house = House(login_tries=1)
    response = house.post(as_bytes(body))
    assert refused(response) == INVALID
    assert response.json["error"] == "Unprocessable Content"
    assert response.headers["Cache-Control"] == "no-store"
    assert house.door.asked == []


@pytest.mark.parametrize("body", [b"", b"{}", b"[]"])
def test_a_body_that_cannot_be_used_is_not_counted(body: bytes) -> None:
    house = House(login_tries=1, login_tries_per_address=1)
    for _ in range(3):
        house.post(body)
    assert house.log_in().status_int == 200


@pytest.mark.parametrize("send", [House.post, House.stream])
def test_a_body_of_64_kib_is_not_too_large(send: Callable[..., webtest.TestResponse]) -> None:
    assert send(House(), padded(MOST)).status_int == 200


@pytest.mark.parametrize("send", [House.post, House.stream])
@pytest.mark.parametrize("size", [MOST + 1, MOST + 2, 2 * MOST, 2 * MOST + 1, 20 * MOST])
def test_a_body_over_64_kib_is_too_large(send: Callable[..., webtest.TestResponse], size: int) -> None:
    house = House()
    response = send(house, padded(size))
    assert response.status_int == 413
    assert refused(response) == TOO_LARGE
    assert response.headers["Cache-Control"] == "no-store"
    assert house.door.asked == []


def test_a_length_over_64_kib_is_enough_for_a_body_not_to_be_read() -> None:
    house = House()
    request = webtest.TestRequest.blank("/auth", method="POST")
    request.environ["CONTENT_LENGTH"] = str(MOST + 1)
    body = io.BytesIO(padded(MOST + 1))
    request.environ["wsgi.input"] = body
    assert refused(house.client.do_request(request, expect_errors=True)) == TOO_LARGE
    assert body.tell() == 0


def test_a_body_that_ends_early_is_malformed() -> None:
    request = webtest.TestRequest.blank("/auth", method="POST")
    request.environ["CONTENT_LENGTH"] = "200"
    request.environ["wsgi.input"] = io.BytesIO(padded(100))
    assert refused(House().client.do_request(request, expect_errors=True)) == MALFORMED


def test_a_client_that_goes_away_is_no_fault_of_ours() -> None:
    class Gone(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise ConnectionResetError

        def readinto(self, buffer: Any) -> int:
            raise ConnectionResetError

    request = webtest.TestRequest.blank("/auth", method="POST")
    request.environ["CONTENT_LENGTH"] = "200"
    request.environ["wsgi.input"] = Gone()
    assert refused(House().client.do_request(request, expect_errors=True)) == MALFORMED


@pytest.mark.parametrize("length", ["abc", "-1", "1.5", ""])
def test_a_length_that_is_none_counts_as_no_body(length: str) -> None:
    environ = {"REQUEST_METHOD": "POST", "PATH_INFO": "/auth", "CONTENT_LENGTH": length}
    started: list[str] = []
    House().gateway(
        {**environ, "wsgi.input": io.BytesIO(padded(100))},
        lambda status, *_: started.append(status) or print,  # type: ignore[func-returns-value]
    )
    assert started == ["400 Bad Request"]


# A login function that does not do what it should


def raising(error: BaseException) -> Check:
    def answer(uid: int | str, password: str) -> Any:
        raise error

    return answer


def returning(claims: object) -> Check:
    return lambda uid, password: claims


class Lazy(Mapping[str, Any]):
    """Claims that fail when they are read."""

    def __getitem__(self, name: str) -> Any:
        raise RuntimeError(PASSWORD)

    def __iter__(self) -> Iterator[str]:
        return iter(["role"])

    def __len__(self) -> int:
        return 1


CIRCULAR: dict[str, Any] = {}
CIRCULAR["self"] = CIRCULAR
FAILING = [
    pytest.param(raising(RuntimeError(f"no database for {PASSWORD}")), id="raises"),
    pytest.param(raising(RecursionError(PASSWORD)), id="raises RecursionError"),
    pytest.param(raising(KeysUnavailableError(PASSWORD)), id="raises an error of ours"),
    pytest.param(raising(StateUnavailableError(PASSWORD)), id="raises a store's error"),
    pytest.param(raising(ConfigError(PASSWORD)), id="raises ConfigError"),
    pytest.param(returning(True), id="True"),
    pytest.param(returning(False), id="False"),
    pytest.param(returning("role"), id="text"),
    pytest.param(returning(0), id="a number"),
    pytest.param(returning([("role", "x")]), id="a list"),
    pytest.param(returning(()), id="an empty tuple"),
    pytest.param(returning({"uid": 13}), id="uid"),
    pytest.param(returning({"exp": 9}), id="exp"),
    pytest.param(returning({"sid": "mine"}), id="sid"),
    pytest.param(returning({"auth_time": 1}), id="auth_time"),
    pytest.param(returning({"iss": "me"}), id="iss"),
    pytest.param(returning({"aud": "you"}), id="aud"),
    pytest.param(returning({"jti": 5}), id="jti of the wrong type"),
    pytest.param(returning({"nbf": "soon"}), id="nbf of the wrong type"),
    pytest.param(returning({"a": object()}), id="an object"),
    pytest.param(returning({"a": {1, 2}}), id="a set"),
    pytest.param(returning({"a": float("nan")}), id="NaN"),
    pytest.param(returning({1: "a"}), id="a name that is a number"),
    pytest.param(returning({("a", "b"): "c"}), id="a name that is a tuple"),
    pytest.param(returning(CIRCULAR), id="circular"),
    pytest.param(returning({"a": "x" * 8000}), id="too long for a token"),
    pytest.param(returning(Lazy()), id="claims that cannot be read"),
]


@pytest.mark.parametrize("answer", FAILING)
def test_a_function_that_fails_is_answered_with_503(answer: Check) -> None:
    house = House()
    house.door.answer = answer
    response = house.log_in()
    assert refused(response) == LOGIN_DOWN
    assert response.json["error"] == "Service Unavailable"
    assert int(response.headers["Retry-After"]) > 0
    assert "WWW-Authenticate" not in response.headers
    assert PASSWORD not in response.text


@pytest.mark.parametrize("answer", FAILING)
def test_a_function_that_fails_is_logged_without_the_password(
    answer: Check, caplog: pytest.LogCaptureFixture
) -> None:
    house = House()
    house.door.answer = answer
    house.log_in()
    (record,) = [record for record in caplog.records if record.name == "gateway"]
    assert record.levelname == "ERROR"
    assert len(caplog.text.splitlines()) == 1
    assert PASSWORD not in caplog.text


def test_a_function_that_raises_is_logged_with_type_and_place(caplog: pytest.LogCaptureFixture) -> None:
    house = House()
    house.door.answer = raising(LookupError(PASSWORD))
    house.log_in()
    assert "GATEWAY_LOGIN raised LookupError" in caplog.text
    assert __file__ in caplog.text


def test_what_the_function_returned_is_logged_by_its_type(caplog: pytest.LogCaptureFixture) -> None:
    house = House()
    house.door.answer = returning("hunter2")
    house.log_in()
    assert "GATEWAY_LOGIN returned str" in caplog.text
    assert "hunter2" not in caplog.text


def test_a_function_that_raised_is_asked_again() -> None:
    house = House()
    house.door.answer = raising(RuntimeError())
    house.log_in()
    house.door.answer = knows_one_password
    assert house.log_in().status_int == 200


# Who may log in by the users database


@pytest.mark.parametrize(
    ("uid", "claim"),
    [(12, 12), ("12", 12), ("bob", "bob")],
    ids=["integer", "digits", "text"],
)
def test_a_user_logs_in(uid: int | str, claim: int | str, users_url: str) -> None:
    house = House(login=None, users_url=users_url)
    token = house.log_in(uid).json["token"]
    assert house.request(token=token, uid=str(uid)).status_int == 200
    assert house.seen["gateway.claims"]["uid"] == claim
    assert house.seen["gateway.claims"]["role"] == "editor"


def test_a_database_that_is_down_is_answered_with_503(tmp_path: Path) -> None:
    house = House(login=None, users_url=f"sqlite:///{tmp_path}/missing/users.db")
    response = house.log_in()
    assert refused(response) == LOGIN_DOWN
    assert int(response.headers["Retry-After"]) > 0
    assert str(tmp_path) not in response.text


def test_a_user_whose_claims_make_no_token_is_answered_with_503(users_url: str, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "users.db", isolation_level=None)) as connection:
        connection.execute("UPDATE gateway_users SET claims = '{\"exp\": 5}' WHERE uid = 'bob'")
    assert refused(House(login=None, users_url=users_url).log_in("bob")) == LOGIN_DOWN


def test_a_session_begins_before_the_password_is_looked_at() -> None:
    """So that a password changed meanwhile, which ends all sessions, ends this one too."""
    house = House()

    def slow(uid: int | str, password: str) -> dict[str, Any]:
        house.clock.time += 5
        return {}

    house.door.answer = slow
    claims = house.clock.decode_token(house.log_in().json["token"])
    assert (claims["auth_time"], claims["iat"]) == (NOW, int(NOW) + 5)


def test_hashing_may_take_longer_than_the_state_store(
    users_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    allowed: list[float] = []

    def within(timeout: float, call: Callable[[], Any]) -> Any:
        allowed.append(timeout)
        return call()

    monkeypatch.setattr("gateway.breaker.within", within)
    assert House(login=None, users_url=users_url, state_timeout_sec=0.5).log_in().status_int == 200
    assert max(allowed) == USERS_TIMEOUT_SEC


# Where a login cannot be counted, or no token be made


def test_where_no_attempt_can_be_counted_no_password_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    house = House()
    monkeypatch.setattr(MemoryStore, "admit", down)
    response = house.log_in()
    assert refused(response) == STATE_DOWN
    assert int(response.headers["Retry-After"]) > 0
    assert house.door.asked == []


def test_a_store_that_is_not_there_lets_nobody_in_though_it_may_fail_open(tmp_path: Path) -> None:
    house = House(state_url=f"sqlite:///{tmp_path}/missing/state.db", state_fail_open=True)
    assert refused(house.log_in()) == STATE_DOWN
    assert house.door.asked == []


def test_an_attempt_that_cannot_be_forgiven_is_a_login_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    house = House()
    monkeypatch.setattr(MemoryStore, "forgive", down)
    assert house.log_in().status_int == 200


def test_a_store_that_can_be_written_but_not_read_lets_people_in(monkeypatch: pytest.MonkeyPatch) -> None:
    house = House()
    monkeypatch.setattr(MemoryStore, "read", down)
    assert house.log_in().status_int == 200


def test_without_a_key_to_sign_with_nobody_is_let_in(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_key(*_: object) -> str:
        raise KeysUnavailableError("none")

    house = House()
    monkeypatch.setattr(Clock, "begin", no_key)
    assert refused(house.log_in()) == (503, "keys_unavailable")


def test_a_login_that_can_give_no_token_does_not_start(tmp_path: Path) -> None:
    """Without TOKEN_KEY nothing is issued: to log in would be a fault at each request."""
    policy = tmp_path / "policy.toml"
    policy.write_text(
        "[[issuers]]\nissuer='https://a.example'\njwks_url='https://a.example/keys'\naudience='us'\n"
    )
    with pytest.raises(ConfigError, match="TOKEN_KEY is not set"):
        Settings(policy_file=str(policy), state_url="memory://", login=Door().spec)


def test_a_gateway_does_not_start_where_the_function_does_not_import() -> None:
    settings = Settings(token_key=KEY, state_url="memory://", login="no_such_module:check")
    with pytest.raises(ConfigError, match=r"^GATEWAY_LOGIN is 'no_such_module:check', which does not import"):
        AuthGateway(Recorder(), settings)


def test_an_answer_is_the_same_json_whoever_reads_it() -> None:
    response = House().log_in()
    assert json.loads(response.body) == response.json
    assert response.body.isascii()
