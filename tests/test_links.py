"""A built site whose links lead nowhere is found out."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.links import faults


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "b c.html").write_text('<h1 id="x">B</h1><a href="../a.html#">A</a>', "utf-8")
    (tmp_path / "data.txt").write_text("data", "utf-8")
    return tmp_path


@pytest.mark.parametrize(
    "element",
    [
        pytest.param('<a href="there/b%20c.html#x">', id="an anchor of another page"),
        pytest.param('<h2 id="here"><a href="#here">', id="an anchor of the same page"),
        pytest.param('<a href="#">', id="its top"),
        pytest.param('<a href="data.txt">', id="a file"),
        pytest.param('<a href="https://example.org/no">', id="elsewhere"),
        pytest.param('<img src="data:image/png;base64,">', id="a picture in the page"),
        pytest.param('<link rel="canonical" href="https://example.org/">', id="the page's own address"),
    ],
)
def test_a_sound_link_is_none_of_the_faults(element: str, site: Path) -> None:
    (site / "a.html").write_text(element, "utf-8")
    assert list(faults(site)) == []


@pytest.mark.parametrize(
    ("element", "fault"),
    [
        pytest.param('<a href="no.html">', "no.html leads nowhere", id="a page"),
        pytest.param('<a href="there">', "there leads nowhere", id="a folder"),
        pytest.param('<a href="#no">', "#no leads nowhere", id="an anchor of the same page"),
        pytest.param(
            '<a href="there/b%20c.html#y">', "b%20c.html#y leads nowhere", id="an anchor of another"
        ),
        pytest.param('<img src="no.png">', "no.png leads nowhere", id="a picture"),
        pytest.param('<script src="//cdn.example/x.js">', "is loaded from elsewhere", id="a script"),
        pytest.param(
            '<link rel="stylesheet" href="https://example.org/x">', "is loaded from elsewhere", id="a style"
        ),
    ],
)
def test_a_fault_is_told(element: str, fault: str, site: Path) -> None:
    (site / "a.html").write_text(element, "utf-8")
    (told,) = faults(site)
    assert told.startswith(str(site.resolve() / "a.html"))
    assert told.endswith(fault)
