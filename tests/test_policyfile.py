"""The policy file: what is read from it, what is refused and by which line, and what the command says."""

from __future__ import annotations

import dataclasses
import os
import tomllib
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

from gateway import ConfigError, Settings, TokenCreator
from gateway.cli import main
from gateway.policyfile import IssuerRules, read_policy
from tests import support
from tests.support import KEY

POLICY = Path("policy.toml")
NAME = "https://issuer.example"
MEMBERS = {
    "issuer": f'"{NAME}"',
    "jwks_url": '"http://127.0.0.1:1/jwks"',
    "audience": '"us"',
    "uid_prefix": '"ext:"',
}
INLINE = ", ".join(f"{key} = {value}" for key, value in MEMBERS.items())


def issuer(**changes: str) -> str:
    """The table of an issuer, one member a line, with changes in TOML; a change to "" takes one out."""
    members = (MEMBERS | changes).items()
    return "[[issuers]]\n" + "".join(f"{key} = {value}\n" for key, value in members if value)


def other(**changes: str) -> str:
    """The table of another issuer."""
    return issuer(**{"issuer": '"https://other.example"', "uid_prefix": '"other:"', **changes})


@pytest.fixture(autouse=True)
def _environ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the working directory empty, and one good key and a policy file alone in the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TOKEN_KEY", KEY)
    monkeypatch.setenv("GATEWAY_POLICY_FILE", str(POLICY))


def write(text: str | bytes) -> None:
    POLICY.write_bytes(text.encode() if isinstance(text, str) else text)


def read(text: str | bytes) -> tuple[IssuerRules, ...]:
    write(text)
    return read_policy(POLICY).issuers


def made(text: str | bytes, **options: Any) -> Settings:
    """Settings with this policy file; with a key of our own unless the options say otherwise."""
    write(text)
    return Settings(**{"token_key": KEY, "policy_file": POLICY, **options})


def faults_of(make: Callable[[], object]) -> list[str]:
    """What is wrong in the file."""
    return [fault.removeprefix("GATEWAY_POLICY_FILE: ") for fault in support.faults_of(make)]


def fault_of(make: Callable[[], object]) -> str:
    (fault,) = faults_of(make)
    return fault


def line(number: int) -> str:
    """How a fault at this line begins."""
    return f"policy.toml, line {number}: "


# Read


def test_a_table_with_what_is_required_has_the_defaults() -> None:
    (rules,) = read(issuer(uid_prefix=""))
    values = dataclasses.asdict(rules)
    assert str(rules.place) == "policy.toml, line 1"
    assert values | {"place": None} == {
        "issuer": NAME,
        "jwks_url": "http://127.0.0.1:1/jwks",
        "audience": "us",
        "algorithms": ("RS256",),
        "uid_claim": "sub",
        "uid_prefix": "",
        "max_token_min": 1440,
        "leeway_sec": 60,
        "max_stale_min": 1440,
        "shared_uids": False,
        "place": None,
    }


@pytest.mark.parametrize(
    ("key", "literal", "value"),
    [
        ("issuer", '"accounts.example"', "accounts.example"),
        ("issuer", '"ïssuer"', "ïssuer"),
        ("audience", '"our api"', "our api"),
        ("algorithms", '["ES256"]', ("ES256",)),
        ("algorithms", '["RS256", "PS256", "ES256", "EdDSA"]', ("RS256", "PS256", "ES256", "EdDSA")),
        ("uid_claim", '"email"', "email"),
        ("uid_claim", '"https://claims.example/id"', "https://claims.example/id"),
        ("uid_prefix", '"https://issuer.example|"', "https://issuer.example|"),
        ("uid_prefix", f'"{"x" * 100}"', "x" * 100),
        ("max_token_min", "1", 1),
        ("max_token_min", "60", 60),
        ("leeway_sec", "0", 0),
        ("leeway_sec", "300", 300),
        ("max_stale_min", "10080", 10080),
        ("shared_uids", "true", True),
    ],
)
def test_a_member_is_read(key: str, literal: str, value: object) -> None:
    (rules,) = read(issuer(**{key: literal}))
    assert getattr(rules, key) == value


