"""The `gateway keys` commands, which keep the folder of private keys."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click

from gateway import extras, keyfolder
from gateway.audit import audit_of_command
from gateway.cli_completion import kids
from gateway.cli_group import Faults, Group, examples
from gateway.cli_output import Column, as_json, moment, print_json, print_table, utc, warn
from gateway.envfile import shown
from gateway.errors import ConfigError
from gateway.events import KeysTaken
from gateway.keyfolder import FolderRing, KeyFile
from gateway.keys import ASYMMETRIC
from gateway.nearest import question
from gateway.settings import TABLE
from gateway.sources import Found
from gateway.table import checked

_NEEDED = frozenset(
    {
        "GATEWAY_KEY_DIR",
        "GATEWAY_ALGORITHM",
        "GATEWAY_KEY_ACTIVATION_SEC",
        "EXP_TIME_MIN",
        "GATEWAY_LEEWAY_SEC",
        "GATEWAY_LOG_FORMAT",
    }
)


@dataclass(frozen=True, slots=True)
class _Folder:
    """The folder that the settings name, and what they say of its keys."""

    path: Path
    alg: str
    activation_sec: int
    lifetime_sec: int
    log_format: str

    @classmethod
    def of_settings(cls) -> _Folder:
        """Read the settings that are about keys; the folder itself may yet be empty or missing.

        Raises:
            ConfigError: one of them is missing or wrong.
        """
        found = Found.in_environment(TABLE, os.environ)
        values, faults = checked(TABLE, found.given)
        faults = found.faults + [fault for fault in faults if fault.variable in _NEEDED]
        if faults:
            raise ConfigError(*(fault.line for fault in faults))
        if values["key_dir"] is None:
            raise ConfigError("GATEWAY_KEY_DIR is not set; it must be the folder of the private keys")
        if values["algorithm"] not in ASYMMETRIC:
            line = f"GATEWAY_ALGORITHM is {values['algorithm']!r}, which has no key in a folder"
            raise ConfigError(f"{line}; it must be one of {', '.join(ASYMMETRIC)}")
        extras.require("crypto", f"GATEWAY_ALGORITHM is {values['algorithm']!r}, which")
        lifetime = values["exp_time_min"] * 60 + values["leeway_sec"]
        rules = values["algorithm"], values["key_activation_sec"], lifetime
        return cls(Path(values["key_dir"]), *rules, values["log_format"])

    def read(self) -> FolderRing:
        """Read the keys, and warn of what else is there: a broken file must not keep one from acting."""
        ring, faults = keyfolder.read_what_is_sound(self.path, self.alg, self.activation_sec)
        for warning in (*faults, *keyfolder.exposed_files(self.path)):
            warn(warning)
        return ring

    def generate(self) -> KeyFile:
        try:
            file = keyfolder.generate(self.path, self.alg, time.time())
        except OSError as error:
            raise ConfigError(
                f"{shown(self.path)} cannot be written: {error.strerror}; it must be a folder of yours"
            ) from error
        self._log(added=[str(file.key.kid)])
        return file

    def remove(self, file: KeyFile, quiet: bool) -> None:
        try:
            file.path.unlink(missing_ok=True)
        except OSError as error:
            reason = f"{file} cannot be deleted: {error.strerror}"
            raise ConfigError(f"{reason}; run this as the user whose folder it is") from error
        if not quiet:
            click.echo(f"{file} deleted: within ten seconds no token of it is accepted any more")
        self._log(removed=[str(file.key.kid)])

    def _log(self, added: Sequence[str] = (), removed: Sequence[str] = ()) -> None:
        audit = audit_of_command(self.log_format)
        if audit is not None:
            audit.keys_taken(KeysTaken(None, math.inf, added, removed))

    def alive_until(self, ring: FolderRing, file: KeyFile) -> float | None:
        """Return the moment by which every token of a key has expired, or None if nobody can tell."""
        signs_until = ring.signs_until(file)
        return None if signs_until is None else signs_until + self.lifetime_sec


_COLUMNS: Final = (
    Column("KEY"),
    Column("ALGORITHM"),
    Column("MADE", plain="made {}"),
    Column("STATE"),
)


@click.group(
    cls=Group,
    epilog=examples(
        "gateway keys rotate   # once a day, by cron for one",
        "gateway keys list",
    ),
)
def keys() -> None:
    """Keep the private keys in GATEWAY_KEY_DIR.

    Running gateways take a change within ten seconds. A new key signs GATEWAY_KEY_ACTIVATION_SEC after it
    was made, so that all of them, and whoever reads /auth/jwks.json, know it by then.
    """


@keys.command(
    "generate",
    short_help="Make a key for GATEWAY_ALGORITHM.",
    epilog=examples(
        "GATEWAY_ALGORITHM=EdDSA GATEWAY_KEY_DIR=keys gateway keys generate",
        "gateway keys generate --json",
    ),
)
@as_json
def generate(json_: bool) -> None:
    """Make a key for GATEWAY_ALGORITHM; the first in the folder signs at once."""
    folder = _Folder.of_settings()
    file = folder.generate()
    ring = folder.read()
    if json_:
        print_json(_changes(ring, file))
    else:
        _say_made(ring, file)


@keys.command("list", epilog=examples("gateway keys list", "gateway keys list --json"))
@as_json
def list_(json_: bool) -> None:
    """List the keys, the oldest first, and what each of them does."""
    folder = _Folder.of_settings()
    ring = folder.read()
    if json_:
        print_json({"keys": [_document(folder, ring, file) for file in ring.files]})
        return
    rows = [(str(f.key.kid), f.key.alg, utc(f.made), _state(folder, ring, f)) for f in ring.files]
    print_table(_COLUMNS, rows)


@keys.command(
    "rotate",
    epilog=examples("gateway keys rotate", "gateway keys rotate --json"),
)
@as_json
def rotate(json_: bool) -> None:
    """Make a key, and retire those of which every token has expired.

    To be run now and then, by cron for one.
    """
    folder = _Folder.of_settings()
    file = folder.generate()
    ring = folder.read()
    finished = list(_finished(folder, ring))
    if not json_:
        _say_made(ring, file)
    for old in finished:
        folder.remove(old, quiet=json_)
    if json_:
        print_json(_changes(ring, file, finished))


@keys.command(
    "retire",
    short_help="Delete a key of which no token is alive.",
    epilog=examples(
        'gateway keys retire "$KID"   # one that gateway keys list shows',
        'gateway keys retire "$KID" --force',
    ),
)
@click.argument("kid", shell_complete=kids)
@click.option("--force", is_flag=True, help="Even if tokens of that key are still alive: all are refused.")
@as_json
def retire(kid: str, force: bool, json_: bool) -> None:
    """Delete a key, by its KID; refused while tokens of it can still be alive."""
    folder = _Folder.of_settings()
    ring = folder.read()
    file = next((file for file in ring.files if file.key.kid == kid), None)
    if file is None:
        raise Faults(_unknown(folder, ring, kid))
    if [other for other in ring.files if other.key.alg == folder.alg] == [file]:
        raise Faults(f"{kid} is the only key for {folder.alg}; gateway keys generate makes another")
    reason = _alive(folder, ring, file)
    if reason and not force:
        raise Faults(f"{kid} {reason}; --force retires it all the same, and refuses its tokens")
    folder.remove(file, quiet=json_)
    if json_:
        print_json(_changes(ring, None, [file]))


def _unknown(folder: _Folder, ring: FolderRing, kid: str) -> str:
    known = [str(file.key.kid) for file in ring.files]
    held = ", ".join(known) or "none; gateway keys generate makes one"
    return f"{shown(folder.path)} holds no key {kid!r}; it holds {held}{question(kid, known)}"


def _say_made(ring: FolderRing, file: KeyFile) -> None:
    click.echo(f"{file} written: keep it secret")
    click.echo(_when_it_signs(ring, file))


def _changes(ring: FolderRing, made: KeyFile | None, retired: Sequence[KeyFile] = ()) -> dict[str, Any]:
    """Return what was made and what was retired, for a script."""
    names = [str(file.key.kid) for file in retired]
    return {"made": None if made is None else _made(ring, made), "retired": names}


def _made(ring: FolderRing, file: KeyFile) -> dict[str, Any]:
    signs_from = time.time() if _signs(ring, file) else ring.active_from(file)
    return {**_named(file), "signs_from": moment(signs_from)}


def _named(file: KeyFile) -> dict[str, Any]:
    return {
        "kid": str(file.key.kid),
        "algorithm": file.key.alg,
        "file": str(file.path),
        "made": moment(file.made),
    }


def _document(folder: _Folder, ring: FolderRing, file: KeyFile) -> dict[str, Any]:
    """Return what a script may want to know of a key, nothing of the key itself."""
    now, until = time.time(), folder.alive_until(ring, file)
    begins = file.key.alg == folder.alg and ring.active_from(file) > now
    signs = file is ring.signing(now)
    return {
        **_named(file),
        "signs": signs,
        "signs_from": moment(ring.active_from(file)) if begins and not signs else None,
        "verifies_until": None if until is None else moment(until),
        "can_be_retired": until is not None and until <= now,
    }


def _finished(folder: _Folder, ring: FolderRing) -> Iterator[KeyFile]:
    for file in ring.files:
        until = folder.alive_until(ring, file)
        if until is not None and until <= time.time():
            yield file


def _alive(folder: _Folder, ring: FolderRing, file: KeyFile) -> str:
    """Say why tokens of a key may still be alive; empty if none can."""
    until = folder.alive_until(ring, file)
    if until is not None:
        return f"signed tokens that live until {utc(until)}" if until > time.time() else ""
    if file.key.alg != folder.alg:
        return f"is for {file.key.alg}, and nobody can tell when it last signed"
    return "signs, or is the next to sign"


def _state(folder: _Folder, ring: FolderRing, file: KeyFile) -> str:
    now = time.time()
    if file is ring.signing(now):
        return "signs"
    if file.key.alg == folder.alg and ring.active_from(file) > now:
        return f"verifies, and signs from {utc(ring.active_from(file))}"
    until = folder.alive_until(ring, file)
    if until is None:
        return "verifies"
    return f"verifies until {utc(until)}" if until > now else "verifies; can be retired"


def _when_it_signs(ring: FolderRing, file: KeyFile) -> str:
    when = "at once" if _signs(ring, file) else f"from {utc(ring.active_from(file))}"
    return f"{file.key.kid} signs {when}"


def _signs(ring: FolderRing, file: KeyFile) -> bool:
    signing = ring.signing(time.time())
    return signing is not None and signing.path == file.path
