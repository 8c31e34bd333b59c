"""The settings: defaults, what each accepts and refuses, and where they come from."""

from __future__ import annotations

import dataclasses
import shutil
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from gateway import ConfigError, Settings, WeakKeyWarning
from gateway.keyfolder import generate
from gateway.keys import ASYMMETRIC, SYMMETRIC
from gateway.settings import TABLE
from gateway.sources import Found
from tests.support import KEY, NOW, fault_of, faults_of

Write = Callable[..., Path]

WHOLE_NUMBERS = [
    "EXP_TIME_MIN",
    "REFRESH_TIME_MIN",
    "PORT",
    "WEB_CONCURRENCY",
    "GATEWAY_LEEWAY_SEC",
    "GATEWAY_MAX_SESSION_MIN",
    "GATEWAY_MAX_TOKEN_BYTES",
    "GATEWAY_TOKEN_CACHE_SIZE",
    "GATEWAY_KEY_ACTIVATION_SEC",
]
FLAGS = [
    "GATEWAY_ALLOW_PREFLIGHT",
    "GATEWAY_TOKEN_IN_RESPONSE",
    "GATEWAY_REQUIRE_UID",
    "GATEWAY_ALLOW_WEAK_KEY",
]
# A value that each setting refuses.
BAD = {
    "TOKEN_KEY": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA",
    **dict.fromkeys(WHOLE_NUMBERS, "many"),
    **dict.fromkeys(FLAGS, "maybe"),
    "GATEWAY_APP": "myapp",
    "GATEWAY_PUBLIC_PATHS": "health",
    "GATEWAY_PREFIX": "auth",
    "GATEWAY_STATUS_PROFILE": "strict",
    "GATEWAY_TOKEN_HEADER": "Cookie",
    "GATEWAY_UID_CLAIM": "exp",
    "GATEWAY_ALGORITHM": "none",
    "GATEWAY_PREVIOUS_KEYS": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA",
}
PEM = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE\n-----END PUBLIC KEY-----\n"
OTHERS_KEYS = [
    pytest.param(PEM, id="PEM"),
    pytest.param("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDExMTExMTExMTExMTEx", id="SSH"),
    pytest.param('{"kty": "oct", "k": "c2VjcmV0IHNlY3JldCBzZWNyZXQgc2VjcmV0"}', id="JWK"),
]


