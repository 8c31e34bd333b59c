"""The audit log: what stands in a line, what never does, and where it goes."""

from __future__ import annotations

import io
import json
import logging
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import AuthGateway, Settings
from gateway.audit import LONGEST_NAME, LONGEST_PATH, MOST_KEYS, Audit, moment, shown_path
from gateway.events import KeysTaken, Named, Verdict
from gateway.keyfolder import LOOK_SEC, generate
from gateway.proxies import TrustedProxies
from tests.integration.servers import ROOT
from tests.support import MINUTE, NOW, Clock, Guarded, Recorder, b64, claims, forge
from tests.test_issuers import A_JWKS, SECOND, A, Publisher, foreign, jwks, policy
from tests.test_issuers import published as published  # noqa: PLC0414 - a fixture
from tests.test_login import HERE, PASSWORD, WRONG, House
from tests.test_login import _users_url as _users_url  # noqa: PLC0414 - a fixture

AT_NOW = "2027-01-15T08:00:00.250000Z"
PIPE_BUF = 4096  # bytes that a pipe takes whole (POSIX wants 512 at least, and Linux has these)
REQUEST = {"method": "GET", "path": "/secret", "address": "192.0.2.1", "request_id": None}
NOBODY = {"uid": None, "issuer": None, "sid": None, "kid": None}
HEADERS = {"REMOTE_ADDR": HERE}


@pytest.fixture(autouse=True)
def logger() -> Iterator[logging.Logger]:
    """The logger as nobody has touched it yet, and as it was afterwards."""
    logger = logging.getLogger("gateway.audit")
    before = logger.handlers[:], logger.propagate, logger.level, logger.disabled
    logger.handlers, logger.propagate, logger.disabled = [], True, False
    logger.setLevel(logging.NOTSET)
    yield logger
    logger.handlers, logger.propagate, _, logger.disabled = before
    logger.setLevel(before[2])


