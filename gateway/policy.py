"""The routes: what is asked of those who send a request, found by its method and path."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, Final, NamedTuple, Self

from gateway.kinds import PROTECTED, PUBLIC
from gateway.paths import ANY, Pattern, is_normal
from gateway.policyfile import RouteRules


@dataclass(frozen=True, slots=True)
class Demands:
    """What a token must have besides being good.

    `scopes` are those of which it must have all, `any_scope` those of which it must have one, if there are
    any. `claims` are values that the claims named must equal, or have among their items. `issuers` are those
    whose tokens are taken, None standing for us; if it is None itself, all are.
    """

    scopes: frozenset[str] = frozenset()
    any_scope: frozenset[str] = frozenset()
    claims: tuple[tuple[str, Any], ...] = ()
    issuers: frozenset[str | None] | None = None

    def met_by(self, issuer: str | None, claims: Mapping[str, Any]) -> bool:
        """Tell whether a token of an issuer, with these claims, has all of it."""
        return next(self.unmet(issuer, claims), None) is None

    def unmet(self, issuer: str | None, claims: Mapping[str, Any]) -> Iterator[str]:
        """Yield what such a token lacks, in words."""
        if self.issuers is not None and issuer not in self.issuers:
            yield f"an issuer among {', '.join(sorted(repr(each or '') for each in self.issuers))}"
        if self.scopes or self.any_scope:
            held = _scopes(claims)
            for scope in sorted(self.scopes - held):
                yield f"the scope {scope!r}"
            if self.any_scope and not self.any_scope & held:
                yield f"one of the scopes {', '.join(map(repr, sorted(self.any_scope)))}"
        for name, wanted in self.claims:
            if not _is_or_holds(claims.get(name), wanted):
                yield f"the claim {name!r} that is, or holds, {wanted!r}"


@dataclass(frozen=True, slots=True)
class Route:
    """What is asked of a request: how it is refused in any case, else who may send it.

    `demands` must all be met by whoever sends credentials. `rules` are what the policy file says, where that
    is what was found, and `besides` those of an earlier route for what an app may take for the same path.
    """

    refusal: str | None = None
    access: str = PROTECTED
    demands: tuple[Demands, ...] = ()
    rules: RouteRules | None = None
    besides: RouteRules | None = None

    def also_asking(self, other: Route) -> Route:
        """Return the same, where what another route asks must be met too."""
        return Route(None, PROTECTED, (*other.demands, *self.demands), self.rules, other.rules)


MALFORMED: Final = Route(refusal="malformed_path")
UNKNOWN: Final = Route(refusal="no_route")


class _Entry(NamedTuple):
    """A route at its place in the order, for some methods, or for all where that is None."""

    order: int
    methods: frozenset[str] | None
    route: Route | None

    def where(self, other: _Entry) -> _Entry | None:
        """Return what decides on the requests that another entry, which comes first, is for as well."""
        route, asks = self.route, other.route
        if route is None or asks is None or other.order >= self.order:
            return None
        methods = self.methods if other.methods is None else other.methods & (self.methods or other.methods)
        if methods == frozenset():
            return None
        return _Entry(self.order, methods, route.also_asking(asks) if asks.access == PROTECTED else route)


_ORDER = attrgetter("order")


@dataclass(slots=True)
class _Node:
    """Where a tree of patterns branches: what stands under the segments up to here, exactly or below."""

    children: dict[str, _Node] = field(default_factory=dict)
    any: _Node | None = None
    here: list[_Entry] = field(default_factory=list)
    below: list[_Entry] = field(default_factory=list)

    def child(self, segment: str) -> _Node:
        if segment != ANY:
            return self.children.setdefault(segment, _Node())
        self.any = self.any or _Node()
        return self.any

    def with_slash(self) -> list[_Entry]:
        """Return what fits the path up to here with a slash at its end."""
        ends = self.children.get("")
        return self.below + ends.here if ends is not None else self.below


class Policy:
    """The table of routes, of which the first that fits a request decides.

    Args:
        routes: the patterns, the methods (None: all) and the route itself of each.
        odd: what holds for a path that is not in normal form; None is what holds for any other request: a
            good token is needed, and no more.
        unmatched: what holds where no route fits.
    """

    REMEMBERED = 1000  # paths besides those that stand in routes, of up to LONGEST characters
    LONGEST = 200

    def __init__(
        self,
        routes: Iterable[tuple[Sequence[Pattern], frozenset[str] | None, Route]],
        *,
        odd: Route | None = None,
        unmatched: Route | None = None,
    ) -> None:
        self._root = _Node()
        self._odd = [_Entry(0, None, odd)]
        self._last = _Entry(sys.maxsize, None, unmatched)
        literal = set()
        for order, (patterns, methods, route) in enumerate(routes):
            for pattern in patterns:
                self._add(pattern, _Entry(order, methods, route))
            literal |= {pattern.path for pattern in patterns if pattern.is_literal}
        self._exact = {path: self._entries(path) for path in literal}
        # What was found for these and for other paths.
        self._known = self._exact.copy()

    def find(self, method: str, path: str) -> Route | None:
        """Return what is asked of a request, None where that is a good token and no more.

        Args:
            method: the request's method; an app may take it in any case.
            path: the path as in `PATH_INFO`.
        """
        for _, methods, route in self._known.get(path) or self._look_up(path):
            if methods is None or method in methods:
                return route
            if route is not None and route.access == PROTECTED and method.upper() in methods:
                return route
        raise AssertionError("the last entry is for any request")

    def _look_up(self, path: str) -> list[_Entry]:
        """Return what fits a path, and remember that of a usual one: a client can invent paths for ever."""
        entries = self._entries(path) if is_normal(path) else self._odd
        if len(path) <= self.LONGEST:
            if len(self._known) >= len(self._exact) + self.REMEMBERED:
                self._known = self._exact.copy()
            self._known[path] = entries
        return entries

    def _entries(self, path: str) -> list[_Entry]:
        """Return what fits a path in normal form, in order, and after it what holds where nothing does.

        Before each of these stands what decides if the same path with a slash at its end, or without it, is
        protected by a route before: an app may serve both by one view.
        """
        entries, others = self._walk(path)
        if not others:
            return [*entries, self._last]
        found: list[_Entry] = []
        for entry in entries:
            found += filter(None, map(entry.where, others))
            found.append(entry)
        return [*found, self._last]

    def _add(self, pattern: Pattern, entry: _Entry) -> None:
        node = self._root
        for segment in pattern.segments:
            node = node.child(segment)
        (node.below if pattern.below else node.here).append(entry)

    def _walk(self, path: str) -> tuple[list[_Entry], list[_Entry]]:
        """Return what fits a path in normal form, and what fits its twin alone, each in order."""
        nodes, found = [self._root], []
        for segment in path.strip("/").split("/") if path != "/" else ():
            reached = []
            for node in nodes:
                found += node.below
                if segment in node.children:
                    reached.append(node.children[segment])
                if node.any is not None:
                    reached.append(node.any)
            if not reached:
                return _in_order(found), []
            nodes = reached
        bare = [entry for node in nodes for entry in node.here]
        with_slash = [entry for node in nodes for entry in node.with_slash()]
        entries, others = (with_slash, bare) if path.endswith("/") else (bare, with_slash)
        return _in_order(found + entries), _in_order(others)


def _in_order(entries: list[_Entry]) -> list[_Entry]:
    if len(entries) > 1:
        entries.sort(key=_ORDER)
    return entries


def policy_of(
    public_paths: Iterable[str], rules: Iterable[RouteRules] | None, issuer: str | None
) -> Policy | None:
    """Return the table for the settings; None where all that is asked of any request is a good token.

    Args:
        public_paths: what needs no token.
        rules: the routes of the policy file, if it has any; then whatever fits none is refused.
        issuer: our own name, if we have one.
    """
    public = [((Pattern.parse(path),), None, Route(access=PUBLIC)) for path in public_paths]
    if rules is not None:
        compiled = [(_patterns(each), _methods(each), _route(each, issuer)) for each in rules]
        return Policy([*compiled, *public], odd=MALFORMED, unmatched=UNKNOWN)
    return Policy(public) if public else None


def unreachable(rules: Iterable[RouteRules], prefix: str) -> Iterator[str]:
    """Yield a fault for each route that no request is decided by.

    Args:
        rules: the routes, in order.
        prefix: where the gateway answers itself, if it is not empty.
    """
    own = (Pattern.parse(f"{prefix}/*"), Pattern.parse(prefix)) if prefix else ()
    before: dict[str, list[_Reach]] = {}
    for each in rules:
        reach = _Reach.of(each)
        if any(pattern.covers(reach.pattern) for pattern in own):
            under = f"{each.path!r} is under GATEWAY_PREFIX, where the gateway answers itself"
            yield f"{each.place}: the route {under}"
        elif (cover := reach.cover(before.get(reach.root, []) + before.get("", []))) is not None:
            yield f"{each.place}: the route {each.path!r} is never reached: that of {cover} covers all of it"
        before.setdefault(reach.root, []).append(reach)


class _Reach(NamedTuple):
    """What a route is for: the paths as it names them, all that it covers, and the methods (None: all)."""

    rules: RouteRules
    pattern: Pattern
    patterns: tuple[Pattern, ...]
    methods: frozenset[str] | None

    @classmethod
    def of(cls, rules: RouteRules) -> Self:
        """Return that of a route."""
        return cls(rules, Pattern.parse(rules.path), _patterns(rules), _methods(rules))

    @property
    def root(self) -> str:
        """The first segment of its paths; empty where they have none in common."""
        first = self.pattern.segments[:1]
        return "" if first in ((), (ANY,)) else first[0]

    def cover(self, before: Iterable[_Reach]) -> RouteRules | None:
        """Return the route by which, with those before it, all that this one names is covered, if it is."""
        left = self.methods
        for other in before:
            if any(pattern.covers(self.pattern) for pattern in other.patterns):
                left = frozenset() if other.methods is None else left and left - other.methods
                if left is not None and not left:
                    return other.rules
        return None


def _patterns(rules: RouteRules) -> tuple[Pattern, ...]:
    """Return the patterns of a route: one for all below is for what is above too, where it is not public."""
    pattern = Pattern.parse(rules.path)
    above = pattern.below and pattern.segments and rules.access != PUBLIC
    return (pattern, Pattern(pattern.segments)) if above else (pattern,)


def _methods(rules: RouteRules) -> frozenset[str] | None:
    """Return the methods of a route; a view for GET answers HEAD as well (RFC 9110 section 9.3.2)."""
    if rules.methods is None:
        return None
    return frozenset(rules.methods) | (frozenset({"HEAD"}) if "GET" in rules.methods else frozenset())


def _route(rules: RouteRules, issuer: str | None) -> Route:
    demands = Demands(
        frozenset(rules.scopes or ()),
        frozenset(rules.any_scope or ()),
        rules.claims or (),
        None if rules.issuers is None else frozenset(_foreign(each, issuer) for each in rules.issuers),
    )
    return Route(None, rules.access, (demands,) if demands != Demands() else (), rules)


def _foreign(name: str, own_name: str | None) -> str | None:
    """Return an issuer's name as an identity has it, which is None for ourselves."""
    return None if name in ("", own_name) else name


def _is_or_holds(claim: object, wanted: object) -> bool:
    return any(_same(each, wanted) for each in claim) if isinstance(claim, list) else _same(claim, wanted)


def _same(value: object, wanted: object) -> bool:
    """Tell whether two values are the same in JSON, where true is not 1."""
    return value == wanted and isinstance(value, bool) == isinstance(wanted, bool)


def _scopes(claims: Mapping[str, Any]) -> frozenset[str]:
    """Return the scopes of a token: those of its `scope`, a list or between spaces (RFC 8693 section 4.2)."""
    scope = claims.get("scope")
    if isinstance(scope, str):
        return frozenset(scope.split(" "))
    if isinstance(scope, list):
        return frozenset(each for each in scope if isinstance(each, str))
    return frozenset()
