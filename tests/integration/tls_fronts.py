"""Proxies with TLS, by the files that are shipped for them, in front of a gateway with an app in it."""

from __future__ import annotations

import http.client
import ssl
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from tests.deployed import site_in
from tests.integration.fronts import NGINX_MAIN, caddy_command, nginx_command, shipped
from tests.integration.servers import ANY_PORT, DEADLINE, GUNICORN, ROOT, Server, free_port, serving, until
from tests.integration.stores import Store, running

_CADDY_MAIN = """\
{
	admin off
	auto_https disable_redirects
	skip_install_trust
}
"""


class TlsFront(Store):
    """A proxy that keeps an access log in its folder."""

    def __init__(self, folder: Path, port: int, gateway: int) -> None:
        super().__init__(folder, port)
        self.configure(f"127.0.0.1:{gateway}")

    @abstractmethod
    def configure(self, gateway: str) -> None:
        """Write the shipped file, with its addresses and certificate changed."""

    @property
    @abstractmethod
    def access_log(self) -> str:
        """What it has written of requests."""

    def wait_for_log(self, path: str) -> str:
        """Return the access log once a request for this path stands in it."""
        return until(lambda: self.access_log if path in self.access_log else None, self.log.read_text)

    def answers(self) -> bool:
        """Tell whether it listens, and has a certificate."""
        connection = self.connection()
        try:
            connection.connect()
        except OSError:
            return False
        finally:
            connection.close()
        return True

    def connection(self) -> http.client.HTTPSConnection:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # nobody vouches for a test
        return http.client.HTTPSConnection("localhost", self.port, timeout=DEADLINE, context=context)


class TlsNginx(TlsFront):
    """Debian's nginx, with a certificate that it has made itself."""

    def configure(self, gateway: str) -> None:
        _write_certificate(self.folder)
        site_file = shipped(
            "deploy/nginx.conf",
            {
                "listen 80;": f"listen unix:{self.folder}/plain.sock;",
                "listen 443 ssl;": f"listen 127.0.0.1:{self.port} ssl;",
                "127.0.0.1:8000": gateway,
                "/etc/ssl/app.example.org/": f"{self.folder}/",
                "/var/log/nginx/": f"{self.folder}/",
            },
        )
        (self.folder / "shipped.conf").write_text(site_file)
        (self.folder / "main.conf").write_text(NGINX_MAIN)

    def command(self) -> tuple[str | Path, ...]:
        return (*nginx_command(self.folder), "-g", "daemon off;")

    @property
    def access_log(self) -> str:
        return (self.folder / "access.log").read_text()


class TlsCaddy(TlsFront):
    """Caddy, with an authority of its own, which without a home it keeps in its folder."""

    def configure(self, gateway: str) -> None:
        site = f"localhost:{self.port} {{\n\tbind 127.0.0.1\n\ttls internal\n"
        site_file = shipped("deploy/Caddyfile", {"app.example.org {\n": site, "127.0.0.1:8000": gateway})
        (self.folder / "Caddyfile").write_text(_CADDY_MAIN + site_file)

    def command(self) -> tuple[str | Path, ...]:
        return caddy_command()

    @property
    def access_log(self) -> str:
        lines = self.log.read_text().splitlines()
        return "\n".join(line for line in lines if '"logger":"http.log.access' in line)


class Behind(NamedTuple):
    """A proxy, and the gateway behind it."""

    proxy: TlsFront
    gateway: Server

    def ask(self, target: str, **headers: str) -> tuple[int, http.client.HTTPMessage, str]:
        """Send a request through the proxy, and return status, headers and body."""
        connection = self.proxy.connection()
        try:
            connection.request("GET", target, headers={n.replace("_", "-"): v for n, v in headers.items()})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read().decode()
        finally:
            connection.close()


@contextmanager
def behind(kind: type[TlsFront], folder: Path) -> Iterator[Behind]:
    """Run a proxy and the gateway behind it, which believes it, as does Prometheus on this machine."""
    site_in(folder)
    (folder / "proxy").mkdir()
    with (
        serving(
            folder,
            *(GUNICORN, "-c", "python:gateway.gunicorn_conf", "-w", "1", "-k", "gthread", *ANY_PORT),
            PYTHONPATH=str(ROOT),
            GATEWAY_CONFIG="gateway.env",
            GATEWAY_APP="mysite.wsgi:application",
            GATEWAY_TRUSTED_PROXIES="127.0.0.1",
            GATEWAY_METRICS_FROM="127.0.0.1",
            GATEWAY_LOG_FORMAT="json",
        ) as gateway,
        free_port() as port,
        running(kind(folder / "proxy", port, gateway.port)) as proxy,
    ):
        yield Behind(proxy, gateway)


def _write_certificate(folder: Path) -> None:
    """Write a key, and a certificate of it by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "privkey.pem").write_bytes(private)
    (folder / "fullchain.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
