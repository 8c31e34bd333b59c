"""Responses: how a renewed token is announced in the app's own, and those of ours that have no body."""

from __future__ import annotations

from collections.abc import Iterable
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from gateway.headers import is_cache_rule

_EXPOSE = "access-control-expose-headers"


class Announcer:
    """Puts a renewed token into responses, under one header, and keeps it out of shared caches."""

    def __init__(self, header: str) -> None:
        self._header = header
        self._folded = header.lower()

    def wrap(self, start_response: StartResponse, token: str) -> StartResponse:
        """Return a `start_response` that adds `token` to the headers that the app gives."""

        def announcing(status, headers, exc_info=None):  # type: ignore[no-untyped-def]
            announced = self.announced(headers, token)
            if exc_info is None:
                return start_response(status, announced)
            return start_response(status, announced, exc_info)

        return announcing

    def announced(self, headers: Iterable[tuple[str, str]], token: str) -> list[tuple[str, str]]:
        """Return the app's headers with the token, not to be stored, and readable by the page it is for."""
        kept, exposed, other_origin = [], [], False
        for name, value in headers:
            folded = name.lower()
            if folded == _EXPOSE:
                exposed += [value] if value else []
            elif folded != self._folded and not is_cache_rule(name):
                kept.append((name, value))
                other_origin = other_origin or folded == "access-control-allow-origin"
        if other_origin and self._folded not in _names(exposed):
            exposed.append(self._header)
        if exposed:
            kept.append(("Access-Control-Expose-Headers", ", ".join(exposed)))
        return [*kept, ("Cache-Control", "no-store"), (self._header, token)]


def without_body(status: str, headers: Iterable[tuple[str, str]] = ()) -> WSGIApplication:
    """Return an answer of no more than its head, which nobody may store."""
    sent = (*headers, ("Cache-Control", "no-store"))

    def answer(_environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response(status, list(sent))
        return []

    return answer


def _names(values: Iterable[str]) -> set[str]:
    return {name.strip().lower() for value in values for name in value.split(",")}
