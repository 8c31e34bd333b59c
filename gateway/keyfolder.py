"""A folder of private keys, one file a key, that many processes read and one command changes.

A file is called `MADE.ALG.KID.pem`, as in `20261124T093000Z.ES256.5f0c9a1be2d34c77.pem`: when the key was
made (in UTC), its algorithm and its name in tokens. Not the file's own time, which mounts and restores
change; and a PEM does not say RS256 or PS256.
"""

from __future__ import annotations

import errno
import itertools
import logging
import math
import os
import re
import secrets
import stat
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, Self

from gateway import forks
from gateway.envfile import shown
from gateway.errors import ConfigError, KeysUnavailableError
from gateway.keys import ASYMMETRIC, Key, KeyRing, UnfitKeyError

LOOK_SEC = 5  # how often a process looks at the folder, while it serves
LOOK_AGAIN_SEC = 1  # how soon it looks again for an unknown key
# How long after another key began to sign a process may yet sign with the one before.
LAG_SEC = 2 * LOOK_SEC

_GONE = os.strerror(errno.ENOENT)
_LARGEST = 65536  # bytes: no private key is as large
_MADE = "%Y%m%dT%H%M%SZ"
_NAME = re.compile(
    rf"((?:19|2[0-9])[0-9]{{6}}T[0-9]{{6}}Z)\.({'|'.join(ASYMMETRIC)})\.([A-Za-z0-9_-]{{1,64}})\.pem"
)
_NAMED = "MADE.ALG.KID.pem, as in 20261124T093000Z.ES256.5f0c9a1be2d34c77.pem"

_log = logging.getLogger("gateway")


class _Stamp(NamedTuple):
    """What changes when a file does, or when who may read it does; `fault` is why even that is not known."""

    name: str
    modified_ns: int = 0
    changed_ns: int = 0
    size: int = 0
    inode: int = 0
    mode: int = 0
    fault: str = ""


@dataclass(frozen=True, slots=True)
class KeyFile:
    """One key of the folder: its file, when it was made (in seconds since 1970), and the key."""

    path: Path
    made: int
    key: Key
    stamp: _Stamp = field(repr=False)

    def __str__(self) -> str:
        return shown(self.path)


class FolderRing(KeyRing):
    """The keys of the folder at one moment, and the order in which those of one algorithm sign.

    Args:
        files: all the keys; each of them verifies.
        alg: the algorithm of the keys that sign.
        activation_sec: a key signs so many seconds after it was made, unless there is no other.
    """

    __slots__ = ("_activation", "_signing", "alg", "files")

    def __init__(self, files: Iterable[KeyFile], alg: str, activation_sec: int) -> None:
        self.files = _in_order(files)
        super().__init__(file.key for file in self.files)
        self.alg = alg
        self._activation = activation_sec
        self._signing = [file for file in self.files if file.key.alg == alg]

    def with_files(self, files: Iterable[KeyFile]) -> Self:
        """Return the ring of other files, by the same rules."""
        return type(self)(files, self.alg, self._activation)

    @property
    def signs(self) -> bool:
        """Whether there is a key that signs, or will."""
        return bool(self._signing)

    def signing(self, now: float) -> KeyFile | None:
        """Return the key that signs at `now`: the newest that is active; before any is, the oldest."""
        active = [file for file in self._signing if self.active_from(file) <= now]
        return active[-1] if active else next(iter(self._signing), None)

    def active_from(self, file: KeyFile) -> float:
        """Return the moment from which a key signs, in seconds since 1970."""
        return file.made + self._activation

    def signs_until(self, file: KeyFile) -> float | None:
        """Return the moment by which no process signs with a key any more; None if that is not known."""
        later = self._signing[self._signing.index(file) + 1 :] if file in self._signing else []
        return self.active_from(later[0]) + LAG_SEC if later else None


