"""How fast and in how much memory the report parser goes through long logs.

Belongs here: making logs as they are read, and the measurement. Must not know: how a log is parsed.

Run it: `python bench/replay.py [MEGABYTES]`. Nothing is written: the logs are made a block at a time.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from oompolicy.replay import replay
from oompolicy.sources.oom_report import read_reports

MEGABYTE = 10**6
REPORT = Path(__file__).parents[1] / "tests" / "fixtures" / "oom_reports" / "6.12-global.log"
LINES_BETWEEN = 5000
QUIET = b"May  9 12:%02d:%02d db1 sshd[%d]: Accepted publickey for root from 192.0.2.%d port %d ssh2: RSA SHA256:abcd\n"


def as_syslog(report: bytes) -> bytes:
    """The report as syslog keeps it."""
    return b"".join(b"May  9 12:34:56 db1 kernel: " + line for line in report.splitlines(keepends=True))


def quiet_log(report: bytes, size_bytes: int) -> Iterator[bytes]:
    """A syslog of other things, with a report now and then."""
    made = 0
    for block in count():
        lines = b"".join(
            QUIET % (block % 60, number % 60, number, number % 255, number) for number in range(LINES_BETWEEN)
        )
        yield lines
        yield report
        made += len(lines) + len(report)
        if made >= size_bytes:
            return


def loud_log(report: bytes, size_bytes: int) -> Iterator[bytes]:
    """Nothing but reports."""
    for _ in range(size_bytes // len(report) + 1):
        yield report


def measure(name: str, log: Iterator[bytes]) -> None:
    """Read and replay one log; print what it took."""
    size_bytes = lines = 0

    def counted() -> Iterator[bytes]:
        nonlocal size_bytes, lines
        for block in log:
            size_bytes += len(block)
            lines += block.count(b"\n")
            yield block

    started = time.perf_counter()
    reports = agree = 0
    for report in read_reports(counted()):
        reports += 1
        agree += replay(report).agrees is True
    taken_s = time.perf_counter() - started
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{name:8} {size_bytes / MEGABYTE:6.0f} MB {lines:10,} lines {reports:6,} reports ({agree:,} agree) in "
        f"{taken_s:5.2f} s: {size_bytes / MEGABYTE / taken_s:6.1f} MB/s, {lines / taken_s:10,.0f} lines/s; "
        f"peak memory {peak_mib:.0f} MiB"
    )


def main() -> int:
    """Both logs, the given size or 200 MB and a tenth of it."""
    size_bytes = (int(sys.argv[1]) if len(sys.argv) > 1 else 200) * MEGABYTE
    report = as_syslog(REPORT.read_bytes())
    measure("quiet", quiet_log(report, size_bytes))
    measure("loud", loud_log(report, size_bytes // 10))
    return 0


if __name__ == "__main__":
    sys.exit(main())
