"""Which route a request finds, and what routes ask for."""

from __future__ import annotations

import itertools
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.paths import Pattern
from gateway.policy import MALFORMED, UNKNOWN, Demands, Policy, Route, policy_of, unreachable
from gateway.policyfile import RouteRules
from tests.test_paths import NOT_UTF8, ODD


def rules(path: str, **asked: Any) -> RouteRules:
    """One route, as read from a file."""
    return RouteRules(**{"path": path, "access": "protected"} | asked)


def table(*routes: RouteRules) -> Policy:
    policy = policy_of((), routes, None)
    assert policy is not None
    return policy


def found(policy: Policy, path: str, method: str = "GET") -> str | None:
    """What is found: the path of the route, or why there is none."""
    route = policy.find(method, path)
    assert route is not None
    return route.rules.path if route.rules is not None else route.refusal


def public(*entries: str) -> Policy:
    policy = policy_of(entries, None, None)
    assert policy is not None
    return policy


def is_public(policy: Policy, path: str) -> bool:
    route = policy.find("GET", path)
    return route is not None and route.access == "public"


class TestPublicPaths:
    @pytest.mark.parametrize(
        ("path", "public_"),
        [
            ("/health", True),
            ("/health/", False),
            ("/healthy", False),
            ("/HEALTH", False),
            ("/static", False),
            ("/static/", True),
            ("/static/a/b.css", True),
            ("/staticx", False),
            ("/static/../secret", False),
            ("/static//x", False),
            ("/static/x;y", False),
            ("/static/%2e%2e/x", False),
            ("/static/..", False),
            ("/static/x\x00", False),
            ("/static/\xff", False),
            ("/", False),
            ("", False),
        ],
    )
    def test_entries_cover_just_what_they_say(self, path: str, public_: bool) -> None:
        assert is_public(public("/health", "/static/*"), path) is public_

    def test_an_entry_can_cover_everything(self) -> None:
        assert all(is_public(public("/*"), path) for path in ("/", "/x", "/x/y"))
        assert not is_public(public("/*"), "//x")

    def test_without_entries_there_is_no_table(self) -> None:
        assert policy_of((), None, None) is None

    def test_an_entry_beyond_ascii_is_matched_as_utf8(self) -> None:
        served = "/café".encode().decode("latin-1")  # as PATH_INFO carries it
        assert is_public(public("/café"), served)
        assert is_public(public("/café/*"), served + "/x")

    def test_an_entry_is_matched_as_utf8_whatever_the_locale_it_was_read_by(self) -> None:
        entry = "/café".encode().decode("ascii", "surrogateescape")
        assert is_public(public(entry), "/café".encode().decode("latin-1"))

    def test_whatever_they_do_not_cover_needs_a_token_and_no_more(self) -> None:
        assert public("/health").find("GET", "/x") is None
        assert public("/health").find("GET", "//health") is None


