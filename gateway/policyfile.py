"""The policy file: TOML, read strictly, with every fault told by its line."""

from __future__ import annotations

import dataclasses
import difflib
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway import headers, kinds, table
from gateway.envfile import EnvFileError, read_text, shown
from gateway.errors import ConfigError
from gateway.table import Fault, Row, checked, row, rows_of

_ISSUERS = "issuers"
_SHARED_UIDS = "shared_uids"
_ROUTES = "routes"
_HEADERS = "headers"


@dataclass(frozen=True, slots=True)
class Place:
    """A key or table in a file, for messages: as text it is the file and the line, sought only then."""

    path: Path
    text: str
    where: tuple[str | int, ...]

    def __str__(self) -> str:
        return f"{shown(self.path)}, line {_line_of(self.text, self.where)}"

    def below(self, name: str) -> Place:
        """Return the place of a key in this table."""
        return Place(self.path, self.text, (*self.where, name))


@dataclass(frozen=True, kw_only=True)
class IssuerRules:
    """One `[[issuers]]` of the file: whose tokens are taken besides ours, and by which rules.

    `place` is where it stands in the file.
    """

    issuer: str = row("issuer", kinds.text(), None, "the iss of its tokens", default_text="required")
    jwks_url: str = row(
        "jwks_url", kinds.KEY_ADDRESS, None, "where its public keys are (RFC 7517)", default_text="required"
    )
    audience: str = row(
        "audience", kinds.text(), None, "what the aud of its tokens must name", default_text="required"
    )
    algorithms: tuple[str, ...] = row(
        "algorithms", kinds.ALGORITHMS, ("RS256",), "the algorithms that may sign its tokens"
    )
    uid_claim: str = row("uid_claim", kinds.UID_CLAIM, "sub", "the claim that holds the uid")
    uid_prefix: str = row(
        "uid_prefix", kinds.UID_PREFIX, "", "put before that claim, so that no two issuers share a uid"
    )
    max_token_min: int = row(
        "max_token_min", kinds.MINUTES, 1440, "minutes from now within which its tokens must expire"
    )
    leeway_sec: int = row(
        "leeway_sec", kinds.whole(0, 300, "seconds"), 60, "clock skew allowed, in seconds, 0 to 300"
    )
    max_stale_min: int = row(
        "max_stale_min", kinds.MINUTES, 1440, "minutes for which its last keys stay in use while it is down"
    )
    shared_uids: bool = row(
        "shared_uids", kinds.FLAG, False, "a uid means the same person as anywhere else with that prefix"
    )
    place: Place | None = dataclasses.field(default=None, repr=False, compare=False)


ISSUER_TABLE = rows_of(IssuerRules)


@dataclass(frozen=True, kw_only=True)
class RouteRules:
    """One `[[routes]]` of the file: what is asked of those who send certain requests.

    `place` is where it stands in the file.
    """

    path: str = row(
        "path",
        kinds.PATTERN,
        None,
        "the paths: exact, with * for any one segment, or with /* at the end for everything below",
        default_text="required",
    )
    methods: tuple[str, ...] | None = row(
        "methods", kinds.METHODS, None, "the methods; GET covers HEAD too", default_text="all"
    )
    access: str = row(
        "access",
        kinds.ACCESS,
        kinds.PROTECTED,
        "public (no token needed), optional (a token may be left out), or protected",
    )
    scopes: tuple[str, ...] | None = row(
        "scopes", kinds.SCOPES, None, "the scopes that a token must have, all of them"
    )
    any_scope: tuple[str, ...] | None = row(
        "any_scope", kinds.SCOPES, None, "scopes of which a token must have one"
    )
    claims: tuple[tuple[str, Any], ...] | None = row(
        "claims", kinds.CLAIMS, None, "the values that claims must equal, or contain in a list"
    )
    issuers: tuple[str, ...] | None = row(
        "issuers", kinds.ISSUERS, None, 'whose tokens are accepted; "" for our own', default_text="all"
    )
    place: Place | None = dataclasses.field(default=None, repr=False, compare=False)

    def __str__(self) -> str:
        methods = f" ({', '.join(self.methods)})" if self.methods else ""
        return f"{self.path!r}{methods}" + (f" at {self.place}" if self.place else "")


