"""The table of settings, written out for people: example file, README table, values in effect."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from textwrap import wrap
from typing import Any

from gateway.settings import TABLE, Settings
from gateway.sources import CONFIG_VARIABLE, Found
from gateway.table import Row, masked

_HEAD = f"""\
# Settings of the authentication gateway, read once at start-up.
#
# Copy this file to config.env and fill it in (`gateway init` does both), or set the same names in the
# environment, which goes first. {CONFIG_VARIABLE}, in the environment alone, names another file.
# A line that begins with # shows a default.
"""


def example(values: Mapping[str, str]) -> str:
    """Return the commented example of a settings file, with some values, by variable, filled in."""
    return _HEAD + "".join(f"\n{_paragraph(row, values)}" for row in TABLE)


def _paragraph(row: Row, values: Mapping[str, str]) -> str:
    comment = "".join(f"# {line}\n" for line in wrap(_meaning(row), 98))
    value = values.get(row.variable, plain(row.default))
    wanted = row.default_text.startswith("required") or row.variable in values
    mark = "" if wanted else "#"
    return f"{comment}{mark}{row.variable}={value}\n"


def _meaning(row: Row) -> str:
    return f"{row.meaning} ({row.default_text})" if row.default_text else row.meaning


def markdown_table(table: Iterable[Row] = TABLE, what: str = "variable") -> str:
    """Return settings as a Markdown table: what they are called, default, meaning."""
    rows = [f"| `{row.variable}` | {default_of(row)} | {row.meaning} |\n" for row in table]
    return f"| {what} | default | meaning |\n|---|---|---|\n" + "".join(rows)


def default_of(row: Row) -> str:
    """Return the default of a setting, in Markdown."""
    if row.default_text:
        return row.default_text
    return f"`{plain(row.default)}`" if plain(row.default) else "none"


def effective(settings: Settings, found: Found) -> list[tuple[str, str, str]]:
    """Return each setting with its value, secrets masked, and where it came from."""
    return [
        (
            row.variable,
            _shown(row, getattr(settings, row.keyword)),
            found.sources.get(row.keyword, "default"),
        )
        for row in TABLE
    ]


def _shown(row: Row, value: Any) -> str:
    if row.secret and value:
        secrets = [value] if isinstance(value, bytes) else value
        return f"{' and '.join(str(len(secret)) for secret in secrets)} bytes, not shown"
    text = masked(value) if row.address and value else plain(value)
    default = "" if row.default_text.startswith("required") else row.default_text
    return (text or default or "none") if text.isprintable() else repr(text)


def plain(value: Any) -> str:
    """Return a value as one writes it into an environment variable."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(value)
    if callable(value):
        return f"{value.__module__}:{getattr(value, '__qualname__', '?')}"
    return "" if value is None else str(value)
