"""Priority of memcgs, compared among siblings from the root down.

Belongs here: memcg_hierarchy. Must not know: anything but the policy API.
"""

from typing import Final

from oompolicy.policy import DEFER, OomControl, Task, Verdict, policy, policy_function

LEVELS: Final = 6  # compared below the OOM's scope; deeper ones do not count
MOST_IMPORTANT: Final = 15  # values run from 0, which dies first, to this
BITS_PER_LEVEL: Final = 4
BADNESS_BITS: Final = 36
DEEPEST: Final = 16  # memcgs nested deeper than this are left to the kernel's badness


@policy
def memcg_hierarchy(task: Task, oc: OomControl) -> int | Verdict:
    """From the scope's root down, the sibling with the lowest value is entered; inside the last, badness decides.

    So a memcg cannot win by its own value against a more important parent's subtree, and delegation is safe: a child
    only orders what its parent was given. This is the order of the first BPF_OOM_POLICY RFC (linux-mm, 2023) and of
    the priority OOM killers of the Alibaba and Tencent kernels. A memcg without a value has its parent's, at the
    root 0; values count from 0 (dies first) to 15.
    When: priorities are set level by level, by different people (slices, pods, containers).
    Ready: yes; values must be published.
    """
    here = task.memcg
    if here is None:
        return DEFER
    scope_depth = 0
    if oc.memcg is not None:
        scope_depth = oc.memcg.depth
    depth = here.depth
    if depth > DEEPEST:
        return DEFER
    own = _value_of(here.value)
    expendable = 0
    for level in range(LEVELS, 0, -1):
        # A task that sits above this level takes part with its own memcg's value.
        if scope_depth + level > depth:
            expendable += _weight(own, level)
    for _ in range(DEEPEST):
        level = here.depth - scope_depth
        if 1 <= level <= LEVELS:
            expendable += _weight(_value_of(here.value), level)
        if here.parent is not None:
            here = here.parent
    badness = min(max(task.badness, -(1 << BADNESS_BITS) // 2), (1 << BADNESS_BITS) // 2 - 1)
    return expendable * (1 << BADNESS_BITS) + badness


memcg_hierarchy.lowest_first = True


@policy_function
def _value_of(value: int | None) -> int:
    return 0 if value is None else min(max(value, 0), MOST_IMPORTANT)


@policy_function
def _weight(value: int, level: int) -> int:
    """The digit of a level: how little its memcg matters, the topmost level first."""
    return (MOST_IMPORTANT - value) << (BITS_PER_LEVEL * (LEVELS - level))
