"""The backend kill: an order of a rule, carried out on processes and cgroups.

    actions.py (an order) -> choose.py (who) -> killing.py (the steps) -> felling.py -> process.py, tree.py, group.py
                          -> other.py (what is done instead), changes.py (what is undone)
    shield.py, guard.py: who must stay. helper.py: what needs a fork, in a process forked at the start.
    reaper.py: what may have to wait, in a thread. pending.py: what the loop sees of all this.

Belongs here: doing what was ordered, to exactly those that were meant. Must not know: when (rules/judge), where
snapshots come from (sources/). Once it is made, nothing here forks, imports, or waits: each step ends with the time at
which, or the descriptors for which, the next is due.
"""
