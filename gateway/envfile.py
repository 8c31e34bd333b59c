"""Dotenv files: read strictly, by python-dotenv's parser, and blanked for an example.

A line that is no assignment may be the rest of a secret: a value that was wrapped, or a quote that was
forgotten. So none is ever shown, kept or passed over; it is refused by its number.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from dotenv.parser import Binding, parse_stream

# In one case: what mixes both is more likely the wrapped end of a base64 value, as AbCd= is.
_NAME = re.compile(r"[A-Z_][A-Z0-9_]*|[a-z_][a-z0-9_]*")
_NEWLINE = re.compile(r"\r\n|\n|\r")
_PADDING = re.compile(r"[^=]*=\s*=\s*\Z")  # NAME== is rather the wrapped end of a base64 value
_BEFORE_VALUE = re.compile(r"[^=]*=")
# A commented-out value that seems to go on in the next comment.
_GOES_ON = re.compile(r"""=\s*(?:"[^"]*|'[^']*|["']?-----BEGIN.*)\Z""")


class EnvFileError(ValueError):
    """A file cannot be read as NAME=value lines. The message says why, and nothing that stands there."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """One `NAME=value` of a file, and the number of the line on which it begins."""

    name: str
    value: str
    line: int


def read_text(path: Path, must: str = "a file of NAME=value lines") -> str:
    """Return the text of a file, of which `must` says what it must be.

    Raises:
        EnvFileError: the file cannot be opened, or is not UTF-8.
    """
    try:
        return path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise EnvFileError(f"{shown(path)}, line {line}: not UTF-8; it must be saved as UTF-8") from None
    except OSError as error:
        raise EnvFileError(f"{shown(path)} cannot be read: {error.strerror}; it must be {must}") from error


def shown(path: Path) -> str:
    """Return a path as text of one line."""
    return str(path) if str(path).isprintable() else repr(str(path))


def assignments(path: Path, text: str) -> Iterator[Assignment]:
    """Yield the assignments in `text`, in order, without interpolation.

    Raises:
        EnvFileError: at the first line that is not `NAME=value`, a comment or blank; nothing after it is
            looked at.
    """
    for binding in _bindings(path, text):
        if binding.key is not None:
            yield Assignment(binding.key, binding.value or "", _line_of(binding))


def blanked(path: Path, text: str, keep: Collection[str] = ()) -> str:
    """Return `text` without what follows the first `=` of each assignment and of each comment.

    Comments that stand in `keep`, since they are known to hold nothing secret, stay as they are.

    Raises:
        EnvFileError: a line is not `NAME=value`, a comment or blank, or a comment holds the beginning of
            a value of several lines.
    """
    pieces = []
    for binding in _bindings(path, text):
        whole = binding.original.string
        known = binding.key is None and whole.strip() in keep
        pieces.append(whole if known else _without_value(path, binding))
    return "".join(pieces)


def _bindings(path: Path, text: str) -> Iterator[Binding]:
    for binding in parse_stream(StringIO(text, newline="")):
        if binding.error:
            raise _refused(path, binding, "cannot be parsed; it must be NAME=value, each quote closed")
        if binding.key is not None and not _is_assignment(binding):
            must = "a name is in one case, and a value of several lines must stand in quotes"
            raise _refused(path, binding, f"not NAME=value; {must}")
        yield binding


def _is_assignment(binding: Binding) -> bool:
    named = _NAME.fullmatch(binding.key or "") is not None
    return named and binding.value is not None and _PADDING.match(binding.original.string) is None


def _without_value(path: Path, binding: Binding) -> str:
    whole = binding.original.string
    before = _BEFORE_VALUE.match(whole)
    if before is None:
        return whole
    if binding.key is None and _GOES_ON.search(whole.rstrip()):
        raise _refused(path, binding, "a comment holds the beginning of a value; take the value out of it")
    return before.group() + ("\n" if whole.endswith(("\n", "\r")) else "")


def _refused(path: Path, binding: Binding, reason: str) -> EnvFileError:
    return EnvFileError(f"{shown(path)}, line {_line_of(binding)}: {reason}")


def _line_of(binding: Binding) -> int:
    """Return the line of the first character that counts: dotenv counts from the blank lines before it."""
    text = binding.original.string
    skipped = text[: len(text) - len(text.lstrip())]
    return binding.original.line + len(_NEWLINE.findall(skipped))
