"""The helpers as pytest fixtures: `pytest_plugins = ["gateway.testing.plugin"]`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gateway.settings import Settings
from gateway.testing.clock import Clock, standing_clock
from gateway.testing.guarding import settings_for_tests
from gateway.testing.tokens import Tokens
from gateway.tokens import TokenCreator


@pytest.fixture
def gateway_clock() -> Iterator[Clock]:
    """The time that all gateways go by: it stands still in this test, until the test moves it."""
    with standing_clock() as clock:
        yield clock


@pytest.fixture
def gateway_settings() -> Settings:
    """Settings with a key made for this test alone; a fixture of this name in your conftest replaces them."""
    return settings_for_tests()


@pytest.fixture
def gateway_tokens(gateway_settings: Settings) -> Tokens:
    """Tokens by `gateway_settings`, for a test without a client."""
    return Tokens(TokenCreator(gateway_settings))