def test_issuers_keep_their_order() -> None:
    assert [rules.issuer for rules in read(other() + issuer())] == ["https://other.example", NAME]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(issuer().encode("utf-8-sig"), id="a BOM"),
        pytest.param(issuer().replace("\n", "\r\n"), id="CRLF"),
        pytest.param(issuer().rstrip(), id="no newline at the end"),
        pytest.param(f"issuers = [{{ {INLINE} }}]", id="an inline table"),
        pytest.param(issuer().replace("issuer =", '"issuer" ='), id="a quoted key"),
        pytest.param(issuer().replace("issuers", '"issuers"'), id="a quoted table"),
    ],
)
def test_the_file_is_toml_in_all_its_forms(text: str | bytes) -> None:
    (rules,) = read(text)
    assert (rules,) == read(issuer())


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "issuers = []\n", "shared_uids = true\n"])
def test_a_file_may_name_no_issuer(text: str) -> None:
    assert read(text) == ()


def test_settings_without_a_policy_file_have_no_issuer() -> None:
    assert Settings(token_key=KEY).issuers == ()


def test_the_file_is_read_with_the_settings() -> None:
    assert made(issuer()).issuers == read_policy(POLICY).issuers


def test_the_environment_names_the_file() -> None:
    write(issuer())
    environ = {"TOKEN_KEY": KEY, "GATEWAY_POLICY_FILE": str(POLICY.resolve())}
    assert [rules.issuer for rules in Settings.from_env(environ).issuers] == [NAME]


# Refused: values


WRONG = [
    *(("issuer", literal, "text") for literal in ("3", "true", '["x"]', "{ x = 1 }", "2026-01-01")),
    *(("audience", literal, "text") for literal in ("3", '["us"]', "false")),
    *(("jwks_url", literal, "an https:// address, or ") for literal in ("3", '["https://a.example/"]')),
    *(
        ("algorithms", literal, "a list of some of RS256, PS256, ES256, EdDSA")
        for literal in (
            *('"RS256"', "[]", '["HS256"]', '["RS256", "HS256"]', '["none"]', '["rs256"]'),
            *('["RS512"]', "[256]", '[["RS256"]]', "{ RS256 = true }", "true"),
        )
    ),
    *(
        ("uid_claim", literal, "a claim's name other than aud, auth_time, exp, iat, iss, jti, nbf, sid")
        for literal in ('"exp"', '"iss"', '"aud"', '"sid"', "3", '["sub"]')
    ),
    *(
        ("uid_prefix", literal, "at most 100 visible ASCII characters without a comma")
        for literal in ("3", '"a,"', '"a b"', '"é:"', r'"a\n"', r'"\u0000"', f'"{"x" * 101}"')
    ),
    *(
        (key, literal, "a whole number of minutes from 1 to 1000000000")
        for key in ("max_token_min", "max_stale_min")
        for literal in ("0", "-1", "1.0", "inf", "true", '"an hour"', "1000000001", "[60]")
    ),
    *(
        ("leeway_sec", literal, "a whole number of seconds from 0 to 300")
        for literal in ("-1", "301", "60.0", "nan", "false", '"a minute"', "00:01:00")
    ),
    *(("shared_uids", literal, "true or false") for literal in ("3", '"maybe"', "[true]")),
]


@pytest.mark.parametrize(("key", "literal", "must"), WRONG)
def test_a_wrong_value_is_refused_by_its_line(key: str, literal: str, must: str) -> None:
    text = f"# Whose tokens we take.\n\n{issuer(**{key: literal})}"
    fault = fault_of(lambda: read(text))
    number = text.splitlines().index(f"{key} = {literal}") + 1
    assert fault.startswith(f"{line(number)}{key} is ")
    assert f"; it must be {must}" in fault


