"""The helpers for other people's tests: each client, each token and the clock do what they say."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

import flask
import pytest
import webtest
import werkzeug.test
from flask.testing import FlaskClient

from gateway import AuthGateway, ConfigError, InvalidClaimsError, Settings, TokenCreator
from gateway.keyfolder import generate
from gateway.testing import (
    Clock,
    Tokens,
    django_client,
    flask_client,
    renewed_token,
    settings_for_tests,
    standing_clock,
    webtest_client,
    werkzeug_client,
)
from tests import echoes
from tests.django_projects import project
from tests.support import KEY, NOW
from tests.support import Clock as CreatorWithClock


@dataclass(frozen=True)
class Kind:
    """A library's client, and how it is asked."""

    client: Callable[..., Any]
    app: Callable[[], Any]
    gateway: Callable[[Any, Settings], Any]
    get: Callable[..., Any]


def _wrapped_flask(app: flask.Flask, settings: Settings) -> flask.Flask:
    app.wsgi_app = AuthGateway(app.wsgi_app, settings)  # type: ignore[method-assign]
    return app


def _webtest_get(client: Any, path: str, *, follow: bool = False, **headers: str) -> Any:
    response = client.get(path, headers=headers, expect_errors=True)
    return response.follow() if follow else response


def _werkzeug_get(client: Any, path: str, *, follow: bool = False, **headers: str) -> Any:
    return client.get(path, headers=headers, follow_redirects=follow)


def _django_get(client: Any, path: str, *, follow: bool = False, **headers: str) -> Any:
    return client.get(path, headers=headers, follow=follow)


def _django_app() -> Any:
    from django.core.wsgi import get_wsgi_application  # noqa: PLC0415 - once it is configured

    return get_wsgi_application()


class Outer:
    """Middleware in front of a gateway, which hides it."""

    def __init__(self, gateway: AuthGateway) -> None:
        self._app = gateway

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        return self._app(environ, start_response)


KINDS = {
    "webtest": Kind(webtest_client, lambda: echoes.wsgi_app, AuthGateway, _webtest_get),
    "werkzeug": Kind(werkzeug_client, lambda: echoes.wsgi_app, AuthGateway, _werkzeug_get),
    "flask": Kind(flask_client, echoes.flask_app, _wrapped_flask, _werkzeug_get),
    "django": Kind(django_client, _django_app, AuthGateway, _django_get),
}


@pytest.fixture(scope="module", autouse=True)
def _django() -> Iterator[None]:
    from django.test.utils import setup_test_environment, teardown_test_environment  # noqa: PLC0415

    with project(echoes.django_settings()):
        setup_test_environment()
        yield
        teardown_test_environment()


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    return KINDS[request.param]


@pytest.fixture
def clock() -> Iterator[Clock]:
    with standing_clock() as clock:
        yield clock


def json_of(response: Any) -> Any:
    return response.json() if callable(response.json) else response.json


def answer(response: Any) -> tuple[int, str | None]:
    """Status and code; no code where the app has answered."""
    return response.status_code, json_of(response).get("code")


# Every client


def test_somebody_reaches_the_app_with_uid_and_claims(kind: Kind) -> None:
    client = kind.client(kind.app()).as_user(
        12, scopes=["a:read", "b"], claims={"team": "blue"}, role="editor"
    )
    told = json_of(kind.get(client, "/"))
    assert told["uid"] == "12"
    assert (
        told["claims"].items() >= {"uid": 12, "scope": "a:read b", "team": "blue", "role": "editor"}.items()
    )


def test_a_uid_may_be_text(kind: Kind) -> None:
    assert json_of(kind.get(kind.client(kind.app()).as_user("anna"), "/"))["claims"]["uid"] == "anna"


def test_a_client_is_nobody_until_it_is_asked_to_be_somebody_and_stays_nobody(kind: Kind) -> None:
    client = kind.client(kind.app())
    client.as_user(12)
    response = kind.get(client, "/")
    assert answer(response) == (400, "missing_credentials")
    assert response.headers["WWW-Authenticate"] == 'Bearer realm="gateway"'
    assert response.headers["Content-Type"] == "application/json"


