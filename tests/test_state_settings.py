"""The settings of sessions and logins: what each accepts and refuses, and that no password is shown."""

from __future__ import annotations

import math
import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from gateway import ConfigError, Settings, kinds
from gateway.describe import effective
from gateway.settings import TABLE
from gateway.sources import Found
from tests.support import KEY, fault_of, faults_of
from tests.test_cli import run

SECONDS = {
    "GATEWAY_STATE_SYNC_SEC": (0, 60),
    "GATEWAY_STATE_MAX_STALE_SEC": (0, 86_400),
    "GATEWAY_STATE_TIMEOUT_SEC": (0.01, 60),
}
COUNTS = ["GATEWAY_LOGIN_TRIES", "GATEWAY_LOGIN_TRIES_PER_ADDRESS", "GATEWAY_LOGIN_WINDOW_MIN"]
STATE_MUST = (
    "it must be memory://, sqlite:///path, redis://host:port/0, rediss://…,"
    " redis+sentinel://host:port,host:port/name or redis+cluster://host:port,host:port"
)
USERS_MUST = f"it must be {kinds.USERS_URL.must}"
NETWORKS_MUST = (
    "it must be networks such as 10.0.0.0/8 or 2001:db8::/32, addresses, or unix, separated by commas"
)


@pytest.fixture(autouse=True)
def _environ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the working directory empty, and one good key alone in the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TOKEN_KEY", KEY)


def keyword(variable: str) -> str:
    return variable.removeprefix("GATEWAY_").lower()


def read(**environ: str) -> Settings:
    return Settings.from_env({"TOKEN_KEY": KEY, **environ})


def made(**given: Any) -> Settings:
    return Settings(**{"token_key": KEY, **given})


def value_of(variable: str, text: str, **more: str) -> Any:
    return getattr(read(**{variable: text}, **more), keyword(variable))


# Seconds


@pytest.mark.parametrize("variable", SECONDS)
@pytest.mark.parametrize(
    ("text", "value"),
    [("20", 20.0), ("020", 20.0), ("20.0", 20.0), ("20.25", 20.25), ("20.123456789", 20.123456789)],
)
def test_seconds_are_read_with_or_without_a_fraction(variable: str, text: str, value: float) -> None:
    found = value_of(variable, text, **({} if "STALE" in variable else {"GATEWAY_STATE_MAX_STALE_SEC": "60"}))
    assert (found, type(found)) == (value, float)


@pytest.mark.parametrize("variable", SECONDS)
@pytest.mark.parametrize(
    "text",
    [
        *("1.", ".5", "1,5", "1e1", "+1", "-1", " 1", "1 ", "1_0", "0x1", "1.2.3", "1s", "x"),
        *("nan", "inf", "Infinity", "\uff11", "\u00b3", "\u0661", "1\n", "1.0000000001", "9" * 10),
    ],
)
def test_seconds_are_ascii_digits_with_a_point_between_them_at_most(variable: str, text: str) -> None:
    fault = fault_of(lambda: read(**{variable: text}))
    assert fault.startswith(f"{variable} is {text!r}; it must be a number of seconds from ")


@pytest.mark.parametrize(("variable", "bounds"), SECONDS.items())
def test_seconds_may_be_at_either_end_of_their_range(variable: str, bounds: tuple[float, float]) -> None:
    more = {} if "STALE" in variable else {"state_max_stale_sec": 86_400}
    more |= {"state_sync_sec": 0} if "STALE" in variable else {}
    found = [getattr(made(**{keyword(variable): bound}, **more), keyword(variable)) for bound in bounds]
    assert found == list(bounds)


@pytest.mark.parametrize(("variable", "bounds"), SECONDS.items())
def test_seconds_may_not_be_beyond_either_end(variable: str, bounds: tuple[float, float]) -> None:
    low, high = bounds
    for value in (low - 0.001, high + 0.001):
        fault = fault_of(partial(made, **{keyword(variable): value}))
        assert (
            fault
            == f"{variable} is {value!r}; it must be a number of seconds from {low} to {high}".replace(
                "86400", f"{86_400:g}"
            )
        )


@pytest.mark.parametrize("variable", SECONDS)
@pytest.mark.parametrize("value", [True, False, math.nan, math.inf, -math.inf, b"1", [1], {}], ids=repr)
def test_a_keyword_of_seconds_is_a_number(variable: str, value: object) -> None:
    fault = fault_of(lambda: made(**{keyword(variable): value}))
    assert fault.startswith(f"{variable} is {value!r}; it must be a number of seconds")


