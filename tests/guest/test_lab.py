"""The lab plays scenarios and random OOMs on stock kernels, and says so when something is not as it should be."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from conftest import Run
from lab import DoesNotBuildError, LabError, random_oom
from lab.hog import hog
from lab.kernels import kernel, with_modules
from lab.python_tree import python_tree
from lab.scenario import collection, find, read_scenario

KERNELS = ("6.12", "6.1")
COLLECTION = [path.stem for path in collection()]
SMALL = """
runs_out = "/job"
by = "small"
[cgroup."/job"]
memory.max = "84M"
[[workload]]
name = "large"
cgroup = "/job"
size = "56M"
[[workload]]
name = "small"
cgroup = "/job"
size = "4M"
"""


@pytest.fixture(autouse=True)
def _lab_works() -> None:
    if shutil.which("qemu-system-x86_64") is None:
        pytest.skip("no QEMU: apt-get install qemu-system-x86")
    try:
        kernel(KERNELS[0])
        python_tree()
        hog()
    except LabError as error:
        pytest.skip(f"no guest here: {error}")


@pytest.mark.guest
@pytest.mark.guest_core
def test_two_scenarios_end_as_expected_and_the_model_agrees(run_command: Run) -> None:
    done = run_command("lab", "memcg", "nested", "--json")
    results = [json.loads(line) for line in done.out.splitlines()]
    assert (done.status, done.err) == (0, "")
    assert [result["scenario"] for result in results] == ["memcg", "nested"]
    for result in results:
        assert result["kernel"].startswith("6.12.")
        assert (result["ok"], result["trouble"], result["log_problems"]) == (True, None, [])
        without, with_policy = result["rounds"]
        assert (without["backend"], with_policy["backend"]) == ("none", "oom_score_adj")
        assert without["victims"][0]["comm"] != with_policy["victims"][0]["comm"]
        for played in result["rounds"]:
            assert [who["comm"] for who in played["victims"]] == played["expected"]["victims"]
            assert [report["agrees"] for report in played["reports"]] == [True]
            assert played["reports"][0]["killed"]["pid"] == played["victims"][0]["pid"]
        assert with_policy["reports"][0]["obeyed"] is True


@pytest.mark.guest
@pytest.mark.guest_core
def test_the_model_is_the_kernel_in_thirty_random_ooms() -> None:
    _agree(random_oom.run("thirty", range(1, 31), "6.12"), 30)


@pytest.mark.guest
def test_the_model_is_the_kernel_with_a_policy_in_it_in_thirty_random_ooms() -> None:
    """Points included: what oom_badness() returns with the module is the policy's word."""
    _needs_the_hook("6.12")
    outcome = random_oom.run("thirty more", range(1, 31), "6.12", "memcg_priority", "hook")
    _agree(outcome, 30)
    assert all(each.obeyed for each in outcome.compared)
    assert sum(each.points for each in outcome.compared) > 6 * 30


@pytest.mark.guest
@pytest.mark.parametrize("name", KERNELS)
def test_the_model_is_the_kernel_in_three_hundred_random_ooms(name: str) -> None:
    _agree(random_oom.run("three hundred", range(1, 301), name), 300)


@pytest.mark.guest
@pytest.mark.parametrize(("name", "policy"), [("6.12", "memcg_priority"), ("patched", "memcg_hierarchy")])
def test_the_model_is_the_kernel_with_a_policy_in_it_in_three_hundred(name: str, policy: str) -> None:
    _needs_the_hook(name)
    outcome = random_oom.run("three hundred more", range(1, 301), name, policy, "hook")
    _agree(outcome, 300)
    assert all(each.obeyed for each in outcome.compared)


def _agree(outcome: random_oom.Outcome, count: int) -> None:
    assert [difference for each in outcome.compared for difference in each.differs] == []
    assert (outcome.agree, outcome.trouble, outcome.log_problems) == (count, None, [])
    assert sum(each.points for each in outcome.compared) > 3 * count


def _needs_the_hook(name: str) -> None:
    """Skip where it cannot be built here; one that does not compile is a failure."""
    try:
        with_modules(kernel(name), ["hook"])
    except DoesNotBuildError:
        raise
    except LabError as error:
        pytest.skip(f"no hook here: {error}")


def _played(run_command: Run, scenario: str, name: str, backend: str) -> dict[str, Any]:
    """A scenario of the collection, in which nothing may be amiss."""
    done = run_command("lab", scenario, "--kernel", name, "--backend", backend, "--json")
    (result,) = map(json.loads, done.out.splitlines())
    assert (result["ok"], done.status) == (True, 0), result
    return dict(result)


@pytest.mark.guest
@pytest.mark.parametrize(
    ("name", "backend"), [("6.12", "oom_score_adj"), ("6.1", "oom_score_adj"), ("6.12", "hook"), ("patched", "hook")]
)
@pytest.mark.parametrize("scenario", COLLECTION)
def test_the_collection(scenario: str, name: str, backend: str, run_command: Run) -> None:
    if backend == "hook":
        _needs_the_hook(name)
    result = _played(run_command, scenario, name, backend)
    reports = [report for played in result["rounds"] for report in played["reports"]]
    assert False not in [report["agrees"] for report in reports]
    assert reports or all(played["skipped"] for played in result["rounds"])


