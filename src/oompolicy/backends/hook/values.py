"""From a machine to entries for a policy that is asked in the kernel: values, and who is preselected. Pure.

Belongs here: what is published for a compiled policy. Must not know: maps, when it is published, the policy's body.

Every memcg that is known gets an entry: with its value, its own or the nearest ancestor's, or without, which says that
there is none. So a memcg made after the last look has, by the entry of the nearest one above, the value that it
inherits. A task gets an entry where it has a value of its own.

A preselection runs here, in user space, and sees all candidates; its picks are entries under each scope, as answers
are (`answers.py`), and the policy's own word for each task is the kernel's to ask.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace

from oompolicy.backends.hook.abi import TICK_NS, Entries, Entry, EntryFlag, memcg_key, task_key
from oompolicy.backends.hook.answers import Answers, ScopeOfAnswers, answers
from oompolicy.backends.scopes import choosable, scopes_of
from oompolicy.mm.oom import OomControl
from oompolicy.mm.oom_kill import constrained_alloc
from oompolicy.policy.api import Policy
from oompolicy.policy.decision import CallLimit
from oompolicy.policy.verdict import DEFER, Band
from oompolicy.snapshot import Snapshot


def values(snapshot: Snapshot, policy: Policy, limit: CallLimit = nullcontext) -> Answers:
    """What counts for a compiled policy in every scope: values, and the band PRESELECTED where its preselection says
    so.
    """
    if policy.preselection is None:
        return replace(_no_answers(snapshot), entries=value_entries(snapshot))
    picks = answers(snapshot, _preselection_of(policy), limit=limit)
    entries = dict(picks.entries)
    for key, entry in value_entries(snapshot).items():
        picked = entries.get(key, Entry(Band.DEFER))
        entries[key] = Entry(picked.band, entry.score, picked.flags | entry.flags)
    return replace(picks, entries=entries)


def value_entries(snapshot: Snapshot) -> Entries:
    """The values alone, whoever the policy is."""
    entries: Entries = {}
    for memcg in snapshot.kernel.memcgs:
        if memcg.id is not None:
            entries[memcg_key(memcg.id)] = _of_value(memcg.nearest_value)
    for task in snapshot.kernel.tasks:
        ticks = (task.start_time_ns or 0) // TICK_NS
        if task.value is not None and ticks:
            entries[task_key(ticks, task.process_id)] = _of_value(task.value)
    return entries


def _of_value(value: int | None) -> Entry:
    return Entry(Band.DEFER) if value is None else Entry(Band.DEFER, value, EntryFlag.HAS_VALUE)


def _preselection_of(policy: Policy) -> Policy:
    """A policy that says nothing but whom it preselects."""
    only = Policy(lambda task, oc: DEFER)
    only.name, only.preselection = policy.name, policy.preselection
    return only


def _no_answers(snapshot: Snapshot) -> Answers:
    """The scopes, which a compiled policy orders as a whole: it is asked when memory runs out."""
    notes: list[str] = []
    scopes = []
    for memcg, kernel in scopes_of(choosable(snapshot.kernel, None), notes):
        oc = OomControl(kernel, memcg=memcg)
        constrained_alloc(oc)
        path = None if memcg is None else memcg.path
        scopes.append(ScopeOfAnswers(path, oc.totalpages, len(kernel.tasks)))
    return Answers({}, tuple(scopes), 0, (), tuple(notes))
