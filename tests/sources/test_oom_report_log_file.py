"""Logs as files: compressed, piped, missing, damaged."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import threading
from pathlib import Path

import pytest

from oom_logs import as_log, global_report, reports_of
from oompolicy.errors import SourceError
from oompolicy.sources.oom_report import LogFile, read_reports

LOG = as_log(global_report())


@pytest.mark.parametrize("compress", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_compression_is_told_by_the_magic_number(compress: object, tmp_path: Path) -> None:
    assert callable(compress)
    (tmp_path / "log").write_bytes(compress(LOG))
    log = LogFile(str(tmp_path / "log"))
    assert log.size_bytes == len(compress(LOG))
    assert list(read_reports(log.blocks())) == reports_of(LOG)
    assert log.damage is None


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_a_stream_that_is_cut_yields_what_it_has(compress: object, tmp_path: Path) -> None:
    assert callable(compress)
    noise = os.urandom(1 << 20).hex().encode()  # more than one block of any of them
    (tmp_path / "log").write_bytes(compress(LOG + noise)[:-100_000])
    log = LogFile(str(tmp_path / "log"))
    assert list(read_reports(log.blocks())) == reports_of(LOG)
    assert log.damage is not None
    assert "damaged" in log.damage


def test_several_gzip_files_in_one(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(gzip.compress(LOG[:500]) + gzip.compress(LOG[500:]))
    assert list(read_reports(LogFile(str(tmp_path / "log")).blocks())) == reports_of(LOG)


def test_a_pipe_is_read_as_it_comes(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(LOG,))
    writer.start()
    log = LogFile(str(tmp_path / "pipe"))
    assert log.size_bytes is None
    assert list(read_reports(log.blocks())) == reports_of(LOG)
    writer.join()


@pytest.mark.parametrize(("name", "why"), [("none", "No such file"), (".", "directory")])
def test_what_cannot_be_opened_says_why(name: str, why: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=why):
        list(LogFile(str(tmp_path / name)).blocks())


def test_a_kind_of_compression_python_lacks_names_the_program(tmp_path: Path) -> None:
    try:
        import compression.zstd  # type: ignore[import-not-found]  # noqa: F401
    except ImportError:
        pass
    else:
        pytest.skip("this Python reads zstd")
    (tmp_path / "log").write_bytes(b"\x28\xb5\x2f\xfd and so on")
    with pytest.raises(SourceError, match="zstdcat"):
        list(LogFile(str(tmp_path / "log")).blocks())
