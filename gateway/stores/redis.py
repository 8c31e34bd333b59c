"""State in Redis or Valkey, for many machines: one server, a set with sentinels, or a cluster.

Revocations are a stream, whose ids only grow, whatever the server's clock does. All keys begin with the same
tag in braces, so that a cluster keeps them in one place, where one script can reach them.
"""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

from redis import Redis, RedisError
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.exceptions import RedisClusterException
from redis.retry import Retry
from redis.sentinel import Sentinel

from gateway import forks
from gateway.errors import StateUnavailableError
from gateway.stores import MOST_AHEAD_SEC, Batch, NotKeptError, Revocation, Store, batch_after
from gateway.stores.urls import RedisURL

# Appends entries, and forgets expired ones from the front. What was the last stays, so that those who have
# read up to it find their place.
_APPEND: Final = """
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
local oldest = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 100)
for _, entry in ipairs(oldest) do
    if entry[1] == last[1] or tonumber(entry[2][2]) > tonumber(ARGV[1]) then break end
    redis.call('XDEL', KEYS[1], entry[1])
end
for i = 2, #ARGV, 2 do
    redis.call('XADD', KEYS[1], '*', 'expires', ARGV[i], 'revocation', ARGV[i + 1])
end
"""
# Counts a hit under every key, or under none, by the server's clock; returns the milliseconds to wait.
_ADMIT: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local window, wait = tonumber(ARGV[2]), 0
for i, key in ipairs(KEYS) do
    redis.call('ZREMRANGEBYSCORE', key, '-inf', now - window)
    redis.call('ZREMRANGEBYSCORE', key, now + MOST_AHEAD * 1000, '+inf')
    if redis.call('ZCARD', key) >= tonumber(ARGV[2 + i]) then
        local first = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')
        wait = math.max(wait, first[2] + window - now)
    end
end
if wait == 0 then
    for _, key in ipairs(KEYS) do
        redis.call('ZADD', key, now, ARGV[1])
        redis.call('PEXPIRE', key, window)
    end
