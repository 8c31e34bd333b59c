"""Where the state is: every form of address, what is none, and that no password is shown."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.stores import urls
from gateway.stores.urls import RedisURL

SECRET = "hunter2"


def parsed(url: str) -> dict[str, Any]:
    """What an address says besides what every other says too."""
    found = urls.redis_url(urls.check(url))
    plain = RedisURL(kind="redis", tls=False, hosts=(("h", 6379),))
    names = ("kind", "tls", "hosts", "username", "password", "service", "database", "options")
    return {name: value for name in names if (value := getattr(found, name)) != getattr(plain, name)}


def reason(url: str) -> str:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is what the test looks at
        urls.check(url)
    return str(caught.value)


def refusal(url: str) -> str:
    """Why it is none; "" where it is one."""
    try:
        urls.check(url)
    except ValueError as error:
        return str(error)
    return ""


# Redis


@pytest.mark.parametrize(
    ("url", "members"),
    [
        pytest.param("redis://h", {}, id="host"),
        pytest.param("redis://h/", {}, id="slash"),
        pytest.param("redis://h/0", {}, id="database 0"),
        pytest.param("redis://H.Example:6379", {"hosts": (("h.example", 6379),)}, id="name"),
        pytest.param("redis://h:7000", {"hosts": (("h", 7000),)}, id="port"),
        pytest.param("redis://h:65535", {"hosts": (("h", 65535),)}, id="last port"),
        pytest.param("redis://h:", {}, id="no port after the colon"),
        pytest.param("redis://127.0.0.1:1", {"hosts": (("127.0.0.1", 1),)}, id="IPv4"),
        pytest.param("redis://[::1]", {"hosts": (("::1", 6379),)}, id="IPv6"),
        pytest.param(
            "redis://[2001:db8::1]:7000/2",
            {"hosts": (("2001:db8::1", 7000),), "database": 2},
            id="IPv6, port",
        ),
        pytest.param("redis://h/15", {"database": 15}, id="database"),
        pytest.param("redis://h/007", {"database": 7}, id="database with zeros"),
        pytest.param("redis://h/10000", {"database": 10_000}, id="last database"),
        pytest.param("rediss://h", {"tls": True}, id="TLS"),
        pytest.param("redis://user@h", {"username": "user"}, id="user"),
        pytest.param("redis://user:pass@h", {"username": "user", "password": "pass"}, id="user and password"),
        pytest.param("redis://:pass@h", {"password": "pass"}, id="password"),
        pytest.param("redis://user:@h", {"username": "user"}, id="empty password"),
        pytest.param("redis://@h", {}, id="empty user"),
        pytest.param("redis://:p%40s%2Fs%3A%25%23%3F@h", {"password": "p@s/s:%#?"}, id="percent escapes"),
        pytest.param("redis://us%3Aer:p@h", {"username": "us:er", "password": "p"}, id="escapes in the user"),
        pytest.param("redis://:p%C3%A4%E2%82%AC@h", {"password": "pä€"}, id="UTF-8 in escapes"),
        pytest.param("redis://:a+b@h", {"password": "a+b"}, id="plus"),
        pytest.param("redis://:a:b@h", {"password": "a:b"}, id="colon"),
        pytest.param("redis://:a@b@h", {"password": "a@b"}, id="at sign"),
        pytest.param("redis://:a,b@h", {"password": "a,b"}, id="comma"),
        pytest.param("redis://h?prefix=app", {"options": {"prefix": "app"}}, id="prefix"),
        pytest.param(
            "redis://h/3?prefix=a%2Db", {"database": 3, "options": {"prefix": "a-b"}}, id="prefix, escaped"
        ),
        pytest.param(
            "rediss://h?ssl_ca_certs=/ca.pem&ssl_certfile=c.pem&ssl_keyfile=k.pem",
            {
                "tls": True,
                "options": {"ssl_ca_certs": "/ca.pem", "ssl_certfile": "c.pem", "ssl_keyfile": "k.pem"},
            },
            id="files of TLS",
        ),
    ],
)
def test_a_server(url: str, members: dict[str, Any]) -> None:
    assert parsed(url) == members


@pytest.mark.parametrize(
    ("url", "members"),
    [
        pytest.param("redis+sentinel://h/mymaster", {"hosts": (("h", 26379),)}, id="one"),
        pytest.param(
            "redis+sentinel://a,b:1,c:2/mymaster", {"hosts": (("a", 26379), ("b", 1), ("c", 2))}, id="several"
        ),
        pytest.param(
            "redis+sentinel://h/mymaster/4", {"hosts": (("h", 26379),), "database": 4}, id="database"
        ),
        pytest.param("rediss+sentinel://h/mymaster", {"hosts": (("h", 26379),), "tls": True}, id="TLS"),
        pytest.param(
            "redis+sentinel://u:p@h/mymaster?sentinel_username=s&sentinel_password=q%26%3D",
            {
                "hosts": (("h", 26379),),
                "username": "u",
                "password": "p",
                "options": {"sentinel_username": "s", "sentinel_password": "q&="},
            },
            id="passwords of both",
        ),
        pytest.param(
            "redis+sentinel://[::1]:1,[2001:db8::2]/mymaster",
            {"hosts": (("::1", 1), ("2001:db8::2", 26379))},
            id="IPv6",
        ),
    ],
)
def test_sentinels(url: str, members: dict[str, Any]) -> None:
    assert parsed(url) == {"kind": "sentinel", "service": "mymaster", **members}


def test_a_service_can_be_escaped() -> None:
    assert parsed("redis+sentinel://h/my%20master")["service"] == "my master"


@pytest.mark.parametrize(
    ("url", "members"),
    [
        pytest.param("redis+cluster://h", {}, id="one"),
        pytest.param("redis+cluster://h/0", {}, id="database 0"),
        pytest.param("redis+cluster://a:1,b", {"hosts": (("a", 1), ("b", 6379))}, id="several"),
        pytest.param("redis+cluster://a,[::1]:2", {"hosts": (("a", 6379), ("::1", 2))}, id="IPv6 last"),
        pytest.param("redis+cluster://[::1],[::2]:2", {"hosts": (("::1", 6379), ("::2", 2))}, id="IPv6"),
        pytest.param(
            "rediss+cluster://:p@h?prefix=x",
            {"tls": True, "password": "p", "options": {"prefix": "x"}},
            id="all",
        ),
    ],
)
def test_a_cluster(url: str, members: dict[str, Any]) -> None:
    assert parsed(url) == {"kind": "cluster", **members}


# What is none

PLAIN = "it holds a space, a control character or one beyond ASCII"


@pytest.mark.parametrize(
    ("url", "why"),
    [
        pytest.param("", "", id="empty"),
        pytest.param("memory", "", id="no scheme"),
        pytest.param("memory:", "", id="memory without slashes"),
        pytest.param("memory://x", "", id="memory with a host"),
        pytest.param("postgresql://h/db", "", id="another scheme"),
        pytest.param("redis", "", id="redis without a colon"),
        pytest.param("redis+other://h", "", id="another kind"),
        pytest.param("redis+sentinel+cluster://h", "", id="two kinds"),
        pytest.param("redisx://h", "", id="redis with a tail"),
        pytest.param("sqlite://state.db", "", id="sqlite with two slashes"),
        pytest.param("redis://h#x", "", id="fragment"),
        pytest.param("sqlite:///", "it names no file", id="no file"),
        pytest.param("sqlite:///:memory:", "it names no file", id="memory of sqlite"),
        pytest.param("sqlite:///file:x?mode=memory", "it names no file", id="address of sqlite"),
        pytest.param("sqlite:///a\0b", "it names no file", id="nul in a file"),
        pytest.param("redis:", "it names no host", id="no slashes"),
        pytest.param("redis://", "it names no host", id="no host"),
        pytest.param("redis:///0", "it names no host", id="database alone"),
        pytest.param("redis://:6379", "it names no host", id="port alone"),
        pytest.param("redis://:pass@", "it names no host", id="password alone"),
        pytest.param("redis://h h", PLAIN, id="space"),
        pytest.param("redis://h\u200b", PLAIN, id="not printable"),
        pytest.param("redis+sentinel:///name", "it names no host", id="sentinel without a host"),
        pytest.param("redis+sentinel://a,,b/name", "it names no host", id="empty host"),
        pytest.param("redis+cluster://a,", "it names no host", id="comma last"),
        pytest.param("redis://a,b", "it names more than one host", id="two hosts"),
        pytest.param(
            "redis+sentinel://h",
            "it names no service, as in redis+sentinel://host:26379/mymaster",
            id="no service",
        ),
        pytest.param(
            "redis+sentinel://h/",
            "it names no service, as in redis+sentinel://host:26379/mymaster",
            id="empty service",
        ),
        pytest.param("redis://h/x", "its path is no number of a database", id="database of letters"),
        pytest.param("redis://h/-1", "its path is no number of a database", id="below 0"),
        pytest.param("redis://h/1.0", "its path is no number of a database", id="float"),
        pytest.param("redis://h/²", PLAIN, id="superscript"),
        pytest.param("redis://h/10001", "its path is no number of a database", id="too high"),
        pytest.param("redis://h/0/1", "its path is no number of a database", id="two numbers"),
        pytest.param("redis+sentinel://h/name/x", "its path is no number of a database", id="sentinel"),
        pytest.param("redis+cluster://h/1", "a cluster has the database 0 alone", id="cluster"),
    ],
)
def test_what_is_no_address(url: str, why: str) -> None:
    assert reason(url) == why


@pytest.mark.parametrize("option", ["db=1", "Prefix=x", "ssl_cert_reqs=none", "password=x", "=x"])
def test_an_option_that_is_none(option: str) -> None:
    assert reason(f"redis://h?{option}").startswith("an option in it is none of prefix, ssl_ca_certs")


@pytest.mark.parametrize("port", ["x", "-1", "65536", "99999999999", "1.5", "²", "6379x"])
def test_a_port_that_is_none(port: str) -> None:
    assert reason(f"redis://h:{port}")


def test_a_port_of_zero_is_none() -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        urls.check("redis://h:0")


@pytest.mark.parametrize("host", ["[::1", "::1]", "[]", "[x]", "[::1]:x"])
def test_brackets_that_hold_no_address(host: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        urls.check(f"redis://{host}")


@pytest.mark.parametrize(
    "url", [" redis://h", "redis://h\n", "redis://h\t/1", "re\ndis://h", "redis://:a\nb@h"]
)
def test_characters_that_would_be_passed_over_are_refused(url: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        urls.check(url)


@pytest.mark.parametrize("prefix", ["", "}", "}a", "a}b", "{a}", "a:b", "a%20b", "sch%C3%B6n"])
def test_a_prefix_is_made_of_letters_digits_and_few_marks(prefix: str) -> None:
    """In a cluster braces say by which part of a key its place is found."""
    assert reason(f"redis://h?prefix={prefix}").startswith("the prefix in it is not made of")


@pytest.mark.parametrize("url", ["REDIS://h", "Redis+Cluster://h"])
def test_a_scheme_in_capitals_is_refused_or_redis(url: str) -> None:
    try:
        urls.check(url)
    except ValueError:
        return
    assert urls.is_redis(url)


# Passwords


@pytest.mark.parametrize(
    "url",
    [
        pytest.param(f"redis://:{SECRET}/x@h", id="slash"),
        pytest.param(f"redis://user:{SECRET}/@h", id="slash, with a user"),
        pytest.param(f"redis://:{SECRET}?x@h", id="question mark"),
        pytest.param(f"redis://:{SECRET}#x@h", id="hash"),
        pytest.param(f"redis://h:{SECRET}", id="as a port"),
        pytest.param(f"redis://user:{SECRET}", id="host forgotten"),
        pytest.param(f"redis://user:{SECRET}/0", id="host forgotten, database"),
        pytest.param(f"redis+cluster://user:{SECRET},h:1", id="host forgotten, cluster"),
        pytest.param(f"redis://:[{SECRET}]@h", id="brackets"),
        pytest.param(f"redis://[{SECRET}]", id="in brackets"),
        pytest.param(f"redis://:{SECRET}\u2100@h", id="a character that is two"),
        pytest.param(f"redis://h?{SECRET}", id="as an option"),
        pytest.param(f"redis://h?prefix=x&{SECRET}", id="as an option after another"),
        pytest.param(f"redis+sentinel://h/m?sentinel_password=a&{SECRET}", id="ampersand"),
        pytest.param(f"redis://h?{SECRET}=x", id="as the name of an option"),
        pytest.param(f"redis://h/{SECRET}", id="as a database"),
        pytest.param(f"redis://:{SECRET}@h:x", id="before a port that is none"),
        pytest.param(f"{SECRET}://h", id="as a scheme"),
        pytest.param(f"sqlite:///file:{SECRET}", id="in a file"),
    ],
)
def test_no_refusal_shows_a_password(url: str) -> None:
    assert SECRET not in reason(url)


def test_no_password_is_shown() -> None:
    url = f"redis+sentinel://u:{SECRET}@h/m?sentinel_password={SECRET}&prefix=x"
    found = urls.redis_url(url)
    assert found.password == SECRET
    assert SECRET not in repr(found)
    assert SECRET not in str(found)


# Memory and files


def test_memory() -> None:
    assert urls.check("memory://") == "memory://"
    assert urls.is_memory("memory://")


@pytest.mark.parametrize("url", ["", "memory:", "memory:///", "sqlite:///memory://", "redis://memory"])
def test_what_is_not_memory(url: str) -> None:
    assert not urls.is_memory(url)


@pytest.mark.parametrize(
    ("url", "path"),
    [
        pytest.param("sqlite:///state.db", "state.db", id="relative"),
        pytest.param("sqlite:///a/b.db", "a/b.db", id="in a folder"),
        pytest.param("sqlite:////var/lib/state.db", "/var/lib/state.db", id="absolute"),
        pytest.param("sqlite:///a b%20c.db", "a b%20c.db", id="as it stands"),
        pytest.param("sqlite:///a?b#c", "a?b#c", id="question mark"),
    ],
)
def test_a_file(url: str, path: str) -> None:
    assert urls.check(url) == url
    assert urls.sqlite_path(url) == path


@pytest.mark.parametrize("url", ["memory://", "redis://h", "sqlite://x", "sqlite:x", ""])
def test_what_is_no_file(url: str) -> None:
    assert urls.sqlite_path(url) is None


def test_a_relative_file_is_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    fixed = urls.absolute("sqlite:///a/state.db")
    monkeypatch.chdir("/")
    assert urls.sqlite_path(fixed) == str(tmp_path / "a" / "state.db")
    assert urls.absolute(fixed) == fixed


@pytest.mark.parametrize("url", ["memory://", "redis://h/0", "redis+cluster://a,b", "sqlite:////x/y.db"])
def test_any_other_address_stays_as_it_is(url: str) -> None:
    assert urls.absolute(url) == url


@pytest.mark.parametrize(
    ("url", "redis"),
    [
        ("redis://h", True),
        ("rediss://h", True),
        ("redis+sentinel://h/m", True),
        ("redis+cluster://h", True),
        ("memory://", False),
        ("sqlite:///redis", False),
    ],
)
def test_what_needs_redis(url: str, redis: bool) -> None:
    assert urls.is_redis(url) is redis


# Anything


PARTS = st.lists(
    st.sampled_from(
        [
            *("redis", "rediss", "+sentinel", "+cluster", "://", "sqlite:///", "memory://"),
            *(
                ":",
                "/",
                "?",
                "#",
                "@",
                "[",
                "]",
                "::1",
                ",",
                "&",
                "=",
                "%",
                "%41",
                "h",
                "0",
                "6379",
                "prefix=",
            ),
            *("\n", "\0", " ", "\ud800", "²", "\u2100", "ä"),
        ]
    )
    | st.text(max_size=3),
    max_size=12,
).map("".join)


@given(st.text() | PARTS | PARTS.map("redis://{}".format) | PARTS.map("redis+cluster://{}".format))
@example("redis://h/" + "9" * 5000)
@example("redis://[::1%25eth0]")
@example("redis://h?prefix=%ff")
def test_any_text_is_an_address_or_a_value_error(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert urls.check(text) == text


@given(PARTS.map("redis://{}".format))
def test_an_address_that_is_taken_can_be_read(text: str) -> None:
    with contextlib.suppress(ValueError):
        urls.check(text)
        found = urls.redis_url(text)
        assert all(host and 0 < port < 65536 for host, port in found.hosts)
        assert 0 <= found.database <= 10_000


@given(st.text(min_size=1, max_size=20, alphabet=st.characters(exclude_categories=["Cs"])))
def test_any_password_survives_its_escapes(password: str) -> None:
    assert urls.redis_url(f"redis://:{quote(password, safe='')}@h").password == password


@given(st.text(max_size=20))
def test_no_password_is_in_a_refusal(text: str) -> None:
    assert SECRET not in refusal(f"redis://u:{SECRET}{text}@h")
