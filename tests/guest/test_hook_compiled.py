"""Compiled policies in a stock kernel with the module, and in one with the patch: they decide, and the contract holds.

Belongs here: what guest/hook_compiled.py must have seen. Must not know: how it made it happen.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from guest.test_hook import PAGES_PER_STEP, POINTS_SPARE, RANDOM_SEED, RANDOM_TIMES, first, on, tainted_by_us
from guest.test_module import TAINTED_BY_US, Proofs, in_guest, trouble

from lab.guest import run_guest
from lab.kernels import PATCHED
from lab.python_tree import python_tree

pytestmark = pytest.mark.guest
CORE = pytest.mark.guest_core
TESTS = Path(__file__).parents[1]
COMPILED_TIMES = int(os.environ.get("OOMPOLICY_RANDOM_OOMS", "500"))
CASES = int(os.environ.get("OOMPOLICY_DIFFERENTIAL_CASES", "2000"))


@pytest.fixture(scope="module", params=[pytest.param("module", marks=CORE), "patched"])
def seen(request: pytest.FixtureRequest) -> Proofs:
    """One boot, the backend in one process."""
    if request.param == "patched":
        return in_guest("hook_compiled patched", PATCHED, limit_s=480)
    return in_guest("hook_compiled", limit_s=480)


@pytest.fixture(scope="module", params=["6.12", PATCHED])
def of_the_daemon(request: pytest.FixtureRequest) -> Proofs:
    """One boot, the commands as a person types them."""
    return on(request.param, "hook_daemon_compiled", limit_s=480)


def line(proof: dict[str, Any]) -> str:
    found: str = proof["lines"][0]
    return found


@pytest.mark.parametrize("proof", ["memcg", "nested", "sysrq", "exhausted"])
def test_the_memcg_of_lowest_priority_dies_though_it_is_smaller(seen: Proofs, proof: str) -> None:
    """By the policy itself, with the kernel's badness of that moment."""
    chosen = first(seen[proof])
    assert chosen["victim"] == "small"
    assert 10 * 256 <= chosen["points"] + 10 * PAGES_PER_STEP <= 14 * 256
    assert set(chosen["sources"].values()) == {"POLICY"}


def test_no_built_in_policy_is_refused_and_the_usual_one_is_small(seen: Proofs) -> None:
    sizes = seen["sizes"]["instructions"]
    print(sizes)
    assert len(sizes) == 8
    assert sizes["memcg_priority"] <= 300


class TestTheSafetyContract:
    def test_1_the_unkillable_never_reach_it(self, seen: Proofs) -> None:
        assert "never" not in first(seen["unkillable"])["asked"]
        assert first(seen["unkillable"])["victim"] == "small"
        assert seen["unkillable"]["own"] == seen["unkillable"]["attached"]

    def test_2_sparing_everyone_still_yields_a_victim(self, seen: Proofs) -> None:
        chosen = first(seen["spare all"])
        assert set(chosen["bands"].values()) == {"SPARE"}
        assert chosen["victim"] == "big"
        assert 30 * 256 <= chosen["points"] - POINTS_SPARE <= 34 * 256

    def test_3_a_policy_that_always_faults_leaves_the_choice_to_the_kernel(self, seen: Proofs) -> None:
        chosen = first(seen["fault"])
        assert set(chosen["sources"].values()) == {"FAULT"}
        assert set(chosen["bands"].values()) == {"DEFER"}
        assert chosen["victim"] == "big"

    def test_3_a_fault_counts_as_defer_for_that_task_and_is_counted_with_its_line(self, seen: Proofs) -> None:
        proof = seen["a fault"]
        sources = first(proof)["sources"]
        assert sources.pop("seven") == "FAULT"
        assert set(sources.values()) == {"POLICY"}
        assert first(proof)["bands"]["seven"] == "DEFER"
        assert proof["faults"] == len(proof["lines"])
        assert "it faulted for 1, first for seven" in line(proof)
        assert "hook_compiled.py:" in line(proof)
        assert "division by zero" in line(proof)

    def test_4_values_expire_and_the_policy_decides_without_them(self, seen: Proofs) -> None:
        proof = seen["expired values"]
        assert set(first(proof)["sources"].values()) == {"POLICY_WITHOUT_VALUES"}
        assert first(proof)["victim"] == "big"
        assert proof["expired"] >= 3
        assert "without values: they had expired" in line(proof)

    def test_5_a_policy_that_reads_no_values_never_expires(self, seen: Proofs) -> None:
        proof = seen["expired, no values"]
        assert set(first(proof)["sources"].values()) == {"POLICY"}
        assert first(proof)["victim"] == "small"
        assert proof["expired"] == 0

    def test_6_a_refused_program_leaves_the_old_one_in_force(self, seen: Proofs) -> None:
        proof = seen["refused"]
        assert "the verifier refused it" in proof["said"]
        assert "policy memcg_priority (" in proof["said"]
        assert "stays in force" in proof["said"]
        assert first(proof)["victim"] == "small"
        assert "policy memcg_priority" in line(proof)


