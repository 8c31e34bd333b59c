"""The files in `examples/deploy` are sound, and what they start serves as they say."""

from __future__ import annotations

import fnmatch
import re
import shlex
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway import Settings
from gateway.settings import TABLE
from tests import deployed
from tests.deployed import DEPLOY, documents, in_the_image, of_unit, site_in, the_one, variables_in
from tests.integration.servers import (
    ANY_PORT,
    GUNICORN,
    ROOT,
    SCRIPTS,
    UNIX_SOCKET,
    free_port,
    log_of,
    run,
    serving,
)
from tests.integration.stores import program
from tests.pages import DOCS, blocks
from tests.support import KEY, in_use

FILES = sorted(path for path in DEPLOY.iterdir() if path.is_file())
OF_GATEWAY = re.compile(r"\b(GATEWAY_[A-Z_]+|TOKEN_KEY)\b")
# Names that are none of the settings: where their file is, and what Kubernetes sets.
OTHERS = {"GATEWAY_CONFIG", "GATEWAY_PORT"}
RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
MANIFESTS = ("kubernetes.yaml", "kubernetes-sidecar.yaml")


def credentials() -> tuple[str, str]:
    return f"Authorization: Bearer {in_use()}", "uid: 12"


def variables_of_path(**variables: str) -> dict[str, str]:
    """An environment in which the command `gateway` is this project's."""
    return {"PYTHONPATH": str(ROOT), "PATH": f"{SCRIPTS}:/usr/bin:/bin", **variables}


# What all of them name.


@pytest.mark.parametrize(
    "path", [*FILES, DOCS / "deploying.md", DOCS / "wrapping.md"], ids=lambda path: path.name
)
def test_every_setting_that_is_named_is_one(path: Path) -> None:
    named = set(OF_GATEWAY.findall(path.read_text("utf-8")))
    assert named <= {row.variable for row in TABLE} | OTHERS


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_file_is_linked_by_the_page(path: Path) -> None:
    assert f"(../examples/deploy/{path.name})" in (DOCS / "deploying.md").read_text("utf-8")


# gunicorn, and hosts that take a Procfile.


def test_the_gunicorn_configuration_serves_and_logs_no_secret(tmp_path: Path) -> None:
    site_in(tmp_path)
    variables = variables_of_path(GATEWAY_CONFIG="gateway.env", GATEWAY_APP="mysite.wsgi:application")
    with serving(
        tmp_path, GUNICORN, "-c", DEPLOY / "gunicorn_config.py", "-w", "1", *ANY_PORT, **variables
    ) as server:
        token = in_use(10)  # which is renewed
        answer = server.ask(f"/x?token={token}", f"Authorization: Bearer {token}", "uid: 12")
        assert answer.body.startswith(b"12 ")
        renewed = answer.headers["X-Refreshed-Token"]
    logged = log_of(server)
    assert '"GET /x HTTP/1.1" 200' in logged
    assert renewed is not None
    assert not any(secret in logged for secret in (token, renewed, KEY))


def test_a_bad_setting_ends_the_start_by_the_gunicorn_configuration(tmp_path: Path) -> None:
    site_in(tmp_path)
    variables = variables_of_path(GATEWAY_CONFIG="gateway.env", EXP_TIME_MIN="soon")
    done = run(tmp_path, GUNICORN, "-c", DEPLOY / "gunicorn_config.py", *ANY_PORT, **variables)
    assert (done.returncode, "EXP_TIME_MIN is 'soon'" in done.stderr) == (1, True)


def processes() -> dict[str, list[str]]:
    """The Procfile's commands, by the name of their process."""
    lines = deployed.text("Procfile").splitlines()
    return {name: shlex.split(command) for name, _, command in (line.partition(": ") for line in lines)}


def of_host(**more: str) -> dict[str, str]:
    """What a host sets, and what is to be set there."""
    return variables_of_path(
        TOKEN_KEY=KEY, GATEWAY_APP="mysite.wsgi:application", WEB_CONCURRENCY="1", **more
    )