@pytest.mark.parametrize("missing", ["", '""'])
@pytest.mark.parametrize("key", ["issuer", "jwks_url", "audience"])
def test_what_is_required_must_be_there(key: str, missing: str) -> None:
    fault = fault_of(lambda: read("\n" + issuer(**{key: missing})))
    own_line = 3 + list(MEMBERS).index(key)
    assert fault.startswith(f"{line(own_line if missing else 2)}{key} is not set; it must be ")


@pytest.mark.parametrize(
    "url",
    [
        "https://issuer.example/jwks",
        "https://issuer.example",
        "https://issuer.example:8443/a/b.json?tenant=c&x=%20",
        "HTTPS://ISSUER.EXAMPLE/jwks",
        "https://192.0.2.1/jwks",
        "https://[2001:db8::1]:8443/jwks",
        "http://127.0.0.1/jwks",
        "http://127.0.0.1:8000/jwks",
        "http://127.1.2.3:8000/jwks",
        "http://localhost:8000/jwks",
        "http://LOCALHOST/jwks",
        "http://[::1]:8000/jwks",
    ],
)
def test_keys_may_be_at_an_https_address_or_on_the_loopback(url: str) -> None:
    assert read(issuer(jwks_url=f"'{url}'"))[0].jwks_url == url


@pytest.mark.parametrize(
    "url",
    [
        "http://issuer.example/jwks",
        "http://10.0.0.1/jwks",
        "http://0.0.0.0/jwks",
        "http://[2001:db8::1]/jwks",
        "http://localhost.issuer.example/jwks",
        "http://127.0.0.1.issuer.example/jwks",
        "http://2130706433/jwks",
        "https://issuer.example/jwks#keys",
        "https://issuer.example:0/jwks",
        "https://issuer.example:65536/jwks",
        "https://issuer.example:port/jwks",
        "https://issuer.example/a b",
        "https://issuer.example/\tjwks",
        "https://issüer.example/jwks",
        "https:///jwks",
        "https://:443/jwks",
        "https:issuer.example/jwks",
        "https://[::1/jwks",
        "https://",
        "//issuer.example/jwks",
        "issuer.example/jwks",
        "/jwks",
        "ftp://issuer.example/jwks",
        "file:///etc/passwd",
        "data:application/json,{}",
        " https://issuer.example/jwks",
    ],
)
def test_keys_may_be_nowhere_else(url: str) -> None:
    fault = fault_of(lambda: read(issuer(jwks_url=f"'{url}'")))
    assert fault.startswith(f"{line(3)}jwks_url is {url!r}; it must be an https:// address, or ")


@pytest.mark.parametrize(
    "url",
    [
        "https://user:hunter2@issuer.example/jwks",
        "https://hunter2@issuer.example/jwks",
        "http://127.0.0.1:hunter2@issuer.example/jwks",
        r"http://127.0.0.1\hunter2@issuer.example/jwks",
        "ftp://user:hunter2@issuer.example/jwks",
        "https://user:hunter2:@issuer.example/jwks#keys",
        "https://user:hunter2@@issuer.example/jwks",
    ],
)
def test_a_user_in_an_address_is_refused_and_not_shown(url: str) -> None:
    fault = fault_of(lambda: read(issuer(jwks_url=f"'{url}'")))
    assert fault.startswith(f"{line(3)}jwks_url is ")
    assert "hunter2" not in fault


def test_a_long_value_is_cut() -> None:
    fault = fault_of(lambda: read(issuer(uid_prefix=f'"{"x" * 5000}"')))
    assert len(fault) < 300


# Refused: by which line


BAD = "leeway_sec = 301\n"
ENDLESS = '"""\\\n    u\\\n    s"""'
LITERAL = "'''\nleeway_sec = 301\n[[issuers]]\n'''"
MANY = '[\n  "RS256", # usual\n\n  "ES256",\n]'


