"""A forked process begins with free locks, whoever held them at the fork."""

from __future__ import annotations

import os
from pathlib import Path

from gateway import Settings, TokenCreator
from gateway.keyfolder import KeyFolder, generate
from tests.support import KEY, NOW, claims, forge


def exit_code_of_child(creator: TokenCreator, token: str) -> int:
    """Verify a token in a forked process; a lock that is held for ever ends it by a signal."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            creator.verify(token, NOW)
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_the_cache_can_be_changed() -> None:
    creator = TokenCreator(token_key=KEY)
    with creator._cache._changing:
        assert exit_code_of_child(creator, forge(claims())) == 0


def test_the_folder_of_keys_is_looked_at(tmp_path: Path) -> None:
    generate(tmp_path, "EdDSA", NOW)
    creator = TokenCreator(Settings(algorithm="EdDSA", key_dir=str(tmp_path)))
    token = creator.create(uid=12)
    later = generate(tmp_path, "EdDSA", NOW)
    assert creator._own is not None
    keys = creator._own.keys
    assert isinstance(keys, KeyFolder)
    with keys._looking:
        child = os.fork()
        if child == 0:
            keys._look()
            os._exit(0 if later.key.kid in {key.kid for key in keys.ring.keys} else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert creator.decode_token(token)["uid"] == 12
