"""oompolicy: choose who dies when Linux runs out of memory.

Belongs here: the names a policy file imports. Must not know: sources, backends, the command line.
"""

from oompolicy.policy import (
    DEFER,
    KILL,
    SPARE,
    Memcg,
    OomControl,
    Policy,
    Scene,
    Task,
    Verdict,
    policy,
    policy_function,
)

__all__ = [
    "DEFER",
    "KILL",
    "SPARE",
    "Memcg",
    "OomControl",
    "Policy",
    "Scene",
    "Task",
    "Verdict",
    "policy",
    "policy_function",
]
__version__ = "0.1.0"
