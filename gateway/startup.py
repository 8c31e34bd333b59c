"""The settings of this process and of those forked from it: read once, when it starts."""

from __future__ import annotations

from gateway.errors import ConfigError
from gateway.loading import faults_of_app
from gateway.settings import Settings

_in_force: list[Settings] = []  # one, as soon as they were asked for


def settings_at_start() -> Settings:
    """Return the settings of the environment and the file, as they were when first asked for.

    Under gunicorn that is in the master, so that all its workers, also one that is started anew much
    later, go by the same.

    Raises:
        ConfigError: as `Settings.from_env`.
    """
    if not _in_force:
        _in_force.append(Settings.from_env())
    return _in_force[0]


def renew_settings() -> None:
    """Read the settings anew, for the workers that are started from now on.

    Raises:
        ConfigError: they are faulty, or their app does not import; those of before stay in force.
    """
    renewed = Settings.from_env()
    faults = faults_of_app(renewed.app)
    if faults:
        raise ConfigError(*faults)
    _in_force[:] = [renewed]
