"""The data directory is its owner's."""

import stat
from pathlib import Path

import pytest

from stoa.cli.data_and_database import close_to_others


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize(("pass_through", "expected"), [(False, 0o700), (True, 0o711)])
def test_a_new_one_and_one_of_an_older_version(tmp_path: Path, pass_through: bool, expected: int) -> None:
    fresh, old = tmp_path / "a" / "fresh", tmp_path / "old"
    close_to_others(fresh, pass_through=pass_through)
    old.mkdir(mode=0o755)
    (old / "secret.key").touch()
    (old / "blobs").mkdir(mode=0o755)
    close_to_others(old, pass_through=pass_through)
    assert (mode(fresh), mode(old), mode(old / "blobs")) == (expected, expected, 0o700)


def test_a_directory_that_others_share_stays_as_it_is(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    (shared / "secret.key").touch()
    strange = tmp_path / "strange"
    strange.mkdir()
    strange.chmod(0o755)
    for directory in (shared, strange):
        before = mode(directory)
        close_to_others(directory, pass_through=False)
        assert mode(directory) == before
