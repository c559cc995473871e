"""`rank`, `explain`, `record`, `check`: on a recording, on this machine, and given what cannot work."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

import pytest

from oompolicy.sources.recording import write_recording

from conftest import Run
from worlds import machine, memcg, task

RANK_KEYS = [
    "rank", "pid", "comm", "cgroup", "points", "verdict", "badness", "oom_score_adj", "rss_pages", "swap_pages",
    "pgtables_pages", "reason",
]  # fmt: skip


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    world = machine(
        memcg("db", value=900, tasks=[task("postgres", rss="3G")]),
        memcg("batch", value=10, limit="512M", tasks=[task("sort", rss="200M"), task("cat", rss="1M")]),
        task("sshd", rss="10M", oom_score_adj=-1000),
    )
    write_recording(world, tmp_path / "world")
    return tmp_path / "world"


def test_rank_lists_worst_first_with_stable_keys(run_command: Run, recording: Path) -> None:
    done = run_command("rank", "--json", "--snapshot", recording, "--policy", "memcg_priority")
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert (done.status, done.err) == (0, "")
    assert [list(line) for line in lines] == [RANK_KEYS] * 3
    assert [line["comm"] for line in lines] == ["sort", "cat", "postgres"]
    assert lines[0]["reason"] == "scored on task.memcg.value=10, task.badness=51200"


def test_rank_within_a_cgroup_however_it_is_spelled(run_command: Run, recording: Path) -> None:
    for spelled in ("/batch", "batch", "/sys/fs/cgroup/batch", "/sys/fs/cgroup/memory/batch/"):
        done = run_command("rank", "--json", "--snapshot", recording, "--scope", spelled)
        assert [json.loads(line)["comm"] for line in done.out.splitlines()] == ["sort", "cat"], spelled


def test_rank_top(run_command: Run, recording: Path) -> None:
    assert len(run_command("rank", "--json", "--snapshot", recording, "--top", 1).out.splitlines()) == 1
    assert "… and 2 more (--top)" in run_command("rank", "--snapshot", recording, "--top", 1).out


def test_a_pipe_gets_no_colours(run_command: Run, recording: Path) -> None:
    assert "\x1b" not in run_command("rank", "--snapshot", recording).out


def test_rank_on_this_machine_leaves_itself_out(run_command: Run) -> None:
    done = run_command("rank", "--json")
    comms = {(line["pid"], line["comm"]) for line in map(json.loads, done.out.splitlines())}
    assert done.status == 0
    assert any(pid == os.getpid() for pid, _ in comms)


def test_what_a_process_calls_itself_is_shown_and_not_obeyed(run_command: Run, tmp_path: Path) -> None:
    write_recording(machine(task("\x1b[2J\nroot", rss=1)), tmp_path / "world")
    out = run_command("rank", "--snapshot", tmp_path / "world").out
    assert "\x1b" not in out
    assert r"\x1b[2J\nroot" in out


def test_explain_says_why_not_and_who_instead(run_command: Run, recording: Path) -> None:
    done = run_command("explain", 101, "--snapshot", recording)  # sort
    assert "When the whole machine runs out (4,096 MiB with swap), it would not be chosen: rank 2 of 3" in done.out
    assert "When /batch runs out (512 MiB with swap), it would be chosen." in done.out
    assert "badness 51,200 = 51,200 pages of memory + oom_score_adj 0" in done.out


def test_explain_names_the_exclusion(run_command: Run, recording: Path) -> None:
    assert "it cannot be chosen: oom_score_adj is -1000" in run_command("explain", 103, "--snapshot", recording).out


def test_explain_json(run_command: Run, recording: Path) -> None:
    done = run_command("explain", 100, "--snapshot", recording, "--policy", "memcg_priority", "--json")
    (line,) = map(json.loads, done.out.splitlines())
    assert (line["chosen"], line["rank"], line["victim"]["comm"]) == (False, 3, "sort")


def test_explain_a_pid_that_is_gone(run_command: Run) -> None:
    with subprocess.Popen(["true"]) as ended:
        ended.wait()
    done = run_command("explain", ended.pid)
    assert done.status == 1
    assert done.err == (
        f"oompolicy: pid {ended.pid}: no such process: it has ended, or never was; `oompolicy rank` lists them\n"
    )


def test_record_and_rank_elsewhere(run_command: Run, tmp_path: Path) -> None:
    assert run_command("record", tmp_path / "snap").status == 0
    assert run_command("rank", "--snapshot", tmp_path / "snap", "--json").out.count("\n") > 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["rank", "--snapshot", "none"], "none: "),
        (["rank", "--scope", "/no/such"], "cgroup /no/such: does not exist here"),
        (["rank", "--policy", "memcg_prority"], "did you mean memcg_priority?"),
        (["rank", "--policy", "./none.py"], "none.py: no such file"),
        (["rank", "--policy", "priority_floor", "--param", "FLOOR=1"], "has no parameter FLOOR"),
        (["rank", "--config", "none.toml"], "none.toml: no such file"),
        (["get", "/no/such"], "cgroup /no/such: does not exist here"),
        (["set", "/no/such", "5"], "cgroup /no/such: does not exist here"),
        (["record", "/no/such/folder/file"], "/no/such/folder"),
    ],
)
def test_what_is_not_there_is_one_line_and_status_1(run_command: Run, arguments: list[str], said: str) -> None:
    done = run_command(*arguments)
    assert done.status == 1
    assert done.err.startswith("oompolicy: ")
    assert said in done.err
    assert done.err.count("\n") == 1
    assert done.out == ""


@pytest.mark.parametrize(
    "arguments",
    [["rank", "--top", "0"], ["rank", "--no-such"], ["explain", "x"], ["explain"], ["no_such"], ["set", "/a"]],
)
def test_wrong_usage_is_status_2(run_command: Run, arguments: list[str]) -> None:
    assert run_command(*arguments).status == 2


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"\x1f\x8b\x08garbage", b'{"format": "other"}'])
def test_a_file_that_is_no_recording(run_command: Run, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "snap").write_bytes(content)
    done = run_command("rank", "--snapshot", tmp_path / "snap")
    assert done.status == 1
    assert done.err.startswith(f"oompolicy: {tmp_path / 'snap'}: ")


def policy_file(folder: Path, body: str) -> Path:
    path = folder / "mine.py"
    path.write_text(f"from oompolicy import *\n\n\n@policy\ndef mine(task, oc):\n    {body}\n")
    return path


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("return task.comm", ":4: policy mine faulted for 3 of 3 tasks, first for postgres (100): it returned"),
        ("return task.rss // 0", ":6: policy mine faulted for 3 of 3 tasks"),
        ("return 1 if task.com == 'x' else 0", "has no attribute 'com'"),
        ("while True: pass", "it took longer than 1 s: does it loop?"),
    ],
)
def test_a_faulty_policy_is_shown_its_place_after_the_answer(
    run_command: Run, recording: Path, trusted_folder: Path, body: str, why: str
) -> None:
    path = policy_file(trusted_folder, body)
    done = run_command("rank", "--snapshot", recording, "--policy", path)
    assert done.status == 1
    assert done.out.splitlines()[1].split()[2] == "postgres"  # every fault is DEFER: the kernel's choice
    assert why in done.err
    assert done.err.startswith(f"oompolicy: {path}:")
    checked = run_command("check", path, "--snapshot", recording)
    assert checked.status == 1
    assert "keeps the contract" not in checked.out


def test_a_typo_in_a_policy_shows_the_line(run_command: Run, trusted_folder: Path) -> None:
    path = policy_file(trusted_folder, "return KILL if task.pid == 1 esle DEFER")
    done = run_command("check", path)
    assert done.status == 1
    assert f"{path}:6:" in done.err
    assert "return KILL if task.pid == 1 esle DEFER" in done.err


def test_check_says_what_a_policy_says(run_command: Run, recording: Path) -> None:
    done = run_command("check", "memcg_priority", "--snapshot", recording)
    assert done.status == 0
    assert done.out.splitlines()[-1] == "memcg_priority keeps the contract."
    assert "sort (101)" in done.out
    for line in map(json.loads, run_command("check", "protect", "--json", "--snapshot", recording).out.splitlines()):
        assert line["faults"] == []


@pytest.mark.parametrize(
    ("body", "suspicion"),
    [
        ("return SPARE", "it spares everyone"),
        ("return 5", "it reads nothing"),
        ("return 5 if task.value is None else task.value", "it reads values"),
    ],
)
def test_check_names_what_is_suspicious(
    run_command: Run, recording: Path, trusted_folder: Path, body: str, suspicion: str
) -> None:
    done = run_command("check", policy_file(trusted_folder, body), "--snapshot", recording)
    assert done.status == 0
    assert f"suspicious: {suspicion}" in done.out


def test_check_names_each_suspicion_once(run_command: Run, recording: Path, trusted_folder: Path) -> None:
    done = run_command("check", policy_file(trusted_folder, "return 5"), "--snapshot", recording)
    assert done.out.count("suspicious:") == 1


def test_check_names_cgroups_that_are_not_there(run_command: Run, recording: Path, trusted_folder: Path) -> None:
    body = 'return KILL if task.memcg is not None and task.memcg.is_under("/nowhere.slice") else DEFER'
    config = trusted_folder / "oompolicy.toml"
    config.write_text('[[assign]]\ncgroup = "/not*here"\nvalue = 5\n')
    path = policy_file(trusted_folder, body)
    done = run_command("check", path, "--snapshot", recording, "--config", config)
    assert done.status == 0
    assert "suspicious: it asks for what is under /nowhere.slice: there is no such cgroup here" in done.out
    assert 'suspicious: [[assign]] gives 5 to cgroup "/not*here", which matches none here' in done.out


def test_check_counts_the_instructions_of_a_policy_and_lists_them(run_command: Run, recording: Path) -> None:
    if not Path("/sys/kernel/btf/vmlinux").exists():
        pytest.skip("this kernel has no BTF to compile for")
    done = run_command("check", "memcg_priority", "--snapshot", recording)
    (line,) = [line for line in done.out.splitlines() if line.startswith("compiles, ")]
    count = int(line.split()[1])
    assert 100 < count <= 300
    listed = run_command("check", "memcg_priority", "--listing").out
    assert "return -value * PAGES_PER_STEP + task.badness" in listed  # the source
    assert "= mul %" in listed  # the IR
    assert "<<= 36" in listed  # and what became of it


def test_what_does_not_compile_is_shown_whole_and_refused_where_it_must(
    run_command: Run, recording: Path, trusted_folder: Path
) -> None:
    path = policy_file(trusted_folder, "return max([task.rss, 0]) + len({})")
    done = run_command("check", path, "--snapshot", recording)
    assert done.status == 0
    assert "does not compile; the hook would publish its answers:" in done.out
    assert done.out.count(f"  {path}:6:") == 2
    assert run_command("check", path, "--snapshot", recording, "--compiled").status == 1
    (first, *_) = map(json.loads, run_command("check", path, "--json", "--snapshot", recording).out.splitlines())
    assert (first["compiles"], len(first["refusals"]), first["instructions"]) == (False, 2, None)
    refused = run_command("check", path, "--listing")
    assert refused.status == 1
    assert "use a tuple of constants" in refused.err


def test_root_refuses_a_policy_that_others_can_write(run_command: Run, tmp_path: Path, trusted_folder: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root has something to fear")
    done = run_command("rank", "--policy", policy_file(tmp_path, "return DEFER"))
    assert done.status == 1
    assert "can be written by" in done.err
    path = policy_file(trusted_folder, "return DEFER")
    assert run_command("rank", "--policy", path).status == 0
    path.chmod(0o666)
    assert "can be written by everybody" in run_command("rank", "--policy", path).err


def test_help_is_quick_and_rank_needs_no_tables_to_print_json(run_command: Run) -> None:
    # The bound is loose, for a loaded machine; bench/startup.py measures.
    start = time.monotonic()
    assert run_command("--help").status == 0
    assert time.monotonic() - start < 1.5


def test_completion_knows_the_commands(run_command: Run) -> None:
    for shell in ("bash", "zsh", "fish"):
        assert "_OOMPOLICY_COMPLETE" in run_command("completion", shell).out
