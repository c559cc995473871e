"""The backend hook on a stock kernel with the module and on a patched one: answers decide, the safety contract holds.

Belongs here: what the programs of this folder must have seen. Must not know: how they made it happen.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from guest.test_module import TAINTED_BY_US, Proofs, in_guest, trouble

from lab.kernels import PATCHED

pytestmark = pytest.mark.guest
CORE = pytest.mark.guest_core
POINTS_SPARE = -(1 << 61)
PAGES_PER_STEP = 1 << 36  # of policies/memcg_priority.py
RANDOM_TIMES = int(os.environ.get("OOMPOLICY_RANDOM_OOMS", "300"))
RANDOM_SEED = int(os.environ.get("OOMPOLICY_RANDOM_SEED", "2023"))


# A stock kernel with the module, and one that has the hook itself, with lockdep on, which makes it slower.
STORMS = ["6.12", PATCHED]
KERNELS = [pytest.param("6.12", marks=CORE), PATCHED]


@pytest.fixture(scope="module", params=KERNELS)
def of_the_hook(request: pytest.FixtureRequest) -> Proofs:
    """One boot, the backend in one process."""
    return on(request.param, "hook_proofs")


@pytest.fixture(scope="module", params=KERNELS)
def of_the_daemon(request: pytest.FixtureRequest) -> Proofs:
    """One boot, the commands as a person types them."""
    return on(request.param, "hook_daemon")


def on(kernel: str, program: str, limit_s: float = 300, files: Mapping[str, Path | bytes] | None = None) -> Proofs:
    """What a program saw on a kernel; it is told where there is no module."""
    words = f"{program} patched" if kernel == PATCHED else program
    return in_guest(words, kernel, files=files, limit_s=limit_s)


def tainted_by_us(kernel: str) -> int:
    """What the kernel may say of itself: the module is out of tree and unsigned, and a patch is no module."""
    return 0 if kernel == PATCHED else TAINTED_BY_US


def first(seen: dict[str, Any]) -> dict[str, Any]:
    """The first OOM: there may be another before the memory of the first victim is back."""
    found: dict[str, Any] = seen["choices"][0]
    assert found["victim"] == seen["victims"][0]
    assert found["points"] == found["by_answer"] == found["most"]
    assert found["whole"]
    return found


@pytest.mark.parametrize("proof", ["memcg", "nested", "sysrq", "exhausted"])
def test_the_memcg_of_lowest_priority_dies_though_it_is_smaller(of_the_hook: Proofs, proof: str) -> None:
    chosen = first(of_the_hook[proof])
    assert chosen["victim"] == "small"
    badness = chosen["points"] + 10 * PAGES_PER_STEP
    assert 10 * 256 <= badness <= 14 * 256
    assert chosen["sources"]["small"] == chosen["sources"]["big"] == "TASK"


def test_the_scope_of_an_event_is_the_memcg_that_ran_out(of_the_hook: Proofs) -> None:
    assert first(of_the_hook["nested"])["scope"] == of_the_hook["nested"]["scope"]
    assert "bystander" not in first(of_the_hook["nested"])["asked"]
    assert first(of_the_hook["sysrq"])["scope"] == 0


def test_the_next_to_die_is_the_next_in_the_order(of_the_hook: Proofs) -> None:
    """Memory really exhausted: after small there are two in the same memcg, and the larger one dies."""
    assert of_the_hook["exhausted"]["victims"][:2] == ["small", "grower"]


class TestTheSafetyContract:
    def test_1_the_unkillable_never_reach_it(self, of_the_hook: Proofs) -> None:
        assert "never" not in first(of_the_hook["unkillable"])["asked"]
        assert first(of_the_hook["unkillable"])["victim"] == "small"

    def test_2_sparing_everyone_still_yields_a_victim(self, of_the_hook: Proofs) -> None:
        chosen = first(of_the_hook["spare all"])
        assert set(chosen["bands"].values()) == {"SPARE"}
        assert chosen["victim"] == "big"
        assert 30 * 256 <= chosen["points"] - POINTS_SPARE <= 34 * 256

    def test_3_a_fault_counts_as_defer(self, of_the_hook: Proofs) -> None:
        chosen = first(of_the_hook["fault"])
        assert set(chosen["bands"].values()) == {"DEFER"}
        assert chosen["victim"] == "big"

    def test_4_answers_without_a_heartbeat_expire(self, of_the_hook: Proofs) -> None:
        chosen = first(of_the_hook["expired"])
        assert set(chosen["sources"].values()) == {"EXPIRED"}
        assert chosen["victim"] == "big"

    def test_5_it_outlives_the_daemon(self, of_the_daemon: Proofs) -> None:
        assert of_the_daemon["killed"]["victims"][0] == "small"

    def test_6_a_refused_program_leaves_the_old_one_in_force(self, of_the_hook: Proofs) -> None:
        seen = of_the_hook["refused"]
        assert "the verifier refused it" in seen["said"]
        assert len(seen["sets"]) == 1
        assert first(seen)["victim"] == "small"


def test_other_programs_take_over_without_a_gap(of_the_hook: Proofs) -> None:
    """The old ones answer until the new ones have published; then they are gone."""
    seen = of_the_hook["replaced"]
    assert [len(sets) for sets in seen["sets"]] == [2, 1]
    assert (seen["alone"][0], seen["in_between"][0]) == ("small", "asks")
    assert first(seen)["victim"] == "small"


def test_what_the_replaced_programs_recorded_is_told_and_told_once(of_the_hook: Proofs) -> None:
    """At the start what happened while nobody looked; at the first look what the old ones answered till then.

    (An OOM that found its victim still on the way out chose nobody.)
    """
    seen = of_the_hook["replaced"]
    at_start, at_first, at_second, at_third = ([line for line in told if ": chose " in line] for told in seen["told"])
    assert [len(told) for told in (at_start, at_first, at_second, at_third)] == [
        len(seen["alone"]),
        len(seen["in_between"]),
        0,
        len(seen["victims"]),
    ]
    assert "chose small" in at_start[0]
    assert "score for itself" in at_start[0]
    assert "chose asks" in at_first[0]
    assert "policy memcg_priority" in at_first[0]
    assert "expired" not in at_first[0]
    assert "chose small" in at_third[0]


def test_programs_that_never_published_are_removed_and_believed_nothing(of_the_hook: Proofs) -> None:
    """Their daemon was gone before it had something to say: the older ones answered on, and theirs is told."""
    seen = of_the_hook["given up"]
    assert [len(sets) for sets in seen["sets"]] == [2, 1]
    at_start, *later = ([line for line in told if ": chose " in line] for told in seen["told"])
    assert len(at_start) == len(seen["victims"])
    assert "chose small" in at_start[0]
    assert "score for itself" in at_start[0]
    assert later == [[], []]


@pytest.mark.parametrize("proof", ["born in an empty memcg", "born in a new memcg"])
def test_a_task_born_after_the_last_look_is_covered_by_its_memcg(of_the_hook: Proofs, proof: str) -> None:
    chosen = first(of_the_hook[proof])
    assert chosen["victim"] == "small"
    assert chosen["sources"]["small"] == "MEMCG"


def test_oom_score_shows_the_kernels_own(of_the_hook: Proofs) -> None:
    assert of_the_hook["unkillable"]["own"] == of_the_hook["unkillable"]["attached"]
    assert all(score > 600 for score in of_the_hook["unkillable"]["own"])


def test_other_users_neither_see_nor_open_the_pins(of_the_hook: Proofs) -> None:
    seen = of_the_hook["unprivileged"]
    assert seen["said"] == ["PermissionError", "BpfError", "BpfPrivilegeError"], seen["trouble"]
    assert seen["modes"] == ["0o700", "0o700", "0o600"]


def test_the_module_stays_while_attached_and_goes_after(of_the_hook: Proofs) -> None:
    if "rmmod" not in of_the_hook:
        pytest.skip("a kernel that needs no module")
    assert "temporarily unavailable" in of_the_hook["rmmod"]["attached"][1]
    assert of_the_hook["rmmod"]["after"] == [0, ""]


def test_nothing_is_left_in_the_bpf_file_system(of_the_hook: Proofs) -> None:
    assert not of_the_hook["log"]["left"]


class TestTheDaemon:
    def test_a_new_one_takes_over_and_tells_what_happened_meanwhile(self, of_the_daemon: Proofs) -> None:
        seen = of_the_daemon["killed"]
        assert seen["sets"][0] == seen["sets"][1]
        assert "oompolicy: attached: taken over from an earlier daemon" in seen["said"]
        told = next(line for line in seen["said"] if "OOM in" in line)
        for part in ("chose small", "score for itself", "next would be asks", "policy memcg_priority"):
            assert part in told

    def test_a_second_one_is_refused_and_so_is_detaching(self, of_the_daemon: Proofs) -> None:
        status, said = of_the_daemon["killed"]["second"]
        assert (status, "is at work there" in said) == (1, True), said
        status, said = of_the_daemon["killed"]["refused"]
        assert (status, "a daemon has it" in said) == (1, True), said

    def test_sigterm_detaches(self, of_the_daemon: Proofs) -> None:
        seen = of_the_daemon["killed"]
        assert (seen["status"], seen["last"], seen["left"]) == (
            0,
            "oompolicy: detached: the kernel decides alone again",
            False,
        )

    def test_auto_takes_the_hook(self, of_the_daemon: Proofs) -> None:
        assert "policy memcg_priority, backend hook, pid " in of_the_daemon["detach"]["auto"]
        assert "not the hook" not in of_the_daemon["detach"]["auto"]

    def test_detach_needs_no_daemon(self, of_the_daemon: Proofs) -> None:
        seen = of_the_daemon["detach"]
        assert seen["said"] == [[0, "detached: the kernel decides alone again\n"], [0, "nothing is attached\n"]]
        assert (seen["victims"][0], seen["left"]) == ("big", False)

    def test_set_is_in_force_when_it_returns(self, of_the_daemon: Proofs) -> None:
        seen = of_the_daemon["set"]
        assert all("hook: in force" in said for _, said in seen["said"])
        assert seen["victims"][0] == "big"


class TestGet:
    """The attribute, and beside it what the kernel goes by."""

    def test_it_shows_what_set_has_put_in_force(self, of_the_daemon: Proofs) -> None:
        (status, said), (_, table), _ = of_the_daemon["set"]["got"]
        print(table)
        line = json.loads(said)
        assert (status, line["value"]) == (0, 950)
        found = line["in_force"]
        assert (found["policy"], found["fresh"], found["of"]) == ("memcg_priority", True, line["cgroup"])
        assert (found["band"], found["score"], found["adds_badness"]) == ("SCORE", -950 * PAGES_PER_STEP, True)
        assert (found["processes"], found["processes_with_another"], found["other_in_scopes"]) == (1, 0, [])
        assert 0 <= found["age_ms"] < found["ttl_ms"]
        assert f"score {-950 * PAGES_PER_STEP:,} + badness" in table
        assert "in force: policy memcg_priority, last look " in table

    def test_others_see_the_values_and_are_told_that_there_may_be_more(self, of_the_daemon: Proofs) -> None:
        status, said = of_the_daemon["set"]["got"][2]
        assert status == 0
        assert "oompolicy: what is in force in the kernel, if anything, only root sees" in said
        assert "950" in said
        assert "badness" not in said

    def test_it_tells_the_attribute_from_what_is_in_force_and_how_fresh_that_is(self, of_the_daemon: Proofs) -> None:
        seen = of_the_daemon["get"]
        fresh, expired, detached = (
            json.loads(said) for _, said in (seen["fresh"], seen["expired"][0], seen["detached"])
        )
        assert fresh["value"] == expired["value"] == detached["value"] == 7
        assert (fresh["in_force"]["score"], fresh["in_force"]["fresh"]) == (-10 * PAGES_PER_STEP, True)
        assert fresh["in_force"]["ttl_ms"] == 15_000
        assert expired["in_force"]["fresh"] is False
        assert expired["in_force"]["age_ms"] > 15_000
        assert "expired: policy memcg_priority" in seen["expired"][1][1]
        assert detached["in_force"] is None


def test_selftest_proves_the_hook(of_the_daemon: Proofs) -> None:
    status, said = of_the_daemon["selftest"]["said"]
    assert (status, of_the_daemon["selftest"]["left"]) == (0, False)
    assert "the kernel asks the hook and obeys it" in said


def test_doctor_names_the_hook_and_what_auto_takes(of_the_daemon: Proofs) -> None:
    assert '"what": "backend", "ok": "yes", "found": "hook"' in of_the_daemon["doctor"]["said"][1]
    assert '"what": "fmod_ret", "ok": "yes"' in of_the_daemon["doctor"]["said"][1]


def test_without_the_module_selftest_and_doctor_say_so(of_the_daemon: Proofs) -> None:
    if "rmmod after" not in of_the_daemon:
        pytest.skip("a kernel that needs no module")
    status, said = of_the_daemon["selftest without"]["said"]
    assert status == 1
    assert "neither this kernel nor a module has bpf_oom_score()" in said
    assert '"what": "backend", "ok": "yes", "found": "oom_score_adj"' in of_the_daemon["doctor without"]["said"][1]


@pytest.mark.parametrize(
    ("kernel", "times"), [pytest.param("6.12", 30, marks=CORE), ("6.12", RANDOM_TIMES), (PATCHED, RANDOM_TIMES)]
)
def test_the_models_victim_and_points_are_the_kernels(kernel: str, times: int) -> None:
    """Random trees, sizes, adjustments, policies; a difference prints both sides and its seed."""
    proofs = on(kernel, f"hook_random {times} {RANDOM_SEED}", limit_s=120 + 8 * times)
    differing = [line for name, line in proofs.items() if name.startswith("differs")]
    assert differing == []
    assert proofs["all"]["times"] == times
    print(f"seed {proofs['all']['seed']}: {times} OOMs, {proofs['all']['seconds']} s")
    assert trouble(proofs["log"]) == []
    assert proofs["log"]["tainted"] == tainted_by_us(kernel)


@pytest.mark.parametrize("kernel", STORMS)
def test_under_an_oom_storm_it_attaches_publishes_and_detaches_two_hundred_times(kernel: str) -> None:
    """Each event that the ring has is whole, though programs come and go."""
    proofs = on(kernel, "hook_storm 200", limit_s=2400)
    seen = proofs["storm"]
    print(f"{kernel}: {seen}")
    assert seen["kills"] > seen["times"] == 200
    assert seen["answered"] > 0
    assert seen["broken"] <= seen["times"]  # the one under way when a link came
    assert trouble(proofs["log"]) == []
    assert proofs["log"]["tainted"] == tainted_by_us(kernel)


def test_the_kernel_has_nothing_to_complain_of(of_the_hook: Proofs) -> None:
    assert trouble(of_the_hook["log"]) == []
    assert of_the_hook["log"]["tainted"] == (TAINTED_BY_US if "rmmod" in of_the_hook else 0)


def test_nor_after_the_daemon(of_the_daemon: Proofs) -> None:
    assert trouble(of_the_daemon["log"]) == []
    assert of_the_daemon["log"]["tainted"] == (TAINTED_BY_US if "rmmod after" in of_the_daemon else 0)
