"""A server on loopback that keeps what it was sent, byte for byte, and answers as it is told."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import BinaryIO

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"
PATIENCE = 30  # seconds, so that no test waits for ever
KEPT_BYTES = 1024 * 1024  # of a body

# What is done to one request: these bytes are sent, or this is called, and then the connection is closed.
Answer = bytes | Callable[[socket.socket], None]


@dataclass(frozen=True)
class Received:
    """A request, as it came, with the beginning of its body; `is_whole` is whether all of that came."""

    line: bytes
    fields: list[tuple[str, str]]
    body: bytes
    size: int
    is_whole: bool
    connection: int

    @property
    def target(self) -> str:
        return self.line.split(b" ")[1].decode("latin-1")

    def all(self, name: str) -> list[str]:
        """The values of all headers that are called so, in any case."""
        return [value for key, value in self.fields if key.lower() == name.lower()]

    def one(self, name: str) -> str | None:
        """The value of the one such header, None where there is none."""
        (value,) = self.all(name) or (None,)
        return value


@dataclass
class Remote:
    """Where the server is, and what it got; the last answer is given again and again."""

    port: int
    answers: tuple[Answer, ...]
    scheme: str = "http"
    received: list[Received] = field(default_factory=list)
    connections: int = 0

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    @property
    def request(self) -> Received:
        """The one request there was."""
        (request,) = self.received
        return request

    def serve(self, connection: socket.socket, number: int) -> None:
        connection.settimeout(PATIENCE)
        with connection, contextlib.suppress(OSError), connection.makefile("rb") as stream:
            while (request := _read(stream, number)) is not None:
                self.received.append(request)
                answer = self.answers[min(len(self.received), len(self.answers)) - 1]
                if not isinstance(answer, bytes):
                    answer(connection)
                    break
                connection.sendall(answer)


@contextlib.contextmanager
def remote(*answers: Answer, tls: ssl.SSLContext | None = None) -> Iterator[Remote]:
    """Run such a server in a thread, until the block ends."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = Remote(listener.getsockname()[1], answers or (OK,), "https" if tls else "http")

        def accept() -> None:
            while True:
                connection, _ = listener.accept()
                if stopping.is_set():
                    connection.close()
                    return
                server.connections += 1
                threading.Thread(target=begin, args=(connection, server.connections)).start()

        def begin(connection: socket.socket, number: int) -> None:
            with contextlib.suppress(ssl.SSLError, ConnectionError):
                served = tls.wrap_socket(connection, server_side=True) if tls else connection
                server.serve(served, number)
            connection.close()

        stopping = threading.Event()
        accepting = threading.Thread(target=accept)
        accepting.start()
        try:
            yield server
        finally:
            stopping.set()
            socket.create_connection(listener.getsockname()).close()
            accepting.join()


def _read(stream: BinaryIO, number: int) -> Received | None:
    line = stream.readline().rstrip(b"\r\n")
    if not line:
        return None
    fields = []
    while field_line := stream.readline().decode("latin-1").rstrip("\r\n"):
        name, _, value = field_line.partition(":")
        fields.append((name, value.strip(" ")))
    named = {name.lower(): value for name, value in fields}
    body, size, is_whole = b"", 0, False
    for part in _parts(stream, named):
        body += part[: KEPT_BYTES - len(body)]
        size += len(part)
        is_whole = not part  # which an empty one says at the end
    return Received(line, fields, body, size, is_whole, number)


def _parts(stream: BinaryIO, named: dict[str, str]) -> Iterator[bytes]:
    """What there is of a body, and at its end, if it comes to that, nothing."""
    if named.get("transfer-encoding") != "chunked":
        yield from _part(stream, int(named.get("content-length", "0")))
        return
    while size := stream.readline():
        for part in _part(stream, int(size, 16)):
            if part or int(size, 16) == 0:
                yield part
        stream.readline()
        if int(size, 16) == 0:
            return


def _part(stream: BinaryIO, left: int) -> Iterator[bytes]:
    while left and (part := stream.read(min(left, KEPT_BYTES))):
        left -= len(part)
        yield part
    if not left:
        yield b""


def self_signed(folder: Path, address: str = "127.0.0.1") -> Path:
    """The certificate that somebody gave himself for an address, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, address)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(address))]), critical=False)
        .sign(key, SHA256())
    )
    path = folder / "server.pem"
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(pem + certificate.public_bytes(Encoding.PEM))
    return path
