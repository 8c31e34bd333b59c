"""Bodies that are sent and received without being held, and the memory that a server takes for them."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import psutil

from tests.integration.servers import DEADLINE, Answer, Server
from tests.remote import Answer as Script

MIB = 1024 * 1024
PIECE = bytes(MIB)
FRAMED = b"%x\r\n%b\r\n" % (MIB, PIECE)
LEEWAY_MIB = 16  # by which memory may grow for a body of any size: buffers, and pages that are touched late

_PEAK = re.compile(r"^VmHWM:\s+([0-9]+) kB$", re.MULTILINE)


def peak_mib(server: Server) -> float:
    """The most memory that the one worker ever had."""
    (worker,) = psutil.Process(server.pid).children()
    found = _PEAK.search(Path(f"/proc/{worker.pid}/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


def source(mib: int, *, chunked: bool) -> Script:
    """Answer with a body of that size."""

    def answer(connection: socket.socket) -> None:
        framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {mib * MIB}"
        connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\n{framing}\r\n\r\n".encode())
        send(connection, mib, chunked=chunked)

    return answer


def send(connection: socket.socket, mib: int, *, chunked: bool) -> None:
    for _ in range(mib):
        connection.sendall(FRAMED if chunked else PIECE)
    if chunked:
        connection.sendall(b"0\r\n\r\n")


def upload(server: Server, mib: int, *headers: str, chunked: bool) -> Answer:
    """Send a body of that size."""
    framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {mib * MIB}"
    lines = ("POST /up HTTP/1.1", "Host: test", "Connection: close", framing, *headers, "", "")
    with socket.create_connection(("127.0.0.1", server.port), DEADLINE) as connection:
        connection.sendall("\r\n".join(lines).encode())
        send(connection, mib, chunked=chunked)
        with connection.makefile("rb") as stream:
            return Answer.parse(stream.read())


def download(server: Server, *headers: str) -> tuple[int, bytes]:
    """Receive a body: how long it was with its framing, and its last bytes."""
    lines = ("GET /down HTTP/1.1", "Host: test", "Connection: close", *headers, "", "")
    buffer = bytearray(MIB)
    with socket.create_connection(("127.0.0.1", server.port), DEADLINE) as connection:
        connection.sendall("\r\n".join(lines).encode())
        with connection.makefile("rb") as stream:
            while stream.readline().strip():
                pass
            length, last = 0, b""
            while count := stream.readinto(buffer):
                length, last = length + count, (last + buffer[:count])[-8:]
    return length, last
