"""The description of the endpoints: what stands in it, and that it is what they do."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urljoin

import pytest
import schemathesis
import webtest
from schemathesis.config import SchemathesisConfig

from gateway import Settings, openapi
from gateway.errors import KeysUnavailableError
from gateway.keyfolder import generate
from gateway.rejections import every_rejection
from gateway.stores.memory import MemoryStore
from tests.support import KEY, NOW, Clock, Guarded, claims, forge
from tests.test_login import MOST, WRONG, House, down, padded, refused

PATH = "/auth/openapi.json"
REVOKE, LOG_IN, JWKS = ("post", "/auth/revoke"), ("post", "/auth"), ("get", "/auth/jwks.json")
VERIFY = ("get", "/auth/verify")
ALWAYS = {("get", "/auth/health"), ("get", "/auth/ready"), ("get", PATH), VERIFY}
SENT_WITH_REFUSALS = ("Cache-Control", "WWW-Authenticate", "Retry-After", "Allow")

Operation = tuple[str, str]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a key."""
    path = tmp_path / "keys"
    path.mkdir()
    generate(path, "ES256", NOW)
    return path


@pytest.fixture
def policy(tmp_path: Path) -> str:
    """A policy file by which one path is open and another asks for a scope."""
    path = tmp_path / "policy.toml"
    path.write_text(
        "[[routes]]\npath = '/open'\naccess = 'public'\n"
        "[[routes]]\npath = '/scoped'\nscopes = ['write']\n"
        "[headers]\nX-Team = 'team'\n"
    )
    return str(path)


def document(guarded: Guarded, path: str = PATH) -> dict[str, Any]:
    found: dict[str, Any] = guarded.send(path).json
    return found


def operations(described: dict[str, Any]) -> set[Operation]:
    return {(method, path) for path, item in described["paths"].items() for method in item}


def responses(described: dict[str, Any], operation: Operation) -> dict[str, Any]:
    method, path = operation
    found: dict[str, Any] = described["paths"][path][method]["responses"]
    return found


def refusals(described: dict[str, Any], operation: Operation) -> set[tuple[int, str]]:
    """Every status and code that an operation is said to be refused with."""
    return {
        (int(status), code)
        for status, response in responses(described, operation).items()
        if int(status) >= 400
        for code in codes_of(response)
    }


def codes_of(response: dict[str, Any]) -> list[str]:
    found: list[str] = response["content"]["application/json"]["schema"]["properties"]["code"]["enum"]
    return found


def is_as_described(response: webtest.TestResponse, described: dict[str, Any]) -> bool:
    """Whether a refusal has the headers that are said to come with it, and one of the errors."""
    present = {name for name in SENT_WITH_REFUSALS if name in response.headers}
    headers, content = described["headers"], described["content"][response.content_type]
    required = {name for name, header in headers.items() if header["required"]}
    error: str = content["examples"][response.json["code"]]["value"]["error"]
    return bool(required <= present <= headers.keys() and error == response.json["error"])


# What stands in it


def test_it_is_json_to_be_asked_for_again_each_time() -> None:
    response = Guarded().send(PATH)
    assert response.status_int == 200
    assert response.headers["Content-Type"] == "application/json"
    assert response.headers["Cache-Control"] == "no-cache"
    assert Guarded().send(PATH, {"If-None-Match": response.headers["ETag"]}).status_int == 304


def test_another_description_has_another_tag() -> None:
    tags = [guarded.send(PATH).headers["ETag"] for guarded in (Guarded(), Guarded(state_url="memory://"))]
    assert tags[0] != tags[1]


def test_it_needs_no_credentials() -> None:
    assert Guarded().request(PATH, token="bad").status_int == 200


def test_it_gives_head_the_same_headers_and_no_body() -> None:
    guarded = Guarded()
    get, head = guarded.send(PATH), guarded.send(PATH, method="HEAD")
    assert (head.status, head.headerlist, head.body) == (get.status, get.headerlist, b"")


