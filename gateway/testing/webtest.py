"""WebTest's client as somebody."""

from __future__ import annotations

import webtest

from gateway.testing.credentials import SendsCredentials


class WebTestClient(SendsCredentials, webtest.TestApp):  # type: ignore[misc]
    """A `webtest.TestApp` that can be somebody."""

    sent_always = "extra_environ"
