"""The gateway around an app: what the app sees, what the client sees, and nothing else changed."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment
from wsgiref.util import FileWrapper, setup_testing_defaults
from wsgiref.validate import validator

import pytest
import webtest

from gateway import AuthGateway, ConfigError, Settings
from tests.support import KEY, MINUTE, NOW, Guarded, Recorder, claims, forge

DUE = forge(claims(exp=int(NOW) + 5 * MINUTE))


class TestWhatTheAppSees:
    def test_the_token_that_came_while_it_is_not_due(self) -> None:
        guarded = Guarded()
        token = forge(claims())
        guarded.request(token=token)
        assert guarded.seen["HTTP_X_REFRESHED_TOKEN"] == token

    def test_a_renewed_token_when_it_is_due(self) -> None:
        guarded = Guarded()
        guarded.request(token=DUE)
        renewed = guarded.clock.decode_token(guarded.seen["HTTP_X_REFRESHED_TOKEN"])
        assert renewed == claims(exp=int(NOW) + 30 * MINUTE)

    def test_the_verified_uid_three_times_over(self) -> None:
        guarded = Guarded()
        guarded.request()
        assert guarded.seen["HTTP_UID"] == guarded.seen["REMOTE_USER"] == "12"
        assert guarded.seen["AUTH_TYPE"] == "Bearer"

    def test_the_verified_claims(self) -> None:
        guarded = Guarded()
        guarded.request(token=forge(claims(role="x")))
        assert guarded.seen["gateway.claims"] == claims(role="x")

    def test_claims_of_its_own_each_time(self) -> None:
        guarded = Guarded()
        token = forge(claims(deep={"roles": ["a"]}))
        guarded.request(token=token)
        guarded.seen["gateway.claims"]["deep"]["roles"].append("admin")
        guarded.app.calls.clear()  # type: ignore[attr-defined]
        guarded.request(token=token)
        assert guarded.seen["gateway.claims"]["deep"] == {"roles": ["a"]}

    @pytest.mark.parametrize("path", ["/", "/public"])
    def test_the_token_creator_on_public_paths_too(self, path: str) -> None:
        guarded = Guarded(public_paths=["/public"])
        guarded.request(path)
        assert guarded.seen["gateway.tokens"] is guarded.clock

    def test_no_issuer_for_a_token_of_ours(self) -> None:
        guarded = Guarded()
        guarded.client.get(
            "/",
            headers={"Authorization": f"Bearer {forge(claims())}", "uid": "12"},
            extra_environ={"gateway.issuer": "evil"},
        )
        assert "gateway.issuer" not in guarded.seen

    def test_the_token_under_its_configured_name(self) -> None:
        guarded = Guarded(token_header="X-Next")
        guarded.request()
        assert "HTTP_X_NEXT" in guarded.seen
        assert "HTTP_X_REFRESHED_TOKEN" not in guarded.seen

    def test_its_own_authorization_header(self) -> None:
        guarded = Guarded()
        guarded.request(token=DUE)
        assert guarded.seen["HTTP_AUTHORIZATION"] == f"Bearer {DUE}"


FORGED = {
    "X-Refreshed-Token": "evil",
    "X.Refreshed-Token": "evil",
    "X-Refreshed.Token": "evil",
    "XRefreshedToken": "evil",
    "u.i.d": "13",
    "Remote-User": "evil",
    "Remote.User": "evil",
    "Auth-Type": "evil",
    "Gateway.Claims": "evil",
    "Gateway-Tokens": "evil",
}
SERVED = {
    "REMOTE_USER": "evil",
    "AUTH_TYPE": "evil",
    "gateway.claims": "evil",
    "gateway.issuer": "evil",
    "gateway.tokens": "evil",
}
PREFLIGHT = {"Origin": "https://a.example", "Access-Control-Request-Method": "PUT"}


class TestWhatNoClientCanSet:
    @pytest.mark.parametrize(
        ("method", "path", "more"),
        [
            pytest.param("GET", "/public", {}, id="public path"),
            pytest.param("OPTIONS", "/x", PREFLIGHT, id="preflight"),
            pytest.param("GET", "/x", {"Authorization": f"Bearer {forge(claims())}"}, id="protected path"),
        ],
    )
    def test_is_gone_before_the_app(self, method: str, path: str, more: dict[str, str]) -> None:
        guarded = Guarded(public_paths=["/public"], allow_preflight=True, require_uid=False)
        guarded.client.extra_environ.update(SERVED)
        guarded.send(path, FORGED | more, method)
        assert "evil" not in guarded.seen.values()
        assert "13" not in guarded.seen.values()

    def test_includes_the_uid_on_a_public_path(self) -> None:
        guarded = Guarded(public_paths=["/public"])
        guarded.request("/public", uid="12")
        assert "HTTP_UID" not in guarded.seen

    def test_includes_the_configured_name_of_the_tokens_header(self) -> None:
        guarded = Guarded(token_header="X-Next", public_paths=["/public"])
        guarded.send("/public", {"X-Next": "evil", "X.Next": "evil"})
        assert "evil" not in guarded.seen.values()

    def test_cannot_stand_in_for_a_header_that_is_missing(self) -> None:
        sent = {"Authorization": f"Bearer {forge(claims())}", "u.i.d": "12"}
        assert Guarded().send(headers=sent).json["code"] == "missing_credentials"


class TestWhatTheClientSees:
    def test_nothing_new_while_the_token_is_not_due(self) -> None:
        response = Guarded(Recorder([("Cache-Control", "public")])).request()
        assert response.headers["Cache-Control"] == "public"
        assert "X-Refreshed-Token" not in response.headers

    def test_the_renewed_token_that_the_app_sees(self) -> None:
        guarded = Guarded()
        response = guarded.request(token=DUE)
        assert response.headers["X-Refreshed-Token"] == guarded.seen["HTTP_X_REFRESHED_TOKEN"] != DUE

    def test_no_store_with_a_renewed_token(self) -> None:
        response = Guarded(Recorder([("Cache-Control", "public")])).request(token=DUE)
        assert response.headers.getall("Cache-Control") == ["no-store"]

    def test_the_token_under_its_configured_name(self) -> None:
        response = Guarded(token_header="X-Next").request(token=DUE)
        assert "X-Next" in response.headers
        assert "X-Refreshed-Token" not in response.headers

    def test_the_apps_own_response_where_tokens_are_kept_out_of_it(self) -> None:
        guarded = Guarded(Recorder([("Cache-Control", "public")]), token_in_response=False)
        response = guarded.request(token=DUE)
        assert response.headers["Cache-Control"] == "public"
        assert "X-Refreshed-Token" not in response.headers
        assert guarded.seen["HTTP_X_REFRESHED_TOKEN"] != DUE

    def test_a_token_with_which_the_session_goes_on(self) -> None:
        guarded = Guarded()
        renewed = guarded.request(token=DUE).headers["X-Refreshed-Token"]
        guarded.clock.time += 20 * MINUTE
        assert guarded.request(token=renewed).status_int == 200

    def test_no_token_with_a_rejection(self) -> None:
        assert "X-Refreshed-Token" not in Guarded().request(token=DUE, uid="13").headers


class TestPublicPaths:
    def test_pass_without_credentials(self) -> None:
        assert Guarded(public_paths=["/static/*"]).send("/static/x").status_int == 200

    def test_pass_whatever_the_credentials(self) -> None:
        assert Guarded(public_paths=["/static/*"]).request("/static/x", token="bad").status_int == 200

    def test_tell_the_app_nobody(self) -> None:
        guarded = Guarded(public_paths=["/static/*"])
        guarded.request("/static/x")
        keys = {"HTTP_UID", "REMOTE_USER", "AUTH_TYPE", "gateway.claims", "HTTP_X_REFRESHED_TOKEN"}
        assert keys.isdisjoint(guarded.seen)

    @pytest.mark.parametrize(
        "path",
        [
            *("/static", "/staticx", "/static/../secret", "/static/%2e%2e/secret", "/static//x"),
            *("/static/x;y", "/static/%5c..%5csecret", "/static/x%00", "/static/%252e", "/"),
        ],
    )
    def test_any_other_path_is_protected(self, path: str) -> None:
        guarded = Guarded(public_paths=["/static/*"])
        assert guarded.send(path).json["code"] == "missing_credentials"
        assert guarded.reached == 0

    def test_a_path_that_is_not_normal_is_the_apps_with_credentials(self) -> None:
        assert Guarded(public_paths=["/static/*"]).request("/static/../x").status_int == 200

    def test_beyond_ascii_are_matched_as_utf8(self) -> None:
        assert Guarded(public_paths="/café").send("/caf%C3%A9").status_int == 200


class TestPreflight:
    @pytest.mark.parametrize("allowed", [True, False])
    def test_passes_without_credentials_where_it_is_allowed(self, allowed: bool) -> None:
        guarded = Guarded(allow_preflight=allowed)
        guarded.send("/x", PREFLIGHT, "OPTIONS")
        assert guarded.reached == int(allowed)

    @pytest.mark.parametrize(
        ("method", "headers"),
        [
            pytest.param("GET", PREFLIGHT, id="another method"),
            pytest.param("OPTIONS", {"Origin": "https://a.example"}, id="no request method"),
            pytest.param("OPTIONS", {"Access-Control-Request-Method": "PUT"}, id="no origin"),
            pytest.param("OPTIONS", PREFLIGHT | {"Origin": ""}, id="empty origin"),
            pytest.param("OPTIONS", PREFLIGHT | {"Access-Control-Request-Method": ""}, id="empty method"),
        ],
    )
    def test_is_nothing_else(self, method: str, headers: dict[str, str]) -> None:
        guarded = Guarded(allow_preflight=True)
        assert guarded.send("/x", headers, method).status_int == 400


def streaming(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
    """Call `start_response` only when the first block is asked for."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield b"one "
    yield b"two"