@pytest.fixture(autouse=True)
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Leave the working directory empty; return what writes a file there."""
    monkeypatch.chdir(tmp_path)

    def written(content: str | bytes, name: str = "config.env") -> Path:
        path = Path(name)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return written


def keyword(variable: str) -> str:
    return variable.removeprefix("GATEWAY_").lower()


def made(**given: Any) -> Settings:
    """Make settings from keyword arguments of any type."""
    return Settings(**{"token_key": KEY, **given})


def read(environ: dict[str, str] | None = None) -> Settings:
    """Read the settings from an environment that has a good key besides."""
    return Settings.from_env({"TOKEN_KEY": KEY, **(environ or {})})


# Defaults


def test_each_setting_has_its_default() -> None:
    assert dataclasses.asdict(Settings(token_key=KEY)) == {
        "token_key": KEY.encode(),
        "exp_time_min": 30,
        "refresh_time_min": 15,
        "app": None,
        "upstream": None,
        "upstream_timeout_sec": 30.0,
        "port": 8000,
        "web_concurrency": 2,
        "public_paths": (),
        "allow_preflight": False,
        "cors_origins": (),
        "prefix": "/auth",
        "status_profile": "classic",
        "token_header": "X-Refreshed-Token",
        "token_in_response": True,
        "uid_claim": "uid",
        "require_uid": True,
        "issuer": None,
        "audience": None,
        "leeway_sec": 0,
        "max_session_min": 1440,
        "max_token_bytes": 8000,
        "token_cache_size": 10_000,
        "algorithm": "HS256",
        "key_dir": None,
        "key_activation_sec": 600,
        "previous_keys": (),
        "policy_file": None,
        "state_url": None,
        "state_sync_sec": 1.0,
        "state_max_stale_sec": 10.0,
        "state_timeout_sec": 0.5,
        "state_fail_open": False,
        "users_url": None,
        "login": None,
        "login_tries": 5,
        "login_tries_per_address": 50,
        "login_window_min": 15,
        "trusted_proxies": (),
        "metrics_from": (),
        "log_format": "off",
        "allow_weak_key": False,
        "issuers": (),
        "routes": None,
        "claim_headers": (),
        "key_ring": None,
    }


def test_an_empty_environment_without_a_file_lacks_the_key_alone() -> None:
    assert fault_of(lambda: Settings.from_env({})) == (
        "TOKEN_KEY is not set; it must be a random secret of 32 bytes or more,"
        " and no PEM, SSH, DER or JWK key; there is no config.env in the working directory,"
        " where gateway init writes one"
    )


@pytest.mark.parametrize(
    ("lifetime", "refresh", "session"),
    [(1, 1, 1440), (14, 14, 1440), (15, 15, 1440), (16, 15, 1440), (1440, 15, 1440), (1441, 15, 1441)],
)
def test_two_defaults_hang_on_the_lifetime(lifetime: int, refresh: int, session: int) -> None:
    settings = made(exp_time_min=lifetime)
    assert (settings.refresh_time_min, settings.max_session_min) == (refresh, session)


# Accepted


@pytest.mark.parametrize("name", FLAGS)
@pytest.mark.parametrize(
    ("text", "value"),
    [
        *((text, True) for text in ("true", "True", "TRUE", "1", "yes", "on")),
        *((text, False) for text in ("false", "False", "FALSE", "0", "no", "off")),
    ],
)
def test_a_flag_is_read_in_any_case(name: str, text: str, value: bool) -> None:
    assert getattr(read({name: text}), keyword(name)) is value


@pytest.mark.parametrize("text", ["20", "020"])
@pytest.mark.parametrize("name", [name for name in WHOLE_NUMBERS if name != "GATEWAY_MAX_SESSION_MIN"])
def test_a_whole_number_is_read_from_ascii_digits(name: str, text: str) -> None:
    assert getattr(read({name: text}), keyword(name)) == 20


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("GATEWAY_MAX_SESSION_MIN", "60", 60),
        ("GATEWAY_APP", "myapp:app", "myapp:app"),
        ("GATEWAY_APP", "my_app.main2:make.app", "my_app.main2:make.app"),
        ("GATEWAY_PREFIX", "/gateway/v1.0", "/gateway/v1.0"),
        ("GATEWAY_PREFIX", "/.well-known/~a_b", "/.well-known/~a_b"),
        ("GATEWAY_STATUS_PROFILE", "classic", "classic"),
        ("GATEWAY_STATUS_PROFILE", "rfc6750", "rfc6750"),
        ("GATEWAY_TOKEN_HEADER", "X-Next-Token", "X-Next-Token"),
        ("GATEWAY_UID_CLAIM", "sub", "sub"),
        ("GATEWAY_ISSUER", "https://issuer.example", "https://issuer.example"),
        ("GATEWAY_AUDIENCE", "our api", "our api"),
        ("GATEWAY_PUBLIC_PATHS", "/health", ("/health",)),
        ("GATEWAY_PUBLIC_PATHS", " /health ,, /static/* , ", ("/health", "/static/*")),
        ("GATEWAY_PUBLIC_PATHS", "/,/*", ("/", "/*")),
        ("GATEWAY_PUBLIC_PATHS", "/a b,/café", ("/a b", "/café")),
        ("GATEWAY_PUBLIC_PATHS", " , ", ()),
        *(
            ("GATEWAY_UPSTREAM", address, address)
            for address in (
                *("http://127.0.0.1:9000", "https://app.internal", "http://app_1/base", "http://h:1/a/b/"),
                *("http://[::1]:9000", "HTTP://HOST:65535/", "http://app.svc.cluster.local.:8080"),
            )
        ),
        *(
            ("GATEWAY_UPSTREAM_TIMEOUT_SEC", text, value)
            for text, value in {"0.01": 0.01, "5": 5.0, "30.5": 30.5, "86400": 86400.0}.items()
        ),
        *(
            ("GATEWAY_CORS_ORIGINS", origin, (origin,))
            for origin in (
                *(
                    "https://app.example",
                    "http://localhost:3000",
                    "http://127.0.0.1:8080",
                    "http://[::1]:3000",
                ),
                *("https://app.example:80", "http://app.example:443", "https://xn--bcher-kva.example"),
            )
        ),
        (
            "GATEWAY_CORS_ORIGINS",
            " https://a.example ,, http://b.example:81 ,",
            ("https://a.example", "http://b.example:81"),
        ),
        ("GATEWAY_CORS_ORIGINS", " , ", ()),
        ("GATEWAY_METRICS_FROM", "10.0.0.0/8, ::1 ,unix,", ("10.0.0.0/8", "::1/128", "unix")),
        ("GATEWAY_METRICS_FROM", " , ", ()),
        *(("GATEWAY_LOG_FORMAT", text, text) for text in ("json", "console", "off")),
        *(("GATEWAY_ALGORITHM", alg, alg) for alg in SYMMETRIC),
        ("GATEWAY_PREVIOUS_KEYS", "k" * 32, (b"k" * 32,)),
        ("GATEWAY_PREVIOUS_KEYS", f" {'k' * 32} ,, {'é' * 16},", (b"k" * 32, "é".encode() * 16)),
        ("GATEWAY_PREVIOUS_KEYS", f"{'a b ' * 10}", (f"{'a b ' * 9}a b".encode(),)),
        ("GATEWAY_PREVIOUS_KEYS", " , ", ()),
        ("TOKEN_KEY", "k" * 32, b"k" * 32),
        ("TOKEN_KEY", "é" * 16, "é".encode() * 16),
        ("TOKEN_KEY", "\udcff" * 32, b"\xff" * 32),  # so Python hands on a byte that is not UTF-8
    ],
)
def test_a_text_is_read_from_the_environment(name: str, text: str, value: object) -> None:
    assert getattr(read({name: text}), keyword(name)) == value


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("token_key", b"\x00" * 32, b"\x00" * 32),
        ("exp_time_min", 20, 20),
        ("exp_time_min", "20", 20),
        ("allow_preflight", True, True),
        ("allow_preflight", "yes", True),
        ("public_paths", ["/health", "/static/*"], ("/health", "/static/*")),
        ("public_paths", ("/a,b",), ("/a,b",)),
        ("public_paths", "/health, /static/*", ("/health", "/static/*")),
        ("prefix", "", ""),
        ("prefix", None, "/auth"),
        ("issuer", "", None),
        ("exp_time_min", None, 30),
        ("previous_keys", [KEY, b"\xff" * 32], (KEY.encode(), b"\xff" * 32)),
        ("previous_keys", ("k" * 20 + "," + "k" * 20, ""), (b"k" * 20 + b"," + b"k" * 20,)),
        ("previous_keys", [], ()),
        ("key_dir", "", None),
        ("policy_file", "", None),
        ("upstream", "", None),
        ("upstream_timeout_sec", 2, 2.0),
        ("upstream_timeout_sec", None, 30.0),
        ("cors_origins", ["https://a.example"], ("https://a.example",)),
        ("cors_origins", ("https://a.example", ""), ("https://a.example",)),
        ("cors_origins", [], ()),
        ("metrics_from", ["10.0.0.1", "unix"], ("10.0.0.1/32", "unix")),
        ("log_format", "", "off"),
    ],
)
def test_a_keyword_takes_the_value_or_its_text(name: str, value: object, kept: object) -> None:
    assert getattr(made(**{name: value}), name) == kept


BOUNDS = [
    ("exp_time_min", 1, 10**9, {}),
    ("refresh_time_min", 0, 10**9, {"exp_time_min": 10**9}),
    ("port", 1, 65535, {}),
    ("web_concurrency", 1, 10_000, {}),
    ("leeway_sec", 0, 300, {}),
    ("max_session_min", 1, 10**9, {"exp_time_min": 1}),
    ("max_token_bytes", 1, 10**6, {}),
    ("token_cache_size", 0, 10**7, {}),
    ("key_activation_sec", 0, 10**9, {}),
]


@pytest.mark.parametrize(("name", "low", "high", "others"), BOUNDS)
def test_a_number_may_be_at_either_end_of_its_range(
    name: str, low: int, high: int, others: dict[str, int]
) -> None:
    kept = [getattr(made(**others, **{name: value}), name) for value in (low, high)]
    assert kept == [low, high]


@pytest.mark.parametrize(("name", "low", "high", "others"), BOUNDS)
def test_a_number_may_not_be_beyond_either_end(
    name: str, low: int, high: int, others: dict[str, int]
) -> None:
    for value in (low - 1, high + 1):
        fault = fault_of(partial(made, **others, **{name: value}))
        assert f" is {value}; it must be a whole number" in fault
        assert fault.endswith(f"from {low} to {high}")


# Refused


@pytest.mark.parametrize("name", WHOLE_NUMBERS)
@pytest.mark.parametrize(
    "text",
    [
        "\uff11\uff12",
        "1_0",
        " 3",
        "3 ",
        "+3",
        "-3",
        "3.0",
        "3e1",
        "\u00b3",
        "\u0663",
        "0x10",
        "9" * 19,
        "3,0",
        "x",
    ],
)
def test_a_whole_number_is_ascii_digits_alone(name: str, text: str) -> None:
    fault = fault_of(lambda: read({name: text}))
    assert fault.startswith(f"{name} is {text!r}; it must be a whole number")


@pytest.mark.parametrize("name", FLAGS)
@pytest.mark.parametrize("text", ["maybe", "2", "t", " true", "true ", "none"])
def test_a_flag_is_true_or_false(name: str, text: str) -> None:
    assert fault_of(lambda: read({name: text})) == f"{name} is {text!r}; it must be true or false"


REFUSED = {
    "GATEWAY_APP": (
        "module:callable, such as myapp.main:app",
        ["myapp", "myapp:", ":app", "a:b:c", "a:b()", "a/b:c", "a-b:c", "1a:b", "a..b:c", ".a:b", "a b:c"],
    ),
    "GATEWAY_PREFIX": (
        "empty, or a path such as /auth",
        ["auth", "/", "/auth/", "//a", "/a//b", "/a/../b", "/.", "/a b", "/é", "/a*", "/a?b", "/%61", "/a;b"],
    ),
    "GATEWAY_STATUS_PROFILE": ("classic or rfc6750", ["RFC6750", "strict", "classic "]),
    "GATEWAY_TOKEN_HEADER": (
        "a legal header name, such as X-Next-Token, that HTTP, cookies, credentials",
        ["X Token", "X:Token", "Tökèn", "Authorization", "set-cookie", "uid", "U-I-D", "Remote_User", "-"],
    ),
    "GATEWAY_UID_CLAIM": (
        "a claim's name other than aud, auth_time, exp, iat, iss, jti, nbf, sid",
        ["aud", "auth_time", "exp", "iat", "iss", "jti", "nbf", "sid"],
    ),
    "GATEWAY_ALGORITHM": (
        "HS256, HS384, HS512, RS256, PS256, ES256 or EdDSA",
        ["none", "hs256", "HS256 ", "HS128", "RS512", "ES384", "ES256K", "Ed25519", "HS256,RS256"],
    ),
    "GATEWAY_UPSTREAM": (
        "an http:// or https:// address, such as http://127.0.0.1:9000 or http://host:port/base, without ",
        [
            *("127.0.0.1:9000", "host", "//host", "ftp://host", "http:host", "http://", "http:///base"),
            *("http://:80", "http://h:", "http://h:0", "http://h:65536", "http://h:+80", "http://h:80:80"),
            *(
                "http://h?",
                "http://h/?a=b",
                "http://h#",
                "http://h/#a",
                "http://h/a b",
                "http://hé",
                "http://h/é",
            ),
            *("http://h//", "http://h/../a", "http://h/%61", "http://h/a;b", "http://h\\a", "http://h,i"),
            *(
                "http://h|i",
                "http://h..i",
                "http://[::1",
                "http://[x]",
                "http://[::1]x",
                " http://h",
                "http://h\n",
            ),
        ],
    ),
    "GATEWAY_UPSTREAM_TIMEOUT_SEC": (
        "a number of seconds from 0.01 to 86400",
        ["0", "0.001", "86401", "-1", "1e3", "inf", "nan", "1,5", ".5", "5.", "soon", " 5"],
    ),
    "GATEWAY_CORS_ORIGINS": (
        "origins as browsers write them, such as https://app.example.org or http://localhost:3000, in lower",
        [
            *(
                "*",
                "null",
                "app.example",
                "https://app.example/",
                "https://app.example/a",
                "HTTPS://app.example",
            ),
            *(
                "https://App.example",
                "https://app.example:443",
                "http://app.example:80",
                "https://app.example:0",
            ),
            *(
                "https://app.example:65536",
                "https://app.example:0443",
                "https://*.app.example",
                "ftp://app.example",
            ),
            *(
                "https://a.example https://b.example",
                "https://a.example;https://b.example",
                "https://é.example",
            ),
            *("https://a.example,*", "https://a..example", "https://"),
        ],
    ),
    "GATEWAY_METRICS_FROM": (
        "networks such as 10.0.0.0/8 or 2001:db8::/32, addresses, or unix, separated by commas",
        ["localhost", "10.0.0.1/8", "10.0.0.0/33", "10.0.0.*", "*", "UNIX", "10.0.0.1;10.0.0.2", "::1%lo"],
    ),
    "GATEWAY_LOG_FORMAT": ("json, console or off", ["JSON", "text", "on", "true", "json "]),
}


@pytest.mark.parametrize(
    ("name", "must", "text"),
    [(name, must, text) for name, (must, texts) in REFUSED.items() for text in texts],
)
def test_a_text_of_the_wrong_kind_is_refused(name: str, must: str, text: str) -> None:
    fault = fault_of(lambda: read({name: text}))
    assert fault.startswith(f"{name} is {text!r}")
    assert f"; it must be {must}" in fault


@pytest.mark.parametrize(
    "entry",
    [
        "health",
        "*",
        "/a*",
        "/*/a",
        "/**",
        "/a//b",
        "//*",
        "/./a",
        "/a/..",
        "/a\\b",
        "/a;b",
        "/%61",
        "/a\x7f",
        "/\udcff",
    ],
)
def test_a_public_path_that_could_be_read_in_two_ways_stops_the_start(entry: str) -> None:
    fault = fault_of(lambda: read({"GATEWAY_PUBLIC_PATHS": f"/health,{entry}"}))
    assert fault.startswith(f"GATEWAY_PUBLIC_PATHS is {f'/health,{entry}'!r}: ")
    assert "; it must be paths such as /health or prefixes such as /static/*, separated by commas" in fault


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("exp_time_min", True),
        ("exp_time_min", 20.0),
        ("exp_time_min", b"20"),
        ("exp_time_min", [20]),
        ("allow_preflight", 1),
        ("public_paths", 12),
        ("public_paths", [b"/health"]),
        ("public_paths", {"/health": 1}),
        ("prefix", 3),
        ("issuer", 3),
        ("issuer", b"issuer"),
        ("app", len),
        ("token_header", 3),
        ("status_profile", True),
        ("algorithm", 256),
        ("key_dir", 5),
        ("key_dir", b"keys"),
        ("policy_file", ["policy.toml"]),
        ("token_cache_size", 1.5),
        ("key_activation_sec", False),
        ("upstream", 9000),
        ("upstream", ["http://h"]),
        ("upstream_timeout_sec", True),
        ("upstream_timeout_sec", float("nan")),
        ("upstream_timeout_sec", [30]),
        ("cors_origins", 3),
        ("cors_origins", [3]),
        ("cors_origins", {"https://a.example": True}),
        ("metrics_from", 10),
        ("metrics_from", [10]),
        ("log_format", True),
    ],
)
def test_a_keyword_of_the_wrong_type_is_refused(name: str, value: object) -> None:
    fault = fault_of(lambda: made(**{name: value}))
    assert f"{name.upper()} is {value!r}" in fault
    assert "; it must be " in fault


def test_a_number_too_long_to_be_written_out_is_refused_like_any_other() -> None:
    assert "EXP_TIME_MIN" in fault_of(lambda: made(exp_time_min=10**5000))


def test_a_long_value_is_shown_in_part() -> None:
    fault = fault_of(lambda: read({"GATEWAY_APP": "a" * 1000}))
    assert fault.startswith("GATEWAY_APP is 'aaaaaaaaaa")
    assert len(fault) < 200


def test_an_odd_character_is_shown_escaped() -> None:
    fault = fault_of(lambda: read({"GATEWAY_APP": "a\n\x1b[31mb"}))
    assert fault.startswith("GATEWAY_APP is 'a\\n\\x1b[31mb'; it must be")


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (
            {"refresh_time_min": 31},
            "REFRESH_TIME_MIN is 31; it must be at most EXP_TIME_MIN, which is 30",
        ),
        (
            {"exp_time_min": 5, "refresh_time_min": 6},
            "REFRESH_TIME_MIN is 6; it must be at most EXP_TIME_MIN, which is 5",
        ),
        (
            {"max_session_min": 29},
            "GATEWAY_MAX_SESSION_MIN is 29; it must be at least EXP_TIME_MIN, which is 30",
        ),
    ],
)
def test_two_settings_that_contradict_each_other_are_refused(given: dict[str, int], line: str) -> None:
    assert fault_of(lambda: made(**given)) == line


def test_there_is_one_thing_to_stand_in_front_of() -> None:
    fault = fault_of(lambda: made(upstream="http://127.0.0.1:9000", app="myapp:app"))
    assert fault == "GATEWAY_UPSTREAM is set, and GATEWAY_APP as well; it must be one of the two"


@pytest.mark.parametrize(
    ("extra", "given"),
    [("upstream", {"upstream": "http://127.0.0.1:9000"}), ("metrics", {"metrics_from": ["unix"]})],
)
def test_what_needs_an_extra_says_so_where_that_is_missing(
    extra: str, given: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.extras.is_installed", lambda name: name != extra)
    (variable,) = (f"GATEWAY_{name.upper()}" for name in given)
    fault = fault_of(lambda: made(**given))
    assert fault == f"{variable} needs the extra {extra}: pip install 'wsgi-auth-gateway[{extra}]'"


def test_a_password_in_the_upstreams_address_is_refused_and_not_shown() -> None:
    fault = fault_of(lambda: made(upstream="http://user:hunter2@host"))
    assert "hunter2" not in fault
    assert "without a user" in fault


def test_both_may_be_as_long_as_the_lifetime() -> None:
    settings = made(exp_time_min=50, refresh_time_min=50, max_session_min=50)
    assert settings.refresh_time_min == settings.max_session_min == 50


def test_nothing_is_compared_with_a_lifetime_that_is_refused() -> None:
    fault = fault_of(lambda: made(exp_time_min=0, refresh_time_min=99, max_session_min=1))
    assert fault.startswith("EXP_TIME_MIN is 0")


def test_every_fault_is_reported_and_not_the_first_alone() -> None:
    faults = faults_of(lambda: Settings.from_env(BAD))
    assert sorted(fault.split()[0] for fault in faults) == sorted(BAD)


def test_a_weak_key_is_reported_among_other_faults() -> None:
    faults = faults_of(lambda: Settings.from_env({"TOKEN_KEY": "too short", "PORT": "x"}))
    assert [fault.split()[0] for fault in faults] == ["PORT", "TOKEN_KEY"]


def test_an_unknown_keyword_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="lifetime"):
        made(lifetime=3)


# The key


@pytest.mark.parametrize("key", ["k" * 31, "é" * 15, b"k" * 31])
def test_a_key_under_32_bytes_is_refused_and_not_shown(key: str | bytes) -> None:
    size = len(key.encode()) if isinstance(key, str) else len(key)
    fault = fault_of(lambda: made(token_key=key))
    assert fault.startswith(f"TOKEN_KEY holds {size} bytes; it must be a random secret of 32 bytes or more")
    assert str(key) not in fault


def test_a_weak_key_warns_where_it_is_allowed() -> None:
    with pytest.warns(WeakKeyWarning, match="^TOKEN_KEY holds 9 bytes: .* can be guessed$") as warned:
        settings = read({"TOKEN_KEY": "hunter2 x", "GATEWAY_ALLOW_WEAK_KEY": "true"})
    assert settings.token_key == b"hunter2 x"
    assert "hunter2" not in str(warned[0].message)


@pytest.mark.parametrize("weak", ["true", "false"])
@pytest.mark.parametrize("text", OTHERS_KEYS)
def test_the_text_of_a_key_that_others_may_know_is_refused_and_not_shown(text: str, weak: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read({"TOKEN_KEY": text, "GATEWAY_ALLOW_WEAK_KEY": weak})
    assert str(caught.value) == (
        f"TOKEN_KEY holds {len(text)} characters that cannot be used; it must be a random secret of"
        " 32 bytes or more, and no PEM, SSH, DER or JWK key"
    )
    trace = "".join(traceback.format_exception(caught.value))
    assert not any(line in trace for line in text.splitlines())


@pytest.mark.parametrize("key", [1234567, ["hunter2"], "\ud800hunter2" * 10])
def test_a_key_that_is_no_text_is_refused_and_not_shown(key: object) -> None:
    fault = fault_of(lambda: made(token_key=key))
    assert fault.startswith("TOKEN_KEY ")
    assert "hunter2" not in fault
    assert "1234567" not in fault


def test_repr_hides_the_key() -> None:
    assert KEY not in repr(made())
    assert "token_key" not in repr(made())


def test_repr_hides_previous_keys() -> None:
    assert "k" * 32 not in repr(made(previous_keys=["k" * 32]))
    assert "previous_keys" not in repr(made(previous_keys=["k" * 32]))


def test_repr_of_what_was_found_hides_the_key() -> None:
    assert KEY not in repr(Found.in_environment(TABLE, {"TOKEN_KEY": KEY}))


def test_settings_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        made().port = 1  # type: ignore[misc]


# Previous keys


def test_a_previous_key_under_32_bytes_is_refused_and_not_shown() -> None:
    fault = fault_of(lambda: read({"GATEWAY_PREVIOUS_KEYS": f"{'k' * 32},hunter2"}))
    assert fault.startswith("GATEWAY_PREVIOUS_KEYS holds 7 bytes; it must be a random secret of 32 bytes")
    assert "hunter2" not in fault


def test_each_weak_key_is_reported_in_a_line_of_its_own() -> None:
    faults = faults_of(lambda: made(token_key="k" * 5, previous_keys=["k" * 6, "k" * 40, "k" * 7]))
    assert [fault.partition(";")[0] for fault in faults] == [
        "TOKEN_KEY holds 5 bytes",
        "GATEWAY_PREVIOUS_KEYS holds 6 bytes",
        "GATEWAY_PREVIOUS_KEYS holds 7 bytes",
    ]


def test_each_weak_previous_key_warns_where_it_is_allowed() -> None:
    with pytest.warns(WeakKeyWarning, match="^GATEWAY_PREVIOUS_KEYS holds . bytes: ") as warned:
        settings = made(previous_keys="hunter2,hunter22", allow_weak_key=True)
    assert settings.previous_keys == (b"hunter2", b"hunter22")
    assert [str(warning.message).split()[2] for warning in warned] == ["7", "8"]
    assert not any("hunter2" in str(warning.message) for warning in warned)


@pytest.mark.parametrize("weak", ["true", "false"])
@pytest.mark.parametrize("text", [text for text in OTHERS_KEYS if text.id != "JWK"])  # it has commas
def test_the_text_of_a_previous_key_that_others_may_know_is_refused_and_not_shown(
    text: str, weak: str
) -> None:
    given = f"{'k' * 32},{text}"
    with pytest.raises(ConfigError) as caught:
        read({"GATEWAY_PREVIOUS_KEYS": given, "GATEWAY_ALLOW_WEAK_KEY": weak})
    assert str(caught.value) == (
        f"GATEWAY_PREVIOUS_KEYS holds {len(given)} characters that cannot be used; it must be secrets,"
        " separated by commas, each of them a random secret of 32 bytes or more, and no PEM, SSH, DER or JWK"
        " key"
    )
    trace = "".join(traceback.format_exception(caught.value))
    assert not any(line in trace for line in text.splitlines())


@pytest.mark.parametrize("text", OTHERS_KEYS)
def test_a_previous_key_of_a_list_that_others_may_know_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        made(previous_keys=[KEY, text])
    assert str(caught.value).startswith("GATEWAY_PREVIOUS_KEYS ")
    trace = "".join(traceback.format_exception(caught.value))
    assert not any(line in trace for line in text.splitlines())


@pytest.mark.parametrize(
    "keys",
    [1234567, {"hunter2" * 5: 1}, b"hunter2" * 5, ["hunter2" * 5, 1234567], [b""], ["\ud800hunter2" * 5]],
)
def test_previous_keys_that_are_none_are_refused_and_not_shown(keys: object) -> None:
    fault = fault_of(lambda: made(previous_keys=keys))
    assert fault.startswith("GATEWAY_PREVIOUS_KEYS ")
    assert "hunter2" not in fault
    assert "1234567" not in fault


# Whose keys there are


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a key for ES256."""
    path = tmp_path_factory.mktemp("keys")
    generate(path, "ES256", NOW)
    return path


