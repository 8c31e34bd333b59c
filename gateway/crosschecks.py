"""What must hold between settings, each of which is sound by itself, and in the files that they name."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from gateway import extras, kinds
from gateway.errors import ConfigError
from gateway.headers import fold
from gateway.keyfolder import read_folder
from gateway.keys import ASYMMETRIC, MIN_HMAC_BYTES, SYMMETRIC
from gateway.policy import unreachable
from gateway.policyfile import IssuerRules, PolicyFile, read_policy, same_uids
from gateway.stores import urls
from gateway.table import Fault, unfit

_ABOUT_FILES = frozenset(
    {
        *("token_key", "algorithm", "key_dir", "key_activation_sec", "policy_file", "issuer"),
        *("prefix", "public_paths", "token_header"),
    }
)


def faults_between(values: dict[str, Any]) -> list[Fault]:
    """Return what is wrong, and work out the values that hang on others.

    Args:
        values: settings by keyword, without those that are faulty. The defaults that hang on other
            settings are put in, the issuers of the policy file as `issuers`, the keys of the folder as
            `key_ring`.
    """
    faults = _weak_keys(values) + _times(values) + _state(values) + _login(values) + _served(values)
    # Files are read only where all that says how to read them is sound.
    if values.keys() >= _ABOUT_FILES:
        faults += _policy_faults(values) or _key_faults(values)
    return faults


def weak_secrets(values: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """Yield the variable and the length in bytes of each HMAC secret that can be guessed."""
    secrets = [("GATEWAY_PREVIOUS_KEYS", secret) for secret in values.get("previous_keys", ())]
    if values.get("token_key") is not None:
        secrets.insert(0, ("TOKEN_KEY", values["token_key"]))
    for variable, secret in secrets:
        if len(secret) < MIN_HMAC_BYTES:
            yield variable, len(secret)


def _weak_keys(values: Mapping[str, Any]) -> list[Fault]:
    if values.get("allow_weak_key", True):
        return []
    must = kinds.SECRET.must
    return [unfit(variable, f"holds {length} bytes", must) for variable, length in weak_secrets(values)]


def _times(values: dict[str, Any]) -> list[Fault]:
    """Work out the defaults that hang on EXP_TIME_MIN, and compare with it what may not pass it."""
    faults: list[Fault] = []
    lifetime = values.get("exp_time_min")
    if lifetime is None:
        return faults
    refresh = values.get("refresh_time_min", 0)
    if refresh is None:
        values["refresh_time_min"] = min(15, lifetime)
    elif refresh > lifetime:
        must = f"at most EXP_TIME_MIN, which is {lifetime}"
        faults.append(unfit("REFRESH_TIME_MIN", f"is {refresh}", must))
    session = values.get("max_session_min", lifetime)
    if session is None:
        values["max_session_min"] = max(1440, lifetime)
    elif session < lifetime:
        must = f"at least EXP_TIME_MIN, which is {lifetime}"
        faults.append(unfit("GATEWAY_MAX_SESSION_MIN", f"is {session}", must))
    return faults


def _state(values: dict[str, Any]) -> list[Fault]:
    faults: list[Fault] = []
    sync, stale = values.get("state_sync_sec", 0), values.get("state_max_stale_sec", math.inf)
    if stale is None:
        values["state_max_stale_sec"] = max(10.0, sync)
    elif stale < sync:
        must = f"at least GATEWAY_STATE_SYNC_SEC, which is {sync:g}"
        faults.append(unfit("GATEWAY_STATE_MAX_STALE_SEC", f"is {stale:g}", must))
    url = values.get("state_url")
    if url is not None:
        values["state_url"] = urls.absolute(url)
        if urls.is_redis(url) and not extras.is_installed("redis"):
            faults.append(_missing("GATEWAY_STATE_URL", "redis"))
    return faults


def _login(values: dict[str, Any]) -> list[Fault]:
    """Tell whether whoever logs in can be counted and be given a token."""
    variable = "GATEWAY_LOGIN" if values.get("login") else "GATEWAY_USERS_URL"
    if not values.get("login") and not values.get("users_url"):
        return []
    faults: list[Fault] = []
    if values.get("login") and values.get("users_url"):
        faults.append(unfit("GATEWAY_LOGIN", "is set, and GATEWAY_USERS_URL as well", "one of the two"))
    if "state_url" in values and values["state_url"] is None:
        line = f"GATEWAY_STATE_URL is not set, though {variable} is: failed logins are counted there"
        faults.append(Fault("GATEWAY_STATE_URL", f"{line}; it must be {urls.MUST}", missing=True))
    if values.get("users_url"):
        faults += _users(values)
    return faults


def _served(values: dict[str, Any]) -> list[Fault]:
    """Tell whether there is one thing to stand in front of, and all that is needed for it."""
    faults: list[Fault] = []
    if values.get("upstream") and values.get("app"):
        faults.append(unfit("GATEWAY_UPSTREAM", "is set, and GATEWAY_APP as well", "one of the two"))
    for variable, keyword in {"GATEWAY_UPSTREAM": "upstream", "GATEWAY_METRICS_FROM": "metrics_from"}.items():
        extra = keyword.partition("_")[0]
        if values.get(keyword) and not extras.is_installed(extra):
            faults.append(_missing(variable, extra))
    return faults


def _users(values: dict[str, Any]) -> list[Fault]:
    url = values["users_url"]
    if not extras.is_installed("users"):
        return [_missing("GATEWAY_USERS_URL", "users")]
    if url.startswith("sqlite"):
        scheme, _, rest = url.partition("://")
        path, mark, options = rest.removeprefix("/").partition("?")
        if not rest.startswith("/") or path.startswith(("file:", ":memory:")) or Path(path).is_dir():
            return [unfit("GATEWAY_USERS_URL", "names no file", kinds.USERS_URL.must)]
        values["users_url"] = f"{scheme}:///{Path(path).absolute()}{mark}{options}"
    return []


def _missing(variable: str, extra: str) -> Fault:
    return Fault(variable, extras.needs(extra, variable))


def _policy_faults(values: dict[str, Any]) -> list[Fault]:
    """Read the policy file into the values."""
    policy = PolicyFile()
    lines: list[str] = []
    try:
        if values["policy_file"] is not None:
            policy = read_policy(Path(values["policy_file"]))
        if policy.issuers:
            extras.require("crypto", "an issuer")
    except ConfigError as error:
        lines += error.faults
    else:
        lines += [
            *_doubtful_sources(policy.issuers, values),
            *_doubtful_routes(policy, values),
            *_taken_headers(policy, values),
        ]
    values["issuers"], values["routes"] = policy.issuers, policy.routes
    values["claim_headers"] = policy.headers
    return [Fault("GATEWAY_POLICY_FILE", f"GATEWAY_POLICY_FILE: {line}") for line in lines]


def _doubtful_sources(issuers: Iterable[IssuerRules], values: Mapping[str, Any]) -> Iterator[str]:
    """Yield why a token or a uid could be of two sources, ours among them."""
    ours = _is_ours(values)
    yield from same_uids(issuers, ours=ours)
    for rules in issuers:
        if ours and rules.issuer == values["issuer"]:
            yield f"{rules.place}: issuer is {rules.issuer!r}, which is GATEWAY_ISSUER, our own name"


def _doubtful_routes(policy: PolicyFile, values: Mapping[str, Any]) -> Iterator[str]:
    """Yield why a route decides on nothing, or on nobody's token."""
    if policy.routes is None:
        return
    if values["public_paths"]:
        place = policy.routes[0].place
        both = "[[routes]] is there, and GATEWAY_PUBLIC_PATHS is set as well"
        yield f"{place}: {both}; it must be one of the two"
    yield from unreachable(policy.routes, values["prefix"])
    known = {rules.issuer for rules in policy.issuers}
    if _is_ours(values):
        known |= {"", values["issuer"]}
    for route in policy.routes:
        for issuer in route.issuers or ():
            if issuer not in known:
                unknown = f"issuers names {issuer!r}, whose tokens are not taken"
                place = route.place and route.place.below("issuers")
                yield f"{place}: {unknown}; it must be {_names(known)}"


