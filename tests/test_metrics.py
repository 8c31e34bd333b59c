"""The metrics: what is counted, who may read it, and what the dashboard and the alerts ask for."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import webtest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from gateway import metrics
from gateway.errors import StateUnavailableError
from gateway.metrics import FAILURE_COUNTS_SEC, Families
from gateway.rejections import RULES
from gateway.stores.memory import MemoryStore
from tests.integration.servers import ROOT, environment
from tests.support import MINUTE, NOW, Guarded, claims, forge
from tests.test_docs import anchors
from tests.test_issuers import A_JWKS, A, Guard, Publisher, foreign
from tests.test_issuers import guard as guard  # noqa: PLC0414 - a fixture
from tests.test_issuers import published as published  # noqa: PLC0414 - a fixture
from tests.test_login import PASSWORD, WRONG, House, refused

HERE = "192.0.2.1"
NOT_FOUND = (404, "not_found")
ON: Mapping[str, Any] = {"metrics_from": [HERE]}
STATE: Mapping[str, Any] = {"state_url": "memory://", "state_sync_sec": 0, "state_timeout_sec": 60}


@pytest.fixture(autouse=True)
def _own_families(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have each test count from zero."""
    families = Families()
    monkeypatch.setattr(metrics, "_families", lambda: families)


def read(guarded: Guarded, address: str = HERE, **environ: str) -> webtest.TestResponse:
    environ = {"REMOTE_ADDR": address, **environ}
    return guarded.client.get("/auth/metrics", extra_environ=environ, expect_errors=True)


def samples(guarded: Guarded) -> Iterator[Sample]:
    for family in text_string_to_metric_families(read(guarded).text):
        yield from family.samples


def value(guarded: Guarded, name: str, **labels: str) -> float | None:
    """The value of one series, None if it is not there."""
    found = [each.value for each in samples(guarded) if (each.name, each.labels) == (name, labels)]
    assert len(found) <= 1
    return found[0] if found else None


def counted(guarded: Guarded, name: str) -> dict[str, float]:
    """The counts of a name that are not 0, by the value of their label."""
    return {
        next(iter(each.labels.values())): each.value
        for each in samples(guarded)
        if each.name == name and each.value
    }


# What is counted


def test_verdicts_are_counted_by_code() -> None:
    guarded = Guarded(**ON, public_paths=["/open"])
    guarded.request()
    guarded.request()
    guarded.request("/open", token="")
    guarded.request(token="")
    guarded.request(token="a.b.c")
    assert counted(guarded, "gateway_verdicts_total") == {
        "accepted": 2,
        "anonymous": 1,
        "missing_credentials": 1,
        "invalid_token": 1,
    }


def test_every_code_is_there_from_the_start() -> None:
    codes = {each.labels["code"] for each in samples(Guarded(**ON)) if each.name == "gateway_verdicts_total"}
    assert codes == {"accepted", "anonymous"} | {rule.code for rule in RULES}


def test_what_is_judged_is_timed_save_public_paths() -> None:
    guarded = Guarded(**ON, public_paths=["/open"])
    guarded.request()
    guarded.request(token="a.b.c")
    guarded.request("/open", token="")
    assert value(guarded, "gateway_verification_seconds_count") == 2
    assert value(guarded, "gateway_verification_seconds_bucket", le="+Inf") == 2
    assert (value(guarded, "gateway_verification_seconds_sum") or 0) > 0


def test_buckets_go_from_a_microsecond_to_a_tenth_of_a_second() -> None:
    bounds = [
        float(each.labels["le"])
        for each in samples(Guarded(**ON))
        if each.name == "gateway_verification_seconds_bucket"
    ]
    assert (bounds[0], bounds[-2], bounds[-1]) == (1e-6, 0.1, float("inf"))
    assert bounds == sorted(set(bounds))


def test_a_token_is_a_miss_and_then_a_hit() -> None:
    guarded = Guarded(**ON)
    token = guarded.clock.create(uid=12)
    for _ in range(3):
        guarded.request(token=token)
    assert counted(guarded, "gateway_token_cache_total") == {"miss": 1, "hit": 2}


def test_where_no_token_was_looked_for_there_is_neither() -> None:
    guarded = Guarded(**ON, public_paths=["/open"])
    guarded.request("/open")
    guarded.request(token="")
    guarded.send(headers={"Authorization": "Basic eDp5", "uid": "12"})
    assert counted(guarded, "gateway_token_cache_total") == {}


