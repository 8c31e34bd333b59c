"""What only the gateway may set, byte by byte under several servers: no client can set it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway import TokenCreator
from gateway.headers import fold
from tests.integration.servers import ANY_PORT, GUNICORN, ROOT, SHIPPED, WAITRESS, Answer, Server, serving
from tests.support import KEY, ROUTES

EVIL = "evil"
APP = """\
import json

def app(environ, start_response):
    body = json.dumps(environ, default=repr).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]
"""
POLICY = f"""
[headers]
X-Role = "role"
X-Team-Names = "teams"
X-Missing = "missing"
{ROUTES}"""
SERVERS: dict[str, tuple[str | Path, ...]] = {
    **{worker: (GUNICORN, "-k", worker, *ANY_PORT, *SHIPPED) for worker in ("sync", "gthread", "gevent")},
    "waitress": (WAITRESS, "--listen=127.0.0.1:0", "gateway.wsgi:application"),
}
NAMES = ("X-Refreshed-Token", "Remote-User", "Auth-Type", "X-Role", "X-Team-Names", "X-Missing")
OWN = ("gateway.claims", "gateway.tokens", "gateway.issuer")
PREFLIGHT = ("Origin: https://a.example", "Access-Control-Request-Method: PUT")


@pytest.fixture(scope="module", params=SERVERS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The gateway, with routes and headers from claims, around an app that answers the environ it saw."""
    folder = tmp_path_factory.mktemp(request.param)
    (folder / "echoing.py").write_text(APP)
    (folder / "policy.toml").write_text(POLICY)
    with serving(
        folder,
        *SERVERS[request.param],
        TOKEN_KEY=KEY,
        GATEWAY_APP="echoing:app",
        GATEWAY_POLICY_FILE="policy.toml",
        GATEWAY_ALLOW_PREFLIGHT="true",
        WEB_CONCURRENCY="1",
        PYTHONPATH=str(ROOT),
    ) as running:
        yield running


def spellings(name: str) -> list[str]:
    """Names alike, each one that a server may let through."""
    joined = [name.replace("-", joint) for joint in ("-", "_", ".", "", "--", "-_", "!")]
    joined += [f"-{name}", f"{name}-", f"_{name}", f"{name}."]
    return [change(each) for each in joined for change in (str, str.upper, str.lower)]


UIDS = ("U-I-D", "u.i.d", "_uid", "uid_", "uid.", "Http-Uid", "Http_Uid", "U_I_D")
SETS = {
    **{name: spellings(name) for name in NAMES},
    **{name: spellings(name.replace(".", "-")) for name in OWN},
    "uid": list(UIDS),
}


def known(**more: object) -> tuple[str, str]:
    """The credentials of somebody, whose token has these claims besides."""
    return f"Authorization: Bearer {TokenCreator(token_key=KEY).create(12, more)}", "uid: 12"


KINDS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "protected": ("GET", "/secret", known(role="user", teams=["a", "b"])),
    "scoped": ("GET", "/admin/x", known(role="user", teams=["a", "b"], scope="admin")),
    "optional, known": ("GET", "/optional", known(role="user", teams=["a", "b"])),
    "optional, anonymous": ("GET", "/optional", ()),
    "public": ("GET", "/public/x", ()),
    "preflight": ("OPTIONS", "/secret", PREFLIGHT),
}
KNOWN = ("protected", "scoped", "optional, known")


def ask(server: Server, kind: str, *lines: str) -> Answer:
    method, target, headers = KINDS[kind]
    return server.ask(target, *headers, *lines, method=method)


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("kind", KINDS)
def test_no_spelling_of_a_name_reaches_the_app(server: Server, kind: str, name: str) -> None:
    lines = [f"{spelling}: {EVIL}" for spelling in SETS[name]]
    answer = ask(server, kind, *lines, *lines)
    assert answer.status == 200
    assert EVIL not in answer.body.decode()


@pytest.mark.parametrize("kind", KINDS)
def test_only_what_is_verified_is_set(server: Server, kind: str) -> None:
    names = [spelling for spellings in SETS.values() for spelling in spellings[:4]]
    seen = ask(server, kind, *(f"{name}: {EVIL}" for name in names)).json
    owned = {fold(name) for name in (*NAMES, *OWN, "uid")}
    left = {key for key in seen if fold(key.removeprefix("HTTP_")) in owned}
    verified = {"HTTP_UID", "REMOTE_USER", "AUTH_TYPE", "HTTP_X_REFRESHED_TOKEN", "gateway.claims"}
    verified |= {"HTTP_X_ROLE", "HTTP_X_TEAM_NAMES"}
    assert left == {"gateway.tokens"} | (verified if kind in KNOWN else set())


@pytest.mark.parametrize("kind", KNOWN)
def test_the_app_sees_who_it_is_and_what_the_claims_say(server: Server, kind: str) -> None:
    seen = ask(server, kind).json
    keys = ("HTTP_UID", "REMOTE_USER", "AUTH_TYPE", "HTTP_X_ROLE", "HTTP_X_TEAM_NAMES")
    assert [seen.get(key) for key in keys] == ["12", "12", "Bearer", "user", "a,b"]


@pytest.mark.parametrize("kind", ["public", "preflight"])
@pytest.mark.parametrize("name", ["uid", "UID", "Uid"])
def test_a_uid_is_not_seen_where_nobody_asks_for_it(server: Server, kind: str, name: str) -> None:
    answer = ask(server, kind, f"{name}: {EVIL}")
    assert answer.status == 200
    assert EVIL not in answer.body.decode()


@pytest.mark.parametrize("kind", [*KNOWN, "optional, anonymous"])
@pytest.mark.parametrize("name", ["uid", "UID", "Uid"])
def test_a_uid_that_is_not_verified_is_refused(server: Server, kind: str, name: str) -> None:
    code = "uid_mismatch" if kind in KNOWN else "missing_credentials"
    assert ask(server, kind, f"{name}: {EVIL}").refusal == (400, code)


@pytest.mark.parametrize("target", ["/auth", "/auth/health", "/auth/verify", "/auth/none"])
def test_the_endpoints_do_not_answer_it(server: Server, target: str) -> None:
    names = [spelling for spellings in SETS.values() for spelling in spellings[:4]]
    answer = server.ask(target, *(f"{name}: {EVIL}" for name in names))
    assert answer.status in (200, 403, 404)
    assert EVIL not in f"{answer.headers}{answer.body!r}"


@pytest.mark.parametrize(
    ("target", "refusal"),
    [
        ("/admin/x", (403, "insufficient_scope")),
        ("/admin", (403, "insufficient_scope")),
        ("/%61dmin/x", (403, "insufficient_scope")),
        ("/admin%2fx", (403, "insufficient_scope")),
        ("/./admin/x", (400, "malformed_path")),
        ("/x/../admin/x", (400, "malformed_path")),
        ("/admin;x", (400, "malformed_path")),
        ("/ad%FFmin", (400, "malformed_path")),
        ("/%2561dmin", (400, "malformed_path")),
        ("/x%5c..%5cadmin", (400, "malformed_path")),
    ],
)
def test_no_spelling_of_a_path_gets_round_a_route(
    server: Server, target: str, refusal: tuple[int, str]
) -> None:
    assert server.ask(target, *known()).refusal == refusal


@pytest.mark.parametrize(
    "target", ["//admin/x", "http://test/admin/x", "http://test//admin/x", "http:///admin/x"]
)
def test_no_form_of_a_target_gets_round_a_route(server: Server, target: str) -> None:
    """Servers read these in ways of their own; refused they are in each."""
    assert 400 <= server.ask(target, *known()).status < 500
