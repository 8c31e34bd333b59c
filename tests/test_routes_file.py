"""The policy file's routes and headers: what is read, and what is refused, by its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.policyfile import PolicyFile, RouteRules, read_policy
from tests.test_policyfile import POLICY, fault_of, faults_of, line, made


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def read(text: str) -> PolicyFile:
    POLICY.write_text(text, encoding="utf-8")
    return read_policy(POLICY)


def route(path: str = '"/a"', **members: str) -> str:
    """The table of a route, one member a line, in TOML; with "" for its path it has none."""
    lines = [f"{key} = {value}\n" for key, value in {"path": path, **members}.items() if value]
    return "[[routes]]\n" + "".join(lines)


def rules_of(text: str) -> RouteRules:
    routes = read(text).routes
    assert routes is not None
    (rules,) = routes
    return rules


# Routes: read


def test_a_route_of_a_path_alone_asks_for_a_good_token_by_any_method() -> None:
    assert rules_of(route()) == RouteRules(path="/a", access="protected")


@pytest.mark.parametrize(
    ("key", "literal", "value"),
    [
        *(
            ("path", f'"{path}"', path)
            for path in (
                "/",
                "/*",
                "/a/",
                "/a/*",
                "/*/b",
                "/a/*/b/*",
                "/café",
                "/a b",
                "/a.b",
                "/.well-known",
            )
        ),
        ("methods", '["GET"]', ("GET",)),
        ("methods", '["GET", "POST", "X-OWN", "M-SEARCH"]', ("GET", "POST", "X-OWN", "M-SEARCH")),
        ("access", '"public"', "public"),
        ("access", '"optional"', "optional"),
        ("access", '"protected"', "protected"),
        ("scopes", '["reports:read", "https://api.example/x"]', ("reports:read", "https://api.example/x")),
        ("any_scope", '["a", "b"]', ("a", "b")),
        ("claims", '{ role = "admin", level = 3 }', (("role", "admin"), ("level", 3))),
        ("claims", "{ ok = true, rate = 0.5 }", (("ok", True), ("rate", 0.5))),
        ("claims", '{ "https://api.example/role" = "admin" }', (("https://api.example/role", "admin"),)),
        ("issuers", '["", "https://idp.example"]', ("", "https://idp.example")),
    ],
)
def test_a_member_is_read(key: str, literal: str, value: object) -> None:
    assert getattr(rules_of(route(**{key: literal})), key) == value


def test_claims_may_be_a_table_of_their_own() -> None:
    assert rules_of(route() + '[routes.claims]\nrole = "admin"\n').claims == (("role", "admin"),)


def test_routes_keep_their_order() -> None:
    routes = read(route('"/b"') + route('"/a"') + route('"/*"')).routes
    assert routes is not None
    assert [rules.path for rules in routes] == ["/b", "/a", "/*"]


def test_a_route_knows_its_line() -> None:
    assert str(rules_of(f"# ours\n\n{route()}").place) == "policy.toml, line 3"


def test_a_file_may_say_nothing_of_routes() -> None:
    assert read("").routes is None
    assert made("").routes is None


# Routes: refused

LIST_FAULTS = (
    "3",
    "true",
    '"x"',
    '""',
    "[]",
    '[""]',
    "[3]",
    '[["x"]]',
    "{ x = 1 }",
    '["x", 3]',
    "2026-01-01",
)
PATH_FAULTS = (
    *("3", "true", '["/a"]', '"a"', '"a/*"', '"*"', '"/a*"', '"/*a"', '"/**"', '"/a/**"', '"//"', '"/a//b"'),
    *('"/./a"', '"/a/.."', r'"/a\\b"', '"/a;b"', '"/%61"', r'"/a\n"', r'"/a\u007f"', '" /a"', '"http://a/b"'),
)
METHOD_FAULTS = (
    '["get"]',
    '["GET", "Post"]',
    '["GET POST"]',
    '["GET,POST"]',
    '["GET|POST"]',
    '["*"]',
    '["GÉT"]',
)
SCOPE_FAULTS = ('["a b"]', r'["a\"b"]', r'["a\\b"]', '["é"]', r'["a\n"]')
CLAIM_FAULTS = (
    *("3", '"admin"', '""', "[]", '["admin"]', "{}", '{ role = ["admin"] }', "{ role = [] }"),
    *('{ role = { is = "admin" } }', "{ since = 2026-01-01 }", "{ a.b = 1 }"),
)
WRONG = [
    *(("path", literal, "a path such as /reports, where ") for literal in PATH_FAULTS),
    *(("methods", literal, "a list of methods in capitals, ") for literal in (*LIST_FAULTS, *METHOD_FAULTS)),
    *(
        ("access", literal, "public, optional or protected")
        for literal in (
            "3",
            "true",
            "false",
            '"Public"',
            '"private"',
            '"none"',
            '""',
            '["public"]',
            '"public "',
        )
    ),
    *(
        (key, literal, "a list of scopes, such as ")
        for key in ("scopes", "any_scope")
        for literal in (*LIST_FAULTS, *SCOPE_FAULTS)
    ),
    *(("claims", literal, "claims and what each must be or hold, such as ") for literal in CLAIM_FAULTS),
    *(
        ("issuers", literal, "a list of issuers by their names, ")
        for literal in LIST_FAULTS
        if literal != '[""]'
    ),
]


@pytest.mark.parametrize(("key", "literal", "must"), WRONG)
def test_a_wrong_value_is_refused_by_its_line_and_never_taken_for_none(
    key: str, literal: str, must: str
) -> None:
    text = f"# Who may do what.\n\n{route(**{key: literal})}"
    fault = fault_of(lambda: read(text))
    number = text.splitlines().index(f"{key} = {literal}") + 1
    assert fault.startswith(f"{line(number)}{key} is ")
    assert f"; it must be {must}" in fault


@pytest.mark.parametrize(("path", "number"), [("", 1), ('""', 2)])
def test_a_path_must_be_there(path: str, number: int) -> None:
    fault = fault_of(lambda: read(route(path, access='"public"')))
    assert fault.startswith(f"{line(number)}path is not set; it must be a path such as /reports")


@pytest.mark.parametrize(
    ("wrong", "nearest"),
    [
        ("scope", "scopes"),
        ("Scopes", "scopes"),
        ("any_scopes", "any_scope"),
        ("acess", "access"),
        ("method", "methods"),
        ("issuer", "issuers"),
        ("claim", "claims"),
        ("paths", "path"),
        ("role", "scopes"),
    ],
)
def test_an_unknown_key_of_a_route_is_refused_with_the_nearest(wrong: str, nearest: str) -> None:
    fault = fault_of(lambda: read(route(**{wrong: '["admin"]'})))
    assert fault.startswith(f"{line(3)}{wrong!r} is no key of a route; the nearest is ")
    assert wrong == "role" or fault.endswith(nearest)


@pytest.mark.parametrize("value", ["3", '"x"', "true", "[1]", "[[]]", "{}", '["/a"]', '{ path = "/a" }'])
def test_routes_must_be_tables(value: str) -> None:
    fault = fault_of(lambda: read(f"#\nroutes = {value}\n"))
    assert fault == f"{line(2)}routes must be tables, each begun by [[routes]]"


def test_one_table_of_routes_is_not_a_list_of_them() -> None:
    fault = fault_of(lambda: read('[routes]\npath = "/a"\n'))
    assert fault == f"{line(1)}routes must be tables, each begun by [[routes]]"


def test_no_routes_are_not_a_list_of_them() -> None:
    fault = fault_of(lambda: read("#\nroutes = []\n"))
    assert fault == f"{line(2)}routes is empty, so that nothing could be reached; leave it out"


@pytest.mark.parametrize(
    ("wrong", "nearest"), [("route", "routes"), ("Routes", "routes"), ("header", "headers")]
)
def test_a_table_that_is_almost_called_so_is_refused(wrong: str, nearest: str) -> None:
    fault = fault_of(lambda: read(f'[[{wrong}]]\npath = "/a"\n'))
    assert fault == f"{line(1)}{wrong!r} is no key of the policy file; the nearest is {nearest}"


@pytest.mark.parametrize(
    ("key", "literal"),
    [("scopes", '["a"]'), ("any_scope", '["a"]'), ("claims", '{ role = "a" }'), ("issuers", '[""]')],
)
def test_a_public_route_asks_for_nothing(key: str, literal: str) -> None:
    fault = fault_of(lambda: read(route(access='"public"', **{key: literal})))
    assert fault == f"{line(4)}{key} is asked for, and access is 'public', which asks nobody; one must go"
    assert read(route(access='"optional"', **{key: literal}))


def test_every_fault_is_told_at_once() -> None:
    text = route('"a"', scopes='""') + route(access='"x"', scope='["a"]') + "[headers]\nuid = 3\n"
    faults = faults_of(lambda: read(text))
    assert {fault.partition(": ")[0] + ": " for fault in faults} == {line(n) for n in (2, 3, 6, 7, 9)}
    assert len(faults) == 6  # what the header is called, and what it is set from


# Routes: among themselves and with other settings


def test_a_route_that_is_never_reached_is_refused_by_its_line() -> None:
    text = route('"/*"') + "\n" + route('"/admin/*"', scopes='["admin"]')
    assert fault_of(lambda: made(text)) == (
        f"{line(4)}the route '/admin/*' is never reached:"
        " that of '/*' at policy.toml, line 1 covers all of it"
    )


def test_of_a_route_that_covers_another_the_methods_are_told() -> None:
    text = route(methods='["GET", "PUT"]') + route(methods='["HEAD"]')
    assert fault_of(lambda: made(text)) == (
        f"{line(4)}the route '/a' is never reached:"
        " that of '/a' (GET, PUT) at policy.toml, line 1 covers all of it"
    )


@pytest.mark.parametrize("path", ["/auth", "/auth/*", "/auth/revoke"])
def test_a_route_under_the_prefix_is_refused_by_its_line(path: str) -> None:
    assert fault_of(lambda: made("#\n" + route(f'"{path}"'))) == (
        f"{line(2)}the route {path!r} is under GATEWAY_PREFIX, where the gateway answers itself"
    )


def test_a_route_where_the_prefix_was_is_good_with_another_prefix() -> None:
    assert made(route('"/auth/*"'), prefix="/_gateway").routes
    assert made(route('"/auth/*"'), prefix="").routes


def test_routes_and_public_paths_exclude_each_other() -> None:
    fault = fault_of(lambda: made("#\n" + route(), public_paths=["/health"]))
    assert fault == (
        f"{line(2)}[[routes]] is there, and GATEWAY_PUBLIC_PATHS is set as well; it must be one of the two"
    )


def test_public_paths_go_with_a_file_without_routes() -> None:
    assert made('[headers]\nX-Role = "role"\n', public_paths=["/health"]).public_paths == ("/health",)


IDP = """
[[issuers]]
issuer = "https://idp.example"
jwks_url = "https://idp.example/jwks"
audience = "us"
uid_prefix = "idp:"
"""


@pytest.mark.parametrize(
    "issuers", ['[""]', '["ours"]', '["https://idp.example"]', '["", "https://idp.example"]']
)
def test_a_route_names_issuers_whose_tokens_are_taken(issuers: str) -> None:
    assert made(route(issuers=issuers) + IDP, issuer="ours").routes


@pytest.mark.parametrize(
    ("issuers", "named"), [('["https://idp.example/"]', "https://idp.example/"), ('["", "us"]', "us")]
)
def test_a_route_names_no_other_issuer(issuers: str, named: str) -> None:
    assert fault_of(lambda: made(route(issuers=issuers) + IDP)) == (
        f"{line(3)}issuers names {named!r}, whose tokens are not taken; it must be '' or 'https://idp.example'"
    )


def test_a_route_does_not_name_us_where_we_have_no_key() -> None:
    fault = fault_of(lambda: made(route(issuers='[""]') + IDP, token_key=None))
    assert fault == f"{line(3)}issuers names '', whose tokens are not taken; it must be 'https://idp.example'"


# Headers


def test_headers_are_read_in_order() -> None:
    text = '[headers]\nX-Role = "role"\n"X.Team" = "https://api.example/team"\n'
    assert read(text).headers == (("X-Role", "role"), ("X.Team", "https://api.example/team"))
    assert made(text).claim_headers == read(text).headers


def test_two_headers_may_be_set_from_one_claim() -> None:
    assert len(read('[headers]\nX-Role = "role"\nX-Group = "role"\n').headers) == 2


@pytest.mark.parametrize("text", ["", "[headers]\n"])
def test_a_file_may_name_no_header(text: str) -> None:
    assert read(text).headers == ()


@pytest.mark.parametrize(
    "name",
    [
        *(
            "uid",
            "UID",
            "U-I-D",
            "Remote-User",
            "REMOTE_USER",
            "Auth-Type",
            "gateway-claims",
            "Gateway_Issuer",
        ),
        *("Authorization", "Cookie", "Host", "Content-Length", "Transfer-Encoding", "X-Forwarded-For"),
        *("X_Forwarded_Uri", "X-Original-URI", "X-Renewed-Token", "CDN-Cache-Control", "Origin"),
        *("X Role", "X-Role:", "Röle", "-", ""),
    ],
)
def test_a_name_that_is_illegal_or_taken_is_refused_by_its_line(name: str) -> None:
    fault = fault_of(lambda: read(f'[headers]\nX-Team = "team"\n"{name}" = "role"\n'))
    assert fault == (
        f"{line(3)}{name!r} cannot be set from a claim; it must be a legal header name, such as X-Next-Token,"
        " that HTTP, cookies, credentials, proxies and the uid do not use"
    )


@pytest.mark.parametrize("name", ["x-role", "X_Role", "X.Role", "XRole", "X--Role"])
def test_a_name_alike_by_its_letters_and_digits_is_refused_by_its_line(name: str) -> None:
    fault = fault_of(lambda: read(f'[headers]\nX-Role = "role"\n"{name}" = "other"\n'))
    assert fault == f"{line(3)}{name!r} is the same as 'X-Role' by its letters and digits; one must go"


@pytest.mark.parametrize("literal", ["3", "true", '""', '["role"]', '{ claim = "role" }', "2026-01-01"])
def test_a_header_names_its_claim(literal: str) -> None:
    fault = fault_of(lambda: read(f"#\n[headers]\nX-Role = {literal}\n"))
    assert fault.startswith(f"{line(3)}'X-Role' is ")
    assert fault.endswith("; it must be the name of a claim")


@pytest.mark.parametrize("value", ["3", '"X-Role"', "[]", '[{ X-Role = "role" }]', "true"])
def test_headers_must_be_a_table(value: str) -> None:
    fault = fault_of(lambda: read(f"#\nheaders = {value}\n"))
    assert fault == f"{line(2)}headers must be a table, begun by [headers]"


def test_headers_are_one_table_and_not_several() -> None:
    fault = fault_of(lambda: read('[[headers]]\nX-Role = "role"\n'))
    assert fault == f"{line(1)}headers must be a table, begun by [headers]"


@pytest.mark.parametrize("name", ["X-Refreshed-Token", "x_refreshed_token"])
def test_the_tokens_own_header_is_set_from_no_claim(name: str) -> None:
    fault = fault_of(lambda: made(f'#\n[headers]\n{name} = "role"\n'))
    assert fault == f"{line(3)}{name!r} is GATEWAY_TOKEN_HEADER; it must be another"


def test_a_name_is_free_that_the_tokens_header_has_by_default_only() -> None:
    assert made('[headers]\nX-Refreshed-Token = "role"\n', token_header="X-Next").claim_headers
