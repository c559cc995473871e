"""The policy API: what a policy returns, what it may read, what becomes of its answer.

Belongs here: verdicts and their points, the views a policy reads, @policy, and the decision over one OOM.
Must not know: where a snapshot or a policy's source comes from, what is done with a decision.
"""

from oompolicy.policy.api import Policy, policy, policy_function
from oompolicy.policy.decision import Candidate, Decision, Excluded, decide
from oompolicy.policy.verdict import DEFER, KILL, POINTS, SPARE, Band, Verdict, band_of, points_of
from oompolicy.policy.view import FailedReadError, Memcg, OomControl, Task

__all__ = [
    "DEFER",
    "KILL",
    "POINTS",
    "SPARE",
    "Band",
    "Candidate",
    "Decision",
    "Excluded",
    "FailedReadError",
    "Memcg",
    "OomControl",
    "Policy",
    "Task",
    "Verdict",
    "band_of",
    "decide",
    "points_of",
    "policy",
    "policy_function",
]
