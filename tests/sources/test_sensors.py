"""Sensors as a whole: a machine and its cgroups in folders of the test's own, with inotify for real."""

from __future__ import annotations

import os
import select
from dataclasses import dataclass
from pathlib import Path

import pytest

from oompolicy.rules.readings import Readings
from oompolicy.sources.sensors import Sensors, Wanted
from sources.fake_machine import FakeMachine, write

MEMINFO = "MemTotal: 8000 kB\nMemFree: 10 kB\nMemAvailable: 4000 kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\n"
WANTED = Wanted(cgroup=frozenset({"memory.current", "memory.events"}), scopes=frozenset({"/**"}))
NO_EVENTS = "low 0\nhigh 3\nmax 0\noom 0\noom_kill 0\n"


@dataclass(frozen=True)
class Stall:
    scope: str = "/"
    resource: str = "memory"
    kind: str = "some"
    stall_us: int = 100_000
    window_us: int = 1_000_000


@dataclass(frozen=True)
class File:
    scope: str
    file: str = "memory.events"


@pytest.fixture
def machine(tmp_path: Path) -> FakeMachine:
    machine = FakeMachine(tmp_path, "v2")
    write(machine.proc / "meminfo", MEMINFO)
    for path in ("/batch", "/batch/one", "/db", "/other"):
        machine.memcg(path, current=4096, events=NO_EVENTS)
    return machine


def sensors(machine: FakeMachine, wanted: Wanted = WANTED) -> tuple[Sensors, select.poll]:
    found, poll = Sensors(wanted, machine.proc, machine.sys), select.poll()
    found.register(poll)
    found.follow(("/", "/batch/one", "/db"))
    return found, poll


def told(of: Sensors, poll: select.poll) -> bool:
    return True in [of.take(fd, events) for fd, events in poll.poll(0)]


