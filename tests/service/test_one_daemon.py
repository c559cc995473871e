"""One daemon for a state directory, and who else kills on this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from oompolicy.errors import BackendError, OompolicyError
from oompolicy.service.neighbours import neighbours
from oompolicy.service.one_daemon import OneDaemon
from sources.fake_machine import write


def test_a_second_one_is_refused_with_the_first_one_s_pid(tmp_path: Path) -> None:
    first = OneDaemon(tmp_path / "state")
    first.take()
    with pytest.raises(BackendError, match=rf"another oompolicy \(pid {os.getpid()}\) is at work there"):
        OneDaemon(tmp_path / "state").take()
    OneDaemon(tmp_path / "other").take()
    first.release()
    first.release()
    OneDaemon(tmp_path / "state").take()


def test_after_a_kill_it_is_free(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom oompolicy.service.one_daemon import OneDaemon\n"
        "OneDaemon(Path(sys.argv[1])).take()\nos.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path], check=False)
    OneDaemon(tmp_path).take()


def test_where_it_cannot_be_it_is_said(tmp_path: Path) -> None:
    write(tmp_path / "file", "")
    with pytest.raises(OompolicyError, match="cannot be used"):
        OneDaemon(tmp_path / "file" / "below").take()


def test_who_else_kills_is_named_with_what_to_do(tmp_path: Path) -> None:
    for pid, comm, cmdline in (
        (10, "earlyoom", "/usr/bin/earlyoom\0-r\0"),
        (11, "python3", "/usr/bin/python3\0-u\0/usr/sbin/nohang\0--config\0x\0"),
        (12, "systemd-oomd", "/lib/systemd/systemd-oomd\0"),
        (14, "bash", "bash\0"),
    ):
        write(tmp_path / str(pid) / "comm", f"{comm}\n")
        write(tmp_path / str(pid) / "cmdline", cmdline)
    write(tmp_path / "meminfo", "")
    (tmp_path / "15").mkdir()  # gone while being read
    lines = neighbours(tmp_path)
    assert [line.split(":")[0] for line in lines] == [
        "earlyoom (pid 10) runs too",
        "nohang (pid 11) runs too",
        "systemd-oomd (pid 12) runs too",
    ]
    assert "systemctl disable --now earlyoom" in lines[0]