@pytest.fixture
def policy(write: Write) -> str:
    """A policy file that names an issuer."""
    address = "https://issuer.example"
    lines = ("[[issuers]]", f"issuer='{address}'", f"jwks_url='{address}/keys'", "audience='us'", "")
    return str(write("\n".join((*lines, "uid_prefix='them:'\n")), "policy.toml"))


@pytest.mark.parametrize("alg", SYMMETRIC)
def test_a_secret_is_needed_for_hmac(alg: str) -> None:
    fault = fault_of(lambda: Settings.from_env({"GATEWAY_ALGORITHM": alg}))
    assert fault.startswith("TOKEN_KEY is not set; it must be a random secret")


def test_without_key_and_file_the_fault_says_how_to_get_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    hint = "; there is no config.env in the working directory, where gateway init writes one"
    assert fault_of(lambda: Settings.from_env({})).endswith(hint)
    (tmp_path / "config.env").touch()
    assert fault_of(lambda: Settings.from_env({})).endswith("DER or JWK key")


def test_previous_keys_do_not_stand_in_for_the_secret() -> None:
    fault = fault_of(lambda: Settings(previous_keys=[KEY]))
    assert fault.startswith("TOKEN_KEY is not set;")


def test_no_secret_is_needed_where_the_policy_file_names_issuers(policy: str) -> None:
    settings = Settings(policy_file=policy)
    assert settings.token_key is None
    assert not settings.signs
    assert [rules.issuer for rules in settings.issuers] == ["https://issuer.example"]


