"""Values from every source decide who dies, by a compiled policy in a stock kernel, on v2.

Belongs here: what guest/hook_values.py must have seen. Must not know: how it made it happen.
"""

from __future__ import annotations

import pytest

from guest.test_module import Proofs, in_guest, trouble

pytestmark = pytest.mark.guest

MIB = 256  # in pages


@pytest.fixture(scope="module")
def seen() -> Proofs:
    found = in_guest("hook_values", limit_s=400)
    print("\n".join(found["daemon"]["said"]))
    return found


@pytest.mark.parametrize("proof", ["scored", "failing", "controlled", "of a unit"])
def test_who_was_given_the_lowest_value_dies_though_it_is_small(seen: Proofs, proof: str) -> None:
    assert seen[proof]["victims"] == ["small"]


def test_a_scorer_sees_protection_pressure_and_allocation_of_memcgs(seen: Proofs) -> None:
    memcgs = seen["scored"]["before"]["memcgs"]
    db, batch = (memcgs[f"/{seen['scored']['path']}/{leaf}"] for leaf in ("db", "batch"))
    assert 10 * MIB <= db["over"] <= 14 * MIB  # 30 MiB and a little, of which 20 are protected
    assert 10 * MIB <= batch["over"] <= 14 * MIB
    assert db["allocation"] is not None
    assert db["psi"] is not None
    assert (db["kills"], batch["kills"]) == (0, 0)


def test_it_is_told_of_the_kill_that_came_of_it(seen: Proofs) -> None:
    path = f"/{seen['scored']['path']}/batch"
    assert seen["scored"]["after"]["kills"] == [["small", path, "kernel"]]
    assert seen["scored"]["after"]["memcgs"][path]["kills"] == 1


def test_one_that_fails_is_one_line_and_its_values_expire(seen: Proofs) -> None:
    """Then the kernel's badness decides: the big one dies."""
    assert seen["expired"]["victims"] == ["big"]
    failed, expired = seen["expired"]["lines"]
    assert "measures.py:11): ValueError: told to: its earlier values stay" in failed
    assert expired.endswith("scorer measures: its values are older than 3 s: they do not count")


def test_it_is_told_where_a_value_comes_from(seen: Proofs) -> None:
    assert (seen["controlled"]["got"]["value"], seen["controlled"]["got"]["source"]) == (-5, "control")
    assert (seen["of a unit"]["got"]["value"], seen["of a unit"]["got"]["source"]) == (-5, "unit")


def test_a_delegated_cgroup_cannot_raise_itself_above_what_its_parent_was_given(seen: Proofs) -> None:
    found = seen["cannot raise itself"]
    assert found["got"]["value"] == 100
    assert found["victims"] == ["big"]


def test_it_can_lower_itself(seen: Proofs) -> None:
    found = seen["can lower itself"]
    assert (found["got"]["value"], found["got"]["source"]) == (7, "owner")
    assert found["victims"] == ["big"]


def test_nothing_else_went_wrong(seen: Proofs) -> None:
    assert seen["daemon"]["status"] == 0
    assert not [line for line in seen["daemon"]["said"] if "please report" in line or "Traceback" in line]
    assert trouble(seen["log"]) == []