def test_somebody_can_become_somebody_else(kind: Kind) -> None:
    anna = kind.client(kind.app()).as_user("anna")
    bert = anna.as_user("bert")
    assert [json_of(kind.get(client, "/"))["uid"] for client in (anna, bert)] == ["anna", "bert"]


def test_a_client_as_somebody_is_of_the_same_kind(kind: Kind) -> None:
    client = kind.client(kind.app())
    assert type(client.as_user(12)) is type(client)


def test_a_header_of_one_request_wins(kind: Kind) -> None:
    client = kind.client(kind.app()).as_user(12)
    assert answer(kind.get(client, "/", uid="13")) == (400, "uid_mismatch")
    assert answer(kind.get(client, "/", Authorization="Bearer nonsense")) == (498, "invalid_token")
    assert json_of(kind.get(client, "/", **{"X-Agent": "007"}))["agent"] == "007"
    assert answer(kind.get(client, "/")) == (200, None)


def test_without_a_uid_there_is_no_uid_header(kind: Kind) -> None:
    client = kind.client(kind.app()).as_user(12)
    assert answer(kind.get(client.with_token(client.tokens.good(12), None), "/")) == (
        400,
        "missing_credentials",
    )


def test_cookies_are_kept_for_all_that_a_client_becomes(kind: Kind) -> None:
    client = kind.client(kind.app(), public_paths=["/cookie"])
    kind.get(client, "/cookie")
    assert json_of(kind.get(client.as_user(12), "/"))["cookie"] == "fruit=apple"


def test_credentials_follow_a_redirect_from_a_public_path(kind: Kind) -> None:
    client = kind.client(kind.app(), public_paths=["/away"]).as_user(12)
    assert json_of(kind.get(client, "/away", follow=True))["uid"] == "12"


def test_an_exception_of_the_app_comes_through(kind: Kind) -> None:
    with pytest.raises(echoes.BrokenError):
        kind.get(kind.client(kind.app()).as_user(12), "/broken")


def test_settings_can_be_given_one_by_one(kind: Kind) -> None:
    client = kind.client(kind.app(), status_profile="rfc6750")
    assert kind.get(client, "/").status_code == 401


def test_settings_can_be_given_as_one(kind: Kind) -> None:
    client = kind.client(kind.app(), Settings(token_key=KEY)).as_user(12)
    told = json_of(kind.get(client, "/"))
    token = Tokens(TokenCreator(token_key=KEY)).good(13)
    assert told["uid"] == "12"
    assert json_of(kind.get(client.with_token(token, 13), "/"))["uid"] == "13"


def test_settings_are_given_in_one_way_only(kind: Kind) -> None:
    with pytest.raises(TypeError, match="either settings or keyword arguments"):
        kind.client(kind.app(), Settings(token_key=KEY), exp_time_min=5)


def test_a_wrong_setting_is_told(kind: Kind) -> None:
    with pytest.raises(ConfigError, match="EXP_TIME_MIN"):
        kind.client(kind.app(), exp_time_min=0)