def _names(issuers: Iterable[str | None]) -> str:
    return " or ".join(sorted(repr(issuer) for issuer in issuers if issuer is not None))


def _taken_headers(policy: PolicyFile, values: Mapping[str, Any]) -> Iterator[str]:
    for (name, _), place in zip(policy.headers, policy.header_places, strict=True):
        if fold(name) == fold(values["token_header"]):
            yield f"{place}: {name!r} is GATEWAY_TOKEN_HEADER; it must be another"


def _is_ours(values: Mapping[str, Any]) -> bool:
    return values["token_key"] is not None or values["key_dir"] is not None


def _key_faults(values: dict[str, Any]) -> list[Fault]:
    """Tell whether there is a key of the configured algorithm, or somebody else's keys instead."""
    logs_in = values.get("login") or values.get("users_url")
    if values["token_key"] is values["key_dir"] is None and values["issuers"] and not logs_in:
        return []
    return _secret_faults(values) if values["algorithm"] in SYMMETRIC else _folder_faults(values)


def _secret_faults(values: Mapping[str, Any]) -> list[Fault]:
    if values["key_dir"] is not None:
        must = f"one of {', '.join(ASYMMETRIC)}, since GATEWAY_KEY_DIR holds private keys"
        return [unfit("GATEWAY_ALGORITHM", f"is {values['algorithm']!r}", must)]
    if values["token_key"] is not None:
        return []
    line = f"TOKEN_KEY is not set; it must be {kinds.SECRET.must}"
    return [Fault("TOKEN_KEY", line, missing=True)]


def _folder_faults(values: dict[str, Any]) -> list[Fault]:
    algorithm, folder = values["algorithm"], values["key_dir"]
    if folder is None:
        line = f"GATEWAY_KEY_DIR is not set; it must be a folder of private keys for {algorithm}"
        return [Fault("GATEWAY_KEY_DIR", line, missing=True)]
    values["key_dir"] = str(Path(folder).absolute())  # the same, wherever the app may go
    try:
        extras.require("crypto", f"GATEWAY_ALGORITHM is {algorithm!r}, which")
        values["key_ring"] = read_folder(Path(folder), algorithm, values["key_activation_sec"])
    except ConfigError as error:
        return [Fault("GATEWAY_KEY_DIR", line) for line in error.faults]
    return []
