"""What is made from the table of settings is up to date."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.generate import generated


@pytest.mark.parametrize("path", list(generated()), ids=lambda path: path.name)
def test_a_generated_file_is_up_to_date(path: Path) -> None:
    assert path.read_text("utf-8") == generated()[path], "`make generate` writes it anew"
