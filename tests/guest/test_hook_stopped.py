"""A daemon stopped by SIGSTOP: what it has published counts for its time to live, and again when it goes on.

Belongs here: what guest/hook_stopped.py must have seen. Must not know: how it made it happen.
"""

from __future__ import annotations

import pytest

from guest.test_module import Proofs, in_guest, trouble

pytestmark = pytest.mark.guest


@pytest.fixture(scope="module")
def seen() -> Proofs:
    return in_guest("hook_stopped", limit_s=300)


def test_what_it_has_published_counts_while_it_is_stopped_and_no_longer_than_it_lives(seen: Proofs) -> None:
    """The policy sends small, which is not the kernel's choice."""
    print("\n".join(seen["log"]["said"]))
    first = {name: victims[0] for name, victims in seen["victims"].items() if isinstance(victims, list)}
    assert first == {"running": "small", "stopped": "small", "expired": "big", "continued": "small"}
    assert seen["victims"]["status"] == 0


def test_the_kernel_has_nothing_to_complain_of(seen: Proofs) -> None:
    assert trouble(seen["log"]) == []