def test_a_host_starts_what_the_procfile_names(tmp_path: Path) -> None:
    site_in(tmp_path)
    command = processes()["web"]
    with (
        free_port() as port,
        serving(tmp_path, *command, *ANY_PORT, **of_host(PORT=str(port))) as server,
    ):
        assert server.ask("/", *credentials()).body.startswith(b"12 ")
        assert server.ask("/auth/health").status == 200


@pytest.mark.parametrize(
    ("setting", "code"), [("mysite.wsgi:application", 0), ("mysite.wsgi:another", 1)], ids=["good", "bad"]
)
def test_the_release_phase_ends_a_bad_release(tmp_path: Path, setting: str, code: int) -> None:
    site_in(tmp_path)
    done = run(tmp_path, *processes()["release"], **of_host() | {"GATEWAY_APP": setting})
    assert done.returncode == code, done.stderr


# systemd.


def started() -> list[str | Path]:
    """The unit's command, with its socket in the folder where it is run, and a port of TCP besides."""
    (command,) = of_unit("ExecStart")
    assert " unix:/run/gateway/gateway.sock " in command
    program, serve, *arguments = shlex.split(command.replace("/run/gateway/gateway.sock", UNIX_SOCKET))
    assert (Path(program).name, serve) == ("gateway", "serve")
    return [SCRIPTS / "gateway", serve, *ANY_PORT, *arguments]


def of_service(folder: Path, **more: str) -> dict[str, str]:
    """The unit's environment, with its settings in this folder."""
    variables = variables_in(" ".join(of_unit("Environment")).replace("/etc/gateway", str(folder)))
    return variables_of_path(GATEWAY_APP="mysite.wsgi:application", WEB_CONCURRENCY="1", **variables, **more)


@contextmanager
def manager(folder: Path) -> Iterator[socket.socket]:
    """The socket by which a service tells systemd that it is ready."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(folder / "notify"))
        listener.setblocking(False)
        yield listener


def test_the_service_says_when_it_is_ready(tmp_path: Path) -> None:
    site_in(tmp_path)
    assert of_unit("Type") == ["notify"]
    with manager(tmp_path) as listener:
        variables = of_service(tmp_path, NOTIFY_SOCKET=str(tmp_path / "notify"))
        with serving(tmp_path, *started(), **variables) as server:
            assert server.ask("/", *credentials(), over="unix").body.startswith(b"12 ")
            assert (tmp_path / UNIX_SOCKET).stat().st_mode & 0o777 == 0o770
            assert b"READY=1" in listener.recv(1000)


def test_a_service_with_a_bad_setting_is_never_ready(tmp_path: Path) -> None:
    site_in(tmp_path)
    with manager(tmp_path) as listener:
        variables = of_service(tmp_path, NOTIFY_SOCKET=str(tmp_path / "notify"), EXP_TIME_MIN="soon")
        done = run(tmp_path, *started(), **variables)
        assert done.returncode == 1
        with pytest.raises(BlockingIOError):
            listener.recv(1000)


def test_the_service_has_time_to_stop() -> None:
    assert int(of_unit("TimeoutStopSec")[0]) > graceful(shlex.split(of_unit("ExecStart")[0]))


def test_no_secret_stands_in_the_units_environment() -> None:
    variables = variables_in(" ".join(of_unit("Environment")))
    assert variables.keys().isdisjoint(row.variable for row in TABLE if row.secret or row.address)


# Containers.


def graceful(command: list[str]) -> int:
    """The seconds that a command of gunicorn's gives to requests that are being answered."""
    given = re.search(r"--graceful-timeout[= ](\d+)", " ".join(command))
    assert given is not None
    return int(given[1])


def test_hadolint_finds_nothing_in_the_dockerfile(tmp_path: Path) -> None:
    done = run(tmp_path, program("bin", "hadolint"), "--no-color", DEPLOY / "Dockerfile")
    assert (done.returncode, done.stdout) == (0, "")