@pytest.mark.parametrize(
    ("text", "number"),
    [
        pytest.param(issuer() + BAD, 6, id="at the end"),
        pytest.param(issuer() + BAD.rstrip(), 6, id="without a newline"),
        pytest.param(issuer().replace("\n", f"\n{BAD}", 1), 2, id="at the beginning"),
        pytest.param(f"\n\n# one\n\n{issuer()}\n# two\n\n{BAD}", 13, id="after comments and blank lines"),
        pytest.param(issuer(audience=ENDLESS) + BAD, 8, id="after a string of several lines"),
        pytest.param(issuer(audience=LITERAL) + BAD, 9, id="after a string that looks like TOML"),
        pytest.param(issuer(algorithms=MANY) + BAD, 11, id="after an array of several lines"),
        pytest.param((issuer(algorithms=MANY) + BAD).replace("\n", "\r\n"), 11, id="CRLF"),
        pytest.param((issuer() + BAD).encode("utf-8-sig"), 6, id="after a BOM"),
        pytest.param(issuer() + f"   {BAD}", 6, id="indented"),
        pytest.param(issuer() + f'"leeway_sec"{BAD[10:]}', 6, id="a quoted key"),
        pytest.param(issuer() + f"'leeway_sec'{BAD[10:]}", 6, id="a key in single quotes"),
        pytest.param(issuer() + rf'"l\u0065eway_sec"{BAD[10:]}', 6, id="an escape in a key"),
        pytest.param(issuer() + other() + BAD, 11, id="the second issuer"),
        pytest.param(issuer() + BAD + other(), 6, id="the first of two issuers"),
        pytest.param(issuer() + "leeway_sec = 30\n" + other() + BAD, 12, id="good in the first issuer"),
        pytest.param(f"#\nissuers = [{{ {INLINE}, {BAD.strip()} }}]", 2, id="an inline table"),
        pytest.param(
            f"issuers = [\n  {{ {INLINE} }},\n  {{ {INLINE.replace('issuer.', 'o.')}, {BAD.strip()} }},\n]",
            1,
            id="inline tables of several lines, which are one statement",
        ),
    ],
)
def test_a_fault_is_told_by_the_line_of_its_statement(text: str | bytes, number: int) -> None:
    assert fault_of(lambda: read(text)).startswith(f"{line(number)}leeway_sec is 301; ")


def test_a_fault_within_an_array_is_told_by_the_line_where_that_begins() -> None:
    text = issuer(algorithms='[\n  "RS256",\n  "HS256",\n]')
    assert fault_of(lambda: read(text)).startswith(f"{line(6)}algorithms is ['RS256', 'HS256']; ")


# Refused: keys


@pytest.mark.parametrize(
    ("wrong", "nearest"),
    [
        ("isuer", "issuer"),
        ("Issuer", "issuer"),
        ("jwks_uri", "jwks_url"),
        ("audiences", "audience"),
        ("algorithm", "algorithms"),
        ("claim", "uid_claim"),
        ("prefix", "uid_prefix"),
        ("leeway", "leeway_sec"),
        ("max_stale", "max_stale_min"),
        ("shared_uid", "shared_uids"),
    ],
)
def test_an_unknown_key_of_an_issuer_is_refused_with_the_nearest(wrong: str, nearest: str) -> None:
    fault = fault_of(lambda: read(issuer(**{wrong: "1"})))
    assert fault == f"{line(6)}{wrong!r} is no key of an issuer; the nearest is {nearest}"


@pytest.mark.parametrize(
    ("text", "wrong", "nearest"),
    [
        ("issuer = 1\n", "issuer", "issuers"),
        ("[[Issuers]]\n", "Issuers", "issuers"),
        ("shared_uid = true\n", "shared_uid", "shared_uids"),
        ("[shared]\nuids = true\n", "shared", "shared_uids"),
    ],
)
def test_an_unknown_key_of_the_file_is_refused_with_the_nearest(text: str, wrong: str, nearest: str) -> None:
    fault = fault_of(lambda: read(f"# ours\n{text}"))
    assert fault == f"{line(2)}{wrong!r} is no key of the policy file; the nearest is {nearest}"