class TestFinding:
    @pytest.mark.parametrize("path", [*ODD, *NOT_UTF8])
    def test_with_routes_a_path_that_can_be_read_in_two_ways_is_refused(self, path: str) -> None:
        assert table(rules("/*", access="public")).find("GET", path) is MALFORMED

    def test_with_routes_a_path_that_none_is_for_is_refused(self) -> None:
        assert table(rules("/a")).find("GET", "/b") is UNKNOWN

    @pytest.mark.parametrize("path", ["/users/12/posts", "/users/*/posts", "/users/a b/posts"])
    def test_a_star_stands_for_any_one_segment(self, path: str) -> None:
        assert found(table(rules("/users/*/posts")), path) == "/users/*/posts"

    @pytest.mark.parametrize("path", ["/users/posts", "/users/1/2/posts", "/users/1/posts/2", "/users/1"])
    def test_a_star_stands_for_no_more_and_no_less(self, path: str) -> None:
        assert found(table(rules("/users/*/posts")), path) == "no_route"

    def test_a_star_between_is_not_for_an_empty_segment(self) -> None:
        assert found(table(rules("/users/*", access="public"), rules("/*")), "/users") == "/*"
        assert found(table(rules("/*/", access="public")), "/") == "no_route"

    @pytest.mark.parametrize("path", ["/admin/", "/admin/x", "/admin/x/y/"])
    def test_a_star_at_the_end_stands_for_all_below(self, path: str) -> None:
        assert found(table(rules("/admin/*", access="public")), path) == "/admin/*"

    def test_it_covers_what_is_above_unless_it_is_public(self) -> None:
        assert found(table(rules("/admin/*")), "/admin") == "/admin/*"
        assert found(table(rules("/admin/*", access="optional")), "/admin") == "/admin/*"
        assert found(table(rules("/admin/*", access="public")), "/admin") == "no_route"

    @pytest.mark.parametrize("access", ["public", "optional", "protected"])
    def test_an_exact_path_is_that_path_alone(self, access: str) -> None:
        assert found(table(rules("/admin", access=access)), "/admin/") == "no_route"
        assert found(table(rules("/admin/", access=access)), "/admin") == "no_route"

    @pytest.mark.parametrize(
        ("first", "path"), [("/admin", "/admin/"), ("/admin/", "/admin"), ("/*/x", "/admin/x/")]
    )
    @pytest.mark.parametrize("access", ["public", "optional", "protected"])
    def test_what_was_asked_of_the_twin_of_a_path_is_asked_of_it_as_well(
        self, first: str, path: str, access: str
    ) -> None:
        policy = table(rules(first, scopes=("a",)), rules("/*", access=access))
        route = policy.find("GET", path)
        assert route is not None
        assert (route.access, route.demands) == ("protected", (Demands(scopes=frozenset({"a"})),))

    def test_a_path_and_its_twin_can_ask_for_different_things(self) -> None:
        policy = table(rules("/a/", scopes=("a",)), rules("/a", scopes=("b",)))
        demands = [Demands(scopes=frozenset({scope})) for scope in "ab"]
        asked = [route.demands for path in ("/a/", "/a") if (route := policy.find("GET", path))]
        assert asked == [(demands[0],), (demands[0], demands[1])]

    def test_the_twin_of_what_is_above_asks_no_less(self) -> None:
        policy = table(rules("/admin"), rules("/admin/*", scopes=("a",)))
        route = policy.find("GET", "/admin/")
        assert route is not None
        assert route.demands == (Demands(scopes=frozenset({"a"})),)

    def test_a_public_twin_asks_for_nothing(self) -> None:
        policy = table(rules("/a", access="public"), rules("/a/", access="public"), rules("/*"))
        assert [policy.find("GET", path).access for path in ("/a", "/a/", "/b/")] == [  # type: ignore[union-attr]
            "public",
            "public",
            "protected",
        ]

    @pytest.mark.parametrize(("method", "asked"), [("POST", 1), ("GET", 0)])
    def test_a_twin_asks_by_its_methods_alone(self, method: str, asked: int) -> None:
        policy = table(rules("/a", methods=("POST",), scopes=("a",)), rules("/*"))
        route = policy.find(method, "/a/")
        assert route is not None
        assert len(route.demands) == asked

    def test_the_first_that_fits_is_found(self) -> None:
        policy = table(rules("/a/x"), rules("/a/*"), rules("/*/x"), rules("/*"))
        assert found(policy, "/a/x") == "/a/x"
        assert found(policy, "/a/y") == "/a/*"
        assert found(policy, "/b/x") == "/*/x"
        assert found(policy, "/b/y") == "/*"

    def test_a_wide_one_before_an_exact_one_goes_first(self) -> None:
        assert found(table(rules("/a/*", methods=("GET",)), rules("/a/x")), "/a/x") == "/a/*"
        assert found(table(rules("/a/*", methods=("GET",)), rules("/a/x")), "/a/x", "PUT") == "/a/x"

    def test_a_route_is_for_its_methods_alone(self) -> None:
        policy = table(rules("/a", methods=("POST", "PUT")))
        assert [found(policy, "/a", method) for method in ("POST", "PUT", "GET")] == ["/a", "/a", "no_route"]

    @pytest.mark.parametrize("method", ["HEAD", "get", "Get", "head"])
    def test_a_protected_route_for_get_is_for_whatever_an_app_may_take_as_get(self, method: str) -> None:
        assert found(table(rules("/a", methods=("GET",)), rules("/*")), "/a", method) == "/a"

    @pytest.mark.parametrize("access", ["public", "optional"])
    def test_one_that_asks_nobody_is_for_methods_to_the_letter(self, access: str) -> None:
        policy = table(rules("/a", methods=("POST",), access=access), rules("/a"))
        assert [policy.find(method, "/a").access for method in ("POST", "post")] == [  # type: ignore[union-attr]
            access,
            "protected",
        ]

    def test_a_path_beyond_ascii_is_matched_as_utf8(self) -> None:
        assert found(table(rules("/café/*")), "/café/x".encode().decode("latin-1")) == "/café/*"


