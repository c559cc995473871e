"""What holds for any report and for any bytes."""

from __future__ import annotations

import json
import random
import time
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oom_logs import FIXTURES, FORMS, SHARED, as_log, bare, global_report, memcg_report, reports_of
from oompolicy.mm.oom import OomConstraint
from oompolicy.sources.oom_report import Counter, Kill, KilledBy, OomReport, TaskRow, read_reports
from oompolicy.sources.oom_report.header_lines import UNLIMITED_32_BIT_KB
from oompolicy.sources.oom_report.render import render
from oompolicy.sources.oom_report.scene import to_scene
from oompolicy.sources.oom_report.table import NEWEST_COLUMNS

AMOUNT = st.integers(0, 1 << 40)
PID = st.integers(1, 1 << 22)
# What a name may hold and a line still show: the kernel prints names raw, so a line break in one breaks the line.
NAME = st.text(
    st.characters(min_codepoint=32, exclude_characters="|>\x7f\\\"'`", exclude_categories=("C", "Z")), min_size=1
)
WORDS = st.lists(NAME.map(lambda name: name[:7]), min_size=1, max_size=2).map(lambda words: " ".join(words)[:15])
PATH = st.lists(st.sampled_from(["system.slice", "db.service", "kubepods", "a b"]), max_size=3).map(
    lambda names: "/" + "/".join(names)
)
NODES = st.frozensets(st.integers(0, 63), min_size=1, max_size=4)


@st.composite
def rows(draw: st.DrawFn) -> tuple[TaskRow, ...]:
    pids = draw(st.lists(PID, min_size=0, max_size=6, unique=True))
    return tuple(
        TaskRow(
            pid=pid,
            uid=draw(st.integers(-5, 1 << 31)),
            tgid=draw(st.one_of(st.just(pid), PID)),
            total_vm_pages=draw(AMOUNT),
            rss_pages=draw(AMOUNT),
            comm=draw(WORDS),
            rss_anon_pages=draw(AMOUNT),
            rss_file_pages=draw(AMOUNT),
            rss_shmem_pages=draw(AMOUNT),
            pgtables_pages=draw(st.integers(0, 1 << 30)),
            swapents_pages=draw(AMOUNT),
            oom_score_adj=draw(st.integers(-1000, 1000)),
        )
        for pid in pids
    )


@st.composite
def kills(draw: st.DrawFn) -> tuple[Kill, ...]:
    pids = draw(st.lists(PID, min_size=1, max_size=4, unique=True))
    return tuple(
        Kill(
            pid,
            draw(WORDS),
            uid=draw(st.integers(0, (1 << 32) - 1)),
            total_vm_kb=draw(AMOUNT),
            anon_rss_kb=draw(AMOUNT),
            file_rss_kb=draw(AMOUNT),
            shmem_rss_kb=draw(AMOUNT),
            pgtables_kb=draw(AMOUNT),
            oom_score_adj=draw(st.integers(-999, 1000)),
        )
        for pid in pids
    )