class Log:
    """What is written to standard error."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def lines(self) -> list[str]:
        """The lines since they were asked for last."""
        return self._capsys.readouterr().err.splitlines()

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines()]

    def event(self) -> dict[str, Any]:
        (event,) = self.events()
        return event


@pytest.fixture
def log(capsys: pytest.CaptureFixture[str]) -> Log:
    return Log(capsys)


def ask(guarded: Guarded, token: str | None = None, path: str = "/secret", **environ: str) -> None:
    """Send a request with a good token from an address, unless they are given."""
    token = guarded.clock.create(uid=12) if token is None else token
    sent = {"HTTP_AUTHORIZATION": f"Bearer {token}"} if token else {}
    environ = {**HEADERS, "HTTP_UID": "12", **sent, **environ}
    guarded.client.get(path, extra_environ=environ, expect_errors=True)


def gateway(**options: Any) -> Guarded:
    return Guarded(**{"log_format": "json", **options})


# Verdicts


def test_a_proxy_that_is_not_to_be_believed_is_logged(log: Log) -> None:
    ask(gateway(), path="/auth/verify")
    event = log.event()
    assert (event["code"], event["status"], event["path"]) == ("not_forwarded", 403, "/auth/verify")


def test_what_a_proxy_asks_about_is_logged_as_it_was_sent(log: Log) -> None:
    asked = {"HTTP_X_FORWARDED_METHOD": "PUT", "HTTP_X_FORWARDED_URI": "/a%20b?c"}
    ask(gateway(trusted_proxies=[HERE]), path="/auth/verify", **asked)
    event = log.event()
    assert (event["code"], event["method"], event["path"]) == ("accepted", "PUT", "/a%20b")


def test_a_request_that_is_accepted_is_logged_with_whose_it_is(log: Log) -> None:
    ask(gateway(), forge(claims()))
    assert log.event() == {
        "time": AT_NOW,
        "event": "verdict",
        "code": "accepted",
        "status": None,
        "uid": "12",
        "issuer": None,
        "sid": "s",
        "kid": None,
        **REQUEST,
        "renewed": False,
    }


def test_a_renewal_is_logged_with_the_verdict(log: Log) -> None:
    ask(gateway(), forge(claims(exp=int(NOW) + MINUTE)))
    assert log.event()["renewed"] is True


def test_a_public_path_is_logged_without_anybody(log: Log) -> None:
    ask(gateway(public_paths=["/secret"]))
    event = log.event()
    assert (event["code"], event["status"]) == ("anonymous", None)
    assert NOBODY.items() <= event.items()


@pytest.mark.parametrize(("profile", "status"), [("classic", 498), ("rfc6750", 401)])
def test_a_refusal_is_logged_with_its_status(log: Log, profile: str, status: int) -> None:
    ask(gateway(status_profile=profile), "a.b.c")
    event = log.event()
    assert (event["code"], event["status"]) == ("invalid_token", status)


REVOKED = forge(claims(auth_time=NOW - 1))
with_and_without_cache = pytest.mark.parametrize("cache", [0, 100], ids=["uncached", "cached"])


@with_and_without_cache
@pytest.mark.parametrize(
    ("code", "token", "uid"),
    [
        pytest.param("token_expired", forge(claims(exp=int(NOW))), "12", id="expired"),
        pytest.param("invalid_claims", forge(claims(nbf=NOW + MINUTE)), "12", id="not yet good"),
        pytest.param("uid_mismatch", forge(claims()), "13", id="another's uid"),
    ],
)
def test_a_refusal_of_a_rightly_signed_token_says_whose_it_is(
    log: Log, code: str, token: str, uid: str, cache: int
) -> None:
    ask(gateway(token_cache_size=cache), token, HTTP_UID=uid)
    event = log.event()
    assert (event["code"], event["uid"], event["sid"]) == (code, "12", "s")


def test_a_token_that_expired_while_it_was_remembered_says_whose_it_is(log: Log) -> None:
    guarded = gateway()
    token = guarded.clock.create(uid=12)
    ask(guarded, token)
    guarded.clock.time += 60 * MINUTE
    ask(guarded, token)
    assert [(event["code"], event["uid"]) for event in log.events()] == [
        ("accepted", "12"),
        ("token_expired", "12"),
    ]


def test_a_revoked_token_says_whose_it_is(log: Log) -> None:
    guarded = gateway(state_url="memory://", state_sync_sec=0)
    token = forge(claims())
    sent = {"Authorization": f"Bearer {token}", "uid": "12"}
    guarded.client.post("/auth/revoke", headers=sent)
    log.events()
    ask(guarded, token)
    event = log.event()
    assert (event["code"], event["uid"], event["sid"]) == ("token_revoked", "12", "s")


@pytest.mark.parametrize(
    "token",
    [
        pytest.param(forge(claims(), key="another secret, also of forty bytes long"), id="another key"),
        pytest.param(forge(claims(exp=1), key="another secret, also of forty bytes long"), id="and expired"),
        pytest.param(f"{b64(b'{}')}.{b64(json.dumps(claims()).encode())}.AAAA", id="no algorithm"),
        pytest.param(forge(claims(), {"alg": "none"}), id="none"),
    ],
)
def test_a_token_that_nobody_signed_says_nothing(log: Log, token: str) -> None:
    ask(gateway(), token)
    event = log.event()
    assert event["code"] == "invalid_token"
    assert NOBODY.items() <= event.items()


def test_a_uid_that_only_the_header_names_is_not_logged(log: Log) -> None:
    ask(gateway(), "", HTTP_UID="mallory")
    assert log.event()["uid"] is None


@pytest.mark.parametrize("uid", [True, 1.5, None, [], "a,b", ""])
def test_a_malformed_uid_of_a_rightly_signed_token_is_not_logged(log: Log, uid: object) -> None:
    ask(gateway(), forge(claims(uid=uid)))
    event = log.event()
    assert (event["code"], event["uid"], event["sid"]) == ("invalid_claims", None, "s")


def test_a_session_without_sid_is_named_by_its_jti(log: Log) -> None:
    ask(gateway(), forge(claims(sid=..., jti="j")))
    event = log.event()
    assert (event["sid"], event["jti"]) == (None, "j")


def test_a_foreign_token_is_logged_with_issuer_and_key(
    log: Log, tmp_path: Path, published: Publisher
) -> None:
    (tmp_path / "policy.toml").write_text(policy())
    ask(gateway(policy_file=tmp_path / "policy.toml"), foreign(), HTTP_UID="a:alice")
    event = log.event()
    assert (event["code"], event["uid"]) == ("accepted", "a:alice")
    assert (event["issuer"], event["kid"]) == (A, "k1")


# Logins


def logged_in(house: House, log: Log, uid: object, password: str) -> dict[str, Any]:
    log.events()
    house.log_in(uid, password)
    return log.event()


def test_a_login_is_logged_with_the_session_that_it_begins(log: Log) -> None:
    house = House(log_format="json")
    token = house.log_in().json["token"]
    event = log.event()
    assert (event["event"], event["code"], event["status"]) == ("login", "accepted", 200)
    assert (event["uid"], event["sid"]) == ("12", house.clock.decode_token(token)["sid"])
    assert (event["method"], event["path"], event["address"]) == ("POST", "/auth", HERE)


def test_a_wrong_password_is_logged_with_the_uid_that_is_somebodys(log: Log, users_url: str) -> None:
    event = logged_in(House(log_format="json", login=None, users_url=users_url), log, "bob", WRONG)
    assert (event["code"], event["status"], event["uid"]) == ("wrong_login", 401, "bob")


@pytest.mark.parametrize("uid", [PASSWORD, "hunter2", "é", "", 13, -1])
def test_what_is_nobodys_uid_is_not_logged(log: Log, users_url: str, uid: object) -> None:
    """It may be a password that was typed into the wrong field."""
    event = logged_in(House(log_format="json", login=None, users_url=users_url), log, uid, WRONG)
    assert (event["code"], event["uid"]) == ("wrong_login", None)


def test_no_uid_is_logged_where_a_function_does_not_tell_whose_it_is(log: Log) -> None:
    event = logged_in(House(log_format="json"), log, "bob", WRONG)
    assert (event["code"], event["uid"]) == ("wrong_login", None)


def test_a_login_that_is_throttled_asks_for_nobody(log: Log, users_url: str) -> None:
    house = House(log_format="json", login=None, users_url=users_url, login_tries=1)
    house.log_in("bob", WRONG)
    event = logged_in(house, log, "bob", WRONG)
    assert (event["code"], event["status"], event["uid"]) == ("too_many_attempts", 429, None)


# Revocations


@pytest.mark.parametrize(("body", "code"), [(b"", "session"), (b'{"all": true}', "all")])
def test_a_revocation_is_logged_after_the_verdict_on_who_asks(log: Log, body: bytes, code: str) -> None:
    guarded = gateway(state_url="memory://")
    sent = {"Authorization": f"Bearer {forge(claims())}", "uid": "12"}
    guarded.client.post("/auth/revoke", body, headers=sent)
    verdict, revocation = log.events()
    assert (verdict["event"], verdict["code"]) == ("verdict", "accepted")
    expected = {"event": "revocation", "code": code, "status": 204, "uid": "12", "sid": "s"}
    assert expected.items() <= revocation.items()


def test_a_revocation_that_is_refused_is_logged_as_a_verdict(log: Log) -> None:
    guarded = gateway(state_url="memory://")
    guarded.client.post("/auth/revoke", headers={"Authorization": "Bearer a.b.c", "uid": "12"}, status=498)
    event = log.event()
    assert (event["event"], event["code"], event["path"]) == ("verdict", "invalid_token", "/auth/revoke")


# Keys


def test_keys_that_came_and_went_are_logged(log: Log, tmp_path: Path) -> None:
    first = generate(tmp_path, "EdDSA", NOW)
    settings = Settings(algorithm="EdDSA", key_dir=str(tmp_path), log_format="json")
    clock = Clock(settings)
    AuthGateway(Recorder(), settings, tokens=clock)
    clock.keep_up()
    assert log.lines() == []
    second = generate(tmp_path, "EdDSA", NOW)
    first.path.unlink()
    clock.time += LOOK_SEC
    clock.keep_up()
    event = log.event()
    assert event.pop("time").endswith("Z")
    assert event == {
        "event": "keys",
        "code": "changed",
        "issuer": None,
        "added": [second.key.kid],
        "removed": [first.key.kid],
    }


def test_keys_that_an_issuer_replaced_are_logged(log: Log, tmp_path: Path, published: Publisher) -> None:
    (tmp_path / "policy.toml").write_text(policy())
    guarded = gateway(policy_file=tmp_path / "policy.toml")
    keys = guarded.clock._issuers[A].keys
    assert keys.refresh()
    assert keys.refresh()
    assert log.lines() == []
    published.sets[A_JWKS] = jwks(SECOND)
    assert keys.refresh()
    event = log.event()
    assert (event["issuer"], event["added"], event["removed"]) == (A, ["k2"], ["k1"])


def test_keys_of_an_issuer_that_are_fetched_again_unchanged_are_not_logged(log: Log) -> None:
    audit("json").keys_taken(KeysTaken(A, NOW, [], []))
    assert log.lines() == []


def test_of_many_keys_the_first_are_named(log: Log) -> None:
    audit("json").keys_taken(KeysTaken(A, NOW, [str(number) for number in range(1000)], []))
    added = log.event()["added"]
    assert (len(added), added[-1]) == (MOST_KEYS + 1, "…")


# What stands in a line


def audit(log_format: str) -> Audit:
    return Audit(log_format, TrustedProxies(()), lambda: NOW)


def test_neither_token_nor_query_nor_any_other_header_is_logged(log: Log) -> None:
    guarded = gateway()
    token = guarded.clock.create(uid=12)
    ask(guarded, token, "/secret?token=abc", HTTP_COOKIE="cookie", HTTP_USER_AGENT="agent")
    (line,) = log.lines()
    assert not any(text in line for text in (token, "abc", "cookie", "agent", "Bearer"))


def test_no_password_is_logged(log: Log, users_url: str) -> None:
    house = House(log_format="json", login=None, users_url=users_url)
    house.log_in("bob", PASSWORD)
    house.log_in("bob", WRONG)
    text = "\n".join(log.lines())
    assert PASSWORD not in text
    assert WRONG not in text


def test_the_address_is_that_of_the_client_behind_trusted_proxies(log: Log) -> None:
    guarded = gateway(trusted_proxies=["10.0.0.0/8"])
    ask(guarded, REMOTE_ADDR="10.0.0.1", HTTP_X_FORWARDED_FOR="203.0.113.9")
    ask(guarded, REMOTE_ADDR="192.0.2.1", HTTP_X_FORWARDED_FOR="203.0.113.9")
    ask(guarded, REMOTE_ADDR="")
    assert [event["address"] for event in log.events()] == ["203.0.113.9", "192.0.2.1", "unix"]


@pytest.mark.parametrize("request_id", ["a", "A-Za.z0:9/_+=", "a" * 128])
def test_a_request_id_that_is_harmless_is_logged(log: Log, request_id: str) -> None:
    ask(gateway(), HTTP_X_REQUEST_ID=request_id)
    assert log.event()["request_id"] == request_id


@pytest.mark.parametrize("request_id", ["", "a" * 129, "a b", 'a"', "a\n", "é", "a\x00", "{}"])
def test_another_request_id_is_not_logged(log: Log, request_id: str) -> None:
    ask(gateway(), HTTP_X_REQUEST_ID=request_id)
    assert log.event()["request_id"] is None


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/a/b-c_d.e~f", "/a/b-c_d.e~f"),
        ("/a b", "/a%20b"),
        ("/\xc3\xa9", "/%C3%A9"),
        ("/100%", "/100%25"),
        ("/a\nb\x00", "/a%0Ab%00"),
        ('/"\\', "/%22%5C"),
        ("/\u2028", "/%5Cu2028"),
        ("", ""),
        ("/" + "a" * LONGEST_PATH, "/" + "a" * (LONGEST_PATH - 1) + "…"),
        ("/" + "\xff" * LONGEST_PATH, ("/" + "%FF" * LONGEST_PATH)[:LONGEST_PATH] + "…"),
        ("a" * LONGEST_PATH, "a" * LONGEST_PATH),
    ],
)
def test_a_path_is_shown_as_it_is_sent_and_cut(path: str, shown: str) -> None:
    assert shown_path(path) == shown


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "1970-01-01T00:00:00.000000Z"),
        (NOW, AT_NOW),
        (1_800_000_000.999999, "2027-01-15T08:00:00.999999Z"),
    ],
)
def test_a_moment_is_told_in_utc_to_the_microsecond(seconds: float, text: str) -> None:
    assert moment(seconds) == text


anything = st.text(st.characters(codec=None), max_size=1000)


@given(anything, anything, anything, anything, st.booleans())
def test_whatever_is_sent_a_line_is_one_line_of_json(
    method: str, path: str, name: str, header: str, by_jti: bool
) -> None:
    environ = {"REMOTE_ADDR": header, "HTTP_X_REQUEST_ID": header, "QUERY_STRING": header}
    holder = Named(name[:255], A, ("jti", name) if by_jti else name, name)
    line = written("json", environ, method, path, holder)
    assert line.isascii()
    assert line.isprintable()
    event = json.loads(line)
    assert event["method"] == (method if len(method) <= LONGEST_NAME else method[:LONGEST_NAME] + "…")
    assert event["path"] == shown_path(path)
    assert event["uid"] == name[:255]


@given(anything, anything, anything, anything)
def test_whatever_is_sent_a_line_for_people_is_one_line(
    method: str, path: str, name: str, address: str
) -> None:
    line = written("console", {"REMOTE_ADDR": address}, method, path, Named(name[:255], A, name, name))
    assert line.isascii()
    assert line.isprintable()
    assert line.startswith(f"{AT_NOW} verdict token_expired 401 ")


@pytest.mark.parametrize("letter", ["a", "\xff", '"', "\x00"])
def test_no_client_makes_a_line_that_a_pipe_would_tear(letter: str) -> None:
    """A uid is of visible ASCII, and a method a token (RFC 9110 section 9.1)."""
    long = letter * 10_000
    environ = {"REMOTE_ADDR": "2001:db8::1", "HTTP_X_REQUEST_ID": "r" * 128}
    line = written("json", environ, "M" * 10_000, f"/{long}", Named('"' * 255, A, ("jti", long), long))
    assert len(line) < PIPE_BUF


def written(log_format: str, environ: dict[str, str], method: str, path: str, holder: Named) -> str:
    """The line of a refusal."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.terminator = ""
    logger = logging.getLogger("gateway.audit")
    logger.handlers = [handler]
    audit = Audit(log_format, TrustedProxies(()), lambda: NOW, lambda _: holder)
    verdict = Verdict("token_expired", 401, method, path, None, False, 0.0)
    audit.judged({"HTTP_AUTHORIZATION": "Bearer a.b.c", **environ}, verdict)
    return stream.getvalue()