def test_a_process_without_its_leader_is_the_thread_that_has_its_memory(seen: Proofs) -> None:
    assert seen["leaderless"]["victims"][0] == "leaderless.t"
    assert seen["leaderless"]["choices"][0]["bands"]["leaderless"] == "KILL"


def test_preselection_lifts_what_the_policy_answers(seen: Proofs) -> None:
    """small, for which it defers, and whose memcg is preselected."""
    chosen = first(seen["preselected"])
    assert chosen["victim"] == "small"
    assert chosen["bands"] == {"big": "score", "asks": "score", "small": "preselected"}


def test_preselection_lifts_a_fault_too_for_it_counts_as_defer(seen: Proofs) -> None:
    chosen = first(seen["a fault, preselected"])
    assert chosen["victim"] == "small"
    assert set(chosen["sources"].values()) == {"FAULT"}
    assert chosen["bands"] == {"big": "DEFER", "asks": "DEFER", "small": "preselected"}
    assert "chose small" in line(seen["a fault, preselected"])


def test_a_path_that_appears_later_counts_from_the_next_look(seen: Proofs) -> None:
    chosen = first(seen["a path that appears"])
    assert chosen["bands"]["big"] == "SPARE"
    assert chosen["victim"] == "asks"


@pytest.mark.parametrize("proof", ["born in an empty memcg", "born in a new memcg"])
def test_who_is_born_after_the_last_look_is_asked_about_like_everybody(seen: Proofs, proof: str) -> None:
    """A memcg that was made after it inherits, as its value, that of the one above."""
    chosen = first(seen[proof])
    assert chosen["victim"] == "small"
    assert set(chosen["sources"].values()) == {"POLICY"}


def test_one_policy_ranks_an_oom_from_its_beginning_to_its_end(seen: Proofs) -> None:
    """Policies exchanged in a storm of OOMs, compiled ones and published ones: every event is whole and of one."""
    storm = seen["storm"]
    print({name: storm[name] for name in ("swaps", "kills", "events", "policies", "answered")})
    assert storm["mixed"] == []
    assert storm["broken"] == 0
    assert storm["events"] > storm["swaps"]
    assert storm["policies"] >= 4


def test_a_shadow_decides_nothing_and_its_disagreement_is_told(seen: Proofs) -> None:
    proof = seen["shadowed"]
    assert first(proof)["victim"] == "small"
    (found,) = proof["disagreements"][0].items()
    assert found[0].startswith("by_badness (")
    assert found[1] == "big"
    assert set(proof["shadows"][0].values()) == {len(first(proof)["asked"])}
    assert "would have chosen big" in line(proof)
    assert "shadow kills_small" not in line(proof)


def test_detaching_removes_shadows_and_policies_too(seen: Proofs) -> None:
    assert seen["after shadows"]["left"] is False
    if "rmmod" in seen:
        assert seen["rmmod"]["after"] == [0, ""]
    assert not seen["log"]["left"]


def test_the_kernel_has_nothing_to_complain_of_and_its_log_names_the_policies(seen: Proofs) -> None:
    assert trouble(seen["log"]) == []
    assert seen["log"]["tainted"] == (TAINTED_BY_US if "rmmod" in seen else 0)
    said = [each for each in seen["log"]["lines"] if "oompolicy: " in each]
    assert any("policy memcg_priority (" in each and "is in force, compiled" in each for each in said)
    assert any("no policy is in force: detached" in each for each in said)


def told(proof: dict[str, Any], number: int = 0) -> str:
    """The daemon's line of an OOM."""
    lines: list[str] = [each for each in proof["said"] if "OOM in" in each]
    return lines[number]