@pytest.mark.parametrize(
    ("sync", "stale"), [("11", "10"), ("1", "0.5"), ("0.25", "0.125"), ("60", "59.999999999")]
)
def test_nobody_goes_on_for_less_time_than_until_the_next_sync(sync: str, stale: str) -> None:
    fault = fault_of(lambda: read(GATEWAY_STATE_SYNC_SEC=sync, GATEWAY_STATE_MAX_STALE_SEC=stale))
    assert fault == (
        f"GATEWAY_STATE_MAX_STALE_SEC is {float(stale):g}; it must be at least GATEWAY_STATE_SYNC_SEC, which"
        f" is {float(sync):g}"
    )


@pytest.mark.parametrize("both", ["0", "1.5", "60"])
def test_both_may_be_the_same(both: str) -> None:
    settings = read(GATEWAY_STATE_SYNC_SEC=both, GATEWAY_STATE_MAX_STALE_SEC=both)
    assert settings.state_sync_sec == settings.state_max_stale_sec == float(both)


def test_seconds_that_are_refused_are_compared_with_nothing() -> None:
    assert len(faults_of(lambda: read(GATEWAY_STATE_SYNC_SEC="99", GATEWAY_STATE_MAX_STALE_SEC="5"))) == 1


@pytest.mark.parametrize("text", ["maybe", "2", " true"])
def test_failing_open_is_a_flag(text: str) -> None:
    line = f"GATEWAY_STATE_FAIL_OPEN is {text!r}; it must be true or false"
    assert fault_of(lambda: read(GATEWAY_STATE_FAIL_OPEN=text)) == line


# Counts


@pytest.mark.parametrize("variable", COUNTS)
def test_a_count_is_from_1_to_a_million(variable: str) -> None:
    assert [value_of(variable, text) for text in ("1", "1000000")] == [1, 1_000_000]
    for text in ("0", "1000001", "1.0", "-1", "many", " 5"):
        fault = fault_of(partial(read, **{variable: text}))
        assert fault.startswith(f"{variable} is {text!r}; it must be a whole number")
        assert fault.endswith("from 1 to 1000000")


# The state store


@pytest.mark.parametrize(
    "url",
    [
        "memory://",
        "sqlite:////var/lib/gateway/state.db",
        "redis://host",
        "redis://host:6380/15",
        "redis://:pass%2Fword@host:6379/0",
        "redis://user:password@[::1]:6379",
        "rediss://host/0?ssl_ca_certs=/etc/ca.pem&prefix=mine",
        "redis+sentinel://a,b:26380,c/mymaster",
        "redis+sentinel://a/mymaster/3?sentinel_password=x",
        "rediss+cluster://a,b:7000",
        "redis+cluster://a/0",
    ],
)
def test_the_address_of_a_store_is_kept_as_it_is(url: str) -> None:
    assert value_of("GATEWAY_STATE_URL", url) == url


@pytest.mark.parametrize(
    "url",
    [
        *("memory", "memory:", "memory:///", "memory://x", "Memory://", " memory://"),
        *("state.db", "sqlite://", "sqlite:///", "sqlite://state.db", "sqlite:///:memory:"),
        *("sqlite:///file:state.db", "sqlite+pysqlite:///state.db", "/var/lib/state.db"),
        *("redis:", "redis://", "redis:///0", "redis://:6379", "redis://host:port", "redis://host:99999"),
        *("redis://host/x", "redis://host/-1", "redis://host/0/1", "redis://host/99999", "redis://a,b/0"),
        *("redis://host/0#x", "redis://host/0?db=1", "redis://host?ssl", "redis+unix://host", "unix:///x"),
        *("redis+sentinel://a", "redis+sentinel://a/", "redis+cluster://a/1", "redis+sentinel://,/m"),
        *("http://host", "postgresql://host/x", "redis://ho st", "rediscluster://a", "x"),
    ],
)
def test_what_is_no_address_of_a_store_is_refused(url: str) -> None:
    fault = fault_of(lambda: read(GATEWAY_STATE_URL=url))
    assert fault.startswith("GATEWAY_STATE_URL holds an address that cannot be used")
    assert fault.endswith(f"; {STATE_MUST}")


