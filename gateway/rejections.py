"""What a request is refused with: one table, and from it WSGI apps with their responses made ready."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

REALM = "gateway"
FORWARD = "forward"  # the profile of answers to a proxy, some of which take any other status for a fault
FORWARD_STATUSES = (401, 403, 503)
# What Python does not know, or calls by the names of before RFC 9110.
_PHRASES = {413: "Content Too Large", 422: "Unprocessable Content", 498: "Invalid Token"}


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of the table.

    `challenge` is the error code of RFC 6750 section 3.1, None for a challenge without one.
    `registered` is the status in the `rfc6750` profile, where it differs, and `forward` that of a proxy's
    question, where it is not 401, 403 or 503 by itself and not 401 instead. `retry_after` are the seconds
    after which to try again, for what is no fault of the client's and so no challenge either.
    """

    code: str
    status: int
    error: str
    challenge: str | None
    description: str
    registered: int | None = None
    forward: int = 401
    retry_after: int | None = None


RULES = (
    Rule(
        "malformed_path",
        400,
        "Bad Request",
        "invalid_request",
        "The path can be read in more than one way",
        forward=403,
    ),
    Rule("no_route", 403, "Forbidden", "insufficient_scope", "No route is for this request"),
    Rule(
        "missing_credentials",
        400,
        "Bad Request",
        None,
        "The Authorization or the uid header is missing",
        registered=401,
    ),
    Rule(
        "malformed_credentials",
        400,
        "Bad Request",
        "invalid_request",
        "The Authorization header is not Bearer and one token",
    ),
    Rule(
        "invalid_token",
        498,
        "Invalid Token",
        "invalid_token",
        "The token is malformed or its signature is wrong",
        registered=401,
    ),
    Rule("token_expired", 401, "Token is expired", "invalid_token", "The token is expired"),
    Rule(
        "invalid_claims",
        401,
        "Token is invalid",
        "invalid_token",
        "A claim of the token is missing or not acceptable",
    ),
    Rule("token_revoked", 401, "Token is revoked", "invalid_token", "The session is ended"),
    Rule(
        "uid_mismatch",
        400,
        "User not permission",
        "invalid_request",
        "The uid header is not the uid of the token",
        registered=403,
        forward=403,
    ),
    Rule(
        "insufficient_scope",
        403,
        "Insufficient Scope",
        "insufficient_scope",
        "The route asks for a scope or claim that the token lacks",
    ),
    Rule(
        "keys_unavailable",
        503,
        "Service Unavailable",
        None,
        "The keys of the token's issuer are missing or too old",
        retry_after=5,
    ),
    Rule(
        "state_unavailable",
        503,
        "Service Unavailable",
        None,
        "The state store cannot be asked",
        retry_after=2,
    ),
)
# Those that hang on which path is asked for, not on who asks.
OF_ROUTES = ("malformed_path", "no_route", "insufficient_scope")


class Rejection:
    """A refusal as a WSGI app: a JSON object with `error` and `code`, and nothing secret.

    Args:
        code: what was wrong, for programs.
        status: the HTTP status code.
        error: what was wrong, for people.
        headers: headers besides those of every rejection.
        members: members of the object besides `error` and `code`.
    """

    __slots__ = ("_body", "_headers", "_status", "code", "error", "status")

    def __init__(
        self, code: str, status: int, error: str, headers: Iterable[tuple[str, str]] = (), **members: object
    ) -> None:
        self.code = code
        self.status = status
        self.error = error
        self._status = status_line(status)
        self._body = json.dumps({"error": error, "code": code, **members}).encode("ascii")
        self._headers = (
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(self._body))),
            ("Cache-Control", "no-store"),
            *headers,
        )

    @property
    def headers(self) -> dict[str, str]:
        """The headers of every answer."""
        return dict(self._headers)

    @property
    def content(self) -> dict[str, Any]:
        """The JSON object of every answer but those to `HEAD`."""
        content: dict[str, Any] = json.loads(self._body)
        return content

    def __repr__(self) -> str:
        return f"Rejection({self.code!r}, {self.status})"

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        """Answer the request; `HEAD` gets the same headers and no body."""
        start_response(self._status, list(self._headers))
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [self._body]