@pytest.mark.parametrize("profile", ["classic", "rfc6750"])
def test_it_is_valid_with_all_endpoints(profile: str) -> None:
    settings = Settings(token_key=KEY, state_url="memory://", status_profile=profile)
    served = [(f"/auth{path}", method) for method, path in openapi.OPERATIONS]
    made = json.loads(json.dumps(openapi.document(settings, served)))
    schema = schemathesis.openapi.from_dict(made, config=SchemathesisConfig())
    schema.validate()
    assert made["openapi"].startswith("3.1.")
    assert len(list(schema.get_all_operations())) == len(openapi.OPERATIONS)


def test_the_metrics_are_in_it_where_there_are_any() -> None:
    assert ("get", "/auth/metrics") in operations(document(Guarded(metrics_from=["127.0.0.1"])))
    assert ("get", "/auth/metrics") not in operations(document(Guarded()))


def test_its_version_is_that_of_the_package() -> None:
    assert document(Guarded())["info"]["version"] == metadata.version("wsgi-auth-gateway")


@pytest.mark.parametrize("prefix", ["/auth", "/_gateway/v1"])
@pytest.mark.parametrize("mount", ["", "/mounted", "/twice/mounted"])
def test_its_addresses_hold_behind_any_host_and_mount(prefix: str, mount: str) -> None:
    (server,) = document(Guarded(prefix=prefix), f"{prefix}/openapi.json")["servers"]
    root = f"https://any.example:8443{mount}"
    assert urljoin(f"{root}{prefix}/openapi.json", server["url"]) == f"{root}/"


def test_nothing_secret_is_in_it(folder: Path) -> None:
    secrets = {
        "state_url": "sqlite:///private/state.db",
        "previous_keys": ["a previous key of 40 bytes, for tests"],
    }
    body = House(algorithm="ES256", key_dir=str(folder), **secrets).send(PATH).text
    assert not [
        secret for secret in (KEY, str(folder), "private", "a previous key", "door_") if secret in body
    ]


def test_each_operation_has_a_name_of_its_own() -> None:
    served = [(f"/auth{path}", method) for method, path in openapi.OPERATIONS]
    paths = openapi.document(Settings(token_key=KEY), served)["paths"]
    names = {operation["operationId"] for item in paths.values() for operation in item.values()}
    assert len(names) == len(openapi.OPERATIONS)


# Which endpoints


class Configured(NamedTuple):
    """A gateway, and what is to be described besides what always is."""

    guarded: Guarded
    more: set[Operation]


@pytest.fixture(params=["nothing", "keys", "a store", "a login", "all"])
def configured(request: pytest.FixtureRequest, folder: Path) -> Configured:
    keys: Any = {"algorithm": "ES256", "key_dir": str(folder)}
    match request.param:
        case "keys":
            return Configured(Guarded(**keys), {JWKS})
        case "a store":
            return Configured(Guarded(state_url="memory://"), {REVOKE})
        case "a login":
            return Configured(House(), {REVOKE, LOG_IN})
        case "all":
            return Configured(House(**keys), {REVOKE, LOG_IN, JWKS})
    return Configured(Guarded(), set())


def test_those_that_are_configured_are_in_it(configured: Configured) -> None:
    assert operations(document(configured.guarded)) == ALWAYS | configured.more


def test_those_that_are_served_are_in_it_and_no_others(configured: Configured) -> None:
    rules = configured.guarded.gateway._endpoints._routes.map.iter_rules()
    served = {(method.lower(), rule.rule) for rule in rules for method in (rule.methods or set()) - {"HEAD"}}
    assert operations(document(configured.guarded)) == served


def test_what_is_not_in_it_is_not_found_or_not_allowed(configured: Configured) -> None:
    known = {(method.lower(), f"/auth{path}") for method, path in openapi.OPERATIONS}
    for method, path in known - operations(document(configured.guarded)):
        assert configured.guarded.request(path, method=method.upper()).status_int in {404, 405}


def test_it_moves_with_the_prefix() -> None:
    paths = document(Guarded(prefix="/_gateway/v1"), "/_gateway/v1/openapi.json")["paths"]
    assert paths.keys() == {f"/_gateway/v1/{name}" for name in ("health", "ready", "openapi.json", "verify")}


def test_an_empty_prefix_turns_it_off() -> None:
    guarded = Guarded(prefix="")
    assert guarded.send(PATH).json["code"] == "missing_credentials"
    assert guarded.request("/openapi.json").body == b"from the app"


# Who may


