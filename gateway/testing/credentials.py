"""What every test client here can do besides its own: send the credentials of somebody."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, ClassVar, Protocol, Self

from gateway.errors import InvalidClaimsError
from gateway.headers import UID_KEY
from gateway.identity import BEARER
from gateway.settings import TABLE
from gateway.testing.tokens import Claims, Scopes, Tokens

_AUTHORIZATION_KEY = "HTTP_AUTHORIZATION"
_CREDENTIALS = (_AUTHORIZATION_KEY, UID_KEY)
_TOKEN_HEADER: str = {row.keyword: row.default for row in TABLE}["token_header"]


class SendsCredentials:
    """A test client that can be somebody; mixed in before the client of a library.

    What a request says itself wins over what its client sends with all of them.

    Args:
        args: what the library's client takes.
        tokens: makes tokens of the gateway under test, by what shall be wrong with them.
        options: what the library's client takes.
    """

    # The attribute of the library's client that holds what it sends with every request, by environ key.
    sent_always: ClassVar[str]

    def __init__(self, *args: Any, tokens: Tokens, **options: Any) -> None:
        super().__init__(*args, **options)
        self.tokens = tokens

    def as_user(
        self, uid: int | str, scopes: Scopes = None, claims: Claims = None, **more_claims: Any
    ) -> Self:
        """Return the same client as somebody, by a token that begins a session now.

            client.as_user(12, scopes=["reports:read"], team="blue").get("/reports")

        Args:
            uid: who.
            scopes: a list of names, for the claim `scope`.
            claims: extra claims by name.
            more_claims: the same as keyword arguments.

        Returns:
            A client of the same kind, with the app and the cookies of this one, which stays as it is.

        Raises:
            TypeError, ValueError, InvalidClaimsError, KeysUnavailableError, ConfigError: as `Tokens.good`.
        """
        extra = {**(claims or {}), **more_claims}
        if len(extra) < len(claims or {}) + len(more_claims):
            raise InvalidClaimsError("a claim is given twice")
        return self.with_token(self.tokens.good(uid, scopes, extra), uid)

    def with_token(self, token: str, uid: int | str | None) -> Self:
        """Return the same client with these credentials, good or bad.

            client.with_token(client.tokens.expired(12), uid=12).get("/reports", status=401)

        Args:
            token: what stands behind `Bearer`.
            uid: what stands in the `uid` header; None for no such header.

        Returns:
            A client of the same kind, with the app and the cookies of this one, which stays as it is.
        """
        credentials = {_AUTHORIZATION_KEY: BEARER + token}
        if uid is not None:
            credentials[UID_KEY] = str(uid)
        sent: Mapping[str, Any] = getattr(self, self.sent_always)
        others = {key: value for key, value in sent.items() if key not in _CREDENTIALS}
        client = copy.copy(self)
        setattr(client, self.sent_always, others | credentials)
        return client


class _Response(Protocol):
    @property
    def headers(self) -> Any: ...


def renewed_token(response: _Response, header: str = _TOKEN_HEADER) -> str | None:
    """Return the renewed token that a response carries, None if it carries none.

        renewed = renewed_token(client.with_token(client.tokens.near_expiry(12), uid=12).get("/"))

    Args:
        response: a response of any of the clients.
        header: the header of the token, where `GATEWAY_TOKEN_HEADER` is another.

    Returns:
        The token, without `Bearer`, or None.
    """
    token: str | None = response.headers.get(header)
    return token
