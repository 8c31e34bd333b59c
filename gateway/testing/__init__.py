"""Helpers for your own tests of an app behind the gateway.

They need no pytest; `gateway.testing.plugin` has the same as fixtures. Of WebTest, Flask and Django each is
imported only when its client is asked for.
"""

from gateway.testing.clients import django_client, flask_client, webtest_client, werkzeug_client
from gateway.testing.clock import Clock, standing_clock
from gateway.testing.credentials import renewed_token
from gateway.testing.guarding import settings_for_tests
from gateway.testing.tokens import Tokens

__all__ = [
    "Clock",
    "Tokens",
    "django_client",
    "flask_client",
    "renewed_token",
    "settings_for_tests",
    "standing_clock",
    "webtest_client",
    "werkzeug_client",
]
