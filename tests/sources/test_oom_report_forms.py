"""One report in every form that logs come in, and damaged in the ways that logs are."""

from __future__ import annotations

import pytest

from oom_logs import FORMS, HEADERS, as_log, bare, global_report, memcg_report, report_of, reports_of
from oompolicy.mm.oom import OomConstraint
from oompolicy.sources.oom_report import Counter, KilledBy


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("messages", [global_report(), memcg_report()], ids=["global", "memcg"])
def test_the_same_is_read_from_every_form(form: str, messages: list[str]) -> None:
    assert [bare(report) for report in reports_of(FORMS[form](messages))] == [bare(report_of(messages))]


@pytest.mark.parametrize("form", FORMS)
def test_two_reports_with_other_lines_around_stay_two(form: str) -> None:
    noise = b"".join(b"May  9 12:34:56 db sshd[%d]: Accepted publickey for root\n" % pid for pid in range(200))
    log = b"\n".join((noise, FORMS[form](global_report()), noise, FORMS[form](memcg_report()), noise))
    first, second = reports_of(log)
    assert bare(first) == bare(report_of(global_report()))
    assert bare(second) == bare(report_of(memcg_report()))


def test_facts_of_a_global_report() -> None:
    report = report_of(global_report())
    assert report.invoker_comm == "hog"
    assert report.invoker_pid == 201
    assert (report.gfp_mask, report.gfp_flags, report.order) == (0x140DCA, "GFP_HIGHUSER_MOVABLE|__GFP_ZERO", 0)
    assert report.kernel_release == "6.12.1"
    assert report.constraint is OomConstraint.CONSTRAINT_NONE
    assert (report.ram_pages, report.reserved_pages, report.total_swap_kb) == (1_001_000, 1000, 0)
    assert report.node_present_kb == ((0, 4_000_000),)
    assert [row.comm for row in report.rows] == ["hog", "big"]
    assert report.rows[1].swapents_pages == 7
    assert report.rows[1].pgtables_pages == 12
    assert report.is_complete
    assert report.missing == ()


def test_facts_of_a_memcg_report() -> None:
    report = report_of(memcg_report())
    assert report.constraint is OomConstraint.CONSTRAINT_MEMCG
    assert (report.oom_memcg, report.task_memcg) == ("/job", "/job/team")
    assert report.memory == Counter(102400, 102400)
    assert report.swap == Counter(40, 51200)
    assert [row.comm for row in report.rows] == ["(sd-pam)", "two words", "CPU 11/KVM"]
    assert report.killed is not None
    assert (report.killed.pid, report.killed.comm, report.killed.uid) == (302, "two words", 1000)


@pytest.mark.parametrize(
    ("prefix", "timestamp"),
    [
        ("", None),
        ("[  123.456789] ", "123.456789"),
        ("[Thu May  9 12:34:56 2024] ", "Thu May  9 12:34:56 2024"),
        ("May  9 12:34:56 db kernel: [  123.456789] ", "May  9 12:34:56"),
        ("2024-05-09T12:34:56.123456+02:00 db kernel: ", "2024-05-09T12:34:56.123456+02:00"),
        ("6,1234,123456789,-;", "123456789"),
    ],
)
def test_the_time_is_kept_as_printed(prefix: str, timestamp: str | None) -> None:
    (report,) = reports_of(as_log(prefix + message for message in global_report()))
    assert report.timestamp == timestamp


def test_lines_are_counted_from_one() -> None:
    log = as_log(["other"] * 5000) + as_log(global_report()) + as_log(["other"] * 5000) + as_log(memcg_report())
    first, second = reports_of(log)
    assert (first.first_line, first.last_line) == (5001, 5000 + len(global_report()))
    assert second.first_line == 5001 + len(global_report()) + 5000


@pytest.mark.parametrize(
    ("printed", "limit_kb"),
    [
        ("102400", 102400),
        ("9007199254740988", None),  # PAGE_COUNTER_MAX pages of 4 kB
        ("9007199254740928", None),  # of 64 kB
        ("9007199254740991", None),  # LLONG_MAX
        ("18014398509481983", None),  # ULLONG_MAX
        ("8589934588", None),  # LONG_MAX pages on 32 bit
    ],
)
def test_an_unlimited_counter_is_none(printed: str, limit_kb: int | None) -> None:
    report = report_of(memcg_report(swap=f"swap: usage 0kB, limit {printed}kB, failcnt 0"))
    assert report.swap == Counter(0, limit_kb)