@pytest.mark.parametrize("key", ['""', r'"\n"', r'"a\u001b[31mb"', '"é"', "1"])
def test_an_odd_key_is_refused_in_one_printable_line(key: str) -> None:
    fault = fault_of(lambda: read(f"{key} = 1\n"))
    assert fault.startswith(line(1))
    assert fault.isprintable()


def test_a_table_within_an_issuer_is_unknown() -> None:
    fault = fault_of(lambda: read(f"{issuer()}\n[issuers.keys]\nx = 1\n"))
    assert fault.startswith(f"{line(7)}'keys' is no key of an issuer")


def test_a_key_below_the_tables_belongs_to_the_last_of_them() -> None:
    fault = fault_of(lambda: read(f"{issuer()}\n[other]\nshared_uids = true\n"))
    assert fault.startswith(f"{line(7)}'other' is no key of the policy file")


@pytest.mark.parametrize("value", ["3", '"x"', "true", "[1]", "[[]]", "{}", '["https://a.example"]'])
def test_issuers_must_be_tables(value: str) -> None:
    fault = fault_of(lambda: read(f"#\nissuers = {value}\n"))
    assert fault == f"{line(2)}issuers must be tables, each begun by [[issuers]]"


def test_one_table_of_issuers_is_not_a_list_of_them() -> None:
    fault = fault_of(lambda: read(issuer().replace("[[issuers]]", "[issuers]")))
    assert fault == f"{line(1)}issuers must be tables, each begun by [[issuers]]"


@pytest.mark.parametrize("value", ["3", '"true"', "[true]", "{}"])
def test_shared_uids_of_the_file_are_true_or_false(value: str) -> None:
    fault = fault_of(lambda: read(f"shared_uids = {value}\n{issuer()}"))
    assert fault.startswith(f"{line(1)}shared_uids is ")
    assert fault.endswith("; it must be true or false")


# Refused: the file


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("issuers\n", 1),
        ("# one\n[[issuers]\n", 2),
        ('[[issuers]]\nissuer = "x\n', 2),
        ('[[issuers]]\nissuer = "x"\nissuer = "y"\n', 3),
        ("issuers = []\n[[issuers]]\n", 2),
        ("a = \\x\n", 1),
    ],
)
def test_what_is_no_toml_is_refused_by_its_line(text: str, number: int) -> None:
    fault = fault_of(lambda: read(text))
    assert fault.startswith("policy.toml is not TOML: ")
    assert f"(at line {number}, " in fault


@pytest.mark.parametrize(
    "text",
    [
        pytest.param('a = """\n\n', id="a string without an end"),
        pytest.param(f"a = {'[' * 5000}\n", id="too deep"),
        pytest.param("\0", id="NUL"),
        pytest.param("{}", id="JSON"),
        pytest.param(f"a = {'1' * 5000}\n", id="a number of too many digits"),
    ],
)
def test_any_other_file_is_refused_in_one_line(text: str) -> None:
    assert fault_of(lambda: read(text)).startswith("policy.toml is not TOML: ")


def test_a_number_beyond_what_python_writes_is_refused() -> None:
    assert fault_of(lambda: read(f"shared_uids = 0x{'f' * 5000}\n")).startswith(line(1))


@pytest.mark.parametrize(
    ("text", "number"),
    [
        (b"\n\nissuers = '\xe9'\n", 3),
        (issuer().encode("utf-16"), 1),
    ],
)
def test_what_is_not_utf_8_is_refused_by_its_line(text: bytes, number: int) -> None:
    assert fault_of(lambda: read(text)) == f"{line(number)}not UTF-8; it must be saved as UTF-8"


def test_a_missing_file_is_refused() -> None:
    fault = fault_of(lambda: Settings(token_key=KEY, policy_file="missing.toml"))
    assert fault == "missing.toml cannot be read: No such file or directory; it must be a file of TOML"