def test_nothing_is_read_from_the_environment(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_PUBLIC_PATHS", "/")
    assert answer(kind.get(kind.client(kind.app()), "/")) == (400, "missing_credentials")


def test_a_token_of_one_client_is_none_of_another(kind: Kind) -> None:
    client, other = kind.client(kind.app()), kind.client(kind.app())
    assert answer(kind.get(client.with_token(other.tokens.good(12), 12), "/")) == (498, "invalid_token")


def test_an_app_that_wraps_itself_keeps_its_gateway(kind: Kind) -> None:
    app = kind.gateway(kind.app(), Settings(token_key=KEY, exp_time_min=7, issuer="us"))
    claims = json_of(kind.get(kind.client(app).as_user(12), "/"))["claims"]
    assert (claims["iss"], claims["exp"] - claims["iat"]) == ("us", 7 * 60)
    assert answer(kind.get(kind.client(app), "/")) == (400, "missing_credentials")


def test_an_app_that_wraps_itself_takes_no_other_settings(kind: Kind) -> None:
    app = kind.gateway(kind.app(), Settings(token_key=KEY))
    with pytest.raises(TypeError, match="behind a gateway already"):
        kind.client(app, exp_time_min=5)
    with pytest.raises(TypeError, match="behind a gateway already"):
        kind.client(app, Settings(token_key=KEY))


def test_a_session_can_be_ended(kind: Kind) -> None:
    client = kind.client(kind.app(), state_url="memory://").as_user(12)
    assert client.post("/auth/revoke", content_type="application/json").status_code == 204
    assert answer(kind.get(client, "/")) == (401, "token_revoked")


# Tokens


ANSWERS = {
    "good": (200, None),
    "near_expiry": (200, None),
    "expired": (401, "token_expired"),
    "session_over": (401, "invalid_claims"),
    "tampered": (498, "invalid_token"),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_a_token_gets_the_answer_that_it_stands_for(kind: Kind, name: str) -> None:
    client = kind.client(kind.app())
    token = getattr(client.tokens, name)(12)
    assert answer(kind.get(client.with_token(token, 12), "/")) == ANSWERS[name]


def test_another_uid_is_refused(kind: Kind) -> None:
    client = kind.client(kind.app())
    assert answer(kind.get(client.with_token(client.tokens.good(13), 12), "/")) == (400, "uid_mismatch")


def test_a_token_near_its_end_is_renewed(kind: Kind) -> None:
    client = kind.client(kind.app())
    token = client.tokens.near_expiry(12, scopes=["a"], claims={"role": "editor"})
    renewed = renewed_token(kind.get(client.with_token(token, 12), "/"))
    assert renewed not in {None, token}
    told = json_of(kind.get(client.with_token(renewed, 12), "/"))
    assert told["claims"].items() >= {"uid": 12, "scope": "a", "role": "editor"}.items()


def test_a_response_with_a_renewed_token_is_not_to_be_stored(kind: Kind) -> None:
    client = kind.client(kind.app())
    response = kind.get(client.with_token(client.tokens.near_expiry(12), 12), "/")
    assert response.headers["Cache-Control"] == "no-store"


def test_a_good_token_is_not_renewed(kind: Kind) -> None:
    assert renewed_token(kind.get(kind.client(kind.app()).as_user(12), "/")) is None


def test_a_renewed_token_is_found_under_another_header(kind: Kind) -> None:
    client = kind.client(kind.app(), token_header="X-Next")
    response = kind.get(client.with_token(client.tokens.near_expiry(12), 12), "/")
    assert renewed_token(response) is None
    assert renewed_token(response, "X-Next") is not None


@pytest.fixture(
    params=[
        pytest.param({"exp_time_min": 1, "refresh_time_min": 1}, id="always renewed"),
        pytest.param({"exp_time_min": 1000, "refresh_time_min": 1}, id="long"),
        pytest.param({"exp_time_min": 10, "max_session_min": 11}, id="short sessions"),
        pytest.param({"leeway_sec": 300}, id="leeway"),
        pytest.param({"token_cache_size": 0}, id="no cache"),
        pytest.param({"max_session_min": 1_000_000_000}, id="endless sessions"),
        pytest.param({"uid_claim": "sub", "issuer": "us", "audience": "them"}, id="other claims"),
        pytest.param({"algorithm": "HS512"}, id="another algorithm"),
    ]
)
def options(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Settings that might make a difference to what a token stands for."""
    return dict(request.param)


@pytest.mark.parametrize("name", ANSWERS)
def test_a_token_stands_for_the_same_whatever_the_settings(name: str, options: dict[str, Any]) -> None:
    client = werkzeug_client(echoes.wsgi_app, **options)
    assert answer(client.with_token(getattr(client.tokens, name)(12), 12).get("/")) == ANSWERS[name]


def test_a_token_near_its_end_is_renewed_whatever_the_settings(options: dict[str, Any]) -> None:
    client = werkzeug_client(echoes.wsgi_app, **options)
    assert renewed_token(client.with_token(client.tokens.near_expiry(12), 12).get("/")) is not None


@pytest.mark.parametrize("name", ANSWERS)
def test_tokens_are_signed_by_the_keys_of_a_folder(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    generate(folder, "ES256", NOW)
    client = werkzeug_client(echoes.wsgi_app, algorithm="ES256", key_dir=str(folder))
    assert answer(client.with_token(getattr(client.tokens, name)(12), 12).get("/")) == ANSWERS[name]


@pytest.mark.parametrize("name", ANSWERS)
def test_tokens_go_by_the_clock_of_their_creator(name: str) -> None:
    settings = Settings(token_key=KEY)
    creator = CreatorWithClock(settings)
    client = werkzeug_client(AuthGateway(echoes.wsgi_app, settings, tokens=creator))
    creator.time = NOW - 1_000_000
    assert answer(client.with_token(getattr(client.tokens, name)(12), 12).get("/")) == ANSWERS[name]


@pytest.mark.parametrize(
    "never",
    [{"refresh_time_min": 0}, {"exp_time_min": 5, "max_session_min": 5}],
    ids=["at all", "so long"],
)
def test_where_nothing_is_renewed_no_token_is_near_its_end(never: dict[str, Any]) -> None:
    tokens = werkzeug_client(echoes.wsgi_app, **never).tokens
    with pytest.raises(ConfigError, match="REFRESH_TIME_MIN must be over 0"):
        tokens.near_expiry(12)


def test_no_scope_is_no_claim() -> None:
    creator = TokenCreator(token_key=KEY)
    assert "scope" not in creator.decode_token(Tokens(creator).good(12, scopes=[]))


def test_scopes_as_text_are_refused_with_the_list_that_was_meant() -> None:
    tokens = Tokens(TokenCreator(token_key=KEY))
    with pytest.raises(TypeError, match=r"list of names, as \['reports:read', 'b'\]"):
        tokens.good(12, scopes="reports:read b")


@pytest.mark.parametrize("name", ["", "a b", 'a"', "a\\", "é", 7])
def test_what_is_no_scope_is_refused(name: Any) -> None:
    tokens = Tokens(TokenCreator(token_key=KEY))
    with pytest.raises(ValueError, match=r"RFC 6749 section 3\.3"):
        tokens.good(12, scopes=["a", name])


def test_a_claim_is_given_once() -> None:
    with pytest.raises(InvalidClaimsError, match="twice"):
        werkzeug_client(echoes.wsgi_app).as_user(12, claims={"role": "editor"}, role="reader")


def test_scopes_are_given_once() -> None:
    tokens = Tokens(TokenCreator(token_key=KEY))
    with pytest.raises(InvalidClaimsError, match="twice"):
        tokens.good(12, scopes=["a"], claims={"scope": "b"})


# The clock


def test_a_token_grows_old_with_the_clock(kind: Kind, clock: Clock) -> None:
    client = kind.client(kind.app()).as_user(12)
    clock.move(minutes=14)
    assert renewed_token(kind.get(client, "/")) is None
    clock.move(minutes=2)
    assert renewed_token(kind.get(client, "/")) is not None
    clock.move(minutes=14)
    assert answer(kind.get(client, "/")) == (401, "token_expired")


def test_a_session_ends_with_the_clock(clock: Clock) -> None:
    client = werkzeug_client(echoes.wsgi_app, exp_time_min=30, refresh_time_min=30, max_session_min=60)
    token = client.tokens.good(12)
    for _ in range(2):
        clock.move(minutes=20)
        token = renewed_token(client.with_token(token, 12).get("/")) or token
    clock.move(minutes=19)
    assert answer(client.with_token(token, 12).get("/")) == (200, None)
    clock.move(minutes=1, seconds=1)
    assert answer(client.with_token(token, 12).get("/")) == (401, "token_expired")


def test_the_clock_moves_a_gateway_that_was_there_before(kind: Kind) -> None:
    client = kind.client(kind.gateway(kind.app(), Settings(token_key=KEY))).as_user(12)
    with standing_clock() as clock:
        clock.move(minutes=31)
        assert answer(kind.get(client, "/")) == (401, "token_expired")
    assert answer(kind.get(client, "/")) == (200, None)


def test_the_clock_moves_the_throttle_of_logins(clock: Clock) -> None:
    def check(uid: int | str, password: str) -> dict[str, Any] | None:
        return {} if password == "right" else None

    client = werkzeug_client(echoes.wsgi_app, state_url="memory://", login=check, login_tries=1)

    def log_in(password: str) -> int:
        return client.post("/auth", json={"uid": 12, "password": password}).status_code

    assert [log_in("wrong"), log_in("right")] == [401, 429]
    clock.move(minutes=16)
    assert log_in("right") == 200


def test_the_clock_moves_the_moment_of_a_revocation(clock: Clock) -> None:
    client = werkzeug_client(echoes.wsgi_app, state_url="memory://")
    clock.move(days=400)
    old = client.as_user(12)
    assert old.post("/auth/revoke", json={"all": True}).status_code == 204
    assert [answer(each.get("/"))[0] for each in (old, client.as_user(12))] == [401, 200]


def test_a_clock_stands_still_where_it_is_set() -> None:
    clock = Clock(datetime(2027, 1, 15, 8, tzinfo=UTC))
    assert clock.time() == clock.time() == 1_800_000_000
    clock.move(days=1, hours=-1, minutes=1, seconds=0.5)
    assert clock.time() == 1_800_000_000 + 86_400 - 3600 + 60 + 0.5
    clock.set(5)
    assert (clock.time(), repr(clock)) == (5, "Clock(1970-01-01 00:00:05+00:00)")


def test_a_clock_begins_where_it_is_told_to() -> None:
    with standing_clock(NOW):
        assert TokenCreator(token_key=KEY).now() == NOW


def test_a_clock_begins_now_and_its_end_is_the_end_of_it() -> None:
    tokens = TokenCreator(token_key=KEY)
    before = tokens.now()
    with standing_clock() as clock:
        assert before <= tokens.now() == clock.time()
        clock.move(days=1)
    assert before <= tokens.now() < before + 86_400


def test_clocks_can_stand_in_one_another() -> None:
    tokens = TokenCreator(token_key=KEY)
    with standing_clock(1000):
        with standing_clock(2000):
            assert tokens.now() == 2000
        assert tokens.now() == 1000


def test_a_moment_without_a_time_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        Clock(datetime(2027, 1, 15, 8))


# What one kind has of its own


def test_webtest_checks_statuses_and_wsgi_as_ever() -> None:
    client = webtest_client(echoes.wsgi_app)
    assert isinstance(client, webtest.TestApp)
    client.get("/", status=400)
    with pytest.raises(webtest.AppError, match="400"):
        client.get("/")


def test_webtest_sends_credentials_with_requests_made_by_hand() -> None:
    client = webtest_client(echoes.wsgi_app).as_user(12)
    assert client.request(webtest.TestRequest.blank("/"), method="PATCH").json["uid"] == "12"


def test_werkzeug_sends_credentials_with_an_environ_and_with_a_builder() -> None:
    client = werkzeug_client(echoes.wsgi_app).as_user(12)
    builder = werkzeug.test.EnvironBuilder("/")
    assert client.open(builder).status_code == client.open(builder.get_environ()).status_code == 200


@pytest.mark.parametrize("name", ["werkzeug", "flask"])
def test_credentials_of_one_request_follow_its_redirect(name: str) -> None:
    kind = KINDS[name]
    client = kind.client(kind.app(), public_paths=["/away"])
    bearer = f"Bearer {client.tokens.good(12)}"
    assert json_of(kind.get(client, "/away", follow=True, Authorization=bearer, uid="12"))["uid"] == "12"


def test_a_flask_app_given_to_another_client_is_known_by_its_gateway() -> None:
    app = _wrapped_flask(echoes.flask_app(), Settings(token_key=KEY))
    assert webtest_client(app).as_user(12).get("/").json["uid"] == "12"


@pytest.mark.parametrize("name", ["webtest", "werkzeug"])
def test_a_gateway_further_within_is_named(name: str) -> None:
    kind = KINDS[name]
    inner = AuthGateway(echoes.wsgi_app, Settings(token_key=KEY))
    client = kind.client(Outer(inner), gateway=inner)
    assert answer(kind.get(client.as_user(12), "/")) == (200, None)


def test_a_gateway_further_within_a_flask_app_is_named() -> None:
    app = echoes.flask_app()
    inner = AuthGateway(app.wsgi_app, Settings(token_key=KEY))
    app.wsgi_app = Outer(inner)  # type: ignore[method-assign]
    client = flask_client(app, gateway=inner)
    assert client.application is app
    assert answer(client.as_user(12).get("/")) == (200, None)


def test_a_flask_app_stays_without_a_gateway() -> None:
    app = echoes.flask_app()
    client = flask_client(app)
    assert client.get("/").status_code == 400
    assert app.test_client().get("/").status_code == 200
    assert client.application.config is app.config


def test_flasks_request_and_session_are_there_within_a_block() -> None:
    client = flask_client(echoes.flask_app())
    with client.session_transaction() as session:
        session["fruit"] = "apple"
    with client.as_user(12) as anna:
        assert anna.get("/session").json == {"fruit": "apple"}
        assert flask.request.environ["REMOTE_USER"] == "12"
        assert flask.session["fruit"] == "apple"
    assert not flask.has_request_context()


def test_a_flask_apps_own_kind_of_client_is_kept() -> None:
    class OwnClient(FlaskClient):
        def sent(self) -> Any:
            return self.get("/").json

    app = echoes.flask_app()
    app.test_client_class = OwnClient
    client: Any = flask_client(app).as_user(12)
    assert isinstance(client, OwnClient)
    assert client.sent()["uid"] == "12"


def test_django_gives_context_templates_and_request() -> None:
    response = django_client().as_user(12).get("/page")
    assert response.content == b"uid 12"
    assert response.context["uid"] == "12"
    assert response.templates
    assert response.wsgi_request.path == response.request["PATH_INFO"] == "/page"
    assert response.resolver_match.route == "page"


def test_django_gives_a_response_of_its_own_where_the_gateway_refuses() -> None:
    from django.http import HttpResponse  # noqa: PLC0415 - once it is configured

    client = django_client()
    response = client.with_token(client.tokens.tampered(12), 12).get("/page")
    assert isinstance(response, HttpResponse)
    assert (response.status_code, response.reason_phrase) == (498, "Invalid Token")
    assert response.json() == {"error": "Invalid Token", "code": "invalid_token"}
    assert response.headers["Content-Length"] == str(len(response.content))
    assert (response.context, response.templates) == (None, [])
    assert response.wsgi_request.path == "/page"


def test_django_streams() -> None:
    response = django_client().as_user(12).get("/stream")
    assert response.streaming
    assert b"".join(response.streaming_content) == b"in parts"


def test_django_checks_for_forgeries_only_if_told_to() -> None:
    assert django_client().as_user(12).post("/form", {"a": 1}).status_code == 200
    assert django_client(enforce_csrf_checks=True).as_user(12).post("/form", {"a": 1}).status_code == 403


def test_django_can_answer_500_as_ever() -> None:
    client = django_client().as_user(12)
    client.raise_request_exception = False
    response = client.get("/broken")
    assert (response.status_code, response.exc_info[0]) == (500, echoes.BrokenError)


def test_a_gateway_of_djangos_further_within_is_named() -> None:
    inner = AuthGateway(_django_app(), Settings(token_key=KEY, issuer="us"))
    client = django_client(Outer(inner), gateway=inner)
    assert client.as_user(12).get("/").json()["claims"]["iss"] == "us"


def test_a_gateway_around_django_is_left_as_it_is() -> None:
    gateway = AuthGateway(_django_app(), Settings(token_key=KEY))
    django_client(gateway)
    response = werkzeug_client(gateway).as_user(12).get("/")
    assert json_of(response)["uid"] == "12"


# Around it all


@pytest.mark.parametrize(
    ("client", "module", "name"),
    [
        (webtest_client, "webtest", "WebTest"),
        (flask_client, "flask", "Flask"),
        (django_client, "django", "Django"),
    ],
)
def test_a_library_that_is_missing_is_named(
    client: Callable[..., Any], module: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ModuleNotFoundError, match=f"{name}'s: pip install {name.lower()}"):
        client(echoes.wsgi_app)


def test_settings_for_tests_have_each_a_key_of_their_own() -> None:
    assert settings_for_tests().token_key != settings_for_tests().token_key
    assert settings_for_tests(token_key=KEY) == Settings(token_key=KEY)
    assert settings_for_tests(exp_time_min=5).exp_time_min == 5


def test_no_token_stands_in_a_repr() -> None:
    client = werkzeug_client(echoes.wsgi_app)
    token = client.tokens.good(12)
    shown = f"{client.tokens!r} {client.with_token(token, 12)!r}"
    assert token not in shown
