"""Redis goes down and comes back while two gunicorns serve under load, and no session that was ended does."""

from __future__ import annotations

import json
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.clients import Session, Traffic, gateway
from tests.integration.redis_servers import redis_server, sentinels
from tests.integration.servers import DEADLINE, Server

pytestmark = pytest.mark.system

LOAD = Path(__file__).with_name("statuses.lua")
SYNC, STALE = 0.5, 2.0
SETTINGS = {"GATEWAY_STATE_SYNC_SEC": str(SYNC), "GATEWAY_STATE_MAX_STALE_SEC": str(STALE)}
WORKERS = ("-k", "gthread", "--threads", "4")
LONG = STALE + 1  # seconds of an outage, so that all workers have answered 503 for a while
ANY = DEADLINE  # how long a request may take under load is no subject here


@contextmanager
def under_load(servers: list[Server], session: Session) -> Iterator[Counter[str]]:
    """Send requests to all until the block ends; then the counter holds how many were answered how."""
    found: Counter[str] = Counter()
    with ExitStack() as stack:
        loads = [stack.enter_context(load(server, session)) for server in servers]
        try:
            yield found
        finally:
            for each in loads:
                each.send_signal(signal.SIGINT)  # at which it says what it saw
            for each in loads:
                printed, _ = each.communicate(timeout=DEADLINE)
                found.update(json.loads(printed.splitlines()[-1]))


def load(server: Server, session: Session) -> subprocess.Popen[str]:
    address = f"http://127.0.0.1:{server.port}/"
    command = ("wrk", "-t", "1", "-c", "4", "-d", "600", "--timeout", "5", "-s", str(LOAD), address)
    return subprocess.Popen((*command, "--", session.token, session.uid), stdout=subprocess.PIPE, text=True)


@dataclass(frozen=True)
class Busy:
    """Two gunicorns under load, and traffic beside it that ends sessions and asks with them."""

    traffic: Traffic
    load: Counter[str]


@contextmanager
def busy(folder: Path, url: str) -> Iterator[Busy]:
    with (
        gateway(folder / "first", url, *WORKERS, **SETTINGS) as first,
        gateway(folder / "second", url, *WORKERS, **SETTINGS) as second,
    ):
        traffic = Traffic(first, second)
        with under_load([first, second], traffic.live) as found, traffic:
            traffic.until_ended(20)
            yield Busy(traffic, found)
            traffic.until_recovered()
            traffic.until_ended(20)
        traffic.check(timeout=ANY, stale=STALE, sync=SYNC)
        assert found["others"] == found["lost"] == 0, found
        assert found["passed"] > 1000, found


def test_redis_is_killed_and_started_and_frozen_and_thawed_under_load(tmp_path: Path) -> None:
    with redis_server(tmp_path / "redis") as redis, busy(tmp_path, redis.url) as gunicorns:
        traffic = gunicorns.traffic
        with traffic.outage():
            redis.kill()
            traffic.last(LONG)
            redis.start()
        traffic.until_recovered()
        with traffic.outage():
            redis.freeze()
            traffic.last(LONG)
            redis.thaw()
    assert gunicorns.load["unavailable"] > 0


def test_redis_fails_over_under_load(tmp_path: Path) -> None:
    with (
        sentinels(tmp_path / "redis") as watched,
        busy(tmp_path, watched.url) as gunicorns,
        gunicorns.traffic.outage(),
    ):
        master = watched.master()
        master.kill()
        watched.sentinels[0].wait(lambda: watched.master() is not master)
        gunicorns.traffic.until_recovered()
