"""`token_verify`: a Flask view guarded by itself, without the gateway and behind it."""

from __future__ import annotations

import functools
import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import webtest
from flask import Flask, Response, abort, request
from flask.typing import ResponseReturnValue
from flask.views import MethodView, View

from gateway import AuthGateway, ConfigError, Settings
from gateway.flask import TokenVerify, token_verify
from tests.support import KEY, MINUTE, Clock, Recorder, forge

SPOOFED = {
    "X-Refreshed-Token": "evil",
    "X.Refreshed-Token": "evil",
    "Remote-User": "evil",
    "u.i.d": "evil",
    "Gateway.Claims": "evil",
}
DUE_MIN = 20  # minutes after which a token is due


def token(age_min: int = 0, uid: int = 12, **extra: Any) -> str:
    """A token made so many minutes ago: views go by the real time."""
    clock = Clock(token_key=KEY)
    clock.time = time.time() - age_min * MINUTE
    return clock.create(uid, extra)


def credentials(sent: str | None = None, uid: str = "12") -> dict[str, str]:
    return {"Authorization": f"Bearer {sent or token()}", "uid": uid}


def verify(**options: Any) -> TokenVerify:
    return TokenVerify(Settings(token_key=KEY, **options))


def app_of(guard: TokenVerify) -> Flask:
    """An app with a guarded view that answers the token it is given."""
    app = Flask(__name__)

    @app.get("/secret")
    @guard
    def secret(next_token: str) -> dict[str, str]:
        return {"data": next_token}

    return app


def behind_the_gateway(app: Flask, **options: Any) -> webtest.TestApp:
    return webtest.TestApp(AuthGateway(app, Settings(token_key=KEY, **options)))


def ask(
    app: object, headers: Mapping[str, str] | None = None, path: str = "/secret", method: str = "GET"
) -> webtest.TestResponse:
    """Ask an app, or one behind the gateway, for something."""
    client = app if isinstance(app, webtest.TestApp) else webtest.TestApp(app)
    return client.request(path, method=method, headers=dict(headers or {}), expect_errors=True)


class TestTheView:
    def test_is_given_the_token_that_came_while_it_is_not_due(self) -> None:
        sent = token()
        assert ask(app_of(verify()), credentials(sent)).json == {"data": sent}

    def test_is_given_a_renewed_token_when_it_is_due(self) -> None:
        sent = token(DUE_MIN)
        given = ask(app_of(verify()), credentials(sent)).json["data"]
        assert given != sent
        assert ask(app_of(verify()), credentials(given)).json == {"data": given}

    def test_answers_flasks_own_test_client(self) -> None:
        sent = token()
        answer = app_of(verify()).test_client().get("/secret", headers=credentials(sent))
        assert answer.json == {"data": sent}

    def test_is_given_the_token_before_what_the_url_holds(self) -> None:
        app = Flask(__name__)

        @app.get("/items/<int:item>")
        @verify()
        def show(next_token: str, item: int) -> dict[str, object]:
            return {"token": next_token, "item": item}

        sent = token()
        assert ask(app, credentials(sent), "/items/7").json == {"token": sent, "item": 7}

    def test_is_given_the_token_whatever_its_parameter_is_called(self) -> None:
        app = Flask(__name__)

        @app.get("/<token>")
        @verify()
        def show(its, /, token):  # type: ignore[no-untyped-def]
            return {"its": its, "url": token}

        sent = token()
        assert ask(app, credentials(sent), "/x").json == {"its": sent, "url": "x"}

    def test_keeps_its_name_and_docstring(self) -> None:
        @token_verify
        def secret(next_token: str) -> str:
            """Tell a secret."""
            return next_token

        assert (secret.__name__, secret.__doc__) == ("secret", "Tell a secret.")

    def test_may_be_a_coroutine(self) -> None:
        app = Flask(__name__)

        @app.get("/secret")
        @verify()
        async def secret(next_token: str) -> dict[str, str]:
            return {"data": next_token}

        sent = token()
        assert ask(app, credentials(sent)).json == {"data": sent}
        assert ask(app).json["code"] == "missing_credentials"

    def test_may_be_a_method_of_a_view_class(self) -> None:
        class Item(MethodView):
            prefix = "item "

            @verify()
            def get(self, next_token: str, item: str) -> dict[str, str]:
                return {"data": next_token, "item": self.prefix + item}

            def post(self, item: str) -> str:
                return "public"

        app = Flask(__name__)
        app.add_url_rule("/items/<item>", view_func=Item.as_view("item"))
        sent = token()
        assert ask(app, credentials(sent), "/items/7").json == {"data": sent, "item": "item 7"}
        assert ask(app, path="/items/7").json["code"] == "missing_credentials"
        assert ask(app, path="/items/7", method="POST").text == "public"

    def test_may_be_a_bound_method(self) -> None:
        class Secrets:
            word = "hush"

            def tell(self, next_token: str) -> dict[str, str]:
                return {"data": next_token, "word": self.word}

        app = Flask(__name__)
        app.add_url_rule("/secret", view_func=verify()(Secrets().tell))
        sent = token()
        assert ask(app, credentials(sent)).json == {"data": sent, "word": "hush"}

    def test_may_have_been_wrapped_by_others(self) -> None:
        def shouting(view: Callable[..., str]) -> Callable[..., str]:
            @functools.wraps(view)
            def shouted(*args: Any, **kwargs: Any) -> str:
                return view(*args, **kwargs).upper()

            return shouted

        app = Flask(__name__)

        @app.get("/<name>")
        @verify()
        @shouting
        def greet(next_token: str, name: str) -> str:
            return f"hello {name}"

        assert ask(app, credentials(), "/anna").text == "HELLO ANNA"

    def test_calls_another_guarded_view_which_is_given_the_same_token(self) -> None:
        app = app_of(verify())

        @app.get("/other")
        @verify()
        def other(next_token: str) -> dict[str, object]:
            return {"mine": next_token, "its": app.view_functions["secret"]()}

        answer = ask(app, credentials(token(DUE_MIN)), "/other")
        assert answer.json["its"] == {"data": answer.json["mine"]}
        assert answer.headers.getall("X-Refreshed-Token") == [answer.json["mine"]]


