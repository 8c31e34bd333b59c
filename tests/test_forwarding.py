"""What of a request goes on, what of an answer comes back, and what of neither ever does."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any
from wsgiref.util import setup_testing_defaults

import pytest

from gateway.forwarding import (
    LENGTH_REQUIRED,
    MALFORMED_REQUEST,
    METHOD_NOT_SUPPORTED,
    UNKNOWN_CODING,
    UPGRADE_NOT_SUPPORTED,
    Forwarding,
    IncompleteBodyError,
    MalformedAnswerError,
    Request,
    returned,
)
from gateway.proxies import TrustedProxies
from gateway.rejections import Rejection

PROXY, CLIENT = "10.0.0.1", "203.0.113.9"
INJECTED = ("uid", "X-Refreshed-Token")


def judged(*, base: str = "", **environ: Any) -> Request | Rejection:
    environ = {"REMOTE_ADDR": CLIENT, **environ}
    setup_testing_defaults(environ)
    return Forwarding(base, INJECTED, TrustedProxies([PROXY, "unix"])).request(environ)


def forwarded(**environ: Any) -> Request:
    request = judged(**environ)
    assert isinstance(request, Request)
    return request


def headers(**environ: Any) -> dict[str, str]:
    return forwarded(**environ).headers


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/", "/"),
        ("", "/"),
        ("/x/../admin", "/x/../admin"),
        ("/./x/.", "/./x/."),
        ("//a", "//a"),
        ("/a//b/", "/a//b/"),
        ("/a/b", "/a/b"),
        ("/a%2Fb", "/a%252Fb"),
        ("/100%", "/100%25"),
        ("/a?b", "/a%3Fb"),
        ("/a#b", "/a%23b"),
        ("/admin;x=1", "/admin%3Bx=1"),
        ("/a\\b", "/a%5Cb"),
        ("/a b\t", "/a%20b%09"),
        ("/a\r\nHost: x\0", "/a%0D%0AHost:%20x%00"),
        ("/\xff\xfe", "/%FF%FE"),
        ("/\xc3\xa9", "/%C3%A9"),
        ("/-._~!$&'()*+,=:@", "/-._~!$&'()*+,=:@"),
    ],
)
def test_the_path_goes_on_as_it_was_judged(path: str, target: str) -> None:
    assert forwarded(PATH_INFO=path).target == target


def test_the_path_stands_behind_the_base() -> None:
    assert forwarded(base="/base", PATH_INFO="/x/..y/.z").target == "/base/x/..y/.z"
    assert forwarded(base="/base", PATH_INFO="").target == "/base"


@pytest.mark.parametrize("path", ["/..", "/../x", "/x/../../y", "/./x", "/x/.", "/..\\x", "/x\\..\\..\\y"])
def test_no_path_leads_out_of_the_base(path: str) -> None:
    assert judged(base="/base", PATH_INFO=path) is MALFORMED_REQUEST


def test_the_path_under_which_the_gateway_is_mounted_is_told_and_not_sent() -> None:
    request = forwarded(SCRIPT_NAME="/mo\xc3\xbcnt", PATH_INFO="/x")
    assert (request.target, request.headers["X-Forwarded-Prefix"]) == ("/x", "/mo%C3%BCnt")


@pytest.mark.parametrize("path", ["*", "x", "http://other/"])
def test_what_is_no_path_is_refused(path: str) -> None:
    assert judged(PATH_INFO=path) is MALFORMED_REQUEST


@pytest.mark.parametrize(
    ("query", "sent"),
    [
        ("a=%2f&b=%zz&c=/../x;y?'\"<>|{}[]^`\\", "a=%2f&b=%zz&c=/../x;y?'\"<>|{}[]^`\\"),
        ("a=\xff b\r\nX: y\0#z", "a=%FF%20b%0D%0AX:%20y%00%23z"),
    ],
)
def test_the_query_goes_on_raw_save_what_may_not_stand_in_one(query: str, sent: str) -> None:
    assert forwarded(PATH_INFO="/x", QUERY_STRING=query).target == f"/x?{sent}"


def test_headers_go_on_under_their_names() -> None:
    found = headers(
        HTTP_ACCEPT_LANGUAGE="de", HTTP_AUTHORIZATION="Bearer x", HTTP_COOKIE="a=b", HTTP_ODD="\xff\t x"
    )
    expected = {"Accept-Language": "de", "Authorization": "Bearer x", "Cookie": "a=b", "Odd": "\xff\t x"}
    assert expected.items() <= found.items()


@pytest.mark.parametrize(
    "name",
    [
        *("Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authorization", "Proxy-Authenticate", "TE"),
        *("Trailer", "Proxy", "Expect", "Forwarded", "X-Original-URL", "X-Rewrite-URL", "Content-Length"),
        *("X-Forwarded-Method", "X-Forwarded-Uri", "X-Forwarded.For", "X_Real_IP", "True-Client-IP"),
        *("Content.Length", "Transfer.Encoding", "T.E", "X(y)", "X\r\nY", ""),
    ],
)
@pytest.mark.parametrize("peer", [PROXY, CLIENT])
def test_some_headers_never_go_on(name: str, peer: str) -> None:
    key = "HTTP_" + name.upper().replace("-", "_")
    plain = headers(REMOTE_ADDR=peer)
    assert headers(REMOTE_ADDR=peer, **{key: "192.0.2.66"}) == plain


def test_headers_that_the_connection_names_do_not_go_on() -> None:
    found = headers(HTTP_CONNECTION="close, x-ONE ,X-Two", HTTP_X_ONE="1", HTTP_X_TWO="2", HTTP_X_THREE="3")
    assert {name for name in found if name.startswith("X-T") or name == "X-One"} == {"X-Three"}


def test_no_connection_drops_what_the_gateway_says() -> None:
    named = "uid, X-Refreshed-Token, Host, X-Forwarded-For, X-Real-IP, Content-Type, Content-Length"
    plain = {"HTTP_UID": "12", "HTTP_X_REFRESHED_TOKEN": "t", "CONTENT_TYPE": "a/b", "CONTENT_LENGTH": "5"}
    assert headers(HTTP_CONNECTION=named, **plain) == headers(**plain)


@pytest.mark.parametrize("key", ["U.ID", "UID_", "_UID", "X.REFRESHED_TOKEN", "XREFRESHEDTOKEN", "U!I#D"])
def test_what_resembles_an_injected_header_does_not_go_on(key: str) -> None:
    assert headers(HTTP_UID="12", **{f"HTTP_{key}": "13"}) == headers(HTTP_UID="12")
    assert headers(HTTP_UID="12")["uid"] == "12"


def test_an_injected_header_that_was_not_set_is_not_there() -> None:
    assert not {"uid", "x-refreshed-token"}.intersection(map(str.lower, headers()))


@pytest.mark.parametrize("value", ["a\rb", "a\nb", "a\r\n b", "a\0b", "\x7f", "\x1b[0m", "€"])
@pytest.mark.parametrize("key", ["HTTP_X", "HTTP_UID", "HTTP_HOST", "CONTENT_TYPE", "REMOTE_ADDR"])
def test_a_value_that_is_illegal_is_refused(key: str, value: str) -> None:
    assert judged(**{key: value}) is MALFORMED_REQUEST


@pytest.mark.parametrize("method", ["GE T", "GET\r\n", "", "G\xe9T"])
def test_a_method_that_is_none_is_refused(method: str) -> None:
    assert judged(REQUEST_METHOD=method) is MALFORMED_REQUEST


def test_a_tunnel_is_refused() -> None:
    assert judged(HTTP_UPGRADE="websocket") is judged(REQUEST_METHOD="CONNECT") is UPGRADE_NOT_SUPPORTED


@pytest.mark.parametrize("hops", ["", "0", "5"])
def test_no_request_is_shown_to_the_client_as_it_went_on(hops: str) -> None:
    assert judged(REQUEST_METHOD="TRACE", HTTP_MAX_FORWARDS=hops) is METHOD_NOT_SUPPORTED


@pytest.mark.parametrize("hops", ["0", "00"])
def test_a_request_that_may_go_no_further_does_not(hops: str) -> None:
    assert judged(REQUEST_METHOD="OPTIONS", HTTP_MAX_FORWARDS=hops) is METHOD_NOT_SUPPORTED


@pytest.mark.parametrize(
    ("method", "hops", "left"), [("OPTIONS", "10", "9"), ("OPTIONS", "x", "x"), ("GET", "0", "0")]
)
def test_a_request_may_go_one_hop_less_far(method: str, hops: str, left: str) -> None:
    assert headers(REQUEST_METHOD=method, HTTP_MAX_FORWARDS=hops)["Max-Forwards"] == left


def test_the_way_is_told() -> None:
    assert headers(SERVER_PROTOCOL="HTTP/1.0")["Via"] == "1.0 gateway"
    assert headers(SERVER_PROTOCOL="HTTP/1.1", HTTP_VIA="2 cdn")["Via"] == "2 cdn, 1.1 gateway"


CLAIMS = {
    "HTTP_X_FORWARDED_FOR": "192.0.2.1, 192.0.2.2",
    "HTTP_X_FORWARDED_HOST": "outside.example",
    "HTTP_X_FORWARDED_PROTO": "https",
    "HTTP_X_FORWARDED_PORT": "443",
    "HTTP_X_FORWARDED_PREFIX": "/outer",
    "HTTP_X_REAL_IP": "192.0.2.3",
}


def said(**environ: Any) -> dict[str, str]:
    """What the server is told of the client."""
    found = headers(HTTP_HOST="inside.example", **environ)
    return {name: value for name, value in found.items() if name.startswith(("X-Forwarded-", "X-Real"))}


def test_what_a_client_claims_of_itself_is_replaced() -> None:
    expected = {
        "X-Forwarded-For": CLIENT,
        "X-Forwarded-Host": "inside.example",
        "X-Forwarded-Proto": "http",
        "X-Real-IP": CLIENT,
    }
    assert said(**CLAIMS) == said() == expected


@pytest.mark.parametrize(
    ("name", "value"), [("PROTO", "https"), ("PROTOCOL", "ssl"), ("SSL", "on"), ("PROTO", "http")]
)
def test_no_client_says_what_the_scheme_is(name: str, value: str) -> None:
    claim = {f"HTTP_X_FORWARDED_{name}": value, "wsgi.url_scheme": "https"}  # as some servers then say
    assert said(**claim)["X-Forwarded-Proto"] == "http"


def test_without_a_claim_the_scheme_is_that_of_the_connection() -> None:
    assert said(**{"wsgi.url_scheme": "https"})["X-Forwarded-Proto"] == "https"


def test_what_a_trusted_proxy_says_is_added_to() -> None:
    assert said(REMOTE_ADDR=PROXY, SCRIPT_NAME="/inner", **CLAIMS) == {
        "X-Forwarded-For": f"192.0.2.1, 192.0.2.2, {PROXY}",
        "X-Forwarded-Host": "outside.example",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Port": "443",
        "X-Forwarded-Prefix": "/outer/inner",
        "X-Real-IP": "192.0.2.2",
    }


def test_a_trusted_peer_on_a_unix_socket_has_no_address_to_add() -> None:
    found = said(REMOTE_ADDR="", **CLAIMS)
    assert (found["X-Forwarded-For"], found["X-Real-IP"]) == ("192.0.2.1, 192.0.2.2", "192.0.2.2")
    assert not {"X-Forwarded-For", "X-Real-IP"}.intersection(said(REMOTE_ADDR=""))


def test_the_host_goes_on() -> None:
    assert headers(HTTP_HOST="app.example:8080")["Host"] == "app.example:8080"


def test_without_a_body_there_is_none() -> None:
    request = forwarded(REQUEST_METHOD="POST", CONTENT_LENGTH="")
    assert (request.body, request.headers.get("Content-Length")) == (None, None)


def test_an_empty_body_has_its_length() -> None:
    request = forwarded(REQUEST_METHOD="POST", CONTENT_LENGTH="0")
    assert (request.body, request.headers["Content-Length"]) == (None, "0")


def stream_of(body: bytes, **environ: Any) -> list[bytes]:
    request = forwarded(**environ, **{"wsgi.input": io.BytesIO(body)})
    assert request.body is not None
    return list(request.body)


def test_no_more_of_a_body_is_read_than_its_length() -> None:
    assert stream_of(b"hello, next request", CONTENT_LENGTH="5") == [b"hello"]


def test_a_body_is_read_in_pieces() -> None:
    assert [len(piece) for piece in stream_of(b"x" * 150_000, CONTENT_LENGTH="140000")] == [
        65536,
        65536,
        8928,
    ]


def test_a_body_in_chunks_is_read_to_its_end() -> None:
    chunked = {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True}
    assert stream_of(b"hello", **chunked) == [b"hello"]


def test_a_body_that_ends_early_is_incomplete() -> None:
    with pytest.raises(IncompleteBodyError):
        stream_of(b"hell", CONTENT_LENGTH="5")


@pytest.mark.parametrize("error", [OSError("gone"), ValueError("no chunk"), RuntimeError])
def test_a_body_that_cannot_be_read_is_incomplete(error: Exception) -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise error

    request = forwarded(**{"wsgi.input": Broken()}, CONTENT_LENGTH="5")
    assert request.body is not None
    with pytest.raises(IncompleteBodyError):
        list(request.body)


@pytest.mark.parametrize("length", ["-1", "+5", "5, 5", "1_0", " 5", "0x5", "\u0665", "9" * 19])
def test_a_length_that_is_none_is_refused(length: str) -> None:
    assert judged(CONTENT_LENGTH=length) is MALFORMED_REQUEST


def test_a_body_with_two_lengths_is_refused() -> None:
    two: dict[str, Any] = {
        "HTTP_TRANSFER_ENCODING": "chunked",
        "CONTENT_LENGTH": "5",
        "wsgi.input_terminated": True,
    }
    assert judged(**two) is MALFORMED_REQUEST


@pytest.mark.parametrize("coding", ["gzip, chunked", "gzip", "identity", "chunked, chunked", "xchunked", " "])
def test_a_coding_that_is_not_known_is_refused(coding: str) -> None:
    coded: dict[str, Any] = {"HTTP_TRANSFER_ENCODING": coding, "wsgi.input_terminated": True}
    assert judged(**coded) is UNKNOWN_CODING


def test_a_coding_is_known_in_any_case() -> None:
    assert stream_of(b"hello", **{"HTTP_TRANSFER_ENCODING": "Chunked", "wsgi.input_terminated": True}) == [
        b"hello"
    ]


def test_a_body_without_an_end_is_refused() -> None:
    assert judged(HTTP_TRANSFER_ENCODING="chunked") is LENGTH_REQUIRED


@pytest.mark.parametrize(
    ("method", "body", "expected"),
    [("GET", "", True), ("DELETE", "", True), ("POST", "", False), ("PATCH", "", False), ("PUT", "5", False)],
)
def test_only_an_idempotent_request_without_a_body_may_be_repeated(
    method: str, body: str, expected: bool
) -> None:
    assert forwarded(REQUEST_METHOD=method, CONTENT_LENGTH=body).is_repeatable is expected


def back(*fields: tuple[str, str], status: int = 200) -> list[tuple[str, str]]:
    return returned(status, "OK", fields)[1]


def test_headers_come_back_as_they_came_and_apart() -> None:
    fields = (
        ("Set-Cookie", "a=1"),
        ("Date", "now"),
        ("Set-Cookie", "b=2"),
        ("ETag", '"\xe9"'),
        ("Server", "s"),
    )
    assert back(*fields) == list(fields)


def test_headers_of_the_connection_do_not_come_back() -> None:
    hop_by_hop = ("Connection", "Keep-Alive", "Proxy-Authenticate", "TE", "Trailer", "Upgrade", "X-Named")
    fields = [(name, "x-named") for name in hop_by_hop]
    assert back(*fields, ("Transfer-Encoding", "chunked"), ("X", "y")) == [("X", "y")]


@pytest.mark.parametrize(
    ("status", "reason", "line"),
    [
        (200, "Fine", "200 Fine"),
        (498, "Invalid Token", "498 Invalid Token"),
        (404, "", "404 Not Found"),
        (599, "", "599 Unknown"),
    ],
)
def test_the_status_comes_back(status: int, reason: str, line: str) -> None:
    assert returned(status, reason, ())[0] == line


def test_a_value_comes_back_in_one_line_and_without_tabs() -> None:
    assert back(("X", "\ta\tb ")) == [("X", "a b")]
    assert back(("X", "a\r\n \tb\n c")) == [("X", "a b c")]


@pytest.mark.parametrize(
    ("fields", "status", "expected"),
    [
        ([("Content-Length", "5")], 200, [("Content-Length", "5")]),
        ([("Content-Length", "5"), ("content-length", "5")], 200, [("Content-Length", "5")]),
        ([("Content-Length", "0")], 204, []),
        ([("Content-Length", "5"), ("Transfer-Encoding", "Chunked")], 200, []),
    ],
)
def test_one_length_comes_back_at_most(
    fields: list[tuple[str, str]], status: int, expected: list[tuple[str, str]]
) -> None:
    assert back(*fields, status=status) == expected


@pytest.mark.parametrize(
    "field",
    [
        *(("X", "a\rb"), ("X", "a\nb"), ("X", "a\0"), ("X Y", "a"), ("", "a"), ("X", "€")),
        *(("Content-Length", "abc"), ("Content-Length", "5, 5"), ("Content-Length", "-5")),
        *(("Transfer-Encoding", "gzip, chunked"), ("Transfer-Encoding", "gzip")),
        ("Transfer-Encoding", "chunked, chunked"),
    ],
)
def test_an_answer_that_is_malformed_is_none(field: tuple[str, str]) -> None:
    with pytest.raises(MalformedAnswerError):
        back(field)


def test_a_reason_that_is_illegal_is_none() -> None:
    with pytest.raises(MalformedAnswerError):
        returned(200, "OK\rX: y", ())


def test_no_more_names_are_remembered_than_that() -> None:
    forwarding = Forwarding("", INJECTED, TrustedProxies(()))
    environ: dict[str, Any] = {"REMOTE_ADDR": CLIENT}
    setup_testing_defaults(environ)
    for number in range(3 * Forwarding.REMEMBERED):
        forwarding.request(environ | {f"HTTP_X_{number}": "x"})
    remembered: Callable[..., Any] = forwarding._remembered
    assert remembered.cache_info().currsize == Forwarding.REMEMBERED  # type: ignore[attr-defined]


def test_no_long_name_is_remembered_and_it_goes_on() -> None:
    forwarding = Forwarding("", INJECTED, TrustedProxies(()))
    environ: dict[str, Any] = {"REMOTE_ADDR": CLIENT}
    setup_testing_defaults(environ)
    forwarding.request(environ)
    remembered: Callable[..., Any] = forwarding._remembered
    before = remembered.cache_info()  # type: ignore[attr-defined]
    request = forwarding.request(environ | {"HTTP_" + "X" * 8000: "y"})
    assert isinstance(request, Request)
    assert request.headers["X" + "x" * 7999] == "y"
    assert remembered.cache_info().currsize == before.currsize  # type: ignore[attr-defined]
