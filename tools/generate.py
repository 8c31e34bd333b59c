"""Writes what is made from the table of settings: `config.env.example` and the README's table."""

from __future__ import annotations

from pathlib import Path

from gateway import describe

ROOT = Path(__file__).parent.parent
BEGIN, END = "<!-- settings: made by `make generate` -->\n", "<!-- end of settings -->"


def generated() -> dict[Path, str]:
    """Return what the files must hold, by their paths."""
    readme = (ROOT / "README.md").read_text("utf-8")
    before, _, rest = readme.partition(BEGIN)
    _, _, after = rest.partition(END)
    return {
        ROOT / "config.env.example": describe.example({}),
        ROOT / "README.md": f"{before}{BEGIN}\n{describe.markdown_table()}\n{END}{after}",
    }


if __name__ == "__main__":
    for path, text in generated().items():
        path.write_text(text, "utf-8")
