"""A real browser, and a gateway with the demo app that people log in to."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tests.integration.servers import ANY_PORT, GUNICORN, SHIPPED, Server, serving
from tests.support import KEY

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Locator, Page

PASSWORD = "correct horse battery staple"
LOGIN = f"""
def check(uid, password):
    return {{"role": "editor"}} if password == {PASSWORD!r} else None
"""
# Of a gateway that can do all that the playground shows.
COMPLETE = {"GATEWAY_LOGIN": "login:check", "GATEWAY_STATE_URL": "sqlite:///state.db"}


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """The browser of the system's package."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - installed for these tests alone

    executable = shutil.which("chromium")
    assert executable, "chromium is missing: on Debian and Ubuntu, install the package chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@contextlib.contextmanager
def demo(folder: Path, **variables: str) -> Iterator[Server]:
    """The demo app behind the gateway, to which anybody can log in with `PASSWORD`, if a variable says so."""
    (folder / "login.py").write_text(LOGIN)
    options = ("--access-logfile", "-")
    with serving(folder, GUNICORN, *SHIPPED, *ANY_PORT, *options, TOKEN_KEY=KEY, **variables) as server:
        yield server


def address_of(server: Server) -> str:
    """Where the playground is."""
    return f"http://127.0.0.1:{server.port}/"


class Shown(NamedTuple):
    """What the page shows of an answer."""

    status: str
    code: str
    rule: str


class Playground:
    """The page, opened in a browser. `faults` are what the browser complains of, `asked` the addresses."""

    def __init__(self, page: Page, server: Server) -> None:
        self.page = page
        self.faults: list[str] = []
        self.asked: list[str] = []
        page.on("console", self._note)
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("request", lambda request: self.asked.append(request.url))
        page.goto(address_of(server))
        self.button("As it is").wait_for()

    def _note(self, message: ConsoleMessage) -> None:
        # Chromium says so of each answer that is a refusal, as those here should be.
        if not message.text.startswith("Failed to load resource: "):
            self.faults.append(message.text)

    def button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=name, exact=True)

    def text(self, name: str) -> str:
        """What an element says, by its id."""
        return self.page.locator(f"#{name}").text_content() or ""

    def log_in(self, uid: str = "admin", password: str = PASSWORD) -> None:
        self.page.get_by_label("uid", exact=True).fill(uid)
        self.page.get_by_label("Password").fill(password)
        self.button("Log in").click()
        self._settle()

    def bring(self, token: str, uid: str = "") -> None:
        """Use a token that was made elsewhere."""
        box = self.page.locator("#paste-box")
        if box.get_attribute("open") is None:
            box.locator("summary").click()
        self.page.get_by_label("Token", exact=True).fill(token)
        self.page.get_by_label("Its uid").fill(uid)
        self.button("Use this token").click()

    def press(self, name: str) -> Shown:
        """Press one of the buttons that send, and return what is shown then."""
        self.button(name).click()
        self._settle()
        return self.shown()

    def shown(self) -> Shown:
        return Shown(self.text("status"), self.text("code"), self.text("rule"))

    @property
    def token(self) -> str:
        """The current token."""
        return self.text("compact")

    @property
    def events(self) -> list[str]:
        """What has happened, without the times."""
        lines = self.page.get_by_role("list", name="What has happened").get_by_role("listitem")
        texts: list[str] = lines.locator("span").all_text_contents()
        return texts

    def _settle(self) -> None:
        self.page.locator("body[data-busy='']").wait_for()
