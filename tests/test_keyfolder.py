"""A folder of keys: what may be in it, which key signs, and how a running process takes its changes."""

from __future__ import annotations

import dataclasses
import errno
import itertools
import logging
import os
import shutil
import stat
import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gateway import ConfigError, ExposedKeyWarning, KeysUnavailableError, Settings, keyfolder
from gateway.keyfolder import (
    LAG_SEC,
    LOOK_AGAIN_SEC,
    LOOK_SEC,
    FolderRing,
    KeyFile,
    KeyFolder,
    exposed_files,
    generate,
    read_folder,
    read_what_is_sound,
)
from tests.support import NOW

ALG = "EdDSA"
ACTIVATION = 600
NAMED = "not called MADE.ALG.KID.pem, as in 20261124T093000Z.ES256.5f0c9a1be2d34c77.pem"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder without keys."""
    path = tmp_path / "keys"
    path.mkdir()
    return path


@pytest.fixture
def open_umask() -> Iterator[None]:
    """Let new files have every permission that they ask for."""
    before = os.umask(0)
    yield
    os.umask(before)


def add(folder: Path, age: float = 0, alg: str = ALG) -> KeyFile:
    """Add a key, as if it was made so many seconds before `NOW`."""
    file = generate(folder, alg, NOW)
    made = int(NOW - age)
    named = datetime.fromtimestamp(made, UTC).strftime(f"%Y%m%dT%H%M%SZ.{alg}.{kid(file)}.pem")
    return dataclasses.replace(file, path=file.path.rename(folder / named), made=made)


def kid(file: KeyFile) -> str:
    return str(file.key.kid)


def read(folder: Path, alg: str = ALG, activation: int = ACTIVATION) -> FolderRing:
    return read_folder(folder, alg, activation)


def signing(ring: FolderRing, now: float) -> Path | None:
    """The file of the key that signs."""
    file = ring.signing(now)
    return None if file is None else file.path


def faults_of(folder: Path) -> list[str]:
    """What is wrong with a folder, each in one line that begins with the setting."""
    with pytest.raises(ConfigError) as caught:
        read(folder)
    assert str(caught.value).splitlines() == list(caught.value.faults)
    assert all(fault.startswith("GATEWAY_KEY_DIR") for fault in caught.value.faults)
    return [fault.removeprefix("GATEWAY_KEY_DIR: ") for fault in caught.value.faults]


class Served:
    """The keys of a folder in a process that runs, at a time that the test moves."""

    def __init__(self, folder: Path, activation: int = ACTIVATION) -> None:
        self.time = NOW
        self.changes: list[set[str]] = []
        self.keys = KeyFolder(folder, read(folder, ALG, activation), lambda: self.time, self._changed)
        self.keys.keep_up(self.time)
        self.changes.clear()

    def _changed(self) -> None:
        self.changes.append(self.kids)

    @property
    def kids(self) -> set[str]:
        """The names of all keys that verify."""
        return {str(key.kid) for key in self.keys.ring.keys}

    def wait(self, seconds: float = LOOK_SEC) -> None:
        """Let time pass until a request comes."""
        self.time += seconds
        self.keys.keep_up(self.time)

    def finds(self, file: KeyFile) -> bool:
        """Whether a token of that key can be verified."""
        return len(self.keys.candidates(kid(file), file.key.alg)) == 1


# What a folder holds


def test_a_file_says_when_its_key_was_made_and_its_algorithm_and_name(folder: Path) -> None:
    made = add(folder)
    made.path.rename(folder / "20260102T030405Z.EdDSA.my-KEY_1.pem")
    (file,) = read(folder).files
    assert file.made == 1_767_323_045
    assert (file.key.alg, file.key.kid) == ("EdDSA", "my-KEY_1")


def test_the_files_own_time_does_not_count(folder: Path) -> None:
    file = add(folder)
    os.utime(file.path, (1, 1))
    assert read(folder).files[0].made == file.made


@pytest.mark.parametrize("name", ["k", "-", "_", "a" * 64])
def test_a_name_is_1_to_64_letters_digits_dashes_and_underlines(name: str, folder: Path) -> None:
    add(folder).path.rename(folder / f"20260102T030405Z.EdDSA.{name}.pem")
    assert read(folder).files[0].key.kid == name


@pytest.mark.parametrize(
    "name",
    [
        "key.pem",
        "README",
        "20260102T030405Z.EdDSA.k1",
        "20260102T030405Z.EdDSA.k1.pem.bak",
        "20260102T030405Z.EdDSA.k1.pem\n",
        "20260102T030405Z.EdDSA.k1.PEM",
        "20260102T030405Z.EdDSA..pem",
        "20260102T030405Z.EdDSA.k.1.pem",
        "20260102T030405Z.EdDSA.k 1.pem",
        "20260102T030405Z.EdDSA.ké.pem",
        f"20260102T030405Z.EdDSA.{'a' * 65}.pem",
        "20260102T030405Z.eddsa.k1.pem",
        "20260102T030405Z.ES384.k1.pem",
        "20260102T030405Z.HS256.k1.pem",
        "20260102T030405.EdDSA.k1.pem",
        "20260102030405Z.EdDSA.k1.pem",
        "2026010T030405Z.EdDSA.k1.pem",
        "20261302T030405Z.EdDSA.k1.pem",
        "20260230T030405Z.EdDSA.k1.pem",
        "20260102T250405Z.EdDSA.k1.pem",
        "20260102T030461Z.EdDSA.k1.pem",
        "00000102T030405Z.EdDSA.k1.pem",
        "２０２６0102T030405Z.EdDSA.k1.pem",  # noqa: RUF001 - digits that Python takes for some
    ],
)
def test_a_file_of_another_name_is_refused(name: str, folder: Path) -> None:
    add(folder)
    add(folder).path.rename(folder / name)
    (fault,) = faults_of(folder)
    assert fault.endswith(f" is {NAMED}")
    assert repr(name)[1:-1] in fault


@pytest.mark.parametrize("text", ["", "hunter2", "-----BEGIN PRIVATE KEY-----\nhunter2\n"])
def test_a_file_that_holds_no_key_is_refused_and_not_shown(text: str, folder: Path) -> None:
    path = folder / "20260102T030405Z.EdDSA.k1.pem"
    path.write_text(text)
    assert faults_of(folder) == [f"{path} is no private key for EdDSA in PEM without a password"]


def test_a_key_of_another_algorithm_than_its_file_says_is_refused(folder: Path) -> None:
    path = folder / "20260102T030405Z.ES256.k1.pem"
    add(folder).path.rename(path)
    assert faults_of(folder) == [f"{path} is no private key for ES256 in PEM without a password"]


def test_a_name_that_two_files_bear_is_refused(folder: Path) -> None:
    paths = [folder / f"2026010{day}T030405Z.{alg}.k1.pem" for day, alg in ((1, "ES256"), (2, "EdDSA"))]
    add(folder, alg="ES256").path.rename(paths[0])
    add(folder).path.rename(paths[1])
    assert faults_of(folder) == [f"{paths[1]} is the key k1 a second time, after {paths[0]}"]


def test_a_file_that_cannot_be_read_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = add(folder).path

    def deny(_: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", deny)
    assert faults_of(folder) == [f"{path} is not readable: Permission denied"]


def test_every_fault_is_reported(folder: Path) -> None:
    add(folder)
    for name in ("a.pem", "b.pem", "20260102T030405Z.EdDSA.k1.pem"):
        (folder / name).touch()
    assert len(faults_of(folder)) == 3


def test_a_folder_without_keys_is_refused(folder: Path) -> None:
    assert faults_of(folder) == [f"{folder} holds no key for EdDSA; gateway keys generate makes one"]


def test_a_folder_with_keys_of_other_algorithms_alone_is_refused(folder: Path) -> None:
    add(folder, alg="ES256")
    assert faults_of(folder) == [f"{folder} holds no key for EdDSA; gateway keys generate makes one"]


def test_a_folder_that_is_not_there_is_refused(folder: Path) -> None:
    missing = folder / "missing"
    assert faults_of(missing) == [
        f"GATEWAY_KEY_DIR is {str(missing)!r}, which cannot be read: No such file or directory; it must be a"
        " folder of private keys, which gateway keys generate makes"
    ]


def test_a_file_is_no_folder(folder: Path) -> None:
    (fault,) = faults_of(add(folder).path)
    assert "cannot be read: Not a directory; it must be a folder of private keys" in fault


def test_a_dangling_link_is_a_fault_in_one_line(folder: Path) -> None:
    add(folder)
    path = folder / "20260102T030405Z.EdDSA.k1.pem"
    path.symlink_to(folder / "elsewhere.pem")
    assert faults_of(folder) == [f"{path} is not readable: No such file or directory"]


def test_a_file_larger_than_any_key_is_refused(folder: Path) -> None:
    path = add(folder).path
    with path.open("ab") as file:
        file.truncate(65537)
    assert faults_of(folder) == [f"{path} is no file of at most 65536 bytes"]


def test_a_pipe_is_refused_and_not_waited_for(folder: Path) -> None:
    path = folder / "20260102T030405Z.EdDSA.k1.pem"
    os.mkfifo(path, 0o600)
    assert faults_of(folder) == [f"{path} is no file of at most 65536 bytes"]


def test_what_is_sound_can_be_read_beside_what_is_not(folder: Path) -> None:
    file = add(folder)
    path = broken(folder)
    ring, faults = read_what_is_sound(folder, ALG, ACTIVATION)
    assert [found.path for found in ring.files] == [file.path]
    assert [fault.split(" is ")[0] for fault in faults] == [f"GATEWAY_KEY_DIR: {path}"]


def test_an_empty_folder_has_no_key_that_signs(folder: Path) -> None:
    ring, faults = read_what_is_sound(folder, ALG, ACTIVATION)
    assert (ring.signing(NOW), faults) == (None, [])


def test_a_link_to_a_key_is_a_key(folder: Path, tmp_path: Path) -> None:
    elsewhere = add(tmp_path / "elsewhere").path
    (folder / elsewhere.name).symlink_to(elsewhere)
    assert [file.path for file in read(folder).files] == [folder / elsewhere.name]


def test_folders_in_it_do_not_count(folder: Path) -> None:
    file = add(folder)
    (folder / "old").mkdir()
    add(folder / "20260102T030405Z.EdDSA.k1.pem")
    (folder / "link").symlink_to(folder / "old")
    assert [found.path for found in read(folder).files] == [file.path]


def test_hidden_files_do_not_count(folder: Path) -> None:
    file = add(folder)
    for name in (".gitignore", ".20260102T030405Z.EdDSA.k1.pem", "..data_tmp"):
        (folder / name).write_text("hunter2")
    (folder / ".dangling").symlink_to("elsewhere")
    assert [found.path for found in read(folder).files] == [file.path]


def test_nothing_of_a_key_shows_in_its_files_repr(folder: Path) -> None:
    file = add(folder)
    assert repr(file) == f"KeyFile(path={file.path!r}, made={file.made}, key={file.key!r})"
    assert str(file) == str(file.path)


# Which key signs


def test_the_keys_are_in_the_order_in_which_they_were_made(folder: Path) -> None:
    ages = (20, 500, 0, 10_000)
    files = [add(folder, age) for age in ages]
    assert [file.key.kid for file in read(folder).files] == [kid(files[n]) for n in (3, 1, 0, 2)]


def test_keys_of_one_second_are_in_the_order_of_their_names(folder: Path) -> None:
    for name in ("b", "c", "a"):
        add(folder).path.rename(folder / f"20260102T030405Z.EdDSA.{name}.pem")
    assert [file.key.kid for file in read(folder).files] == ["a", "b", "c"]


def test_the_first_key_signs_at_once(folder: Path) -> None:
    file = add(folder)
    assert signing(read(folder), NOW) == file.path


def test_the_first_key_signs_even_before_it_was_made(folder: Path) -> None:
    """As on a machine whose clock is behind."""
    file = add(folder, -7200)
    assert signing(read(folder), NOW) == file.path


@pytest.mark.parametrize(("before", "signs"), [(1, 0), (0.001, 0), (0, 1), (-1, 1)])
def test_a_further_key_signs_from_its_activation_on(before: float, signs: int, folder: Path) -> None:
    files = [add(folder, 10_000), add(folder)]
    activation = files[1].made + ACTIVATION
    assert signing(read(folder), activation - before) == files[signs].path


def test_of_several_active_keys_the_newest_signs(folder: Path) -> None:
    newest = add(folder, 601)
    add(folder, 700)
    add(folder, 900)
    add(folder, 599)
    assert signing(read(folder), NOW) == newest.path


def test_while_none_is_active_the_oldest_signs(folder: Path) -> None:
    add(folder)
    oldest = add(folder, 20)
    add(folder, 10)
    assert signing(read(folder), NOW) == oldest.path


def test_without_activation_the_newest_signs_at_once(folder: Path) -> None:
    add(folder, 1)
    newest = add(folder)
    assert signing(read(folder, activation=0), NOW) == newest.path


def test_a_key_of_another_algorithm_verifies_and_never_signs(folder: Path) -> None:
    ours, other = add(folder, 10_000), add(folder, 5_000, alg="ES256")
    ring = read(folder)
    assert signing(ring, NOW) == ours.path
    assert [key.kid for key in ring.candidates(kid(other), "ES256")] == [other.key.kid]


def test_a_key_that_is_not_yet_active_verifies(folder: Path) -> None:
    add(folder, 10_000)
    newest = add(folder)
    assert len(read(folder).candidates(kid(newest), ALG)) == 1


def test_a_key_signs_until_every_process_knows_that_the_next_one_does(folder: Path) -> None:
    files = [add(folder, age) for age in (3000, 2000, 1000)]
    ring = read(folder)
    until = [ring.signs_until(file) for file in ring.files]
    assert until == [files[1].made + ACTIVATION + LAG_SEC, files[2].made + ACTIVATION + LAG_SEC, None]


def test_nobody_can_tell_until_when_a_key_of_another_algorithm_signs(folder: Path) -> None:
    add(folder, 3000, alg="ES256")
    add(folder, 2000)
    add(folder, 1000)
    ring = read(folder)
    assert ring.signs_until(ring.files[0]) is None


# A process that runs


def test_a_new_key_is_taken_within_five_seconds(folder: Path) -> None:
    first = add(folder)
    served = Served(folder)
    second = add(folder)
    served.wait(LOOK_SEC - 0.01)
    assert served.kids == {kid(first)}
    served.wait(0.01)
    assert served.kids == {kid(first), kid(second)}
    assert LOOK_SEC == 5


def test_a_process_that_was_idle_looks_at_the_first_request(folder: Path) -> None:
    add(folder)
    served = Served(folder)
    new = add(folder)
    served.wait(100_000)
    assert kid(new) in served.kids


def test_a_process_looks_at_its_first_request_however_soon_it_comes(folder: Path) -> None:
    add(folder)
    keys = KeyFolder(folder, read(folder), lambda: NOW, lambda: None)
    new = add(folder)
    keys.keep_up(NOW)
    assert len(keys.candidates(kid(new), ALG)) == 1


def test_an_unknown_key_is_looked_for_at_once(folder: Path) -> None:
    add(folder)
    served = Served(folder)
    new = add(folder)
    served.time += LOOK_AGAIN_SEC
    assert served.finds(new)


def test_unknown_keys_are_looked_for_once_a_second_at_most(folder: Path) -> None:
    add(folder)
    served = Served(folder)
    served.time += 2
    assert served.keys.candidates("unknown", ALG) == ()
    new = add(folder)
    served.time += LOOK_AGAIN_SEC - 0.01
    assert not served.finds(new)
    served.time += 0.01
    assert served.finds(new)
    assert LOOK_AGAIN_SEC == 1


def test_a_token_that_names_no_key_has_nobody_look(folder: Path) -> None:
    add(folder)
    served = Served(folder)
    new = add(folder)
    served.time += 4
    served.keys.candidates(None, ALG)
    served.keys.candidates(None, "ES256")
    assert kid(new) not in served.kids


def test_a_known_key_has_nobody_look(folder: Path) -> None:
    first = add(folder)
    served = Served(folder)
    new = add(folder)
    served.time += 4
    assert served.finds(first)
    assert kid(new) not in served.kids


def test_a_process_whose_clock_was_put_back_goes_on_looking(folder: Path) -> None:
    add(folder)
    served = Served(folder)
    new = add(folder)
    served.wait(-3600)
    assert kid(new) in served.kids


def test_an_unknown_key_is_looked_for_after_the_clock_was_put_back(folder: Path) -> None:
    add(folder)
    served = Served(folder)
    new = add(folder)
    served.time -= 3600
    assert served.finds(new)


def test_a_new_key_signs_once_it_is_active(folder: Path) -> None:
    first = add(folder, 10_000)
    served = Served(folder)
    second = add(folder)
    served.wait()
    assert served.keys.signing_key(served.time).kid == kid(first)
    served.wait(second.made + ACTIVATION - served.time)
    assert served.keys.signing_key(served.time).kid == kid(second)


def test_a_deleted_key_is_gone(folder: Path) -> None:
    old, new = add(folder, 10_000), add(folder, 5_000)
    served = Served(folder)
    old.path.unlink()
    served.wait()
    assert served.kids == {kid(new)}
    assert not served.finds(old)


def test_whoever_asked_is_told_after_the_keys_changed(folder: Path) -> None:
    old, new = add(folder, 10_000), add(folder)
    served = Served(folder)
    old.path.unlink()
    served.wait()
    assert served.changes == [{kid(new)}]


def test_nobody_is_told_while_nothing_changes(folder: Path) -> None:
    add(folder)
    served = Served(folder)
    ring = served.keys.ring
    served.wait()
    served.keys.candidates("unknown", ALG)
    assert served.changes == []
    assert served.keys.ring is ring


def test_the_keys_can_be_asked_for_while_a_change_is_told(folder: Path) -> None:
    file = add(folder)
    found: list[int] = []
    clock = itertools.count(NOW, LOOK_SEC)
    keys = KeyFolder(
        folder,
        read(folder),
        lambda: next(clock),
        lambda: found.extend(len(keys.candidates(name, ALG)) for name in (kid(file), "unknown")),
    )
    add(folder)
    keys.keep_up(NOW)
    assert found == [1, 0]


def test_a_file_that_did_not_change_stays_the_same_key(folder: Path) -> None:
    add(folder, 10_000)
    served = Served(folder)
    before = served.keys.ring.keys
    add(folder)
    served.wait()
    assert before < served.keys.ring.keys


def test_a_file_that_was_replaced_is_another_key(folder: Path) -> None:
    path = add(folder).path
    served = Served(folder)
    (before,) = served.keys.ring.keys
    add(folder).path.replace(path)
    served.wait()
    (after,) = served.keys.ring.keys
    assert not before.verify(b"data", after.sign(b"data"))


def test_a_folder_as_kubernetes_mounts_it_is_taken_with_its_changes(folder: Path, tmp_path: Path) -> None:
    """The files are links through `..data`, which is a link too, and the one that changes."""

    def mount(version: str, *files: KeyFile) -> None:
        (folder / f"..{version}").mkdir()
        for file in files:
            shutil.copy(file.path, folder / f"..{version}" / file.path.name)
        (folder / "..data_tmp").symlink_to(f"..{version}")
        (folder / "..data_tmp").rename(folder / "..data")
        for file in files:
            if not (folder / file.path.name).is_symlink():
                (folder / file.path.name).symlink_to(f"..data/{file.path.name}")

    old, new = add(tmp_path / "secret", 10_000), add(tmp_path / "secret")
    mount("2026_01", old)
    served = Served(folder)
    assert served.kids == {kid(old)}
    mount("2026_02", old, new)
    shutil.rmtree(folder / "..2026_01")
    served.wait()
    assert served.kids == {kid(old), kid(new)}


# A folder that is broken while a process runs


@pytest.fixture
def served(folder: Path, caplog: pytest.LogCaptureFixture) -> Served:
    """A process that serves with two keys."""
    caplog.set_level(logging.WARNING, "gateway")
    add(folder, 10_000)
    add(folder, 5_000)
    return Served(folder)


def broken(folder: Path) -> Path:
    """Add a file that is no key."""
    path = folder / "20260102T030405Z.EdDSA.k1.pem"
    path.write_text("hunter2")
    path.chmod(0o600)
    return path


def reports(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was reported, after a look at that all of it is an error of this package."""
    assert {(record.name, record.levelname) for record in caplog.records} <= {("gateway", "ERROR")}
    return [record.getMessage() for record in caplog.records]


