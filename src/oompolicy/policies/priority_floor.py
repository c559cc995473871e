"""Strict priority, without kills that free next to nothing.

Belongs here: priority_floor. Must not know: anything but the policy API.
"""

from oompolicy.policies.memcg_priority import memcg_priority
from oompolicy.policy import SPARE, OomControl, Task, Verdict, policy

FLOOR_PAGES = 2560  # 10 MiB


@policy
def priority_floor(task: Task, oc: OomControl) -> int | Verdict:
    """As memcg_priority, but a victim that would free less than FLOOR_PAGES is taken only if no other is left.

    When: many small low-priority processes; killing them one by one frees too little and takes too long.
    Ready: yes; values must be published. Parameter: FLOOR_PAGES (2560, 10 MiB).
    """
    if task.rss_anon + task.rss_shmem + task.swap < FLOOR_PAGES:
        return SPARE
    return memcg_priority(task, oc)


priority_floor.lowest_first = True
