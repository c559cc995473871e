"""Telling one process from another between looks.

Belongs here: what stays the same of a process. Must not know: what is remembered of it.
"""

from __future__ import annotations

from oompolicy.mm.sched import Task

TaskIdentity = tuple[int, int]  # the process's id and its start: a pid that is used again is another


def task_identity(task: Task) -> TaskIdentity:
    """The same as long as the process lives, and never another's."""
    return task.process_id, task.start_time_ns or 0