@st.composite
def reports(draw: st.DrawFn) -> OomReport:
    """A whole report of the newest kernel: global, of a memcg (v1 or v2), of a cpuset or a mempolicy."""
    constraint = draw(st.sampled_from(OomConstraint))
    killed = draw(kills())
    limit = AMOUNT.filter(lambda amount: amount != UNLIMITED_32_BIT_KB)
    counter = st.builds(Counter, AMOUNT, st.one_of(st.none(), limit))
    report = OomReport(
        timestamp=draw(st.sampled_from([None, "12.345678"])),
        kernel_release=draw(st.sampled_from(["6.12.1", "6.8.0-45-generic", "5.14.0-362.8.1.el9_3.x86_64"])),
        invoker_comm=draw(WORDS),
        invoker_pid=draw(PID),
        gfp_mask=draw(st.integers(0, 1 << 27)),
        gfp_flags=draw(st.sampled_from([None, "GFP_KERNEL", "GFP_HIGHUSER_MOVABLE|__GFP_ZERO"])),
        order=draw(st.integers(-1, 10)),
        invoker_oom_score_adj=draw(st.integers(-1000, 1000)),
        constraint=constraint,
        cpuset="/",
        mems_allowed=draw(NODES),
        nodemask=draw(NODES) if constraint is OomConstraint.CONSTRAINT_MEMORY_POLICY else None,
        task_memcg=draw(PATH),
        pagetables_pages=draw(AMOUNT),
        page_size_bytes=draw(st.sampled_from([4096, 16384, 65536])),
        columns=NEWEST_COLUMNS,
        rows=draw(rows()),
        table_is_whole=True,
        kills=killed,
    )
    if constraint is OomConstraint.CONSTRAINT_MEMCG:
        v1 = draw(st.booleans())
        group = draw(st.one_of(st.none(), PATH))
        return replace(
            report,
            oom_memcg=draw(PATH),
            memory=draw(counter),
            swap=None if v1 else draw(counter),
            memsw=draw(counter) if v1 else None,
            kmem=draw(counter) if v1 else None,
            oom_group=group,
            kills=killed[:1] + tuple(replace(kill, of_group=group is not None) for kill in killed[1:]),
        )
    return replace(
        report,
        ram_pages=draw(AMOUNT),
        reserved_pages=draw(AMOUNT),
        free_swap_kb=draw(AMOUNT),
        total_swap_kb=draw(AMOUNT),
        node_present_kb=tuple(sorted(draw(st.dictionaries(st.integers(0, 63), AMOUNT, max_size=3)).items())),
        kills_allocating_task=draw(st.booleans()),
    )


def _placed_nowhere(report: OomReport) -> OomReport:
    return replace(bare(report), timestamp=report.timestamp)


@settings(deadline=None, max_examples=300)
@given(reports())
def test_reading_what_was_written_loses_nothing(report: OomReport) -> None:
    assert [_placed_nowhere(found) for found in reports_of(render(report).encode())] == [report]


@settings(deadline=None, max_examples=60)
@given(st.lists(reports(), min_size=2, max_size=4))
def test_several_reports_in_one_log_stay_apart(several: list[OomReport]) -> None:
    found = reports_of(as_log(["other"] * 70).join(render(report).encode() for report in several))
    assert [_placed_nowhere(replace(report, already_killed=frozenset())) for report in found] == several


@settings(deadline=None, max_examples=100)
@given(st.data(), reports())
def test_the_size_of_the_blocks_does_not_matter(data: st.DataObject, report: OomReport) -> None:
    log = render(report).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(log)), max_size=8)))
    blocks = [log[start:end] for start, end in zip([0, *cuts], [*cuts, len(log)], strict=True)]
    assert list(read_reports(blocks)) == reports_of(log)
    assert list(read_reports(log.splitlines(keepends=True))) == reports_of(log)


# Pieces that lead into every corner of the parser, and anything between them.
SCRAPS = [
    b"x invoked oom-killer: gfp_mask=0x", b" invoked\noom-killer: ", b"\n[  pid  ]   uid  tgid total_vm      rss ",
    b"pgtables_bytes swapents oom_score_adj name\n", b"[    1]     0     1", b"[  123.456789] ", b"[12.3456][ T1]",
    b"Out of memory: Killed process ", b"Kill process 1 (", b") score ", b"oom-kill:constraint=CONSTRAINT_MEMCG,pid=",
    b"nodemask=0-99999999999999999999,", b"mems_allowed=", b"memory: usage 1kB, limit ", b"99999999999999999999999999",
    b"kB, failcnt 1", b"Node 0 DMA free: present:", b"Normal: 1*", b" pages RAM", b"order=", b"\n", b"\r\n", b"\0",
    b"\xff", b"kernel: ", b"6,1,1,-;", b"> > ", b'{"MESSAGE": [', b"}", b"\\n", b"=3D", b"=\n", b"\x1b[", b"...",
    b"oom_reaper: reaped process ", b"Tasks in / are going to be killed due", b"no killable process",
    b"Kernel panic - not syncing: memory", b"Comm: x Not tainted 5.", b"<4>", b"Total swap = ", b"oom_kill",
    b"MESSAGE=", b"(", b")", b" ", b"0 0 0 0 0 0 0 x",
]  # fmt: skip