def test_both_headers_are_needed_where_a_uid_is_required() -> None:
    described = document(Guarded(state_url="memory://"))
    assert described["paths"]["/auth/revoke"]["post"]["security"] == [{"bearer": [], "uid": []}]


def test_the_token_suffices_where_no_uid_is_required() -> None:
    described = document(Guarded(state_url="memory://", require_uid=False))
    assert {"bearer": []} in described["paths"]["/auth/revoke"]["post"]["security"]


def test_a_proxy_may_ask_without_credentials() -> None:
    assert {} in document(Guarded())["paths"]["/auth/verify"]["get"]["security"]


# What is answered


def test_every_rejection_is_in_it(folder: Path, policy: str) -> None:
    keys: Any = {"algorithm": "ES256", "key_dir": str(folder)}
    settings = Settings(token_key=KEY, state_url="memory://", policy_file=policy, **keys)
    served = [(f"/auth{path}", method) for method, path in openapi.OPERATIONS]
    made = openapi.document(settings, served)
    found = {code for operation in operations(made) for _, code in refusals(made, operation)}
    found |= {code for response in made["components"]["responses"].values() for code in codes_of(response)}
    assert found == every_rejection("classic").keys()


def test_a_wrong_method_is_answered_as_described() -> None:
    guarded = Guarded()
    response = guarded.send("/auth/health", method="DELETE")
    assert is_as_described(response, document(guarded)["components"]["responses"]["MethodNotAllowed"])


def test_an_unknown_path_is_answered_as_described() -> None:
    guarded = Guarded()
    response = guarded.send("/auth/nothing")
    assert is_as_described(response, document(guarded)["components"]["responses"]["NotFound"])


def all_described(
    answers: list[webtest.TestResponse], described: dict[str, Any], operation: Operation
) -> bool:
    """Whether these are all that is said to be refused, and as it is said."""
    for answer in answers:
        assert is_as_described(answer, responses(described, operation)[str(answer.status_int)]), answer
    assert {refused(answer) for answer in answers} == refusals(described, operation)
    return True


