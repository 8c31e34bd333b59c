"""Bodies beyond what 32 bits can count go through the gateway in memory that stays as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.integration.bodies import LEEWAY_MIB, MIB, download, peak_mib, source, upload
from tests.integration.servers import ANY_PORT, GUNICORN, SHIPPED, Server, serving
from tests.remote import OK, Remote, remote
from tests.support import KEY

pytestmark = pytest.mark.system

SIZE_MIB = 2048 + 1
by_framing = pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunks"])


@contextmanager
def in_front_of(server: Remote, folder: Path) -> Iterator[Server]:
    command = (GUNICORN, "-w", "1", "-k", "gthread", *ANY_PORT, *SHIPPED)
    settings = {"TOKEN_KEY": KEY, "GATEWAY_UPSTREAM": server.url, "GATEWAY_PUBLIC_PATHS": "/*"}
    with serving(folder, *command, **settings) as gateway:
        gateway.ask("/")
        server.received.clear()
        yield gateway


@by_framing
def test_a_body_of_over_two_gib_is_received(tmp_path: Path, chunked: bool) -> None:
    with remote(OK) as server, in_front_of(server, tmp_path) as gateway:
        before = peak_mib(gateway)
        server.answers = (source(SIZE_MIB, chunked=chunked),)
        length, last = download(gateway)
        assert (length >= SIZE_MIB * MIB, last.endswith(b"0\r\n\r\n")) == (True, chunked)
        assert peak_mib(gateway) < before + LEEWAY_MIB


@by_framing
def test_a_body_of_over_two_gib_is_sent(tmp_path: Path, chunked: bool) -> None:
    with remote() as server, in_front_of(server, tmp_path) as gateway:
        before = peak_mib(gateway)
        assert upload(gateway, SIZE_MIB, chunked=chunked).status == 200
        assert (server.request.size, server.request.is_whole) == (SIZE_MIB * MIB, True)
        assert peak_mib(gateway) < before + LEEWAY_MIB