def test_a_line_for_people(log: Log) -> None:
    ask(gateway(log_format="console"), forge(claims(exp=int(NOW) + MINUTE)), HTTP_X_REQUEST_ID="r-1")
    (line,) = log.lines()
    assert line == f"{AT_NOW} verdict accepted GET /secret uid=12 sid=s address={HERE} request_id=r-1 renewed"


def test_a_line_for_people_about_a_refusal(log: Log) -> None:
    ask(gateway(log_format="console"), forge(claims(sid="a b", exp=int(NOW))), "/a b")
    (line,) = log.lines()
    assert line == f'{AT_NOW} verdict token_expired 401 GET /a%20b uid=12 sid="a b" address={HERE}'


def test_a_line_for_people_about_keys(log: Log) -> None:
    audit("console").keys_taken(KeysTaken(A, NOW, ["k1", "k 2"], ["k3"]))
    assert log.lines() == [f'{AT_NOW} keys changed issuer={A} added=k1 added="k 2" removed=k3']


# Where it goes


def test_nothing_is_logged_unless_it_is_asked_for(log: Log) -> None:
    ask(gateway(log_format="off"))
    assert log.lines() == []


def test_two_gateways_of_one_process_log_each_event_once(log: Log) -> None:
    gateway()
    ask(gateway())
    assert len(log.lines()) == 1


