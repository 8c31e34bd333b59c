"""A key carries its algorithm and hides its secret."""

from __future__ import annotations

import pytest

from gateway.errors import ConfigError
from gateway.keys import Key
from tests.support import KEY

PEM = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE\n-----END PUBLIC KEY-----\n"


def test_a_key_verifies_what_it_signed() -> None:
    key = Key(KEY.encode())
    assert key.verify(b"data", key.sign(b"data"))


def test_a_key_does_not_verify_what_another_signed() -> None:
    assert not Key(KEY.encode()).verify(b"data", Key(b"other" * 8).sign(b"data"))


def test_its_repr_hides_the_secret() -> None:
    assert repr(Key(KEY.encode(), kid="k1")) == "Key(alg='HS256', kid='k1')"


@pytest.mark.parametrize(
    "secret",
    [
        pytest.param("", id="empty"),
        pytest.param(PEM, id="PEM"),
        pytest.param("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDExMTExMTExMTExMTEx", id="SSH"),
        pytest.param('{"kty": "oct", "k": "c2VjcmV0"}', id="JWK"),
    ],
)
def test_a_secret_that_others_may_know_is_refused_without_its_text(secret: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Key(secret.encode())
    assert "must be a random secret" in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    assert not secret or secret not in str(caught.value)
