"""Follows each link of a built site, and tells of those that lead nowhere: `python -m tools.links FOLDER`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}
KEPT = {"canonical", "search"}  # of `link`: what is named and not loaded


class Page(HTMLParser):
    """The anchors of a page, where it leads, and what a browser loads for it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors = {"", "top"}
        self.links: set[str] = set()
        self.loaded: set[str] = set()
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take note of one element."""
        given = {name: value for name, value in attrs if value}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.add(given["href"])
        elif LOADED.get(tag, "") in given and given.get("rel") not in KEPT:
            self.loaded.add(given[LOADED[tag]])


def faults(folder: Path) -> Iterator[str]:
    """Yield a line for each link within a site that is broken, and for all that is loaded from elsewhere."""
    pages = {path.resolve(): Page(path) for path in sorted(folder.rglob("*.html"))}
    for path, page in pages.items():
        for link in sorted(page.links | page.loaded):
            parts = urlsplit(link)
            if not (parts.scheme or parts.netloc):
                target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
                anchors = pages[target].anchors if target in pages else {"", parts.fragment}
                if not target.is_file() or unquote(parts.fragment) not in anchors:
                    yield f"{path}: {link} leads nowhere"
            elif link in page.loaded and parts.scheme != "data":
                yield f"{path}: {link} is loaded from elsewhere"


if __name__ == "__main__":
    sys.exit("\n".join(faults(Path(sys.argv[1]))) or 0)