def test_a_secret_is_needed_where_the_policy_file_names_no_issuer(write: Write) -> None:
    write("", "policy.toml")
    assert fault_of(lambda: Settings(policy_file="policy.toml")).startswith("TOKEN_KEY is not set;")


def test_a_secret_and_issuers_go_together(policy: str) -> None:
    settings = made(policy_file=policy)
    assert settings.signs
    assert len(settings.issuers) == 1


@pytest.mark.parametrize("alg", ASYMMETRIC)
@pytest.mark.parametrize("key", [None, KEY])
def test_a_folder_is_needed_for_an_asymmetric_algorithm(alg: str, key: str | None) -> None:
    fault = fault_of(lambda: Settings(token_key=key, algorithm=alg))
    assert fault == f"GATEWAY_KEY_DIR is not set; it must be a folder of private keys for {alg}"


def test_no_folder_is_needed_where_the_policy_file_names_issuers(policy: str) -> None:
    assert not Settings(algorithm="ES256", policy_file=policy).signs


def test_no_secret_is_needed_where_there_is_a_folder(folder: Path) -> None:
    settings = Settings.from_env({"GATEWAY_ALGORITHM": "ES256", "GATEWAY_KEY_DIR": str(folder)})
    assert (settings.token_key, settings.key_dir) == (None, str(folder))
    assert settings.signs