def test_a_folder_is_refused() -> None:
    fault = fault_of(lambda: Settings(token_key=KEY, policy_file="."))
    assert fault == ". cannot be read: Is a directory; it must be a file of TOML"


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_a_file_that_may_not_be_read_is_refused() -> None:
    write(issuer())
    POLICY.chmod(0)
    assert fault_of(lambda: read_policy(POLICY)).startswith("policy.toml cannot be read: Permission denied")


def test_a_path_that_no_file_can_have_is_refused() -> None:
    faults_of(lambda: Settings(token_key=KEY, policy_file="a\0b"))


def test_no_other_error_is_shown_with_a_fault() -> None:
    write("a = [")
    with pytest.raises(ConfigError) as caught:
        read_policy(POLICY)
    assert "TOMLDecodeError" not in "".join(traceback.format_exception(caught.value))


# Refused: all at once


def test_every_fault_is_told_at_once() -> None:
    text = issuer(audience="3", colour='"red"') + "\n" + other(jwks_url='"ftp://x/"') + BAD
    faults = faults_of(lambda: read(f"shared_uids = 1\n{text}"))
    assert {fault.split(";")[0] for fault in faults} == {
        f"{line(1)}shared_uids is 1",
        f"{line(5)}audience is 3",
        f"{line(7)}'colour' is no key of an issuer",
        f"{line(11)}jwks_url is 'ftp://x/'",
        f"{line(14)}leeway_sec is 301",
    }


def test_faults_of_the_file_stand_beside_those_of_other_settings() -> None:
    port, audience = faults_of(lambda: made(issuer(audience="3"), port=0))
    assert port.startswith("PORT is 0; ")
    assert audience.startswith(f"{line(4)}audience is 3; ")


def test_many_issuers_are_read_without_reading_the_file_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[int] = []

    def counting(text: str) -> dict[str, Any]:
        parsed.append(len(text))
        return loads(text)

    loads = tomllib.loads
    monkeypatch.setattr(tomllib, "loads", counting)
    text = "".join(issuer(issuer=f'"{number}"', uid_prefix=f'"{number}:"') for number in range(30))
    assert len(read(text)) == 30
    assert sum(parsed) < 200 * len(text)  # once for each of its 150 lines is enough


# Issuers that are told apart


def test_no_two_issuers_have_the_same_name() -> None:
    fault = fault_of(lambda: read(issuer() + other() + issuer(uid_prefix='"third:"')))
    assert fault == f"{line(11)}issuer is {NAME!r}, as at policy.toml, line 1"


def test_no_two_issuers_of_one_statement_have_the_same_name() -> None:
    fault = fault_of(lambda: read(f"issuers = [{{ {INLINE} }}, {{ {INLINE.replace('ext:', 'x:')} }}]"))
    assert fault == f"{line(1)}issuer is {NAME!r}, as at policy.toml, line 1"


@pytest.mark.parametrize("name", [f"{NAME}/", NAME.upper(), f"{NAME} "])
def test_names_are_compared_as_they_stand(name: str) -> None:
    assert len(read(issuer() + other(issuer=f'"{name}"'))) == 2


def test_no_issuer_has_our_own_name() -> None:
    fault = fault_of(lambda: made("\n" + issuer(), issuer=NAME))
    assert fault == f"{line(2)}issuer is {NAME!r}, which is GATEWAY_ISSUER, our own name"


def test_without_tokens_of_our_own_our_name_is_free() -> None:
    assert made(issuer(), issuer=NAME, token_key=None).issuers


SHARED = {"shared_uids": "true"}
EMPTY = {"uid_prefix": '""'}


