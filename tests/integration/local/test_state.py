"""One run on one folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sealwax.local.state import AlreadyRunning, StateFolderUnsafe, StateLock


def test_a_second_run_on_one_folder_is_refused_by_the_first_ones_process(tmp_path: Path):
    with StateLock(tmp_path), pytest.raises(AlreadyRunning, match=str(os.getpid())):
        StateLock(tmp_path)
    StateLock(tmp_path).close()


def modes(folder: Path) -> dict[str, int]:
    return {
        str(path.relative_to(folder)): path.stat().st_mode & 0o777 for path in folder.rglob("*")
    }


def test_a_new_folder_is_its_owners_alone_whatever_the_umask(tmp_path: Path):
    former = os.umask(0)
    try:
        StateLock(tmp_path / "state").close()
    finally:
        os.umask(former)
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
    assert modes(tmp_path / "state") == {"lock": 0o600}


@pytest.mark.parametrize("mode", [0o777, 0o755, 0o770, 0o705, 0o2775])
def test_a_folder_that_others_could_read_is_tightened(tmp_path: Path, mode: int):
    state = tmp_path / "state"
    (state / "aws/s3/bucket").mkdir(parents=True)
    (state / "logs").mkdir()
    for name in ("env", "lock", "aws/s3/bucket/payload", "logs/api.log"):
        (state / name).write_text("clear")
        (state / name).chmod(0o666)
    (state / "aws/s3").chmod(mode)
    state.chmod(mode)
    # Not ours: what else stands in a folder that was named, and what links lead to.
    (state / "mine").write_text("")
    (state / "mine").chmod(0o644)
    (tmp_path / "elsewhere").write_text("")
    (tmp_path / "elsewhere").chmod(0o644)
    (state / "logs/link").symlink_to(tmp_path / "elsewhere")
    StateLock(state).close()
    assert state.stat().st_mode & 0o777 == 0o700
    found = modes(state)
    assert found.pop("mine") == found.pop("logs/link") == 0o644
    assert {mode & 0o077 for mode in found.values()} == {0}
    assert found["aws/s3/bucket/payload"] == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
@pytest.mark.parametrize("what", ["folder", "link"])
def test_another_users_folder_is_refused(tmp_path: Path, what: str):
    state = tmp_path / "state"
    if what == "folder":
        state.mkdir()
    else:
        (tmp_path / "mine").mkdir()
        state.symlink_to(tmp_path / "mine")
    os.chown(state, 65_534, -1, follow_symlinks=False)
    with pytest.raises(StateFolderUnsafe, match="another user"):
        StateLock(state)
    assert list(state.iterdir()) == []
