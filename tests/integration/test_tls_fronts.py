"""The gateway behind nginx and Caddy with TLS, by the shipped files: what comes through, and what is kept.

Nginx is a package of the system's, and so tested by `make test-system` alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.deployed import DEPLOY
from tests.integration.fronts import caddy_program
from tests.integration.servers import log_of, run
from tests.integration.tls_fronts import Behind, TlsCaddy, TlsFront, TlsNginx, behind
from tests.support import in_use

KINDS = [
    pytest.param(TlsCaddy, id="caddy"),
    pytest.param(TlsNginx, id="nginx", marks=pytest.mark.system),
]


@pytest.fixture(scope="module", params=KINDS)
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Behind]:
    kind: type[TlsFront] = request.param
    with behind(kind, tmp_path_factory.mktemp("site")) as running:
        yield running


# What a proxy sends besides, when it asks.
FORWARDED = ("X-Original-Method: GET", "X-Original-URI: /me")


def sends(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}", "uid": "12"}


def test_the_app_is_told_who_calls_and_that_it_came_by_tls(site: Behind) -> None:
    status, headers, body = site.ask("/me", **sends(in_use()))
    uid, scheme, path, request_id = body.split(" ")
    assert (status, uid, scheme, path) == (200, "12", "https", "/me")
    assert len(request_id) >= 32
    assert headers["Strict-Transport-Security"] == "max-age=31536000"


def test_a_refusal_comes_through_as_it_is(site: Behind) -> None:
    status, headers, body = site.ask("/me", **sends("a.b.c"))
    assert (status, json.loads(body)["code"]) == (498, "invalid_token")
    assert headers["WWW-Authenticate"].startswith("Bearer")


def test_the_path_is_judged_as_it_was_sent(site: Behind) -> None:
    _, _, body = site.ask("/a//b/%2e%2e/c", **sends(in_use()))
    assert body.split(" ")[2] == "/a//b/../c"


def test_the_longest_token_comes_through_and_is_renewed(site: Behind) -> None:
    token = in_use(10, pad="x" * 5_800)
    status, headers, _ = site.ask("/me", **sends(token))
    assert status == 200
    assert min(len(token), len(headers["X-Refreshed-Token"])) > 7_900


@pytest.mark.parametrize("path", ["/auth/metrics", "/auth/verify"])
def test_what_is_for_proxies_and_prometheus_is_hidden(site: Behind, path: str) -> None:
    lines = [f"{name}: {value}" for name, value in sends(in_use()).items()]
    assert site.gateway.ask(path, *lines, *FORWARDED).status == 200
    status, _, body = site.ask(path, **sends(in_use()))
    assert (status, json.loads(body)["code"]) == (404, "not_found")


def test_a_client_cannot_say_where_it_is(site: Behind) -> None:
    site.ask("/whence", X_Forwarded_For="203.0.113.9", Forwarded="for=203.0.113.9", **sends(in_use()))
    events = [json.loads(line) for line in log_of(site.gateway).splitlines() if line.startswith("{")]
    assert [event["address"] for event in events if event["path"] == "/whence"] == ["127.0.0.1"]


def test_no_app_is_told_by_a_client_where_that_or_the_app_is(site: Behind) -> None:
    claimed = {"Forwarded": "for=203.0.113.9", "X_Forwarded_Prefix": "/x", "X_Forwarded_Port": "1"}
    _, _, body = site.ask("/forwarded", X_Real_IP="203.0.113.9", **claimed, **sends(in_use()))
    assert body == "- - - 127.0.0.1"


def test_no_token_and_no_query_is_logged(site: Behind) -> None:
    token = in_use(10, other="session")
    _, headers, _ = site.ask(f"/logged?token={token}", **sends(token))
    log = site.proxy.wait_for_log("/logged")
    assert not any(secret in log for secret in (token, headers["X-Refreshed-Token"], "?"))


def test_caddy_finds_its_file_sound_and_well_formed() -> None:
    shipped = str(DEPLOY / "Caddyfile")
    done = run(DEPLOY, caddy_program(), "fmt", shipped)
    assert done.returncode == 0, done.stderr
