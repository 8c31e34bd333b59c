"""What the playground is told of the gateway, so that it can say what happens: nothing secret."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from gateway.headers import environ_key
from gateway.rejections import RULES, every_rejection, status_line
from gateway.settings import Settings

# What the gateway's endpoints refuse: theirs is no row of the table.
OF_ENDPOINTS = {
    "not_found": "The gateway has no such endpoint, or it is not configured",
    "not_forwarded": "No trusted proxy says which request is meant",
    "malformed_body": "The body is no JSON object",
    "precondition_failed": "What the request makes a condition does not hold",
    "invalid_body": "A member of the body is missing or of the wrong type",
    "body_too_large": "The body is larger than the gateway reads",
    "wrong_login": "The uid or the password is wrong; the gateway does not say which",
    "not_revocable": "The token names no session that could be ended alone",
    "login_unavailable": "Those who may log in cannot be asked for, for now",
    "method_not_allowed": "The endpoint does not take that method",
    "too_many_attempts": "Too many logins have failed: whoever guesses must wait",
    "not_ready": "A part that the gateway needs does not answer",
}


def facts_of(settings: Settings) -> dict[str, Any]:
    """Return what the page needs to know of the settings, as JSON takes it."""
    return {
        "prefix": settings.prefix,
        "login": _has_login(settings),
        "state": settings.state_url is not None,
        "state_sync_sec": settings.state_sync_sec,
        "profile": settings.status_profile,
        "token_header": settings.token_header,
        "token_key": environ_key(settings.token_header),
        "token_in_response": settings.token_in_response,
        "uid_claim": settings.uid_claim,
        "require_uid": settings.require_uid,
        "life_sec": settings.exp_time_min * 60,
        "refresh_sec": settings.refresh_time_min * 60,
        "session_sec": settings.max_session_min * 60,
        "leeway_sec": settings.leeway_sec,
        "rules": {**OF_ENDPOINTS, **{rule.code: rule.description for rule in RULES}},
        "reasons": _reasons(settings.status_profile),
    }


def _has_login(settings: Settings) -> bool:
    has_users = settings.users_url is not None or settings.login is not None
    return bool(settings.prefix) and settings.state_url is not None and has_users


def _reasons(profile: str) -> dict[str, str]:
    """Return the phrases of statuses, which HTTP/2 does not send."""
    refused = {rejection.status for rejection in every_rejection(profile).values()}
    statuses = refused | {status.value for status in HTTPStatus}
    return {str(status): status_line(status).partition(" ")[2] for status in sorted(statuses)}
