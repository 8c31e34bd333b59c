"""Header names, and the firewall that keeps out what only the gateway may set."""

from __future__ import annotations

import pytest

from gateway.headers import Firewall, environ_key, is_free

OWNED = ("HTTP_X_REFRESHED_TOKEN", "HTTP_UID", "REMOTE_USER", "gateway.claims")


@pytest.mark.parametrize("name", ["X-Refreshed-Token", "x-next", "Token", "X_Token", "My.Token", "T1"])
def test_a_legal_name_that_nothing_uses_is_free(name: str) -> None:
    assert is_free(name)


@pytest.mark.parametrize(
    "name",
    [
        *("", " ", "X Token", "X-Token:", "X\nToken", "Tökèn", "X(1)", "---", "a\x00"),
        *("Authorization", "authorization", "Cookie", "Set-Cookie", "Host", "Content-Type"),
        *("Content-Length", "Connection", "Transfer-Encoding", "WWW-Authenticate", "Cache-Control"),
        *("uid", "UID", "U-I-D", "u.i.d", "Remote-User", "REMOTE_USER", "Auth-Type", "Gateway-Claims"),
        *("X-Forwarded-For", "Access-Control-Allow-Origin", "Origin", "Script-Name", "Vary", "DPoP", "Close"),
        *("Vercel-CDN-Cache-Control", "Fastly-Surrogate-Control", "Edge-Control"),
    ],
)
def test_a_name_that_is_illegal_or_taken_is_not_free(name: str) -> None:
    assert not is_free(name)


def test_a_header_reaches_the_environ_under_its_key() -> None:
    assert environ_key("X-Refreshed-Token") == "HTTP_X_REFRESHED_TOKEN"


@pytest.mark.parametrize(
    "key",
    [
        *OWNED,
        *(
            "HTTP_X.REFRESHED_TOKEN",
            "HTTP_X_REFRESHED.TOKEN",
            "HTTP_XREFRESHEDTOKEN",
            "HTTP_X__REFRESHED_TOKEN",
        ),
        *("HTTP_U_I_D", "HTTP_UID!", "HTTP_UID_", "HTTP_U\xa0ID", "HTTP_REMOTE_USER", "HTTP_REMOTEUSER"),
        *("HTTP_GATEWAY.CLAIMS", "HTTP_GATEWAY_CLAIMS", "HTTP_uid", "HTTP_HTTP_UID"),
    ],
)
def test_what_is_owned_or_called_alike_is_removed(key: str) -> None:
    environ = {key: "evil", "PATH_INFO": "/"}
    Firewall(OWNED).strip(environ)
    assert environ == {"PATH_INFO": "/"}


@pytest.mark.parametrize(
    "key", ["HTTP_UIDS", "HTTP_X_UID", "HTTP_X_REFRESHED_TOKEN2", "UID", "REMOTE_ADDR", "HTTP_AUTHORIZATION"]
)
def test_any_other_key_stays(key: str) -> None:
    environ = {key: "kept"}
    Firewall(OWNED).strip(environ)
    assert environ == {key: "kept"}


def test_an_owned_key_is_removed_each_time_it_comes() -> None:
    firewall = Firewall(OWNED)
    for _ in range(3):
        environ = {"HTTP_U.I.D": "evil", "HTTP_HOST": "h"}
        firewall.strip(environ)
        assert environ == {"HTTP_HOST": "h"}


def test_names_without_end_are_not_remembered_without_end() -> None:
    firewall = Firewall(OWNED)
    for number in range(3 * Firewall.REMEMBERED):
        firewall.strip({f"HTTP_X{number}": "", f"HTTP_{'LONG' * 100}{number}": ""})
    assert len(firewall._harmless) <= Firewall.REMEMBERED
    assert max(map(len, firewall._harmless)) <= Firewall.LONGEST
