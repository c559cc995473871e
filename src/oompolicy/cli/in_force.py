"""What is in force in the kernel, in a sentence.

Belongs here: the words that `get` and `top` have in common. Must not know: how the kernel's maps are read.
"""

from __future__ import annotations

from oompolicy.backends.hook.abi import Form
from oompolicy.backends.hook.in_force import InForce


def state_in_words(published: InForce) -> str:
    """By which policy the kernel goes, how old its last look is, and for how long that counts."""
    if published.age_ms is None:
        return "nothing yet: programs are attached, and nothing was published; the kernel decides alone"
    look = f"policy {published.policy or 'unknown'}, last look {published.age_ms / 1000:.1f} s ago"
    ttl = f"{published.ttl_ms / 1000:g} s"
    if published.form is Form.COMPILED:
        return f"{look}; it is compiled and reads no values: it does not expire"
    if published.is_compiled:
        left = f"values count for {ttl} without another" if published.is_fresh else "values have expired and are absent"
        return f"{look}; it is compiled; {left}"
    if published.is_fresh:
        return f"{look}; counts for {ttl} without another"
    return f"expired: {look}, which counted for {ttl}; the kernel decides alone"
