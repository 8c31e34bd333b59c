"""Clients that log in and out: what they send, what they see, and whether all of it was as promised."""

from __future__ import annotations

import http.client
import itertools
import json
import math
import random
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Self

import psutil

from gateway import TokenCreator
from tests.integration.servers import (
    ANY_PORT,
    DEADLINE,
    GUNICORN,
    SCRIPTS,
    SHIPPED,
    Server,
    environment,
    log_of,
    serving,
    until,
)
from tests.support import KEY

PASSWORD = "the right one"
FAIR = 0.5  # seconds that a busy machine may take for a request, besides what it waits for the store
SYNC_SEC = 0.3  # where the very second is not the subject
PRESENT = 0.001  # by how much later than at a moment a client asks, to be sure that it is past

RECOVERY_SEC = 6.0  # seconds in which a store that is back is found to be: it is asked every 5 at least
_APP = """\
import os

def app(environ, start_response):
    start_response("200 OK", [("X-Worker", str(os.getpid())), ("Content-Length", "0")])
    return []

def check(uid, password):
    with open("tried", "a") as tried:
        tried.write(f"{uid}\\n")
    return {} if password == "the right one" else None
"""
_GUNICORN_OPTIONS = ("--keep-alive", "60", "--graceful-timeout", "1")
_REVOKE = "/auth/revoke"
_ROUNDS = 4  # after which each worker of sync's has been asked
_PAUSE = 0.03  # seconds at most between two requests of one thread of traffic


class Session(NamedTuple):
    """Somebody's token, which may be replaced by a renewed one."""

    uid: str
    token: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}", "uid": self.uid}


class Seen(NamedTuple):
    """An answer, and when it was asked for and had, by the monotonic clock."""

    status: int
    code: str | None
    headers: http.client.HTTPMessage
    body: bytes
    began: float
    ended: float

    def __repr__(self) -> str:
        return f"{self.status} {self.code} at {self.began:.3f} in {self.took:.3f} s"

    @property
    def refusal(self) -> tuple[int, str | None]:
        return self.status, self.code

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def took(self) -> float:
        return self.ended - self.began


class Client:
    """Sends requests: to one worker of gthread's as long as it keeps its connection, else to any."""

    def __init__(self, server: Server, *, keep: bool = False) -> None:
        self._http = http.client.HTTPConnection("127.0.0.1", server.port, timeout=DEADLINE)
        self._keep = keep

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def send(self, method: str, path: str, headers: dict[str, str], body: object = None) -> Seen:
        sent = b"" if body is None else json.dumps(body).encode()
        closing = {} if self._keep else {"Connection": "close"}
        began = time.monotonic()
        try:
            self._http.request(method, path, sent, {**headers, **closing})
            response = self._http.getresponse()
            received = response.read()
        finally:
            if not self._keep:
                self._http.close()
        ended = time.monotonic()
        is_json = response.headers.get_content_type() == "application/json"
        code = json.loads(received).get("code") if is_json else None
        return Seen(response.status, code, response.headers, received, began, ended)

    def connect(self) -> None:
        """Have a connection before there is anything to send."""
        self._http.connect()

    def greet(self) -> Seen:
        """Send a request that needs no session."""
        return self.send("GET", "/open", {})

    def ask(self, session: Session) -> Seen:
        """Send a request that the app answers, if the session lives."""
        return self.send("GET", "/", session.headers)

    def revoke(self, session: Session, *, everything: bool = False) -> Seen:
        """Try to end a session, or all of its uid."""
        return self.send("POST", _REVOKE, session.headers, {"all": True} if everything else None)

    def try_login(self, uid: int | str, password: str = PASSWORD, **headers: str) -> Seen:
        return self.send("POST", "/auth", headers, {"uid": uid, "password": password})

    def log_in(self, uid: int | str, password: str = PASSWORD) -> Session:
        seen = self.try_login(uid, password)
        assert seen.status == 200, seen
        return Session(str(uid), json.loads(seen.body)["token"])

    def log_out(self, session: Session, *, everything: bool = False) -> float:
        """End a session that lives, and return the moment from which on it is ended."""
        seen = self.revoke(session, everything=everything)
        assert seen.status == 204, seen
        return seen.ended


