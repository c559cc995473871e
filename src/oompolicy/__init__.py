"""oompolicy: choose who dies when Linux runs out of memory.

Belongs here: the names that a file of policies or rules imports. Must not know: sources, backends, the command line.
"""

from oompolicy.policy import (
    DEFER,
    KILL,
    SPARE,
    Memcg,
    OomControl,
    Policy,
    Task,
    Verdict,
    policy,
    policy_function,
)
from oompolicy.rules.python_rule import Now, PythonRule, rule
from oompolicy.scoring import Scene, Scorer, scorer

__all__ = [
    "DEFER",
    "KILL",
    "SPARE",
    "Memcg",
    "Now",
    "OomControl",
    "Policy",
    "PythonRule",
    "Scene",
    "Scorer",
    "Task",
    "Verdict",
    "policy",
    "policy_function",
    "rule",
    "scorer",
]
__version__ = "0.1.0"
