"""An authentication gateway for WSGI apps: it checks bearer tokens so that the app need not."""

from gateway.errors import (
    ConfigError,
    ExpiredTokenError,
    ExposedKeyWarning,
    GatewayError,
    InvalidClaimsError,
    InvalidTokenError,
    KeysUnavailableError,
    TokenError,
    WeakKeyWarning,
)
from gateway.middleware import AuthGateway
from gateway.settings import Settings
from gateway.tokens import TokenCreator

__all__ = [
    "AuthGateway",
    "ConfigError",
    "ExpiredTokenError",
    "ExposedKeyWarning",
    "GatewayError",
    "InvalidClaimsError",
    "InvalidTokenError",
    "KeysUnavailableError",
    "Settings",
    "TokenCreator",
    "TokenError",
    "WeakKeyWarning",
]
