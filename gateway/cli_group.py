"""How commands are put together: their help, their exit codes, and what is said of a mistake."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final, NoReturn

import click

from gateway.cli_output import error, warn
from gateway.envfile import EnvFileError
from gateway.errors import (
    ConfigError,
    GatewayError,
    KeysUnavailableError,
    StateUnavailableError,
    StoreError,
    UsersUnavailableError,
)
from gateway.nearest import nearest, question

REFUSED: Final = 1
USAGE: Final = 2
UNSOUND: Final = 3
INTERRUPTED: Final = 130  # 128 and SIGINT, as shells have it
CLOSED: Final = 141  # 128 and SIGPIPE

EXIT_CODES: Final[Mapping[int, str]] = {
    0: "done, or the answer is yes",
    REFUSED: "refused, or the answer is no",
    USAGE: "the command line cannot be understood",
    UNSOUND: "a setting is wrong, or what it names is unavailable",
    INTERRUPTED: "ended by Ctrl-C",
}

# What people call what is called otherwise here.
_SYNONYMS: Final[Mapping[str, str]] = {
    "run": "serve",
    "start": "serve",
    "validate": "check",
    "test": "check",
    "config": "check",
    "settings": "check",
    "version": "--version",
    "create": "add",
    "new": "add",
    "delete": "remove",
    "rm": "remove",
    "password": "passwd",
    "show": "list",
    "ls": "list",
    "decode": "inspect",
    "logout": "revoke",
}


class Faults(click.ClickException):
    """What is wrong, one thing a line."""

    def __init__(self, *lines: str, code: int = REFUSED) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines
        self.exit_code = code  # type: ignore[misc]  # which click has as that of a class

    def show(self, file: Any = None) -> None:
        """Print each line to standard error."""
        for line in self.lines:
            error(line)


def examples(*lines: str) -> str:
    """Return what is put at the end of a command's help: lines that can be typed as they stand."""
    return "\n".join(("\b", "Examples:", *(f"  {line}" for line in lines)))


class Command(click.Command):
    """A command whose help ends with examples."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples, as far to the left as what stands above them."""
        if self.epilog:
            formatter.write_paragraph()
            formatter.write_text(self.epilog)


class Group(Command, click.Group):
    """Commands whose help ends with examples, and who tell which of them may have been meant."""

    command_class = Command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that is named first."""
        name = args[0]
        if not ctx.resilient_parsing and name not in self.commands and not name.startswith("-"):
            raise click.UsageError(f"there is no command {name!r}{self._meant(ctx, name)}", ctx)
        return super().resolve_command(ctx, args)

    def _meant(self, ctx: click.Context, name: str) -> str:
        """Ask whether a command was meant: of this group by any name, or of another by just this one."""
        synonym = _SYNONYMS.get(name.lower(), "")
        known = synonym in self.commands or (synonym.startswith("-") and ctx.parent is None)
        found = synonym if known else nearest(name, self.commands)
        paths = [found] if found else [path for path in _below(self) if path.split()[-1] == name]
        return f"; did you mean {' or '.join(paths)}?" if paths else ""


def _below(group: click.Group) -> Iterator[str]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from (f"{name} {inner}" for inner in command.commands)


class Gateway(Group):
    """The whole: its help has the commands in sections, and every mistake is a line for a person.

    Args:
        sections: the names of commands, by the title over them.
    """

    group_class = Group

    def __init__(self, *args: Any, sections: Mapping[str, Sequence[str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._sections = sections

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands, section by section."""
        longest = max(len(name) for names in self._sections.values() for name in names)
        for title, names in self._sections.items():
            with formatter.section(title):
                room = formatter.width - longest - 4
                formatter.write_dl(
                    [(f"{name:<{longest}}", self.commands[name].get_short_help_str(room)) for name in names]
                )

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """Read the options that are not of a command, as `--help` is none."""
        try:
            return super().make_context(*args, **kwargs)
        except BrokenPipeError:
            _end_with_closed_pipe()

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was named."""
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            try:
                return super().invoke(ctx)
            except (GatewayError, EnvFileError) as fault:
                raise _as_faults(fault) from fault
            except BrokenPipeError:  # of our output: those of stores are errors of theirs
                _end_with_closed_pipe()

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run what the arguments say, and end with its exit code."""
        run: Callable[[], Any] = partial(super().main, args, prog_name, complete_var, False, **extra)
        if not standalone_mode:
            return run()
        try:
            ended = run()
        except click.ClickException as fault:
            _show(fault)
            ended = fault.exit_code
        except click.Abort:
            ended = INTERRUPTED
        sys.exit(ended)


def _show(fault: click.ClickException) -> None:
    if isinstance(fault, click.UsageError) and not isinstance(fault, click.exceptions.NoArgsIsHelpError):
        error(_said(fault))
    else:
        fault.show()


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    warn(str(message))


def _as_faults(fault: Exception) -> Faults:
    """Return an error of ours with its exit code, and with what can be done about it."""
    if isinstance(fault, ConfigError):
        return Faults(*fault.faults, code=UNSOUND)
    if isinstance(fault, StoreError | KeysUnavailableError):
        return Faults(f"{fault}; {_remedy(fault)}", code=UNSOUND)
    return Faults(str(fault))


def _remedy(fault: GatewayError) -> str:
    """Return what can be done where something cannot be had."""
    if isinstance(fault, StateUnavailableError):
        return "GATEWAY_STATE_URL says where the state store is, and gateway check asks it"
    if isinstance(fault, UsersUnavailableError):
        return "GATEWAY_USERS_URL says where the users database is, and gateway check asks it"
    if isinstance(fault, KeysUnavailableError):
        return "gateway keys list shows our own keys, and the policy file says where an issuer has its keys"
    return "it may be better in a moment"


def _end_with_closed_pipe() -> NoReturn:
    """End where nobody reads on, as `head` does not, without another try to print what is left."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())
    raise click.exceptions.Exit(CLOSED)


def _said(fault: click.UsageError) -> str:
    """Say in one line what is wrong with a command line, and what shows how it is right."""
    line = " ".join(_in_our_words(fault).split()).rstrip(".")
    line = f"{line[:1].lower()}{line[1:]}"
    path = fault.ctx.command_path if fault.ctx is not None else "gateway"
    return line if line.endswith("?") else f"{line}; {path} --help shows what there is"


def _in_our_words(fault: click.UsageError) -> str:
    if isinstance(fault, click.NoSuchOption) and fault.ctx is not None:
        return f"there is no option {fault.option_name!r}{question(fault.option_name, _options(fault.ctx))}"
    return fault.format_message()


def _options(ctx: click.Context) -> Iterable[str]:
    return [option for parameter in ctx.command.get_params(ctx) for option in parameter.opts]