ROUTE_TABLE = rows_of(RouteRules)
_ASKING = ("scopes", "any_scope", "claims", "issuers")


@dataclass(frozen=True, slots=True)
class PolicyFile:
    """What a policy file says; `routes` is None where it says nothing of them.

    `headers` are the claims that become headers, by the names of these, and `header_places` are where they
    stand.
    """

    issuers: tuple[IssuerRules, ...] = ()
    routes: tuple[RouteRules, ...] | None = None
    headers: tuple[tuple[str, str], ...] = ()
    header_places: tuple[Place, ...] = dataclasses.field(default=(), repr=False, compare=False)


def read_policy(path: Path) -> PolicyFile:
    """Return what a policy file says.

    Raises:
        ConfigError: one line for each thing wrong, with the file and its line.
    """
    try:
        text = read_text(path, "a file of TOML")
        document = tomllib.loads(text)
    except EnvFileError as error:
        raise ConfigError(str(error)) from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{shown(path)} is not TOML: {' '.join(str(error).split())}") from None
    reader = _Reader(path, text)
    policy = reader.policy(document)
    if reader.faults:
        raise ConfigError(*reader.faults)
    return policy


def same_uids(issuers: Iterable[IssuerRules], *, ours: bool) -> Iterator[str]:
    """Yield a fault for each issuer whose uids may be those of another source of tokens.

    Args:
        issuers: the issuers.
        ours: whether there are tokens of our own, whose uids have no prefix.
    """
    shared_by_prefix: dict[str, tuple[str, bool]] = {"": ("our own tokens", True)} if ours else {}
    for rules in issuers:
        name = f"the issuer {rules.issuer!r}"
        other, shared = shared_by_prefix.setdefault(rules.uid_prefix, (name, rules.shared_uids))
        if other != name and not (shared and rules.shared_uids):
            yield (
                f"{rules.place}: uid_prefix is {rules.uid_prefix!r}, as that of {other}; it must be another,"
                f" unless {_SHARED_UIDS} = true says that a uid means the same person everywhere"
            )


