"""Every field that a policy can read: what a program in the kernel got is what the model has on a snapshot.

Belongs here: which numbers must be equal, and which may have moved since the snapshot, by how much.
Must not know: how either side came by them.
"""

from __future__ import annotations

from typing import Any

import pytest

from guest.test_module import TAINTED_BY_US, Proofs, in_guest, trouble

from lab.kernels import PATCHED

pytestmark = pytest.mark.guest
CORE = pytest.mark.guest_core
BATCH = 32  # pages: percpu_counter_batch with two CPUs, what each may keep from the counter
GFP_KERNEL = 0xCC0  # include/linux/gfp_types.h: __GFP_RECLAIM, __GFP_IO, __GFP_FS
SUMMED = ("rss_anon", "rss_file", "rss_shmem", "swap")
KINDS = {"anon", "shared", "swapped", "leaderless.t", "user", "fifteen_letters", "spread", "rootling", "victim"}
Sides = dict[str, Any]


@pytest.fixture(scope="module", params=[pytest.param("module", marks=CORE), "patched"])
def of_fields(request: pytest.FixtureRequest) -> Proofs:
    """One boot: a stock kernel with the module, or one that has the hook itself. Two CPUs, and swap."""
    if request.param == "patched":
        return in_guest("fields_proofs patched", PATCHED, swap_mib=64)
    return in_guest("fields_proofs", swap_mib=64)


def differing(fields: Sides, comm: str = "") -> Sides:
    """What is not equal, but for an age, which goes on, and for what is not of the fields: the model takes the sum of a
    counter over the CPUs for swap in badness, where oom_badness() takes what has been folded into it.
    """
    found = {name: sides for name, sides in fields.items() if sides[0] != sides[1]}
    for name in [name for name in found if name.endswith("age_ms")]:
        kernel, model = found.pop(name)
        assert 0 <= kernel - model < 30_000
    if comm == "swapped" and "task.badness" in found:
        kernel, model = found.pop("task.badness")
        assert abs(kernel - model) <= 2 * BATCH
    return found


def test_nothing_had_to_be_given_up_on_this_kernel(of_fields: Proofs) -> None:
    assert of_fields["access"]["found"] == [True, True, True]
    assert of_fields["program"]["approximate"] == []


def test_every_field_of_a_still_process_is_the_models(of_fields: Proofs) -> None:
    """sysrq: nothing has moved, and nothing is let off; values are those published."""
    candidates = of_fields["sysrq"]["candidates"]
    assert set(candidates) == KINDS
    assert candidates["user"].pop("task.value") == [-77, None]
    for comm, fields in candidates.items():
        assert differing(fields, comm) == {}, comm


def test_the_stage_has_what_makes_fields_differ(of_fields: Proofs) -> None:
    """Or equality would say little."""
    seen = {
        comm: {name: sides[0] for name, sides in fields.items()}
        for comm, fields in of_fields["sysrq"]["candidates"].items()
    }
    assert seen["user"]["task.uid"] == 1234
    assert seen["shared"]["task.rss_shmem"] >= 6 * 256
    assert seen["swapped"]["task.swap"] >= 4 * 256
    assert seen["swapped"]["task.memcg.swap"] >= 4 * 256
    assert seen["leaderless.t"]["task.pid"] != seen["leaderless.t"]["task.tgid"]
    assert seen["leaderless.t"]["task.rss_anon"] >= 9 * 256
    assert (seen["anon"]["task.memcg.min"], seen["anon"]["task.memcg.parent.low"]) == (768, 1280)
    assert (seen["anon"]["task.memcg.value"], seen["leaderless.t"]["task.memcg.value"]) == (7, None)
    assert seen["anon"]["task.memcg.limit"] < seen["leaderless.t"]["task.memcg.limit"] == (1 << 51) - 1
    assert seen["anon"]["task.memcg.is_under(/stage1/a/b)"] is True
    assert seen["user"]["task.memcg.is_under(/stage1/a/b)"] is False
    assert seen["anon"]["task.memcg.is_under(/gone/away)"] is False
    assert seen["anon"]["task.memcg.parent.is_under(task.memcg)"] is False
    assert (seen["anon"]["oc.order"], seen["anon"]["oc.trigger.pid"]) == (-1, None)
    assert (seen["rootling"]["task.memcg.depth"], seen["rootling"]["task.memcg.parent.id"]) == (0, None)
    assert (seen["rootling"]["task.memcg.usage"], seen["rootling"]["task.memcg.swap"]) == ("fault", "fault")


def test_what_each_cpu_keeps_from_the_counter_is_summed(of_fields: Proofs) -> None:
    """rss is what oom_badness() sees, the parts are what there is."""
    fields = of_fields["sysrq"]["candidates"]["spread"]
    parts = sum(fields[f"task.{name}"][0] for name in ("rss_anon", "rss_file", "rss_shmem"))
    assert fields["task.rss"][0] != parts


def test_without_entries_in_force_values_are_absent(of_fields: Proofs) -> None:
    for comm, fields in of_fields["values are absent"]["candidates"].items():
        assert {sides[0] for name, sides in fields.items() if name.endswith(".value")} == {None}
        assert all(name.endswith(".value") for name in differing(fields, comm)), comm


