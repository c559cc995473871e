"""The policy that has no opinion.

Belongs here: kernel_default. Must not know: anything but the policy API.
"""

from oompolicy.policy import DEFER, OomControl, Task, Verdict, policy


@policy
def kernel_default(task: Task, oc: OomControl) -> int | Verdict:
    """The kernel's own choice: the process with the most memory, weighted by oom_score_adj.

    When: to see what happens without a policy, and to compare others against.
    Ready: yes.
    """
    return DEFER
