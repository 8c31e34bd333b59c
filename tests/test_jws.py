"""What is a token at all: one compact JWS, read in one way only."""

from __future__ import annotations

import hashlib
import hmac
import json
import string

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import jws
from gateway.errors import InvalidTokenError
from gateway.keys import Key, KeyRing
from tests.support import HEADER, KEY, as_bytes, b64, claims, forge

OURS = KeyRing([Key.secret(KEY)])
NAMED_KEY = Key.secret(KEY, kid="k1")
NAMED = KeyRing([NAMED_KEY])
GOOD = forge(claims())
HEAD, BODY, SIGNATURE = GOOD.split(".")


def sign(signed: str) -> str:
    """Sign a signing input as it stands, however it is spelled."""
    return f"{signed}.{b64(hmac.new(KEY.encode(), signed.encode(), hashlib.sha256).digest())}"


def next_character(character: str) -> str:
    alphabet = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"
    return alphabet[alphabet.index(character) + 1]


def spelled_with_trailing_bits(segment: str) -> str:
    assert len(segment) % 4, "a segment of whole groups has no trailing bits"
    return segment[:-1] + next_character(segment[-1])


def with_trailing_bits_in_header() -> str:
    header = b64(as_bytes({"alg": "HS256", "typ": "JWT", "x": "1"}))
    return sign(f"{spelled_with_trailing_bits(header)}.{BODY}")


REFUSED_FORMS = {
    "empty": "",
    "one segment": HEAD,
    "two segments": f"{HEAD}.{BODY}",
    "four segments": f"{GOOD}.x",
    "five segments": f"{GOOD}..",
    "only dots": "..",
    "no signature": f"{HEAD}.{BODY}.",
    "dot at the end": f"{GOOD}.",
    "padded signature": f"{GOOD}=",
    "padded header, signed that way": sign(f"{HEAD}=.{BODY}"),
    "padded payload, signed that way": sign(f"{HEAD}.{BODY}=="),
    "space before": f" {GOOD}",
    "newline after": f"{GOOD}\n",
    "newline inside, signed that way": sign(f"{HEAD}.{BODY[:4]}\n{BODY[4:]}"),
    "standard alphabet": f"{HEAD}.{BODY}.{SIGNATURE[:-2]}+/",
    "beyond ASCII": f"{GOOD}é",
    "full-width dot": GOOD.replace(".", "\uff0e"),
    "a letter cut off": GOOD[:-1],
    "four letters cut off": GOOD[:-4],
    "a letter more": f"{GOOD}A",
    "a group more": f"{GOOD}AAAA",
    "trailing bits in the signature": f"{HEAD}.{BODY}.{spelled_with_trailing_bits(SIGNATURE)}",
    "trailing bits in the header, signed that way": with_trailing_bits_in_header(),
    "a group of one letter": sign(f"{HEAD}.{BODY}A" if len(BODY) % 4 == 0 else f"{HEAD}.AAAAA"),
    "signature of zeros": f"{HEAD}.{BODY}.{b64(bytes(32))}",
    "signature in hex": f"{HEAD}.{BODY}.{'ab' * 32}",
    "another token's signature": f"{HEAD}.{BODY}.{forge(claims(uid=1)).split('.')[2]}",
    "another key's signature": forge(claims(), key="other" * 8),
    "half a signature": f"{HEAD}.{BODY}.{b64(bytes(16))}",
    "the JSON serialization": json.dumps({"payload": BODY, "protected": HEAD, "signature": SIGNATURE}),
}


@pytest.mark.parametrize("token", [pytest.param(token, id=name) for name, token in REFUSED_FORMS.items()])
def test_a_token_of_another_form_is_refused(token: str) -> None:
    with pytest.raises(InvalidTokenError):
        jws.decode(token, OURS)


