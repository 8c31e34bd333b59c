"""What can go wrong, in two branches: the caller's fault and the operator's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar


class GatewayError(Exception):
    """Anything that this package raises on purpose; to catch it catches all that is below."""


class ConfigError(GatewayError, ValueError):
    """The operator's fault: the settings do not describe a gateway that can start.

    `str()` of the error is all lines of `faults`.

    Args:
        faults: one line for each thing wrong: what it is called, what it holds and what it must be. None has
            a secret in it.

    Attributes:
        faults: the same lines, as a tuple.
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
    """Nobody's fault here: the keys of a token are not known, or were fetched too long ago to be believed.

    Attributes:
        code: `keys_unavailable`, as the gateway answers it with 503.
    """

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

        try:
            claims = tokens.decode_token(token)
        except TokenError as error:
            return {"error": error.code}, 401

    Nothing of the token stands in the message.

    Args:
        message: what is wrong.
        claims: the claims of the token where its signature was right, else None.

    Attributes:
        code: what is wrong, for programs, as in the gateway's answers.
        claims: the claims, to be used for no more than telling whose token it was.
    """

    code: ClassVar[str]

    def __init__(self, message: str, claims: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.claims = claims


class InvalidTokenError(TokenError):
    """It is no token of ours: wrong form, wrong header or wrong signature.

    Attributes:
        code: `invalid_token`.
    """

    code = "invalid_token"


class ExpiredTokenError(TokenError):
    """It was ours, and its time is over.

    Attributes:
        code: `token_expired`.
    """

    code = "token_expired"


class InvalidClaimsError(TokenError):
    """It is rightly signed, but says something that cannot be accepted; or a token that would is not made.

    Attributes:
        code: `invalid_claims`.
    """

    code = "invalid_claims"