def test_a_broken_file_is_no_key_and_leaves_those_of_before_as_they_are(folder: Path, served: Served) -> None:
    before = served.keys.ring
    broken(folder)
    served.wait()
    assert served.keys.ring is before
    assert served.changes == []


def test_a_broken_file_does_not_keep_others_from_coming_and_going(folder: Path, served: Served) -> None:
    gone, stays = served.keys.ring.files
    new = add(folder)
    broken(folder)
    gone.path.unlink()
    served.wait()
    assert served.kids == {kid(stays), kid(new)}


def test_a_key_whose_file_broke_stays_until_the_file_is_gone(folder: Path, served: Served) -> None:
    first, second = served.keys.ring.files
    first.path.write_text("hunter2")
    served.wait()
    assert first.key in served.keys.ring.keys
    first.path.unlink()
    served.wait()
    assert served.kids == {kid(second)}


def test_a_key_whose_file_broke_is_said_to_stay(
    folder: Path, served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    first = served.keys.ring.files[0]
    first.path.write_text("hunter2")
    served.wait()
    (report,) = reports(caplog)
    assert report.endswith("in PEM without a password; the key of before stays")


def test_a_file_that_could_not_be_read_is_tried_again(
    folder: Path, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For want of a file descriptor, for one; nothing about the file has changed when it can."""

    def fails(path: Path) -> bytes:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    new = add(folder)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", fails)
        served.wait()
    served.wait()
    assert served.finds(new)


def test_an_entry_that_leads_in_circles_keeps_no_key_from_going(folder: Path, served: Served) -> None:
    gone, stays = served.keys.ring.files
    (folder / "circle.pem").symlink_to(folder / "circle.pem")
    gone.path.unlink()
    served.wait()
    assert served.kids == {kid(stays)}


def test_a_key_whose_link_leads_nowhere_any_more_is_gone(folder: Path, tmp_path: Path) -> None:
    add(folder)
    linked = add(folder)
    target = linked.path.rename(tmp_path / "target.pem")
    linked.path.symlink_to(target)
    served = Served(folder)
    target.unlink()
    served.wait()
    assert not served.finds(linked)


def test_a_process_started_anew_believes_no_key_that_is_gone_since(folder: Path) -> None:
    """Not even where no other can be read: what was retired stays so."""
    gone = add(folder)
    at_the_start = read(folder)
    broken(folder)
    gone.path.unlink()
    keys = KeyFolder(folder, at_the_start, lambda: NOW, lambda: None)
    with pytest.raises(KeysUnavailableError):
        keys.candidates(kid(gone), ALG)
    with pytest.raises(KeysUnavailableError):
        keys.signing_key(NOW)


def test_a_process_started_anew_has_no_keys_while_it_cannot_see_the_folder(folder: Path) -> None:
    file = add(folder)
    at_the_start = read(folder)
    time = [NOW]
    keys = KeyFolder(folder, at_the_start, lambda: time[0], lambda: None)
    away = folder.rename(folder.with_name("away"))
    with pytest.raises(KeysUnavailableError):
        keys.candidates(kid(file), ALG)
    away.rename(folder)
    time[0] += LOOK_AGAIN_SEC
    assert keys.candidates(kid(file), ALG)


def test_no_thread_is_without_keys_while_another_looks_for_the_first_time(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = add(folder)
    keys = KeyFolder(folder, read(folder), lambda: NOW, lambda: None)
    looking, go_on = threading.Event(), threading.Event()
    survey = keyfolder._survey

    def slow(*arguments: Any) -> Any:
        looking.set()
        assert go_on.wait(10)
        return survey(*arguments)

    monkeypatch.setattr(keyfolder, "_survey", slow)
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(keys.keep_up, NOW)
        assert looking.wait(10)
        others = [pool.submit(keys.candidates, kid(file), ALG) for _ in range(2)]
        go_on.set()
        assert [len(other.result(10)) for other in others] == [1, 1]
        first.result(10)


def test_a_key_whose_file_broke_is_replaced_by_what_it_holds_then(folder: Path, served: Served) -> None:
    first = served.keys.ring.files[0]
    first.path.write_text("hunter2")
    served.wait()
    add(folder).path.replace(first.path)
    served.wait()
    assert served.finds(first)
    assert first.key not in served.keys.ring.keys


def test_a_second_file_of_a_name_is_reported_and_not_taken(
    folder: Path, served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    first = served.keys.ring.files[0]
    path = folder / f"20280101T030405Z.ES256.{kid(first)}.pem"
    generate(folder.with_name("elsewhere"), "ES256", NOW).path.rename(path)
    served.wait()
    assert served.changes == []
    assert reports(caplog) == [
        f"GATEWAY_KEY_DIR: {path} is the key {kid(first)} a second time, after {first}"
    ]


def test_a_broken_file_is_reported_once(
    folder: Path, served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    path = broken(folder)
    for _ in range(3):
        served.wait()
    assert reports(caplog) == [
        f"GATEWAY_KEY_DIR: {path} is no private key for EdDSA in PEM without a password"
    ]


def test_another_fault_is_reported_too(
    folder: Path, served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    broken(folder)
    served.wait()
    (folder / "a.pem").touch(0o600)
    served.wait()
    assert len(reports(caplog)) == 2
    assert "a.pem" in reports(caplog)[1]


@pytest.mark.parametrize("repaired", [True, False])
def test_a_broken_file_that_was_mended_and_broke_again_is_reported_again(
    repaired: bool, folder: Path, served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    path = broken(folder)
    served.wait()
    if repaired:
        add(folder).path.replace(path)
    else:
        path.unlink()
    served.wait()
    broken(folder)
    served.wait()
    assert len(reports(caplog)) == 2


def test_a_repaired_file_is_taken(folder: Path, served: Served) -> None:
    path = broken(folder)
    served.wait()
    add(folder).path.replace(path)
    served.wait()
    assert "k1" in served.kids


def test_a_broken_file_is_not_looked_at_for_an_unknown_key_more_than_once_a_second(
    folder: Path, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken(folder)
    served.wait()
    monkeypatch.setattr("gateway.keyfolder.os.scandir", None)  # nobody calls it
    served.time += LOOK_AGAIN_SEC - 0.01
    assert served.keys.candidates("unknown", ALG) == ()


def test_an_emptied_folder_leaves_the_keys_as_they_are(
    folder: Path, served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    before = served.kids
    for path in folder.iterdir():
        path.unlink()
    served.wait()
    assert served.kids == before
    assert "holds no key for EdDSA" in reports(caplog)[0]


def test_a_removed_folder_leaves_the_keys_as_they_are(
    folder: Path, served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    before = served.kids
    shutil.rmtree(folder)
    for _ in range(3):
        served.wait()
    assert served.kids == before
    (report,) = reports(caplog)
    assert "cannot be read: No such file or directory" in report


def test_a_folder_that_is_back_is_taken(folder: Path, served: Served) -> None:
    aside = folder.rename(folder.with_name("aside"))
    served.wait()
    new = add(aside)
    aside.rename(folder)
    served.wait()
    assert kid(new) in served.kids


def test_a_dangling_link_leaves_the_keys_as_they_are(
    folder: Path, served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    before = served.keys.ring
    (folder / "20260102T030405Z.EdDSA.k1.pem").symlink_to("elsewhere")
    served.wait()
    served.wait()
    assert served.keys.ring is before
    assert len(reports(caplog)) == 1


# Files that others may read


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620, 0o601])
def test_a_file_that_others_may_open_is_named(mode: int, folder: Path) -> None:
    add(folder)
    path = add(folder).path
    path.chmod(mode)
    assert list(exposed_files(folder)) == [
        f"{path} is a private key that others on this machine may read; chmod 600 {path}"
    ]


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700])
def test_a_file_of_its_owner_alone_is_not_named(mode: int, folder: Path) -> None:
    add(folder).path.chmod(mode)
    assert list(exposed_files(folder)) == []


@pytest.mark.parametrize("mode", [0o777, 0o720, 0o702])
def test_a_folder_in_which_others_may_put_a_key_is_named(mode: int, folder: Path) -> None:
    add(folder)
    folder.chmod(mode)
    assert list(exposed_files(folder)) == [
        f"{folder} is a folder of keys in which others may put one; chmod 700 {folder}"
    ]


def test_settings_warn_of_each_file_that_others_may_open(folder: Path) -> None:
    paths = sorted(add(folder).path for _ in range(2))
    for path in paths:
        path.chmod(0o644)
    with pytest.warns(ExposedKeyWarning, match="chmod 600") as warned:
        Settings(algorithm=ALG, key_dir=str(folder))
    assert [str(warning.message).split()[0] for warning in warned] == list(map(str, paths))


def test_settings_do_not_warn_of_files_of_their_owner_alone(folder: Path) -> None:
    add(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Settings(algorithm=ALG, key_dir=str(folder))


def test_a_new_file_that_others_may_open_is_taken_and_warned_of_once(
    folder: Path, served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    new = add(folder)
    new.path.chmod(0o644)
    served.wait()
    add(folder)
    served.wait()
    assert kid(new) in served.kids
    assert [(record.name, record.levelname) for record in caplog.records] == [("gateway", "WARNING")]
    assert caplog.messages == [
        f"{new.path} is a private key that others on this machine may read; chmod 600 {new.path}"
    ]


def test_a_file_that_was_warned_of_at_the_start_is_not_again(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    add(folder).path.chmod(0o644)
    served = Served(folder)
    add(folder)
    served.wait()
    assert len(served.changes) == 1
    assert caplog.messages == []


# New keys


@pytest.mark.parametrize("alg", ["ES256", "EdDSA", "PS256"])
def test_a_new_key_is_in_the_folder_as_it_is_returned(alg: str, folder: Path) -> None:
    made = generate(folder, alg, NOW)
    (found,) = read(folder, alg).files
    assert (found.path, found.made, found.key.kid) == (made.path, made.made, made.key.kid)
    assert found.key.verify(b"data", made.key.sign(b"data"))


def test_a_new_key_is_named_by_the_second_in_which_it_was_made(folder: Path) -> None:
    file = generate(folder, "ES256", 1_767_323_045.999)
    assert file.path.name == f"20260102T030405Z.ES256.{kid(file)}.pem"
    assert file.made == 1_767_323_045


@pytest.mark.parametrize("alg", ["EdDSA", "ES256"])
def test_a_new_key_is_newer_than_those_of_the_same_second(alg: str, folder: Path) -> None:
    add(folder, 0, alg)
    add(folder, -1, alg)
    assert [generate(folder, ALG, NOW).made for _ in range(2)] == [int(NOW) + 2, int(NOW) + 3]


@pytest.mark.parametrize("age", [1, -1, -100_000])
def test_a_key_of_another_second_does_not_change_when_a_new_one_was_made(age: int, folder: Path) -> None:
    add(folder, age)
    assert generate(folder, ALG, NOW).made == int(NOW)


def test_new_keys_have_names_of_their_own(folder: Path) -> None:
    assert len({kid(add(folder)) for _ in range(5)}) == 5


@pytest.mark.usefixtures("open_umask")
def test_a_new_key_is_for_its_owner_alone(folder: Path) -> None:
    assert stat.S_IMODE(add(folder).path.stat().st_mode) == 0o600


@pytest.mark.usefixtures("open_umask")
def test_a_folder_that_is_missing_is_made_for_its_owner_alone(folder: Path) -> None:
    add(folder / "a" / "b")
    assert stat.S_IMODE((folder / "a" / "b").stat().st_mode) == 0o700


def test_a_new_key_leaves_no_other_file_behind(folder: Path) -> None:
    file = add(folder)
    assert [path.name for path in folder.iterdir()] == [file.path.name]


def test_a_new_key_appears_when_it_is_whole(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda _: seen.extend(path.name for path in folder.iterdir()))
    add(folder)
    assert len(seen) == 1
    assert seen[0].startswith(".")


@pytest.mark.parametrize("fails", ["os.fsync", "pathlib.Path.rename"])
def test_a_new_key_that_cannot_be_written_leaves_nothing_behind(
    fails: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(fails, full)
    with pytest.raises(OSError, match="No space left"):
        add(folder)
    assert list(folder.iterdir()) == []


def test_a_folder_whose_name_is_a_files_is_an_error(folder: Path) -> None:
    with pytest.raises(FileExistsError):
        generate(add(folder).path, ALG, NOW)


# Many threads


def test_many_threads_always_find_a_key_that_stays_while_others_come_and_go(folder: Path) -> None:
    stays = add(folder, 10_000)
    clock = itertools.count(NOW, LOOK_AGAIN_SEC)  # so that every look is due
    keys = KeyFolder(folder, read(folder), lambda: next(clock), lambda: None)
    done = threading.Event()
    faults: list[object] = []

    def serve() -> None:
        try:
            while not done.is_set():
                keys.keep_up(next(clock))
                keys.candidates("unknown", ALG)
                if len(keys.candidates(kid(stays), ALG)) != 1 or keys.signing_key(NOW).kid != kid(stays):
                    faults.append("the key that stays was gone")
        except Exception as error:  # noqa: BLE001 - it would be lost in its thread
            faults.append(error)

    threads = [threading.Thread(target=serve) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(5):
        files = [add(folder) for _ in range(2)]
        broken(folder).unlink()
        for file in files:
            file.path.unlink()
    new = add(folder)
    done.set()
    for thread in threads:
        thread.join()
    assert faults == []
    keys.keep_up(next(clock) + LOOK_SEC)
    assert {key.kid for key in keys.ring.keys} == {kid(stays), kid(new)}