WHATEVER: list[object] = [None, True, [], ["b64"], "DEF"]
REFUSED_HEADERS: dict[str, object] = {
    "no object": [HEADER],
    "null": None,
    "empty object": {},
    "not JSON": b"alg=HS256",
    "a comment": b'{"alg":"HS256"/**/}',
    "text after": b'{"alg":"HS256"}x',
    "byte order mark": b"\xef\xbb\xbf" + as_bytes(HEADER),
    "UTF-16": '{"alg":"HS256"}'.encode("utf-16-le"),
    "UTF-32": '{"alg":"HS256"}'.encode("utf-32-be"),
    "invalid UTF-8": b'{"alg":"HS256","x":"\xff"}',
    "surrogate bytes": b'{"alg":"HS256","x":"\xed\xa0\x80"}',
    "NaN": b'{"alg":"HS256","x":NaN}',
    "Infinity": b'{"alg":"HS256","x":-Infinity}',
    "beyond a double": b'{"alg":"HS256","x":1e400}',
    "4,301 digits": b'{"alg":"HS256","x":1' + b"0" * 4300 + b"}",
    "100,000 lists": b'{"alg":"HS256","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "65 levels": b'{"alg":"HS256","x":' + b"[" * 64 + b"]" * 64 + b"}",
    "alg twice": b'{"alg":"none","alg":"HS256"}',
    "alg twice, once escaped": b'{"alg":"HS256","\\u0061lg":"HS256"}',
    "a nested member twice": b'{"alg":"HS256","x":{"a":1,"a":1}}',
    "alg missing": {"typ": "JWT"},
    "alg in capitals": {"ALG": "HS256"},
    "alg null": {"alg": None},
    "alg empty": {"alg": ""},
    "alg a number": {"alg": 256},
    "alg true": {"alg": True},
    "alg a list": {"alg": ["HS256"]},
    "alg an object": {"alg": {}},
    "alg none": {"alg": "none"},
    "alg None": {"alg": "None"},
    "alg NONE": {"alg": "NONE"},
    "alg lower case": {"alg": "hs256"},
    "alg with a space": {"alg": "HS256 "},
    "alg HS384": {"alg": "HS384"},
    "alg RS256": {"alg": "RS256"},
    "typ null": HEADER | {"typ": None},
    "typ a number": HEADER | {"typ": 5},
    "typ empty": HEADER | {"typ": ""},
    "typ JOSE+JSON": HEADER | {"typ": "JOSE+JSON"},
    "typ logout+jwt": HEADER | {"typ": "logout+jwt"},
    "typ with a space": HEADER | {"typ": "JWT "},
    "typ application twice": HEADER | {"typ": "application/application/jwt"},
    "kid unknown": HEADER | {"kid": "k1"},
    "kid empty": HEADER | {"kid": ""},
    "kid null": HEADER | {"kid": None},
    "kid a number": HEADER | {"kid": 1},
    "kid a list": HEADER | {"kid": []},
    "kid a path": HEADER | {"kid": "../../dev/null"},
} | {
    f"{member} {value!r}": HEADER | {member: value}
    for member in ("crit", "b64", "zip", "enc")
    for value in WHATEVER
}


@pytest.mark.parametrize("header", [pytest.param(value, id=name) for name, value in REFUSED_HEADERS.items()])
def test_a_rightly_signed_token_with_another_header_is_refused(header: object) -> None:
    with pytest.raises(InvalidTokenError):
        jws.decode(forge(claims(), header), OURS)


@pytest.mark.parametrize(
    "header",
    [
        pytest.param({"alg": "HS256"}, id="no typ"),
        pytest.param(HEADER | {"typ": "jwt"}, id="lower case"),
        pytest.param(HEADER | {"typ": "at+jwt"}, id="access token"),
        pytest.param(HEADER | {"typ": "AT+JWT"}, id="access token in capitals"),
        pytest.param(HEADER | {"typ": "application/JWT"}, id="media type"),
        pytest.param(HEADER | {"typ": "Application/at+jwt"}, id="media type in any case"),
        pytest.param(HEADER | {"cty": "x", "x": [1]}, id="unknown members"),
        pytest.param(b' {"alg" : "HS256"}\n', id="white space"),
        pytest.param(b'{"alg":"HS256","x":' + b"[" * 30 + b"]" * 30 + b"}", id="31 levels"),
    ],
)
def test_a_header_that_says_nothing_else_is_read(header: object) -> None:
    assert jws.decode(forge(claims(), header), OURS) == claims()


@pytest.mark.parametrize("member", ["jwk", "jku", "x5u", "x5c"])
def test_a_key_inside_the_token_is_never_used(member: str) -> None:
    theirs = "their own key, of 32 bytes at least!"
    jwk = {"kty": "oct", "k": b64(theirs.encode())}
    for value in (jwk, [b64(theirs.encode())], "http://127.0.0.1/keys"):
        with pytest.raises(InvalidTokenError):
            jws.decode(forge(claims(), HEADER | {member: value}, key=theirs), OURS)


REFUSED_PAYLOADS = {
    "a list": [1],
    "a string": "x",
    "null": None,
    "a number": 1,
    "empty": b" ",
    "not JSON": b"uid=12",
    "two objects": b'{"uid":12}{}',
    "byte order mark": b"\xef\xbb\xbf" + as_bytes(claims()),
    "UTF-16": json.dumps(claims()).encode("utf-16-le"),
    "invalid UTF-8": b'{"uid":"\xff"}',
    "surrogate bytes": b'{"uid":"\xed\xa0\x80"}',
    "uid twice": b'{"uid":12,"uid":13}',
    "a nested member twice": b'{"uid":12,"x":[{"a":1,"a":2}]}',
    "NaN": b'{"uid":12,"x":NaN}',
    "1e400": b'{"uid":12,"x":[-1e400]}',
    "4,301 digits": b'{"uid":1' + b"0" * 4300 + b"}",
    "100,000 objects": b'{"x":' * 100_000 + b"1" + b"}" * 100_000,
    "65 levels": b'{"x":' + b"[" * 64 + b"]" * 64 + b"}",
    "a raw control character": b'{"uid":"a\nb"}',
}


@pytest.mark.parametrize(
    "payload", [pytest.param(value, id=name) for name, value in REFUSED_PAYLOADS.items()]
)
def test_a_payload_that_is_no_plain_json_object_is_refused(payload: object) -> None:
    with pytest.raises(InvalidTokenError):
        jws.decode(forge(payload), OURS)


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(b'{"x":' + b"[" * 30 + b"]" * 30 + b"}", id="31 levels"),
        pytest.param(b'{"x":[' + b"{}," * 100 + b"{}]}", id="many objects side by side"),
        pytest.param(b'{"x":"' + b"[" * 100 + b'"}', id="brackets in a string"),
        pytest.param(b'{"x":1' + b"0" * 4299 + b"}", id="4,300 digits"),
        pytest.param(b'{"x":1e308,"y":1e-400,"z":-0}', id="odd numbers"),
        pytest.param(b'{"\\ud800":"\\udfff"}', id="lone surrogates, escaped"),
        pytest.param(b"{}", id="no claims"),
    ],
)
def test_a_payload_that_json_can_read_is_read(payload: bytes) -> None:
    assert jws.decode(forge(payload), OURS) == json.loads(payload)


