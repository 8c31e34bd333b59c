"""What systemd itself finds in the unit that is shipped."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.integration.fronts import shipped
from tests.integration.servers import SCRIPTS, run

pytestmark = pytest.mark.system

MOST_EXPOSED = 1.7  # of 10; the page says 1.6


def analyzed(folder: Path, *arguments: str) -> str:
    """What `systemd-analyze` says of the unit, where its program and its folder are this project's."""
    analyze = shutil.which("systemd-analyze")
    assert analyze, "systemd-analyze is missing: on Debian and Ubuntu, install the package systemd"
    here = {"/srv/mysite/.venv/bin": str(SCRIPTS), "WorkingDirectory=/srv/mysite": "WorkingDirectory=/"}
    unit = folder / "gateway.service"
    unit.write_text(shipped("deploy/gateway.service", here))
    done = run(folder, analyze, *arguments, unit)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_systemd_finds_the_unit_sound(tmp_path: Path) -> None:
    assert analyzed(tmp_path, "verify", "--man=no") == ""


def test_the_service_has_little_within_reach(tmp_path: Path) -> None:
    said = analyzed(tmp_path, "security", "--offline=true", "--no-pager")
    exposure = re.search(r"Overall exposure level for gateway\.service: ([0-9.]+)", said)
    assert exposure is not None
    assert float(exposure[1]) < MOST_EXPOSED
