"""Which paths are public."""

from __future__ import annotations

import pytest

from gateway.paths import PublicPaths, is_normal

ODD = [
    "//x",
    "/x//",
    "/.",
    "/..",
    "/./x",
    "/x/.",
    "/x/..",
    "/x/../y",
    "/x\\y",
    "/x;y",
    "/x%2fy",
    "/x\x00",
    "/x\n",
    "/x\x1f",
    "/x\x7f",
    "",
    "x",
    "*",
    "http://host/x",
]


@pytest.mark.parametrize("path", ODD)
def test_a_path_that_can_be_read_in_two_ways_is_not_normal(path: str) -> None:
    assert not is_normal(path)


@pytest.mark.parametrize("path", ["/", "/x", "/x/", "/.x", "/x.", "/...", "/x y", "/é", "/a:b@c,d=e&f+g~"])
def test_any_other_path_is_normal(path: str) -> None:
    assert is_normal(path)


@pytest.mark.parametrize(
    ("path", "public"),
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
        ("/", False),
        ("", False),
    ],
)
def test_entries_cover_just_what_they_say(path: str, public: bool) -> None:
    assert (path in PublicPaths(["/health", "/static/*"])) is public


def test_an_entry_can_cover_everything() -> None:
    assert all(path in PublicPaths(["/*"]) for path in ("/", "/x", "/x/y"))
    assert "//x" not in PublicPaths(["/*"])


def test_no_entry_covers_nothing() -> None:
    assert "/" not in PublicPaths([])


def test_an_entry_beyond_ascii_is_matched_as_utf8() -> None:
    served = "/café".encode().decode("latin-1")  # as PATH_INFO carries it
    assert served in PublicPaths(["/café"])
    assert served + "/x" in PublicPaths(["/café/*"])


def test_an_entry_is_matched_as_utf8_whatever_the_locale_it_was_read_by() -> None:
    entry = "/café".encode().decode("ascii", "surrogateescape")
    assert "/café".encode().decode("latin-1") in PublicPaths([entry])


def test_an_entry_that_is_not_utf8_is_refused() -> None:
    with pytest.raises(ValueError, match="no such path"):
        PublicPaths(["/caf\udce9"])


@pytest.mark.parametrize("entry", [*ODD, "/a*", "/*/a", "/a/*/b", "/a/**", "//*", "/../*", "static/*"])
def test_an_entry_that_is_no_path_or_prefix_is_refused(entry: str) -> None:
    with pytest.raises(ValueError, match="no such path"):
        PublicPaths(["/good", entry])