def test_a_remembered_value_is_of_this_memcg_and_of_these_entries(of_fields: Proofs) -> None:
    for proof, less in (("with a memo", 0), ("with a memo, other values", 1)):
        candidates = of_fields[proof]["candidates"]
        assert set(candidates) == KINDS
        for comm, fields in candidates.items():
            fields.pop("task.value")
            for name in [name for name in fields if name.endswith(".value")]:
                kernel, model = fields.pop(name)
                assert kernel == (None if model is None else model - less), (comm, name)
            assert differing(fields, comm) == {}, comm


def test_probes_read_the_same_but_for_what_they_cannot(of_fields: Proofs) -> None:
    """Without casts the leader stands for its process; without sums a counter lags by a batch for each CPU."""
    candidates = of_fields["by probes"]["candidates"]
    assert set(candidates) == KINDS
    for comm, fields in candidates.items():
        found = differing(fields, comm)
        for name in [name for name in found if name.startswith("task.") and name.endswith(SUMMED)]:
            kernel, model = found.pop(name)
            assert abs(kernel - model) <= 2 * BATCH
        found.pop("task.value", None)
        allowed = {"task.pid", "task.comm_1"} if comm == "leaderless.t" else set()
        assert set(found) == allowed, comm


def test_in_a_memcgs_oom_only_what_grows_has_moved(of_fields: Proofs) -> None:
    """The grower, and the usage of the memcgs that it is in."""
    candidates = of_fields["memcg"]["candidates"]
    assert set(candidates) == {"anon", "shared", "spread", "grower"}
    for comm, fields in candidates.items():
        assert fields["oc.is_memcg_oom"] == [True, True]
        assert fields["oc.memcg.id"][0] == fields["task.memcg.id"][0]
        assert fields["oc.trigger.comm_0"] == candidates["grower"]["task.comm_0"]
        found = differing(fields, comm)
        usage = {name for name in found if name.endswith(("memcg.usage", "parent.usage"))}
        of_the_grower = {name for name in found if name.startswith("oc.trigger.") or comm == "grower"}
        assert set(found) - usage - of_the_grower == set(), comm
        for name in usage:
            kernel, model = found[name]
            assert 2 * 256 <= kernel - model <= 4 * 256, (comm, name)
        for name in of_the_grower - usage:
            kernel, model = found[name]
            assert name.endswith(("rss", "rss_anon", "rss_file", "pgtables", "badness")), (comm, name)
            assert 0 <= kernel - model <= 4 * 256, (comm, name)


@pytest.fixture(scope="module", params=["v2", "v1"])
def of_an_older_kernel(request: pytest.FixtureRequest) -> Proofs:
    """6.1 has no bpf_rdonly_cast(), counters of an mm in one place, a hierarchy of v1 if need be, and no hook."""
    return in_guest(f"fields_elsewhere {request.param}", "6.1", swap_mib=64)


class TestAnOlderKernel:
    def test_it_is_read_by_probes(self, of_an_older_kernel: Proofs) -> None:
        assert of_an_older_kernel["access"]["found"][0] is False
        assert of_an_older_kernel["program"]["approximate"] == []

    def test_every_field_of_a_still_process_is_the_models(self, of_an_older_kernel: Proofs) -> None:
        """But for the name of a process whose leader has exited: without casts it stays the leader's."""
        candidates = of_an_older_kernel["tasks"]["candidates"]
        assert set(candidates) == KINDS - {"rootling", "victim"}
        for comm, fields in candidates.items():
            allowed = {"task.pid", "task.comm_1"} if comm == "leaderless.t" else set()
            assert set(differing(fields, comm)) == allowed, comm
        assert candidates["swapped"]["task.memcg.swap"][0] >= 4 * 256
        assert candidates["anon"]["task.memcg.value"] == [7, 7]

    def test_the_oom_and_who_ran_out(self, of_an_older_kernel: Proofs) -> None:
        seen, grower = of_an_older_kernel["oom"]["seen"], of_an_older_kernel["oom"]["grower"]
        assert seen["oc.is_memcg_oom"] == [1, 1]
        assert seen["oc.memcg.id"] == seen["oc.trigger.memcg.id"] == [of_an_older_kernel["oom"]["scope"], 1]
        assert (seen["oc.trigger.pid"], seen["oc.order"]) == ([grower, 1], [0, 1])
        assert seen["oc.gfp_mask"][0] & GFP_KERNEL == GFP_KERNEL
        assert 16 * 256 <= seen["oc.trigger.rss_anon"][0] <= 20 * 256

    def test_the_kernel_has_nothing_to_complain_of(self, of_an_older_kernel: Proofs) -> None:
        assert trouble(of_an_older_kernel["log"]) == []


def test_the_kernel_has_nothing_to_complain_of(of_fields: Proofs) -> None:
    assert trouble(of_fields["log"]) == []
    assert of_fields["log"]["tainted"] in (0, TAINTED_BY_US)