PATHS = st.lists(st.sampled_from(["a", "b", "c", ""]), max_size=4).map(lambda parts: "/" + "/".join(parts))


@st.composite
def routes(draw: st.DrawFn) -> RouteRules:
    parts = draw(st.lists(st.sampled_from(["a", "b", "*"]), max_size=3))
    parts += draw(st.sampled_from([[], [""], ["*"]])) if parts else ["*"]
    methods = draw(st.sampled_from([None, ("GET",), ("POST",), ("GET", "POST")]))
    access = draw(st.sampled_from(["public", "optional", "protected"]))
    return rules("/" + "/".join(parts), methods=methods, access=access)


def fits(route: RouteRules, method: str, path: str) -> bool:
    """Whether a route is for a request, by a regular expression instead of a tree."""
    if route.methods is not None and method not in {*route.methods, *(["HEAD"] * ("GET" in route.methods))}:
        return False
    *parts, last = route.path[1:].split("/")
    below = last == "*"
    pattern = "".join("/[^/]+" if part == "*" else f"/{part}" for part in parts)
    above = pattern
    pattern += "/.*" if below else f"/{last}"
    covers_above = below and above and route.access != "public"
    return re.fullmatch(f"{pattern}|{above}" if covers_above else pattern, path) is not None


def twin(path: str) -> str:
    """The same path without the slash at its end, or with one."""
    return path[:-1] if path.endswith("/") else path + "/"


@given(st.lists(routes(), min_size=1, max_size=6), st.sampled_from(["GET", "HEAD", "POST", "PUT"]), PATHS)
def test_the_route_found_is_the_first_that_a_plain_search_finds(
    listed: list[RouteRules], method: str, path: str
) -> None:
    route = table(*listed).find(method, path)
    assert route is not None
    if "//" in path:
        assert route is MALFORMED
    else:
        first = next((each for each in listed if fits(each, method, path)), None)
        assert route.rules is first
        before = listed[: listed.index(first)] if first is not None else []
        other = next((each for each in before if fits(each, method, twin(path))), None)
        assert route.besides is (other if other is not None and other.access == "protected" else None)


REQUESTS = [
    (method, "/" + "/".join(parts))
    for length in (1, 2, 3, 4)
    for parts in itertools.product(("a", "b", "c", ""), repeat=length)
    if "" not in parts[:-1]
    for method in ("GET", "HEAD", "POST", "PUT")
]


@given(st.lists(routes(), min_size=2, max_size=5))
def test_a_route_said_to_be_unreachable_is_found_by_no_request(listed: list[RouteRules]) -> None:
    faults = len(list(unreachable(listed[:-1], "")))
    is_dead = len(list(unreachable(listed, ""))) > faults
    policy, pattern = table(*listed), Pattern.parse(listed[-1].path)
    named = [(method, path) for method, path in REQUESTS if pattern.covers(Pattern.parse(path))]
    reached = {id(route.rules) for request in named if (route := policy.find(*request)) is not None}
    assert not (is_dead and id(listed[-1]) in reached)


class TestUnreachable:
    @pytest.mark.parametrize(
        ("before", "after"),
        [
            ([rules("/*")], rules("/a")),
            ([rules("/a/*")], rules("/a/b/*")),
            ([rules("/a/*")], rules("/a")),
            ([rules("/a/*", access="public")], rules("/a/*")),
            ([rules("/*/x", access="optional")], rules("/a/x")),
            ([rules("/a")], rules("/a", access="public")),
            ([rules("/*/b")], rules("/a/b", methods=("GET",))),
            (
                [rules("/a", methods=("GET",)), rules("/a", methods=("POST",))],
                rules("/a", methods=("GET", "POST")),
            ),
            ([rules("/a", methods=("GET",))], rules("/a", methods=("HEAD",))),
        ],
    )
    def test_a_route_of_which_all_is_covered_before_is_told(
        self, before: list[RouteRules], after: RouteRules
    ) -> None:
        (fault,) = unreachable([*before, after], "/auth")
        assert "is never reached" in fault
        assert repr(after.path) in fault

    @pytest.mark.parametrize(
        ("before", "after"),
        [
            ([rules("/a")], rules("/*")),
            ([rules("/a/*", access="public")], rules("/a")),
            ([rules("/a", access="public")], rules("/a/*")),
            ([rules("/a")], rules("/a/")),
            ([rules("/a", methods=("GET",))], rules("/a")),
            ([rules("/a/b")], rules("/*/b")),
            (
                [rules("/a", methods=("GET",)), rules("/a", methods=("POST",))],
                rules("/a", methods=("GET", "PUT")),
            ),
        ],
    )
    def test_a_route_of_which_something_is_left_is_not(
        self, before: list[RouteRules], after: RouteRules
    ) -> None:
        assert list(unreachable([*before, after], "/auth")) == []

    @pytest.mark.parametrize("path", ["/auth", "/auth/", "/auth/*", "/auth/health", "/auth/*/x"])
    def test_a_route_under_the_prefix_is_told(self, path: str) -> None:
        (fault,) = unreachable([rules(path)], "/auth")
        assert "under GATEWAY_PREFIX" in fault
        assert list(unreachable([rules(path)], "")) == []

    @pytest.mark.parametrize("path", ["/*", "/authors", "/a/auth"])
    def test_a_route_that_is_not_only_under_it_is_not(self, path: str) -> None:
        assert list(unreachable([rules(path)], "/auth")) == []


