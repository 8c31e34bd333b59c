"""Proxies by the configurations that are shipped for them, in front of a gateway and an app."""

from __future__ import annotations

import contextlib
import shutil
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from tests.integration.servers import (
    ANY_PORT,
    DEADLINE,
    GUNICORN,
    ROOT,
    SHIPPED,
    Answer,
    Server,
    free_port,
    run,
    serving,
)
from tests.integration.stores import Store, program, running
from tests.integration.traefik import traefik
from tests.support import KEY

EXAMPLES = ROOT / "examples"

# Where the shipped files have gateway and app.
_GATEWAY, _APP = "127.0.0.1:8000", "127.0.0.1:9000"
_NGINX = "nginx"
NGINX_MAIN = """\
user root;  # for whom else are the folders of tests, where root runs them?
pid nginx.pid;
error_log stderr;
events {}
http {
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    include shipped.conf;
}
"""
_CADDY_MAIN = """\
{
	admin off
}
"""
# Newer ones drop names with _ and . by themselves, unless they are expected.
_CADDY_OF_BEFORE = """\
{
	admin off
	servers {
		expected_underscore_headers SCRIPT_NAME
		expected_dot_headers X.Team
	}
}
"""
# An app that reads a path as the most careless one does: what it folds, an attacker may unfold.
_ECHO = """\
import json
import posixpath
import re
from urllib.parse import unquote

def folded(path):
    path = re.sub(r";[^/]*", "", unquote(path).replace("\\\\", "/"))
    return posixpath.normpath(re.sub("/+", "/", "/" + path))

def app(environ, start_response):
    with open("calls", "a") as calls:
        calls.write("one\\n")
    seen = {
        "view": "/".join(folded(environ["PATH_INFO"]).split("/")[:2]),
        "path": environ["PATH_INFO"],
        "target": environ["RAW_URI"],
        "method": environ["REQUEST_METHOD"],
        "body": environ["wsgi.input"].read().decode("latin-1"),
        "headers": {name: value for name, value in environ.items() if name.startswith("HTTP_")},
    }
    body = json.dumps(seen).encode()
    headers = [
        ("Content-Length", str(len(body))),
        ("Cache-Control", "max-age=60"),
        ("CDN-Cache-Control", "max-age=60"),
        ("Surrogate-Control", "max-age=60"),
    ]
    if "HTTP_ORIGIN" in environ:
        headers.append(("Access-Control-Allow-Origin", environ["HTTP_ORIGIN"]))
    if "own" in environ["QUERY_STRING"]:
        headers.append(("X-Refreshed-Token", "the app's own"))
    start_response("200 OK", headers)
    return [body]
"""
_LOGIN = """\
def check(uid, password):
    return {"team": "blue"} if password == "the right one" else None
"""
_POLICY = """\
[headers]
X-Team = "team"

[[routes]]
path = "/public/*"
access = "public"

[[routes]]
path = "/optional"
access = "optional"

[[routes]]
path = "/admin/*"
scopes = ["admin"]

[[routes]]
path = "/mine/*"

[[routes]]
path = "/read"
methods = ["GET"]
"""


class Nginx(Store):
    """Debian's nginx, with all that it writes in its folder."""

    def __init__(self, folder: Path, port: int, gateway: int, app: int) -> None:
        super().__init__(folder, port)
        changes = {"listen 8080;": f"listen 127.0.0.1:{port};", **_upstreams(gateway, app)}
        (folder / "shipped.conf").write_text(shipped("nginx.conf", changes))
        (folder / "main.conf").write_text(NGINX_MAIN)

    def command(self) -> tuple[str | Path, ...]:
        return (*nginx_command(self.folder), "-g", "daemon off;")

    def answers(self) -> bool:
        return _accepts(self.port)


class Caddy(Store):
    """Caddy from its wheel; without a home it writes to its folder."""

    def __init__(self, folder: Path, port: int, gateway: int, app: int, main: str) -> None:
        super().__init__(folder, port)
        changes = {":8080 {\n": f":{port} {{\n\tbind 127.0.0.1\n", **_upstreams(gateway, app)}
        (folder / "Caddyfile").write_text(main + shipped("Caddyfile", changes))

    def command(self) -> tuple[str | Path, ...]:
        return caddy_command()

    def answers(self) -> bool:
        return _accepts(self.port)


@contextmanager
def nginx(folder: Path, gateway: int, app: int) -> Iterator[int]:
    with free_port() as port, running(Nginx(folder, port, gateway, app)):
        yield port


@contextmanager
def caddy(folder: Path, gateway: int, app: int, main: str = _CADDY_MAIN) -> Iterator[int]:
    with free_port() as port, running(Caddy(folder, port, gateway, app, main)):
        yield port


@contextmanager
def traefik_double(folder: Path, gateway: int, app: int) -> Iterator[int]:
    dynamic = yaml.safe_load(shipped("traefik.yml", _upstreams(gateway, app)))
    with traefik(yaml.safe_load(shipped("traefik-static.yml", {})), dynamic) as port:
        yield port


