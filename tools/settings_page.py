"""The reference of all settings, as a page with a heading for each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from gateway import describe
from gateway.settings import TABLE
from gateway.table import Row

DOCS = Path(__file__).parent.parent / "docs"


class Group(NamedTuple):
    """Settings that belong together: those from `first` on, in the order of the table."""

    first: str
    title: str
    page: str = ""  # which says more


GROUPS = (
    Group("TOKEN_KEY", "Tokens", "keys.md"),
    Group("GATEWAY_APP", "The app, and how it is served", "upstream.md"),
    Group("GATEWAY_PUBLIC_PATHS", "What needs no token", "policy.md"),
    Group("GATEWAY_PREFIX", "What clients and the app see"),
    Group("GATEWAY_UID_CLAIM", "What is demanded of a token", "keys.md"),
    Group("GATEWAY_ALGORITHM", "Keys", "keys.md"),
    Group("GATEWAY_POLICY_FILE", "The policy file", "policy.md"),
    Group("GATEWAY_STATE_URL", "The state store", "sessions.md"),
    Group("GATEWAY_USERS_URL", "Logging in", "sessions.md"),
    Group("GATEWAY_TRUSTED_PROXIES", "Proxies, and what the gateway tells of itself", "operating.md"),
    Group("GATEWAY_ALLOW_WEAK_KEY", "For tests alone"),
)
HEAD = """\
<!-- made by `make generate` -->

# Settings

Each is an environment variable, read once at start-up; `config.env` in the working directory, or the file
that `GATEWAY_CONFIG` names, fills in what the environment leaves unset. In code each is a keyword argument
of `Settings`. `gateway check` shows which are in effect, and where they came from.
"""


def page() -> str:
    """Return the page, in Markdown."""
    return HEAD + "".join(_paragraphs())


def _paragraphs() -> Iterator[str]:
    groups = {group.first: group for group in GROUPS}
    for row in TABLE:
        if row.variable in groups:
            yield _heading(groups.pop(row.variable))
        yield _setting(row)
    if groups:
        raise ValueError(f"{', '.join(groups)}: no such setting, so that a group begins nowhere")


def _heading(group: Group) -> str:
    more = f"\nMore: [{_title(group.page)}](../{group.page}).\n" if group.page else ""
    return f"\n## {group.title}\n{more}"


def _title(page: str) -> str:
    return (DOCS / page).read_text("utf-8").partition("\n")[0].removeprefix("# ")


def _setting(row: Row) -> str:
    default = f"Default: {describe.default_of(row)}"
    if row.default_text.startswith("required"):
        default = row.default_text.replace("required", "Required", 1)
    return f"\n### `{row.variable}`\n\n{row.meaning}\n\n{default}. In code: `{row.keyword}`.\n"
