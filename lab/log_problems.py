"""What in a kernel's log means that the kernel itself is in trouble.

Belongs here: the words by which such lines are known. Must not know: OOM reports, which are none of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

# Each as the kernel begins such a message; "WARNING: CPU" and not any "WARNING", which boot messages have in them.
PROBLEMS: Final = {
    "warning": r"WARNING: (CPU: \d+ PID: \d+ at |\S+:\d+ at )",
    "bug": r"BUG: |kernel BUG at |Oops: |Oops\[|Internal error: |general protection fault|double fault|stack segment",
    "paging": r"unable to handle (kernel|page fault)|Unable to handle kernel|Bad page state|Bad rss-counter state",
    # The headlines of kernel/locking/lockdep.c, "INFO:" before v4.11; two more begin with "BUG:".
    "lockdep": r"(WARNING|INFO): (possible |inconsistent |bad (unlock|contention)|\S+-safe -> \S+-unsafe lock order|"
    r"held lock freed|Nested lock was not|\S+/\d+ still has locks held|lock held when|suspicious RCU|circular locking|"
    r"trying to register non-static key)|\*\*\* DEADLOCK \*\*\*|DEBUG_LOCKS_WARN_ON",
    "rcu stall": r"rcu: INFO: |rcu_\w+ (self-)?detected stall|detected expedited stalls|rcu_\w+ kthread starved",
    "lockup": r"watchdog: BUG|soft lockup|hard LOCKUP|Hard LOCKUP",
    "hung task": r"INFO: task .+ blocked for more than \d+ seconds",
    "sanitizer": r"(KASAN|KCSAN|KMSAN|UBSAN|KFENCE): |unreferenced object 0x",
    "refcount": r"refcount_t: |list_(add|del) corruption|percpu ref .* <= 0",
    "panic": r"Kernel panic - not syncing|Attempted to kill init",
    "ftrace": r"ftrace failed to modify|------------\[ ftrace bug \]",
}
_ANY: Final = re.compile("|".join(PROBLEMS.values()))
_PREFIX: Final = re.compile(r"^(<\d+>)?\[\s*\d+\.\d+\]\s?(\[\s*[TC]\d+\]\s?)?")
AT_MOST: Final = 20


def log_problems(logs: Iterable[str]) -> list[str]:
    """The lines of logs that tell of a kernel's trouble, without their times, each once.

    >>> log_problems(["[    1.5] WARNING: CPU: 0 PID: 7 at mm/oom_kill.c:9 oom_reaper+0x1/0x2\\n[ 1.6] all is well"])
    ['WARNING: CPU: 0 PID: 7 at mm/oom_kill.c:9 oom_reaper+0x1/0x2']
    """
    lines = (_PREFIX.sub("", line) for log in logs for line in log.splitlines() if _ANY.search(line))
    return list(dict.fromkeys(lines))[:AT_MOST]