@pytest.mark.guest
@pytest.mark.parametrize("scenario", COLLECTION)
def test_on_6_1_auto_falls_back_says_so_and_the_collection_ends_as_expected(scenario: str, run_command: Run) -> None:
    """What oom_score_adj cannot do is said of the very rounds that say so themselves."""
    rounds = _played(run_command, scenario, "6.1", "auto")["rounds"]
    under_auto = [played for played in rounds if played["backend"] == "auto"]
    assert under_auto
    for played in under_auto:
        assert played["took"] == "oom_score_adj"
        assert played["took_why"].startswith(
            "not the hook: hook: this kernel has no bpf_oom_score(), and fmod_ret for "
        )
    without = read_scenario(find(scenario)).rounds
    cannot = {this.number for this in without if "oom_score_adj" in (this.round.cannot or {})}
    assert {played["number"] for played in rounds if played["skipped"] is not None} == cannot


@pytest.mark.guest
@pytest.mark.parametrize("scenario", ["memcg", "late", "contrary"])
@pytest.mark.parametrize("name", ["6.12", "patched"])
def test_where_the_hook_is_auto_takes_it(scenario: str, name: str, run_command: Run) -> None:
    """The latter two cannot be done without it."""
    _needs_the_hook(name)
    rounds = _played(run_command, scenario, name, "auto")["rounds"]
    taken = [(played["took"], played["took_why"]) for played in rounds if played["backend"] == "auto"]
    assert taken == [("hook", None)] * len(taken) != []
    assert all(played["skipped"] is None and played["victims"] for played in rounds)


@pytest.mark.guest
def test_what_oom_score_adj_is_said_not_to_express_it_does_not(run_command: Run, tmp_path: Path) -> None:
    """The scenario that says so, made to try: the round fails, and no other does."""
    text = find("contrary").read_text()
    without = [line for line in text.splitlines() if not line.startswith("cannot")]
    (tmp_path / "tried.toml").write_text("\n".join(without))
    done = run_command("lab", tmp_path / "tried.toml", "--backend", "oom_score_adj", "--json")
    (result,) = map(json.loads, done.out.splitlines())
    assert done.status == 1
    assert [played["ok"] for played in result["rounds"]] == [True, False, True]
    assert result["rounds"][1]["why"][0] == "cache was to die, and batch died"


@pytest.mark.guest
def test_a_policy_of_ones_own_in_a_file(run_command: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('policy = "protect"\nvictims = ["small"]\n' + SMALL)
    (tmp_path / "mine.py").write_text(
        "from oompolicy.policy import DEFER, SPARE, policy\n"
        "@policy\n"
        "def mine(task, oc):\n"
        '    return SPARE if task.comm == "large" else DEFER\n'
    )
    done = run_command("lab", tmp_path / "mine.toml", "--policy", tmp_path / "mine.py", "--keep", tmp_path / "kept")
    assert done.status == 0, done
    assert "1 of 1 rounds as expected; the model of the kernel agrees with 1 of 1 reports." in done.out
    kept = tmp_path / "kept" / "mine-6.12"
    assert {path.name for path in kept.iterdir()} == {
        "console.log",
        "result.json",
        "round-1.log",
        "round-1.policy.log",
    }
    assert "Killed process" in (kept / "round-1.log").read_text()
    assert "policy mine, backend oom_score_adj" in (kept / "round-1.policy.log").read_text()


@pytest.mark.guest
def test_what_is_not_as_expected_is_said_and_is_exit_status_1(run_command: Run, tmp_path: Path) -> None:
    text = (
        SMALL
        + """
    [[round]]
    victims = ["small"]
    [[round]]
    policy = '''
from oompolicy.policy import policy
@policy
def broken(task, oc)
    return 1
'''
    victims = ["small"]
    """
    )
    (tmp_path / "mine.toml").write_text(text)
    done = run_command("lab", tmp_path / "mine.toml", "--json")
    (result,) = map(json.loads, done.out.splitlines())
    first, second = result["rounds"]
    assert (done.status, result["ok"], first["ok"], second["ok"]) == (1, False, False, False)
    assert first["why"] == ["small was to die, and large died"]
    assert "the policy is not in force: " in second["why"][0]
    assert second["victims"] == []


@pytest.mark.guest
def test_a_runaway_guest_is_stopped_and_says_where(run_command: Run, tmp_path: Path) -> None:
    """Nobody can be killed, so the round would go on for ten minutes."""
    text = SMALL.replace('size = "4M"', 'size = "4M"\noom_score_adj = -1000')
    text = text.replace('size = "56M"', 'size = "56M"\noom_score_adj = -1000')
    (tmp_path / "mine.toml").write_text('time_limit_s = 15\nwithin_s = 600\nvictims = ["large"]\n' + text)
    done = run_command("lab", tmp_path / "mine.toml", "--json")
    (result,) = map(json.loads, done.out.splitlines())
    assert (done.status, result["ok"]) == (1, False)
    assert result["trouble"] == "stopped by the time limit of 15 s in round 1"
    assert result["rounds"][0]["why"] == ["it was not played"]
    assert result["timings_s"]["guest"] < 17
