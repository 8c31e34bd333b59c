"""Paths: which are in normal form, and the patterns by which routes name them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self
from urllib.parse import unquote_to_bytes

_DOTS = re.compile(r"/\.\.?(?:/|\Z)")
_ODD = re.compile(r"[\\;%\x00-\x1f\x7f]")
ANY = "*"


def is_normal(path: str) -> bool:
    r"""Tell whether a decoded path can be read in one way only.

    It starts with `/`, is UTF-8 and holds no `//`, no `.` or `..` segment, no `\`, `;`, `%` and no control
    character: each of these is something that an application may fold into another path. Bytes that are not
    UTF-8 some drop, so that to them `/ad\xffmin` is `/admin`.
    """
    return (
        path.startswith("/")
        and "//" not in path
        and ("/." not in path or _DOTS.search(path) is None)
        and _ODD.search(path) is None
        and (path.isascii() or _is_utf8(path))
    )


def _is_utf8(path: str) -> bool:
    """Tell whether a path is UTF-8, of which each character stands for a byte (PEP 3333)."""
    try:
        path.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return False
    return True


def decoded(target: str) -> str:
    """Return the path of a request target (RFC 9112 section 3.2.1) as `PATH_INFO` would hold it.

    The query goes, and what is percent-encoded is decoded once; each character stands for a byte (PEP 3333).
    """
    return unquote_to_bytes(target.partition("?")[0].encode("latin-1")).decode("latin-1")


@dataclass(frozen=True, slots=True)
class Pattern:
    """The paths of which one segment after another is as given, where `*` stands for any that is not empty.

    With `below` they go on after these, by a slash and whatever comes then, be it nothing.
    """

    segments: tuple[str, ...]
    below: bool = False

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an exact path (`/health`), one with segments `*`, or one that ends in `/*` for all below.

        Text beyond ASCII stands for its UTF-8 bytes, as `PATH_INFO` carries them (PEP 3333).

        Raises:
            ValueError: it is neither, or not in normal form.
        """
        path = _as_served(text)
        segments = () if path is None else tuple(path[1:].split("/"))
        if path is None or not is_normal(path) or any(ANY in each and each != ANY for each in segments):
            raise ValueError(f"{text!r} is no such path")
        below = segments[-1] == ANY
        return cls(segments[:-1] if below else segments, below)

    @property
    def is_literal(self) -> bool:
        """Whether it is one path."""
        return not self.below and ANY not in self.segments

    @property
    def path(self) -> str:
        """The path that it is, if it is one."""
        return "/" + "/".join(self.segments)

    def covers(self, other: Pattern) -> bool:
        """Tell whether all paths of another pattern are among its own."""
        length = len(self.segments)
        if not self.below:
            fits = not other.below and len(other.segments) == length
        else:
            fits = len(other.segments) >= length + (not other.below)
        return fits and all(map(_covers, self.segments, other.segments))


def _covers(segment: str, other: str) -> bool:
    return segment == other or (segment == ANY and other != "")


def _as_served(path: str) -> str | None:
    """Return a path as `PATH_INFO` carries its UTF-8 bytes, or None if it is not UTF-8."""
    raw = path.encode("utf-8", "surrogateescape")  # an environment variable's own bytes, whatever the locale
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return raw.decode("latin-1")