def test_the_image_serves_by_its_command_and_is_found_healthy(tmp_path: Path) -> None:
    site_in(tmp_path)
    program, *arguments = the_one("CMD").command
    image = variables_of_path(**in_the_image())
    secret = {"GATEWAY_CONFIG": str(tmp_path / "gateway.env"), "WEB_CONCURRENCY": "1"}
    with serving(tmp_path, SCRIPTS / program, *arguments, *ANY_PORT, **image, **secret) as server:
        assert server.ask("/", *credentials()).body.startswith(b"12 ")
        assert health(tmp_path, server.port) == 0
    with free_port() as nobodys:
        assert health(tmp_path, nobodys) != 0


def health(folder: Path, port: int) -> int:
    """The exit code of the image's health check, where the server is at this port."""
    _, *arguments = the_one("HEALTHCHECK").command
    return run(folder, sys.executable, *arguments, PORT=str(port)).returncode


def test_the_image_runs_as_nobody_of_note_and_holds_no_secret() -> None:
    uid, _, gid = the_one("USER").rest.partition(":")
    assert int(uid) >= 10_000 <= int(gid)
    assert in_the_image().keys().isdisjoint(row.variable for row in TABLE if row.secret or row.address)


@pytest.mark.parametrize(
    "path",
    [
        *("config.env", "gateway.env", ".env", ".env.production", "conf/config.env", "gateway-users.db"),
        *(
            "gateway-state.db",
            "gateway-state.db-wal",
            "users.db-journal",
            "k/20261124T093000Z.ES256.5f0c9a1be2d34c77.pem",
        ),
        *(".git", ".venv"),
    ],
)
def test_what_is_secret_does_not_get_into_the_image(path: str) -> None:
    """By Docker's patterns, of which those here mean the same name in any folder."""
    patterns = [line for line in deployed.text(".dockerignore").splitlines() if line and line[0] != "#"]
    anywhere = [pattern.removeprefix("**/") for pattern in patterns]
    assert any(fnmatch.fnmatchcase(path.rpartition("/")[2], pattern) for pattern in anywhere)


@pytest.mark.parametrize("path", ["mysite/wsgi.py", "requirements.txt", "policy.toml"])
def test_what_is_to_be_served_gets_into_the_image(path: str) -> None:
    patterns = deployed.text(".dockerignore").splitlines()
    assert not any(fnmatch.fnmatchcase(path, pattern.removeprefix("**/")) for pattern in patterns)


def test_compose_keeps_the_key_out_of_the_environment_and_the_ports_to_itself() -> None:
    (file,) = documents("compose.yaml")
    gateway, redis = file["services"]["gateway"], file["services"]["redis"]
    given = Settings(token_key=KEY, state_url=gateway["environment"]["GATEWAY_STATE_URL"])
    assert given.state_url == "redis://redis:6379/0"
    assert "TOKEN_KEY" not in gateway["environment"]
    assert gateway["environment"]["GATEWAY_CONFIG"] == f"/run/secrets/{gateway['secrets'][0]}"
    assert gateway["ports"] == ["127.0.0.1:8000:8000"]
    assert "ports" not in redis
    assert all(service["read_only"] and service["cap_drop"] == ["ALL"] for service in (gateway, redis))
    assert int(gateway["stop_grace_period"].removesuffix("s")) > graceful(the_one("CMD").command)


# Kubernetes.


@pytest.mark.parametrize("version", ["1.29", "1.37"])
def test_kubernetes_takes_the_manifests(tmp_path: Path, version: str) -> None:
    shown = [source for _, source in blocks(DOCS / "deploying.md") if "apiVersion:" in source]
    (tmp_path / "shown.yaml").write_text("---\n".join(shown), "utf-8")
    files = (*(DEPLOY / name for name in MANIFESTS), tmp_path / "shown.yaml")
    validate = (sys.executable, "-m", "kubernetes_validate", "--strict", "-k", version)
    done = run(tmp_path, *validate, *files)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "networkpolicy/app against" in done.stdout