end
return wait
""".replace("MOST_AHEAD", str(MOST_AHEAD_SEC))
_PARTS_OF_TIMEOUT = 3  # a sentinel that hangs leaves time for the others


class _Master(NamedTuple):
    """A client of the server that has the keys, and what owns its connections."""

    client: Any
    owner: Any


class RedisStore(Store):
    """A stream for revocations and a sorted set for each key under which hits are counted.

    Args:
        url: where it is.
        timeout: seconds to wait for one answer of a server.
    """

    def __init__(self, url: RedisURL, timeout: float) -> None:
        self._url = url
        self._timeout = timeout
        self._stream = f"{_tag(url)}:revocations"
        self._hits = f"{_tag(url)}:hits:"
        self.begin_anew()
        forks.begin_anew_after(self)

    def begin_anew(self) -> None:
        """Leave the connections to the process from which this one was forked."""
        self._lock = threading.Lock()
        self._found: _Master | None = None

    def append(self, revocations: Sequence[Revocation], now: float) -> None:
        """Append revocations, in one script, and have a replica acknowledge them, if there is one."""
        entries: list[object] = []
        for each in revocations:
            entries += [each.expires, json.dumps([secrets.token_hex(8), *each])]
        # What waits for replicas must be asked on the connection that wrote.
        with self._master() as master, master.client() as connection:
            connection.eval(_APPEND, 1, self._stream, now, *entries)
            if connection.info("replication")["connected_slaves"] and not self._acknowledged(connection):
                raise NotKeptError("no replica of the state store has acknowledged")

    def read(self, position: Hashable | None, limit: int) -> Batch:
        """Return revocations after a position."""
        with self._master() as master:

            def entries_from(anchor: Any, count: int) -> list[tuple[Hashable, Revocation]]:
                found = master.xrange(self._stream, min=anchor[0] if anchor else "-", count=count)
                return [_entry(place, fields) for place, fields in found]

            return batch_after(position, limit, entries_from)

    def admit(self, limits: Mapping[str, int], hit: str, window: float, now: float) -> float:
        """Count a hit under every key, or under none, in one script."""
        keys = [self._hits + key for key in limits]
        with self._master() as master:
            wait = master.eval(_ADMIT, len(keys), *keys, hit, int(window * 1000), *limits.values())
        return float(wait) / 1000

    def forgive(self, hit: str, keys: Iterable[str], cleared: Iterable[str]) -> None:
        """Take a hit back under some keys, and all hits under others, in one transaction."""
        with self._master() as master, master.pipeline() as changes:
            for key in keys:
                changes.zrem(self._hits + key, hit)
            for key in cleared:
                changes.delete(self._hits + key)
            changes.execute()

    def doubts(self) -> Iterator[str]:
        """Yield why a server might lose what it was told."""
        with self._master() as master:
            memory, persistence = master.info("memory"), master.info("persistence")
        policy = memory.get("maxmemory_policy", "noeviction")
        if policy != "noeviction":
            yield f"Redis may evict revocations, by its maxmemory-policy {policy}; it should be noeviction"
        if not persistence.get("aof_enabled"):
            yield (
                "Redis does not keep every revocation on disk, so that a restart may revive sessions;"
                " it should run with appendonly yes"
            )

    def close(self) -> None:
        """Let go of the connections, unless they are just being made."""
        if self._lock.acquire(blocking=False):
            found, self._found = self._found, None
            self._lock.release()
            if found is not None:
                found.owner.close()

    def _acknowledged(self, connection: Any) -> bool:
        # Half the time, so that the server says that none has before it counts as hanging itself.
        return bool(connection.wait(1, int(self._timeout * 500)) >= 1)

    @contextmanager
    def _master(self) -> Iterator[Any]:
        """Yield a client of the server that has the keys; after an error it is looked for anew."""
        found = None
        try:
            with self._lock:
                if self._found is None:
                    self._found = _FINDERS[self._url.kind](self._url, self._timeout)
                found = self._found
            yield found.client
        except StateUnavailableError:
            raise
        except (RedisError, RedisClusterException, OSError) as error:
            self._let_go_of(found)
            raise StateUnavailableError(f"Redis: {type(error).__name__}: {error}") from error
        except Exception as error:  # what the library makes of answers that are none
            self._let_go_of(found)
            raise StateUnavailableError(f"Redis: {type(error).__name__}") from error

    def _let_go_of(self, found: _Master | None) -> None:
        """Have the server looked for anew, and leave others the connections that they are using."""
        if found is None:
            return
        with self._lock:
            if self._found is found:
                self._found = None
        found.client.connection_pool.disconnect(inuse_connections=False)


def _tag(url: RedisURL) -> str:
    return f"{{{url.options.get('prefix', 'gateway')}}}"


def _entry(place: str, fields: Mapping[str, str]) -> tuple[Hashable, Revocation]:
    try:
        tag, *revocation = json.loads(fields["revocation"])
        return (place, tag), Revocation(*revocation)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise StateUnavailableError(f"Redis: the entry {place} of the stream is no revocation") from error


def _options(url: RedisURL, timeout: float) -> dict[str, Any]:
    """Return how to connect: without another try, which would wait as long again."""
    files = {name: value for name, value in url.options.items() if name.startswith("ssl_")}
    return {
        "username": url.username,
        "password": url.password,
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "decode_responses": True,
        **({"ssl": True, **files} if url.tls else {}),
    }


def _no_retry() -> Retry:
    return Retry(NoBackoff(), 0)


def _server(url: RedisURL, timeout: float) -> _Master:
    ((host, port),) = url.hosts
    client = Redis(host=host, port=port, db=url.database, retry=_no_retry(), **_options(url, timeout))
    return _Master(client, client)


def _master_of_sentinels(url: RedisURL, timeout: float) -> _Master:
    options = _options(url, timeout)
    asked = {
        **options,
        "username": url.options.get("sentinel_username"),
        "password": url.options.get("sentinel_password"),
        "socket_timeout": timeout / _PARTS_OF_TIMEOUT,
        "socket_connect_timeout": timeout / _PARTS_OF_TIMEOUT,
        "retry": _no_retry(),
    }
    sentinel = Sentinel(url.hosts, sentinel_kwargs=asked)  # type: ignore[no-untyped-call]
    client = sentinel.master_for(  # type: ignore[no-untyped-call]
        url.service, db=url.database, retry=_no_retry(), **options
    )
    return _Master(client, client)


def _node_of_cluster(url: RedisURL, timeout: float) -> _Master:
    nodes = [ClusterNode(host, port) for host, port in url.hosts]  # type: ignore[no-untyped-call]
    cluster = RedisCluster(
        startup_nodes=nodes,
        require_full_coverage=False,
        retry=_no_retry(),
        **_options(url, timeout),
    )
    node = cluster.get_node_from_key(_tag(url))  # type: ignore[no-untyped-call]
    return _Master(cluster.get_redis_connection(node), cluster)


_FINDERS: Mapping[str, Callable[[RedisURL, float], _Master]] = {
    "redis": _server,
    "sentinel": _master_of_sentinels,
    "cluster": _node_of_cluster,
}
