"""Writes what is made from tables: `config.env.example`, and the tables in the documents."""

from __future__ import annotations

from pathlib import Path

from gateway import describe
from gateway.policyfile import ISSUER_TABLE, ROUTE_TABLE
from tools import errors_table, settings_page

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
KEYS = ROOT / "docs" / "keys.md"
POLICY = ROOT / "docs" / "policy.md"
ERRORS = ROOT / "docs" / "errors.md"
SETTINGS = ROOT / "docs" / "reference" / "settings.md"


def generated() -> dict[Path, str]:
    """Return what the files must hold, by their paths."""
    return {
        ROOT / "config.env.example": describe.example({}),
        README: _with_table(README, "settings", describe.markdown_table()),
        SETTINGS: settings_page.page(),
        KEYS: _with_table(KEYS, "issuers", describe.markdown_table(ISSUER_TABLE, "key")),
        ERRORS: _with_table(ERRORS, "errors", errors_table.table()),
        POLICY: _with_table(POLICY, "routes", describe.markdown_table(ROUTE_TABLE, "key")),
    }


def _with_table(path: Path, name: str, table: str) -> str:
    begin, end = f"<!-- {name}: made by `make generate` -->\n", f"<!-- end of {name} -->"
    before, _, rest = path.read_text("utf-8").partition(begin)
    _, _, after = rest.partition(end)
    return f"{before}{begin}\n{table}\n{end}{after}"


if __name__ == "__main__":
    for path, text in generated().items():
        path.write_text(text, "utf-8")
