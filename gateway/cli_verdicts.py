"""What the gateway would answer, for the commands that ask."""

from __future__ import annotations

import sys
from typing import Any

from gateway.authentication import Authenticator
from gateway.cli_group import Faults
from gateway.cli_output import print_fact
from gateway.errors import KeysUnavailableError, TokenError
from gateway.identity import Identity
from gateway.rejections import Rejection, status_line
from gateway.revocations import revocations_in_force
from gateway.settings import Settings
from gateway.tokens import TokenCreator


def verdict_document(verdict: Identity | Rejection | None) -> dict[str, Any]:
    """Return whether somebody, or nobody in particular, passes, and else what is answered, for a script."""
    who = verdict if isinstance(verdict, Identity) else None
    refusal = verdict if isinstance(verdict, Rejection) else None
    return {
        "ok": refusal is None,
        "uid": who and who.uid,
        "issuer": who and who.issuer,
        "renewed": who is not None and who.renewed,
        "status": refusal and refusal.status,
        "error": refusal and refusal.error,
        "code": refusal and refusal.code,
    }


def print_verdict(verdict: Identity | Rejection) -> None:
    """Print what is answered to whoever sends a token."""
    if isinstance(verdict, Rejection):
        line, colour = f"{status_line(verdict.status)}: {verdict.error} ({verdict.code})", "red"
    else:
        renewed = ", and a renewed token" if verdict.renewed else ""
        line, colour = f"the app's own, for uid {verdict.uid}{renewed}", "green"
    print_fact("answer", line, colour)


def token_given(text: str) -> str:
    """Return a token as it was given: itself, behind `Bearer`, or by standard input for `-`.

    Raises:
        Faults: there is none.
    """
    if text == "-":
        text = sys.stdin.buffer.read().decode("utf-8", "replace")
    text = text.strip().removeprefix("Bearer ")
    if not text:
        raise Faults("no token was given; it must be an argument, or come by standard input")
    return text


def judge_of(settings: Settings, creator: TokenCreator) -> Authenticator:
    """Return the judge of these settings, who has asked which sessions were ended."""
    revocations = revocations_in_force(settings, creator)
    if revocations is not None:
        revocations.start()
    return Authenticator(settings, creator, revocations)


def uid_of(creator: TokenCreator, text: str) -> str:
    """Return the uid of a good token; of another it is never asked."""
    try:
        return creator.verify(text, creator.now()).uid
    except (TokenError, KeysUnavailableError):
        return "-"