def test_a_folder_may_be_given_as_a_path(folder: Path) -> None:
    assert Settings(algorithm="ES256", key_dir=folder).key_dir == str(folder)  # type: ignore[arg-type]


@pytest.mark.parametrize("key", [None, KEY])
@pytest.mark.parametrize("alg", SYMMETRIC)
def test_a_folder_needs_an_asymmetric_algorithm(alg: str, key: str | None, folder: Path) -> None:
    fault = fault_of(lambda: Settings(token_key=key, algorithm=alg, key_dir=str(folder)))
    assert fault == (
        f"GATEWAY_ALGORITHM is '{alg}'; it must be one of RS256, PS256, ES256, EdDSA,"
        " since GATEWAY_KEY_DIR holds private keys"
    )


def test_a_folder_stays_the_same_wherever_the_app_goes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    assert Settings(algorithm="ES256", key_dir=folder.name).key_dir == str(folder)


def test_the_keys_of_a_folder_are_read_with_the_settings(folder: Path) -> None:
    ring = Settings(algorithm="ES256", key_dir=str(folder)).key_ring
    assert ring is not None
    assert [file.path.parent for file in ring.files] == [folder]


def test_a_folder_needs_a_key_for_the_algorithm(folder: Path) -> None:
    fault = fault_of(lambda: Settings(algorithm="EdDSA", key_dir=str(folder)))
    assert fault == f"GATEWAY_KEY_DIR: {folder} holds no key for EdDSA; gateway keys generate makes one"


