"""Claims that become headers of the request, for an app that reads no claims."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from gateway.errors import InvalidClaimsError
from gateway.headers import environ_key

# RFC 9110 section 5.5, with characters for bytes (PEP 3333): no control character, no space at either end.
_VALUE = re.compile(r"(?:[!-~\x80-\xff](?:[ \t!-~\x80-\xff]*[!-~\x80-\xff])?)?")
_PLAIN = (str, int, float, bool)


class ClaimHeader(NamedTuple):
    """A header, its key in an environ, and the claim that it is set from."""

    name: str
    key: str
    claim: str


class ClaimHeaders:
    """The headers that are set from claims.

    Args:
        claims: the claim of each header, by pairs.
    """

    def __init__(self, claims: Iterable[tuple[str, str]]) -> None:
        self._headers = tuple(ClaimHeader(name, environ_key(name), claim) for name, claim in claims)
        self.keys = tuple(header.key for header in self._headers)

    def values(self, claims: Mapping[str, Any]) -> list[tuple[ClaimHeader, str]]:
        """Return the headers with their values, without those whose claim is missing.

        Raises:
            InvalidClaimsError: a claim's text is no legal value of a header.
        """
        return [
            (header, _value(header.claim, claims[header.claim]))
            for header in self._headers
            if header.claim in claims
        ]


def _value(claim: str, content: object) -> str:
    text = _joined(claim, content) if isinstance(content, list) else _text(content)
    try:
        value = text.encode("utf-8").decode("latin-1")  # as a server hands on the bytes of a header
    except UnicodeEncodeError:  # half a character, which JSON can spell
        value = "\n"
    if _VALUE.fullmatch(value) is None:
        raise InvalidClaimsError(f"{claim} is to be a header, and holds what no header can")
    return value


def _joined(claim: str, items: list[Any]) -> str:
    """Return the items between commas, or as JSON where one is no plain value.

    An empty one is refused: who reads a list leaves it out (RFC 9110 section 5.6.1.2).
    """
    if not all(isinstance(item, _PLAIN) for item in items):
        return json.dumps(items)
    texts = [_text(item) for item in items]
    if any(not text or "," in text or text != text.strip() for text in texts):
        raise InvalidClaimsError(f"{claim} is to be a header, and an item of it would be read as another")
    return ",".join(texts)


def _text(content: object) -> str:
    if type(content) in (str, int):  # as JSON has it too, at a tenth of the cost
        return str(content)
    return json.dumps(content)
