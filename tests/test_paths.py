"""Which paths are in normal form, and which a pattern is for."""

from __future__ import annotations

import pytest

from gateway.paths import Pattern, decoded, is_normal

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

# Each character stands for a byte (PEP 3333); some apps drop what is not UTF-8, and some replace it.
NOT_UTF8 = ["/ad\xffmin", "/caf\xe9", "/caf\xc3", "/x\xc0\xafy", "/x\xed\xa0\x80", "/caf\u20ac"]


@pytest.mark.parametrize("path", [*ODD, *NOT_UTF8])
def test_a_path_that_can_be_read_in_two_ways_is_not_normal(path: str) -> None:
    assert not is_normal(path)


@pytest.mark.parametrize(
    "path", ["/", "/x", "/x/", "/.x", "/x.", "/...", "/x y", "/caf\xc3\xa9", "/a:b@c,d=e&f+g~"]
)
def test_any_other_path_is_normal(path: str) -> None:
    assert is_normal(path)


@pytest.mark.parametrize("entry", [*ODD, "/a*", "/*a/b", "/a/**", "//*", "/../*", "static/*", "/caf\udce9"])
def test_what_is_no_path_is_no_pattern(entry: str) -> None:
    with pytest.raises(ValueError, match="no such path"):
        Pattern.parse(entry)


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/x?y", "/x"),
        ("/x?", "/x"),
        ("/x%2Fy", "/x/y"),
        ("/x%252Fy", "/x%2Fy"),
        ("/caf%C3%A9", "/café".encode().decode("latin-1")),
        ("/caf\xe9", "/caf\xe9"),
        ("/x%", "/x%"),
        ("/x+y", "/x+y"),
        ("/x%3Fy?z", "/x?y"),
    ],
)
def test_a_target_is_decoded_once_and_loses_its_query(target: str, path: str) -> None:
    assert decoded(target) == path


@pytest.mark.parametrize(
    ("text", "other", "covers"),
    [
        ("/a", "/a", True),
        ("/a", "/a/", False),
        ("/*", "/a", True),
        ("/*", "/a/*", True),
        ("/a/*", "/a/*", True),
        ("/a/*", "/a/b/*", True),
        ("/a/b/*", "/a/*", False),
        ("/a/*", "/a", False),
        ("/a/*", "/a/", True),
        ("/*/b", "/a/b", True),
        ("/a/b", "/*/b", False),
        ("/*/b", "/*/b", True),
        ("/*/", "/a/", True),
        ("/*/b/*", "/a/b/c", True),
        ("/a/*", "/*/b", False),
        ("/a/b", "/a/*", False),
    ],
)
def test_a_pattern_covers_another_if_all_its_paths_are_its_own(text: str, other: str, covers: bool) -> None:
    assert Pattern.parse(text).covers(Pattern.parse(other)) is covers
