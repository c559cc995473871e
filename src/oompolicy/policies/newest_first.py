"""The newest process.

Belongs here: newest_first. Must not know: anything but the policy API.
"""

from oompolicy.policy import OomControl, Task, Verdict, policy


@policy
def newest_first(task: Task, oc: OomControl) -> int | Verdict:
    """The process that started last goes first.

    When: what has run for long is worth more than what has just begun, as with batch jobs and compilers.
    Ready: yes. On a live machine start times are known to 10 ms; within that the scan's order decides.
    """
    return task.start_time_ns