def test_renewals_are_counted() -> None:
    guarded = Guarded(**ON)
    guarded.request(token=forge(claims()))
    guarded.request(token=forge(claims(exp=int(NOW) + MINUTE)))
    assert value(guarded, "gateway_renewals_total") == 1


def test_logins_are_counted_by_code() -> None:
    house = House(**ON, login_tries=2)
    for password in (PASSWORD, WRONG, WRONG, PASSWORD):
        house.log_in(12, password)
    counts = counted(house, "gateway_logins_total")
    assert counts == {"accepted": 1, "wrong_login": 2, "too_many_attempts": 1}


@pytest.mark.parametrize(("body", "kind"), [(b"", "session"), (b'{"all": true}', "all")])
def test_revocations_are_counted_by_kind(body: bytes, kind: str) -> None:
    guarded = Guarded(**ON, **STATE)
    sent = {"Authorization": f"Bearer {guarded.clock.create(uid=12)}", "uid": "12"}
    guarded.client.post("/auth/revoke", body, headers=sent)
    assert counted(guarded, "gateway_revocations_total") == {kind: 1}


def test_no_label_is_anything_of_a_requests() -> None:
    """Whoever sends what is new each time makes no new series."""
    guarded = Guarded(**ON)
    guarded.request()
    before = len(list(samples(guarded)))
    for number in range(20):
        guarded.request(f"/{number}", token=f"a.b.{number}", uid=str(number))
        guarded.request(f"/{number}", method="PUT", token=guarded.clock.create(uid=number), uid=str(number))
    assert len(list(samples(guarded))) == before


def test_two_gateways_of_one_process_are_counted_together() -> None:
    first, second = Guarded(**ON), Guarded(**ON)
    first.request()
    second.request()
    assert counted(first, "gateway_verdicts_total") == {"accepted": 2}


def test_it_tells_what_runs() -> None:
    (info,) = [each for each in samples(Guarded(**ON)) if each.name == "gateway_build_info"]
    assert info.value == 1
    assert info.labels["python"] == ".".join(map(str, sys.version_info[:3]))
    assert info.labels["version"]


# The state store


def fail(*_: object) -> Any:
    raise StateUnavailableError("it is down")


def test_a_state_store_that_answers_is_up_and_synced_now() -> None:
    guarded = Guarded(**ON, **STATE)
    assert value(guarded, "gateway_state_store_up") == 1
    assert value(guarded, "gateway_state_store_sync_timestamp_seconds") == NOW
    assert value(guarded, "gateway_state_store_failure_timestamp_seconds") == 0


def test_a_state_store_that_does_not_answer_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    guarded = Guarded(**ON, **STATE)
    guarded.request()
    monkeypatch.setattr(MemoryStore, "read", fail)
    guarded.clock.time += 1
    assert value(guarded, "gateway_state_store_up") == 0
    assert value(guarded, "gateway_state_store_sync_timestamp_seconds") == NOW
    assert value(guarded, "gateway_state_store_failure_timestamp_seconds") == NOW + 1


def test_a_failure_of_an_idle_worker_counts_for_a_while() -> None:
    """Whether it would be answered now, nobody knows."""
    guarded = Guarded(**ON, **STATE)
    families = metrics._families()
    gauge = families.failed

    class Elsewhere:
        """The gauge of which another worker holds the last value."""

        def set(self, _: float) -> None:
            gauge.set(NOW)

    families.failed = Elsewhere()  # type: ignore[assignment]
    ups = []
    for passed in (0, FAILURE_COUNTS_SEC - 1, FAILURE_COUNTS_SEC):
        guarded.clock.time = NOW + passed
        ups.append(value(guarded, "gateway_state_store_up"))
    assert ups == [0, 0, 1]


def test_without_a_state_store_nothing_is_told_of_one() -> None:
    assert "gateway_state_store" not in read(Guarded(**ON)).text


# Issuers


def test_an_issuer_whose_keys_are_not_there_yet_is_down(guard: Guard, published: Publisher) -> None:
    published.sets[A_JWKS] = OSError
    guarded = guard(**ON)
    assert value(guarded, "gateway_issuer_keys_up", issuer=A) == 0
    assert value(guarded, "gateway_issuer_keys_fetched_timestamp_seconds", issuer=A) == 0


def test_an_issuer_is_up_until_its_keys_are_too_old(guard: Guard, published: Publisher) -> None:
    guarded = guard(**ON)
    guarded.request(token=foreign(), uid="a:alice")
    assert value(guarded, "gateway_issuer_keys_up", issuer=A) == 1
    assert value(guarded, "gateway_issuer_keys_fetched_timestamp_seconds", issuer=A) == NOW
    guarded.clock.time += 1440 * MINUTE
    assert value(guarded, "gateway_issuer_keys_up", issuer=A) == 0