class TestTheEnviron:
    """What a view reads in it, is what it reads behind the gateway."""

    KEYS = ("HTTP_X_REFRESHED_TOKEN", "HTTP_UID", "REMOTE_USER", "AUTH_TYPE", "gateway.claims")

    def seen(
        self, headers: Mapping[str, str], extra: Mapping[str, object] | None = None, **options: Any
    ) -> dict[str, Any]:
        app, found = Flask(__name__), {}

        @app.get("/secret")
        @verify(**options)
        def secret(next_token: str) -> str:
            found.update(request.environ)
            return ""

        webtest.TestApp(app).get("/secret", headers=dict(headers), extra_environ=dict(extra or {}))
        return found

    def test_is_the_one_behind_the_gateway(self) -> None:
        sent = credentials(token(role="editor", deep={"a": [1]}))
        recorder = Recorder()
        webtest.TestApp(AuthGateway(recorder, Settings(token_key=KEY))).get("/secret", headers=sent)
        seen = self.seen(sent)
        assert {key: seen[key] for key in self.KEYS} == {key: recorder.environ[key] for key in self.KEYS}

    def test_holds_what_makes_tokens(self) -> None:
        made = self.seen(credentials())["gateway.tokens"].create(uid=13)
        assert ask(app_of(verify()), credentials(made, "13")).status_int == 200

    def test_holds_the_uid_where_none_was_sent(self) -> None:
        seen = self.seen({"Authorization": f"Bearer {token()}"}, require_uid=False)
        assert (seen["HTTP_UID"], seen["REMOTE_USER"]) == ("12", "12")

    def test_holds_nothing_that_only_the_gateway_may_set(self) -> None:
        served = {"REMOTE_USER": "evil", "AUTH_TYPE": "evil", "gateway.issuer": "evil"}
        assert "evil" not in self.seen(credentials() | SPOOFED, served).values()

    def test_holds_the_token_under_its_configured_name(self) -> None:
        sent = token()
        seen = self.seen(credentials(sent) | {"X.Next": "evil"}, token_header="X-Next")
        assert (seen["HTTP_X_NEXT"], "HTTP_X_REFRESHED_TOKEN" in seen) == (sent, False)
        assert "evil" not in seen.values()


