"""What is installed only where a setting asks for it."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec

from gateway.errors import ConfigError

# The modules by which an extra is known to be there.
_MODULES: Mapping[str, tuple[str, ...]] = {
    "crypto": ("cryptography",),
    "metrics": ("prometheus_client",),
    "redis": ("redis",),
    "upstream": ("urllib3",),
    "users": ("sqlalchemy", "argon2"),
}


def is_installed(extra: str) -> bool:
    """Tell whether all modules of an extra are there."""
    return all(find_spec(module) is not None for module in _MODULES[extra])


def require(extra: str, what: str) -> None:
    """Check that an extra is installed, since `what` needs it.

    Raises:
        ConfigError: it is not; the one line says how it is installed.
    """
    if not is_installed(extra):
        raise ConfigError(f"{what} needs the extra {extra}: pip install 'wsgi-auth-gateway[{extra}]'")
