"""The files in `examples/deploy`, read as those do that they are for, and an app for them to deploy."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from tests.integration.servers import ROOT
from tests.support import KEY

DEPLOY = ROOT / "examples" / "deploy"
# It is where all of them look for it, and says who calls.
SITE = """\
def application(environ, start_response):
    keys = ("REMOTE_USER", "wsgi.url_scheme", "PATH_INFO", "HTTP_X_REQUEST_ID")
    body = " ".join(environ.get(key) or "-" for key in keys).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
"""


class Instruction(NamedTuple):
    """One instruction of a Dockerfile."""

    name: str
    rest: str

    @property
    def command(self) -> list[str]:
        """What it runs, which has to be in the exec form: a shell would not hand on signals."""
        command: list[str] = json.loads(self.rest[self.rest.index("[") :])
        return command


def text(name: str) -> str:
    return (DEPLOY / name).read_text("utf-8")


def changed(name: str, changes: Mapping[str, str]) -> str:
    """A file with other addresses in it."""
    changed = text(name)
    for old, new in changes.items():
        assert old in changed, f"{old} is not in {name}"
        changed = changed.replace(old, new)
    return changed


def documents(name: str) -> list[dict[str, Any]]:
    """What a file of YAML holds."""
    return list(yaml.safe_load_all(text(name)))


def dockerfile() -> list[Instruction]:
    """The instructions of the last stage."""
    joined = re.sub(r"\\\n\s*", "", text("Dockerfile"))
    lines = [line for line in joined.splitlines() if line and not line.startswith("#")]
    instructions = [Instruction(*line.split(" ", 1)) for line in lines]
    last = max(place for place, each in enumerate(instructions) if each.name == "FROM")
    return instructions[last:]


def the_one(name: str) -> Instruction:
    """The instruction of this name in the last stage."""
    (found,) = [each for each in dockerfile() if each.name == name]
    return found


def in_the_image() -> dict[str, str]:
    """The variables that the image sets, but for the path to its programs."""
    assigned = [shlex.split(each.rest) for each in dockerfile() if each.name == "ENV"]
    variables = dict(item.split("=", 1) for items in assigned for item in items)
    return {name: value for name, value in variables.items() if name != "PATH"}


def unit() -> Iterator[tuple[str, str]]:
    """The options of the systemd unit, in order."""
    joined = re.sub(r"\\\n\s*", "", text("gateway.service"))
    for line in joined.splitlines():
        if line and line[0] not in "#[":
            name, _, value = line.partition("=")
            yield name, value


def of_unit(name: str) -> list[str]:
    return [value for option, value in unit() if option == name]


def site_in(folder: Path) -> None:
    """Put the app that is deployed into a folder, and settings with a secret."""
    (folder / "mysite").mkdir()
    (folder / "mysite" / "wsgi.py").write_text(SITE)
    (folder / "gateway.env").write_text(f"TOKEN_KEY={KEY}\n")
    (folder / "gateway.env").chmod(0o600)