def prepare(folder: Path) -> None:
    """Put the app and the login function into the folder of a server."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "app.py").write_text(_APP)


@contextmanager
def gateway(folder: Path, state_url: str, *options: str, **variables: str) -> Iterator[Server]:
    """Run the gateway in a folder of its own, with two workers unless the options say otherwise."""
    prepare(folder)
    settings = {
        "TOKEN_KEY": KEY,
        "GATEWAY_APP": "app:app",
        "GATEWAY_PUBLIC_PATHS": "/open",
        "GATEWAY_STATE_URL": state_url,
        "GATEWAY_STATE_SYNC_SEC": str(SYNC_SEC),
        **({} if "GATEWAY_USERS_URL" in variables else {"GATEWAY_LOGIN": "app:check"}),
        **variables,
    }
    options = ("-w", "2", *_GUNICORN_OPTIONS, *options)
    count = int(options[len(options) - 1 - options[::-1].index("-w") + 1])
    with serving(folder, GUNICORN, *ANY_PORT, *options, *SHIPPED, **settings) as server:
        until(lambda: len(workers(server)) == count or None, lambda: log_of(server))
        until(lambda: pids(server) == workers(server) or None, lambda: log_of(server))
        yield server


def workers(server: Server) -> set[int]:
    """The workers that the master has, as processes."""
    return {child.pid for child in psutil.Process(server.pid).children()}


def pids(server: Server) -> set[int]:
    """The workers that answer now: all of them, unless there is other traffic."""
    return {int(seen.headers["X-Worker"]) for seen in _at_each(server, Client.greet)}


@contextmanager
def one_for_each_worker(server: Server) -> Iterator[list[Client]]:
    """A client for each worker of gthread's, which keeps its connection."""
    with ExitStack() as stack:
        found: dict[str, Client] = {}
        wanted = len(workers(server))

        def look() -> bool | None:
            client = stack.enter_context(Client(server, keep=True))
            found.setdefault(client.greet().headers["X-Worker"], client)
            return len(found) == wanted or None

        until(look, lambda: log_of(server))
        yield list(found.values())


def everywhere(server: Server, *sessions: Session) -> set[tuple[int, str | None]]:
    """What sessions meet at the workers: at all of them, unless there is other traffic."""
    if not _keeps(server):
        return {
            seen.refusal for each in sessions for seen in _at_each(server, partial(Client.ask, session=each))
        }
    with one_for_each_worker(server) as clients:
        return {client.ask(session).refusal for client in clients for session in sessions}


def _at_each(server: Server, ask: Callable[[Client], Seen]) -> list[Seen]:
    if _keeps(server):
        with one_for_each_worker(server) as clients:
            return [ask(client) for client in clients]
    # A worker that has a connection waits for what comes on it, so that the next is another's, mostly.
    found = []
    for _ in range(_ROUNDS):
        with ExitStack() as stack:
            clients = [stack.enter_context(Client(server)) for _ in workers(server)]
            for client in clients:
                client.connect()
            found += [ask(client) for client in clients]
    return found


def _keeps(server: Server) -> bool:
    """Whether a connection stays with its worker."""
    return "Using worker: sync" not in log_of(server)


def eventually(server: Server, expected: tuple[int, str | None], *sessions: Session) -> None:
    """Wait until all these sessions meet just this, at each worker."""
    until(lambda: everywhere(server, *sessions) == {expected} or None, lambda: log_of(server))