def test_a_folder_that_is_not_there_is_refused() -> None:
    fault = fault_of(lambda: Settings(algorithm="ES256", key_dir="missing"))
    assert fault.startswith("GATEWAY_KEY_DIR is 'missing', which cannot be read: No such file or directory; ")


def test_each_fault_of_a_folder_is_reported_in_a_line_of_its_own(folder: Path) -> None:
    copy = Path(shutil.copytree(folder, "copy"))
    (copy / "a.pem").touch()
    (copy / "20260102T030405Z.ES256.k1.pem").write_text("hunter2\nhunter2\n")
    faults = faults_of(lambda: Settings(algorithm="ES256", key_dir="copy"))
    assert [fault.split(" is ")[0] for fault in faults] == [
        "GATEWAY_KEY_DIR: copy/20260102T030405Z.ES256.k1.pem",
        "GATEWAY_KEY_DIR: copy/a.pem",
    ]
    assert "hunter2" not in "".join(faults)


def test_a_fault_of_the_folder_is_reported_among_others() -> None:
    given = {"GATEWAY_ALGORITHM": "ES256", "GATEWAY_KEY_DIR": "missing", "PORT": "x", "EXP_TIME_MIN": "0"}
    faults = faults_of(lambda: Settings.from_env(given | {"GATEWAY_PREVIOUS_KEYS": "short"}))
    assert [fault.split()[0] for fault in faults] == [
        *("EXP_TIME_MIN", "PORT", "GATEWAY_PREVIOUS_KEYS", "GATEWAY_KEY_DIR")
    ]


