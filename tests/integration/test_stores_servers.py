"""The servers of data that other tests stand on do what these tell them."""

from __future__ import annotations

import os
import select
from pathlib import Path

import psycopg
import pytest
import redis
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

from tests.integration.postgres import Postgres, postgres
from tests.integration.redis_servers import cluster, redis_server, replicated, sentinels


def test_redis_keeps_what_it_acknowledged_when_it_is_killed(tmp_path: Path) -> None:
    with redis_server(tmp_path) as server:
        server.ask("SET", "kept", "yes")
        server.kill()
        with pytest.raises(redis.ConnectionError):
            server.ask("PING")
        server.start()
        assert server.ask("GET", "kept") == "yes"


def test_redis_that_is_frozen_answers_once_it_thaws(tmp_path: Path) -> None:
    with redis_server(tmp_path) as server, server.client(timeout=0.2) as client:
        client.set("kept", "yes")
        server.freeze()
        with pytest.raises(redis.TimeoutError):
            client.get("kept")
        server.thaw()
        assert server.ask("GET", "kept") == "yes"


def test_redis_takes_options_over_its_own(tmp_path: Path) -> None:
    with redis_server(tmp_path, "--appendonly", "no", "--requirepass", "secret") as server:
        with server.client(password="secret") as client:
            assert client.config_get("appendonly") == {"appendonly": "no"}
        with pytest.raises(redis.AuthenticationError):
            server.ask("GET", "kept")


def test_frozen_redis_is_ended_too(tmp_path: Path) -> None:
    with redis_server(tmp_path) as server:
        pid = server.pid
        server.freeze()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_replica_has_what_its_master_has(tmp_path: Path) -> None:
    with replicated(tmp_path) as (master, replica), master.client() as client:
        client.set("copied", "yes")
        assert client.wait(1, 5000) == 1
        assert replica.ask("GET", "copied") == "yes"


def test_sentinels_make_a_replica_the_master(tmp_path: Path) -> None:
    with sentinels(tmp_path) as watched:
        killed = watched.master()
        killed.kill()
        watched.sentinels[0].wait(lambda: watched.master() is not killed)
        promoted = watched.master()
        watched.settle()
        assert watched.master() is promoted
        assert promoted.ask("ROLE")[0] == "master"


@pytest.mark.parametrize("replicas", [0, 1])
def test_cluster_serves_keys_of_all_its_slots(tmp_path: Path, replicas: int) -> None:
    with cluster(tmp_path, replicas=replicas) as whole:
        first = whole.masters[0]
        with redis.RedisCluster("127.0.0.1", first.port) as client:
            for number in range(1000):
                client.set(f"key{number}", number)
        counts = [master.ask("DBSIZE") for master in whole.masters]
        assert sum(counts) == 1000
        assert all(counts)


def test_cluster_makes_a_replica_a_master(tmp_path: Path) -> None:
    with cluster(tmp_path, replicas=1) as whole:
        whole.masters[0].kill()
        replica = whole.replicas[0]
        replica.wait(lambda: replica.ask("ROLE")[0] == "master")
        whole.settle()


def _answer(server: Postgres) -> int:
    engine = create_engine(server.url())
    try:
        with engine.connect() as connection:
            return int(connection.execute(text("select 1")).scalar_one())
    finally:
        engine.dispose()


def test_postgres_answers_and_does_so_again_after_it_is_killed(tmp_path: Path) -> None:
    with postgres(tmp_path) as server:
        assert _answer(server) == 1
        server.kill()
        with pytest.raises(OperationalError):
            _answer(server)
        server.start()
        assert _answer(server) == 1


def test_postgres_that_is_frozen_answers_once_it_thaws(tmp_path: Path) -> None:
    with (
        postgres(tmp_path, "-c", "max_connections=7") as server,
        psycopg.connect(server.url().replace("+psycopg", "")) as connection,
    ):
        server.freeze()
        connection.pgconn.send_query(b"show max_connections")
        readable = select.select([connection.pgconn.socket], [], [], 0.2)[0]
        server.thaw()
        assert not readable
        (result,) = iter(connection.pgconn.get_result, None)
        assert result.get_value(0, 0) == b"7"