def writing(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    write = start_response("200 OK", [("Content-Type", "text/plain")])
    write(b"one ")
    return [b"two"]


def correcting(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    """Begin well, fail, and answer the failure instead (PEP 3333, `exc_info`)."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    try:
        raise LookupError("late")
    except LookupError:
        start_response("500 Sorry", [("Content-Type", "text/plain")], sys.exc_info())
    return [b"one two"]


@pytest.mark.parametrize("token", [pytest.param(None, id="kept"), pytest.param(DUE, id="renewed")])
class TestTransparency:
    @pytest.mark.parametrize(
        ("app", "status"), [(streaming, "200 OK"), (writing, "200 OK"), (correcting, "500 Sorry")]
    )
    def test_every_way_to_answer_passes_through(
        self, token: str | None, app: Callable[..., Any], status: str
    ) -> None:
        response = Guarded(app).request(token=token)
        assert (response.status, response.body) == (status, b"one two")
        assert ("X-Refreshed-Token" in response.headers) is (token is DUE)

    def test_is_clean_under_the_validator_on_both_sides(self, token: str | None) -> None:
        guarded = Guarded(validator(streaming))
        token = token or guarded.clock.create(uid=12)
        environ: WSGIEnvironment = {
            "QUERY_STRING": "",
            "HTTP_UID": "12",
            "HTTP_AUTHORIZATION": f"Bearer {token}",
        }
        setup_testing_defaults(environ)
        answered = validator(guarded.gateway)(environ, lambda *_: lambda data: None)
        assert b"".join(answered) == b"one two"
        answered.close()  # type: ignore[attr-defined]

    def test_the_apps_iterable_is_returned_as_it_is(self, token: str | None) -> None:
        answer = FileWrapper(io.BytesIO(b"a file"))

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            start_response("200 OK", [("Content-Type", "text/plain")])
            return answer

        guarded = Guarded(app)
        token = token or guarded.clock.create(uid=12)
        environ: WSGIEnvironment = {"HTTP_UID": "12", "HTTP_AUTHORIZATION": f"Bearer {token}"}
        setup_testing_defaults(environ)
        assert guarded.gateway(environ, lambda *_: lambda data: None) is answer

    def test_close_is_the_servers_to_call(self, token: str | None) -> None:
        closed = []

        class Body(list[bytes]):
            def close(self) -> None:
                closed.append(True)

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            start_response("200 OK", [("Content-Type", "text/plain")])
            return Body([b"x"])

        Guarded(app).request(token=token)
        assert closed == [True]

    @pytest.mark.parametrize("begun", [False, True])
    def test_an_exception_of_the_apps_is_the_servers_to_handle(self, token: str | None, begun: bool) -> None:
        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            if begun:
                start_response("200 OK", [("Content-Type", "text/plain")])
            raise ZeroDivisionError("the app's own")

        with pytest.raises(ZeroDivisionError, match="the app's own"):
            Guarded(app).request(token=token)

    def test_the_request_body_is_the_apps_to_read(self, token: str | None) -> None:
        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))]

        guarded = Guarded(app)
        token = token or guarded.clock.create(uid=12)
        sent = {"Authorization": f"Bearer {token}", "uid": "12"}
        assert guarded.client.post("/", b"a body", headers=sent).body == b"a body"

    def test_a_mount_point_stays_as_it_is(self, token: str | None) -> None:
        guarded = Guarded()
        token = token or guarded.clock.create(uid=12)
        guarded.client.get(
            "/x?y=1",
            headers={"Authorization": f"Bearer {token}", "uid": "12"},
            extra_environ={"SCRIPT_NAME": "/mounted"},
        )
        seen = guarded.seen
        assert (seen["SCRIPT_NAME"], seen["PATH_INFO"], seen["QUERY_STRING"]) == ("/mounted", "/x", "y=1")


def test_start_response_is_the_servers_own_unless_a_token_was_renewed() -> None:
    given: list[object] = []

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        given.append(start_response)
        return [b""]

    def start_response(*_: object) -> Callable[[bytes], object]:
        raise AssertionError("never called")

    guarded = Guarded(app)
    environ: WSGIEnvironment = {"HTTP_UID": "12", "HTTP_AUTHORIZATION": f"Bearer {forge(claims())}"}
    setup_testing_defaults(environ)
    guarded.gateway(environ, start_response)
    assert given == [start_response]


def test_a_request_without_a_path_is_protected() -> None:
    environ: WSGIEnvironment = {}
    setup_testing_defaults(environ)
    del environ["PATH_INFO"]
    started: list[str] = []
    Guarded(public_paths=["/*"]).gateway(environ, lambda status, *_: started.append(status) or print)  # type: ignore[func-returns-value]
    assert started == ["400 Bad Request"]


def test_settings_come_from_the_environment_unless_given(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TOKEN_KEY", KEY)
    monkeypatch.setenv("GATEWAY_PUBLIC_PATHS", "/from-the-environment")
    client = webtest.TestApp(AuthGateway(Recorder()))
    assert client.get("/from-the-environment").body == b"from the app"


def test_a_gateway_does_not_start_without_a_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="TOKEN_KEY is not set"):
        AuthGateway(Recorder())


def test_what_is_no_app_is_refused_at_once() -> None:
    with pytest.raises(TypeError, match="must be a WSGI callable, not NoneType"):
        AuthGateway(None, Settings(token_key=KEY))  # type: ignore[arg-type]


def test_a_gateway_in_a_gateway_verifies_again() -> None:
    inner = Guarded()
    outer = webtest.TestApp(AuthGateway(inner.gateway, Settings(token_key=KEY), tokens=inner.clock))
    outer.get("/", headers={"Authorization": f"Bearer {forge(claims())}", "uid": "12"})
    assert inner.seen["REMOTE_USER"] == "12"