@pytest.mark.parametrize("name", ["GATEWAY_ALGORITHM", "GATEWAY_KEY_ACTIVATION_SEC"])
def test_no_folder_is_looked_at_where_it_is_not_clear_how(name: str) -> None:
    given = {"GATEWAY_ALGORITHM": "ES256", "GATEWAY_KEY_DIR": "missing", name: "x"}
    assert fault_of(lambda: Settings.from_env(given)).startswith(f"{name} is 'x'")


def test_a_policy_file_that_is_not_there_is_refused() -> None:
    fault = fault_of(lambda: made(policy_file="missing.toml"))
    assert fault.startswith("GATEWAY_POLICY_FILE: missing.toml cannot be read: No such file or directory")


def test_each_fault_of_the_policy_file_is_reported_in_a_line_of_its_own(write: Write) -> None:
    write("[[issuers]]\nissuer = 5\ncolour = 'red'\n", "policy.toml")
    faults = faults_of(lambda: made(policy_file="policy.toml", port=0))
    assert faults[0].startswith("PORT is 0; ")
    assert len(faults) == 5  # the issuer, the colour, and two members that are missing
    assert all(fault.startswith("GATEWAY_POLICY_FILE: policy.toml, line ") for fault in faults[1:])


def test_a_broken_policy_file_does_not_have_the_secret_missed_as_well(write: Write) -> None:
    write("[[issuers", "policy.toml")
    fault = fault_of(lambda: Settings(policy_file="policy.toml"))
    assert fault.startswith("GATEWAY_POLICY_FILE: policy.toml is not TOML: ")


def test_an_issuer_may_not_bear_our_own_name(policy: str) -> None:
    fault = fault_of(lambda: made(policy_file=policy, issuer="https://issuer.example"))
    assert fault.endswith("issuer is 'https://issuer.example', which is GATEWAY_ISSUER, our own name")


def test_an_asymmetric_algorithm_needs_the_extra(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.extras.find_spec", lambda module: None)
    assert fault_of(lambda: Settings(algorithm="ES256", key_dir=str(folder))) == (
        "GATEWAY_ALGORITHM is 'ES256', which needs the extra crypto: pip install 'wsgi-auth-gateway[crypto]'"
    )


def test_issuers_need_the_extra(policy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.extras.find_spec", lambda module: None)
    assert fault_of(lambda: made(policy_file=policy)) == (
        "GATEWAY_POLICY_FILE: an issuer needs the extra crypto: pip install 'wsgi-auth-gateway[crypto]'"
    )


def test_hmac_needs_no_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.extras.find_spec", lambda module: None)
    assert made(previous_keys=[KEY]).signs


# The environment


def test_the_environment_is_that_of_the_process_unless_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN_KEY", KEY)
    monkeypatch.setenv("PORT", "8001")
    assert Settings.from_env().port == 8001


@pytest.mark.parametrize(
    "name", [row.variable for row in TABLE if not row.empty_counts and row.variable != "TOKEN_KEY"]
)
def test_set_but_empty_counts_as_not_set(name: str) -> None:
    assert read({name: ""}) == read()


def test_a_key_that_is_set_but_empty_is_not_set() -> None:
    assert fault_of(lambda: read({"TOKEN_KEY": ""})).startswith("TOKEN_KEY is not set;")


def test_an_empty_prefix_is_a_prefix_of_its_own() -> None:
    assert read({"GATEWAY_PREFIX": ""}).prefix == ""


def test_unknown_names_in_the_environment_are_left_alone() -> None:
    assert read({"GATEWAY_INTERFACE": "CGI/1.1", "GATEWAY_PORT": "tcp://10.0.0.1:80", "X": "y"}) == read()


# The file


def test_no_file_is_fine() -> None:
    assert read() == made()


def test_the_file_fills_in_what_the_environment_leaves_unset(write: Write) -> None:
    write(f"TOKEN_KEY={KEY!r}\nEXP_TIME_MIN=20\nPORT=1\n")
    settings = Settings.from_env({"EXP_TIME_MIN": "10", "PORT": ""})
    assert (settings.token_key, settings.exp_time_min, settings.port) == (KEY.encode(), 10, 1)


def test_an_empty_prefix_in_the_environment_beats_the_file(write: Write) -> None:
    write("GATEWAY_PREFIX=/gateway\n")
    assert read({"GATEWAY_PREFIX": ""}).prefix == ""


def test_an_empty_prefix_in_the_file_counts(write: Write) -> None:
    write("GATEWAY_PREFIX=\nGATEWAY_APP=\n")
    assert read() == made(prefix="")


@pytest.mark.parametrize(("last", "port"), [("2", 2), ("", 8000)])
def test_of_a_name_that_stands_twice_in_the_file_the_last_counts(last: str, port: int, write: Write) -> None:
    write(f"PORT=1\nPORT={last}\n")
    assert read().port == port


def test_a_fault_in_the_file_does_not_count_where_the_environment_goes_first(write: Write) -> None:
    write("PORT=many\n")
    assert read({"PORT": "1"}).port == 1


def test_gateway_config_names_the_file(write: Write) -> None:
    write("PORT=1\n")
    write("PORT=2\n", "other.env")
    assert read({"GATEWAY_CONFIG": "other.env"}).port == 2


def test_an_empty_gateway_config_names_none(write: Write) -> None:
    write("PORT=1\n")
    assert read({"GATEWAY_CONFIG": ""}).port == 1


@pytest.mark.parametrize(
    ("named", "reason"), [("missing.env", "No such file or directory"), (".", "Is a directory")]
)
def test_a_named_file_must_be_there(named: str, reason: str) -> None:
    fault = fault_of(lambda: read({"GATEWAY_CONFIG": named}))
    assert f"{named} cannot be read: {reason}" in fault


def test_a_named_file_that_is_missing_is_laid_to_the_variable_that_names_it() -> None:
    assert "GATEWAY_CONFIG" in fault_of(lambda: read({"GATEWAY_CONFIG": "missing.env"}))


@pytest.mark.parametrize("key", ["$HOME" * 8, "${HOME}" * 8, "a$$b" * 8])
@pytest.mark.parametrize("quote", ["", "'", '"'])
def test_a_dollar_in_the_file_stays_a_dollar(key: str, quote: str, write: Write) -> None:
    write(f"TOKEN_KEY={quote}{key}{quote}\n")
    assert Settings.from_env({"HOME": "/root"}).token_key == key.encode()


@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
def test_the_file_is_utf_8_with_or_without_a_bom_and_with_any_line_ending(
    bom: bytes, newline: bytes, write: Write
) -> None:
    write(bom + "GATEWAY_ISSUER=ïssuer".encode() + newline + b"PORT=1" + newline)
    assert read() == made(issuer="ïssuer", port=1)


def test_a_file_that_is_not_utf_8_is_refused_by_its_line(write: Write) -> None:
    write(b"PORT=1\n\nTOKEN_KEY=caf\xe9 hunter2\n")
    fault = fault_of(read)
    assert fault == "config.env, line 3: not UTF-8; it must be saved as UTF-8"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        pytest.param("TOKEN_KEY='hunter2\n", 1, id="first"),
        pytest.param("PORT=1\nTOKEN_KEY='hunter2\n", 2, id="second"),
        pytest.param("\n\n# note\n\n\nTOKEN_KEY='hunter2\n", 6, id="after blank lines"),
        pytest.param("PORT=1\r\n\r\n \r\nTOKEN_KEY='hunter2\r\n", 4, id="after CRLF"),
        pytest.param("GATEWAY_ISSUER='a\nb\nc'\nTOKEN_KEY=\"hunter2\n", 4, id="after a value of three lines"),
        pytest.param("TOKEN_KEY='hunter2' hunter2\n", 1, id="text after a quote"),
        pytest.param("export TOKEN_KEY='hunter2\n", 1, id="exported"),
    ],
)
def test_a_line_that_cannot_be_parsed_is_reported_by_its_own_number_alone(
    text: str, line: int, write: Write
) -> None:
    write(text)
    fault = fault_of(lambda: Settings.from_env({}))
    assert fault == f"config.env, line {line}: cannot be parsed; it must be NAME=value, each quote closed"


