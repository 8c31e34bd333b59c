"""The settings of this process and of those forked from it: read once, when it starts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from gateway.breaker import within
from gateway.errors import ConfigError, StateUnavailableError, UsersUnavailableError
from gateway.loading import faults_of_imports
from gateway.settings import Settings
from gateway.stores import Store, urls
from gateway.stores.bounded import open_store

_PATIENCE_SEC = 5

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


def renew_settings(workers: int) -> None:
    """Read the settings anew, for the workers that are started from now on.

    Args:
        workers: how many there are to be.

    Raises:
        ConfigError: they are faulty, or their app or login does not import; those of before stay in force.
    """
    renewed = Settings.from_env()
    faults = [*faults_of_imports(renewed), *faults_of_sharing(renewed, workers)]
    if faults:
        raise ConfigError(*faults)
    _in_force[:] = [renewed]


def faults_of_sharing(settings: Settings, workers: int) -> Iterator[str]:
    """Yield why so many workers cannot have one state between them."""
    if urls.is_memory(settings.state_url or "") and workers > 1:
        yield (
            f"GATEWAY_STATE_URL is 'memory://', which is for one worker, and there are to be {workers};"
            " it must be sqlite:///path or redis://host:port/0, or the workers one"
        )


def doubts_about_state(settings: Settings) -> Iterator[str]:
    """Yield why revocations might be lost or not be kept, which does not keep from starting."""
    if settings.state_url is None or _is_yet_to_be_made(settings.state_url):
        return
    store = open_store(settings.state_url, settings.state_timeout_sec)
    try:
        yield from within(_PATIENCE_SEC, lambda: _doubts(store))
    except (StateUnavailableError, TimeoutError) as error:
        yield f"GATEWAY_STATE_URL: the store cannot be asked: {error or 'no answer'}"
    finally:
        store.close()


def _is_yet_to_be_made(url: str) -> bool:
    """Tell whether it is a file that is not there: who serves makes it, and may be another user."""
    path = Path(url.partition(":///")[2].partition("?")[0])
    return url.startswith("sqlite") and path.parent.is_dir() and not path.exists()


def _doubts(store: Store) -> list[str]:
    store.read(None, 1)
    return list(store.doubts())


def doubts_about_users(settings: Settings) -> Iterator[str]:
    """Yield why nobody might be able to log in, which does not keep from starting."""
    if settings.users_url is None or _is_yet_to_be_made(settings.users_url):
        return
    from gateway.users import Users  # noqa: PLC0415 - of an extra

    users = Users(settings.users_url)
    try:
        within(_PATIENCE_SEC, users.ping)
    except (UsersUnavailableError, TimeoutError) as error:
        yield f"GATEWAY_USERS_URL: the database cannot be asked: {error or 'no answer'}"
    finally:
        users.close()
