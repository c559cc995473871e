"""`oompolicy restore`: what it says when there is nothing to do, and who may not. At work: tests/backends."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from conftest import Run


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_nothing_was_left(run_command: Run, trusted_folder: Path) -> None:
    done = run_command("restore", "--state-dir", trusted_folder / "state")
    assert (done.status, done.out) == (0, "there is nothing to put back\n")


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_without_root_the_state_is_out_of_reach(run_command: Run, trusted_folder: Path) -> None:
    done = run_command(
        "restore", "--state-dir", trusted_folder / "state", prefix=("setpriv", "--reuid=65534", "--clear-groups")
    )
    assert done.status == 1
    assert "run as root, or name another state_dir" in done.err


def test_a_state_of_another_version_is_not_guessed_at(run_command: Run, trusted_folder: Path) -> None:
    state = trusted_folder / "state"
    state.mkdir(mode=0o700)
    (state / "oom_score_adj.journal").write_text('{"journal": 99}\n')
    done = run_command("restore", "--state-dir", state)
    assert done.status == 1
    assert "restore with the version that wrote it" in done.err