def test_a_line_without_an_equals_sign_is_reported(write: Write) -> None:
    write("PORT=1\n\nhunter2\n")
    assert fault_of(read) == (
        "config.env, line 3: not NAME=value; a name is in one case, and a value of several lines must stand"
        " in quotes"
    )


def test_faults_before_a_line_that_cannot_be_parsed_are_reported_with_it(write: Write) -> None:
    write("PORT=many\nGATEWAY_ISSUER='\n")
    assert [fault.split()[0] for fault in faults_of(read)] == ["config.env,", "PORT"]


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("EXP_TIME_MINS", "EXP_TIME_MIN"),
        ("TOKENKEY", "TOKEN_KEY"),
        ("GATEWAY_PUBLIC_PATH", "GATEWAY_PUBLIC_PATHS"),
        ("GATEWAY_AUDIENCES", "GATEWAY_AUDIENCE"),
    ],
)
def test_an_unknown_name_in_the_file_is_refused_with_the_nearest_known_one(
    name: str, nearest: str, write: Write
) -> None:
    write(f"PORT=1\n\n{name}=3\n")
    assert fault_of(read) == f"config.env, line 3: {name} is no setting; the nearest is {nearest}"


def test_an_unknown_name_near_to_none_is_refused_all_the_same(write: Write) -> None:
    write("COLOUR=red\n")
    assert fault_of(read).startswith("config.env, line 1: COLOUR is no setting")


def test_every_unknown_name_in_the_file_is_reported(write: Write) -> None:
    write("COLOUR=red\nPORT=1\nTASTE=sweet\n")
    assert [fault.split()[3] for fault in faults_of(read)] == ["COLOUR", "TASTE"]


def test_a_misspelt_key_is_not_reported_missing_as_well(write: Write) -> None:
    write(f"TOKEN_KEYS={KEY}\n")
    fault = fault_of(lambda: Settings.from_env({}))
    assert fault == "config.env, line 1: TOKEN_KEYS is no setting; the nearest is TOKEN_KEY"


def test_a_misspelt_name_does_not_hide_the_fault_of_its_neighbour(write: Write) -> None:
    write("EXP_TIME_MINS=3\n")
    faults = faults_of(lambda: read({"EXP_TIME_MIN": "soon"}))
    assert [fault.split()[0] for fault in faults] == ["config.env,", "EXP_TIME_MIN"]


def test_gateway_config_in_the_file_is_refused(write: Write) -> None:
    write("GATEWAY_CONFIG=other.env\n")
    assert fault_of(read) == "config.env, line 1: GATEWAY_CONFIG counts in the environment alone"


def test_the_second_line_of_a_secret_that_looks_like_a_name_is_not_shown(write: Write) -> None:
    """`openssl rand -base64 64` breaks its output into two lines, of which the second ends in `==`."""
    write(f"TOKEN_KEY={'a' * 64}\nZGVmZ2hpamtsbW5vcHFyAA==\n")
    fault = fault_of(lambda: Settings.from_env({}))
    assert fault.startswith("config.env, line 2: ")
    assert "ZGVmZ2hpamtsbW5vcHFyAA" not in fault
