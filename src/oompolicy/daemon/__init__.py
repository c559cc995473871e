"""The daemon: one loop that waits, and its works.

    loop.py (signals, one poll, the order of things) -> upkeep.py (a policy kept in force by a backend)
                                                     -> rule_watch.py (rules: look, judge, act)
                                                     -> console.py (requests of root's programs, answered)

Belongs here: all I/O of a running daemon. Must not know: when to act (engine, rules), how (backends).

It imports nothing once it runs, and nothing big ever: what needs libraries (the command line, the configuration) is
done by another process, see start.py.
"""

from oompolicy.daemon.loop import Daemon
from oompolicy.daemon.upkeep import Orders
from oompolicy.service.log import log

__all__ = ["Daemon", "Orders", "log"]
