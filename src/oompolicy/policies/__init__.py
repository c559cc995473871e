"""The built-in policies, one a file.

Belongs here: their names. Must not know: how a policy is loaded, run or forced.
"""

from typing import Final

# In the order in which a newcomer meets them. Each is the function of that name in the module of that name.
BUILT_IN: Final = (
    "kernel_default",
    "memcg_priority",
    "memcg_hierarchy",
    "priority_floor",
    "largest_memcg",
    "over_protection",
    "newest_first",
    "protect",
)
