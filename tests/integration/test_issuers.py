"""The gateway as it is deployed, in front of an app, with a real OpenID provider whose tokens it takes."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jwt
import pytest

from gateway import TokenCreator
from tests.integration.provider import USERS, Provider, private_key, providing
from tests.integration.servers import (
    ANY_PORT,
    DEADLINE,
    GUNICORN,
    SHIPPED,
    Answer,
    Server,
    log_of,
    serving,
    until,
)
from tests.support import KEY

UNAVAILABLE = (503, "keys_unavailable")
INVALID = (498, "invalid_token")
ONE_WORKER = ("-k", "sync", "-w", "1")
TWO_WORKERS = ("-k", "gthread", "-w", "2", "--threads", "2")
MANY_AT_ONCE = 50
APP = """\
import json
import os

def app(environ, start_response):
    names = ("HTTP_UID", "REMOTE_USER", "HTTP_X_REFRESHED_TOKEN", "gateway.issuer", "gateway.claims")
    seen = {"pid": os.getpid()} | {name: environ[name] for name in names if name in environ}
    body = json.dumps(seen).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""
IMPATIENT = """\
import gateway.issuers

gateway.issuers.COOLDOWN_SEC = 0.1
gateway.issuers.REFRESH_SEC = 0.5
"""


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    with providing(tmp_path_factory.mktemp("provider")) as running:
        yield running


@contextlib.contextmanager
def gateway(
    folder: Path, provider: Provider, *options: str, patient: bool = False, **variables: str
) -> Iterator[Server]:
    """Run the gateway, which takes the provider's tokens, around an app that answers what it saw.

    Unless it is patient, it soon fetches keys again.
    """
    members = {
        "issuer": provider.issuer,
        "jwks_url": provider.jwks_url,
        "audience": provider.audience,
        "uid_prefix": "op:",
    }
    lines = [f"{key} = {json.dumps(value)}" for key, value in members.items()]
    (folder / "policy.toml").write_text("\n".join(("[[issuers]]", *lines, "")))
    (folder / "answering.py").write_text(APP if patient else IMPATIENT + APP)
    variables = {"GATEWAY_APP": "answering:app", "GATEWAY_POLICY_FILE": "policy.toml", **variables}
    with serving(folder, GUNICORN, *options, *ANY_PORT, *SHIPPED, **variables) as running:
        yield running