@pytest.mark.parametrize(
    ("own_key", "text", "refused"),
    [
        pytest.param(KEY, issuer(), [], id="a prefix beside ours"),
        pytest.param(KEY, issuer() + other(), [], id="two prefixes beside ours"),
        pytest.param(KEY, issuer(**EMPTY), [1], id="ours"),
        pytest.param(KEY, issuer(uid_prefix=""), [1], id="ours by default"),
        pytest.param(KEY, issuer(**EMPTY, **SHARED), [], id="ours, shared"),
        pytest.param(KEY, issuer() + other(**EMPTY), [6], id="ours in the second"),
        pytest.param(KEY, issuer(**EMPTY) + other(**EMPTY), [1, 6], id="ours in both"),
        pytest.param(KEY, issuer(**EMPTY, **SHARED) + other(**EMPTY), [7], id="ours, shared by the first"),
        pytest.param(
            KEY, issuer(**EMPTY, **SHARED) + other(**EMPTY, **SHARED), [], id="ours, shared by both"
        ),
        pytest.param(
            KEY, "shared_uids = true\n" + issuer(**EMPTY) + other(**EMPTY), [], id="ours, all shared"
        ),
        pytest.param(
            KEY, "shared_uids = false\n" + issuer(**EMPTY), [2], id="ours, and said not to be shared"
        ),
        pytest.param(KEY, issuer() + other(uid_prefix='"ext:"'), [6], id="the same in both"),
        pytest.param(
            KEY, issuer(**SHARED) + other(uid_prefix='"ext:"'), [7], id="the same, shared by the first"
        ),
        pytest.param(
            KEY, issuer() + other(uid_prefix='"ext:"', **SHARED), [6], id="the same, shared by the second"
        ),
        pytest.param(
            KEY, issuer(**SHARED) + other(uid_prefix='"ext:"', **SHARED), [], id="the same, shared by both"
        ),
        pytest.param(
            KEY, "shared_uids = true\n" + issuer() + other(uid_prefix='"ext:"'), [], id="the same, all shared"
        ),
        pytest.param(None, issuer(**EMPTY), [], id="none of ours, an empty one"),
        pytest.param(None, issuer(**EMPTY) + other(), [], id="none of ours, an empty one and another"),
        pytest.param(None, issuer(**EMPTY) + other(**EMPTY), [6], id="none of ours, two empty ones"),
        pytest.param(
            None,
            issuer(**EMPTY, **SHARED) + other(**EMPTY, **SHARED),
            [],
            id="none of ours, two empty ones, shared",
        ),
        pytest.param(KEY, issuer() + other(uid_prefix='"Ext:"'), [], id="another case"),
        pytest.param(KEY, issuer() + other(uid_prefix='"ext:a:"'), [], id="one begins as the other"),
    ],
)
def test_prefixes_differ_unless_uids_are_shared(own_key: str | None, text: str, refused: list[int]) -> None:
    try:
        made(text, token_key=own_key)
        faults: tuple[str, ...] = ()
    except ConfigError as error:
        faults = error.faults
    told = [fault.removeprefix("GATEWAY_POLICY_FILE: ").split(": uid_prefix is ")[0] for fault in faults]
    assert [f"{place}: " for place in told] == [line(n) for n in refused]


def test_a_prefix_that_is_not_its_own_is_refused_with_the_way_out() -> None:
    assert fault_of(lambda: made(issuer() + other(uid_prefix='"ext:"'))) == (
        f"{line(6)}uid_prefix is 'ext:', as that of the issuer {NAME!r}; it must be another,"
        " unless shared_uids = true says that a uid means the same person everywhere"
    )


def test_a_prefix_that_is_ours_is_refused_as_ours() -> None:
    assert fault_of(lambda: made(issuer(**EMPTY))).startswith(
        f"{line(1)}uid_prefix is '', as that of our own tokens; it must be another, "
    )


# Tokens of our own


def test_without_a_key_issuers_are_enough() -> None:
    assert not made(issuer(), token_key=None).signs


@pytest.mark.parametrize("text", ["", "issuers = []\n"])
def test_without_issuers_a_key_is_required(text: str) -> None:
    assert fault_of(lambda: made(text, token_key=None)).startswith("TOKEN_KEY is not set; ")


