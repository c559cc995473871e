"""All processes at once, told by the kernel itself: a BPF iterator over tasks (bpf_iter_task, since v5.8).

Belongs here: the program, the record that it writes, reading it. Must not know: procfs, cgroup file systems.
"""

from oompolicy.sources.task_iterator.iterator import TaskIterator
from oompolicy.sources.task_iterator.record import Record, records

__all__ = ["Record", "TaskIterator", "records"]
