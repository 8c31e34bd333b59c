"""The documents' pages, done as a reader would do them: from top to bottom, in a folder of one's own.

What is done with a block is told by its language, by a file's name in a comment as its first line, and by a
remark in the line above it: `<!-- not run: why -->`, or `<!-- server: SETTING=value -->`.
"""

from __future__ import annotations

import configparser
import contextlib
import csv
import functools
import importlib
import itertools
import json
import os
import re
import shlex
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import yaml
from sybil import Document, Example, Lexeme, Region
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.markdown.lexers import RawFencedCodeBlockLexer
from sybil.typing import Evaluator

from gateway import Settings
from tests.django_projects import project
from tests.integration.servers import ANY_PORT, GUNICORN, ROOT, SCRIPTS, SHIPPED, environment, run, serving
from tests.support import KEY

DOCS = ROOT / "docs"
ADDRESS = "http://127.0.0.1:8000"  # of the server, in what is shown
FENCES = RawFencedCodeBlockLexer(re.compile(r"[ \t]*(?P<language>[^\n]*?)[ \t]*(?:\n|\Z)"))
REMARK = re.compile(r"^<!-- *(?P<kind>not run|server):(?P<text>.*)-->\n", re.MULTILINE)
NAMED = re.compile(r"(?:#|;|//) *(?P<name>(?:[\w.-]+/)*(?:[\w-]*\.[\w.-]+|[A-Z]\w*file)) *\n")
WITHOUT_COMMENTS = {"csv", "json"}
OF_BASH = {"_", "OLDPWD", "PWD", "SHLVL"}  # variables that each shell sets for itself


def run_page(page: Path, folder: Path, **variables: str) -> dict[str, Any]:
    """Do all that a page shows, in an empty folder, and return the names that its Python has made.

    The environment is a good `TOKEN_KEY`, these variables, and what the page's own shell exports.
    """
    with _Reader(folder) as reader, _alone_in(folder, variables):
        document = Document.parse(str(page), reader.regions)
        document.namespace["__name__"] = "shown"
        for example in document:
            example.evaluate()
        return document.namespace


def blocks(page: Path) -> list[tuple[str, str]]:
    """Return the blocks of a page, each with its language."""
    fences = _fences(Document(page.read_text("utf-8"), str(page)))
    return [(fence.lexemes["language"], fence.lexemes["source"]) for fence in fences]


def name_of(source: str) -> str | None:
    """Return the name of the file that a block is, None if it is none."""
    named = NAMED.match(source)
    return named["name"] if named else None


def as_pattern(shown: str) -> str:
    """Output as a pattern, in which `…` stands for anything on its line."""
    return ".*".join(map(re.escape, shown.split("…")))


def _fences(document: Document) -> list[Region]:
    return sorted(FENCES(document), key=lambda region: region.start)


@contextlib.contextmanager
def _alone_in(folder: Path, variables: Mapping[str, str]) -> Iterator[None]:
    """Go to a folder, with an environment, modules and a Django project of its own."""
    path = f"{SCRIPTS}:{os.environ['PATH']}"
    given = {"HOME": str(folder), "LANG": "C.UTF-8", "PYTHONPATH": str(ROOT), "TOKEN_KEY": KEY, "PATH": path}
    with (
        pytest.MonkeyPatch.context() as patch,
        mock.patch.dict(os.environ, environment(**given, **variables), clear=True),
        project(),
    ):
        patch.chdir(folder)
        patch.syspath_prepend(folder)
        try:
            yield
        finally:
            for name in [name for name, module in sys.modules.items() if _lies_in(folder, module)]:
                del sys.modules[name]


def _lies_in(folder: Path, module: object) -> bool:
    places = [getattr(module, "__file__", None), *getattr(module, "__path__", ())]
    return any(Path(place).is_relative_to(folder) for place in places if place)


