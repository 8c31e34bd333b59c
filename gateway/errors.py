"""What can go wrong, in two branches: the caller's fault and the operator's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar


class GatewayError(Exception):
    """Anything that this package raises on purpose."""


class ConfigError(GatewayError, ValueError):
    """The operator's fault: the settings do not describe a gateway that can start.

    `faults` holds one line for each thing wrong, none of them with a secret in it; `str()` of the
    error is those lines.
    """

    def __init__(self, *faults: str) -> None:
        super().__init__(*faults)
        self.faults = faults

    def __str__(self) -> str:
        return "\n".join(self.faults)


class WeakKeyWarning(UserWarning):
    """A signing secret under 32 bytes is in use because `GATEWAY_ALLOW_WEAK_KEY` permits it."""


class ExposedKeyWarning(UserWarning):
    """A private key of `GATEWAY_KEY_DIR` can be read by others than its owner."""


class KeysUnavailableError(GatewayError):
    """Nobody's fault here: the keys of a token are not known, or were fetched too long ago to be believed."""

    code: ClassVar[str] = "keys_unavailable"


class StoreError(GatewayError):
    """Nobody's fault here: what is kept elsewhere cannot be had or changed, for now.

    The message says why, and names no secret. `is_down` tells that it would be no use to ask again at once.
    """

    is_down: ClassVar[bool] = True


class StateUnavailableError(StoreError):
    """The state store does not answer, or cannot keep what it was told."""

    code: ClassVar[str] = "state_unavailable"


class UsersUnavailableError(StoreError):
    """The users database does not answer, or cannot keep what it was told."""


class TokenError(GatewayError, ValueError):
    """The caller's fault: a token is not to be honoured.

    `claims` are those of the token where its signature was right, else None. Neither they nor
    anything else of the token stands in the message.
    """

    code: ClassVar[str]

    def __init__(self, message: str, claims: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.claims = claims


class InvalidTokenError(TokenError):
    """It is no token of ours: wrong form, wrong header or wrong signature."""

    code = "invalid_token"


class ExpiredTokenError(TokenError):
    """It was ours, and its time is over."""

    code = "token_expired"


class InvalidClaimsError(TokenError):
    """It is rightly signed, but says something that cannot be accepted."""

    code = "invalid_claims"
