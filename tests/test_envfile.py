"""Dotenv files: read strictly, and blanked so that nothing secret is left in them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.envfile import Assignment, EnvFileError, assignments, blanked, read_text

PATH = Path("some.env")
SECRET = "hunter2"


def read(text: str) -> list[Assignment]:
    return list(assignments(PATH, text))


# Reading


@pytest.mark.parametrize(
    ("text", "value"),
    [
        pytest.param("A=b", "b", id="no newline at the end"),
        pytest.param("A = b \n", "b", id="spaces"),
        pytest.param("A=\n", "", id="empty"),
        pytest.param("export A=b\n", "b", id="export"),
        pytest.param("'A'=b\n", "b", id="name in quotes"),
        pytest.param("A='b # c'\n", "b # c", id="single quotes"),
        pytest.param('A="b\\nc"\n', "b\nc", id="double quotes"),
        pytest.param("A='b\nc'\n", "b\nc", id="two lines"),
        pytest.param("A=b # c\n", "b", id="inline comment"),
        pytest.param("A=b#c\n", "b#c", id="number sign inside"),
        pytest.param("A=${B}$C\n", "${B}$C", id="no interpolation"),
        pytest.param("A==b=\n", "=b=", id="equals signs"),
        pytest.param("# note\n\nA=b\n\n# end", "b", id="comments and blank lines"),
        pytest.param("A=b\r\n", "b", id="CRLF"),
    ],
)
def test_an_assignment_is_read(text: str, value: str) -> None:
    assert [(item.name, item.value) for item in read(text)] == [("A", value)]


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_each_assignment_has_the_line_on_which_it_begins(newline: str) -> None:
    text = newline.join(["", "A=1", "# note", "", "B='2", "3'", "", "", "C=4"])
    assert [(item.name, item.line) for item in read(text)] == [("A", 2), ("B", 5), ("C", 9)]


def test_no_text_has_no_assignments() -> None:
    assert read("") == []


BROKEN = [
    pytest.param(f"A=1\n\nB='{SECRET}\n", 3, id="unclosed single quote"),
    pytest.param(f'A=1\n\nB="{SECRET}\n', 3, id="unclosed double quote"),
    pytest.param(f"A=1\n\nB='x' {SECRET}\n", 3, id="text after a quote"),
    pytest.param(f"A=1\n{SECRET}\n", 2, id="no equals sign"),
    pytest.param(f"export B='{SECRET}\n", 1, id="exported"),
    pytest.param(f"={SECRET}\n", 1, id="no name"),
    pytest.param(f"my-key={SECRET}\n", 1, id="name with a hyphen"),
    pytest.param(f"1A={SECRET}\n", 1, id="name with a digit first"),
    pytest.param(f'"A"={SECRET}\n', 1, id="name in double quotes"),
    pytest.param(f"'A B'={SECRET}\n", 1, id="name of two words"),
]


@pytest.mark.parametrize(("text", "line"), BROKEN)
def test_a_line_that_is_no_assignment_is_refused_by_its_number_and_not_shown(text: str, line: int) -> None:
    with pytest.raises(EnvFileError) as caught:
        read(text)
    assert str(caught.value).startswith(f"some.env, line {line}: ")
    assert SECRET not in str(caught.value)


def test_nothing_after_a_broken_line_is_looked_at() -> None:
    found = assignments(PATH, "A=1\nB='\nC=2\n")
    assert next(found).name == "A"
    with pytest.raises(EnvFileError):
        next(found)
    assert list(found) == []


@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
def test_a_file_is_read_as_utf_8_with_or_without_a_bom(bom: bytes, tmp_path: Path) -> None:
    path = tmp_path / "some.env"
    path.write_bytes(bom + "A=é\r\n".encode())
    assert read_text(path) == "A=é\n"


def test_a_file_that_is_not_utf_8_is_refused_by_its_line_and_not_shown(tmp_path: Path) -> None:
    path = tmp_path / "some.env"
    path.write_bytes(b"A=1\r\nB=caf\xe9hunter2\r\n")
    with pytest.raises(EnvFileError) as caught:
        read_text(path)
    assert str(caught.value) == f"{path}, line 2: not UTF-8; it must be saved as UTF-8"
    assert caught.value.__suppress_context__


def test_a_file_that_cannot_be_opened_is_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(EnvFileError, match=r"missing\.env cannot be read: No such file or directory"):
        read_text(tmp_path / "missing.env")


# Blanking


@pytest.mark.parametrize(
    ("text", "blank"),
    [
        pytest.param("", "", id="nothing"),
        pytest.param("A=s\n", "A=\n", id="bare"),
        pytest.param("A=s", "A=", id="no newline at the end"),
        pytest.param("A = s\n", "A =\n", id="spaces"),
        pytest.param("A='s'\nB=\"s\"\n", "A=\nB=\n", id="quoted"),
        pytest.param("A='s\ns'\nB=\"s\n\ns\"\n", "A=\nB=\n", id="several lines"),
        pytest.param("A='s\n#s\nC=s'\nB=s\n", "A=\nB=\n", id="lines that look like others"),
        pytest.param("A=\"s\\\"s\"\nB='s\\'s'\n", "A=\nB=\n", id="escaped quotes"),
        pytest.param("A=s # why\n", "A=\n", id="inline comment"),
        pytest.param("A= # why\n", "A=\n", id="inline comment alone"),
        pytest.param("export A=s\n", "export A=\n", id="export"),
        pytest.param("'A'=s\n", "'A'=\n", id="name in quotes"),
        pytest.param("  A=s\n", "  A=\n", id="indented"),
        pytest.param("# A=s\n#B=s\n## C = s\n", "# A=\n#B=\n## C =\n", id="commented out"),
        pytest.param("# export 'A'=s\n", "# export 'A'=\n", id="commented out with export and quotes"),
        pytest.param("A=s\r\nB=s\r\n", "A=\nB=\n", id="CRLF"),
        pytest.param("# why\n\n\nA=s\n\n# end\n", "# why\n\n\nA=\n\n# end\n", id="comments and blank lines"),
    ],
)
def test_every_value_is_taken_out_and_the_rest_stays(text: str, blank: str) -> None:
    assert blanked(PATH, text) == blank


@pytest.mark.parametrize(("text", "line"), BROKEN)
def test_what_may_hold_a_value_unrecognised_is_not_blanked(text: str, line: int) -> None:
    with pytest.raises(EnvFileError) as caught:
        blanked(PATH, text)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(f"# A='begin\n# {SECRET}\n# end'\n", id="a commented-out value of several lines"),
        pytest.param(f"# was A={SECRET}\n", id="a commented-out assignment after a word"),
        pytest.param(f'# "A"={SECRET}\n', id="a commented-out name in double quotes"),
        pytest.param(f"# my-key={SECRET}\n", id="a commented-out name with a hyphen"),
        pytest.param(f"export # A={SECRET}\n", id="a comment after export"),
        pytest.param(f"A=begin\n{SECRET}==\n", id="a base64 value that goes on in a second line"),
    ],
)
def test_no_secret_is_left_in_an_odd_line(text: str) -> None:
    """Such a line is blanked or refused."""
    try:
        left = blanked(PATH, text)
    except EnvFileError as error:
        left = str(error)
    assert SECRET not in left


NAMES = st.from_regex(r"[A-Z_][A-Z0-9_]{0,8}", fullmatch=True)
SECRETS = st.text("qwz#=$'\"\\ \t\n\r")  # letters that nothing else in a file made here has


def bare(secret: str) -> str:
    """What can stand without quotes; `NAME==` alone cannot."""
    return re.sub(r"[\s'\"#]|\A=\Z", "q", secret)


def single(secret: str) -> str:
    return "'" + re.sub(r"['\\]", r"\\\g<0>", secret) + "'"


def double(secret: str) -> str:
    return '"' + re.sub(r'["\\]', r"\\\g<0>", secret) + '"'


LIVE = st.builds(
    lambda before, name, equals, write, secret, end: (name, before + name + equals + write(secret) + end),
    st.sampled_from(["", "  ", "export ", "\n\n"]),
    NAMES,
    st.sampled_from(["=", " = "]),
    st.sampled_from([bare, single, double]),
    SECRETS,
    st.sampled_from(["\n", "\r\n", " # qwz\n", "\n\n"]),
)
COMMENTED = st.builds(
    lambda mark, name, secret: (None, f"{mark}{name}={bare(secret)}\n"),
    st.sampled_from(["#", "# ", "## export "]),
    NAMES,
    SECRETS,
)


@given(st.lists(LIVE | COMMENTED))
def test_a_blanked_file_has_the_same_names_and_nothing_of_any_secret(
    lines: list[tuple[str | None, str]],
) -> None:
    blank = blanked(PATH, "".join(text for _, text in lines))
    assert not set("qwz").intersection(blank)
    names = [name for name, _ in lines if name is not None]
    assert [(item.name, item.value) for item in read(blank)] == [(name, "") for name in names]
