"""What the pages on moving say of other software's tokens, and of the changes that they show."""

from __future__ import annotations

import difflib
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import webtest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from flask import Flask
from flask_jwt_extended import JWTManager, create_access_token, create_refresh_token

from gateway import AuthGateway, Settings
from tests.pages import DOCS, blocks, name_of
from tests.support import KEY, Guarded, Recorder, by_policy, forge
from tests.test_issuers import Publisher, Signer, jwks, rsa_key

SITE = "https://login.example.org/realms/staff"


def made(make: Any = create_access_token, identity: Any = "12", config: Any = (), **options: Any) -> str:
    """Return a token of Flask-JWT-Extended, by its defaults but for this."""
    app = Flask(__name__)
    app.config |= {"JWT_SECRET_KEY": KEY, **dict(config)}
    JWTManager(app)
    with app.app_context():
        token: str = make(identity, **options)
        return token


def guarded(**options: Any) -> Guarded:
    """A gateway with the settings of the page, by the time of day."""
    behind = Guarded(uid_claim="sub", require_uid=False, **options)
    behind.clock.time = time.time()
    return behind


def answer(behind: Guarded, token: str) -> int | str:
    response = behind.request(token=token, uid=None)
    return response.status_code if response.status_code == 200 else str(response.json["code"])


def test_an_access_token_is_taken_with_all_its_claims() -> None:
    behind = guarded()
    token = made(fresh=True, additional_claims={"roles": ["editor"]})
    assert answer(behind, token) == 200
    found = behind.seen["gateway.claims"]
    assert found.keys() == {"fresh", "iat", "jti", "type", "sub", "nbf", "csrf", "exp", "roles"}


def test_an_access_token_is_renewed_and_keeps_its_name() -> None:
    behind = guarded()
    token = made()
    renewed = behind.request(token=token, uid=None).headers["X-Refreshed-Token"]
    before, after = (behind.clock.decode_token(each) for each in (token, renewed))
    assert after["auth_time"] == before["iat"]
    assert (after["jti"], after["type"]) == (before["jti"], "access")


def test_a_refresh_token_is_a_good_token_unless_routes_ask_for_more(tmp_path: Path) -> None:
    policy = dict(named("moving-from-flask-jwt-extended.md"))["policy.toml"]
    behind = by_policy(tmp_path, policy, uid_claim="sub", require_uid=False)
    behind.clock.time = time.time()
    refresh = made(create_refresh_token)
    assert answer(guarded(), refresh) == 200
    assert answer(behind, refresh) == "insufficient_scope"
    assert answer(behind, made()) == 200


@pytest.mark.parametrize(
    "token",
    [
        pytest.param({"config": {"JWT_ACCESS_TOKEN_EXPIRES": False}}, id="without an end"),
        pytest.param({"identity": {"id": 12}}, id="of a dict"),
        pytest.param({"config": {"JWT_ENCODE_AUDIENCE": "shop"}}, id="for an audience"),
        pytest.param(
            {
                "make": create_refresh_token,
                "additional_claims": {"iat": int(time.time()) - 1441 * 60},
                "expires_delta": timedelta(days=30),
            },
            id="older than a session may be",
        ),
    ],
)
def test_an_old_token_that_is_not_taken(token: dict[str, Any]) -> None:
    assert answer(guarded(), made(**token)) == "invalid_claims"


def test_an_old_token_for_the_audience_is_taken() -> None:
    token = made(config={"JWT_ENCODE_AUDIENCE": ["shop", "till"]})
    assert answer(guarded(audience="till"), token) == 200


@pytest.mark.parametrize("kid", [None, "old"])
def test_a_private_key_in_the_folder_verifies_old_tokens(tmp_path: Path, kid: str | None) -> None:
    pem = rsa_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    file = tmp_path / "20260101T000000Z.RS256.old.pem"
    file.touch(0o600)
    file.write_text(pem, "ascii")
    config = {"JWT_ALGORITHM": "RS256", "JWT_PRIVATE_KEY": pem}
    token = made(config=config, additional_headers={"kid": kid} if kid else None)
    assert answer(guarded(algorithm="RS256", key_dir=str(tmp_path)), token) == 200


def named(page: str) -> list[tuple[str, str]]:
    """The files that a page shows, by their names, without these."""
    found = [(name_of(source), source.partition("\n")[2]) for _, source in blocks(DOCS / page)]
    return [(name, source) for name, source in found if name is not None]


def test_each_change_that_is_shown_leads_from_one_file_to_the_next() -> None:
    page = "moving-from-a-decorator.md"
    files = {name: source.splitlines() for name, source in named(page)}
    shown = [source for language, source in blocks(DOCS / page) if language == "diff"]
    steps = [("before.py", "step1.py"), ("step1.py", "step3.py")]
    for (old, new), change in zip(steps, shown, strict=True):
        lines = difflib.unified_diff(files[old], files[new], old, new, lineterm="")
        assert "\n".join(map(str.rstrip, lines)).rstrip() == change.rstrip()


def test_the_app_gets_the_headers_that_oauth2_proxy_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider, published = Signer(rsa_key(), "RS256"), Publisher()
    monkeypatch.setattr("gateway.issuers._fetched", published)
    published.sets[f"{SITE}/protocol/openid-connect/certs"] = jwks(provider)
    path = tmp_path / "policy.toml"
    path.write_text(dict(named("moving-from-oauth2-proxy.md"))["policy.toml"], "utf-8")
    app = Recorder()
    client = webtest.TestApp(AuthGateway(app, Settings(policy_file=str(path), require_uid=False)))
    who = {"sub": "f3a1", "email": "anna@example.org", "groups": ["staff", "admins"]}
    now = int(time.time())
    token = provider.token({**who, "iss": SITE, "aud": "my-app", "iat": now, "exp": now + 300})
    forged = {"X-Forwarded-User": "root", "X-Forwarded-Preferred-Username": "root"}
    client.get("/admin/x", headers={"Authorization": f"Bearer {token}", **forged})
    seen = {name: value for name, value in app.environ.items() if name.startswith("HTTP_X_FORWARDED_")}
    assert seen == {
        "HTTP_X_FORWARDED_USER": "f3a1",
        "HTTP_X_FORWARDED_EMAIL": "anna@example.org",
        "HTTP_X_FORWARDED_GROUPS": "staff,admins",
    }
    assert (app.environ["REMOTE_USER"], app.environ["HTTP_X_REFRESHED_TOKEN"]) == ("f3a1", token)


def test_tokens_of_simplejwt_are_told_apart_by_their_token_type(tmp_path: Path) -> None:
    policy = '[[routes]]\npath = "/*"\nclaims = { token_type = "access" }\n'
    behind = by_policy(tmp_path, policy, uid_claim="user_id", require_uid=False)
    behind.clock.time = now = int(time.time())
    common = {"user_id": "12", "iat": now, "exp": now + 300, "jti": "4114091fdd9d473b98d6436e1140c777"}
    assert answer(behind, forge({"token_type": "refresh", **common})) == "insufficient_scope"
    assert answer(behind, forge({"token_type": "access", **common})) == 200