class _Reader(contextlib.ExitStack):
    """Writes a block to its file, runs it, or looks whether it is sound; its server ends with the context."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self._address = ADDRESS
        self._run_python = PythonEvaluator()

    def regions(self, document: Document) -> Iterator[Region]:
        """Yield what there is to do, as one of Sybil's parsers."""
        remarks = {remark.end(): remark for remark in REMARK.finditer(document.text)}
        fences = _fences(document)
        for fence, following in itertools.zip_longest(fences, fences[1:]):
            remark = remarks.pop(fence.start, None)
            if remark is not None and remark["kind"] == "server":
                yield Region(*remark.span(), shlex.split(remark["text"]), self._start)
            if remark is None or remark["kind"] == "server":
                yield Region(fence.start, fence.end, fence.lexemes["source"], self._doing(fence, following))
            elif not remark["text"].strip():
                yield Region(*remark.span(), evaluator=lambda _: "the reason is missing")
        for remark in remarks.values():
            yield Region(*remark.span(), evaluator=lambda _: "there is no block in the line below")

    def _doing(self, fence: Region, following: Region | None) -> Evaluator:
        """Return what is to be done with a block, before the one that follows it."""
        language, name = fence.lexemes["language"], name_of(fence.lexemes["source"])
        if language not in SOUND:
            return lambda _: f"{language!r} is no language that the documents are written in"
        if name is not None:
            return functools.partial(self._write, self._folder / name, language)
        if language == "python":
            return self._python
        if language == "sh":
            output = following is not None and following.lexemes["language"] == "text"
            return functools.partial(self._sh, following.lexemes["source"] if following and output else None)
        return lambda example: SOUND[language](self._here(example))

    def _here(self, example: Example) -> str:
        """Return what a block shows, with the address that the server has here."""
        return str(example.parsed).replace(ADDRESS, self._address)

    def _start(self, example: Example) -> None:
        """Start a server with these settings, in place of the one before."""
        self.close()
        settings = dict(setting.split("=", 1) for setting in example.parsed)
        command = (GUNICORN, *SHIPPED, *ANY_PORT)
        server = self.enter_context(serving(self._folder, *command, **{**os.environ, **settings}))
        self._address = f"http://127.0.0.1:{server.port}"

    def _write(self, path: Path, language: str, example: Example) -> str | None:
        """Write a block to its file, without its first line where no comment may stand."""
        if not path.resolve().is_relative_to(self._folder):
            return f"{path} is not in the page's folder"
        text = self._here(example)
        text = text.partition("\n")[2] if language in WITHOUT_COMMENTS else text
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        importlib.invalidate_caches()
        if language == "toml" and "policy" in path.name:
            Settings(token_key=os.environ["TOKEN_KEY"], policy_file=str(path))
        return SOUND[language](text)

    def _python(self, example: Example) -> None:
        """Run Python, with the names of all before it."""
        example.parsed = Lexeme(self._here(example), 0, 0)  # which tells the lines of tracebacks
        self._run_python(example)

    def _sh(self, shown: str | None, example: Example) -> str | None:
        """Run a shell, which must end well, or print what is shown; what it exports is kept for the next."""
        script = f"trap 'printf \"\\0\"; env -0' EXIT\n{self._here(example)}"
        done = run(self._folder, "bash", "-euo", "pipefail", "-c", script, **os.environ)
        printed, _, environ = done.stdout.partition("\0")
        exported = dict(line.split("=", 1) for line in environ.split("\0") if line)
        os.environ.update({name: exported[name] for name in exported.keys() - OF_BASH})
        if shown is None:
            return f"exit code {done.returncode}\n{printed}{done.stderr}" if done.returncode else None
        real = printed.replace("\r", "").replace(self._address, ADDRESS)
        return (
            None if re.fullmatch(as_pattern(shown), real) else f"{real}\ninstead of\n{shown}\n{done.stderr}"
        )


def _loads(load: Callable[[str], object]) -> Callable[[str], None]:
    """Look by a parser, which raises its own errors, whether a text is sound."""

    def look(text: str) -> None:
        load(text)

    return look


def _console(text: str) -> str | None:
    return None if text.startswith("$ ") else "a console's commands begin with `$ `"


def _diff(text: str) -> str | None:
    strange = [line for line in text.splitlines() if not re.match(r"[-+ @]|$", line)]
    return f"no line of a diff: {strange[0]}" if strange else None


def _ini(text: str) -> None:
    configparser.ConfigParser(strict=False, interpolation=None, allow_no_value=True).read_string(text)


def _as_it_stands(_: str) -> None:
    """Nothing here reads it; what is long stands in `examples/`, and is tested there."""


UNREAD = ("caddyfile", "dockerfile", "javascript", "nginx", "sh", "text", "{eval-rst}")
SOUND: dict[str, Callable[[str], str | None]] = {
    **dict.fromkeys(UNREAD, _as_it_stands),
    "console": _console,
    "csv": _loads(lambda text: list(csv.reader(text.splitlines(), strict=True))),
    "diff": _diff,
    "ini": _ini,
    "json": _loads(json.loads),
    "python": _loads(lambda text: compile(text, "shown", "exec")),
    "toml": _loads(tomllib.loads),
    "yaml": _loads(lambda text: list(yaml.safe_load_all(text))),
}
