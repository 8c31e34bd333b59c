"""Takes the pictures of the playground that the documents show: `python -m tools.screenshots`.

It needs chromium and the extra browser, as the tests in a browser do.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.system.browsers import COMPLETE, Playground, chromium, demo

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from tests.integration.servers import Server

IMAGES = Path(__file__).parent.parent / "docs" / "images"
WIDE: dict[str, Any] = {"viewport": {"width": 1200, "height": 1400}}
PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2}


class Camera:
    """Takes pictures of the page in a browser."""

    def __init__(self, browser: Browser, server: Server) -> None:
        self._browser = browser
        self._server = server

    def take(self, name: str, screen: dict[str, Any], buttons: Iterable[str], at: str = "header") -> None:
        """Take one of such a screen, from one element down, once these buttons were pressed."""
        everywhere: dict[str, Any] = {"locale": "en-GB", "timezone_id": "UTC", "reduced_motion": "reduce"}
        with self._browser.new_context(**everywhere, **screen) as context:
            playground = Playground(context.new_page(), self._server)
            playground.log_in()
            for button in buttons:
                playground.press(button)
            playground.page.locator(at).evaluate("element => element.scrollIntoView()")
            playground.page.screenshot(path=IMAGES / f"playground-{name}.png", animations="disabled")


def take_all(camera: Camera) -> None:
    """Take those that the documents show."""
    camera.take("light", {"color_scheme": "light", **WIDE}, ["No uid", "Near expiry", "Another uid"])
    camera.take("dark", {"color_scheme": "dark", **WIDE}, ["As it is", "Near expiry", "After logging out"])
    camera.take("phone", PHONE, ["A letter cut off"], at="#answer")


if __name__ == "__main__":
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as made, demo(Path(made), **COMPLETE) as started, chromium() as opened:
        take_all(Camera(opened, started))