class TestARenewedToken:
    def answer(self, respond: Callable[[], ResponseReturnValue], **options: Any) -> webtest.TestResponse:
        app = Flask(__name__)
        app.config["PROPAGATE_EXCEPTIONS"] = False

        @app.after_request
        def store_and_share(response: Response) -> Response:
            response.headers["Cache-Control"] = "public"
            response.headers["Access-Control-Allow-Origin"] = "https://a.example"
            return response

        @app.get("/secret")
        @verify(**options)
        def secret(next_token: str) -> ResponseReturnValue:
            return respond()

        return ask(app, credentials(token(DUE_MIN)))

    @pytest.mark.parametrize(
        ("respond", "status"),
        [
            pytest.param(lambda: "ok", 200, id="an answer"),
            pytest.param(lambda: abort(404), 404, id="an error page"),
            pytest.param(lambda: 1 / 0, 500, id="an exception"),
        ],
    )
    def test_is_announced_as_the_gateway_does_whatever_the_app_adds_after_the_view(
        self, respond: Callable[[], ResponseReturnValue], status: int
    ) -> None:
        answer = self.answer(respond)
        assert answer.status_int == status
        assert answer.headers.getall("X-Refreshed-Token")[0].count(".") == 2
        assert answer.headers.getall("Cache-Control") == ["no-store"]
        assert answer.headers["Access-Control-Expose-Headers"] == "X-Refreshed-Token"

    def test_leaves_the_apps_other_headers_alone(self) -> None:
        cookies = [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")]
        answer = self.answer(lambda: ("", 200, cookies))
        assert answer.headers.getall("Set-Cookie") == ["a=1", "b=2"]

    def test_is_kept_out_of_the_response_where_the_settings_say_so(self) -> None:
        answer = self.answer(lambda: "ok", token_in_response=False)
        assert "X-Refreshed-Token" not in answer.headers
        assert answer.headers["Cache-Control"] == "public"

    def test_is_announced_once_behind_the_gateway(self) -> None:
        answer = ask(behind_the_gateway(app_of(token_verify)), credentials(token(DUE_MIN)))
        assert answer.headers.getall("X-Refreshed-Token") == [answer.json["data"]]

    def test_is_not_announced_for_a_request_after_it(self) -> None:
        client = webtest.TestApp(app_of(verify()))
        assert "X-Refreshed-Token" in ask(client, credentials(token(DUE_MIN))).headers
        assert "X-Refreshed-Token" not in ask(client, credentials()).headers


def without_exp() -> str:
    return forge({"uid": 12, "iat": int(time.time())})


REFUSED = [
    pytest.param("missing_credentials", dict, id="nothing"),
    pytest.param("missing_credentials", lambda: {"uid": "12"}, id="no token"),
    pytest.param("missing_credentials", lambda: {"Authorization": f"Bearer {token()}"}, id="no uid"),
    pytest.param(
        "missing_credentials", lambda: credentials(uid="") | {"u.i.d": "12"}, id="a uid under another name"
    ),
    pytest.param("malformed_credentials", lambda: {"Authorization": "Basic eDp5", "uid": "12"}, id="Basic"),
    pytest.param("invalid_token", lambda: credentials(token()[:-1]), id="a letter less"),
    pytest.param("invalid_token", lambda: credentials("x" * 8001), id="too long"),
    pytest.param("token_expired", lambda: credentials(token(31)), id="expired"),
    pytest.param("invalid_claims", lambda: credentials(without_exp()), id="no exp"),
    pytest.param("uid_mismatch", lambda: credentials(uid="13"), id="another's uid"),
]


class TestARefusal:
    """Each is, header by header, the one that the gateway gives."""

    def check_alike(self, code: str, headers: Mapping[str, str], method: str = "GET", **options: Any) -> None:
        app = app_of(verify(**options))
        refused, expected = (
            ask(each, headers, method=method) for each in (app, behind_the_gateway(app, **options))
        )
        assert (refused.status, refused.headerlist) == (expected.status, expected.headerlist)
        assert refused.body == expected.body == (b"" if method == "HEAD" else refused.body)
        assert method == "HEAD" or refused.json["code"] == code

    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    @pytest.mark.parametrize("profile", ["classic", "rfc6750"])
    @pytest.mark.parametrize(("code", "headers"), REFUSED)
    def test_of_bad_credentials(
        self, code: str, headers: Callable[[], dict[str, str]], profile: str, method: str
    ) -> None:
        self.check_alike(code, headers(), method, status_profile=profile)

    def test_of_a_session_that_was_ended_elsewhere(self, tmp_path: Path) -> None:
        options: dict[str, Any] = {"state_url": f"sqlite:///{tmp_path / 'state.db'}", "state_sync_sec": 0}
        app, sent = app_of(verify(**options)), credentials()
        assert ask(app, sent).status_int == 200
        assert ask(behind_the_gateway(app, **options), sent, "/auth/revoke", "POST").status_int == 204
        assert ask(app, sent).json["code"] == "token_revoked"
        self.check_alike("token_revoked", sent, **options)

    def test_while_the_state_store_cannot_be_asked(self, tmp_path: Path) -> None:
        (tmp_path / "state.db").write_text("this is no database")
        url = f"sqlite:///{tmp_path / 'state.db'}"
        self.check_alike("state_unavailable", credentials(), state_url=url)

    def test_in_one_of_several_workers_where_state_is_for_one(self) -> None:
        client = app_of(verify(state_url="memory://")).test_client()
        one_of_many = {"wsgi.multiprocess": True}
        answer = client.get("/secret", headers=credentials(), environ_overrides=one_of_many)
        assert (answer.status_code, answer.get_json()["code"]) == (503, "state_unavailable")
        assert client.get("/secret", headers=credentials()).status_code == 200

    def test_also_where_the_path_is_public_to_the_gateway(self) -> None:
        app = app_of(verify(public_paths=["/*"]))
        assert ask(app).json["code"] == "missing_credentials"
        assert ask(app, credentials()).status_int == 200

    def test_comes_before_the_view_is_called(self) -> None:
        app, calls = Flask(__name__), []

        @app.get("/secret")
        @verify()
        def secret(next_token: str) -> str:
            calls.append(next_token)
            return ""

        assert ask(app, credentials(uid="13")).status_int == 400
        assert calls == []


class TestBehindTheGateway:
    def test_the_view_is_given_the_token_by_no_settings_of_its_own(self) -> None:
        """None could be read: `TOKEN_KEY` is not set."""
        sent = token()
        assert ask(behind_the_gateway(app_of(token_verify)), credentials(sent)).json == {"data": sent}

    def test_the_view_is_given_the_token_under_whatever_name_it_is_handed_on(self) -> None:
        sent = token()
        client = behind_the_gateway(app_of(token_verify), token_header="X-Next")
        assert ask(client, credentials(sent)).json == {"data": sent}

    def test_a_view_on_a_public_path_is_refused_for_want_of_a_uid(self) -> None:
        client = behind_the_gateway(app_of(verify()), public_paths=["/secret"])
        assert ask(client, credentials()).json["code"] == "missing_credentials"

    def test_a_view_on_a_public_path_verifies_where_no_uid_is_required(self) -> None:
        client = behind_the_gateway(app_of(verify(require_uid=False)), public_paths=["/secret"])
        sent = token()
        assert ask(client, {"Authorization": f"Bearer {sent}"}).json == {"data": sent}
        assert ask(client).json["code"] == "missing_credentials"
        assert ask(client, {"Authorization": f"Bearer {sent}x"}).json["code"] == "invalid_token"

    def test_a_view_on_a_public_path_believes_no_client(self) -> None:
        client = behind_the_gateway(app_of(verify(require_uid=False)), public_paths=["/secret"])
        assert ask(client, SPOOFED).json["code"] == "missing_credentials"


class TestSettingsOfTheEnvironment:
    def test_are_read_at_the_first_request_and_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        guard = TokenVerify()
        client = webtest.TestApp(app_of(guard))
        monkeypatch.setenv("TOKEN_KEY", KEY)
        assert ask(client, credentials()).status_int == 200
        monkeypatch.setenv("TOKEN_KEY", KEY[::-1])
        assert ask(client, credentials()).status_int == 200

    def test_are_read_once_by_many_threads(self, monkeypatch: pytest.MonkeyPatch) -> None:
        readers = threading.Barrier(2)
        met = []

        def from_env() -> Settings:
            """Wait a moment for a second reader, who must not come."""
            try:
                readers.wait(0.2)
                met.append("a second reader")
            except threading.BrokenBarrierError:
                pass
            return Settings(token_key=KEY)

        monkeypatch.setattr(Settings, "from_env", from_env)
        app, sent, statuses = app_of(TokenVerify()), credentials(), []
        threads = [
            threading.Thread(target=lambda: statuses.append(ask(app, sent).status_int)) for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (met, statuses) == ([], [200] * 4)

    def test_that_are_bad_let_nobody_past(self) -> None:
        app = app_of(TokenVerify())
        app.config["TESTING"] = True
        with pytest.raises(ConfigError, match="TOKEN_KEY"):
            ask(app, credentials())


def test_settings_that_are_none_are_refused_at_once() -> None:
    with pytest.raises(TypeError, match="settings must be Settings, not function"):
        TokenVerify(lambda next_token: "")  # type: ignore[arg-type]


class _Class(View):
    pass


class _Generated(View):
    decorators = [token_verify]  # noqa: RUF012 - so it is written

    def dispatch_request(self) -> ResponseReturnValue:
        return ""


class _Static:
    def get(self) -> str:
        return ""


def _guarded_and_wrapped() -> Callable[..., Any]:
    guarded = token_verify(lambda next_token: "")

    @functools.wraps(guarded)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        return guarded(*args, **kwargs)

    return wrapped


ABOVE_METHODS = r"write @token_verify above its methods, as in def get\(self, next_token\)"
BARE = "write @token_verify below the route, without parentheses; settings go to TokenVerify"
FIRST = "must take the token to use next as its first parameter, without a default"


@pytest.mark.parametrize(
    ("misuse", "message"),
    [
        pytest.param(token_verify, f"given nothing: {BARE}", id="with parentheses"),
        pytest.param(lambda: token_verify("x"), f"given a str: {BARE}", id="with a text"),  # type: ignore[arg-type]
        pytest.param(
            lambda: token_verify(Settings(token_key=KEY)),  # type: ignore[arg-type]
            f"given a Settings: {BARE}",
            id="with settings",
        ),
        pytest.param(lambda: token_verify(_Class), ABOVE_METHODS, id="a view class"),
        pytest.param(lambda: _Generated.as_view("x"), FIRST, id="a view class's decorators"),
        pytest.param(lambda: token_verify(lambda: ""), FIRST, id="no parameter"),
        pytest.param(lambda: token_verify(lambda **url: ""), FIRST, id="the URL's alone"),
        pytest.param(lambda: token_verify(lambda *, token: ""), FIRST, id="by name alone"),
        pytest.param(lambda: token_verify(lambda token=None: ""), FIRST, id="with a default"),
        pytest.param(lambda: token_verify(_Static.get), FIRST, id="a method with self alone"),
        pytest.param(
            lambda: token_verify(token_verify(lambda next_token: "")),
            "guarded by token_verify already",
            id="twice",
        ),
        pytest.param(
            lambda: token_verify(_guarded_and_wrapped()),
            "guarded by token_verify already",
            id="twice with another between",
        ),
    ],
)
def test_misuse_fails_where_it_is_written(misuse: Callable[[], object], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        misuse()


def test_above_the_route_it_serves_nobody() -> None:
    """Flask then knows the bare view, which cannot do without a token."""
    app = Flask(__name__)
    app.config["PROPAGATE_EXCEPTIONS"] = False

    @verify()
    @app.get("/secret")
    def secret(next_token: str) -> str:
        return next_token

    assert ask(app, credentials()).status_int == 500


class TestItsRefusals:
    def test_stand_in_the_audit_log(self, caplog: pytest.LogCaptureFixture) -> None:
        logger, handler = logging.getLogger("gateway.audit"), logging.NullHandler()
        caplog.set_level(logging.INFO, logger.name)
        logger.addHandler(handler)  # so that the lines go on to others
        try:
            ask(app_of(verify(log_format="json")), credentials("x.y.z"))
        finally:
            logger.removeHandler(handler)
        assert [json.loads(line)["code"] for line in caplog.messages] == ["invalid_token"]

    def test_can_be_read_by_pages_of_the_origins_that_may(self) -> None:
        app, origin = app_of(verify(cors_origins=["https://app.example"])), "https://app.example"
        allowed = ask(app, {"Origin": origin})
        assert (allowed.status_int, allowed.headers["Access-Control-Allow-Origin"]) == (400, origin)
        assert "Access-Control-Allow-Origin" not in ask(app, {"Origin": "https://evil.example"}).headers
