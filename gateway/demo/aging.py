"""Ages the token of who asks, so that nobody need wait for its end to see what happens then."""

from __future__ import annotations

import json
from typing import Any

from werkzeug import Request, Response
from werkzeug.exceptions import HTTPException

from gateway.errors import KeysUnavailableError, TokenError
from gateway.jws import STRICT_JSON
from gateway.rejections import Rejection
from gateway.settings import Settings
from gateway.tokens import TokenCreator

MOST_BODY_BYTES = 200
PAST_SEC = 60  # how long ago an expired one has ended, beyond the leeway

_WANTED = Rejection("invalid_body", 422, 'the body must be {"left": "expired"} or {"left": "near"}')
_UNKNOWN = Rejection("not_signed_in", 403, "nobody was signed in here: the path must not be public")
_FOREIGN = Rejection("not_ours", 409, "the token is another issuer's, which alone can age it")
_NO_WINDOW = Rejection("never_renewed", 409, "REFRESH_TIME_MIN is 0: no token is renewed near its end")
_NO_STORE = {"Cache-Control": "no-store"}


class Aging:
    """Answers the token that came with an earlier end: same uid, claims, session and key.

    Whoever asks was let in by the gateway: with a token that is good, not revoked, and their own. They are
    answered one that is good for no longer, and can see nothing with it that they could not see by waiting.
    """

    def __init__(self, settings: Settings) -> None:
        self._past = settings.leeway_sec + PAST_SEC
        self._window = settings.refresh_time_min * 60

    def __call__(self, request: Request) -> Response | Rejection:
        """Answer one request, whose JSON says how much shall be `left`."""
        left = _left(request)
        if left not in ("expired", "near"):
            return _WANTED
        if "gateway.claims" not in request.environ:
            return _UNKNOWN
        if "gateway.issuer" in request.environ:
            return _FOREIGN
        if left == "near" and not self._window:
            return _NO_WINDOW
        return self._aged(request, left)

    def _aged(self, request: Request, left: str) -> Response | Rejection:
        tokens: TokenCreator = request.environ["gateway.tokens"]
        # The token that came: the one to use next may have been renewed just now.
        token = request.environ["HTTP_AUTHORIZATION"].rpartition(" ")[2]
        now = int(tokens.now())
        exp = now - self._past if left == "expired" else now + self._window // 2
        try:
            aged = _ending_by(tokens, token, exp)
        except (TokenError, KeysUnavailableError) as error:
            return Rejection("not_aged", 409, f"the token cannot be aged: {error}")
        return Response(json.dumps({"token": aged}) + "\n", mimetype="application/json", headers=_NO_STORE)


def _ending_by(tokens: TokenCreator, token: str, exp: int) -> str:
    """Return a token shortened to that end, or itself if it ends by then already."""
    return tokens.shortened(token, exp) if tokens.decode_token(token)["exp"] > exp else token


def _left(request: Request) -> Any:
    """Return what a body of one member says, None for any other."""
    request.max_content_length = MOST_BODY_BYTES
    try:
        body = STRICT_JSON.decode(request.get_data().decode("utf-8"))
    except (HTTPException, ValueError, RecursionError):
        return None
    return body["left"] if isinstance(body, dict) and body.keys() == {"left"} else None
