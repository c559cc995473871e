"""Which files root reads, and how it refuses the others."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from oompolicy.errors import OompolicyError
from oompolicy.trusted_file import read_trusted


@pytest.fixture
def trusted_folder() -> Iterator[Path]:
    """A folder that nobody but root can write, down from /."""
    if os.geteuid() != 0:
        pytest.skip("needs root: nobody else makes files that root trusts")
    with tempfile.TemporaryDirectory(dir="/run", prefix="oompolicy-test-") as folder:
        yield Path(folder)


def refusal(path: Path) -> str:
    with pytest.raises(OompolicyError) as caught:
        read_trusted(path)
    return str(caught.value)


def written(path: Path, mode: int = 0o644) -> Path:
    path.write_bytes(b"x" * 200_000)
    path.chmod(mode)
    return path


@pytest.mark.root
def test_root_reads_what_only_root_can_write(trusted_folder: Path) -> None:
    path = written(trusted_folder / "file")
    assert read_trusted(path) == b"x" * 200_000


@pytest.mark.root
@pytest.mark.parametrize(("mode", "who"), [(0o664, "its group"), (0o646, "everybody")])
def test_root_refuses_a_file_others_can_write(trusted_folder: Path, mode: int, who: str) -> None:
    path = written(trusted_folder / "file", mode)
    assert refusal(path) == (f"{path}: can be written by {who}: root would obey what they write: chmod go-w {path}")


@pytest.mark.root
def test_root_refuses_a_file_of_somebody_else(trusted_folder: Path) -> None:
    path = written(trusted_folder / "file")
    os.chown(path, 1000, 0)
    assert "belongs to uid 1000" in refusal(path)


@pytest.mark.root
def test_root_refuses_a_file_below_a_folder_others_can_write(trusted_folder: Path) -> None:
    (trusted_folder / "open" / "closed").mkdir(parents=True)
    path = written(trusted_folder / "open" / "closed" / "file")
    read_trusted(path)
    (trusted_folder / "open").chmod(0o777)
    assert f"its folder {trusted_folder}/open can be written by everybody" in refusal(path)


@pytest.mark.root
def test_root_refuses_a_sticky_folder_like_tmp(trusted_folder: Path) -> None:
    trusted_folder.chmod(0o777 | stat.S_ISVTX)
    assert "move the file, to /etc/oompolicy" in refusal(written(trusted_folder / "file"))


@pytest.mark.root
def test_root_looks_behind_a_symbolic_link(trusted_folder: Path, tmp_path: Path) -> None:
    link = trusted_folder / "link"
    link.symlink_to(written(tmp_path / "file"))
    assert "its folder /tmp can be written by everybody" in refusal(link)


@pytest.mark.root
def test_root_refuses_a_link_that_others_can_turn(trusted_folder: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(written(trusted_folder / "file"))
    assert "its folder" in refusal(link)


@pytest.mark.root
def test_what_is_checked_is_what_was_opened(trusted_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(trusted_folder / "file")
    bad = written(trusted_folder / "bad", 0o666)
    opened = os.open

    def swapped_after_the_open(name: str | Path, flags: int) -> int:
        fd = opened(name, flags)
        if Path(name) == path:
            os.replace(bad, path)
        return fd

    monkeypatch.setattr("os.open", swapped_after_the_open)
    assert read_trusted(path) == b"x" * 200_000


def test_others_read_their_own_files_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    path = written(tmp_path / "file", 0o666)
    assert read_trusted(path) == b"x" * 200_000


def test_what_cannot_be_read_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for path, why in [(tmp_path / "none", "no such file"), (tmp_path, "is a folder"), (fifo, "not a regular file")]:
        with pytest.raises(OompolicyError, match=why):
            read_trusted(path)