def test_without_a_key_nothing_is_issued() -> None:
    creator = TokenCreator(made(issuer(), token_key=None))
    with pytest.raises(ConfigError, match="neither TOKEN_KEY nor GATEWAY_KEY_DIR is set"):
        creator.create(uid=12)


# The command


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, catch_exceptions=False)


def test_check_accepts_a_sound_file() -> None:
    write(issuer())
    result = run("check")
    assert result.exit_code == 0
    assert "GATEWAY_POLICY_FILE" in result.stdout
    assert "  policy.toml  (environment)\n" in result.stdout


def test_check_accepts_issuers_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TOKEN_KEY")
    write(issuer())
    assert run("check").exit_code == 0


@pytest.mark.parametrize(
    ("command", "code"),
    [(["check"], 1), (["token", "create", "--uid", "1"], 3), (["token", "inspect", "a.b.c"], 3)],
)
def test_the_faults_of_a_file_are_lines_and_no_traceback(command: list[str], code: int) -> None:
    write(issuer(audience="3") + other(**EMPTY) + BAD)
    result = run(*command)
    assert (result.exit_code, result.stdout) == (code, "")
    told = [text.split("; ")[0] for text in result.stderr.splitlines()]
    begin = "error: GATEWAY_POLICY_FILE: "
    assert told == [f"{begin}{line(4)}audience is 3", f"{begin}{line(11)}leeway_sec is 301"]


def test_check_says_that_the_file_is_missing() -> None:
    result = run("check")
    assert result.exit_code == 1
    assert result.stderr.startswith(
        "error: GATEWAY_POLICY_FILE: policy.toml cannot be read: No such file or directory"
    )
    assert len(result.stderr.splitlines()) == 1


def test_token_create_says_why_nothing_is_issued(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TOKEN_KEY")
    write(issuer())
    result = run("token", "create", "--uid", "12")
    assert (result.exit_code, result.stdout) == (3, "")
    line = "nothing is issued here: neither TOKEN_KEY nor GATEWAY_KEY_DIR is set; one of them must be"
    assert result.stderr == f"error: {line}\n"


def test_token_create_refuses_a_uid_of_an_issuer() -> None:
    write(issuer())
    result = run("token", "create", "--uid", "ext:alice")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "error: the uid begins as those of another issuer do; it must begin otherwise\n"


def test_token_inspect_shows_a_token_of_ours_beside_issuers() -> None:
    write(issuer())
    result = run("token", "inspect", TokenCreator(token_key=KEY).create(uid=12))
    assert result.exit_code == 0
    assert "answer   the app's own, for uid 12\n" in result.stdout


def foreign(monkeypatch: pytest.MonkeyPatch) -> str:
    """A token of the issuer in the file, whose key is published."""
    key = generate_private_key(SECP256R1())
    jwk = jwt.get_algorithm_by_name("ES256").to_jwk(key.public_key(), as_dict=True)
    monkeypatch.setattr("gateway.issuers._fetched", lambda url: {"keys": [{**jwk, "kid": "k1"}]})
    write(issuer(algorithms='["ES256"]', max_token_min="1000000000"))
    payload = {"iss": NAME, "aud": "us", "sub": "alice", "exp": 9_999_999_999}
    return jwt.encode(payload, key, "ES256", {"kid": "k1"})


@pytest.mark.parametrize("own_key", [KEY, None])
def test_token_inspect_shows_a_token_of_an_issuer(
    own_key: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if own_key is None:
        monkeypatch.delenv("TOKEN_KEY")
    result = run("token", "inspect", foreign(monkeypatch))
    assert "answer   the app's own, for uid ext:alice\n" in result.stdout
    assert result.exit_code == 0


def test_token_inspect_says_that_an_issuer_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    token = foreign(monkeypatch)
    monkeypatch.setattr("gateway.issuers._fetched", lambda url: {})
    result = run("token", "inspect", token)
    assert result.exit_code == 3
    assert result.stderr.startswith(f"error: the keys of {NAME!r} are missing or too old; gateway keys list ")