@pytest.mark.parametrize("value", [5, b"memory://", ["memory://"], True, Path("state.db")], ids=repr)
def test_a_keyword_of_a_store_is_text(value: object) -> None:
    assert fault_of(lambda: made(state_url=value)).startswith("GATEWAY_STATE_URL holds an address")


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///state.db", "state.db"),
        ("sqlite:///./state.db", "state.db"),
        ("sqlite:///data/state.db", "data/state.db"),
        ("sqlite:///a b?c#d%20.db", "a b?c#d%20.db"),
    ],
)
def test_a_file_of_state_is_where_the_working_directory_was(url: str, path: str, tmp_path: Path) -> None:
    assert value_of("GATEWAY_STATE_URL", url) == f"sqlite:///{tmp_path}/{path}"


def test_redis_needs_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.extras.find_spec", lambda module: None)
    for url in ("redis://host", "rediss://host", "redis+sentinel://a/m", "redis+cluster://a"):
        assert fault_of(partial(read, GATEWAY_STATE_URL=url)) == (
            "GATEWAY_STATE_URL needs the extra redis: pip install 'wsgi-auth-gateway[redis]'"
        )


@pytest.mark.parametrize("url", ["memory://", "sqlite:///state.db"])
def test_other_stores_need_none(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.extras.find_spec", lambda module: None)
    assert read(GATEWAY_STATE_URL=url).state_url


# Who may log in


@pytest.mark.parametrize("text", ["myapp.login:check", "a:b.c", "_a.b2:C.d_e"])
def test_a_login_function_is_named_by_its_module(text: str) -> None:
    assert value_of("GATEWAY_LOGIN", text, GATEWAY_STATE_URL="memory://") == text


@pytest.mark.parametrize("text", ["check", "a:", ":b", "a:b:c", "a b:c", "a/b:c", "a:b()", "1a:b", "a-b:c"])
def test_what_names_no_function_is_refused(text: str) -> None:
    assert fault_of(lambda: read(GATEWAY_LOGIN=text, GATEWAY_STATE_URL="memory://")) == (
        f"GATEWAY_LOGIN is {text!r}; it must be {kinds.LOGIN.must}"
    )


@pytest.mark.parametrize(
    ("variable", "value"), [("GATEWAY_LOGIN", "a:b"), ("GATEWAY_USERS_URL", "sqlite:///users.db")]
)
def test_whoever_logs_in_is_counted_somewhere(variable: str, value: str) -> None:
    assert fault_of(lambda: read(**{variable: value})) == (
        f"GATEWAY_STATE_URL is not set, though {variable} is: failed logins are counted there; {STATE_MUST}"
    )


def test_a_state_store_that_is_refused_is_not_missing_as_well() -> None:
    fault = fault_of(lambda: read(GATEWAY_LOGIN="a:b", GATEWAY_STATE_URL="nowhere"))
    assert fault.startswith("GATEWAY_STATE_URL holds an address")


def test_people_are_known_by_a_function_or_a_database() -> None:
    both = {"GATEWAY_LOGIN": "a:b", "GATEWAY_USERS_URL": "sqlite:///users.db"}
    fault = fault_of(lambda: read(GATEWAY_STATE_URL="memory://", **both))
    assert fault == "GATEWAY_LOGIN is set, and GATEWAY_USERS_URL as well; it must be one of the two"


@pytest.mark.parametrize("missing", ["sqlalchemy", "argon2"])
def test_a_users_database_needs_the_extra(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "gateway.extras.find_spec", lambda module: None if module == missing else "it is there"
    )
    fault = fault_of(lambda: read(GATEWAY_USERS_URL="sqlite:///u.db", GATEWAY_STATE_URL="memory://"))
    assert fault == "GATEWAY_USERS_URL needs the extra users: pip install 'wsgi-auth-gateway[users]'"


def test_a_login_function_needs_no_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.extras.find_spec", lambda module: None)
    assert read(GATEWAY_LOGIN="a:b", GATEWAY_STATE_URL="memory://").login == "a:b"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user:password@host:5432/name",
        "postgresql+psycopg://user:p%40ss@host/name?sslmode=require",
        "sqlite:////var/lib/gateway/users.db",
        "mysql+pymysql://host/name",
    ],
)
def test_the_address_of_the_users_is_kept_as_it_is(url: str) -> None:
    assert value_of("GATEWAY_USERS_URL", url, GATEWAY_STATE_URL="memory://") == url


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("sqlite:///users.db", "sqlite:///{}/users.db"),
        ("sqlite:///a/users.db", "sqlite:///{}/a/users.db"),
        ("sqlite+pysqlite:///users.db", "sqlite+pysqlite:///{}/users.db"),
        ("sqlite:///users.db?timeout=5", "sqlite:///{}/users.db?timeout=5"),
    ],
)
def test_a_file_of_users_is_where_the_working_directory_was(url: str, kept: str, tmp_path: Path) -> None:
    assert value_of("GATEWAY_USERS_URL", url, GATEWAY_STATE_URL="memory://") == kept.format(tmp_path)


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///", "sqlite:///:memory:", "sqlite:///?timeout=5"])
def test_users_in_memory_are_refused(url: str) -> None:
    fault = fault_of(lambda: read(GATEWAY_USERS_URL=url, GATEWAY_STATE_URL="memory://"))
    assert fault == f"GATEWAY_USERS_URL names no file; {USERS_MUST}"


