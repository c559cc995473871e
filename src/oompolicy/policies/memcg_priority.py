"""Strict priority of memcgs.

Belongs here: memcg_priority. Must not know: anything but the policy API.
"""

from typing import Final

from oompolicy.policy import DEFER, OomControl, Task, Verdict, policy

# One step of value outweighs any badness: badness stays within -totalpages..2*totalpages, and 2^34 pages are 64 TiB.
PAGES_PER_STEP: Final = 1 << 36
# Values beyond this count as this, so that the score keeps within the band of scores.
VALUE_MAX: Final = 1 << 23


@policy
def memcg_priority(task: Task, oc: OomControl) -> int | Verdict:
    """The memcg with the lowest value goes first; inside it, the kernel's badness decides.

    A memcg without a value has that of its nearest ancestor; where no ancestor has one either, it counts as 0.
    When: some workloads matter more than others, whatever their size.
    Ready: yes; values must be published (`oompolicy set CGROUP VALUE`, or [[assign]] in oompolicy.toml). They are
    strict between -8388608 and 8388607.
    """
    if task.memcg is None or task.memcg.value is None:
        return DEFER
    value = min(max(task.memcg.value, -VALUE_MAX), VALUE_MAX - 1)
    return -value * PAGES_PER_STEP + task.badness


memcg_priority.lowest_first = True
