"""What a setting is: one row of a table, and what is said of a value that does not fit it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from gateway.kinds import Kind
from gateway.nearest import question

_SHOWN = 80  # characters of a refused value
# RFC 3986 section 3.2.1, also where the slashes before it were forgotten.
_USERINFO = re.compile(r"(?<=//)[^/\s]*@|[^/\s'\"]+:[^/\s'\"]*@")


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table: a setting's variable, kind, default and meaning.

    `default_text` is the default in words where it depends on something else. `empty_counts` tells
    that set but empty is a value of its own. An `address` is secret save for where it leads: it may hold a
    password.
    """

    variable: str
    kind: Kind
    default: Any
    meaning: str
    default_text: str
    secret: bool
    empty_counts: bool
    address: bool

    @property
    def keyword(self) -> str:
        """The name of the same setting as a keyword argument."""
        return self.variable.removeprefix("GATEWAY_").lower()

    @property
    def required(self) -> bool:
        """Whether there is no starting without it."""
        return self.default_text == "required"


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong, in one line, and the variable that it is about.

    `missing` tells that it is required and not set.
    """

    variable: str
    line: str
    missing: bool = False


def row(
    variable: str,
    kind: Kind,
    default: Any,
    meaning: str,
    *,
    default_text: str = "",
    secret: bool = False,
    empty_counts: bool = False,
    address: bool = False,
) -> Any:
    """Make a field of `Settings` that carries its row of the table."""
    made = Row(variable, kind, default, meaning, default_text, secret, empty_counts, address)
    return field(default=None, repr=not (secret or address), metadata={"row": made})


def rows_of(made: type) -> tuple[Row, ...]:
    """Return the table that the fields of a dataclass are, in order; a field without a row is none of it."""
    return tuple(each.metadata["row"] for each in fields(made) if "row" in each.metadata)


def checked(table: Iterable[Row], given: Mapping[str, Any]) -> tuple[dict[str, Any], list[Fault]]:
    """Return the value of every sound setting by keyword, defaults included, and what is wrong."""
    values: dict[str, Any] = {}
    faults: list[Fault] = []
    for row in table:
        value = given.get(row.keyword)
        if value is None or (not row.empty_counts and isinstance(value, str | bytes) and not value):
            values[row.keyword] = row.default
            if row.required:
                line = f"{row.variable} is not set; it must be {row.kind.must}"
                faults.append(Fault(row.variable, line, missing=True))
            continue
        try:
            values[row.keyword] = row.kind.parse(value)
        except ValueError as error:
            must = f"{row.kind.must}{_meant(row.kind, value)}"
            faults.append(unfit(row.variable, _held(row, value, str(error)), must))
    return values, faults


def _meant(kind: Kind, value: Any) -> str:
    return question(value, kind.choices) if isinstance(value, str) else ""


def unfit(variable: str, state: str, must: str) -> Fault:
    """Say in one line what a variable holds, and what it must be."""
    return Fault(variable, f"{variable} {state}; it must be {must}")


def _held(row: Row, value: Any, reason: str) -> str:
    """Say what a setting holds, in words that give no secret away."""
    if row.secret:
        if isinstance(value, str | bytes):
            return f"holds {len(value)} characters that cannot be used"
        return "holds a secret that cannot be used" if isinstance(value, list | tuple) else "is not text"
    if row.address:
        return f"holds an address that cannot be used{reason and ': ' + reason}"
    return f"is {shown(value)}{reason and ': ' + reason}"


def masked(address: str) -> str:
    """Return an address without what may be a secret in it: user, password and options."""
    scheme, _, rest = address.partition("://")
    if "?" in rest.rpartition("@")[0]:  # an @ of the options, or a ? of the password
        return f"{scheme}://…"
    place, _, options = rest.partition("?")
    _, at, host = place.rpartition("@")
    return f"{scheme}://{at and '…@'}{host}{options and '?…'}"


def shown(value: Any) -> str:
    """Return a refused value as text of one line, cut where it is long, without a password in an address."""
    try:
        text = repr(value)
    except ValueError:  # a number of more digits than Python writes
        text = f"a {type(value).__name__} beyond all bounds"
    text = _USERINFO.sub("…@", text)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
