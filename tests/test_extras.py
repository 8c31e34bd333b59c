"""What is installed: the extras that settings ask for, and this package."""

from __future__ import annotations

from importlib import metadata

import pytest

from gateway import extras
from gateway.errors import ConfigError

EXTRAS = ("crypto", "metrics", "redis", "upstream", "users")


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


def test_the_version_is_that_of_the_package() -> None:
    assert extras.version() == metadata.version("wsgi-auth-gateway")


def test_without_a_package_the_version_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "_PACKAGE", "no-such-package")
    assert extras.version() == "unknown"
