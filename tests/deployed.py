"""The files in `examples/deploy`, read as those do that they are for, and an app for them to deploy."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
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
    if environ["PATH_INFO"] == "/forwarded":
        keys = ("HTTP_FORWARDED", "HTTP_X_FORWARDED_PREFIX", "HTTP_X_FORWARDED_PORT", "HTTP_X_REAL_IP")
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


def _lines(name: str) -> list[str]:
    """The lines of a file, those that go on joined, without comments and empty ones."""
    joined = re.sub(r"\\\n\s*", "", text(name))
    return [line for line in joined.splitlines() if line and not line.startswith("#")]


def variables_in(assigned: str) -> dict[str, str]:
    """The variables of assignments that are quoted as for a shell."""
    return dict(item.split("=", 1) for item in shlex.split(assigned))


def documents(name: str) -> list[dict[str, Any]]:
    """What a file of YAML holds."""
    return list(yaml.safe_load_all(text(name)))


def dockerfile() -> list[Instruction]:
    """The instructions of the last stage."""
    instructions = [Instruction(*line.split(" ", 1)) for line in _lines("Dockerfile")]
    last = max(place for place, each in enumerate(instructions) if each.name == "FROM")
    return instructions[last:]


def the_one(name: str) -> Instruction:
    """The instruction of this name in the last stage."""
    (found,) = [each for each in dockerfile() if each.name == name]
    return found


def in_the_image() -> dict[str, str]:
    """The variables that the image sets, but for the path to its programs."""
    variables = variables_in(" ".join(each.rest for each in dockerfile() if each.name == "ENV"))
    return {name: value for name, value in variables.items() if name != "PATH"}


def unit() -> Iterator[tuple[str, str]]:
    """The options of the systemd unit, in order."""
    for line in _lines("gateway.service"):
        name, equals, value = line.partition("=")
        if equals:
            yield name, value


def of_unit(name: str) -> list[str]:
    return [value for option, value in unit() if option == name]


def site_in(folder: Path) -> None:
    """Put the app that is deployed into a folder, and settings with a secret."""
    (folder / "mysite").mkdir()
    (folder / "mysite" / "wsgi.py").write_text(SITE)
    (folder / "gateway.env").write_text(f"TOKEN_KEY={KEY}\n")
    (folder / "gateway.env").chmod(0o600)