def used(readings: Readings) -> dict[str, int | None]:
    return {path: cgroup.current_bytes for path, cgroup in readings.cgroups.items()}


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def remove(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()


def test_only_cgroups_that_are_followed_are_read(machine: FakeMachine) -> None:
    of, _ = sensors(machine)
    readings = of.read(7)
    assert readings.at_ms == 7
    assert readings.machine.mem_available_bytes == 4000 * 1024
    assert used(readings) == {"/batch/one": 4096, "/db": 4096}
    assert readings.cgroups["/db"].events_high == 3
    assert set(of.paths) == {"/", "/batch", "/batch/one", "/db", "/other"}


def test_a_rule_for_the_machine_alone_holds_one_file(machine: FakeMachine) -> None:
    before = open_descriptors()
    of, _ = sensors(machine, Wanted())
    assert open_descriptors() == before + 1
    assert of.read(1).cgroups == {}
    assert not of.is_blind
    of.close()
    assert open_descriptors() == before


def test_cgroups_are_followed_as_they_come_and_go(machine: FakeMachine) -> None:
    of, poll = sensors(machine)
    held, generation = open_descriptors(), of.generation
    machine.memcg("/batch/two", current=1)
    assert not told(of, poll)  # that there is another is no reason to look
    assert of.generation > generation
    assert "/batch/two" in of.paths
    of.follow(("/batch/two", "/db"))
    assert used(of.read(1)) == {"/batch/two": 1, "/db": 4096}
    remove(machine.cgroups / "batch/two")
    told(of, poll)
    of.follow(path for path in of.paths if path == "/db")
    assert used(of.read(2)) == {"/db": 4096}
    assert open_descriptors() < held
    of.close()


def test_a_cgroup_that_is_removed_between_decision_and_look_is_left_out(machine: FakeMachine) -> None:
    of, _ = sensors(machine, Wanted(cgroup=frozenset({"pids.current"}), scopes=frozenset({"/**"})))
    remove(machine.cgroups / "db")
    assert set(of.read(1).cgroups) == {"/batch/one"}
    of.arm([Stall("/db")], [File("/db")])
    assert set(of.read(2).cgroups) == {"/batch/one"}


def test_a_change_of_memory_events_is_a_reason_to_look(machine: FakeMachine) -> None:
    of, poll = sensors(machine)
    of.arm((), [File("/db")])
    assert not told(of, poll)
    write(machine.cgroups / "batch/one/memory.events", NO_EVENTS)
    assert not told(of, poll)
    write(machine.cgroups / "db/memory.events", "low 0\nhigh 4\n")
    assert told(of, poll)
    assert of.read(1).cgroups["/db"].events_high == 4


def test_it_is_said_once_when_more_cgroups_are_followed_than_files_kept(
    machine: FakeMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("oompolicy.sources.sensors._KEPT_MAX", 2)
    of, _ = sensors(machine)
    of.follow(of.paths)
    assert set(used(of.read(1))) == {"/batch", "/batch/one", "/db", "/other"}
    assert [note for note in of.notes if "opened at each look" in note] == of.notes
    assert len(of.notes) == 1
    of.close()


def test_only_folders_that_lead_to_a_scope_are_watched(machine: FakeMachine) -> None:
    """/batch/* may be judged: what is made below /db, or deeper, wakes nobody."""
    of, poll = sensors(machine, Wanted(cgroup=frozenset({"memory.current"}), scopes=frozenset({"/batch/*"})))
    assert set(of.paths) == {"/", "/batch", "/batch/one", "/db", "/other"}
    machine.memcg("/db/inside", current=1)
    machine.memcg("/batch/one/deeper", current=1)
    assert poll.poll(0) == []
    generation = of.generation
    machine.memcg("/batch/two", current=1)
    assert not told(of, poll)
    assert of.generation == generation + 1
    assert "/batch/two" in of.paths
    of.close()


def test_without_watches_it_is_said_when_it_happens(machine: FakeMachine, monkeypatch: pytest.MonkeyPatch) -> None:
    of, poll = sensors(machine)
    assert of.notes == []
    monkeypatch.setattr("oompolicy.sources.cgroup_tree.WATCHES_MAX", 0)
    machine.memcg("/batch/two", current=1)
    told(of, poll)
    assert of.is_blind
    assert [note for note in of.notes if "no more watches" in note] == of.notes
    assert len(of.notes) == 1
    of.close()


def test_a_cgroup_that_goes_before_its_events_are_watched_does_not_make_it_blind(machine: FakeMachine) -> None:
    of, _ = sensors(machine)
    (machine.cgroups / "db/memory.events").unlink()
    of.arm((), [File("/db")])
    assert not of.is_blind
    of.close()


def test_a_cgroup_that_goes_releases_all_that_was_held_for_it(machine: FakeMachine) -> None:
    of, poll = sensors(machine)
    before = open_descriptors()
    machine.memcg("/batch/two", current=1, events=NO_EVENTS)
    told(of, poll)
    of.follow(("/batch/one", "/db", "/batch/two"))
    of.arm((), [File("/batch/two")])
    assert open_descriptors() == before + 2
    remove(machine.cgroups / "batch/two")
    told(of, poll)
    assert "/batch/two" not in of.paths
    of.follow(path for path in of.paths if path in ("/batch/one", "/db"))
    assert open_descriptors() == before
    assert not of.is_blind
    of.close()


def test_names_may_be_anything(machine: FakeMachine) -> None:
    name = os.fsdecode(b"/batch/new\nline \xff")
    machine.memcg(name, current=9)
    of, _ = sensors(machine)
    of.follow([name])
    assert used(of.read(1)) == {name: 9}


def test_where_triggers_are_refused_it_is_said_once(machine: FakeMachine) -> None:
    of, _ = sensors(machine)
    (machine.cgroups / "db/memory.pressure").mkdir()  # there, and not to be written
    machine_or_gone = [Stall(), Stall(resource="io"), Stall("/batch/one")]
    for _ in range(2):
        of.arm([*machine_or_gone, Stall("/db")], ())
    assert of.is_blind
    assert of.notes == [
        "no triggers for the memory pressure here: looking once a second instead",
        "no triggers for the io pressure here: looking once a second instead",
        "no triggers for the memory pressure of cgroups here: looking once a second instead",
    ]


def test_a_machine_without_a_memory_controller_says_so(tmp_path: Path) -> None:
    machine = FakeMachine(tmp_path, "none")
    write(machine.proc / "meminfo", MEMINFO)
    of, _ = sensors(machine)
    assert of.notes == ["no memory controller is mounted: rules for cgroups are never judged"]
    assert of.read(1).cgroups == {}


def test_when_descriptors_are_short_files_are_opened_for_each_look(
    machine: FakeMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("oompolicy.sources.sensors._LEFT_FOR_OTHERS", 1 << 40)
    of, _ = sensors(machine)
    before = open_descriptors()
    assert used(of.read(1)) == {"/batch/one": 4096, "/db": 4096}
    assert open_descriptors() == before


def test_a_cgroup_that_cannot_be_read_is_said_once_and_the_others_are_read(machine: FakeMachine) -> None:
    of, _ = sensors(machine)
    write(machine.cgroups / "db/memory.current", "lots\n")
    for at_ms in (1, 2):
        assert set(of.read(at_ms).cgroups) == {"/batch/one"}
    assert [note for note in of.notes if "/db" in note] == of.notes
    assert len(of.notes) == 1


@pytest.mark.skipif(not Path("/proc/pressure/memory").exists(), reason="this kernel has no PSI")
def test_the_real_machine_gives_what_is_asked_and_keeps_triggers_that_are_asked_again() -> None:
    before = open_descriptors()
    of, poll = Sensors(Wanted(frozenset({"pressure/memory", "vmstat"}))), select.poll()
    of.register(poll)
    readings = of.read(1)
    assert readings.machine.memory.some is not None
    assert readings.machine.oom_kills is not None
    of.arm([Stall()], ())
    held = open_descriptors()
    of.arm([Stall()], ())
    assert open_descriptors() == held
    assert not of.is_blind
    of.arm([Stall(stall_us=50_000)], ())
    assert open_descriptors() == held
    of.close()
    assert open_descriptors() == before
    assert poll.poll(0) == []


@pytest.mark.skipif(not Path("/proc/pressure/memory").exists(), reason="this kernel has no PSI")
def test_beyond_some_cgroups_the_machine_s_trigger_tells(machine: FakeMachine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oompolicy.sources.sensors.TRIGGERS_MAX", 0)
    (machine.proc / "pressure").symlink_to("/proc/pressure")
    of, _ = sensors(machine)
    of.arm([Stall("/db"), Stall("/batch/one")], ())
    assert not of.is_blind
    of.close()