class TestTheDaemon:
    def test_it_says_that_the_policy_runs_in_the_kernel_and_how_long_it_is(self, of_the_daemon: Proofs) -> None:
        said = of_the_daemon["shadowed daemon"]["said"]
        (found,) = [each for each in said if "policy memcg_priority (" in each and "instructions" in each]
        print(found)
        assert "runs in the kernel: compiled, " in found

    def test_shadows_that_would_have_chosen_another_are_told_in_the_ooms_line(self, of_the_daemon: Proofs) -> None:
        proof = of_the_daemon["shadowed daemon"]
        assert proof["victims"][0] == "small"
        assert "score by the policy" in told(proof)
        for name in ("largest_memcg", "kernel_default"):
            assert f"shadow {name} (" in told(proof)
        assert told(proof).count("would have chosen big") == 2
        assert proof["pins"] == 2

    def test_get_shows_the_value_that_the_policy_reads(self, of_the_daemon: Proofs) -> None:
        found = json.loads(of_the_daemon["shadowed daemon"]["got"][0][1])["in_force"]
        assert (found["policy"], found["form"], found["value"]) == ("memcg_priority", "compiled_with_values", 10)

    def test_a_reload_swaps_the_policy(self, of_the_daemon: Proofs) -> None:
        proof = of_the_daemon["swapped by a reload"]
        assert proof["victims"][0] == "big"
        # Not always the last: the kernel may be asked again before the victim's memory has come back.
        assert any("chose big" in line and "policy kernel_default (" in line for line in proof["said"])

    def test_a_new_daemon_takes_the_programs_over_and_swaps_its_own_policy_in(self, of_the_daemon: Proofs) -> None:
        proof = of_the_daemon["adopted"]
        assert proof["sets"][0] == proof["sets"][1]
        assert "oompolicy: attached: taken over from an earlier daemon" in proof["said"]
        assert proof["victims"][0] == "small"
        assert (proof["shadows"], proof["left"]) == (0, False)

    def test_killed_a_policy_without_values_stays(self, of_the_daemon: Proofs) -> None:
        proof = of_the_daemon["killed, no values"]
        assert proof["victims"][0] == "small"
        assert "KILL by the policy; " in told(proof)
        assert "expired, " not in proof["doctor"][1]

    def test_killed_a_policy_with_values_decides_without_them_when_they_are_too_old(
        self, of_the_daemon: Proofs
    ) -> None:
        proof = of_the_daemon["killed, with values"]
        assert proof["victims"][0] == "big"
        assert "DEFER by the policy, without values: they had expired" in told(proof)
        assert "expired, the policy decides, without values" in " ".join(proof["doctor"][1].split())

    def test_what_does_not_compile_is_published_and_said_with_its_place(self, of_the_daemon: Proofs) -> None:
        proof = of_the_daemon["does not compile"]
        assert proof["victims"][0] == "small"
        assert any("its answers are published; it is not compiled: " in each for each in proof["said"])
        assert any("sorts.py:6:" in each for each in proof["said"])

    def test_a_scorers_values_are_what_the_compiled_policy_reads(self, of_the_daemon: Proofs) -> None:
        proof = of_the_daemon["scored"]
        print("\n".join(proof["said"]))
        assert proof["victims"][0] == "small"
        assert "KILL by the policy; " in told(proof)

    def test_what_must_be_compiled_and_cannot_is_refused(self, of_the_daemon: Proofs) -> None:
        said = of_the_daemon["does not compile"]["refused"]
        assert any("sorts.py:6:" in each for each in said)
        assert not any("are published" in each for each in said)

    def test_the_kernel_has_nothing_to_complain_of(self, of_the_daemon: Proofs) -> None:
        assert trouble(of_the_daemon["log"]) == []


@pytest.mark.parametrize(
    ("kernel", "times"), [pytest.param("6.12", 12, marks=CORE), ("6.12", COMPILED_TIMES), (PATCHED, RANDOM_TIMES)]
)
def test_what_a_compiled_policy_answers_is_what_the_model_says(kernel: str, times: int) -> None:
    """Random trees, sizes and policies: every candidate's badness, points and faults, and the victim."""
    carried = {f"/lab/compiler/{path.name}": path for path in (TESTS / "compiler").glob("*.py")}
    program = f"hook_random_compiled {times} {RANDOM_SEED}"
    proofs = on(kernel, program, limit_s=200 + 10 * times, files=carried)
    differing = [found for name, found in proofs.items() if name.startswith("differs")]
    print(proofs["all"])
    assert differing == []
    seen = proofs["all"]["seen"]
    assert proofs["all"]["times"] == times
    assert seen["victims"] > times // 3
    assert trouble(proofs["log"]) == []
    assert proofs["log"]["tainted"] == tainted_by_us(kernel)


@pytest.mark.parametrize("kernel", ["6.12", "6.1", PATCHED])
def test_every_executor_says_the_same_on_the_labs_kernels(kernel: str) -> None:
    folders = ("compiler", "guest", "bpf")
    files = python_tree() | {
        f"/lab/{folder}/{path.name}": path for folder in folders for path in (TESTS / folder).glob("*.py")
    }
    script = f"cd /lab && python3 -m guest.differential {CASES} {RANDOM_SEED}"
    done = run_guest(script, kernel, files=files, time_limit_s=120 + CASES // 10)
    assert done.status == 0, done.stderr
    ends = json.loads(done.stdout)
    print(kernel, ends)
    assert sum(ends.values()) >= CASES