@pytest.mark.parametrize("url", ["sqlite://users.db", "sqlite://host/users.db", "sqlite:////"])
def test_what_is_no_file_of_users_to_sqlalchemy_is_refused(url: str) -> None:
    fault = fault_of(lambda: read(GATEWAY_USERS_URL=url, GATEWAY_STATE_URL="memory://"))
    assert fault.endswith(f"; {USERS_MUST}")


def test_users_in_memory_by_a_uri_are_refused() -> None:
    url = "sqlite:///file:users?mode=memory&cache=shared&uri=true"
    fault = fault_of(lambda: read(GATEWAY_USERS_URL=url, GATEWAY_STATE_URL="memory://"))
    assert fault == f"GATEWAY_USERS_URL names no file; {USERS_MUST}"


@pytest.mark.parametrize(
    "url", ["users.db", "postgresql:host", "://host", "Sqlite:///x", "a b://c", "5x://y"]
)
def test_what_is_no_address_of_users_is_refused(url: str) -> None:
    fault = fault_of(lambda: read(GATEWAY_USERS_URL=url, GATEWAY_STATE_URL="memory://"))
    assert fault == f"GATEWAY_USERS_URL holds an address that cannot be used; {USERS_MUST}"


# Trusted proxies


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("10.0.0.0/8", ("10.0.0.0/8",)),
        (" 10.0.0.0/8 ,, unix , ", ("10.0.0.0/8", "unix")),
        ("10.0.0.1", ("10.0.0.1/32",)),
        ("2001:DB8::/32", ("2001:db8::/32",)),
        ("::ffff:10.0.0.0/104", ("10.0.0.0/8",)),
        ("10.0.0.1,10.0.0.1/32", ("10.0.0.1/32",)),
        (" , ", ()),
    ],
)
def test_trusted_proxies_are_networks(text: str, value: tuple[str, ...]) -> None:
    assert value_of("GATEWAY_TRUSTED_PROXIES", text) == value


@pytest.mark.parametrize(
    "item",
    [
        *("10.0.0.1/8", "10.0.0.0/33", "10.0.0", "10.0.0.0/255.0.0.0", "10.0.0.0/0.0.0.255", "host"),
        *("*", "Unix", "fe80::1%eth0", "10.0.0.0/-1", "10.0.0.0 /8", "010.0.0.1", "[::1]", "::1/129", "10"),
    ],
)
def test_what_is_no_network_is_refused(item: str) -> None:
    fault = fault_of(lambda: read(GATEWAY_TRUSTED_PROXIES=f"unix,{item}"))
    assert fault.startswith(f"GATEWAY_TRUSTED_PROXIES is {f'unix,{item}'!r}: {item!r} ")
    assert fault.endswith(f"; {NETWORKS_MUST}")


@pytest.mark.parametrize("value", [5, b"unix", [5], {"unix": 1}, True], ids=repr)
def test_a_keyword_of_networks_is_a_list_of_texts(value: object) -> None:
    line = f"GATEWAY_TRUSTED_PROXIES is {value!r}; {NETWORKS_MUST}"
    assert fault_of(lambda: made(trusted_proxies=value)) == line


# Passwords