class _Reader:
    """Reads one file, and collects what is wrong in it."""

    def __init__(self, path: Path, text: str) -> None:
        self._path = path
        self._text = text
        self.faults: list[str] = []

    def policy(self, document: dict[str, Any]) -> PolicyFile:
        self._refuse_unknown(document, {_ISSUERS, _SHARED_UIDS, _ROUTES, _HEADERS}, (), "the policy file")
        routes = self._routes(document) if _ROUTES in document else None
        named = self._headers(document)
        places = tuple(self._place((_HEADERS, name)) for name, _ in named)
        return PolicyFile(self._issuers(document), routes, named, places)

    def _issuers(self, document: dict[str, Any]) -> tuple[IssuerRules, ...]:
        shared = document.get(_SHARED_UIDS, False)
        if not isinstance(shared, bool):
            line = f"{_SHARED_UIDS} is {table.shown(shared)}; it must be true or false"
            self._fault((_SHARED_UIDS,), line)
        found = []
        for index, members in enumerate(self._tables(document, _ISSUERS)):
            values, place = self._values(members, ISSUER_TABLE, (_ISSUERS, index), "an issuer")
            values[_SHARED_UIDS] = members.get(_SHARED_UIDS, shared)
            found.append(IssuerRules(**values, place=place))
        self._refuse_doubles(found)
        return tuple(found)

    def _routes(self, document: dict[str, Any]) -> tuple[RouteRules, ...]:
        tables = self._tables(document, _ROUTES)
        if document[_ROUTES] == []:
            self._fault((_ROUTES,), f"{_ROUTES} is empty, so that nothing could be reached; leave it out")
        return tuple(self._route(members, (_ROUTES, index)) for index, members in enumerate(tables))

    def _route(self, members: dict[str, Any], where: tuple[str | int, ...]) -> RouteRules:
        values, place = self._values(members, ROUTE_TABLE, where, "a route")
        access = values.get("access")
        for asked in _ASKING if access == kinds.PUBLIC else ():
            if asked in members:
                line = f"{asked} is asked for, and access is {access!r}, which asks nobody; one must go"
                self._fault((*where, asked), line)
        return RouteRules(**values, place=place)

    def _headers(self, document: dict[str, Any]) -> tuple[tuple[str, str], ...]:
        members = document.get(_HEADERS, {})
        if not isinstance(members, dict):
            self._fault((_HEADERS,), f"{_HEADERS} must be a table, begun by [{_HEADERS}]")
            return ()
        first: dict[str, str] = {}
        for name, claim in members.items():
            before = first.setdefault(headers.fold(name), name)
            if not headers.is_free(name):
                line = f"{name!r} cannot be set from a claim; it must be {kinds.TOKEN_HEADER.must}"
                self._fault((_HEADERS, name), line)
            elif before != name:
                line = f"{name!r} is the same as {before!r} by its letters and digits; one must go"
                self._fault((_HEADERS, name), line)
            if not isinstance(claim, str) or not claim:
                line = f"{name!r} is {table.shown(claim)}; it must be the name of a claim"
                self._fault((_HEADERS, name), line)
        return tuple(members.items())

    def _tables(self, document: dict[str, Any], name: str) -> list[dict[str, Any]]:
        tables = document.get(name, [])
        if not isinstance(tables, list) or not all(isinstance(each, dict) for each in tables):
            self._fault((name,), f"{name} must be tables, each begun by [[{name}]]")
            return []
        return tables

    def _values(
        self, members: dict[str, Any], rows: tuple[Row, ...], where: tuple[str | int, ...], whose: str
    ) -> tuple[dict[str, Any], Place]:
        """Return the values of one table by keyword, and where it stands."""
        self._refuse_unknown(members, {row.keyword for row in rows}, where, whose)
        values, faults = checked(rows, members)
        told = {fault.variable for fault in faults}
        faults += [fault for fault in _misused(members, rows) if fault.variable not in told]
        for fault in faults:
            self._fault((*where, fault.variable) if fault.variable in members else where, fault.line)
        return values, self._place(where)

    def _refuse_unknown(
        self, members: Mapping[str, Any], known: Iterable[str], where: tuple[str | int, ...], whose: str
    ) -> None:
        for name in members:
            if name not in known:
                (nearest,) = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0)
                self._fault((*where, name), f"{name!r} is no key of {whose}; the nearest is {nearest}")

    def _refuse_doubles(self, issuers: Iterable[IssuerRules]) -> None:
        first: dict[str, IssuerRules] = {}
        for rules in issuers:
            before = first.setdefault(rules.issuer, rules)
            if rules.issuer is not None and before is not rules:
                self.faults.append(f"{rules.place}: issuer is {rules.issuer!r}, as at {before.place}")

    def _fault(self, where: tuple[str | int, ...], line: str) -> None:
        self.faults.append(f"{self._place(where)}: {line}")

    def _place(self, where: tuple[str | int, ...]) -> Place:
        return Place(self._path, self._text, where)


def _misused(members: Mapping[str, Any], rows: Iterable[Row]) -> Iterator[Fault]:
    """Yield a fault for what an environment variable may hold and TOML need not: quoted numbers, nothing."""
    for rule in rows:
        value = members.get(rule.keyword)
        if isinstance(rule.default, int) and isinstance(value, str):
            yield table.unfit(rule.variable, f"is {table.shown(value)}", f"{rule.kind.must}, without quotes")
        elif value == "" and rule.default != "":
            yield table.unfit(rule.variable, "is empty", rule.kind.must)


def _line_of(text: str, where: tuple[str | int, ...]) -> int:
    """Return the number of the line on which begins the statement that makes a key or table.

    `tomllib` knows no lines: so the beginning of the text is read, one line more each time, until it has
    what is sought. What is no TOML by itself ends within a statement of several lines.
    """
    lines = text.split("\n")
    begins = 1
    for number in range(1, len(lines)):
        try:
            document = tomllib.loads("\n".join(lines[:number]) + "\n")
        except tomllib.TOMLDecodeError:
            continue
        if _has(document, where):
            break
        begins = number + 1
    return begins


def _has(document: Any, where: tuple[str | int, ...]) -> bool:
    for step in where:
        try:
            document = document[step]
        except (KeyError, IndexError, TypeError):
            return False
    return True
