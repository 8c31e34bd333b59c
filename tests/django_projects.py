"""Django projects of tests, several in one process: each is in force for a while, and then the one before."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import empty, settings
from django.test.signals import setting_changed


@contextmanager
def project(configured: object = empty) -> Iterator[None]:
    """Have Django go by these settings, as `configured` makes them; without any it has none yet."""
    before = in_force()
    _go_by(configured)
    try:
        yield
    finally:
        _go_by(before)


def _go_by(configured: object) -> None:
    settings._wrapped = configured
    # The engines made by the settings before are forgotten.
    setting_changed.send(sender=project, setting="TEMPLATES", value=None, enter=True)


def configured(**options: object) -> object:
    """Settings for `project`."""
    with project():
        settings.configure(**options)
        return in_force()


def in_force() -> object:
    """The settings that Django goes by, for `project`."""
    made: object = settings._wrapped
    return made