def pod(name: str) -> dict[str, Any]:
    (found,) = [each for each in documents(name) if each["kind"] == "Deployment"]
    spec: dict[str, Any] = found["spec"]["template"]["spec"]
    return spec


def containers(name: str) -> Iterator[dict[str, Any]]:
    yield from pod(name).get("initContainers", ())
    yield from pod(name)["containers"]


def gateway_of(name: str) -> dict[str, Any]:
    found: dict[str, Any]
    (found,) = [each for each in pod(name)["containers"] if each["name"] == "gateway"]
    return found


@pytest.mark.parametrize("name", MANIFESTS)
def test_pods_are_as_restricted_as_kubernetes_knows(name: str) -> None:
    """By the Pod Security Standard "restricted", and with a root that cannot be written to."""
    assert pod(name)["securityContext"]["runAsNonRoot"]
    assert pod(name)["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in containers(name):
        assert container["securityContext"].items() >= RESTRICTED.items()
    assert not pod(name)["automountServiceAccountToken"]
    assert not pod(name)["enableServiceLinks"]


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_pod_ends_later_than_its_last_request(name: str) -> None:
    command = gateway_of(name).get("args") or the_one("CMD").command
    (_, pause) = gateway_of(name)["lifecycle"]["preStop"]["exec"]["command"]
    assert pod(name)["terminationGracePeriodSeconds"] > int(pause) + graceful(command)


PROBES = {"startup": "/auth/health", "liveness": "/auth/health", "readiness": "/auth/ready"}


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_pod_is_probed_where_the_gateway_answers(name: str) -> None:
    paths = {f"{kind}Probe": gateway_of(name)[f"{kind}Probe"]["httpGet"]["path"] for kind in PROBES}
    assert paths == {f"{kind}Probe": path for kind, path in PROBES.items()}


@pytest.mark.parametrize("name", MANIFESTS)
def test_the_settings_of_a_pod_are_sound(name: str, tmp_path: Path) -> None:
    for each in documents(name):
        if each["kind"] == "ConfigMap":
            (tmp_path / "policy.toml").write_text(each["data"]["policy.toml"], "utf-8")
    given = {each["name"]: each["value"] for each in gateway_of(name)["env"]}
    if "GATEWAY_POLICY_FILE" in given:
        given["GATEWAY_POLICY_FILE"] = str(tmp_path / "policy.toml")
    settings = Settings.from_env({"TOKEN_KEY": KEY, "GATEWAY_STATE_URL": "redis://redis:6379/0", **given})
    assert settings.trusted_proxies == ("10.0.0.0/8",)
    assert settings.port == gateway_of(name)["ports"][0]["containerPort"]


def test_no_port_of_the_sidecars_pod_but_the_gateways_is_open() -> None:
    (policy,) = [each for each in documents("kubernetes-sidecar.yaml") if each["kind"] == "NetworkPolicy"]
    assert policy["spec"]["policyTypes"] == ["Ingress"]
    assert policy["spec"]["ingress"] == [{"ports": [{"protocol": "TCP", "port": 8000}]}]


# Traefik, which is not run.


def test_what_traefiks_routers_name_is_there() -> None:
    ((dynamic,), (static,)) = documents("traefik.yml"), documents("traefik-static.yml")
    http = dynamic["http"]
    for router in http["routers"].values():
        assert set(router["entryPoints"]) <= static["entryPoints"].keys()
        assert set(router["middlewares"]) <= http["middlewares"].keys()
        assert router["service"] in http["services"]
        assert router["tls"]["certResolver"] in static["certificatesResolvers"]


def test_traefik_believes_and_logs_no_header_of_a_client() -> None:
    (static,) = documents("traefik-static.yml")
    assert static["entryPoints"]["websecure"]["forwardedHeaders"] == {"insecure": False}
    assert static["accessLog"]["fields"]["headers"] == {"defaultMode": "drop"}
    (dynamic,) = documents("traefik.yml")
    deleted = dynamic["http"]["middlewares"]["security"]["headers"]["customRequestHeaders"]
    assert deleted == {"X-Forwarded-Prefix": "", "Forwarded": ""}