def test_what_the_root_logger_writes_does_not_repeat_it(log: Log, caplog: pytest.LogCaptureFixture) -> None:
    ask(gateway())
    assert len(log.lines()) == 1
    assert caplog.records == []


def test_handlers_of_the_operators_own_are_given_the_lines_instead(log: Log, logger: logging.Logger) -> None:
    stream = io.StringIO()
    logger.addHandler(logging.StreamHandler(stream))
    logger.propagate = False
    ask(gateway())
    assert log.lines() == []
    assert json.loads(stream.getvalue())["code"] == "accepted"


def test_a_level_that_the_operator_has_set_stays(log: Log, logger: logging.Logger) -> None:
    logger.setLevel(logging.WARNING)
    ask(gateway())
    assert log.lines() == []


def test_a_logging_configuration_of_the_apps_does_not_end_it(log: Log, logger: logging.Logger) -> None:
    guarded = gateway()
    logger.disabled = True  # as dictConfig and fileConfig make all loggers that they are not told of
    ask(guarded)
    assert len(log.lines()) == 1


class Broken(io.StringIO):
    """A stream whose reader has gone."""

    def write(self, text: str) -> int:
        raise BrokenPipeError


def closed() -> io.StringIO:
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.mark.parametrize(
    "stderr",
    [pytest.param(Broken(), id="broken"), pytest.param(closed(), id="closed"), pytest.param(None, id="none")],
)
def test_a_standard_error_that_takes_nothing_breaks_no_request(
    monkeypatch: pytest.MonkeyPatch, stderr: io.StringIO | None
) -> None:
    guarded = gateway()
    monkeypatch.setattr(sys, "stderr", stderr)
    ask(guarded)
    assert guarded.reached == 1


