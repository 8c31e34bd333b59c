"""The description of the endpoints, held against a gateway that runs, by Schemathesis."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import schemathesis
from schemathesis import AuthContext, AuthProvider, BaseSchema, Case
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import from_schema
from schemathesis.engine.events import FatalError, NonFatalError, ScenarioFinished
from schemathesis.engine.recorder import ScenarioRecorder

from gateway import Settings, TokenCreator
from tests.integration.servers import ANY_PORT, GUNICORN, SCRIPTS, SHIPPED, Server, run, serving

KEYS = {"GATEWAY_ALGORITHM": "ES256", "GATEWAY_KEY_DIR": "keys"}
SETTINGS = {
    **KEYS,
    "GATEWAY_TRUSTED_PROXIES": "127.0.0.1",
    "GATEWAY_STATE_URL": "sqlite:///state.db",
    "GATEWAY_LOGIN": "logins:check",
    # So many that each login is looked at.
    "GATEWAY_LOGIN_TRIES": "1000000",
    "GATEWAY_LOGIN_TRIES_PER_ADDRESS": "1000000",
}
CHECK = """\
def check(uid, password):
    return {} if len(password) % 2 else None
"""
# The same cases each time. A worker of sync's closes each connection, and so does who asks.
CONFIG = {
    "seed": 1,
    "headers": {"Connection": "close"},
    "continue-on-failure": True,
    "generation": {"max-examples": 50, "deterministic": True, "database": "none"},
}
REFUSED = [400, 401, 403, 405, 422, 498]


class Served(NamedTuple):
    """A gateway, and its GATEWAY_STATUS_PROFILE."""

    server: Server
    profile: str

    def described(self, *, checks: dict[str, object]) -> BaseSchema:
        """The description that it serves, for these settings of Schemathesis's checks."""
        address = f"http://127.0.0.1:{self.server.port}/auth/openapi.json"
        config = SchemathesisConfig.from_dict({**CONFIG, "checks": checks})
        return schemathesis.openapi.from_url(address, config=config)

    def checks(self, *, accepted: list[object]) -> dict[str, object]:
        """What is right where a good request is answered with the `accepted`."""
        checks: dict[str, object] = {
            "positive_data_acceptance": {"expected-statuses": accepted},
            "negative_data_rejection": {"expected-statuses": REFUSED},
        }
        if self.profile == "classic":  # in which missing credentials are 400
            checks |= {name: {"enabled": False} for name in ("missing_required_header", "ignored_auth")}
        return checks


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a key and a login function."""
    folder = tmp_path_factory.mktemp("gateway")
    (folder / "logins.py").write_text(CHECK)
    run(folder, SCRIPTS / "gateway", "keys", "generate", **KEYS).check_returncode()
    return folder


@pytest.fixture(scope="module", params=["classic", "rfc6750"])
def served(request: pytest.FixtureRequest, folder: Path) -> Iterator[Served]:
    settings = {**SETTINGS, "GATEWAY_STATUS_PROFILE": request.param}
    with serving(folder, GUNICORN, *ANY_PORT, *SHIPPED, **settings) as server:
        yield Served(server, request.param)


def giver_of(tokens: TokenCreator) -> type[AuthProvider[str]]:
    """What gives each request a token of its own, since some of them end its session."""

    class Giver:
        def get(self, case: Case[Any], context: AuthContext) -> str:
            return tokens.create(12)

        def set(self, case: Case[Any], data: str, context: AuthContext) -> None:
            case.headers.update({"Authorization": f"Bearer {data}", "uid": "12"})

    return Giver


class Found(NamedTuple):
    """What was wrong, and the statuses with which each operation was answered."""

    faults: list[str]
    statuses: dict[str, set[int]]


def found(schema: BaseSchema) -> Found:
    """What Schemathesis finds with the values it chooses, good ones and bad, and with other methods."""
    faults: list[str] = []
    statuses: dict[str, set[int]] = defaultdict(set)
    for event in from_schema(schema).execute():
        if isinstance(event, FatalError):
            faults.append(repr(event.exception))
        elif isinstance(event, NonFatalError):
            faults.append(f"{event.label}: {event.value!r}")
        elif isinstance(event, ScenarioFinished):
            faults += faults_in(event.recorder)
            statuses[event.recorder.label] |= statuses_in(event.recorder)
    return Found(faults, statuses)


def faults_in(recorder: ScenarioRecorder) -> Iterator[str]:
    for checks in recorder.checks.values():
        for check in checks:
            if check.failure_info is not None:
                info = check.failure_info
                yield f"{check.name}: {info.failure.message}\n{info.code_sample}"


def statuses_in(recorder: ScenarioRecorder) -> set[int]:
    responses = (interaction.response for interaction in recorder.interactions.values())
    return {response.status_code for response in responses if response is not None}


def test_the_served_description_is_valid(served: Served) -> None:
    served.described(checks={}).validate()


def test_without_good_credentials_all_answers_are_described(served: Served) -> None:
    checks = served.checks(accepted=["2xx", *REFUSED])
    faults, statuses = found(served.described(checks=checks))
    assert faults == []
    assert 204 not in statuses["POST /auth/revoke"]
    assert statuses["POST /auth/revoke"] >= {"classic": {400, 498}, "rfc6750": {400, 401}}[served.profile]


def test_with_good_credentials_all_answers_are_described(served: Served) -> None:
    checks = served.checks(accepted=["2xx", 401, 403])  # 401 to a login, 403 to a proxy
    schema = served.described(checks=checks)
    tokens = TokenCreator(Settings(algorithm="ES256", key_dir=str(served.server.folder / "keys")))
    schema.auth(refresh_interval=None)(giver_of(tokens))
    faults, statuses = found(schema)
    assert faults == []
    assert statuses["POST /auth/revoke"] >= {204, 400, 422}
    assert statuses["GET /auth/verify"] >= {200, 403}
    assert statuses["POST /auth"] == {200, 400, 401, 405, 422}
    assert {label for label in statuses if statuses[label] == {200, 405}} == {
        *("GET /auth/health", "GET /auth/ready", "GET /auth/jwks.json", "GET /auth/openapi.json"),
    }
