"""Prometheus metrics, and the endpoint that shows them.

Under several worker processes each writes files of its own in `PROMETHEUS_MULTIPROC_DIR`, which must be set
before prometheus_client is first imported, and whoever is asked adds them up. `gateway.gunicorn_conf` does.
"""

from __future__ import annotations

import logging
import platform
import struct
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cache
from typing import Final
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, values
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from werkzeug import Response

from gateway import extras
from gateway.events import ACCEPTED, ALL, ANONYMOUS, SESSION, KeysTaken, LoginTried, Revoked, Verdict
from gateway.proxies import Networks, TrustedProxies
from gateway.rejections import LOGIN_UNAVAILABLE, NOT_FOUND, RULES, WRONG_LOGIN, method_not_allowed
from gateway.revocations import Revocations
from gateway.settings import Settings
from gateway.tokens import TokenCreator

# Seconds for which it counts that a worker's last attempt to ask the state store failed. One that is busy
# asks again much sooner; one that idles does not ask, and knows nothing.
FAILURE_COUNTS_SEC: Final = 60

_BUCKETS: Final = (*(float(f"{digit}e{power}") for power in range(-6, -1) for digit in (1, 2, 5)), 0.1)
_VERDICTS: Final = (ACCEPTED, ANONYMOUS, *(rule.code for rule in RULES))
_LOGINS: Final = (
    ACCEPTED,
    WRONG_LOGIN.code,
    LOGIN_UNAVAILABLE.code,
    "too_many_attempts",
    "state_unavailable",
    "keys_unavailable",
)
_SYNCED: Final = "gateway_state_store_sync_timestamp_seconds"
_FAILED: Final = "gateway_state_store_failure_timestamp_seconds"
_FETCHED: Final = "gateway_issuer_keys_fetched_timestamp_seconds"
_METHODS: Final = ("GET", "HEAD")
_TRIES: Final = 20  # at the folder of the processes' files
_PAUSE_SEC: Final = 0.01

_log = logging.getLogger("gateway")