class KeyFolder:
    """The keys of a folder, looked at again and again.

    What is wrong with a file is reported, and its key stays as it was; a key whose file is gone, goes.
    While the folder cannot be read, or is empty, as a volume that is not mounted, all keys stay; in a
    process that never saw it, there are none.

    Args:
        path: the folder.
        ring: its keys when the settings were read, which a process that is started anew later need not
            read again, and of which it believes only those that are still there.
        clock: tells the time, in seconds since 1970.
        changed: is called after the keys have changed.
    """

    def __init__(
        self, path: Path, ring: FolderRing, clock: Callable[[], float], changed: Callable[[], None]
    ) -> None:
        self.ring = ring.with_files(())
        self._known: Iterable[KeyFile] = ring.files
        self._path = path
        self._clock = clock
        self._changed = changed
        self._looked = -math.inf
        self._stamps: list[_Stamp] | None = None  # what was seen last, if nothing was wrong with it
        self._reported: set[str] = set()
        self._warned: set[str] | None = None  # the start has warned of what was so then
        self.begin_anew()
        forks.begin_anew_after(self)

    def begin_anew(self) -> None:
        """Forget who was looking when this process was forked."""
        self._looking = threading.Lock()

    def candidates(self, kid: str | None, alg: str) -> tuple[Key, ...]:
        """Return the keys that may have signed a token; an unknown name makes it look at once.

        Raises:
            KeysUnavailableError: this process has not seen the folder yet, or no key is left in it.
        """
        found = self.ring.candidates(kid, alg)
        if not found and kid is not None and self._is_due(self._clock(), LOOK_AGAIN_SEC):
            self._look()
            found = self.ring.candidates(kid, alg)
        if not self.ring.keys:
            raise KeysUnavailableError("no key of ours can be read")
        return found

    def signing_key(self, now: float) -> Key:
        """Return the key that signs at `now`.

        Raises:
            KeysUnavailableError: there is none.
        """
        file = self.ring.signing(now)
        if file is None:
            raise KeysUnavailableError(f"there is no key that signs by {self.ring.alg}")
        return file.key

    def keep_up(self, now: float) -> None:
        """Look at the folder, if the last look was more than `LOOK_SEC` ago."""
        if self._is_due(now, LOOK_SEC):
            self._look()

    def _is_due(self, now: float, interval: float) -> bool:
        return not 0 <= now - self._looked < interval  # below 0 the clock was put back

    def _look(self) -> None:
        """Take the keys as they are now; what another thread is doing just then is waited for at first."""
        if not self._looking.acquire(blocking=not self.ring.keys):
            return
        try:
            stamps = _stamps(self._path)
            if stamps != self._stamps:
                self._stamps = stamps if self._take_over(stamps) else None
        except ConfigError as error:
            self._report(error.faults)
            self._stamps = None
        finally:
            self._looked = self._clock()
            self._looking.release()

    def _take_over(self, stamps: list[_Stamp]) -> bool:
        """Take the keys of these files, and tell whether nothing was wrong with any."""
        files, faults = _survey(self._path, stamps, self._known)
        ring = self.ring.with_files(files)
        if not ring.signs:
            faults.append(_no_key(self._path, ring.alg))
        self._report(faults)
        self._warn(_exposed(self._path, stamps))
        if stamps and files != self.ring.files:
            self.ring = ring
            self._known = files
            self._changed()
        return not faults

    def _report(self, faults: Iterable[str]) -> None:
        """Log what was not logged before."""
        found = set(faults)
        for fault in sorted(found - self._reported):
            _log.error("%s", fault)
        self._reported = found

    def _warn(self, warnings: Iterable[str]) -> None:
        found = set(warnings)
        for warning in sorted(found - self._warned) if self._warned is not None else ():
            _log.warning("%s", warning)
        self._warned = found


def read_folder(path: Path, alg: str, activation_sec: int) -> FolderRing:
    """Return the keys of a folder.

    Raises:
        ConfigError: one line for each thing wrong.
    """
    ring, faults = read_what_is_sound(path, alg, activation_sec)
    if not faults and not ring.signs:
        faults = [_no_key(path, alg)]
    if faults:
        raise ConfigError(*faults)
    return ring


def read_what_is_sound(path: Path, alg: str, activation_sec: int) -> tuple[FolderRing, list[str]]:
    """Return the keys of a folder, be it empty, and what is wrong with other files in it.

    Raises:
        ConfigError: the folder cannot be read.
    """
    files, faults = _survey(path, _stamps(path), ())
    return FolderRing(files, alg, activation_sec), faults


def _survey(
    path: Path, stamps: Iterable[_Stamp], known: Iterable[KeyFile]
) -> tuple[list[KeyFile], list[str]]:
    """Read the files that are not known yet, or have changed; one that got bad stays as it was known."""
    before = {file.stamp.name: file for file in known}
    files: dict[str, KeyFile] = {}
    faults = []
    # Those that are known go first, so that none is displaced.
    for stamp in sorted(stamps, key=lambda stamp: stamp.name not in before):
        file = before.get(stamp.name)
        try:
            if file is None or file.stamp != stamp:
                file = _read_file(path / stamp.name, stamp)
        except UnfitKeyError as error:
            stays = "; the key of before stays" if file is not None and stamp.fault != _GONE else ""
            faults.append(f"GATEWAY_KEY_DIR: {shown(path / stamp.name)} is {error}{stays}")
        if file is None or stamp.fault == _GONE:
            continue
        other = files.setdefault(str(file.key.kid), file)
        if other is not file:
            faults.append(f"GATEWAY_KEY_DIR: {file} is the key {file.key.kid} a second time, after {other}")
    return _in_order(files.values()), sorted(faults)


