"""Where settings come from: the environment, and a dotenv file for what the environment leaves unset."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from gateway.envfile import Assignment, EnvFileError, assignments, read_text, shown
from gateway.nearest import nearest
from gateway.table import Fault, Row

CONFIG_FILE = "config.env"
CONFIG_VARIABLE = "GATEWAY_CONFIG"


@dataclass(slots=True)
class Found:
    """What the environment and the file say, not yet checked.

    `known` are the rows of the table by variable. `given` has text by keyword, and `sources` tells where
    each came from. `path` is the file, if there is one, and `faults` are its faults. `unread` are the
    variables of which the file may yet say something, in a line that could not be read.
    """

    known: Mapping[str, Row] = field(repr=False)
    given: dict[str, Any] = field(default_factory=dict, repr=False)
    sources: dict[str, str] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    path: Path | None = None
    unread: set[str] = field(default_factory=set)

    @classmethod
    def in_environment(cls, table: Iterable[Row], environ: Mapping[str, str]) -> Self:
        """Collect the settings of `environ`, and of the file for what `environ` leaves unset."""
        found = cls({row.variable: row for row in table})
        found._read_file(environ)
        for variable, row in found.known.items():
            value = environ.get(variable, "")
            if value or (row.empty_counts and variable in environ):
                found._take(row, value, "environment")
        return found

    def excuses(self, fault: Fault) -> bool:
        """Tell whether a setting is missing because of a line that could not be read."""
        return fault.missing and fault.variable in self.unread

    def _read_file(self, environ: Mapping[str, str]) -> None:
        named = environ.get(CONFIG_VARIABLE)
        path = Path(named or CONFIG_FILE)
        if not named and not os.path.lexists(path):
            return
        self.path = path
        try:
            self._take_all(path, read_text(path))
        except EnvFileError as error:
            self.unread = set(self.known)
            line = f"{CONFIG_VARIABLE} is {named!r}: {error}" if named else str(error)
            self.faults.append(Fault(CONFIG_VARIABLE, line))

    def _take_all(self, path: Path, text: str) -> None:
        for assigned in assignments(path, text):
            row = self.known.get(assigned.name)
            if row is not None:
                self._take(row, assigned.value, str(path))
            else:
                fault = _unknown(assigned, path, self.known)
                self.unread.add(fault.variable)
                self.faults.append(fault)

    def _take(self, row: Row, value: str, source: str) -> None:
        if value or row.empty_counts:
            self.given[row.keyword] = value
            self.sources[row.keyword] = source
        else:
            self.given.pop(row.keyword, None)
            self.sources.pop(row.keyword, None)


def _unknown(assigned: Assignment, path: Path, known: Iterable[str]) -> Fault:
    """Name the nearest known one; one that is near is taken to be what was meant."""
    name = assigned.name
    closest = nearest(name, known, likeness=0)
    reason = (
        "counts in the environment alone"
        if name == CONFIG_VARIABLE
        else f"is no setting; the nearest is {closest}"
    )
    meant = nearest(name, known)
    return Fault(meant or name, f"{shown(path)}, line {assigned.line}: {name} {reason}")
