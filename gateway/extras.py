"""What is installed: this package, and what only a setting asks for."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec

from gateway.errors import ConfigError

_PACKAGE = "wsgi-auth-gateway"

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


def needs(extra: str, what: str) -> str:
    """Return the line that says that `what` needs an extra, and how it is installed."""
    return f"{what} needs the extra {extra}: pip install '{_PACKAGE}[{extra}]'"


def require(extra: str, what: str) -> None:
    """Check that an extra is installed, since `what` needs it.

    Raises:
        ConfigError: it is not; the one line is that of `needs`.
    """
    if not is_installed(extra):
        raise ConfigError(needs(extra, what))


def version() -> str:
    """Return the version of this package, `unknown` where it runs from its sources."""
    from importlib import metadata  # noqa: PLC0415 - slow, and no start needs it

    try:
        return metadata.version(_PACKAGE)
    except metadata.PackageNotFoundError:
        return "unknown"