def command(folder: Path, *arguments: str, stdin: str = "", **variables: str) -> str:
    """Run `gateway` with what it is to read, and return what it printed."""
    done = subprocess.run(
        (SCRIPTS / "gateway", *arguments),
        cwd=folder,
        env=environment(**variables),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


class Ended(NamedTuple):
    """A session that was ended, and the moment at which that was answered."""

    session: Session
    at: float

    def __repr__(self) -> str:
        return f"{self.session.uid} ended at {self.at:.3f}"


class Outage(NamedTuple):
    """From when to when the store could not be counted on; `end` is infinite as long as it lasts."""

    began: float
    end: float = math.inf


class Traffic:
    """Ends sessions, asks with those that were ended and one that lives, and logs in, until the block ends.

    All that was seen is kept: what the one that lives met, what those that were ended met, and what became
    of the tries to end one and to log in.
    """

    def __init__(self, *servers: Server, askers: int = 3, logs_in: bool = True) -> None:
        self._servers = servers
        self._tokens = TokenCreator(token_key=KEY)
        self.live = self._session("live")
        self.lively: list[Seen] = []
        self.asked: list[tuple[Ended, Seen]] = []
        self.revokes: list[Seen] = []
        self.logins: list[Seen] = []
        self.ended: list[Ended] = []
        self.outages: list[Outage] = []
        self._numbers = itertools.count()
        self._over = threading.Event()
        steps = [self._end, *([self._ask] * askers), *([self._log_in] if logs_in else [])]
        self._threads = [threading.Thread(target=self._go_on, args=(step,)) for step in steps]
        self._broken: list[BaseException] = []

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(DEADLINE)

    @contextmanager
    def outage(self) -> Iterator[None]:
        """In the block the store cannot be counted on."""
        self.outages.append(Outage(time.monotonic()))
        try:
            yield
        finally:
            self.outages[-1] = self.outages[-1]._replace(end=time.monotonic())

    def last(self, seconds: float) -> None:
        """Let it go on for so long: what is seen meanwhile is the subject."""
        assert not self._over.wait(seconds), self._broken

    def until_recovered(self) -> None:
        """Wait until the session that lives passes again and another can be ended, at each worker."""
        for server in self._servers:
            eventually(server, (200, None), self.live)
        until(lambda: self.revokes[-1].status == 204 or None, lambda: str(self.revokes[-3:]))

    def until_ended(self, count: int) -> None:
        """Wait until so many more were ended."""
        wanted = len(self.ended) + count
        until(lambda: len(self.ended) >= wanted or None, lambda: str(self.revokes[-3:]))

    @property
    def all_seen(self) -> list[Seen]:
        return [*self.lively, *(seen for _, seen in self.asked), *self.revokes, *self.logins]

    def during(self, outage: int, *, after: float = 0) -> list[Seen]:
        """What the session that lives met in an outage, from so many seconds after it began."""
        began, end = self.outages[outage]
        return [seen for seen in self.lively if began + after <= seen.began and seen.ended <= end]

    def slow(self, timeout: float) -> list[Seen]:
        """Those that took longer than they may wait for the store."""
        return [seen for seen in self.all_seen if seen.took > timeout + FAIR]

    def odd(self) -> list[Seen]:
        """Answers that nobody promised."""
        return [
            *(seen for seen in self.lively if not _is_fine(seen, 200)),
            *(seen for _, seen in self.asked if not _is_fine(seen, 200, 401)),
            *(seen for seen in self.revokes if not _is_fine(seen, 204)),
            *(seen for seen in self.logins if not _is_fine(seen, 200)),
        ]

    def revived(self, *, stale: float, sync: float = SYNC_SEC) -> list[tuple[float, Ended, Seen]]:
        """Those that passed though they were ended so long ago that no worker may let them."""
        return [
            (seen.began - ended.at, ended, seen)
            for ended, seen in self.asked
            if seen.status == 200 and seen.began - ended.at > self._bound(ended.at, seen.began, stale, sync)
        ]

    def check(self, *, timeout: float, stale: float, sync: float = SYNC_SEC) -> None:
        """All was as promised, and enough was seen to tell."""
        assert self._broken == [], self._broken
        for fault in (self.odd(), self.revived(stale=stale, sync=sync), self.slow(timeout)):
            assert not fault, self._told(fault)
        assert self.ended, self._told(self.revokes)
        met = {seen.refusal for _, seen in self.asked}
        assert (401, "token_revoked") in met, met

    def _told(self, fault: list[Any]) -> str:
        """What is wrong, in some lines, and when the outages were."""
        return "\n".join(map(str, [f"{len(fault)} such:", *fault[:5], *self.outages]))

    def _bound(self, at: float, asked: float, stale: float, sync: float) -> float:
        apart = any(outage.began <= asked and at <= outage.end + RECOVERY_SEC for outage in self.outages)
        return stale if apart else sync

    def _session(self, uid: str) -> Session:
        return Session(uid, self._tokens.create(uid=uid))

    def _go_on(self, step: Callable[[Client], None]) -> None:
        clients = [Client(server) for server in self._servers]
        try:
            while not self._over.wait(random.uniform(0, _PAUSE)):
                step(random.choice(clients))
        except BaseException as error:
            self._broken.append(error)
            self._over.set()
            raise

    def _end(self, client: Client) -> None:
        number = next(self._numbers)
        session = self._session(f"u{number}")
        seen = client.revoke(session, everything=number % 3 == 0)
        self.revokes.append(seen)
        if seen.status == 204:
            self.ended.append(Ended(session, seen.ended))

    def _ask(self, client: Client) -> None:
        ended = self.ended
        if not ended or random.random() < 1 / 2:
            self.lively.append(client.ask(self.live))
            return
        one = random.choice(ended[-20:] if random.random() < 1 / 2 else ended)
        self.asked.append((one, client.ask(one.session)))

    def _log_in(self, client: Client) -> None:
        self.logins.append(client.try_login(f"l{next(self._numbers)}"))


def _is_fine(seen: Seen, *statuses: int) -> bool:
    unavailable = seen.refusal == (503, "state_unavailable") and "Retry-After" in seen.headers
    revoked = seen.refusal == (401, "token_revoked")
    return unavailable or (seen.status in statuses and (seen.status != 401 or revoked))


class Proxy:
    """Stands between the gateway and a server, and does to the answers what a test says.

    `way` is `pass`, `late` (each part of an answer `delay` seconds after it came), `drip` (a byte at a time),
    `silent` (no answer ever) or `refuse` (it closes whatever is open or is opened).
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._way = "pass"
        self.delay = 0.0
        self._lock = threading.Lock()
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.change("refuse")
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def change(self, way: str, delay: float = 0.0) -> None:
        """Do so from now on, on the connections that are open too."""
        self._way, self.delay = way, delay
        if way == "refuse":
            with self._lock:
                pairs = list(self._pairs)
            for pair in pairs:
                self._end(pair)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                try:
                    server = socket.create_connection(("127.0.0.1", self._port))
                except OSError:
                    client.close()
                    continue
                pair = client, server
                with self._lock:
                    self._pairs.add(pair)
                if self._way == "refuse":
                    self._end(pair)
                self._begin(pair, client, server, _as_it_is)
                self._begin(pair, server, client, self._through)

    def _begin(self, *arguments: object) -> None:
        threading.Thread(target=self._pump, args=arguments, daemon=True).start()

    def _pump(
        self,
        pair: tuple[socket.socket, socket.socket],
        source: socket.socket,
        sink: socket.socket,
        through: Callable[[bytes], Iterable[bytes]],
    ) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                for part in through(data):
                    sink.sendall(part)
        self._end(pair)

    def _through(self, data: bytes) -> Iterable[bytes]:
        if self._way == "late":
            time.sleep(self.delay)
        while self._way == "silent":
            time.sleep(0.01)
        if self._way != "drip":
            return (data,)
        return self._dripped(data)

    def _dripped(self, data: bytes) -> Iterator[bytes]:
        for number in data:
            if self._way == "drip":
                time.sleep(0.1)
            yield bytes((number,))

    def _end(self, pair: tuple[socket.socket, socket.socket]) -> None:
        with self._lock:
            if pair not in self._pairs:
                return
            self._pairs.remove(pair)
        for end in pair:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


def _as_it_is(data: bytes) -> Iterable[bytes]:
    return (data,)