@pytest.fixture(
    scope="module",
    params=[TWO_WORKERS, (*TWO_WORKERS, "--preload")],
    ids=["loaded by each worker", "preloaded"],
)
def server(
    request: pytest.FixtureRequest, provider: Provider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """The gateway with two workers, and with tokens of its own besides."""
    folder = tmp_path_factory.mktemp("gateway")
    with gateway(folder, provider, *request.param, TOKEN_KEY=KEY) as running:
        yield running


def ask(server: Server, token: str, uid: str = "op:12") -> Answer:
    return server.ask("/", f"Authorization: Bearer {token}", f"uid: {uid}")


def ask_until(server: Server, token: str, *, status: int) -> Answer:
    """The first answer of this status; the gateway takes a moment to hear of other keys."""

    def found() -> Answer | None:
        answer = ask(server, token)
        return answer if answer.status == status else None

    return until(found, lambda: log_of(server))


def seen_by_the_app(server: Server, token: str, uid: str) -> Any:
    """What the app sees; a worker's very first request of all may come while another waits for the keys."""
    found = until(
        lambda: answer if (answer := ask(server, token, uid)).refusal != UNAVAILABLE else None,
        lambda: "the keys never came",
    )
    assert found.status == 200, found
    return found.json


def ask_every_worker(server: Server, token: str, workers: int) -> None:
    """Return once each worker has let a token pass."""
    pids: set[int] = set()

    def found() -> bool | None:
        answer = ask(server, token)
        if answer.status == 200:
            pids.add(answer.json["pid"])
        return len(pids) == workers or None

    until(found, lambda: f"{pids} alone let it pass")


def stranger_to(provider: Provider) -> list[str]:
    """Tokens in the provider's name, each with a key of a name that it has never published."""
    key = private_key()
    now = int(time.time())
    claims = {"iss": provider.issuer, "aud": provider.audience, "sub": "12", "iat": now, "exp": now + 600}
    return [jwt.encode(claims, key, "RS256", {"kid": f"unknown {n}"}) for n in range(MANY_AT_ONCE)]


def kid(token: str) -> Any:
    return jwt.get_unverified_header(token)["kid"]


# Two workers


def test_the_provider_tells_where_its_keys_are(provider: Provider) -> None:
    told = provider.discovered()
    assert (told["issuer"], told["jwks_uri"]) == (provider.issuer, provider.jwks_url)


@pytest.mark.parametrize("user", USERS)
def test_an_id_token_says_who_logged_in(server: Server, provider: Provider, user: str) -> None:
    token = provider.token(user)
    uid = f"op:{USERS[user]}"
    seen = seen_by_the_app(server, token, uid)
    assert seen["gateway.issuer"] == provider.issuer
    assert (seen["HTTP_UID"], seen["REMOTE_USER"]) == (uid, uid)
    assert seen["gateway.claims"]["sub"] == str(USERS[user])
    assert seen["HTTP_X_REFRESHED_TOKEN"] == token


def test_another_users_uid_is_refused(server: Server, provider: Provider) -> None:
    token = provider.token()
    ask_until(server, token, status=200)
    for uid in ("12", "op:13", "op:012"):
        assert ask(server, token, uid).refusal == (400, "uid_mismatch")


def test_a_response_carries_no_token(server: Server, provider: Provider) -> None:
    answer = ask_until(server, provider.token(), status=200)
    assert "X-Refreshed-Token" not in answer.headers


def test_a_token_that_was_tampered_with_is_refused(server: Server, provider: Provider) -> None:
    token = provider.token()
    ask_until(server, token, status=200)
    head, payload, signature = token.split(".")
    forged = f"{head}.{payload}.{signature[:-5]}{'A' if signature[-5] != 'A' else 'B'}{signature[-4:]}"
    assert ask(server, forged).refusal == INVALID


def test_a_token_of_ours_passes_beside_them(server: Server) -> None:
    seen = ask(server, TokenCreator(token_key=KEY).create(uid=12), "12").json
    assert (seen["HTTP_UID"], "gateway.issuer" in seen) == ("12", False)


def test_every_worker_fetches_the_keys(server: Server, provider: Provider) -> None:
    ask_every_worker(server, provider.token(), 2)


def test_a_new_key_is_known_to_every_worker_soon_and_the_old_one_still(
    server: Server, provider: Provider
) -> None:
    old = provider.token()
    ask_every_worker(server, old, 2)
    provider.rotate()
    new = provider.token()
    assert kid(new) != kid(old)
    ask_every_worker(server, new, 2)
    ask_every_worker(server, old, 2)


# One worker


def test_a_key_that_is_dropped_takes_its_tokens_with_it(provider: Provider, tmp_path: Path) -> None:
    old = provider.token()
    with gateway(tmp_path, provider, *ONE_WORKER) as server:
        assert ask(server, old).status == 200
        provider.rotate()
        provider.drop_old_keys()
        assert ask_until(server, old, status=498).refusal == INVALID
        assert ask(server, provider.token()).status == 200


def test_known_keys_go_on_serving_while_the_provider_is_down(provider: Provider, tmp_path: Path) -> None:
    remembered, other = provider.token("alice"), provider.token("bob")
    stranger, *_ = stranger_to(provider)
    with gateway(tmp_path, provider, *ONE_WORKER) as server:
        assert ask(server, remembered).status == 200
        with provider.outage():
            log = server.folder / "server.log"
            until(lambda: "cannot be fetched" in log.read_text() or None, log.read_text)
            assert ask(server, remembered).status == 200
            assert ask(server, other, "op:13").status == 200
            assert ask(server, stranger).refusal == INVALID
        provider.rotate()
        assert ask_until(server, provider.token(), status=200)


def test_a_gateway_that_starts_first_waits_for_the_provider(provider: Provider, tmp_path: Path) -> None:
    token = provider.token()
    with contextlib.ExitStack() as down:
        down.enter_context(provider.outage())
        with gateway(tmp_path, provider, *ONE_WORKER) as server:
            answer = ask(server, token)
            assert answer.refusal == UNAVAILABLE
            assert answer.headers["Retry-After"].isdigit()
            assert "WWW-Authenticate" not in answer.headers
            assert server.ask("/auth/health").status == 200
            down.close()
            assert ask_until(server, token, status=200)


@pytest.fixture
def another_provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    """One that no other gateway asks for its keys."""
    with providing(tmp_path_factory.mktemp("another")) as running:
        yield running


def test_each_worker_fetches_the_keys_before_its_first_request(
    another_provider: Provider, tmp_path: Path
) -> None:
    with gateway(tmp_path, another_provider, *TWO_WORKERS, patient=True):
        until(lambda: another_provider.fetches == 2 or None, lambda: str(another_provider.fetches))


def test_many_tokens_of_unknown_keys_at_once_cost_one_fetch(
    another_provider: Provider, tmp_path: Path
) -> None:
    """With the times that are in force: within the next half minute no other token has them fetched."""
    provider = another_provider
    good, tokens = provider.token(), stranger_to(provider)
    options = ("-k", "gthread", "-w", "1", "--threads", str(MANY_AT_ONCE))
    with gateway(tmp_path, provider, *options, patient=True) as server:
        assert ask(server, good).status == 200
        assert provider.fetches == 1
        barrier = threading.Barrier(MANY_AT_ONCE)

        def refusal(token: str) -> tuple[int, str | None]:
            barrier.wait(DEADLINE)
            return ask(server, token).refusal

        with ThreadPoolExecutor(MANY_AT_ONCE) as pool:
            assert list(pool.map(refusal, tokens)) == [INVALID] * MANY_AT_ONCE
            until(lambda: provider.fetches > 1 or None, lambda: "the keys were not fetched again")
            assert list(pool.map(refusal, tokens)) == [INVALID] * MANY_AT_ONCE
        assert ask(server, good).status == 200
        assert provider.fetches == 2