def status_line(status: int) -> str:
    """Return code and reason phrase."""
    phrase = _PHRASES.get(status) or HTTPStatus(status).phrase
    return f"{status} {phrase}"


def rejections(profile: str) -> dict[str, Rejection]:
    """Return every rejection of the table by its code, for the profile `classic`, `rfc6750` or `FORWARD`."""
    return {rule.code: _made_ready(rule, profile) for rule in RULES}


def status_of(rule: Rule, profile: str) -> int:
    """Return the status of a rejection in a profile."""
    if profile == FORWARD:
        return rule.status if rule.status in FORWARD_STATUSES else rule.forward
    return rule.registered if profile == "rfc6750" and rule.registered else rule.status


def _made_ready(rule: Rule, profile: str = "classic") -> Rejection:
    header = ("WWW-Authenticate", _challenge(rule))
    if rule.retry_after is not None:
        header = ("Retry-After", str(rule.retry_after))
    return Rejection(rule.code, status_of(rule, profile), rule.error, [header])


def _challenge(rule: Rule) -> str:
    """RFC 6750 section 3: no error code where the request carried no credentials."""
    if rule.challenge is None:
        return f'Bearer realm="{REALM}"'
    return f'Bearer realm="{REALM}", error="{rule.challenge}", error_description="{rule.description}"'


# What else the gateway's own endpoints refuse. A 401 has a challenge (RFC 9110 section 15.5.2); a login sends
# no token, so that there is no error of one.
_NOT_FORWARDED = Rule(
    "not_forwarded", 403, "Forbidden", "invalid_request", "No trusted proxy says which request is meant"
)
NOT_FORWARDED = _made_ready(_NOT_FORWARDED)
NOT_FOUND = Rejection("not_found", 404, "Not Found")
_BAD_BODY = Rule("malformed_body", 400, "Bad Request", "invalid_request", "The body is no JSON object")
MALFORMED_BODY = _made_ready(_BAD_BODY)
PRECONDITION_FAILED = Rejection("precondition_failed", 412, "Precondition Failed")
INVALID_BODY = Rejection("invalid_body", 422, "Unprocessable Content")
BODY_TOO_LARGE = Rejection("body_too_large", 413, "Content Too Large")
WRONG_LOGIN = _made_ready(Rule("wrong_login", 401, "Wrong uid or password", None, ""))
NOT_REVOCABLE = Rejection("not_revocable", 409, "Conflict")
LOGIN_UNAVAILABLE = Rejection("login_unavailable", 503, "Service Unavailable", (("Retry-After", "5"),))


def method_not_allowed(allowed: Iterable[str]) -> Rejection:
    """Return the rejection of a method where only these are allowed."""
    return Rejection("method_not_allowed", 405, "Method Not Allowed", [("Allow", ", ".join(sorted(allowed)))])


def too_many_attempts(wait: float) -> Rejection:
    """Return the rejection of a login that may be tried again after so many seconds."""
    retry_after = ("Retry-After", str(math.ceil(wait)))
    return Rejection("too_many_attempts", 429, "Too Many Requests", [retry_after])


def not_ready(down: Iterable[str]) -> Rejection:
    """Return the rejection of those who ask whether all parts are up, where these are not."""
    retry_after = ("Retry-After", "5")
    return Rejection("not_ready", 503, "Service Unavailable", [retry_after], down=list(down))


def every_rejection(profile: str) -> dict[str, Rejection]:
    """Return every rejection by its code, for a profile; of what is made at need, an example."""
    of_endpoints = (
        *(NOT_FOUND, NOT_FORWARDED, MALFORMED_BODY, PRECONDITION_FAILED, INVALID_BODY, BODY_TOO_LARGE),
        *(WRONG_LOGIN, NOT_REVOCABLE, LOGIN_UNAVAILABLE),
        *(method_not_allowed(["GET", "HEAD"]), too_many_attempts(60), not_ready(["state store"])),
    )
    return rejections(profile) | {rejection.code: rejection for rejection in of_endpoints}
