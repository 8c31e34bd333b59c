"""What is installed only where a setting asks for it."""

from __future__ import annotations

import pytest

from gateway import extras
from gateway.errors import ConfigError

EXTRAS = ("crypto", "redis", "users")


@pytest.mark.parametrize("extra", EXTRAS)
def test_an_extra_that_is_missing_is_named(extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda module: None)
    with pytest.raises(ConfigError) as caught:
        extras.require(extra, "ES256")
    assert caught.value.faults == (
        f"ES256 needs the extra {extra}: pip install 'wsgi-auth-gateway[{extra}]'",
    )


@pytest.mark.parametrize("extra", EXTRAS)
def test_the_extras_are_here(extra: str) -> None:
    extras.require(extra, "a test")
