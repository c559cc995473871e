"""The backend kill: an order of a rule, carried out on processes and cgroups.

    choose.py (who) -> killing.py (the steps of one kill) -> process.py, tree.py, group.py (how it reaches them)
                    -> other.py (what is done instead of killing), asked back by journal.py
    helper.py: all that needs a fork, in a process forked at the start

Belongs here: doing what was ordered, to exactly those that were meant. Must not know: when (rules/judge), where
snapshots come from (sources/). Once it is made, nothing here forks, imports, or waits: each step ends with the time at
which, or the descriptors for which, the next is due.
"""