class TestDemands:
    @pytest.mark.parametrize(
        ("claims", "met"),
        [
            ({"scope": "read write"}, True),
            ({"scope": "write read more"}, True),
            ({"scope": ["read", "write"]}, True),
            ({"scope": "read"}, False),
            ({"scope": "readwrite"}, False),
            ({"scope": "read  writ"}, False),
            ({"scope": ["read write"]}, False),
            ({"scope": {"read": 1, "write": 1}}, False),
            ({"scope": None}, False),
            ({}, False),
        ],
    )
    def test_of_scopes_it_takes_all(self, claims: dict[str, Any], met: bool) -> None:
        assert Demands(scopes=frozenset({"read", "write"})).met_by(None, claims) is met

    @pytest.mark.parametrize(("scope", "met"), [("a", True), ("x b", True), ("x", False), ("", False)])
    def test_of_any_scope_it_takes_one(self, scope: str, met: bool) -> None:
        assert Demands(any_scope=frozenset({"a", "b"})).met_by(None, {"scope": scope}) is met

    @pytest.mark.parametrize(
        ("claim", "wanted", "met"),
        [
            ("admin", "admin", True),
            (["x", "admin"], "admin", True),
            ("administrator", "admin", False),
            ("x admin", "admin", False),
            (["administrator"], "admin", False),
            ([["admin"]], "admin", False),
            ({"admin": True}, "admin", False),
            (1, True, False),
            (True, 1, False),
            (True, True, True),
            (1.0, 1, True),
            ("1", 1, False),
            (None, "None", False),
        ],
    )
    def test_a_claim_must_be_a_value_or_hold_it(self, claim: object, wanted: object, met: bool) -> None:
        assert Demands(claims=(("role", wanted),)).met_by(None, {"role": claim}) is met

    def test_a_missing_claim_is_no_value(self) -> None:
        assert not Demands(claims=(("role", "admin"),)).met_by(None, {})

    def test_only_some_issuers_may_be_taken(self) -> None:
        ours, foreign = Demands(issuers=frozenset({None})), Demands(issuers=frozenset({"https://idp"}))
        assert ours.met_by(None, {})
        assert not ours.met_by("https://idp", {})
        assert foreign.met_by("https://idp", {})
        assert not foreign.met_by(None, {})

    def test_all_that_is_asked_for_must_be_there(self) -> None:
        demands = Demands(frozenset({"a"}), frozenset({"b", "c"}), (("role", "x"),), frozenset({None}))
        assert demands.met_by(None, {"scope": "a c", "role": "x"})
        assert len(list(demands.unmet("other", {}))) == 4

    @pytest.mark.parametrize("name", ["", "ours"])
    def test_our_own_tokens_are_those_without_an_issuer_or_with_our_name(self, name: str) -> None:
        policy = policy_of((), [rules("/a", issuers=(name,))], "ours")
        assert policy is not None
        route = policy.find("GET", "/a")
        assert route is not None
        assert route.demands == (Demands(issuers=frozenset({None})),)

    def test_a_route_that_asks_for_a_good_token_alone_demands_nothing_of_it(self) -> None:
        route = table(rules("/a")).find("GET", "/a")
        assert route is not None
        assert route.demands == ()


def test_a_long_path_of_many_segments_ends_the_search_where_no_route_goes_on() -> None:
    policy = Policy([((Pattern.parse("/a/*"),), None, Route())])
    assert policy.find("GET", "/a" + "/x" * 4000) == Route()
    assert policy.find("GET", "/x" * 4000) is None