PASSWORDS = [
    *("hunter/zebra", "hunter?zebra", "hunter#zebra", "hunter@zebra", "hunter:zebra", "hunter%zebra"),
    *("hunter/zeb@ra", "hunter?zeb@ra", "hunter#zeb@ra", "hunt/er?zeb#ra@t/y", "/hunter", "?hunter"),
    *("#hunter", "@hunter", "hunter/", "hunter?", "hunter#", "hunter@", "hunter[zebra", "hunter]zebra"),
    *("hunter zebra", "hunter,zebra", "hunter&zebra=1", "//hunter", "hunter\u2100zebra", "hunter"),
    *("hunter\nzebra", "hunter\x1b[31m", "hünter"),
]
STATE = [
    "redis://:{}@redis.example:6379/0",
    "redis://user:{}@redis.example/0",
    "rediss://{}@redis.example/0",
    "redis+sentinel://user:{}@a.example,b.example/mymaster",
    "redis+cluster://user:{}@a.example,b.example",
    "redis+sentinel://a.example/mymaster?sentinel_password={}",
    "redis://redis.example/0?password={}",
    "memcached://user:{}@host",
    "{}",
]
USERS = [
    "postgresql+psycopg://user:{}@db.example/name",
    "postgresql://{}@db.example/name",
    "postgresql://db.example/name?password={}",
    "postgresql://db.example/name?user=x@y&password={}",
    "mysql://user:{}@/name",
    "postgresql;//user:{}@host",
    "sqlite://user:{}@/users.db",
]
ADDRESSES = [
    *(pytest.param("GATEWAY_STATE_URL", form, id=form) for form in STATE),
    *(pytest.param("GATEWAY_USERS_URL", form, id=form) for form in USERS),
]


def shown_in(said: str, password: str) -> set[str]:
    """The parts of a password that a text shows."""
    parts = set(re.findall(r"hunt|zeb|nter", password))
    assert parts
    return {part for part in parts if part in said}


def environ_of(variable: str, url: str) -> dict[str, str]:
    return {"TOKEN_KEY": KEY, "GATEWAY_STATE_URL": "memory://", variable: url}


def said_of(environ: dict[str, str]) -> str:
    """All that is said of settings, sound or not."""
    try:
        settings = Settings.from_env(environ)
    except ConfigError as error:
        return f"{error} {error!r} {error.args}"
    return repr(settings) + str(effective(settings, Found.in_environment(TABLE, environ)))


@pytest.mark.parametrize(("variable", "form"), ADDRESSES)
def test_no_password_is_shown_whether_the_address_is_refused_or_not(variable: str, form: str) -> None:
    shown = {}
    for password in PASSWORDS:
        said = said_of(environ_of(variable, form.format(password)))
        if shown_in(said, password):
            shown[password] = [line for line in said.splitlines() if shown_in(line, password)]
    assert shown == {}


@pytest.mark.parametrize(
    ("variable", "form"), [each for each in ADDRESSES if each.id != "postgresql://{}@db.example/name"]
)
@pytest.mark.parametrize("password", ["hunter/zebra", "hunter?zebra", "hunter@zebra", "hunt/er?zeb#ra@t/y"])
def test_check_shows_no_password(
    variable: str, form: str, password: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = re.sub(r"[a-z]+\.example(:\d+)?", "127.0.0.1:1", form)  # where nobody is
    for name, value in environ_of(variable, here.format(password)).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("WEB_CONCURRENCY", "1")
    result = run("check")
    assert shown_in(result.output, password) == set()
    assert variable in result.output


def test_check_shows_where_an_address_leads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_STATE_URL", "redis://user:hunter2@127.0.0.1:1/0?prefix=x")
    monkeypatch.setenv("GATEWAY_USERS_URL", "postgresql+psycopg://user:hunter2@127.0.0.1:1/name")
    lines = run("check").stdout.splitlines()
    assert any("redis://…@127.0.0.1:1/0?…  (environment)" in line for line in lines)
    assert any("postgresql+psycopg://…@127.0.0.1:1/name  (environment)" in line for line in lines)


def test_check_shows_no_password_of_a_line_of_the_file_that_cannot_be_read() -> None:
    Path("config.env").write_text("GATEWAY_STATE_URL='redis://:hunter2@host\n")
    result = run("check")
    assert result.exit_code == 1
    assert "hunter" not in result.output


def test_check_refuses_an_address_of_users_that_would_stop_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it would show the password of `mysql://user:hunter2` as that of a host."""
    monkeypatch.setenv("GATEWAY_STATE_URL", "memory://")
    monkeypatch.setenv("GATEWAY_USERS_URL", "nosuchdatabase://user:hunter2")
    result = run("check")
    assert result.exit_code == 1
    assert "hunter2" not in result.output


def test_settings_with_addresses_are_equal_where_those_are() -> None:
    first, second = (made(state_url="redis://:a@host"), made(state_url="redis://:b@host"))
    assert first == made(state_url="redis://:a@host")
    assert first != second


def test_a_function_itself_is_taken_in_code() -> None:
    def check(uid: int | str, password: str) -> None:
        return None

    made = Settings(token_key=KEY, state_url="memory://", login=check)
    assert made.login is check
