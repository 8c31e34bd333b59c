"""The page and the chart, made from one run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import starmap
from sqlite3 import sqlite_version
from statistics import median
from typing import Final

from bench import cases
from bench.chart import Bar, chart
from bench.copies import Copy
from bench.figures import MICRO, number
from bench.results import Results
from bench.served import CONNECTIONS
from bench.sessions import THREADS, Sessions
from bench.targets import CACHE_SIZE, MEGABYTE, TARGETS

_PACKAGES: Final = (
    "wsgi-auth-gateway",
    "PyJWT",
    "cryptography",
    "Werkzeug",
    "Flask",
    "Flask-JWT-Extended",
    "Authlib",
    "joserfc",
    "Django",
    "djangorestframework",
    "djangorestframework-simplejwt",
    "gunicorn",
    "redis",
    "SQLAlchemy",
    "argon2-cffi",
    "pyperf",
)
_LEGEND: Final = {"gateway": "the gateway", "other": "other guards", "scale": "PyJWT alone, for scale"}
_BARS: Final = (
    (cases.KNOWN, "gateway"),
    (cases.MISSING, "gateway"),
    (cases.MALFORMED, "gateway"),
    (cases.TAMPERED, "gateway"),
    (cases.EXPIRED, "gateway"),
    (cases.COLD, "gateway"),
    (cases.RENEWAL, "gateway"),
    (cases.DECODE, "scale"),
    (cases.AUTHLIB, "other"),
    (cases.SIMPLEJWT, "other"),
    (cases.JWT_EXTENDED, "other"),
)
Rows = Iterable[Sequence[str]]


def page(results: Results) -> str:
    """Return `docs/performance.md`."""
    return "\n\n".join(part for section in _SECTIONS for part in section(results)) + "\n"


def drawing(results: Results) -> str:
    """Return `docs/performance.svg`."""
    timings = results.timings
    bars = [
        Bar(name, timings.whole(name).value if kind == "scale" else timings.added(name).value, kind)
        for name, kind in _BARS
    ]
    return chart("Time added to one request, in microseconds (logarithmic)", bars, _LEGEND)


def summary(results: Results) -> str:
    """Return one line for each target."""
    rows = (target.row(results) for target in TARGETS)
    return "\n".join(f"{verdict.strip('*'):12}  {text}: {measured}" for text, _, measured, verdict in rows)


def _opening(results: Results) -> Iterator[str]:
    yield "<!-- Made by `make bench`; edit bench/, not this page. -->"
    yield "# What the gateway costs"
    if results.quick:
        yield "**This was a quick run (`--quick`): the figures are rough.**"
    yield (
        "`make bench` measures all that stands here in one run, on one machine, and writes this page,"
        " whatever comes out. Times on another machine are other times; the ratios should hold."
    )
    yield "![Time added to one request, by the gateway and by other guards](performance.svg)"


def _targets(results: Results) -> Iterator[str]:
    yield "## What is promised, and what this run measured"
    rows = [target.row(results) for target in TARGETS]
    yield _table(("promise", "bound", "measured", "verdict"), rows)
    verdicts = [row[-1].strip("*") for row in rows]
    yield (
        ", ".join(
            f"{verdicts.count(verdict)} {verdict}"
            for verdict in ("reached", "missed", "not measured")
            if verdict in verdicts
        ).capitalize()
        + "."
    )


def _ours(results: Results) -> Iterator[str]:
    yield "## One request"
    yield (
        "The app answers three bytes and is called as a server calls it: an environ of 23 keys made for the"
        " call, header values that were never hashed before, the answer read to its end. *Added* is what a"
        " call takes longer than that of the app alone; a rejection is compared with it as well, though it"
        " never calls the app. Each figure is the median of all values and their standard deviation, and each"
        " difference that of values taken in the same round. Tokens are signed with HS256 unless the row says"
        f" otherwise; the cache holds {CACHE_SIZE:,} tokens unless it says off."
    )
    yield _table(
        ("request", "whole call, µs", "added, µs"), (_timed(results, case) for case in cases.OURS), numbers=2
    )
    yield "What looking on costs, above a request with a known token:"
    yield _table(
        ("with", "whole call, µs", "added, µs"), (_timed(results, case) for case in cases.EYES), numbers=2
    )
    yield "What a policy file of a thousand routes adds to that, of which half are prefixes:"
    yield _table(("decision", "µs"), (_alone(results, case) for case in cases.DECISIONS), numbers=1)
    yield "For scale, what PyJWT takes for such a token, with keys made ready beforehand:"
    yield _table(("call", "µs"), (_alone(results, case) for case in cases.PYJWT), numbers=1)


def _peers(results: Results) -> Iterator[str]:
    yield "## The same view under other guards"
    yield (
        "Each app is called in the same way, with a token of the guard's own kind, signed with HS256, that"
        " it has seen before. None of the others remembers a token. Flask-JWT-Extended is `@jwt_required()`,"
        " Authlib its `ResourceProtector` with `JWTBearerTokenValidator` (RFC 7523), simplejwt its"
        " `JWTStatelessUserAuthentication`, which asks no database. In front of a framework the gateway"
        " itself takes longer than in front of the least of apps above, presumably since less of it is left"
        " in the processor's caches from one call to the next."
    )
    yield _table(
        ("view, guard", "whole call, µs", "added, µs", "times AuthGateway's"),
        (_compared(results, case) for case in cases.PEERS),
        numbers=3,
    )


def _many(results: Results) -> Iterator[str]:
    yield "## Many tokens"
    yield (
        "What a request adds, in microseconds, once the gateway has met so many distinct tokens of as many"
        " users and meets them in turn again. With more tokens than the cache holds, met in turn, each is"
        " forgotten before it comes again: the worst that can happen to a cache."
    )
    yield _table(
        ("distinct tokens", f"cache of {CACHE_SIZE:,}", "cache off"),
        (
            (f"{count:,}", *(str(results.timings.added(cases.met(count, cached=on))) for on in (True, False)))
            for count in results.counts()
        ),
        numbers=3,
    )
    yield "What a gateway has grown by after so many distinct tokens, in megabytes (of 1,000,000 bytes):"
    yield _table(
        ("distinct tokens", "Python objects", "memory of the process"),
        (
            (f"{memory.count:,}", f"{memory.traced / MEGABYTE:.1f}", f"{memory.resident / MEGABYTE:.1f}")
            for memory in results.memory
        ),
        numbers=3,
    )


def _sessions(results: Results) -> Iterator[str]:
    live = f"{results.sessions.live:,}"
    yield "## Sessions"
    yield (
        "What a request with a known token takes, in microseconds, where the gateway asks whether its session"
        f" was ended, with no other session ended and with {live}. What is added is above the same gateway"
        " without a state store (off). The requests in which a worker asks its store are among these, but so"
        " few that the medians hardly show them."
    )
    yield _table(("state in", "none ended", "added", f"{live} ended", "added"), _asked(results), numbers=4)
    yield (
        "A worker asks its store once a second (`GATEWAY_STATE_SYNC_SEC`), in the request that comes then."
        " Here is what such a request takes when there is nothing new; of 1,000 requests a second, each thus"
        " pays a thousandth of it. When it starts, a worker reads all. The store in memory is in the worker"
        " itself, and counted as part of its copy."
    )
    yield _table(
        (
            "state in",
            "asking it, none ended, µs",
            f"asking it, {live} ended, µs",
            f"reading {live} at the start, s",
            "memory of the worker for each, bytes",
        ),
        starmap(_copied, results.sessions.copies.items()),
        numbers=4,
    )
    yield from _rates(results.sessions)
    if results.sessions.redis is None:
        yield "Not measured with Redis: its program is missing. `make bench` installs it."


def _rates(sessions: Sessions) -> Iterator[str]:
    yield (
        "Logins and revocations a second, in one process without a server, one after another in each thread."
        " The users are in SQLite; a login of theirs takes as long as Argon2id does, on purpose. With a"
        " function that lets everybody in, the gateway's own part is left: counting, asking the store, making"
        " a token. Each revocation is of another session, by a token met for the first time. SQLite has every"
        " change on the disk before it answers; Redis is on the same machine, has no replica, and writes to"
        " the disk once a second (`appendonly yes`)."
    )
    yield _table(("what", "state in", "one thread", f"{THREADS} threads"), _rate_rows(sessions), numbers=2)


def _asked(results: Results) -> Iterator[Sequence[str]]:
    """Yield what a request takes without a store, and with each."""
    for store in (None, *results.sessions.copies):
        names = [cases.asking(store, live) for live in (0, results.sessions.live)]
        wholes = [str(results.timings.whole(name)) for name in names]
        added = ["" if store is None else str(results.timings.added(name)) for name in names]
        yield store or "off", wholes[0], added[0], wholes[1], added[1]


def _copied(store: str, copies: tuple[Copy, Copy]) -> Sequence[str]:
    none, many = copies
    asking = [number(copy.catch_up_sec * MICRO) for copy in copies]
    grown = (many.resident - none.resident) / many.live
    return store, *asking, f"{many.start_sec:.1f}", f"{grown:.0f}"


def _rate_rows(sessions: Sessions) -> Iterator[Sequence[str]]:
    """Yield how often something happens in a second, with one thread and with many."""
    yield "login, Argon2id", cases.SQLITE, *(f"{rate:,.0f}" for rate in sessions.hashed)
    for store, rates in sessions.logins.items():
        yield "login, by a function at no cost", store, *(f"{rate:,.0f}" for rate in rates)
    for store, rate in sessions.revocations.items():
        yield "revocation", store, f"{rate:,.0f}", ""


def _served(results: Results) -> Iterator[str]:
    yield "## Under gunicorn"
    if not results.served:
        yield "Not measured: wrk is missing. On Debian and Ubuntu it is the package `wrk`."
        return
    rounds = len(next(iter(results.served.values())).alone)
    yield (
        f"Requests a second that one worker answers to wrk {results.wrk}, which has {CONNECTIONS} connections"
        f" over loopback and sends a known token: both apps in turn, {rounds} rounds, the median of each and"
        " the median of the rounds' ratios."
    )
    yield _table(
        ("worker", "the app alone", "behind the gateway", "ratio", "ratios of the rounds"),
        (
            (
                name,
                f"{median(served.alone):,.0f}",
                f"{median(served.guarded):,.0f}",
                f"{served.ratio:.3f}",
                f"{min(served.ratios):.3f} to {max(served.ratios):.3f}",
            )
            for name, served in results.served.items()
        ),
        numbers=4,
    )


def _setting(results: Results) -> Iterator[str]:
    yield "## Machine and versions"
    machine = results.timings.machine
    facts = [
        ("date", f"{datetime.now(UTC):%Y-%m-%d}"),
        ("processor", str(machine.get("cpu_model_name", "unknown"))),
        ("cores", str(machine.get("cpu_count", "unknown"))),
        ("load before the run", f"{results.load:.2f}"),
        ("system", str(machine["platform"])),
        ("Python", f"{machine['python_implementation']} {machine['python_version']}"),
        *((name, version(name)) for name in _PACKAGES),
        ("SQLite", sqlite_version),
        ("Redis", results.sessions.redis or "missing"),
        ("wrk", results.wrk or "missing"),
    ]
    yield _table(("what", "which"), facts)


_SECTIONS: Final = (_opening, _targets, _ours, _peers, _many, _sessions, _served, _setting)


def _alone(results: Results, case: cases.Case) -> tuple[str, str]:
    return case.name, str(results.timings.whole(case.name))


def _timed(results: Results, case: cases.Case) -> tuple[str, str, str]:
    added = str(results.timings.added(case.name)) if case.base else ""
    return case.name, str(results.timings.whole(case.name)), added


def _compared(results: Results, case: cases.Case) -> tuple[str, ...]:
    gateway = cases.DRF_GATEWAY if cases.DRF in (case.name, case.base) else cases.FLASK_GATEWAY
    ratio = number(results.added_ratio(case.name, gateway)) if case.base else ""
    return *_timed(results, case), ratio


def _table(head: Sequence[str], rows: Rows, numbers: int = 0) -> str:
    """Return a table whose last so many columns stand to the right."""
    rule = ["---"] * (len(head) - numbers) + ["---:"] * numbers
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rule, *rows))
