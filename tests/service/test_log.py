"""The log: where lines go, and that nothing in their way stops the daemon."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from oompolicy.service.log import Log

FULL = Path("/dev/full")  # writing to it fails as on a full disk


def test_a_line_is_printable_and_says_whose_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    Log()("\x1b[2J\n\udcff", victim=3)
    assert capsys.readouterr().err == "oompolicy: \\x1b[2J\\n\\udcff\n"


def said_by(code: str, stderr: int, **popen: object) -> subprocess.Popen[bytes]:
    program = f"from oompolicy.service.log import Log\nlog = Log()\n{code}"
    return subprocess.Popen([sys.executable, "-c", program], stderr=stderr, stdout=subprocess.PIPE)


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full")
def test_a_full_disk_drops_lines_and_nothing_else() -> None:
    with FULL.open("wb") as full:
        process = said_by("log('a'); log('b'); print(log.dropped)", full.fileno())
        assert process.communicate(timeout=20)[0] == b"2\n"
        assert process.returncode == 0


def test_a_reader_that_does_not_read_does_not_stop_it() -> None:
    """A pipe holds 64 KiB; what is beyond is counted, and told when there is room again."""
    reading, writing = os.pipe()
    process = said_by(
        "import sys\nfor n in range(3000): log('x' * 100)\nprint(log.dropped > 0, flush=True)\n"
        "sys.stdin.readline()\nlog('again')",
        writing,
    )
    os.close(writing)
    started = time.monotonic()
    assert process.stdout is not None
    assert process.stdout.readline() == b"True\n"
    assert time.monotonic() - started < 20
    os.read(reading, 1 << 20)
    process.communicate(timeout=20)
    os.close(reading)
    assert process.returncode == 0


def test_records_reach_journald_with_their_fields(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journald:
        journald.bind(str(path))
        with (tmp_path / "stderr").open("wb") as stderr:
            status = os.fstat(stderr.fileno())
            stream = f"{status.st_dev}:{status.st_ino}"
            code = (
                f"print(log.use_journal({str(path)!r}, {{'JOURNAL_STREAM': {stream!r}}}))\n"
                "log('killed big', priority=4, victim=7, why='a\\nb')"
            )
            process = said_by(code, stderr.fileno())
            assert process.communicate(timeout=20)[0] == b"True\n"
        record = journald.recv(65536)
    assert b"MESSAGE=killed big\nPRIORITY=4\nSYSLOG_IDENTIFIER=oompolicy\nOOMPOLICY_VICTIM=7\n" in record
    assert b"OOMPOLICY_WHY\n\x03\0\0\0\0\0\0\0a\nb\n" in record
    assert (tmp_path / "stderr").read_bytes() == b""


@pytest.mark.parametrize("stream", ["", "1:2", "nonsense"])
def test_journald_gets_nothing_where_standard_error_leads_elsewhere(stream: str) -> None:
    assert not Log().use_journal(environment={"JOURNAL_STREAM": stream})
