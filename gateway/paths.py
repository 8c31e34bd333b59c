"""Which paths are in normal form, and which of them are public."""

from __future__ import annotations

import re
from collections.abc import Iterable

_ODD = re.compile(r"//|/\.\.?(?:/|\Z)|[\\;%\x00-\x1f\x7f]")


def is_normal(path: str) -> bool:
    r"""Tell whether a decoded path can be read in one way only.

    It starts with `/` and holds no `//`, no `.` or `..` segment, no `\`, `;`, `%` and no control
    character: each of these is something that an application may fold into another path.
    """
    return path.startswith("/") and _ODD.search(path) is None


class PublicPaths:
    """The paths that need no credentials.

    Args:
        entries: exact paths (`/health`), or prefixes ending in `/*` (`/static/*` covers `/static/`
            and all below it, not `/static`). Text beyond ASCII stands for its UTF-8 bytes, as
            `PATH_INFO` carries them (PEP 3333).

    Raises:
        ValueError: an entry is neither.
    """

    __slots__ = ("_exact", "_prefixes")

    def __init__(self, entries: Iterable[str]) -> None:
        exact, prefixes = set(), []
        for entry in entries:
            path = entry[:-1] if entry.endswith("/*") else entry
            as_served = _as_served(path)
            if not is_normal(path) or "*" in path or as_served is None:
                raise ValueError(f"{entry!r} is no such path")
            if path is entry:
                exact.add(as_served)
            else:
                prefixes.append(as_served)
        self._exact = frozenset(exact)
        self._prefixes = tuple(prefixes)

    def __contains__(self, path: str) -> bool:
        return (path in self._exact or path.startswith(self._prefixes)) and is_normal(path)


def _as_served(path: str) -> str | None:
    """Return a path as `PATH_INFO` carries its UTF-8 bytes, or None if it is not UTF-8."""
    raw = path.encode("utf-8", "surrogateescape")  # an environment variable's own bytes, whatever the locale
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return raw.decode("latin-1")
