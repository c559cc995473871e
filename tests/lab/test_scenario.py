"""Scenario files: what they say, and how they are told to be wrong."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from oompolicy.config import AssignRow
from oompolicy.errors import ConfigError

from lab.scenario import collection, find, forced, read_scenario
from lab.world import Cgroup, Memory, Oom, Swap, Workload

GOOD = """\
runs_out = "/job"
by = "grower"
victims = ["large"]

[machine]
swap_mib = 64

[cgroup."/job"]
memory.max = "60M"

[cgroup."/job/a"]

[[workload]]
name = "large"
cgroup = "/job/a"
size = "30M"

[[workload]]
name = "grower"
cgroup = "/job/a"
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.toml"
    path.write_text(text)
    return path


def test_every_key(tmp_path: Path) -> None:
    text = """
        about = "all there is"
        runs_out = "/job"
        by = "grower"
        within_s = 7
        time_limit_s = 90
        [machine]
        memory_mib = 640
        swap_mib = 64
        processors = 4
        append = "mitigations=off"
        [cgroup."/job"]
        memory.max = "60M"
        memory.high = "50M"
        memory.low = 4096
        memory.min = "1M"
        memory.swap.max = "max"
        memory.swap.high = "10M"
        memory.oom.group = true
        value = -7
        [cgroup."/job/a"]
        [[assign]]
        value = 3
        comm = "large"
        [[workload]]
        name = "grower"
        cgroup = "/job/a"
        size = "1M"
        grow_to = "70M"
        [[workload]]
        name = "large"
        cgroup = "/job/a"
        size = "30M"
        copies = 2
        threads = 3
        leader_exits = true
        shmem = true
        mlock = true
        pageout = true
        oom_score_adj = -5
        uid = 1000
        late = true
        [[round]]
        about = "as the kernel does"
        victims = ["large", ["large", "grower"], "..."]
        [[round]]
        policy = "protect"
        params = { COMMS = ["large"] }
        victims_among = ["grower"]
        survivors = ["large"]
        within_s = 9.5
        runs_out = "sysrq"
        cannot = { hook = "for no reason" }
    """
    read = read_scenario(write(tmp_path, text))
    assert (read.name, read.about, read.time_limit_s, read.folder) == ("mine", "all there is", 90, tmp_path)
    machine = read.machine
    assert (machine.memory_mib, machine.swap_mib, machine.processors) == (640, 64, 4)
    assert machine.append == "mitigations=off"
    first, second = read.rounds
    memory = Memory(max="60M", high="50M", low=4096, min="1M", swap=Swap("max", "10M"), oom=Oom(True))
    assert first.world.cgroup == {"/job": Cgroup(memory, -7), "/job/a": Cgroup()}
    assert first.world.workload[0] == Workload("grower", "/job/a", "1M", "70M")
    large = Workload("large", "/job/a", "30M", None, 0, 2, 3, True, True, True, True, -5, 1000, True)
    assert first.world.workload[1] == large
    assert large.words == ["told", "shmem", "mlock", "pageout", "thread", "threads=2", "uid=1000"]
    assert first.world.assign == [AssignRow(3, comm="large")]
    assert (first.round.backend, first.round.policy, first.round.within_s) == ("none", None, 7)
    assert first.round.victims == ["large", ["large", "grower"], "..."]
    assert first.round.deaths_awaited == 3
    assert (second.round.backend, second.round.policy) == ("oom_score_adj", "protect")
    assert (second.round.victims, second.round.victims_among) == (None, ["grower"])
    assert (second.round.runs_out, second.round.scope, second.round.within_s) == ("sysrq", None, 9.5)
    assert second.round.deaths_awaited == 1


def test_without_rounds_the_file_itself_is_the_round(tmp_path: Path) -> None:
    (only,) = read_scenario(write(tmp_path, GOOD)).rounds
    assert (only.number, only.round.victims, only.round.by) == (1, ["large"], "grower")


