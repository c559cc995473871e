"""Which CPUs there can be.

Belongs here: the kernel's list as ranges. Must not know: what is summed over them.
"""

from __future__ import annotations

from functools import cache

from oompolicy.bpf.map_kinds import POSSIBLE_CPUS


@cache
def possible_cpus() -> tuple[tuple[int, int], ...]:
    """(first, last) of each range; fixed from boot on. An impossible CPU in between has no memory of its own."""
    return ranges(POSSIBLE_CPUS.read_text())


def ranges(text: str) -> tuple[tuple[int, int], ...]:
    """A list as the kernel prints it.

    >>> ranges("0,2-3\\n")
    ((0, 0), (2, 3))
    """
    pairs = (part.partition("-") for part in text.strip().split(","))
    return tuple((int(first), int(last or first)) for first, _, last in pairs)
