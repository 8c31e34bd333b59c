"""What the commands print: lines, tables and JSON, each for whom it is that reads them."""

from __future__ import annotations

import json
import os
import shutil
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TextIO

import click

GAP: Final = "  "
CUT: Final = "…"

_NARROWEST = 8  # cells to which a column is cut at most
_WIDE = frozenset("WF")  # UAX 11: takes two cells
_NO_WIDTH = frozenset({"Mn", "Me"})  # is put over the character before it

as_json = click.option("--json", "json_", is_flag=True, help="Print one JSON document, for a script to read.")


def is_terminal(stream: TextIO | None) -> bool:
    """Tell whether a stream is a terminal; one that was closed before the start is None, and none."""
    return stream is not None and stream.isatty()


def has_colours(stream: TextIO | None) -> bool:
    """Tell whether a stream is a terminal that shows colours, and nobody has asked for none.

    See https://no-color.org: `NO_COLOR` counts where it is not empty.
    """
    return is_terminal(stream) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def styled(text: str, stream: TextIO | None = None, **style: Any) -> str:
    """Return text in a style of `click.style`, if standard output, or another stream, has colours."""
    return click.style(text, **style) if has_colours(stream or sys.stdout) else text


def one_line(text: str) -> str:
    """Return text without a character that could break a line or give an order to a terminal."""
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


def error(line: str) -> None:
    """Print to standard error what is wrong."""
    _tell("error", line, "red")


def warn(line: str) -> None:
    """Print to standard error what may be wrong."""
    _tell("warning", line, "yellow")


def _tell(what: str, line: str, colour: str) -> None:
    click.echo(f"{styled(f'{what}:', sys.stderr, fg=colour, bold=True)} {one_line(line)}", err=True)


def done(line: str) -> None:
    """Print that something is as it should be."""
    click.echo(styled(one_line(line), fg="green"))


def print_fact(name: str, text: str = "", colour: str | None = None) -> None:
    """Print one thing that is told, behind what it is called."""
    shown = one_line(text)
    click.echo(f"{styled(f'{name:<8}', bold=True)} {styled(shown, fg=colour) if colour else shown}".rstrip())


def print_json(document: Any) -> None:
    """Print a document, in ASCII alone: nothing in it is an order to a terminal."""
    click.echo(json.dumps(document, indent=2))


def moment(seconds: float) -> str:
    """Return a moment, in seconds since 1970, for a script, as RFC 3339 writes it."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def utc(seconds: float) -> str:
    """Return a moment, in seconds since 1970, for a person."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: its title on a terminal, and how a cell is written where there are no titles.

    A `ragged` one is not padded there, since a cell of it may be long.
    """

    title: str
    plain: str = "{}"
    ragged: bool = False


def print_table(columns: Sequence[Column], rows: Iterable[Sequence[str]]) -> None:
    """Print a table: with titles and no wider than the terminal, or else every row whole in a line."""
    shown = [[one_line(cell) for cell in row] for row in rows]
    lines = _for_terminal(columns, shown) if is_terminal(sys.stdout) else _for_program(columns, shown)
    for line in lines if shown else ():
        click.echo(line)


def _for_program(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    cells = [
        [column.plain.format(cell) if cell else "" for column, cell in zip(columns, row, strict=True)]
        for row in rows
    ]
    widths = [0 if column.ragged else width for column, width in zip(columns, _widths(cells), strict=True)]
    yield from (_joined(row, widths) for row in cells)


def _for_terminal(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    titles = [column.title for column in columns]
    widths = _fitting(_widths([titles, *rows]), shutil.get_terminal_size().columns)
    yield styled(_joined(titles, widths), bold=True)
    yield from (_joined(row, widths) for row in rows)


def _widths(rows: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(width_of, cells)) for cells in zip(*rows, strict=True)]


def _fitting(widths: Sequence[int], whole: int) -> list[int]:
    """Take from the widest column, cell by cell, until all fit side by side or none can give more."""
    fitting = list(widths)
    room = whole - len(GAP) * (len(widths) - 1)
    while sum(fitting) > room and max(fitting) > _NARROWEST:
        fitting[fitting.index(max(fitting))] -= 1
    return fitting


def _joined(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = (_padded(cell, width) for cell, width in zip(row, widths, strict=True))
    return GAP.join(cells).rstrip()


def _padded(cell: str, width: int) -> str:
    """Return a cell in just so many cells of a terminal; 0 leaves it as it is."""
    if width and width_of(cell) > width:
        cell = _cut(cell, width)
    return cell + " " * (width - width_of(cell))


def _cut(cell: str, width: int) -> str:
    kept, left = "", width - len(CUT)
    for character in cell:
        left -= width_of(character)
        if left < 0:
            break
        kept += character
    return kept + CUT


def width_of(text: str) -> int:
    """Return how many cells of a terminal a printable text takes."""
    return sum(map(_width, text))


def _width(character: str) -> int:
    if unicodedata.category(character) in _NO_WIDTH:
        return 0
    return 2 if unicodedata.east_asian_width(character) in _WIDE else 1