class Kind(NamedTuple):
    """A proxy, and where it is not like the others.

    `tells_client` is whether it can give a renewed token to the client, `down` its status where the gateway
    is down, and `says_so` whether its own answers are as the gateway's.
    """

    name: str
    run: Callable[[Path, int, int], AbstractContextManager[int]]
    tells_client: bool = True
    down: int = 503
    says_so: bool = True


NGINX = Kind("nginx", nginx)
CADDY = Kind("caddy", caddy)
CADDY_OF_BEFORE = Kind("caddy-of-before", partial(caddy, main=_CADDY_OF_BEFORE))
TRAEFIK = Kind("traefik-double", traefik_double, tells_client=False, down=500, says_so=False)


@dataclass(frozen=True)
class Front:
    """A proxy that serves at a port of 127.0.0.1, and the app behind it."""

    kind: Kind
    port: int
    app: Server

    def ask(self, target: str, *headers: str, method: str = "GET", body: bytes = b"") -> Answer:
        """Send a request with these header lines, each exactly as it stands."""
        lines = [f"{method} {target} HTTP/1.1", "Host: test", *headers]
        lines += [f"Content-Length: {len(body)}"] * bool(body)
        lines += ["Connection: close"] * (not any(line.startswith("Connection:") for line in headers))
        return Answer.parse(self.send("\r\n".join([*lines, "", ""]).encode("latin-1") + body))

    def send(self, raw: bytes) -> bytes:
        """Send these bytes, and return all that comes back.

        The connection stays open for writing: proxies give up on a client that has closed its half.
        """
        received = b""
        with socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE) as connection:
            with contextlib.suppress(ConnectionError):
                connection.sendall(raw)
            with contextlib.suppress(ConnectionError):
                while chunk := connection.recv(65536):
                    received += chunk
        return received

    @property
    def calls(self) -> int:
        """How many requests have reached the app."""
        log = self.app.folder / "calls"
        return len(log.read_text().splitlines()) if log.exists() else 0


@contextmanager
def guarding(folder: Path) -> Iterator[Server]:
    """Run a gateway for proxies alone, as the shipped files ask for it."""
    folder.mkdir()
    (folder / "policy.toml").write_text(_POLICY)
    (folder / "login.py").write_text(_LOGIN)
    with serving(
        folder,
        *(GUNICORN, "-k", "gthread", "-w", "1", "--threads", "4", *ANY_PORT, *SHIPPED),
        TOKEN_KEY=KEY,
        GATEWAY_APP="gateway.forwardauth:nothing",
        GATEWAY_TRUSTED_PROXIES="127.0.0.1",
        GATEWAY_POLICY_FILE="policy.toml",
        GATEWAY_STATE_URL="sqlite:///state.db",
        GATEWAY_STATE_SYNC_SEC="0.3",
        GATEWAY_LOGIN="login:check",
    ) as gateway:
        yield gateway


@contextmanager
def echoing(folder: Path) -> Iterator[Server]:
    """Run an app that answers what it saw, by gunicorn with no setting but its own."""
    folder.mkdir()
    (folder / "echo.py").write_text(_ECHO)
    with serving(folder, GUNICORN, "-k", "gthread", "--threads", "4", *ANY_PORT, "echo:app") as app:
        yield app


@contextmanager
def front(kind: Kind, folder: Path, gateway: int, app: Server) -> Iterator[Front]:
    """Run a proxy in front of a gateway and an app."""
    folder.mkdir()
    with kind.run(folder, gateway, app.port) as port:
        yield Front(kind, port, app)


def shipped(name: str, changes: Mapping[str, str]) -> str:
    """A shipped file of `examples`, with other addresses in it."""
    text = (EXAMPLES / name).read_text("utf-8")
    for old, new in changes.items():
        assert old in text, f"{old} is not in {name}"
        text = text.replace(old, new)
    return text


def nginx_command(folder: Path) -> tuple[str | Path, ...]:
    """Nginx with `main.conf` of a folder; Debian has it where users do not look."""
    found = shutil.which(_NGINX) or shutil.which(_NGINX, path="/usr/sbin:/usr/local/sbin")
    assert found, "nginx is missing: on Debian and Ubuntu, install the package nginx-light"
    return found, "-p", folder, "-e", "stderr", "-c", "main.conf"


def faults_of_nginx(folder: Path, line: str) -> str:
    """What nginx finds wrong with the shipped file beside a line of somebody else's."""
    (folder / "shipped.conf").write_text(shipped("nginx.conf", {}))
    (folder / "main.conf").write_text(NGINX_MAIN.replace("    include", f"    {line}\n    include"))
    return run(folder, *nginx_command(folder), "-t").stderr


def caddy_program() -> Path:
    return program("bin", "caddy")


def caddy_command() -> tuple[str | Path, ...]:
    """Caddy with the `Caddyfile` of the folder where it is run."""
    return caddy_program(), "run", "--config", "Caddyfile", "--adapter", "caddyfile"


def configuration(name: str) -> Any:
    """A shipped file of YAML."""
    return yaml.safe_load(shipped(name, {}))


def _upstreams(gateway: int, app: int) -> dict[str, str]:
    return {_GATEWAY: f"127.0.0.1:{gateway}", _APP: f"127.0.0.1:{app}"}


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
