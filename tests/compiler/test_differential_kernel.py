"""Random policies on made-up worlds, from their source into the kernel: Python with checked arithmetic, the IR's
interpreter before and after the passes, and BPF say the same.

OOMPOLICY_DIFFERENTIAL_CASES says how many cases (a policy on a world), OOMPOLICY_DIFFERENTIAL_SEED from where.
"""

from __future__ import annotations

import os
import random

import pytest

from compiler.differential import compare

CASES = int(os.environ.get("OOMPOLICY_DIFFERENTIAL_CASES", "2000"))
SEED = int(os.environ.get("OOMPOLICY_DIFFERENTIAL_SEED", "0")) or random.randrange(1, 1 << 32)


@pytest.mark.root
@pytest.mark.usefixtures("bpf_here")
def test_the_kernel_says_what_python_says() -> None:
    ends = compare(CASES, SEED)
    assert sum(ends[band] for band in ("SCORE", "DEFER", "KILL", "SPARE")) > ends.total() // 2, ends
