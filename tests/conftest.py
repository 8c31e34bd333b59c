"""Tests see none of the settings of the shell that runs them."""

from __future__ import annotations

import os

from hypothesis import settings

from gateway.settings import TABLE
from gateway.sources import CONFIG_VARIABLE

for name in (CONFIG_VARIABLE, "GUNICORN_CMD_ARGS", *(row.variable for row in TABLE)):
    os.environ.pop(name, None)


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: many tests wait for servers."""
    return (os.cpu_count() or 1) + 1


# A busy machine is no fault of the code: no test is timed.
settings.register_profile("project", deadline=None)
settings.load_profile("project")
