"""The files of the playground, read once, and answered with leave to do no more than they must."""

from __future__ import annotations

from importlib.resources import files as resources
from pathlib import PurePath

from werkzeug import Request, Response
from werkzeug.exceptions import PreconditionFailed
from werkzeug.http import generate_etag

INDEX = "index.html"

_POLICY = (
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self'",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
)
# What the page needs of none of them: it copies to the clipboard, and that is all.
_FEATURES = (
    *("accelerometer", "camera", "display-capture", "encrypted-media", "fullscreen", "geolocation"),
    *("gyroscope", "magnetometer", "microphone", "midi", "payment", "picture-in-picture"),
    *("publickey-credentials-get", "screen-wake-lock", "usb", "xr-spatial-tracking"),
)
CLOSED = {
    "Content-Security-Policy": "; ".join(_POLICY),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": ", ".join(f"{feature}=()" for feature in _FEATURES),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
# Not as the system has them: of some types it knows nothing.
_TYPES = {".css": "text/css", ".html": "text/html", ".js": "text/javascript", ".svg": "image/svg+xml"}


class Page:
    """One file, of which browsers ask each time whether they have the newest."""

    def __init__(self, name: str, body: bytes) -> None:
        self._body = body
        self._etag = generate_etag(body)
        self._type = _TYPES[PurePath(name).suffix]

    def __call__(self, request: Request, vary: str | None = None) -> Response | PreconditionFailed:
        """Answer one request, which may be conditional; `vary` are the headers that it was chosen by."""
        response = Response(self._body, mimetype=self._type, headers=CLOSED)
        response.headers["Cache-Control"] = "no-cache"
        if vary is not None:
            response.headers["Vary"] = vary
        response.set_etag(self._etag)
        response.make_conditional(request.environ)
        return PreconditionFailed() if response.status_code == PreconditionFailed.code else response


def files() -> dict[str, Page]:
    """Read the files, and return them by their names."""
    folder = resources("gateway.demo") / "static"
    return {file.name: Page(file.name, file.read_bytes()) for file in folder.iterdir()}
