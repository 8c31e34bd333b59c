"""How Sphinx makes a site of the documents, as `make docs` has it do."""

from __future__ import annotations

import posixpath
import re
from importlib.metadata import version as version_of
from pathlib import PurePath
from typing import Any

from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx

project = "wsgi-auth-gateway"
release = version = version_of(project)
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_click",
    "sphinx_copybutton",
]
exclude_patterns = ["_build"]
smartquotes = False  # which would make a dash of the two before an option

# The pages are read as plain Markdown too, so that only the index and the reference use more of MyST.
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 4

autodoc_member_order = "bysource"
autodoc_type_aliases = {name: name for name in ("Claims", "Scopes", "WSGIApplication", "WSGIEnvironment")}
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 80
python_use_unqualified_type_names = True
# What stands between backticks in a docstring is a link where it is in the reference, and else code. Not
# looked for is what others document, and what is private.
default_role = "py:obj"
nitpick_ignore_regex = [("py:obj", r".*"), ("py:.*", r"(?!gateway\.).*|.*\._\w+")]

html_theme = "furo"
html_title = f"{project} {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_copyright = html_show_sphinx = html_show_sourcelink = html_copy_source = False
pygments_style, pygments_dark_style = "a11y-high-contrast-light", "a11y-high-contrast-dark"
copybutton_exclude = ".gp, .go"  # prompts, and what is printed


# Files elsewhere in the project that are pages here; others that are linked to can be downloaded.
PAGES = {
    "CHANGELOG.md": "docs/reference/changelog.md",
    "README.md": "docs/index.md",
    "SECURITY.md": "docs/reference/security-policy.md",
    "examples/README.md": "docs/reference/examples.md",
}
LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)[^)#\s]+")

# A line of help with indented ones below it, where line breaks are kept.
LISTED = re.compile(r"^\| (?P<title>\S.*)(?P<body>(?:\n\|  .*)+)", re.MULTILINE)


def lead_from_page(_: Sphinx, page: str, content: list[str]) -> None:
    """Have the links of a page lead to pages, also where the project has another file."""
    _lead(content, origin=posixpath.dirname(f"docs/{page}"), page=page)


def lead_from_included(app: Sphinx, path: PurePath, _: str, content: list[str]) -> None:
    """Have the links of a file that stands elsewhere lead on from the page that includes it."""
    _lead(content, origin=posixpath.join("docs", path.parent), page=app.env.docname)


def _lead(content: list[str], *, origin: str, page: str) -> None:
    def from_page(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(origin, link[0]))
        return posixpath.relpath(PAGES.get(target, target), posixpath.dirname(f"docs/{page}"))

    content[0] = LINK.sub(from_page, content[0])


def mark_examples(*arguments: Any) -> None:
    """Mark examples in a docstring as code: what stands indented below a text and an empty line."""
    lines: list[str] = arguments[-1]
    for place in reversed(range(2, len(lines))):
        text, gap, example = lines[place - 2 : place + 1]
        if text and not gap and _indent(example) > _indent(text) and not text.endswith("::"):
            lines[place - 1 : place - 1] = ["", "::"]


def mark_lists(*arguments: Any) -> None:
    """Mark as code what a command's help lists, its examples among it, so that it stays as it is written."""
    lines: list[str] = arguments[-1]
    lines[:] = LISTED.sub(_code, "\n".join(lines)).split("\n")


def _code(listed: re.Match[str]) -> str:
    body = listed["body"].replace("\n|", "\n ")
    return f"{listed['title']}\n\n.. code-block:: text\n{body}\n"


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def setup(app: Sphinx) -> None:
    """Connect what is done here besides."""
    app.connect("source-read", lead_from_page)
    app.connect("include-read", lead_from_included)
    app.connect("autodoc-process-docstring", mark_examples, priority=400)  # before napoleon's 500
    for part in ("description", "epilog"):
        app.connect(f"sphinx-click-process-{part}", mark_lists)
    for language in ("caddyfile", "csv"):
        app.add_lexer(language, TextLexer)
