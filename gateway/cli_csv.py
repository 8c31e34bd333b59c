"""A CSV file of those who shall be users."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from gateway.cli_claims import json_object, with_scopes
from gateway.envfile import shown
from gateway.errors import GatewayError

_NEEDED: Final = ("uid", "password")
_COLUMNS: Final = (*_NEEDED, "scope", "claims")
_HEADER: Final = "uid,password and, where wanted, scope and claims"
_QUOTED: Final = 'a field with , or " in it must stand in quotes, and a " in it be doubled'


class Newcomer(NamedTuple):
    """Somebody to be added."""

    uid: str
    password: str
    claims: Mapping[str, Any]


class Row(NamedTuple):
    """A row: the line on which it begins, and its fields, or why it has none."""

    line: int
    fields: Sequence[str]
    fault: str = ""

    def newcomer(self, columns: Sequence[str]) -> Newcomer:
        """Return whom it names.

        Raises:
            GatewayError: nobody, for what is wrong with it.
        """
        if self.fault:
            raise GatewayError(self.fault)
        if len(self.fields) != len(columns):
            must = f"there must be {len(columns)}, as in the header"
            raise GatewayError(f"there are {len(self.fields)} fields; {must}")
        found = dict(zip(columns, self.fields, strict=True))
        claims = with_scopes(json_object(found.get("claims") or "{}"), found.get("scope", "").split())
        return Newcomer(found["uid"], found["password"], claims)


def read(file: Path) -> tuple[Sequence[str], list[Row]]:
    """Return the columns and the rows of a file, or of standard input for `-`.

    Raises:
        GatewayError: it cannot be read, or has another header; nothing that stands there is in the message.
    """
    name = "standard input" if str(file) == "-" else shown(file)
    rows = _rows(_text_of(file, name))
    header = next(rows, Row(1, ()))
    columns = header.fields
    if not set(_NEEDED) <= set(columns) <= set(_COLUMNS) or len(set(columns)) < len(columns):
        raise GatewayError(f"{name}, line {header.line}: the header must be {_HEADER}")
    return columns, list(rows)


def _text_of(file: Path, name: str) -> str:
    try:
        data = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
        return data.decode("utf-8-sig")
    except OSError as error:
        must = "it must be a CSV file, or - for standard input"
        raise GatewayError(f"{name} cannot be read: {error.strerror}; {must}") from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise GatewayError(f"{name}, line {line}: not UTF-8; it must be saved as UTF-8") from None


def _rows(text: str) -> Iterator[Row]:
    """Yield the rows that are not blank."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    while True:
        line = reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield Row(line, (), f"it is no CSV: {error}; {_QUOTED}")
        else:
            if fields:
                yield Row(line, fields)
