"""Writing to the process that was meant, and to no other that has its pid."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from oompolicy.backends.oom_score_adj.originals import Identity
from oompolicy.backends.oom_score_adj.process import Written, may_lower, write_adj
from oompolicy.errors import BackendError


def start_ticks(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])


def adj(pid: int) -> int:
    return int(Path(f"/proc/{pid}/oom_score_adj").read_text())


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """A process of our own, which anybody may make likelier to be killed."""
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


def test_a_value_is_written(child: subprocess.Popen[bytes]) -> None:
    assert write_adj(Identity(child.pid, start_ticks(child.pid)), 321) is Written.DONE
    assert adj(child.pid) == 321


def test_a_stale_identity_of_the_same_pid_is_not_written_to(child: subprocess.Popen[bytes]) -> None:
    before = adj(child.pid)
    assert write_adj(Identity(child.pid, start_ticks(child.pid) - 1), 321) is Written.GONE
    assert adj(child.pid) == before


def test_a_process_that_has_ended_is_gone(child: subprocess.Popen[bytes]) -> None:
    identity = Identity(child.pid, start_ticks(child.pid))
    child.kill()
    child.wait()
    assert write_adj(identity, 321) is Written.GONE


def test_one_that_ends_between_check_and_write_is_gone(
    child: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    identity = Identity(child.pid, start_ticks(child.pid))
    opened = os.open

    def die_first(path: str | Path, flags: int, *args: int, **kwargs: int) -> int:
        if path == "oom_score_adj":
            child.kill()
            child.wait()
        return opened(path, flags, *args, **kwargs)

    monkeypatch.setattr("os.open", die_first)
    assert write_adj(identity, 321) is Written.GONE


def test_a_comm_with_parentheses_does_not_confuse_it(tmp_path: Path) -> None:
    odd = tmp_path / "a) S 1 (b"
    odd.symlink_to("/bin/sleep")
    with subprocess.Popen([odd, "60"]) as process:
        assert write_adj(Identity(process.pid, start_ticks(process.pid)), 5) is Written.DONE
        process.kill()


@pytest.mark.skipif(may_lower(), reason="this process may lower, so nothing is refused")
def test_lowering_without_the_capability_is_refused(child: subprocess.Popen[bytes]) -> None:
    before = adj(child.pid)
    assert write_adj(Identity(child.pid, start_ticks(child.pid)), -999) is Written.REFUSED
    assert adj(child.pid) == before


def test_trouble_of_our_own_is_not_taken_for_the_process_s(
    child: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    identity = Identity(child.pid, start_ticks(child.pid))

    def no_descriptors(*args: object, **kwargs: object) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("os.open", no_descriptors)
    with pytest.raises(BackendError, match="Too many open files"):
        write_adj(identity, 1)


@pytest.mark.parametrize(("effective", "expected"), [("000001ffffffffff", True), ("000001fffeffffff", False)])
def test_the_capability_to_lower(tmp_path: Path, effective: str, expected: bool) -> None:
    (tmp_path / "self").mkdir()
    (tmp_path / "self/status").write_text(f"Name:\tx\nCapEff:\t{effective}\n")
    assert may_lower(tmp_path) is expected
