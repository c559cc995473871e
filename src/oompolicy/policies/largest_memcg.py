"""The biggest workload, not the biggest process.

Belongs here: largest_memcg, and the score that over_protection shares. Must not know: anything but the policy API.
"""

from typing import Final

from oompolicy.policy import DEFER, OomControl, Task, Verdict, policy, policy_function

PAGES_PER_MIB: Final = 256
# A score holds the memcg's MiB above the task's badness: badness within ±2^32 pages (16 TiB), MiB up to 2^27 (128 TiB).
BADNESS_HALF: Final = 1 << 32


@policy
def largest_memcg(task: Task, oc: OomControl) -> int | Verdict:
    """The memcg that uses the most memory goes first (by whole MiB); inside it, the kernel's badness decides.

    Tasks in the root memcg, which has no account of its own, go last.
    When: workloads are made of many processes, and the largest workload is to blame, as with a fork bomb.
    Ready: yes.
    """
    if task.memcg is None or task.memcg.depth == 0:
        return DEFER
    return by_memcg(task.memcg.usage + PAGES_PER_MIB, task.badness)


@policy_function
def by_memcg(memcg_pages: int, badness: int) -> int:
    """A score that compares whole MiB of the memcgs first, and the badness of the tasks where these are equal."""
    kept = min(max(badness, 1 - BADNESS_HALF), BADNESS_HALF - 1)
    return (memcg_pages // PAGES_PER_MIB) * 2 * BADNESS_HALF + kept
