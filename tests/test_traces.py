"""OpenTelemetry spans: when there are any, and what stands in them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import NoOpTracerProvider, ProxyTracerProvider, StatusCode

from gateway import traces
from tests.integration.servers import ROOT, environment
from tests.support import MINUTE, NOW, Guarded, claims, forge
from tests.test_issuers import A, Guard, Publisher, foreign
from tests.test_issuers import guard as guard  # noqa: PLC0414 - a fixture
from tests.test_issuers import published as published  # noqa: PLC0414 - a fixture
from tests.test_login import down


class Spans:
    """A tracer provider, and what it was given."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    def all(self) -> list[ReadableSpan]:
        return list(self._exporter.get_finished_spans())

    def one(self) -> ReadableSpan:
        (span,) = self.all()
        return span


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[Spans]:
    """Those of the tracer provider that is in force."""
    spans = Spans()
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: spans.provider)
    yield spans
    spans.provider.shutdown()


def attributes(span: ReadableSpan) -> dict[str, object]:
    return dict(span.attributes or {})


def test_a_verdict_is_a_span(spans: Spans) -> None:
    Guarded().request(token=forge(claims()))
    assert spans.one().name == "gateway.authenticate"
    assert attributes(spans.one()) == {
        "gateway.code": "accepted",
        "gateway.renewed": False,
        "gateway.cached": False,
    }


def test_it_tells_whether_the_token_was_renewed_and_known(spans: Spans) -> None:
    guarded = Guarded()
    token = forge(claims(exp=int(NOW) + MINUTE))
    guarded.request(token=token)
    guarded.request(token=token)
    assert [
        (attributes(span)["gateway.renewed"], attributes(span)["gateway.cached"]) for span in spans.all()
    ] == [(True, False), (True, True)]


def test_it_names_another_issuer(spans: Spans, guard: Guard, published: Publisher) -> None:
    guard().request(token=foreign(), uid="a:alice")
    assert attributes(spans.one())["gateway.issuer"] == A


def test_nothing_in_it_tells_whose_it_is(spans: Spans) -> None:
    guarded = Guarded()
    token = forge(claims(uid="somebody", sid="a-session"))
    guarded.request("/a/path", token=token, uid="somebody")
    text = spans.one().to_json()
    assert not any(secret in text for secret in ("somebody", "a-session", "/a/path", token))


def test_where_no_token_was_looked_for_it_does_not_tell_of_one(spans: Spans) -> None:
    Guarded(public_paths=["/open"]).request("/open", token="")
    assert attributes(spans.one()) == {"gateway.code": "anonymous", "gateway.renewed": False}


def test_it_takes_as_long_as_the_verdict(spans: Spans) -> None:
    Guarded().request()
    span = spans.one()
    assert span.start_time is not None
    assert span.end_time is not None
    assert 0 < span.end_time - span.start_time < 60e9


def test_it_lies_within_the_span_that_is_current(spans: Spans) -> None:
    guarded = Guarded()
    with spans.provider.get_tracer("server").start_as_current_span("request") as server:
        guarded.request()
    ours, _ = spans.all()
    assert ours.parent is not None
    assert ours.parent.span_id == server.get_span_context().span_id


def test_a_refusal_is_no_error_of_the_servers(spans: Spans) -> None:
    Guarded().request(token="a.b.c")
    assert attributes(spans.one())["gateway.code"] == "invalid_token"
    assert spans.one().status.status_code is StatusCode.UNSET


def test_a_state_store_that_is_down_is_one(spans: Spans, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.stores.memory.MemoryStore.read", down)
    Guarded(state_url="memory://").request()
    status = spans.one().status
    assert (status.status_code, status.description) == (StatusCode.ERROR, "state_unavailable")


# When there are any


@contextmanager
def provider(of: trace.TracerProvider, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setattr(trace, "get_tracer_provider", lambda: of)
        yield


@pytest.mark.parametrize("nothing", [ProxyTracerProvider(), NoOpTracerProvider()], ids=["unset", "no-op"])
def test_a_provider_that_makes_nothing_of_spans_is_none(
    nothing: trace.TracerProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    with provider(nothing, monkeypatch):
        assert traces.provider_in_force() is None


def test_a_provider_that_was_set_after_the_gateway_was_made_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    with provider(ProxyTracerProvider(), monkeypatch):
        guarded = Guarded()
    spans = Spans()
    with provider(spans.provider, monkeypatch):
        guarded.request()
    assert len(spans.all()) == 1


def test_after_the_first_request_none_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with provider(ProxyTracerProvider(), monkeypatch):
        guarded = Guarded()
        guarded.request()
    spans = Spans()
    with provider(spans.provider, monkeypatch):
        guarded.request()
    assert spans.all() == []
    assert guarded.reached == 2


SERVES = """\
import sys
{first}
from tests.support import Guarded
guarded = Guarded()
guarded.request()
assert guarded.reached == 1
print("opentelemetry.trace" in sys.modules, "gateway.traces" in sys.modules)
"""


@pytest.mark.parametrize(
    ("first", "printed"),
    [
        pytest.param("", "False False", id="nobody imports it"),
        pytest.param("import opentelemetry.trace", "True True", id="the API alone"),
        pytest.param("sys.modules['opentelemetry'] = None", "False False", id="not installed"),
    ],
)
def test_the_library_is_imported_by_others_or_not_at_all(first: str, printed: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SERVES.format(first=first)],
        env=environment(PYTHONPATH=str(ROOT)),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == printed
