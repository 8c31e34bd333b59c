"""What the gateway's own endpoints take and answer, told to programs (OpenAPI 3.1.1)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from gateway import extras
from gateway.forwardauth import RENEWED
from gateway.rejections import FORWARD, OF_ROUTES, REALM, RULES, Rejection, every_rejection, status_line
from gateway.settings import Settings

Object = dict[str, Any]  # of JSON

_ABOUT = (
    "The gateway's own endpoints. GET can be HEAD as well. Any other path at or under {prefix} is answered"
    " with the response NotFound, any other method with MethodNotAllowed."
)

_STRING: Object = {"type": "string"}
_NO_STORE: Object = {"type": "string", "const": "no-store"}
_REVALIDATED: Object = {
    "ETag": {"required": True, "schema": _STRING},
    "Cache-Control": {"required": True, "schema": _STRING},
}
# Of the headers that a rejection may have.
_SCHEMAS: Mapping[str, Object] = {
    "Cache-Control": _NO_STORE,
    "WWW-Authenticate": {"type": "string", "pattern": f'^Bearer realm="{REALM}"'},
    "Retry-After": {"type": "integer", "minimum": 1, "description": "Seconds"},
    "Allow": {"type": "string", "description": "The methods that there are"},
}

_METHOD: Object = {"type": "string", "pattern": "^[A-Z]+$"}
_TARGET: Object = {"type": "string", "pattern": "^/"}
_FORWARDED: Mapping[str, Object] = {
    "X-Forwarded-Method": _METHOD,
    "X-Forwarded-Uri": _TARGET,
    "X-Original-Method": _METHOD,
    "X-Original-URI": _TARGET,
}

_UIDS: Object = {"type": ["integer", "string"]}
_LOGIN = {
    "type": "object",
    "required": ["uid", "password"],
    "properties": {"uid": _UIDS, "password": {"type": "string", "format": "password"}},
}
_REVOCATION = {
    "type": "object",
    "properties": {
        "all": {"type": "boolean", "default": False, "description": "Every session of the uid, not this one"}
    },
    "additionalProperties": False,
}
_COMPONENTS: Mapping[str, Object] = {
    "Ok": {"type": "object", "required": ["status"], "properties": {"status": {"const": "ok"}}},
    "Token": {
        "type": "object",
        "required": ["token", "token_type", "expires_in"],
        "properties": {
            "token": _STRING,
            "token_type": {"const": "Bearer"},
            "expires_in": {"type": "integer", "minimum": 1, "description": "Seconds"},
        },
    },
    "Keys": {
        "type": "object",
        "required": ["keys"],
        "properties": {
            "keys": {
                "type": "array",
                "items": {"type": "object", "required": ["kty", "kid", "alg", "use"]},
            }
        },
    },
    "Rejection": {
        "type": "object",
        "required": ["error", "code"],
        "properties": {
            "error": {"type": "string", "description": "What was wrong, for people"},
            "code": {"type": "string", "description": "What was wrong, for programs"},
            "down": {
                "type": "array",
                "items": _STRING,
                "description": "With not_ready: what does not answer",
            },
        },
    },
}


def document(settings: Settings, served: Iterable[tuple[str, str]]) -> Object:
    """Return the description of the endpoints that are served, with nothing secret in it.

    Args:
        settings: the settings.
        served: their paths, prefix included, and methods.
    """
    paths: dict[str, Object] = {}
    for path, method in served:
        describe = OPERATIONS[method, path.removeprefix(settings.prefix)]
        paths.setdefault(path, {})[method.lower()] = describe(settings)
    return {
        "openapi": "3.1.1",
        "info": {
            "title": "wsgi-auth-gateway",
            "version": extras.version(),
            "description": _ABOUT.format(prefix=settings.prefix),
        },
        "servers": [{"url": _root_from(settings.prefix)}],
        "paths": paths,
        "components": _components(settings),
    }


def _root_from(prefix: str) -> str:
    """Return the URL of all paths, relative to that of the document: it holds below any host and mount."""
    return "/".join([".."] * prefix.count("/"))


def _components(settings: Settings) -> Object:
    return {
        "schemas": dict(_COMPONENTS),
        "responses": {
            "NotFound": _refusals(settings, "not_found")["404"],
            "MethodNotAllowed": _refusals(settings, "method_not_allowed")["405"],
        },
        "securitySchemes": {
            "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
            "uid": {"type": "apiKey", "in": "header", "name": "uid", "description": "The token's uid"},
        },
    }


# What each answers


def _health(_: Settings) -> Object:
    ok = _answer("The process serves", "Ok")
    return {"operationId": "health", "summary": "Whether the process serves", "responses": {"200": ok}}


def _ready(settings: Settings) -> Object:
    return {
        "operationId": "ready",
        "summary": "Whether all that requests need can be asked",
        "responses": {
            "200": _answer("All parts answer", "Ok"),
            **_refusals(settings, "not_ready"),
        },
    }


def _openapi(settings: Settings) -> Object:
    return {
        "operationId": "openapi",
        "summary": "This description",
        "responses": _revalidated(settings, "application/json", {"type": "object"}),
    }


def _jwks(settings: Settings) -> Object:
    return {
        "operationId": "jwks",
        "summary": "The public keys of the tokens (RFC 7517)",
        "responses": _revalidated(settings, "application/jwk-set+json", _ref("Keys")),
    }


def _metrics(settings: Settings) -> Object:
    return {
        "operationId": "metrics",
        "summary": "The metrics for Prometheus, for some addresses alone",
        "responses": {
            "200": {"description": "The metrics", "content": {"text/plain": {"schema": _STRING}}},
            **_refusals(settings, "not_found"),
        },
    }


def _log_in(settings: Settings) -> Object:
    codes = ("malformed_body", "invalid_body", "body_too_large", "wrong_login", "too_many_attempts")
    return {
        "operationId": "logIn",
        "summary": "Get a token for a password",
        "requestBody": _body(_LOGIN, required=True),
        "responses": {
            "200": _answer("A token", "Token"),
            **_refusals(settings, *codes, "login_unavailable", "state_unavailable", "keys_unavailable"),
        },
    }


def _revoke(settings: Settings) -> Object:
    judged = [rule.code for rule in RULES if rule.code not in OF_ROUTES]
    codes = ("malformed_body", "invalid_body", "body_too_large", "not_revocable")
    return {
        "operationId": "revoke",
        "summary": "End the session of the token, or every session of its uid",
        "security": _credentials(settings),
        "requestBody": _body(_REVOCATION, required=False),
        "responses": {
            "204": {"description": "It is ended for good", "headers": _headers({"Cache-Control": _NO_STORE})},
            **_refusals(settings, *judged, *codes),
        },
    }


def _verify(settings: Settings) -> Object:
    judged = (rule.code for rule in RULES)
    return {
        "operationId": "verify",
        "summary": "Whether the request that a trusted proxy asks about may pass, and who sends it",
        "description": "The proxy says which by one pair of headers: X-Forwarded-… or X-Original-…",
        "security": [*_credentials(settings), {}],  # none for a public path
        "parameters": [{"name": name, "in": "header", "schema": each} for name, each in _FORWARDED.items()],
        "responses": {
            "200": {"description": "It may pass", "headers": _handed_on(settings)},
            **_refusals(settings, *judged, "not_forwarded", profile=FORWARD),
        },
    }


OPERATIONS: Mapping[tuple[str, str], Callable[[Settings], Object]] = {
    ("GET", "/health"): _health,
    ("GET", "/ready"): _ready,
    ("GET", "/openapi.json"): _openapi,
    ("GET", "/jwks.json"): _jwks,
    ("GET", "/metrics"): _metrics,
    ("GET", "/verify"): _verify,
    ("POST", ""): _log_in,
    ("POST", "/revoke"): _revoke,
}


# What they have in common


def _ref(schema: str) -> Object:
    return {"$ref": f"#/components/schemas/{schema}"}


def _headers(schemas: Mapping[str, Object], *, required: bool = True) -> Object:
    return {name: {"required": required, "schema": schema} for name, schema in schemas.items()}


def _answer(description: str, schema: str) -> Object:
    return {
        "description": description,
        "headers": _headers({"Cache-Control": _NO_STORE}),
        "content": {"application/json": {"schema": _ref(schema)}},
    }


def _body(schema: Object, *, required: bool) -> Object:
    return {"required": required, "content": {"application/json": {"schema": schema}}}


def _revalidated(settings: Settings, media_type: str, schema: Object) -> Object:
    """Return the responses to requests that may be conditional (RFC 9110 section 13.1)."""
    return {
        "200": {
            "description": "As it is now",
            "headers": dict(_REVALIDATED),
            "content": {media_type: {"schema": schema}},
        },
        "304": {"description": "As If-None-Match names it", "headers": dict(_REVALIDATED)},
        **_refusals(settings, "precondition_failed"),
    }


def _credentials(settings: Settings) -> list[Object]:
    """Return the ways in which somebody can say who they are."""
    both: Object = {"bearer": [], "uid": []}
    return [both] if settings.require_uid else [{"bearer": []}, both]


def _handed_on(settings: Settings) -> Object:
    """Return the headers by which a proxy learns who sends a request; on a public path there are none."""
    names = ["uid", settings.token_header, *(name for name, _ in settings.claim_headers)]
    names += [RENEWED] if settings.token_in_response else []
    of_sender = _headers(dict.fromkeys(names, _STRING), required=False)
    return {**of_sender, **_headers({"Cache-Control": _NO_STORE})}


def _refusals(settings: Settings, *codes: str, profile: str | None = None) -> Object:
    """Return the responses, by status, to what is refused with these codes, as far as the settings let it."""
    known = every_rejection(profile or settings.status_profile)
    by_status: dict[int, list[Rejection]] = {}
    for rejection in (known[code] for code in codes if _can_be(code, settings)):
        by_status.setdefault(rejection.status, []).append(rejection)
    return {str(status): _refusal(status, alike) for status, alike in sorted(by_status.items())}


def _can_be(code: str, settings: Settings) -> bool:
    if code in ("token_revoked", "state_unavailable"):
        return settings.state_url is not None
    if code in OF_ROUTES:
        return settings.routes is not None
    if code == "keys_unavailable":
        return settings.key_dir is not None or bool(settings.issuers)
    return True


def _refusal(status: int, alike: list[Rejection]) -> Object:
    """Return the response of a status that several rejections have."""
    members = {
        "error": {"enum": list(dict.fromkeys(rejection.error for rejection in alike))},
        "code": {"enum": [rejection.code for rejection in alike]},
    }
    examples = {rejection.code: {"value": rejection.content} for rejection in alike}
    return {
        "description": status_line(status).partition(" ")[2],
        "headers": {
            name: {"required": all(name in rejection.headers for rejection in alike), "schema": schema}
            for name, schema in _SCHEMAS.items()
            if any(name in rejection.headers for rejection in alike)
        },
        "content": {
            "application/json": {"schema": {**_ref("Rejection"), "properties": members}, "examples": examples}
        },
    }
