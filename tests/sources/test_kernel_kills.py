"""Whom the kernel has killed, from its log: the lines of many kernels, and a real OOM."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from oompolicy.contained_oom import scene
from oompolicy.errors import OompolicyError
from oompolicy.sources.kernel_kills import KernelKills, kills_in
from oompolicy.sources.oom_report import KilledBy, read_reports

REPORTS = Path(__file__).parent.parent / "fixtures" / "oom_reports"
SUMMARISED = [path for path in sorted(REPORTS.glob("*.log")) if b"oom-kill:constraint" in path.read_bytes()]
TIME = re.compile(rb"^\[\s*(\d+)\.(\d+)\] ?")


def as_kmsg(lines: list[bytes]) -> list[bytes]:
    records = []
    for number, line in enumerate(lines):
        found = TIME.match(line)
        assert found is not None, line
        records.append(b"4,%d,%d,-;%s\n" % (number, int(found[1] + found[2]), line[found.end() :]))
    return records


@pytest.mark.parametrize("path", SUMMARISED, ids=lambda path: path.name)
def test_the_kills_are_those_of_the_whole_report(path: Path) -> None:
    lines = [line for line in path.read_bytes().splitlines() if TIME.match(line)]
    kills = kills_in(as_kmsg(lines))
    reports = list(read_reports(lines))
    said = [kill for report in reports for kill in report.kills if kill.named_by is KilledBy.KILLED]
    assert [(each.pid, each.comm) for each in kills] == [(kill.pid, kill.comm) for kill in said]
    first = next(report for report in reports if report.killed is not None)
    assert kills[0].scope == (first.oom_memcg or "/")
    assert kills[0].cgroup == first.task_memcg


def test_a_name_may_look_like_the_rest_of_the_line() -> None:
    (kill,) = kills_in(
        [
            b"6,1,5000000,-;oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/,mems_allowed=0,global_oom,"
            b"task_memcg=/a,pid=7,task=b,task=x,pid=1,uid=2,pid=12,uid=0\n",
            b"3,2,5000010,-;Out of memory: Killed process 12 (x) total-vm:) total-vm:1kB, anon-rss:1kB\n SUBSYSTEM=x\n",
        ]
    )
    assert (kill.scope, kill.pid, kill.comm) == ("/", 12, "x) total-vm:")
    offset_ms = (time.clock_gettime_ns(time.CLOCK_BOOTTIME) - time.monotonic_ns()) // 1_000_000
    assert abs(kill.at_ms - 5000 - offset_ms) <= 1


def test_the_line_may_come_after_the_counter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    summary = (
        b"6,1,5000000,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,oom_memcg=/a,"
        b"task_memcg=/a/b,task=x,pid=12,uid=0\n"
    )
    killed = b"3,2,5000010,-;Memory cgroup out of memory: Killed process 12 (x) total-vm:1kB, anon-rss:1kB\n"
    coming: list[list[bytes]] = [[summary], [killed], [b"6,3,5000020,-;eth0: up\n"]]

    class Log:
        def __init__(self, path: Path) -> None:
            pass

        def new_records(self) -> list[bytes]:
            return coming.pop(0)

        def close(self) -> None:
            pass

    monkeypatch.setattr("oompolicy.sources.kernel_kills.KernelLog", Log)
    (tmp_path / "vmstat").write_text("nr_free_pages 7\noom_kill 3\n")
    kills = KernelKills(tmp_path)
    assert kills.take() == []
    (tmp_path / "vmstat").write_text("nr_free_pages 7\noom_kill 4\n")
    assert kills.take() == []
    (kill,) = kills.take()
    assert (kill.pid, kill.comm, kill.scope, kill.cgroup) == (12, "x", "/a", "/a/b")
    assert kills.take() == []
    assert len(coming) == 1, "nothing is read while nobody is killed"
    kills.close()


@pytest.mark.root
def test_a_real_oom_is_told_once_and_nothing_before_it() -> None:
    try:
        hierarchy = scene.memory_hierarchy()
        kills = KernelKills()
    except (OompolicyError, OSError) as error:
        pytest.skip(f"no contained OOM here, or no log of it: {error}")
    try:
        assert kills.take() == []
        with scene.memcg_of_our_own(hierarchy) as memcg:
            ending = scene.play(memcg, lambda before: None)
            if not ending.records:
                pytest.skip("the kernel's log is not that of this kernel")
            found = kills.take()
        assert [each.pid for each in found if each.scope == memcg.scope] == [one.pid for one in ending.killed]
        assert all(each.cgroup == f"{memcg.scope}/{each.comm}" for each in found if each.scope == memcg.scope)
        now_ms = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000
        assert all(now_ms - 60_000 < each.at_ms <= now_ms for each in found)
        assert kills.take() == []
    finally:
        kills.close()