def test_files_of_a_cgroup_are_the_kernels_names() -> None:
    memory = Memory(max="60M", low=4096, swap=Swap(max=0), oom=Oom(group=False))
    assert dict(memory.files()) == {
        "memory.low": "4096",
        "memory.max": "60M",
        "memory.swap.max": "0",
        "memory.oom.group": "0",
    }


# What is written instead of what is right, what is said, and the line shown where that is another.
BAD: dict[str, tuple[str, ...]] = {
    "a table that is not there": ("[machin]", "[machine]\nswap_mib = 64", "unknown key machin: did you mean machine?"),
    "a key that is not there": ("sise = 3", 'size = "30M"', "workload 1: unknown key sise: did you mean size?"),
    "a memory file in quotes": ('"memory.max" = "60M"', 'memory.max = "60M"', "leave out the quotes: memory.max"),
    "a memory file that is not there": (
        'memory.maximum = "60M"',
        'memory.max = "60M"',
        "cgroup /job: memory: unknown key maximum: did you mean max?",
    ),
    "a limit that is none": (
        'memory.max = "60 megs"',
        'memory.max = "60M"',
        'cgroup /job: memory.max: expected a limit like "64M" or "max", or a number of bytes, not "60 megs"',
    ),
    "a size that is none": ("size = true", 'size = "30M"', 'workload 1: size: expected a size like "64M" or "512K"'),
    "a name that no comm can be": ('name = "a b"', 'name = "large"', "name: expected a name of 1 to 15 letters"),
    "a swap that is a text": (
        'swap_mib = "64"',
        "swap_mib = 64",
        'machine.swap_mib: expected a number of MiB, not "64"',
    ),
    "a victim that is a number": (
        "victims = [7]",
        'victims = ["large"]',
        "victims: expected a list of workloads in the",
    ),
    "a victim that is no workload": (
        'victims = ["larg"]',
        'victims = ["large"]',
        "no workload larg: did you mean large?",
    ),
    "nothing but more": ('victims = ["..."]', 'victims = ["large"]', '"..." alone says nothing: name who dies first'),
    "more in the middle": ('victims = ["...", "large"]', 'victims = ["large"]', "victims: no workload ..."),
    "nobody, without an end": ("victims = []", 'victims = ["large"]', "nothing says how far grower grows"),
    "no expectation": ("", 'victims = ["large"]', "does not say who is to die: write victims"),
    "two expectations": (
        'victims = ["large"]\nvictims_among = ["large"]',
        'victims = ["large"]',
        "has both victims and victims_among",
    ),
    "to die and to live": (
        'victims = ["large"]\nsurvivors = ["large"]',
        'victims = ["large"]',
        "large is to die and to live: take it out of one",
    ),
    "nothing runs out": ("", 'runs_out = "/job"', "does not say what runs out: add runs_out"),
    "what does not exist runs out": (
        'runs_out = "/jbo"',
        'runs_out = "/job"',
        "there is nothing like /jbo: did you mean /job?",
    ),
    "what has no limit runs out": ('runs_out = "/job/a"', 'runs_out = "/job"', "cgroup /job/a has no memory.max"),
    "by nobody": ("", 'by = "grower"', "does not say by whom /job runs out"),
    "by whom there is not": ('by = "growr"', 'by = "grower"', "by: no workload growr: did you mean grower?"),
    "by somebody outside": (
        'name = "grower"\ncgroup = "/"',
        'name = "grower"\ncgroup = "/job/a"',
        "by: grower grows in /, which is not in /job",
        'by = "grower"',
    ),
    "by one of two": ('name = "grower"\ncopies = 2', 'name = "grower"', "by: there are 2 of grower", 'by = "grower"'),
    "a cgroup that is not there": (
        'cgroup = "/job/b"\nsize',
        'cgroup = "/job/a"\nsize',
        "workload large: no cgroup /job/b: did you mean /job/a?",
    ),
    "a process beside cgroups": (
        'cgroup = "/job"\nsize',
        'cgroup = "/job/a"\nsize',
        "cgroup /job has cgroups below it, so it holds no processes: give it one of its own, like /job/large",
    ),
    "a cgroup that is no path": ('[cgroup."job/a"]', '[cgroup."/job/a"]', "cgroup job/a: is not a path like /job/db"),
    "a name taken": ('name = "large"', 'name = "grower"', "a second workload large: for several that"),
    "a backend without a policy": (
        'backend = "hook"\nby = "grower"',
        'by = "grower"',
        'backend hook, but no policy: add policy = "memcg_priority"',
    ),
    "a backend that is not there": (
        'backend = "hok"\nby = "grower"',
        'by = "grower"',
        'backend: expected one of "none", "auto", "oom_score_adj", "hook", "kill", not "hok": did you mean "hook"?',
    ),
    "a workload without a name": ("", 'name = "large"\n', "workload 1 has no name: add name = …"),
    "not TOML": ("by = grower", 'by = "grower"', "is not TOML: Invalid value"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_is_said_with_its_line(case: str, tmp_path: Path) -> None:
    wrong, right, says, *elsewhere = BAD[case]
    assert GOOD.count(right) == 1
    path = write(tmp_path, GOOD.replace(right, wrong))
    with pytest.raises(ConfigError) as caught:
        read_scenario(path)
    assert says in str(caught.value)
    if wrong:
        found = re.match(rf"{re.escape(str(path))}:(\d+)", str(caught.value))
        assert found
        assert path.read_text().splitlines()[int(found[1]) - 1] in [*wrong.splitlines(), *elsewhere]
        assert caught.value.excerpt


def test_pageout_needs_swap(tmp_path: Path) -> None:
    text = GOOD.replace("swap_mib = 64", "").replace('size = "30M"', 'size = "30M"\npageout = true')
    with pytest.raises(ConfigError, match="pageout, but the machine has no swap: add it"):
        read_scenario(write(tmp_path, text))


def test_what_a_round_leaves_to_the_file_is_shown_where_the_file_says_it(tmp_path: Path) -> None:
    text = GOOD.replace('by = "grower"', 'by = "nobody"').replace('victims = ["large"]', "")
    path = write(tmp_path, text + '[[round]]\nvictims = ["large"]\n')
    with pytest.raises(ConfigError) as caught:
        read_scenario(path)
    assert str(caught.value).startswith(f"{path}:2: by: no workload nobody")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_scenario(tmp_path / "none.toml")


def test_another_policy_and_backend_take_the_place_of_each_rounds_own(tmp_path: Path) -> None:
    rounds = '[[round]]\n[[round]]\npolicy = "protect"\nparams = { COMMS = ["x"] }\n'
    scenario = read_scenario(write(tmp_path, GOOD + rounds))
    changed = [play.round for play in forced(scenario, "./mine.py", "hook").rounds]
    assert [(row.policy, row.backend, row.params) for row in changed] == [
        (None, "none", None),
        ("./mine.py", "hook", {}),
    ]
    (kept,) = forced(scenario, None, "none").rounds
    assert kept.number == 1
    assert forced(scenario, None, None) == scenario


def test_a_round_that_a_backend_cannot_do_is_skipped(tmp_path: Path) -> None:
    text = GOOD + '[[round]]\npolicy = "protect"\ncannot = { hook = "not yet" }\n'
    scenario = read_scenario(write(tmp_path, text))
    assert [play.skipped for play in scenario.rounds] == [None]
    changed = forced(scenario, None, "hook")
    assert [play.skipped for play in changed.rounds] == ["not yet"]
    assert changed.played == ()


@pytest.mark.parametrize("path", collection(), ids=lambda path: path.stem)
def test_the_collection_is_right_and_says_what_it_shows(path: Path) -> None:
    scenario = read_scenario(path)
    assert scenario.about != scenario.name
    assert find(path.stem) == path
