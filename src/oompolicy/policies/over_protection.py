"""Who exceeds its protection most.

Belongs here: over_protection. Must not know: anything but the policy API.
"""

from oompolicy.policies.largest_memcg import by_memcg
from oompolicy.policy import DEFER, OomControl, Task, Verdict, policy


@policy
def over_protection(task: Task, oc: OomControl) -> int | Verdict:
    """The memcg furthest above its memory.low (or memory.min) goes first; those below theirs go last.

    When: protections are set (Kubernetes requests, systemd MemoryLow=): who keeps to what was promised, lives.
    Ready: yes; needs cgroup v2. Without protections it is largest_memcg.
    """
    if task.memcg is None or task.memcg.depth == 0:
        return DEFER
    over = task.memcg.usage - max(task.memcg.min, task.memcg.low)
    return by_memcg(over, task.badness)
