"""Every app on the page about wrapping is guarded, as it stands there."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from gateway import TokenCreator
from tests.integration.servers import ANY_PORT, GUNICORN, ROOT, SHIPPED, run, serving
from tests.pages import DOCS, blocks, name_of
from tests.support import KEY, in_use

FILES = {
    name: source
    for language, source in blocks(DOCS / "wrapping.md")
    if language == "python" and (name := name_of(source)) is not None
}
GUARDS = ("= AuthGateway(", "@token_verify")
# What is called `app` in each of them. Django's is another, and needs a process of its own: the page runs it.
SITES = sorted(
    name.removesuffix(".py")
    for name, source in FILES.items()
    if any(guard in source for guard in GUARDS) and "/" not in name
)
ASKED = """\
import importlib, json, sys
from gateway import Settings, TokenCreator
from werkzeug.test import Client

token = TokenCreator(Settings.from_env()).create(12, role="editor")
spoofed = {"Remote-User": "evil", "X-Refreshed-Token": "evil"}
credentials = {"Authorization": f"Bearer {token}", "uid": "12"}
for name in sys.argv[1:]:
    client = Client(importlib.import_module(name).app)
    refused = client.get("/me", headers=spoofed, buffered=True)
    passed = client.get("/me", headers={**spoofed, **credentials}, buffered=True)
    print(json.dumps([name, refused.json, passed.json]))
"""


def write_to(folder: Path) -> None:
    for name, source in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(source, "utf-8")


def done_in(folder: Path, *command: str, **variables: str) -> str:
    """Run Python in a folder with all files of the page, and return what it prints."""
    done = run(folder, sys.executable, *command, PYTHONPATH=f"{ROOT}:{folder}", TOKEN_KEY=KEY, **variables)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What each of the apps answers to nobody and to somebody, by its name."""
    folder = tmp_path_factory.mktemp("sites")
    write_to(folder)
    lines = done_in(folder, "-c", ASKED, *SITES).splitlines()
    return {name: given for name, *given in map(json.loads, lines)}


def test_there_is_one_for_each_framework() -> None:
    assert SITES == [
        "bottle_site",
        "current_user",
        "falcon_site",
        "flask_site",
        "one_view",
        "plain_site",
        "pyramid_site",
        "webob_site",
    ]


@pytest.mark.parametrize("name", SITES)
def test_an_app_is_called_for_somebody_alone(answers: dict[str, Any], name: str) -> None:
    refused, passed = answers[name]
    assert refused == {"error": "Bad Request", "code": "missing_credentials"}
    assert passed == {"uid": "12", "role": "editor"}


def test_an_app_of_asgi_is_guarded_from_its_own_server(tmp_path: Path) -> None:
    write_to(tmp_path)
    variables = {"PYTHONPATH": str(ROOT), "TOKEN_KEY": KEY}
    served = (GUNICORN, "-k", "asgi", "-w", "1", "--no-control-socket", *ANY_PORT, "asgi_site:app")
    (tmp_path / "front").mkdir()
    with serving(tmp_path, *served, **variables) as site:
        upstream = {"GATEWAY_UPSTREAM": f"http://127.0.0.1:{site.port}"}
        with serving(
            tmp_path / "front", GUNICORN, "-w", "1", *ANY_PORT, *SHIPPED, **variables, **upstream
        ) as gateway:
            assert gateway.ask("/me").refusal == (400, "missing_credentials")
            answer = gateway.ask("/me", f"Authorization: Bearer {in_use()}", "uid: 12")
            assert (answer.status, b'{"uid": "12"}' in answer.body) == (200, True)


CLIENT = """\
import os, requests
from client import LastToken

last = LastToken(12, os.environ["TOKEN"])
with requests.Session() as session:
    session.auth = last
    print(*(session.get(os.environ["SITE"]).status_code for _ in range(3)))
print(last.token)
"""


def test_a_client_goes_on_with_the_last_token_that_it_was_given(tmp_path: Path) -> None:
    write_to(tmp_path)
    with serving(
        tmp_path, GUNICORN, "-w", "1", *ANY_PORT, *SHIPPED, GATEWAY_APP="hello:app", TOKEN_KEY=KEY
    ) as server:
        site = {"SITE": f"http://127.0.0.1:{server.port}/", "TOKEN": in_use(5)}
        statuses, token = done_in(tmp_path, "-c", CLIENT, **site).splitlines()
    claims = TokenCreator(token_key=KEY).decode_token(token)
    assert statuses == "200 200 200"
    assert token != site["TOKEN"]
    assert claims["uid"] == 12