@pytest.mark.parametrize(
    ("release", "row", "pgtables", "swap", "adj"),
    [
        ("2.6.32", "[  201]     0   201     2000     1500   1       0 big", None, None, None),
        ("2.6.39", "[  201]     0   201     2000     1500   1     -17         -1000 big", None, None, -1000),
        ("3.10", "[  201]     0   201     2000     1500      13        7           100 big", 13, 7, 100),
        ("4.4", "[  201]     0   201     2000     1500      13       4        7           100 big", 17, 7, 100),
        ("5.15", "[    201]     0   201     2000     1500    53248        7           100 big", 13, 7, 100),
    ],
)
def test_each_kernels_columns(release: str, row: str, pgtables: int | None, swap: int | None, adj: int | None) -> None:
    (found,) = report_of(global_report(row, release=release, header=HEADERS[release])).rows
    assert (found.pid, found.rss_pages, found.comm) == (201, 1500, "big")
    assert (found.pgtables_pages, found.swapents_pages, found.oom_score_adj) == (pgtables, swap, adj)


def test_a_column_nobody_knows_is_read_over() -> None:
    header = "[  pid  ]   uid  tgid total_vm      rss zswapped pgtables_bytes swapents oom_score_adj name"
    row = "[    201]     0   201     2000     1500        9    53248        7           100 big"
    (found,) = report_of(global_report(row, header=header)).rows
    assert (found.rss_pages, found.swapents_pages, found.comm) == (1500, 7, "big")


@pytest.mark.parametrize(
    "comm",
    ["CPU 11/KVM", "(sd-pam)", "tmux: server", "kworker/0:0", "1234", "a#b", "x)", "naïve", "total-vm:1kB", "a,pid=1"],
)
def test_names_of_all_kinds(comm: str) -> None:
    row = f"[    201]  -17   201     2000     1500      900      600         0    40960        0             0 {comm}"
    kill = (
        f"Out of memory: Killed process 201 ({comm}) total-vm:8000kB, anon-rss:3600kB, file-rss:2400kB, UID:4294967279"
    )
    report = report_of(global_report(row, kill=kill))
    assert [(found.comm, found.uid) for found in report.rows] == [(comm, -17)]
    assert report.killed is not None
    assert (report.killed.comm, report.killed.total_vm_kb, report.killed.anon_rss_kb) == (comm, 8000, 3600)


@pytest.mark.parametrize(
    ("lines", "pid", "comm", "chosen_pid", "named_by"),
    [
        (["Killed process 5 (a) total-vm:4kB, anon-rss:0kB"], 5, "a", None, KilledBy.KILLED),
        (["Killed process 5, UID 27, (a) total-vm:4kB, anon-rss:0kB"], 5, "a", None, KilledBy.KILLED),
        (["Killed process 5 (a), UID 9730, total-vm:4kB, anon-rss:0kB"], 5, "a", None, KilledBy.KILLED),
        (["Out of Memory: Killed process 5 (a)."], 5, "a", None, KilledBy.KILLED),
        (["Out of memory: Killed process 5"], 5, None, None, KilledBy.KILLED),
        (["Out of memory: Kill process 4 (p) score 9 or sacrifice child"], 4, "p", 4, KilledBy.CHOSEN),
        (
            ["Out of memory: Kill process 4 (p) score 9 or sacrifice child", "Killed process 5 (a) total-vm:4kB"],
            5,
            "a",
            4,
            KilledBy.KILLED,
        ),
        (
            ["oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),global_oom,task_memcg=/,task=a,pid=5,uid=0"],
            5,
            "a",
            None,
            KilledBy.SUMMARY,
        ),
        (
            ["oom_reaper: reaped process 5 (a), now anon-rss:0kB, file-rss:0kB, shmem-rss:0kB"],
            5,
            "a",
            None,
            KilledBy.REAPER,
        ),
        (
            ["Out of memory: OOM victim 5 (a) is already exiting. Skip killing the task"],
            5,
            "a",
            None,
            KilledBy.EXITING,
        ),
    ],
)
def test_kill_lines(lines: list[str], pid: int, comm: str | None, chosen_pid: int | None, named_by: KilledBy) -> None:
    killed = report_of(global_report(kill=lines)).killed
    assert killed is not None
    assert (killed.pid, killed.comm, killed.chosen_pid, killed.named_by) == (pid, comm, chosen_pid, named_by)


