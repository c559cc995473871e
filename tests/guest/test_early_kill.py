"""A rule acts before the kernel must: the leak dies, what matters lives, and the OOM killer is not called.

Belongs here: what guest/early_kill.py must have seen. Must not know: how it made it happen.
"""

from __future__ import annotations

import pytest

from guest.test_module import Proofs, in_guest, trouble

pytestmark = [pytest.mark.guest, pytest.mark.guest_core]


@pytest.fixture(scope="module")
def seen() -> Proofs:
    return in_guest("early_kill", limit_s=300)


@pytest.mark.parametrize(
    ("name", "dead"), [("at once", 1), ("the whole cgroup", 2), ("the one that grows, of those compared", 2)]
)
def test_the_leak_dies_and_what_matters_lives(seen: Proofs, name: str, dead: int) -> None:
    proof = seen[name]
    print("\n".join(proof["said"]))
    (line,) = [each for each in proof["said"] if "rule nearly-full" in each and "killed" in each]
    assert "mem_available_mib" in line
    assert "leaks (" in line
    assert len([end for end in proof["ends"] if end.endswith("signal 9")]) == dead
    assert proof["lives"]


def test_the_kernel_never_had_to(seen: Proofs) -> None:
    assert not [line for line in seen["log"]["lines"] if "invoked oom-killer" in line]
    assert trouble(seen["log"]) == []
