"""The `gateway keys` commands, at one moment, in a working directory and an environment of their own."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from gateway.keyfolder import LAG_SEC, KeyFile, read_folder
from tests.support import MINUTE, NOW
from tests.test_audit import logger as logger  # noqa: PLC0414 - a fixture
from tests.test_cli import fail, run, succeed, unsound, warnings_of
from tests.test_keyfolder import add as add_to
from tests.test_keyfolder import kid

ALG = "EdDSA"
FOLDER = Path("keys")
ACTIVATION = 600
LIFETIME = 30 * MINUTE
COMMANDS = [["generate"], ["list"], ["rotate"], ["retire", "k1"]]


@pytest.fixture(autouse=True)
def _environ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the working directory empty, stop the clock, and name a folder and its algorithm alone."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    monkeypatch.setenv("GATEWAY_KEY_DIR", str(FOLDER))
    monkeypatch.setenv("GATEWAY_ALGORITHM", ALG)
    monkeypatch.setattr("gateway.cli_keys.time", SimpleNamespace(time=lambda: NOW))


def add(age: int = 0, alg: str = ALG) -> KeyFile:
    """Add a key, as if it was made so many seconds ago."""
    return add_to(FOLDER, age, alg)


def held() -> list[str]:
    """The names of the files in the folder."""
    return sorted(path.name for path in FOLDER.iterdir())


def new_of(before: list[KeyFile]) -> Path:
    """The one file that was not there before."""
    (path,) = set(FOLDER.iterdir()) - {file.path for file in before}
    return path


def moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def test_the_commands_are_in_the_help() -> None:
    assert "\n  keys " in succeed("--help")
    assert all(
        f"\n  {name} " in succeed("keys", "--help") for name in ("generate", "list", "retire", "rotate")
    )


# Settings


@pytest.mark.parametrize("command", COMMANDS)
def test_a_folder_must_be_named(command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GATEWAY_KEY_DIR")
    assert unsound("keys", *command) == [
        "GATEWAY_KEY_DIR is not set; it must be the folder of the private keys"
    ]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("alg", ["HS256", "HS512"])
def test_the_algorithm_must_have_keys_in_a_folder(
    alg: str, command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEWAY_ALGORITHM", alg)
    assert unsound("keys", *command) == [
        f"GATEWAY_ALGORITHM is '{alg}', which has no key in a folder;"
        " it must be one of RS256, PS256, ES256, EdDSA"
    ]
    assert not FOLDER.exists()


def test_the_algorithm_must_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GATEWAY_ALGORITHM")
    (fault,) = unsound("keys", "generate")
    assert fault.startswith("GATEWAY_ALGORITHM is 'HS256', which has no key in a folder")


@pytest.mark.parametrize("command", COMMANDS)
def test_the_extra_must_be_installed(command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.extras.find_spec", lambda module: None)
    assert unsound("keys", *command) == [
        "GATEWAY_ALGORITHM is 'EdDSA', which needs the extra crypto: pip install 'wsgi-auth-gateway[crypto]'"
    ]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("GATEWAY_ALGORITHM", "ES384"),
        ("GATEWAY_KEY_ACTIVATION_SEC", "soon"),
        ("EXP_TIME_MIN", "0"),
        ("GATEWAY_LEEWAY_SEC", "301"),
    ],
)
def test_a_setting_that_counts_for_keys_must_be_sound(
    variable: str, text: str, command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = add()
    monkeypatch.setenv(variable, text)
    (fault,) = unsound("keys", *command)
    assert fault.startswith(f"{variable} is {text!r}; it must be ")
    assert held() == [file.path.name]


def test_every_such_setting_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    add()
    monkeypatch.setenv("EXP_TIME_MIN", "soon")
    monkeypatch.setenv("GATEWAY_LEEWAY_SEC", "long")
    monkeypatch.setenv("PORT", "many")
    assert [fault.split()[0] for fault in unsound("keys", "list")] == ["EXP_TIME_MIN", "GATEWAY_LEEWAY_SEC"]


def test_no_other_setting_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN_KEY", "hunter2")
    monkeypatch.setenv("PORT", "many")
    monkeypatch.setenv("GATEWAY_PREVIOUS_KEYS", "hunter2")
    monkeypatch.setenv("GATEWAY_POLICY_FILE", "missing.toml")
    succeed("keys", "generate")
    assert len(succeed("keys", "list").splitlines()) == 1


def test_the_settings_file_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GATEWAY_KEY_DIR")
    Path("config.env").write_text("GATEWAY_KEY_DIR=others\n")
    succeed("keys", "generate")
    assert len(list(Path("others").iterdir())) == 1


def test_a_settings_file_that_cannot_be_read_is_a_fault() -> None:
    Path("config.env").write_text("GATEWAY_KEY_ACTIVATION_SEC='60\n")
    assert unsound("keys", "generate") == [
        "config.env, line 1: cannot be parsed; it must be NAME=value, each quote closed"
    ]
    assert not FOLDER.exists()


# gateway keys generate


def test_generate_makes_the_first_key_which_signs_at_once() -> None:
    printed = succeed("keys", "generate")
    (file,) = read_folder(FOLDER, ALG, ACTIVATION).files
    assert printed == f"{file} written: keep it secret\n{kid(file)} signs at once\n"


def test_generate_makes_a_further_key_which_signs_later() -> None:
    before = [add(100)]
    printed = succeed("keys", "generate")
    assert printed.endswith(f" signs from {moment(int(NOW) + ACTIVATION)}\n")
    assert new_of(before).name.startswith("20270115T080000Z.EdDSA.")


def test_generate_makes_a_further_key_which_signs_at_once_without_activation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GATEWAY_KEY_ACTIVATION_SEC", "0")
    add(100)
    assert succeed("keys", "generate").endswith(" signs at once\n")


@pytest.mark.parametrize("alg", ["ES256", "RS256"])
def test_generate_makes_a_key_of_the_configured_algorithm(alg: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_ALGORITHM", alg)
    succeed("keys", "generate")
    assert [file.key.alg for file in read_folder(FOLDER, alg, ACTIVATION).files] == [alg]


def test_generate_makes_the_first_key_of_another_algorithm() -> None:
    before = [add(100, "ES256")]
    assert succeed("keys", "generate").endswith(" signs at once\n")
    assert ".EdDSA." in new_of(before).name


def test_generate_shows_nothing_of_the_key() -> None:
    printed = succeed("keys", "generate")
    (file,) = read_folder(FOLDER, ALG, ACTIVATION).files
    assert not any(line in printed for line in file.path.read_text().splitlines())


def test_generate_says_why_it_cannot_write() -> None:
    FOLDER.touch()
    assert unsound("keys", "generate") == [
        "keys cannot be written: File exists; it must be a folder of yours"
    ]


def test_generate_leaves_nothing_where_the_disk_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    assert unsound("keys", "generate") == [
        "keys cannot be written: No space left on device; it must be a folder of yours"
    ]
    assert held() == []


# gateway keys list


def listed() -> list[str]:
    return succeed("keys", "list").splitlines()


def test_list_shows_each_key_in_a_line() -> None:
    file = add(100)
    assert listed() == [f"{kid(file)}  EdDSA  made {moment(file.made)}  signs"]


def test_list_shows_the_oldest_first() -> None:
    files = [add(age) for age in (100, 5000, 700)]
    assert [line.split()[0] for line in listed()] == [kid(files[n]) for n in (1, 2, 0)]


def test_list_shows_a_key_that_is_to_sign() -> None:
    add(5000)
    new = add(100)
    assert listed()[1].endswith(f"  verifies, and signs from {moment(new.made + ACTIVATION)}")


def test_list_shows_a_key_of_which_tokens_may_be_alive() -> None:
    add(5000)
    new = add(1000)
    until = moment(new.made + ACTIVATION + LAG_SEC + LIFETIME)
    assert [line.split("UTC  ")[1] for line in listed()] == [f"verifies until {until}", "signs"]


def test_list_shows_a_key_of_which_no_token_is_alive() -> None:
    add(10_000)
    add(5000)
    assert [line.split("UTC  ")[1] for line in listed()] == ["verifies; can be retired", "signs"]


def test_list_shows_a_key_of_another_algorithm() -> None:
    other = add(10_000, "ES256")
    add(5000)
    assert listed()[0] == f"{kid(other)}  ES256  made {moment(other.made)}  verifies"


def test_list_shows_which_key_signs_while_none_is_active() -> None:
    add(100)
    add(50)
    assert [line.split("UTC  ")[1].split(" from")[0] for line in listed()] == [
        "signs",
        "verifies, and signs",
    ]


def misnamed() -> str:
    (FOLDER / "key.pem").touch(0o600)
    return "GATEWAY_KEY_DIR: keys/key.pem is not called MADE.ALG.KID.pem, as in "


def broken() -> str:
    path = FOLDER / "20260102T030405Z.EdDSA.k1.pem"
    path.touch(0o600)
    return f"GATEWAY_KEY_DIR: {path} is no private key for EdDSA in PEM without a password"


def exposed() -> str:
    path = min(FOLDER.iterdir())
    path.chmod(0o644)
    return f"{path} is a private key that others on this machine may read; chmod 600 {path}"


def open_to_all() -> str:
    FOLDER.chmod(0o777)
    return "keys is a folder of keys in which others may put one; chmod 700 keys"


@pytest.mark.parametrize("spoil", [misnamed, broken, exposed, open_to_all])
@pytest.mark.parametrize("command", ["generate", "list", "rotate", "retire"])
def test_what_is_wrong_in_a_folder_is_warned_of_and_keeps_no_command_from_acting(
    command: str, spoil: Callable[[], str]
) -> None:
    old = add(10_000)
    add(5000)
    arguments = [command, kid(old)] if command == "retire" else [command]
    line = spoil()
    (warning,) = warnings_of("keys", *arguments)
    assert warning.startswith(line)
    assert old.path.exists() is (command in {"generate", "list"})


def test_a_folder_that_is_not_there_is_a_fault_of_those_who_read_it() -> None:
    for command in (["list"], ["retire", "k1"], ["retire", "k1", "--force"]):
        (fault,) = unsound("keys", *command)
        assert fault.startswith(
            "GATEWAY_KEY_DIR is 'keys', which cannot be read: No such file or directory; "
        )


def test_an_empty_folder_has_nothing_to_list() -> None:
    FOLDER.mkdir()
    assert listed() == []


def test_an_empty_folder_has_nothing_to_retire() -> None:
    FOLDER.mkdir()
    assert fail("keys", "retire", "k1") == [
        "keys holds no key 'k1'; it holds none; gateway keys generate makes one"
    ]


# gateway keys rotate


def test_rotate_makes_a_key() -> None:
    before = [add(5000)]
    printed = succeed("keys", "rotate")
    path = new_of(before)
    name = path.name.split(".")[2]
    assert printed == (f"{path} written: keep it secret\n{name} signs from {moment(int(NOW) + ACTIVATION)}\n")


@pytest.mark.parametrize("there", [True, False])
def test_rotate_makes_the_first_key(there: bool) -> None:
    if there:
        FOLDER.mkdir()
    assert succeed("keys", "rotate").endswith(" signs at once\n")
    assert len(held()) == 1


def test_rotate_retires_the_keys_of_which_no_token_is_alive() -> None:
    old = [add(20_000), add(10_000)]
    current = add(5000)
    printed = succeed("keys", "rotate").splitlines()
    assert printed[2:] == [
        f"{file} deleted: within ten seconds no token of it is accepted any more" for file in old
    ]
    assert held()[0] == current.path.name
    assert len(held()) == 2


@pytest.mark.parametrize(("later", "left"), [(0, 2), (1, 3)])
def test_rotate_retires_a_key_when_its_last_token_expires(later: int, left: int) -> None:
    add(20_000)
    add(ACTIVATION + LAG_SEC + LIFETIME - later)
    succeed("keys", "rotate")
    assert len(held()) == left


@pytest.mark.parametrize(
    ("variable", "text"),
    [("EXP_TIME_MIN", "31"), ("GATEWAY_LEEWAY_SEC", "60"), ("GATEWAY_KEY_ACTIVATION_SEC", "660")],
)
def test_rotate_goes_by_the_settings(variable: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    add(20_000)
    add(ACTIVATION + LAG_SEC + LIFETIME + 59)
    monkeypatch.setenv(variable, text)
    succeed("keys", "rotate")
    assert len(held()) == 3


def test_rotate_leaves_a_key_of_another_algorithm() -> None:
    other = add(100_000, "ES256")
    add(5000)
    succeed("keys", "rotate")
    assert other.path.exists()


def test_rotate_never_leaves_a_folder_without_a_key_that_signs() -> None:
    before = [add(100_000)]
    for _ in range(2):
        succeed("keys", "rotate")
    assert before[0].path.exists()
    assert succeed("keys", "list").splitlines()[0].endswith(f" made {moment(before[0].made)}  signs")


def test_rotate_says_why_it_cannot_write(monkeypatch: pytest.MonkeyPatch) -> None:
    def deny(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    old = [add(20_000), add(5000)]
    monkeypatch.setattr("gateway.keyfolder.os.open", deny)
    assert unsound("keys", "rotate") == [
        "keys cannot be written: Permission denied; it must be a folder of yours"
    ]
    assert held() == sorted(file.path.name for file in old)


# gateway keys retire


def test_retire_deletes_a_key_of_which_no_token_is_alive() -> None:
    old, current = add(10_000), add(5000)
    assert succeed("keys", "retire", kid(old)) == (
        f"{old} deleted: within ten seconds no token of it is accepted any more\n"
    )
    assert held() == [current.path.name]


def test_retire_of_an_unknown_key_names_those_there_are() -> None:
    files = [add(100), add(50)]
    assert fail("keys", "retire", "k1") == [
        f"keys holds no key 'k1'; it holds {kid(files[0])}, {kid(files[1])}"
    ]


@pytest.mark.parametrize("odd", ["../keys", "", "a\nb", "*"])
def test_retire_takes_nothing_but_a_name(odd: str) -> None:
    add(10_000)
    add(5000)
    (fault,) = fail("keys", "retire", odd, "--force")
    assert fault.startswith(f"keys holds no key {odd!r}; ")
    assert len(held()) == 2


@pytest.mark.parametrize("force", [[], ["--force"]])
def test_retire_of_the_only_key_is_refused(force: list[str]) -> None:
    file = add(100_000)
    add(100, "ES256")
    assert fail("keys", "retire", kid(file), *force) == [
        f"{kid(file)} is the only key for EdDSA; gateway keys generate makes another"
    ]
    assert file.path.exists()


def test_retire_of_a_key_of_which_tokens_may_be_alive_is_refused() -> None:
    old, new = add(5000), add(1000)
    until = moment(new.made + ACTIVATION + LAG_SEC + LIFETIME)
    assert fail("keys", "retire", kid(old)) == [
        f"{kid(old)} signed tokens that live until {until};"
        " --force retires it all the same, and refuses its tokens"
    ]
    assert old.path.exists()


def test_retire_of_a_key_that_signs_until_another_is_active_is_refused() -> None:
    old, new = add(100_000), add(100)
    until = moment(new.made + ACTIVATION + LAG_SEC + LIFETIME)
    (fault,) = fail("keys", "retire", kid(old))
    assert fault.startswith(f"{kid(old)} signed tokens that live until {until}; ")


@pytest.mark.parametrize("age", [5000, 0])
def test_retire_of_the_key_that_signs_or_will_is_refused(age: int) -> None:
    add(10_000)
    newest = add(age)
    assert fail("keys", "retire", kid(newest)) == [
        f"{kid(newest)} signs, or is the next to sign;"
        " --force retires it all the same, and refuses its tokens"
    ]
    assert newest.path.exists()


def test_retire_of_a_key_of_another_algorithm_is_refused() -> None:
    other = add(100_000, "ES256")
    add(5000)
    assert fail("keys", "retire", kid(other)) == [
        f"{kid(other)} is for ES256, and nobody can tell when it last signed;"
        " --force retires it all the same, and refuses its tokens"
    ]


@pytest.mark.parametrize("which", [0, 1, 2])
def test_retire_by_force_deletes_any_key_but_the_last(which: int) -> None:
    files = [add(5000, "ES256"), add(1000), add(0)]
    succeed("keys", "retire", "--force", kid(files[which]))
    assert [file.path.exists() for file in files] == [number != which for number in range(3)]


def test_retire_says_why_it_cannot_delete(monkeypatch: pytest.MonkeyPatch) -> None:
    def deny(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    old = add(10_000)
    add(5000)
    monkeypatch.setattr(Path, "unlink", deny)
    assert unsound("keys", "retire", kid(old)) == [
        f"{old} cannot be deleted: Permission denied; run this as the user whose folder it is"
    ]


def test_retire_needs_a_name() -> None:
    assert run("keys", "retire").exit_code == 2


# The audit log


def events_of(*arguments: str) -> list[dict[str, object]]:
    """Run the command, which succeeds, and return what it logs."""
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    events = [json.loads(line) for line in result.stderr.splitlines()]
    assert all(
        (event["event"], event["code"], event["issuer"]) == ("keys", "changed", None) for event in events
    )
    return events


def test_what_is_made_and_retired_is_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_LOG_FORMAT", "json")
    old = add(age=10 * (ACTIVATION + LIFETIME))
    before = [old, add(age=5 * (ACTIVATION + LIFETIME))]
    added, removed = events_of("keys", "rotate")
    assert (added["added"], added["removed"]) == ([new_of(before).name.split(".")[2]], [])
    assert (removed["added"], removed["removed"]) == ([], [kid(old)])


def test_a_command_that_changes_no_key_logs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_LOG_FORMAT", "json")
    add()
    assert events_of("keys", "list") == []