def test_a_login_is_refused_as_described(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    house = House(algorithm="ES256", key_dir=str(folder), login_tries=2)
    answers = [house.post(body) for body in (b"", b"{}", padded(MOST + 1))]
    answers += [house.log_in(password=WRONG) for _ in range(3)]
    monkeypatch.setattr(Clock, "begin", raising(KeysUnavailableError("none")))
    answers.append(house.log_in(uid=13))
    house.door.answer = raising(RuntimeError())
    answers.append(house.log_in(uid=14))
    monkeypatch.setattr(MemoryStore, "admit", down)
    answers.append(house.log_in())
    assert all_described(answers, document(house), LOG_IN)


@pytest.mark.parametrize("profile", ["classic", "rfc6750"])
def test_a_revocation_is_refused_as_described(profile: str, monkeypatch: pytest.MonkeyPatch) -> None:
    guarded = Guarded(state_url="memory://", state_sync_sec=0, state_timeout_sec=60, status_profile=profile)

    def revoke(authorization: str, body: bytes = b"", uid: str = "12") -> webtest.TestResponse:
        sent = {"Authorization": authorization, "uid": uid}
        return guarded.client.post("/auth/revoke", body, headers=sent, expect_errors=True)

    def bearing(token: str) -> str:
        return f"Bearer {token}"

    good, ended = bearing(forge(claims())), bearing(forge(claims(sid="ended")))
    assert revoke(ended).status_int == 204
    refused_tokens = [forge(claims(exp=int(NOW))), forge(claims(uid=None)), forge(claims(sid=...)), "x"]
    answers = [revoke(bearing(token)) for token in refused_tokens]
    answers += [revoke(ended), revoke(""), revoke("Basic x"), revoke(good, uid="13")]
    answers += [revoke(good, body) for body in (b"[]", b'{"all": 1}', padded(MOST + 1))]
    monkeypatch.setattr(MemoryStore, "append", down)
    answers.append(revoke(good))
    assert all_described(answers, document(guarded), REVOKE)


def test_who_is_not_ready_says_so_as_described(tmp_path: Path) -> None:
    guarded = Guarded(state_url=f"sqlite:///{tmp_path}/missing/state.db")
    answer = guarded.send("/auth/ready")
    assert all_described([answer], document(guarded), ("get", "/auth/ready"))
    assert answer.json["down"] == ["state store"]


@pytest.mark.parametrize("operation", [JWKS, ("get", PATH)])
def test_who_asks_for_another_than_there_is_gets_none(operation: Operation, folder: Path) -> None:
    """RFC 9110 section 13.1.1."""
    guarded = Guarded(algorithm="ES256", key_dir=str(folder))
    answer = guarded.send(operation[1], {"If-Match": '"another"'})
    assert all_described([answer], document(guarded), operation)
    assert refused(answer) == (412, "precondition_failed")


@pytest.mark.parametrize("profile", ["classic", "rfc6750"])
def test_a_proxy_is_refused_as_described(profile: str, policy: str, tmp_path: Path) -> None:
    options: Any = {"status_profile": profile, "policy_file": policy, "trusted_proxies": ["192.0.2.1"]}

    def asking(url: str) -> Guarded:
        return Guarded(state_url=url, state_sync_sec=0, state_timeout_sec=60, **options)

    def ask(
        guarded: Guarded, authorization: str, uri: str = "/scoped", uid: str = "12"
    ) -> webtest.TestResponse:
        sent = {"X-Forwarded-Method": "GET", "X-Forwarded-Uri": uri}
        sent |= {"Authorization": authorization, "uid": uid}
        by_proxy = {"REMOTE_ADDR": "192.0.2.1"}
        return guarded.client.get("/auth/verify", headers=sent, extra_environ=by_proxy, expect_errors=True)

    guarded, good = asking("memory://"), f"Bearer {forge(claims())}"
    ended = f"Bearer {forge(claims(sid='ended'))}"
    guarded.client.post("/auth/revoke", headers={"Authorization": ended, "uid": "12"})
    refused_tokens = [forge(claims(exp=int(NOW))), forge(claims(uid=None)), "x"]
    answers = [ask(guarded, f"Bearer {token}") for token in refused_tokens]
    answers += [ask(guarded, sent) for sent in (ended, good, "", "Basic x")]
    answers += [ask(guarded, good, uri) for uri in ("no path", "/nowhere", "/a//b")]
    answers += [ask(guarded, good, uid="13"), ask(asking(f"sqlite:///{tmp_path}/missing/state.db"), good)]
    assert all_described(answers, document(guarded), VERIFY)
    assert ask(guarded, "", "/open", uid="").status_int == 200


def test_what_no_setting_makes_possible_is_not_in_it() -> None:
    codes = {code for _, code in refusals(document(Guarded()), VERIFY)}
    assert not codes & {"token_revoked", "state_unavailable", "keys_unavailable", "no_route"}


@pytest.mark.parametrize("profile", ["classic", "rfc6750"])
def test_a_proxy_is_answered_with_statuses_that_it_takes_for_no_fault(profile: str) -> None:
    described = document(Guarded(status_profile=profile, state_url="memory://"))
    assert responses(described, VERIFY).keys() == {"200", "401", "403", "503"}


def test_a_proxy_is_handed_the_headers_of_the_settings(policy: str) -> None:
    described = document(Guarded(token_header="X-Next-Token", policy_file=policy))
    headers = responses(described, VERIFY)["200"]["headers"]
    assert headers.keys() == {"uid", "X-Next-Token", "X-Team", "X-Renewed-Token", "Cache-Control"}


def test_a_proxy_is_handed_no_renewed_token_where_responses_are_left_alone() -> None:
    headers = responses(document(Guarded(token_in_response=False)), VERIFY)["200"]["headers"]
    assert "X-Renewed-Token" not in headers


def test_the_metrics_are_text_and_not_found_by_others() -> None:
    settings = Settings(token_key=KEY, metrics_from=["127.0.0.1"])
    described = openapi.document(settings, [("/auth/metrics", "GET")])
    found = responses(described, ("get", "/auth/metrics"))
    assert found["200"]["content"].keys() == {"text/plain"}
    assert refusals(described, ("get", "/auth/metrics")) == {(404, "not_found")}


def raising(error: Exception) -> Any:
    """A function that raises this."""

    def raises(*_: object) -> Any:
        raise error

    return raises