@settings(deadline=None, max_examples=600)
@given(st.lists(st.one_of(st.sampled_from(SCRAPS), st.binary(max_size=12)), max_size=40))
def test_any_bytes_at_all_never_crash_the_parser(scraps: list[bytes]) -> None:
    for report in read_reports([b"".join(scraps)]):
        to_scene(report)
        render(report)


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=2000))
def test_noise_never_crashes_the_parser(noise: bytes) -> None:
    assert list(read_reports([noise])) == []


@settings(deadline=None, max_examples=200)
@given(st.data(), st.sampled_from(sorted(FORMS)))
def test_a_log_damaged_anywhere_never_crashes_the_parser(data: st.DataObject, form: str) -> None:
    log = bytearray(FORMS[form](global_report() + memcg_report()))
    for _ in range(data.draw(st.integers(1, 6))):
        start = data.draw(st.integers(0, len(log)))
        log[start : start + data.draw(st.integers(0, 60))] = data.draw(st.binary(max_size=8))
    for report in reports_of(bytes(log)):
        to_scene(report)


def _real_logs() -> list[str]:
    return sorted(str(path) for folder, kind in ((FIXTURES, "*.log"), (SHARED, "*.txt")) for path in folder.glob(kind))


@pytest.mark.parametrize("path", _real_logs())
def test_real_logs_cut_and_thinned_out_never_crash_the_parser(path: str) -> None:
    with open(path, "rb") as file:
        log = file.read()
    chance = random.Random(path)
    for _ in range(3):
        start, end = sorted(chance.randrange(len(log) + 1) for _ in range(2))
        for damaged in (log[:end], log[start:], log[:start] + log[end:]):
            for report in reports_of(damaged[:40_000]):
                to_scene(report)


def test_a_long_line_is_read_in_parts() -> None:
    whole = json.dumps({"log": "\n".join(global_report(*_many_rows(3000)))}).encode()
    assert len(whole) > 4 << 16
    (report,) = reports_of(whole)
    assert len(report.rows) == 3000
    assert report.is_complete


def test_gigabytes_without_a_line_break_are_not_kept() -> None:
    from oompolicy.sources.oom_report import LogParser

    parser = LogParser()
    for _ in range(64):
        assert list(parser.feed(b"x" * (1 << 20))) == []
        assert len(parser._rest) <= 1 << 17


def test_a_kill_by_reaper_only_is_written_too() -> None:
    report = OomReport(columns=None, kills=(Kill(5, "a", KilledBy.REAPER),))
    (found,) = reports_of(render(report).encode())
    assert found.killed is not None
    assert (found.killed.pid, found.killed.named_by) == (5, KilledBy.REAPER)


def _many_rows(count: int) -> list[str]:
    row = "[{:7d}]     0 {:5d}     2000     1000      900      100         0    40960        0             0 hog"
    return [row.format(pid, pid) for pid in range(1000, 1000 + count)]


NASTY = [
    "invoked oom-killer ", "a", " ", "[", "[1.123] ", "kernel: ", '"', '" ', '" x', ": ", "> ", "PID: 1 Comm: ", "1 ",
    "(", ")", "Killed process 1 (", "Kill process 1 (", "\\n", "\\x41", "=3D", "oom-kill:constraint=CONSTRAINT_NONE,",
    "[1] 1 1 1 ", "Node 0 DMA free: ", "12:34:56", "May 9 ", "Task in ", "{", "[[", "reaped process 1 (",
    "tgid total_vm ", "-", "- ", "=\r",
]  # fmt: skip


@pytest.mark.parametrize("scrap", NASTY)
def test_no_line_takes_long(scrap: str) -> None:
    long_line = (scrap * (1 + (60_000 // len(scrap)))).encode()
    started = time.process_time()
    for lead in (
        b"x invoked oom-killer: ",
        b'"oom_kill ',
        b"{oom_kill ",
        b"[  pid  ]   uid  tgid total_vm      rss name\n",
    ):
        reports_of(as_log(global_report()[:-2]) + lead + long_line + b"x\n" + long_line + b"\n")
    assert time.process_time() - started < 2
