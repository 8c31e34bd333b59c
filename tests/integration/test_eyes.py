"""What is seen of a gunicorn with several workers: its metrics are those of all, and its log is whole."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway import TokenCreator
from tests.integration.clients import (
    PASSWORD,
    Client,
    Session,
    gateway,
    one_for_each_worker,
    workers,
)
from tests.integration.servers import ANY_PORT, GUNICORN, SHIPPED, Server, log_of, serving, until
from tests.support import KEY

THREADS = ("-k", "gthread", "--threads", "4")
WATCHED = {
    "GATEWAY_METRICS_FROM": "127.0.0.1",
    "GATEWAY_LOG_FORMAT": "json",
    "GATEWAY_STATE_SYNC_SEC": "0",  # so that what one worker ended all know with their next request
}
ASKED = 40


@contextmanager
def watched(folder: Path, *options: str, **settings: str) -> Iterator[Server]:
    state = f"sqlite:///{folder}/state.db"
    with gateway(folder, state, *(options or THREADS), **{**WATCHED, **settings}) as server:
        yield server


@pytest.fixture(scope="module", params=[("sync",), ("gthread",), ("gthread", "--preload")], ids=" ".join)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    kind, *more = request.param
    folder = tmp_path_factory.mktemp(kind)
    with watched(folder, "-k", kind, *more) as running:
        yield running


def good(uid: str = "12") -> Session:
    return Session(uid, TokenCreator(token_key=KEY).create(uid))


def counts(server: Server, name: str) -> dict[str, float]:
    """The counts of a name, by the value of their label, as one of the workers tells them."""
    answer = server.ask("/auth/metrics")
    assert answer.status == 200, answer
    families = text_string_to_metric_families(answer.body.decode())
    return {
        next(iter(sample.labels.values()), ""): sample.value
        for family in families
        for sample in family.samples
        if sample.name == name
    }


def accepted(server: Server) -> float:
    return counts(server, "gateway_verdicts_total")["accepted"]


def events(server: Server) -> list[dict[str, Any]]:
    """What the audit log holds; every line in it that begins as one of it is one."""
    return [json.loads(line) for line in log_of(server).splitlines() if line.startswith('{"time"')]


def test_the_totals_are_those_of_all_workers(server: Server) -> None:
    before = [accepted(server) for _ in range(4)]
    assert len(set(before)) == 1
    session = good()
    with Client(server) as client:
        for _ in range(ASKED):
            assert client.ask(session).status == 200
    # Whichever worker is asked.
    assert [accepted(server) for _ in range(8)] == [before[0] + ASKED] * 8


def test_what_a_worker_counted_stays_when_it_is_killed(tmp_path: Path) -> None:
    with watched(tmp_path) as server:
        with one_for_each_worker(server) as clients:
            for client in clients:
                for _ in range(10):
                    client.ask(good())
            assert accepted(server) == 20
        before = workers(server)
        os.kill(min(before), signal.SIGKILL)
        until(lambda: (len(now := workers(server)) == 2 and now != before) or None, lambda: log_of(server))
        assert [accepted(server) for _ in range(8)] == [20] * 8
        folder = folder_of(server)
        assert {int(file.stem.rpartition("_")[2]) for file in folder.glob("gauge_*.db")} <= workers(server)
    assert not folder.exists()


def folder_of(server: Server) -> Path:
    """The folder in which the workers keep their metrics."""
    open_files = Path(f"/proc/{min(workers(server))}/fd").iterdir()
    found = {link.readlink().parent for link in open_files if "gateway-metrics-" in str(link.readlink())}
    (folder,) = found
    return folder


def test_the_state_store_is_up_and_in_sync(server: Server) -> None:
    assert counts(server, "gateway_state_store_up") == {"": 1}
    assert counts(server, "gateway_state_store_sync_timestamp_seconds")[""] > 1_700_000_000


def test_logins_and_revocations_are_counted_and_logged(server: Server) -> None:
    with Client(server) as client:
        session = client.log_in("anna")
        assert client.try_login("anna", "wrong").status == 401
        client.log_out(session)
        assert client.ask(session).status == 401
    assert counts(server, "gateway_logins_total") | {"accepted": 1, "wrong_login": 1} == counts(
        server, "gateway_logins_total"
    )
    assert counts(server, "gateway_revocations_total")["session"] == 1
    of_anna = [(event["event"], event["code"]) for event in events(server) if event.get("uid") == "anna"]
    assert of_anna == [
        ("login", "accepted"),
        ("verdict", "accepted"),
        ("revocation", "session"),
        ("verdict", "token_revoked"),
    ]


def test_no_other_address_is_shown_the_metrics(tmp_path: Path) -> None:
    with watched(tmp_path, GATEWAY_METRICS_FROM="192.0.2.1") as server:
        assert server.ask("/auth/metrics").refusal == (404, "not_found")


def ask_often(server: Server, uid: str) -> None:
    """Send requests with a path that makes lines long."""
    session = good(uid)
    with Client(server) as client:
        for _ in range(ASKED):
            client.send("GET", f"/{'a' * 1000}", session.headers)


def test_lines_of_many_threads_and_workers_are_whole(tmp_path: Path) -> None:
    """Each request is one line, and no line is two."""
    uids = [f"user{number}" for number in range(8)]
    with watched(tmp_path) as server, ThreadPoolExecutor(len(uids)) as pool:
        list(pool.map(partial(ask_often, server), uids))
    seen = Counter(event["uid"] for event in events(server) if event["uid"] is not None)
    assert seen == dict.fromkeys(uids, ASKED)
    # No line of it begins in the middle of another.
    assert log_of(server).count('{"time"') == len(events(server))


def test_secrets_are_in_no_line(server: Server) -> None:
    with Client(server) as client:
        session = client.log_in("carl")
        client.ask(session)
    text = log_of(server)
    assert session.token not in text
    assert PASSWORD not in text
    assert KEY not in text


def test_the_operators_own_folder_is_used_and_stays(tmp_path: Path) -> None:
    own = tmp_path / "metrics"
    own.mkdir()
    (own / "counter_1.db").write_bytes(b"of a former run, and no good any more")
    with watched(tmp_path / "server", PROMETHEUS_MULTIPROC_DIR=str(own)) as server:
        with Client(server) as client:
            client.ask(good())
        assert accepted(server) == 1
    assert own.is_dir()


APP = """\
from prometheus_client import Counter
things = Counter("app_things", "Things.")
things.inc()

def app(environ, start_response):
    start_response("200 OK", [("Content-Length", "0")])
    return []
"""


def test_an_app_with_metrics_of_its_own_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "counting.py").write_text(APP)
    options = ("-w", "2", *THREADS)
    settings = {"TOKEN_KEY": KEY, "GATEWAY_APP": "counting:app", **WATCHED}
    with serving(tmp_path, GUNICORN, *ANY_PORT, *options, *SHIPPED, **settings) as server:
        session = good()
        sent = [f"{name}: {value}" for name, value in session.headers.items()]
        for _ in range(10):
            assert server.ask("/", *sent).status == 200
        assert [accepted(server) for _ in range(6)] == [10] * 6
        assert b"app_things" not in server.ask("/auth/metrics").body
