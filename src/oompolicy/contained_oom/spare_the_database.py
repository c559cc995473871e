"""The policy that the demo shows: three lines.

Belongs here: that policy. Must not know: anything but the policy API.
"""

from oompolicy.policy import DEFER, SPARE, OomControl, Task, Verdict, policy


@policy
def spare_the_database(task: Task, oc: OomControl) -> int | Verdict:  # noqa: D103 - three lines, as promised
    return SPARE if task.comm == "database" else DEFER