# Who may read it


@pytest.mark.parametrize("address", ["192.0.2.2", "", "::1", "unix", "nonsense"])
def test_for_other_addresses_there_is_nothing(address: str) -> None:
    guarded = Guarded(**ON)
    assert refused(read(guarded, address)) == NOT_FOUND
    posted = guarded.client.post("/auth/metrics", extra_environ={"REMOTE_ADDR": address}, expect_errors=True)
    assert refused(posted) == NOT_FOUND


def test_unless_it_is_asked_for_there_is_nothing() -> None:
    assert refused(read(Guarded())) == NOT_FOUND


@pytest.mark.parametrize(
    ("networks", "address"),
    [
        ("192.0.2.0/24", "192.0.2.77"),
        ("2001:db8::/32", "2001:db8::7"),
        ("192.0.2.1", "::ffff:192.0.2.1"),
        ("unix", ""),
    ],
)
def test_networks_and_a_unix_socket_may_read_it(networks: str, address: str) -> None:
    assert read(Guarded(metrics_from=networks), address).status_int == 200


def test_behind_a_trusted_proxy_it_is_the_client_who_counts() -> None:
    guarded = Guarded(metrics_from=HERE, trusted_proxies=["10.0.0.1"])
    assert read(guarded, "10.0.0.1", HTTP_X_FORWARDED_FOR=HERE).status_int == 200
    assert refused(read(guarded, "10.0.0.1", HTTP_X_FORWARDED_FOR="203.0.113.9")) == NOT_FOUND
    assert refused(read(guarded, "203.0.113.9", HTTP_X_FORWARDED_FOR=HERE)) == NOT_FOUND


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_it_is_for_get_alone(method: str) -> None:
    environ = {"REMOTE_ADDR": HERE}
    response = Guarded(**ON).client.request(
        "/auth/metrics", method=method, environ=environ, expect_errors=True
    )
    assert refused(response) == (405, "method_not_allowed")
    assert response.headers["Allow"] == "GET, HEAD"


def test_head_has_no_body() -> None:
    response = Guarded(**ON).client.head("/auth/metrics", extra_environ={"REMOTE_ADDR": HERE})
    assert (response.status_int, response.body) == (200, b"")


def test_it_needs_no_token_and_is_never_stored() -> None:
    response = read(Guarded(**ON))
    assert response.status_int == 200
    assert response.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    "accept", ["", "*/*", "application/openmetrics-text", "text/plain;version=a", "text/plain;version=\x01"]
)
def test_the_format_is_that_of_prometheus_whatever_is_asked_for(accept: str) -> None:
    response = read(Guarded(**ON), HTTP_ACCEPT=accept)
    assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"


def test_it_moves_with_the_prefix() -> None:
    client = Guarded(**ON, prefix="/_g").client
    assert client.get("/_g/metrics", extra_environ={"REMOTE_ADDR": HERE}).status_int == 200


# Several processes


def test_one_worker_of_several_that_counts_alone_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    metrics._complain.cache_clear()
    guarded = Guarded(**ON)
    read(guarded)
    assert caplog.messages == []
    for _ in range(2):
        environ = {"wsgi.multiprocess": True}
        guarded.client.get("/auth/metrics", extra_environ={"REMOTE_ADDR": HERE, **environ})
    (line,) = caplog.messages
    assert "PROMETHEUS_MULTIPROC_DIR was not set" in line


FORKED = """\
import os, sys
from prometheus_client import Counter
from tests.support import Guarded
of_the_app = Counter("app_things", "Things of the app's own.")
of_the_app.inc()
guarded = Guarded(metrics_from="192.0.2.1", state_url="memory://")
for _ in range(3):
    child = os.fork()
    if child == 0:
        guarded.request()
        guarded.request(token="a.b.c")
        os._exit(0)
    os.waitpid(child, 0)
print(guarded.client.get("/auth/metrics", extra_environ={"REMOTE_ADDR": "192.0.2.1"}).text)
"""


