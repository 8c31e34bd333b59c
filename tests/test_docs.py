"""What the documents show works as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gateway import Settings
from tests.integration.servers import ROOT
from tests.support import KEY

DOCS = sorted((ROOT / "docs").glob("*.md"))
TOML = re.compile(r"^```toml\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:)([^)#]+)[^)]*\)")


def test_the_policy_file_that_is_shown_is_sound(tmp_path: Path) -> None:
    (shown,) = TOML.findall((ROOT / "docs" / "keys.md").read_text("utf-8"))
    (tmp_path / "policy.toml").write_text(shown, "utf-8")
    settings = Settings(token_key=KEY, policy_file=str(tmp_path / "policy.toml"))
    assert [rules.uid_prefix for rules in settings.issuers] == ["staff:", "partner:"]


@pytest.mark.parametrize("page", [*DOCS, ROOT / "README.md"], ids=lambda page: page.name)
def test_links_within_the_project_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text("utf-8")):
        assert (page.parent / target).exists(), target