def test_a_group_dies_and_kills_without_a_table_are_told_apart() -> None:
    group = [
        "Memory cgroup out of memory: Killed process 302 (two words) total-vm:8kB",
        "Tasks in /job/team are going to be killed due to memory.oom.group set",
        "Memory cgroup out of memory: OOM victim 302 (two words) is already exiting. Skip killing the task",
        "Memory cgroup out of memory: Killed process 304 (other) total-vm:8kB",
    ]
    report = report_of([*memcg_report()[:-1], *group])
    assert report.oom_group == "/job/team"
    assert [(kill.pid, kill.of_group) for kill in report.kills] == [(302, False), (304, True)]
    storm = [f"Out of memory: Killed process {pid} (a) total-vm:8kB" for pid in (202, 203, 204)]
    report = report_of(global_report(kill=storm))
    assert [(kill.pid, kill.of_group) for kill in report.kills] == [(202, False), (203, False), (204, False)]


def test_kills_without_any_table_are_reports_of_their_own() -> None:
    log = as_log(f"Out of memory: Killed process {pid} (a) total-vm:8kB" for pid in (202, 203))
    reports = reports_of(log)
    assert [report.kills[0].pid for report in reports] == [202, 203]
    assert all("the task table" in report.missing for report in reports)


def test_a_kernel_that_finds_nobody_and_panics() -> None:
    end = [
        "Out of memory and no killable processes...",
        "Kernel panic - not syncing: System is deadlocked on memory",
    ]
    report = report_of(global_report(kill=end))
    assert report.no_killable
    assert report.panic == "System is deadlocked on memory"
    assert report.killed is None
    assert report.is_complete


def test_the_allocating_task_and_sysrq() -> None:
    kill = "Out of memory (oom_kill_allocating_task): Killed process 201 (hog) total-vm:8kB"
    assert report_of(global_report(kill=kill)).kills_allocating_task
    by_hand = [line.replace("order=0", "order=-1") for line in global_report()]
    assert report_of(by_hand).is_sysrq


def test_totals_in_the_older_words() -> None:
    lines = [
        line.replace("pages RAM", "pages of RAM").replace("pages reserved", "reserved pages")
        for line in global_report()
    ]
    assert bare(report_of(lines)) == bare(report_of(global_report()))


def test_the_page_size_is_that_of_the_smallest_block() -> None:
    lines = [line.replace("1*4kB (U) 0*8kB = 4kB", "1*64kB (U) 0*128kB = 64kB") for line in global_report()]
    report = report_of(lines)
    assert report.page_size_bytes == 65536
    assert report.rows[0].pgtables_pages == 0  # 40,960 bytes


def test_the_page_size_is_told_by_the_victim_where_no_block_is_printed() -> None:
    report = report_of(
        memcg_report(kill="Memory cgroup out of memory: Killed process 302 (two words) total-vm:128000kB")
    )
    assert report.page_size_bytes == 65536


def test_a_constraint_that_is_not_printed_is_told_by_the_lines() -> None:
    def constraint(*extra: str, **changes: str) -> OomConstraint | None:
        return report_of(global_report(release="4.4.0", extra=extra, **changes)).constraint  # type: ignore[arg-type]

    assert constraint() is OomConstraint.CONSTRAINT_NONE
    assert constraint("Node 1 Normal free:4kB min:3kB present:4000kB") is OomConstraint.CONSTRAINT_NONE
    two_nodes = ("Node 1 Normal free:4kB min:3kB present:4000kB", "hog cpuset=a mems_allowed=1")
    assert constraint(*two_nodes) is OomConstraint.CONSTRAINT_CPUSET
    limit = ("Task in /a killed as a result of limit of /a", "memory: usage 4kB, limit 4kB, failcnt 1")
    assert constraint(*limit) is OomConstraint.CONSTRAINT_MEMCG
    kill = "Memory cgroup out of memory: Killed process 202 (big) total-vm:8kB"
    assert constraint(kill=kill) is OomConstraint.CONSTRAINT_MEMCG


# Damage


def test_a_row_that_lost_bytes_is_counted_and_the_rest_is_read() -> None:
    rows = [
        "[    201]     0   201     2000     1000      900      100         0    40960        0             0 hog",
        "[    202]  1000   202     2000     15",
        "[    203]     0   203     2000     1000      900      100         0    40960        0             0 cat",
    ]
    report = report_of([f"[    1.000000] {line}" for line in global_report(*rows)])
    assert [row.pid for row in report.rows] == [201, 203]
    assert report.damaged_rows == 1
    assert not report.is_complete
    assert any("1 row" in sentence for sentence in report.missing)


