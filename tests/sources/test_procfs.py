"""Processes of a fake /proc. Belongs here: what each file gives. Must not know: the machine the tests run on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from oompolicy.errors import SourceError
from oompolicy.mm.sched import Mm, Task
from oompolicy.sources.kernel_file import read_at
from oompolicy.sources.live import live_snapshot
from oompolicy.sources.procfs import CapturedTask, capture_tasks, parse_mm, recapture_cgroup
from sources.fake_machine import FakeMachine, Proc

PF_EXITING, PF_FORKNOEXEC, PF_KTHREAD = 0x4, 0x40, 0x200000


def task_of(machine: FakeMachine, pid: int) -> Task:
    return live_snapshot(machine.proc, machine.sys).task(pid)


def test_every_field_is_read_from_its_file(tmp_path: Path) -> None:
    process = Proc(70, b"postgres", 4096, 2048, 1024, 512, 84, 1780, 60, 113, -900, 4242, cgroup="/db")
    machine = FakeMachine(tmp_path, "v2", process)
    machine.memcg("/db")
    task = task_of(machine, 70)
    assert (task.pid, task.tgid, task.ppid, task.comm) == (70, 70, 60, "postgres")
    assert (task.uid, task.oom_score_adj) == (113, -900)
    assert task.start_time_ns == 4242 * 1_000_000_000 // os.sysconf("SC_CLK_TCK")
    assert task.memcg is not None
    assert task.memcg.path == "/db"
    assert task.mm == Mm(1780, 128, 21, 1024, 512, 256, total_vm_pages=2049)
    assert not any((task.is_kthread, task.is_exiting, task.in_vfork, task.is_oom_victim))


def test_rss_is_the_counter_that_oom_badness_reads_even_where_the_parts_are_newer(tmp_path: Path) -> None:
    machine = FakeMachine(tmp_path, "v2", Proc(70, anon=400, file=0, rss_pages=36))
    mm = task_of(machine, 70).mm
    assert mm is not None
    assert (mm.rss_pages, mm.rss_anon_pages) == (36, 100)


@pytest.mark.parametrize(
    ("comm", "expected"),
    [
        (b"a) S 1 (b", "a) S 1 (b"),
        (b"(sd-pam)", "(sd-pam)"),
        (b"two words", "two words"),
        (b"new\nline", "new\nline"),
        (b"\nVmSize:\t9 kB", "\nVmSize:\t9 kB"),
        (b"caf\xc3\xa9", "café"),
        (b"\xff\xfe", "\udcff\udcfe"),
        (b"back\\slash", "back\\slash"),
        (b"", ""),
    ],
)
def test_a_name_may_hold_anything(tmp_path: Path, comm: bytes, expected: str) -> None:
    machine = FakeMachine(tmp_path, "v2", Proc(70, comm, ppid=9, anon=None))
    task = task_of(machine, 70)
    assert (task.comm, task.ppid, task.mm) == (expected, 9, None)


def test_order_is_that_of_creation(tmp_path: Path) -> None:
    pids = [Proc(30, start=700), Proc(900, start=650), Proc(40, start=700), Proc(5, start=9000)]
    machine = FakeMachine(tmp_path, "v2", *pids)
    assert [task.pid for task in live_snapshot(machine.proc, machine.sys).kernel.tasks] == [1, 900, 30, 40, 5]


def test_a_kernel_thread_has_no_mm_and_needs_no_more_than_stat(tmp_path: Path) -> None:
    machine = FakeMachine(tmp_path, "v1", Proc(70, b"kworker/0:1-events", anon=None, flags=PF_KTHREAD))
    for name in ("status", "oom_score_adj", "cgroup"):
        (machine.proc / "70" / name).unlink()
    task = task_of(machine, 70)
    assert (task.is_kthread, task.mm, task.uid, task.oom_score_adj) == (True, None, 0, 0)
    assert task.memcg is not None
    assert task.memcg.path == "/"


def test_a_zombie_has_no_mm_and_is_exiting(tmp_path: Path) -> None:
    machine = FakeMachine(tmp_path, "v1", Proc(70, anon=None, state="Z", flags=PF_EXITING))
    task = task_of(machine, 70)
    assert (task.mm, task.is_exiting) == (None, True)


def test_a_pending_sigkill_means_exiting(tmp_path: Path) -> None:
    killed = "SigPnd:\t0000000000000100\nShdPnd:\t0000000000000000\n"
    machine = FakeMachine(tmp_path, "v1", Proc(70, extra_status=killed), Proc(71))
    assert (task_of(machine, 70).is_exiting, task_of(machine, 71).is_exiting) == (True, False)


@pytest.mark.parametrize("kind", ["v1", "v2"])
def test_where_the_leader_has_exited_a_living_thread_stands_for_the_process(tmp_path: Path, kind: str) -> None:
    # On v1 the kernel shows the exited leader in "/".
    leader = Proc(
        70, b"java", anon=None, state="Z", flags=PF_EXITING, cgroup="/" if kind == "v1" else "/app", start=600
    )
    threads = [
        leader,
        Proc(71, b"gone", anon=None, state="Z", flags=PF_EXITING, cgroup="/"),
        Proc(72, b"worker", anon=80_000, swap=400, uid=7, cgroup="/app", start=800),
        Proc(73, b"other", anon=80_000, cgroup="/app", start=900),
    ]
    leader.threads, leader.adj = threads, 300
    machine = FakeMachine(tmp_path, kind, leader)
    machine.memcg("/app")
    task = task_of(machine, 70)
    assert (task.pid, task.tgid, task.comm, task.uid) == (72, 70, "worker", 7)
    assert task.oom_score_adj == 300
    assert task.mm is not None
    assert (task.mm.rss_anon_pages, task.mm.swap_pages) == (20_000, 100)
    assert task.memcg is not None
    assert task.memcg.path == "/app"
    assert task.start_time_ns == 600 * 1_000_000_000 // os.sysconf("SC_CLK_TCK")
    assert not task.is_exiting


def test_where_all_threads_have_let_go_there_is_no_mm(tmp_path: Path) -> None:
    leader = Proc(70, anon=None, state="Z", flags=PF_EXITING)
    leader.threads = [leader, Proc(71, anon=None, state="Z", flags=PF_EXITING)]
    assert task_of(FakeMachine(tmp_path, "v2", leader), 70).mm is None


def test_processes_that_vanish_are_left_out(tmp_path: Path) -> None:
    machine = FakeMachine(tmp_path, "v2", Proc(70), Proc(71), Proc(72))
    (machine.proc / "70" / "status").unlink()
    (machine.proc / "71" / "stat").unlink()
    snapshot = live_snapshot(machine.proc, machine.sys)
    assert [task.pid for task in snapshot.kernel.tasks] == [1, 72]
    assert snapshot.missing == ()


def test_processes_that_may_not_be_read_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = FakeMachine(tmp_path, "v2", Proc(70), Proc(71), Proc(72))

    def refused(dir_fd: int, name: str | bytes) -> bytes:
        data = read_at(dir_fd, name)
        if name == "stat" and data.startswith((b"70 ", b"72 ")):
            raise PermissionError(13, "Permission denied")
        return data

    monkeypatch.setattr("oompolicy.sources.procfs.read_at", refused)
    snapshot = live_snapshot(machine.proc, machine.sys)
    assert {task.pid for task in snapshot.kernel.tasks} == {1, 71}
    assert len(snapshot.missing) == 1
    assert "left out: 2 (pid 7" in snapshot.missing[0]


def test_a_process_whose_cgroup_cannot_be_told_is_kept(tmp_path: Path) -> None:
    """A kernel without cgroups, or a path too long to be shown."""
    machine = FakeMachine(tmp_path, "v2", Proc(70))
    (machine.proc / "70/cgroup").unlink()
    snapshot = live_snapshot(machine.proc, machine.sys)
    assert snapshot.task(70).memcg is None
    assert snapshot.missing == ("processes whose cgroup cannot be told: 1 (pid 70)",)


def test_hidden_processes_are_named(tmp_path: Path) -> None:
    machine = FakeMachine(tmp_path, "v2", Proc(70))
    for path in sorted((machine.proc / "1").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    (machine.proc / "1").rmdir()
    assert any("hidepid" in sentence for sentence in live_snapshot(machine.proc, machine.sys).missing)


def test_masks_of_nodes_are_kept_where_there_are_several_nodes(tmp_path: Path) -> None:
    bound = "Mems_allowed:\t00000000,00000005\nMems_allowed_list:\t0,2-3\n"
    machine = FakeMachine(tmp_path, "v2", Proc(70, extra_status=bound))
    assert task_of(machine, 70).mems_allowed is None
    zones = "Node 0, zone DMA\n  pages free 9\n        present  3998\nNode 0, zone Normal\n        present  2\n"
    zones += "Node 2, zone Normal\n        present  77\n        managed  70\nNode 3, zone Movable\n        present  0\n"
    (machine.proc / "zoneinfo").write_text(zones)
    assert task_of(machine, 70).mems_allowed == frozenset({0, 2, 3})
    assert live_snapshot(machine.proc, machine.sys).kernel.node_present_pages == {0: 4000, 2: 77}


def test_old_kernels_have_no_parts_and_count_middle_directories() -> None:
    status = (
        b"Name:\tx\nVmSize:\t 400 kB\nVmRSS:\t 80 kB\nVmPTE:\t 20 kB\nVmPMD:\t 12 kB\nVmSwap:\t 8 kB\nThreads:\t1\n"
    )
    assert parse_mm(status, 20, 4096) == Mm(20, 2, 8, None, None, None, 100)


def test_pages_are_the_machines() -> None:
    status = b"Name:\tx\nVmSize:\t  640 kB\nRssAnon:\t128 kB\nVmPTE:\t  100 kB\nVmSwap:\t 64 kB\nThreads:\t1\n"
    assert parse_mm(status, 2, 65536) == Mm(2, 1, 1, 2, None, None, 10)


def test_a_long_status_is_read_whole(tmp_path: Path) -> None:
    groups = f"Groups:\t{' '.join(str(100_000 + group) for group in range(9000))} \n"
    machine = FakeMachine(tmp_path, "v2", Proc(70, extra_status=groups + "SigPnd:\t100\nShdPnd:\t0\n"))
    assert task_of(machine, 70).is_exiting


def test_a_reused_pid_is_another_process(tmp_path: Path) -> None:
    machine = FakeMachine(tmp_path, "v2", Proc(70, start=500))
    captured = next(task for task in capture_tasks(machine.proc).tasks if task.pid == 70)
    assert recapture_cgroup(captured, machine.proc) == b"0::/\n"
    machine.add(Proc(70, start=501))
    assert recapture_cgroup(captured, machine.proc) is None
    assert recapture_cgroup(CapturedTask(99, captured.leader, 99, captured.stat), machine.proc) is None


def test_settings_and_sizes(tmp_path: Path) -> None:
    machine = FakeMachine(tmp_path, "none")
    (machine.proc / "sys/vm/panic_on_oom").write_text("2\n")
    (machine.proc / "sys/vm/oom_kill_allocating_task").write_text("1\n")
    snapshot = live_snapshot(machine.proc, machine.sys)
    kernel = snapshot.kernel
    assert (kernel.totalram_pages, kernel.total_swap_pages) == (2_000_000, 500_000)
    assert (kernel.sysctl_panic_on_oom, kernel.sysctl_oom_kill_allocating_task) == (2, True)
    assert (snapshot.kernel_release, snapshot.hostname, snapshot.hierarchy) == ("6.12.1-test", "fake", None)
    assert snapshot.missing == ("no memory controller is mounted: memcgs, their limits and their values are not known",)


def test_unreadable_settings_are_named_and_the_kernels_default(tmp_path: Path) -> None:
    machine = FakeMachine(tmp_path, "v2")
    (machine.proc / "sys/vm/panic_on_oom").unlink()
    snapshot = live_snapshot(machine.proc, machine.sys)
    assert snapshot.kernel.sysctl_panic_on_oom == 0
    assert snapshot.missing == ("vm.panic_on_oom cannot be read: taken to be 0, the kernel's default",)


def test_a_place_without_procfs_is_said(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="is procfs mounted there"):
        live_snapshot(tmp_path / "nowhere", tmp_path)
    with pytest.raises(SourceError, match="how much memory"):
        live_snapshot(tmp_path, tmp_path)
    with pytest.raises(SourceError, match="is procfs mounted there"):
        capture_tasks(tmp_path / "nowhere")


def test_namespaces_of_a_container_are_named(tmp_path: Path) -> None:
    machine = FakeMachine(tmp_path, "v2")
    (machine.proc / "self/ns").mkdir()
    (machine.proc / "self/ns/pid").symlink_to("pid:[4026532201]")
    (machine.proc / "self/ns/cgroup").symlink_to("cgroup:[4026531835]")
    assert [sentence.split()[3] for sentence in live_snapshot(machine.proc, machine.sys).missing] == ["of"]
