"""Scorers: the part of a policy that runs in user space, in any Python, and gives the values that the policy reads.

    scorer.py (@scorer) -> scoring.py (asking them, and what becomes of their values)
    scene.py (what one sees) -> asked.py (what is read on request), memory.py (what is known from looks before)

What a program in the kernel cannot do (sort, remember, compare with the last look) is done here, and its result is a
number that the policy looks up: the division of labour of the BPF_OOM_POLICY discussion (linux-mm, 2023).

Belongs here: what a scorer sees, calling it, how long its values count. Does no I/O and reads no clock. Must not know:
when the machine is looked at, where readings come from (sources/), how values get into a kernel (backends/).
"""

from oompolicy.scoring.asked import Senses
from oompolicy.scoring.scene import PastKill, Scene
from oompolicy.scoring.scorer import Scorer, scorer, scorers_of
from oompolicy.scoring.scoring import Scored, Scoring

__all__ = ["PastKill", "Scene", "Scored", "Scorer", "Scoring", "Senses", "scorer", "scorers_of"]
