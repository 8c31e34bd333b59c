"""An authentication gateway for WSGI apps: it checks bearer tokens so that the app need not."""

from gateway.errors import (
    ConfigError,
    ExpiredTokenError,
    GatewayError,
    InvalidClaimsError,
    InvalidTokenError,
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
    "GatewayError",
    "InvalidClaimsError",
    "InvalidTokenError",
    "Settings",
    "TokenCreator",
    "TokenError",
    "WeakKeyWarning",
]
