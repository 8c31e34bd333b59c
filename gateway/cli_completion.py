"""What a shell completes: commands and options by click itself, and here names that the settings lead to.

Whoever presses a key is never asked, told or kept waiting, and changes nothing: where a name cannot be had,
there is none.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Final

import click
from click.shell_completion import BashComplete, CompletionItem, FishComplete, ShellComplete, ZshComplete

from gateway import keyfolder
from gateway.breaker import within
from gateway.cli_group import Command, examples
from gateway.errors import GatewayError
from gateway.settings import Settings

_COMPLETERS: Final[Mapping[str, type[ShellComplete]]] = {
    each.name: each for each in (BashComplete, ZshComplete, FishComplete)
}

_PATIENCE_SEC = 3  # that of a person who has pressed a key
_MOST = 10_000  # names that are looked through
# What no shell reads anything into: bash puts a name into the line as it stands, and would run $(reboot).
_HARMLESS = re.compile(r"[A-Za-z0-9_./][A-Za-z0-9_./:@%+=-]*")

Completer = Callable[[click.Context, click.Parameter, str], list[str]]


def names_of(find: Callable[[Settings], Iterable[str]]) -> Completer:
    """Return what completes a parameter with the names that are found by the settings."""

    def complete(_: click.Context, __: click.Parameter, begun: str) -> list[str]:
        def found() -> list[str]:
            names = islice(find(Settings.from_env()), _MOST)
            return [name for name in names if name.startswith(begun) and _HARMLESS.fullmatch(name)]

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                return within(_PATIENCE_SEC, found)
            except (GatewayError, TimeoutError):
                return []

    return complete


def _uids(settings: Settings) -> Iterator[str]:
    """Yield those of a file: a key that is pressed connects to no server, not even a stranger's."""
    if settings.users_url is None or not settings.users_url.startswith("sqlite"):
        return
    from gateway.users import Users  # noqa: PLC0415 - of an extra

    with closing(Users(settings.users_url, makes=False)) as users:
        for user in users.all():
            yield user.uid


def _kids(settings: Settings) -> Iterator[str]:
    if settings.key_dir is None:
        return
    ring, _ = keyfolder.read_what_is_sound(
        Path(settings.key_dir), settings.algorithm, settings.key_activation_sec
    )
    for file in ring.files:
        yield str(file.key.kid)


def _issuers(settings: Settings) -> Iterator[str]:
    return (rules.issuer for rules in settings.issuers)


uids: Final = names_of(_uids)
kids: Final = names_of(_kids)
issuers: Final = names_of(_issuers)


def methods(_: click.Context, __: click.Parameter, begun: str) -> list[str]:
    """Complete the method of a request."""
    known = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
    return [method for method in known if method.startswith(begun.upper())]


def files(_: click.Context, __: click.Parameter, begun: str) -> list[CompletionItem]:
    """Let the shell complete the name of a file, where there may be something else."""
    return [CompletionItem(begun, type="file")]


@click.command(
    cls=Command,
    short_help="Print the script by which a shell completes.",
    epilog=examples(
        'eval "$(gateway completion bash)"   # in ~/.bashrc',
        'eval "$(gateway completion zsh)"    # in ~/.zshrc, after compinit',
        "gateway completion fish > ~/.config/fish/completions/gateway.fish",
    ),
)
@click.argument("shell", type=click.Choice(list(_COMPLETERS)))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script by which a shell completes what is typed after gateway.

    It completes commands, options and files, and, where the settings of the working directory lead to some,
    uids, keys and issuers.
    """
    completer = _COMPLETERS[shell](ctx.find_root().command, {}, "gateway", "_GATEWAY_COMPLETE")
    click.echo(completer.source(), nl=False)
