"""Finds what a setting names as `module:callable`."""

from __future__ import annotations

import importlib
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from gateway.errors import ConfigError


def imported(variable: str, spec: str, what: str) -> Callable[..., Any]:
    """Return the callable named `module:callable`, where the callable may be an attribute path.

    Args:
        variable: the setting that names it.
        spec: its name.
        what: what it must be.

    Raises:
        ConfigError: the module does not import, or there is no such callable in it.
    """
    module_name, _, attributes = spec.partition(":")
    try:
        found = importlib.import_module(module_name)
        for attribute in attributes.split("."):
            found = getattr(found, attribute)
    except (Exception, SystemExit) as error:
        raise ConfigError(
            f"{variable} is {spec!r}, which does not import: {_with_place(error)};"
            " it must be module:callable, importable from the working directory or an installed package"
        ) from error
    if not callable(found):
        raise ConfigError(f"{variable} is {spec!r}, which is {type(found).__name__}; it must be {what}")
    return found


def in_one_line(error: BaseException) -> str:
    """Describe an error of somebody else's code, whatever its text, in one line with its type."""
    message = ""
    with suppress(Exception):  # even its text is of their making
        message = str(error)
    return " ".join(f"{type(error).__name__}: {message}".split())


def place_of(error: BaseException) -> str:
    """Return the file and line where an error was raised; empty if that was while importing itself."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if _is_theirs(f.filename)]
    return f"{frames[-1].filename}, line {frames[-1].lineno}" if frames else ""


def _with_place(error: BaseException) -> str:
    place = place_of(error)
    return f"{in_one_line(error)} ({place})" if place else in_one_line(error)


def _is_theirs(filename: str) -> bool:
    return not filename.startswith("<") and filename not in (__file__, importlib.__file__)