def test_what_processes_count_in_one_folder_is_added_up(tmp_path: Path) -> None:
    """Also what those counted that have ended; and what the app counts there is not shown."""
    shown = subprocess.run(
        [sys.executable, "-c", FORKED],
        env=environment(PROMETHEUS_MULTIPROC_DIR=str(tmp_path), PYTHONPATH=str(ROOT)),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert 'gateway_verdicts_total{code="accepted"} 3.0' in shown
    assert 'gateway_verdicts_total{code="invalid_token"} 3.0' in shown
    assert "gateway_verification_seconds_count 6.0" in shown
    assert "gateway_state_store_up 1.0" in shown
    assert "gateway_build_info" in shown
    assert "app_things" not in shown


# The dashboard

DASHBOARD = json.loads((ROOT / "examples" / "grafana-dashboard.json").read_text("utf-8"))
NAME = re.compile(r"\bgateway_[a-z_]+")


def panels() -> list[dict[str, Any]]:
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def expressions() -> Iterator[str]:
    for panel in panels():
        yield from (target["expr"] for target in panel["targets"])


def test_the_dashboard_asks_for_nothing_that_is_not_exported(guard: Guard, published: Publisher) -> None:
    exported = {each.name for each in samples(guard(**ON, **STATE))}
    asked_for = {name for expression in expressions() for name in NAME.findall(expression)}
    assert asked_for
    assert asked_for <= exported


def test_the_dashboard_shows_all_that_is_exported(guard: Guard, published: Publisher) -> None:
    exported = {re.sub("_(bucket|sum|count)$", "", each.name) for each in samples(guard(**ON, **STATE))}
    asked_for = "".join(expressions())
    assert {name for name in exported if name not in asked_for} == set()


def test_the_dashboard_asks_the_data_source_that_is_chosen() -> None:
    (variable,) = [each for each in DASHBOARD["templating"]["list"] if each["type"] == "datasource"]
    assert variable["query"] == "prometheus"
    chosen = {"type": "prometheus", "uid": f"${{{variable['name']}}}"}
    assert all(panel["datasource"] == chosen for panel in panels())


def test_the_panels_of_the_dashboard_have_places_of_their_own() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    cells = [
        (x, y)
        for panel in DASHBOARD["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24


# The alerts

(GROUP,) = yaml.safe_load((ROOT / "examples" / "alerts.yml").read_text("utf-8"))["groups"]
ALERTS: dict[str, Any] = {rule["alert"]: rule for rule in GROUP["rules"]}
SELECTOR = re.compile(r"\b(gateway_[a-z_]+)\{(\w+)(?:=~|!~|=)\"([^\"]*)\"\}")


def named_by(alert: str) -> set[str]:
    return set(NAME.findall(ALERTS[alert]["expr"]))


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_asks_for_nothing_that_is_not_exported(
    guard: Guard, published: Publisher, alert: str
) -> None:
    exported = {each.name for each in samples(guard(**ON, **STATE))}
    assert named_by(alert) <= exported
    assert named_by(alert) or ALERTS[alert]["expr"].startswith("up{")


@pytest.mark.parametrize("alert", [name for name in ALERTS if SELECTOR.search(ALERTS[name]["expr"])])
def test_an_alert_selects_what_is_exported_from_the_start(
    guard: Guard, published: Publisher, alert: str
) -> None:
    """So that no code is misspelt, and the first of its kind is an increase."""
    found = list(samples(guard(**ON, **STATE)))
    for name, label, values in SELECTOR.findall(ALERTS[alert]["expr"]):
        assert set(values.split("|")) <= {each.labels[label] for each in found if each.name == name}


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_tells_what_to_do(alert: str) -> None:
    rule = ALERTS[alert]
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert rule["annotations"].keys() == {"summary", "description", "runbook"}
    page, _, anchor = rule["annotations"]["runbook"].partition("#")
    assert anchor in anchors(ROOT / page)


def test_the_documents_name_all_alerts_and_no_others() -> None:
    page = (ROOT / "docs" / "operating.md").read_text("utf-8")
    assert re.findall(r"^\| `(Gateway\w+)` \|", page, re.MULTILINE) == list(ALERTS)


def test_the_documents_name_all_that_is_exported_and_nothing_else(guard: Guard, published: Publisher) -> None:
    exported = {re.sub("_(bucket|sum|count)$", "", each.name) for each in samples(guard(**ON, **STATE))}
    page = (ROOT / "docs" / "operating.md").read_text("utf-8")
    table = page.partition("<!-- metrics -->")[2].partition("<!-- end of metrics -->")[0]
    named = re.findall(r"^\| `(gateway_[a-z_]+)", table, re.MULTILINE)
    assert sorted(named) == sorted(exported)
    assert set(NAME.findall(page.partition("### A dashboard")[2])) <= {
        each.name for each in samples(guard(**ON, **STATE))
    }