def test_two_rows_that_lost_the_line_break_between_them() -> None:
    rows = [
        "[    201]     0   201     2000     1000      900      10[    202]     0   202     2000     1000      900      "
        "100         0    40960        0             0 cat"
    ]
    report = report_of([f"[    1.000000] {line}" for line in global_report(*rows)])
    assert report.damaged_rows == 1
    assert not report.is_complete


def test_a_lost_header_is_made_up_for_by_the_release() -> None:
    lines = [line for line in global_report() if not line.startswith("[  pid")]
    report = report_of([f"[    1.000000] {line}" for line in lines])
    assert [row.comm for row in report.rows] == ["hog", "big"]
    assert not report.is_complete
    assert any("header" in sentence for sentence in report.missing)


def test_a_lost_header_and_release_leave_no_table() -> None:
    lines = [line for line in global_report() if not line.startswith(("[  pid", "CPU:"))]
    report = report_of([f"[    1.000000] {line}" for line in lines])
    assert report.rows == ()
    assert not report.is_complete


def test_lines_that_look_like_rows_are_none() -> None:
    lines = [
        "pcpu-alloc: [0] 32 33 34 35 36 37 38 39",
        *global_report(extra=["pcpu-alloc: [0] 00 01 02 03 04 05 06 07"]),
    ]
    assert bare(report_of(lines)) == bare(report_of(global_report()))


def test_left_out_rows_are_said() -> None:
    lines = global_report()
    report = report_of([*lines[:-2], "...", *lines[-2:]])
    assert not report.table_is_whole
    assert any("left out" in sentence for sentence in report.missing)


def test_a_report_begins_inside_the_call_trace_of_another() -> None:
    messages = [*global_report()[:4], *memcg_report()]
    first, second = reports_of(as_log(messages))
    assert "the task table" in first.missing
    assert bare(second) == bare(report_of(memcg_report()))


def test_prose_about_the_oom_killer_is_no_report() -> None:
    assert reports_of(b"we saw that mkfs invoked oom-killer on i386, out of memory is odd\nno oom-kill here\n") == []


def test_the_beginning_is_lost() -> None:
    report = report_of(memcg_report()[2:])
    assert report.kernel_release is None
    assert report.invoker_comm is None
    assert len(report.rows) == 3
    assert report.missing[:2] == ("the line that says who ran out of memory", "the kernel's release")


@pytest.mark.parametrize("length", range(1, len(as_log(memcg_report())), 97))
def test_a_log_that_ends_anywhere_yields_what_it_has(length: int) -> None:
    whole = report_of(memcg_report())
    for report in reports_of(as_log(memcg_report())[:length]):
        assert report.rows == whole.rows[: len(report.rows)] or report.damaged_rows or not report.is_complete


def test_rows_and_kills_beyond_the_most_that_are_kept_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oompolicy.sources.oom_report.draft.ROWS_AT_MOST", 2)
    row = "[    {}]     0   {}     2000     1000      900      100         0    40960        0             0 hog"
    report = report_of(global_report(*(row.format(pid, pid) for pid in range(300, 305))))
    assert len(report.rows) == 2
    assert not report.table_is_whole
    assert any("3 rows beyond the 2" in sentence for sentence in report.missing)


def test_an_earlier_victim_is_recognized_in_a_later_table() -> None:
    row = "[    202]  1000   202     2000        3        3        0         0    40960        0           100 big"
    other = "[    209]  1000   209     4000     1500     1500        0         0    40960        0             0 cat"
    kill = "Out of memory: Killed process 209 (cat) total-vm:16000kB, anon-rss:6000kB"
    reaped = ["oom_reaper: reaped process 202 (big), now anon-rss:12kB, file-rss:0kB, shmem-rss:0kB"]
    later = global_report(row, other, kill=kill)
    first, second = reports_of(as_log([*global_report(), *reaped, *later]))
    assert first.already_killed == frozenset()
    assert second.already_killed == {202}
    # Another process of that pid is none: it has another size, or the machine was booted since.
    (_, reused) = reports_of(
        as_log([*global_report(), *(line.replace("   2000        3", "   3000        3") for line in later)])
    )
    assert reused.already_killed == frozenset()
    before = as_log(f"[  900.000000] {line}" for line in global_report())
    after = as_log(f"[    5.000000] {line}" for line in later)
    assert reports_of(before + after)[1].already_killed == frozenset()