def test_a_key_with_a_name_is_named_in_the_header() -> None:
    token = jws.encode(claims(), NAMED_KEY)
    assert jwt.get_unverified_header(token) == HEADER | {"kid": "k1"}
    assert jws.decode(token, NAMED) == claims()


def test_a_key_with_a_name_takes_a_token_without_one() -> None:
    assert jws.decode(GOOD, NAMED) == claims()


def test_a_key_with_a_name_refuses_another_name() -> None:
    with pytest.raises(InvalidTokenError):
        jws.decode(forge(claims(), HEADER | {"kid": "k2"}), NAMED)


def test_another_library_reads_what_is_made_here() -> None:
    token = jws.encode(claims(), Key.secret(KEY))
    options = {"verify_exp": False, "verify_iat": False}
    assert jwt.decode(token, KEY, algorithms=["HS256"], options=options) == claims()  # type: ignore[arg-type]


def test_what_another_library_makes_is_read_here() -> None:
    assert jws.decode(jwt.encode(claims(), KEY, algorithm="HS256"), OURS) == claims()


def test_each_reading_gives_claims_of_its_own() -> None:
    assert jws.decode(GOOD, OURS) is not jws.decode(GOOD, OURS)


def test_peek_reads_a_token_whoever_signed_it() -> None:
    assert jws.peek(forge(claims(), key="other" * 8)) == (HEADER, claims())


def test_peek_refuses_what_cannot_be_read() -> None:
    with pytest.raises(InvalidTokenError):
        jws.peek("a.b")


@given(st.text(alphabet=string.ascii_letters + string.digits + "-_.=", max_size=200) | st.text())
def test_any_text_is_refused_with_one_error(text: str) -> None:
    with pytest.raises(InvalidTokenError):
        jws.decode(text, OURS)


@given(st.data())
def test_no_changed_character_goes_unnoticed(data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(GOOD) - 1))
    character = data.draw(st.sampled_from(string.ascii_letters + string.digits + "-_.="))
    changed = GOOD[:place] + character + GOOD[place + 1 :]
    if changed != GOOD:
        with pytest.raises(InvalidTokenError):
            jws.decode(changed, OURS)


def test_no_message_holds_anything_of_the_token() -> None:
    token = forge(claims(uid="a-private-name"), key="other" * 8)
    with pytest.raises(InvalidTokenError) as caught:
        jws.decode(token, OURS)
    assert not any(part in str(caught.value) for part in (*token.split("."), "a-private-name"))
