"""Where the stores of revocations are, for all processes of a run."""

from __future__ import annotations

import os

from bench.cases import MEMORY, REDIS, SQLITE

# The variables of the environment that tell it: the folder of the files, and the address of Redis, if any.
FOLDER, ADDRESS = VARIABLES = ("BENCH_STATE_FOLDER", "BENCH_STATE_REDIS")


def is_there(store: str) -> bool:
    """Tell whether this run has such a store."""
    return store != REDIS or ADDRESS in os.environ


def named(live: int) -> str:
    """Return the name under which a store has so many live revocations."""
    return f"live-{live}"


def url(store: str, name: str) -> str:
    """Return the address of a store, as a setting; what is under one name knows nothing of the others."""
    if store == MEMORY:
        return "memory://"
    if store == SQLITE:
        return f"sqlite:///{os.environ[FOLDER]}/{name}.db"
    return f"{os.environ[ADDRESS]}?prefix={name}"