class Families:
    """The metrics of one process, of whichever gateways in it.

    There are no more series than there are codes and configured issuers: no label is anything of a request's.
    The gauges are those of the workers that live: of the one that was in sync last, of the one that failed
    last, and of the one whose keys are the oldest.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.verdicts = self._counts("gateway_verdicts", "Requests judged, by code.", "code", _VERDICTS)
        self.verification = Histogram(
            "gateway_verification_seconds",
            "Time to judge a request whose path is not public.",
            buckets=_BUCKETS,
            registry=self.registry,
        )
        looked_for = "Tokens looked for among those verified before."
        self.cache = self._counts("gateway_token_cache", looked_for, "result", ("hit", "miss"))
        renewed = "Requests whose next token is a renewed one."
        self.renewals = Counter("gateway_renewals", renewed, registry=self.registry)
        self.logins = self._counts("gateway_logins", "Logins tried, by code.", "code", _LOGINS)
        self.revocations = self._counts(
            "gateway_revocations", "Revocations, by kind.", "kind", (SESSION, ALL)
        )
        self.synced = self._latest(_SYNCED, "When a worker last heard all that was revoked.")
        failed = "When a worker whose last attempt to hear that failed made it; 0 if there is none."
        self.failed = self._latest(_FAILED, failed)
        self.fetched = Gauge(
            _FETCHED,
            "When an issuer's keys were fetched; 0 if never.",
            ["issuer"],
            registry=self.registry,
            multiprocess_mode="livemin",
        )

    def _counts(self, name: str, text: str, label: str, usual: Iterable[str]) -> _ByLabel:
        return _ByLabel(Counter(name, text, [label], registry=self.registry), usual)

    def _latest(self, name: str, text: str) -> Gauge:
        return Gauge(name, text, registry=self.registry, multiprocess_mode="livemax")

    def collect(self) -> Iterator[Metric]:
        """Yield them as they are, over all processes if these write into one folder."""
        own = {family.name: family for family in self.registry.collect()}
        found: Iterable[Metric] = own.values()
        if is_shared():
            # The app may have metrics of its own there.
            found = [family for family in _collected() if family.name in own]
        for family in found:
            family.samples = [each for each in family.samples if not each.name.endswith("_created")]
            yield family


def _collected() -> list[Metric]:
    """Return what is in the folder; a file that a process has just made may be empty for a moment."""
    for _ in range(_TRIES):
        with suppress(struct.error):
            return list(MultiProcessCollector(None).collect())  # type: ignore[no-untyped-call]
        time.sleep(_PAUSE_SEC)
    return list(MultiProcessCollector(None).collect())  # type: ignore[no-untyped-call]


class _ByLabel(dict[str, Counter]):
    """The counters of one name by the value of their one label, of which the usual ones begin at 0."""

    def __init__(self, parent: Counter, usual: Iterable[str]) -> None:
        super().__init__((value, parent.labels(value)) for value in usual)
        self._parent = parent

    def __missing__(self, value: str) -> Counter:
        counter = self[value] = self._parent.labels(value)
        return counter


def is_shared() -> bool:
    """Tell whether processes write into one folder, as was settled when prometheus_client was imported."""
    return values.ValueClass is not values.MutexValue


# Two objects of one name would each write their own count over the other's.
_families = cache(Families)


class Metrics:
    """Counts and times what happens at one gateway.

    Args:
        settings: the settings.
        tokens: tells the time.
        revocations: whose view of the state store is measured; None where there is none.
        families: those of this process unless given.
    """

    def __init__(
        self,
        settings: Settings,
        tokens: TokenCreator,
        revocations: Revocations | None = None,
        families: Families | None = None,
    ) -> None:
        self._families = families if families is not None else _families()
        self._clock = tokens.now
        self._max_stale = {rules.issuer: rules.max_stale_min * 60 for rules in settings.issuers}
        self._revocations = revocations
        if revocations is not None:
            revocations.on_asked = self._store_asked

    def start(self) -> None:
        """Count this process as one without an issuer's keys, until it has them."""
        for issuer in self._max_stale:
            self._families.fetched.labels(issuer)

    def judged(self, environ: WSGIEnvironment, verdict: Verdict) -> None:
        """Count and time a verdict."""
        families = self._families
        families.verdicts[verdict.code].inc()
        if verdict.code != ANONYMOUS:
            families.verification.observe(verdict.seconds)
        if verdict.cached is not None:
            families.cache["hit" if verdict.cached else "miss"].inc()
        if verdict.renewed:
            families.renewals.inc()

    def login_tried(self, environ: WSGIEnvironment, tried: LoginTried) -> None:
        """Count a login that was tried."""
        self._families.logins[tried.code].inc()

    def revoked(self, environ: WSGIEnvironment | None, revoked: Revoked) -> None:
        """Count a revocation."""
        self._families.revocations[revoked.code].inc()

    def keys_taken(self, taken: KeysTaken) -> None:
        """Note when an issuer's keys were fetched."""
        max_stale = self._max_stale.get(taken.issuer or "")
        if max_stale is not None:
            self._families.fetched.labels(taken.issuer).set(taken.good_until - max_stale)

    def _store_asked(self, went_well: bool) -> None:
        now = self._clock()
        if went_well:
            self._families.synced.set(now)
        self._families.failed.set(0 if went_well else now)

    def collect(self) -> Iterator[Metric]:
        """Yield what is to be shown; this process looks before, so that the figures are not an idle one's."""
        self.start()
        if self._revocations is not None:
            self._revocations.is_up  # noqa: B018 - it asks the store
        for family in self._families.collect():
            if family.name == _FAILED and self._revocations is not None:
                yield self._store_up(family)
            if family.name == _FETCHED:
                yield self._keys_up(family)
            if family.name not in (_SYNCED, _FAILED) or self._revocations is not None:
                yield family
        yield _build_info()

    def _store_up(self, failed: Metric) -> Metric:
        last = max(sample.value for sample in failed.samples)
        is_up = self._clock() - last >= FAILURE_COUNTS_SEC
        text = "Whether every worker that asked the state store lately was answered."
        return GaugeMetricFamily("gateway_state_store_up", text, value=is_up)

    def _keys_up(self, fetched: Metric) -> Metric:
        text = "Whether every worker has an issuer's keys, and none that are too old."
        family = GaugeMetricFamily("gateway_issuer_keys_up", text, labels=["issuer"])
        for sample in fetched.samples:
            issuer = sample.labels["issuer"]
            good_until = sample.value + self._max_stale.get(issuer, 0)
            family.add_metric([issuer], self._clock() < good_until)
        return family


class Page:
    """The endpoint of the metrics, which is there for some addresses alone."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._readers = Networks(settings.metrics_from)
        self._proxies = TrustedProxies(settings.trusted_proxies)
        self._registry = CollectorRegistry()
        self._registry.register(metrics)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer in Prometheus' own format, whichever is asked for."""
        return self._answer(environ)(environ, start_response)

    def _answer(self, environ: WSGIEnvironment) -> WSGIApplication:
        if self._proxies.client(environ) not in self._readers:
            return NOT_FOUND
        if environ["REQUEST_METHOD"] not in _METHODS:
            return method_not_allowed(_METHODS)
        if environ.get("wsgi.multiprocess") and not is_shared():
            _complain()
        headers = {"Content-Type": CONTENT_TYPE_PLAIN_0_0_4, "Cache-Control": "no-store"}
        return Response(generate_latest(self._registry), headers=headers)


@cache
def _complain() -> None:
    """Say so once, not for every scrape."""
    _log.error(
        "the metrics are those of one worker of several: PROMETHEUS_MULTIPROC_DIR was not set when"
        " prometheus_client was first imported; set it where the server is started, to a folder of its own"
    )


@cache
def _build_info() -> Metric:
    family = GaugeMetricFamily("gateway_build_info", "What runs here.", labels=["version", "python"])
    family.add_metric([extras.version(), platform.python_version()], 1)
    return family
