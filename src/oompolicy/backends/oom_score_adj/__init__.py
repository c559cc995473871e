"""The backend oom_score_adj: adjustments with which the kernel's own badness ranks as the policy does.

Belongs here: the plan (pure: ranking, order, solve, plan, claims) and its upkeep on processes (originals, journal,
process, backend). Must not know: sources, the command line.
"""