def test_a_handler_of_the_operators_that_fails_breaks_no_request(
    logger: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise RuntimeError("secret")

    logger.addHandler(Failing())
    guarded = gateway()
    ask(guarded)
    ask(guarded)
    assert guarded.reached == 2
    assert "secret" not in caplog.text


def test_every_line_is_written_in_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several workers write to one standard error."""
    pieces: list[str] = []

    class Pieces(io.StringIO):
        def write(self, text: str) -> int:
            pieces.append(text)
            return len(text)

    guarded = gateway()
    monkeypatch.setattr(sys, "stderr", Pieces())
    ask(guarded)
    (piece,) = pieces
    assert re.fullmatch(r"\{.*\}\n", piece)


def test_the_documents_name_all_fields_and_no_others(log: Log) -> None:
    guarded = gateway()
    ask(guarded)
    ask(guarded, forge(claims(sid=..., jti="j")))
    audit("json").keys_taken(KeysTaken(None, NOW, ["a"], ["b"]))
    fields = {name for event in log.events() for name in event}
    page = (ROOT / "docs" / "operating.md").read_text("utf-8")
    table = page.partition("| field |")[2].partition("\n\n")[0]
    rows = [row.split("|")[1] for row in table.splitlines() if row.startswith("| `")]
    assert {name for row in rows for name in re.findall("`([a-z_]+)`", row)} == fields