def _no_key(path: Path, alg: str) -> str:
    return f"GATEWAY_KEY_DIR: {shown(path)} holds no key for {alg}; gateway keys generate makes one"


def _in_order(files: Iterable[KeyFile]) -> list[KeyFile]:
    return sorted(files, key=lambda file: (file.made, file.key.kid))


def exposed_files(path: Path) -> Iterator[str]:
    """Yield a warning for each key that others on this machine may read, and if they may add one."""
    yield from _exposed(path, _stamps(path))


def _exposed(path: Path, stamps: Iterable[_Stamp]) -> Iterator[str]:
    for stamp in stamps:
        if stamp.mode & 0o077:
            name = shown(path / stamp.name)
            yield f"{name} is a private key that others on this machine may read; chmod 600 {name}"
    if _mode(path) & 0o022:
        yield f"{shown(path)} is a folder of keys in which others may put one; chmod 700 {shown(path)}"


def _mode(path: Path) -> int:
    with suppress(OSError):
        return path.stat().st_mode
    return 0


def generate(path: Path, alg: str, now: float) -> KeyFile:
    """Add a new key to a folder, which is made if it is missing, and return it.

    It is newer than one that was made in the same second. The file is for its owner alone, and appears
    whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    kid = secrets.token_hex(8)
    names = [_NAME.fullmatch(other.name) for other in path.iterdir()]
    taken = {_moment(name[1]) for name in names if name}
    made = next(second for second in itertools.count(int(now)) if second not in taken)
    target = path / f"{datetime.fromtimestamp(made, UTC).strftime(_MADE)}.{alg}.{kid}.pem"
    unfinished = path / f".{kid}"
    try:
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(_new_pem(alg))
            file.flush()
            os.fsync(file.fileno())
        unfinished.rename(target)
    finally:
        unfinished.unlink(missing_ok=True)
    return _read_file(target, _stamp(target))


def _stamps(path: Path) -> list[_Stamp]:
    """List the files of a folder, hidden ones and folders aside."""
    try:
        entries = [entry for entry in os.scandir(path) if not entry.name.startswith(".")]
    except OSError as error:
        line = f"GATEWAY_KEY_DIR is {str(path)!r}, which cannot be read: {error.strerror}"
        raise ConfigError(
            f"{line}; it must be a folder of private keys, which gateway keys generate makes"
        ) from None
    stamps = [_stamp(Path(entry)) for entry in entries]
    # What is gone and was no link was retired just now.
    return sorted(
        stamp
        for stamp, entry in zip(stamps, entries, strict=True)
        if not stat.S_ISDIR(stamp.mode) and (stamp.fault != _GONE or entry.is_symlink())
    )


def _stamp(path: Path) -> _Stamp:
    try:
        status = path.stat()
    except OSError as error:
        return _Stamp(path.name, fault=os.strerror(error.errno or 0))
    times = status.st_mtime_ns, status.st_ctime_ns
    return _Stamp(path.name, *times, status.st_size, status.st_ino, status.st_mode)


def _read_file(path: Path, stamp: _Stamp) -> KeyFile:
    named = _NAME.fullmatch(path.name)
    made = named and _moment(named[1])
    if named is None or made is None:
        raise UnfitKeyError(f"not called {_NAMED}")
    if stamp.fault:
        raise UnfitKeyError(f"not readable: {stamp.fault}")
    if not stat.S_ISREG(stamp.mode) or stamp.size > _LARGEST:
        raise UnfitKeyError(f"no file of at most {_LARGEST} bytes")
    try:
        pem = path.read_bytes()
    except OSError as error:
        raise UnfitKeyError(f"not readable: {error.strerror}") from None
    return KeyFile(path, made, Key.private(pem, alg=named[2], kid=named[3]), stamp)


def _moment(text: str) -> int | None:
    with suppress(ValueError):
        return int(datetime.strptime(text, _MADE).replace(tzinfo=UTC).timestamp())
    return None


def _new_pem(alg: str) -> bytes:
    # Part of an extra, which most gateways are without.
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa  # noqa: PLC0415

    makers: dict[str, Callable[[], Any]] = {
        "RS256": lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048),
        "PS256": lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048),
        "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
        "EdDSA": ed25519.Ed25519PrivateKey.generate,
    }
    pem: bytes = makers[alg]().private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return pem
