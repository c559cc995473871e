"""What a compiled policy does in a kernel, one line of JSON a proof: {"proof": name, ...}. Runs in a guest, as root.

Belongs here: acts on the kernel and what was seen, no judgement; test_hook_compiled.py judges.
Usage: hook_compiled.py [patched]
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from guest.hook_proofs import (
    PRIORITY,
    born_later,
    everyone_spared,
    memcg_oom,
    nested_oom,
    run_out,
    small_in_batch,
    tell,
    unkillable_and_readers,
    whole_machine,
)
from guest.hook_stage import InForce, Tree, shown
from guest.module_storm import STORMS, kills, start
from guest.oom_stage import CGROUPS, Stage, cannot_be_chosen, command, counters, load, log, tainted, wait
from oompolicy.backends.hook import compiled as compiled_program
from oompolicy.backends.hook import pins
from oompolicy.backends.hook.abi import ControlWord
from oompolicy.backends.hook.compiled import Body
from oompolicy.backends.hook.events import in_words
from oompolicy.backends.hook.layout import KernelLayout
from oompolicy.backends.hook.news import known_in
from oompolicy.backends.hook.pieces import MapDescriptors
from oompolicy.backends.hook.ruling import Wanted
from oompolicy.bpf.assembly import Line
from oompolicy.bpf.instructions import Exit, Load
from oompolicy.bpf.opcodes import R0, R9, Width
from oompolicy.policy import DEFER, KILL, OomControl, Policy, Task, Verdict, policy
from oompolicy.policy_file import load_policy
from oompolicy.sources.live import live_snapshot

SWAPS = 60


@policy
def kills_small(task: Task, oc: OomControl) -> int | Verdict:
    return KILL if task.comm == "small" else DEFER


@policy
def faults_for_seven(task: Task, oc: OomControl) -> int | Verdict:
    return task.badness + 0 // (task.oom_score_adj - 7)


@policy
def kills_a_thread(task: Task, oc: OomControl) -> int | Verdict:
    return KILL if task.comm == "leaderless.t" else DEFER


@policy
def by_badness(task: Task, oc: OomControl) -> int | Verdict:
    return task.badness


@policy
def preselects_batch(task: Task, oc: OomControl) -> int | Verdict:
    return DEFER if task.comm == "small" else task.badness


preselects_batch.preselects(lambda tasks, oc: [task.memcg for task in tasks if task.comm == "small" and task.memcg])


@policy
def faults_and_preselects(task: Task, oc: OomControl) -> int | Verdict:
    return 1 // (task.uid - task.uid)


faults_and_preselects.preselects(lambda tasks, oc: [task for task in tasks if task.comm == "small"])


def compiled(ttl_ms: int = 600_000, shadowing: tuple[Policy, ...] = ()) -> InForce:
    return InForce(ttl_ms, Wanted.COMPILED, shadowing)


def told(force: InForce) -> dict[str, object]:
    """The OOMs since the last call: as data, and in words."""
    events = [event for event in force.events() if event.chosen is not None]
    known = known_in(force.attachment(), live_snapshot())
    return {
        "choices": [shown(event) for event in events],
        "lines": [in_words(event, known) for event in events],
        "disagreements": [
            {known.policy(each): one.comm for each, one in event.disagreements.items()} for event in events
        ],
        "shadows": [{known.policy(each): len(found) for each, found in event.shadows.items()} for event in events],
    }


def sizes(force: InForce) -> None:
    """How many instructions each built-in policy takes, with all that is around it."""
    found = {}
    for name in BUILT_IN:
        force.see(load_policy(name, ()))
        assert force.hook._live is not None
        found[name] = force.hook._live.instructions
    tell("sizes", instructions=found, words=force.hook._live.in_words if force.hook._live else "")


BUILT_IN = (
    *("memcg_priority", "memcg_hierarchy", "largest_memcg", "newest_first", "protect", "over_protection"),
    *("priority_floor", "kernel_default"),
)


def a_fault(force: InForce) -> None:
    """One task for which the policy divides by zero; it is the largest by badness."""
    with Tree(60) as tree:
        small_in_batch(tree)
        tree.put("db", "seven", 1, adj=7)
        before = force.control()[ControlWord.FAULTS]
        force.see(faults_for_seven)
        victims = run_out(tree)
        tell("a fault", victims=victims, faults=force.control()[ControlWord.FAULTS] - before, **told(force))


def preselected(force: InForce) -> None:
    with Tree(60) as tree:
        small_in_batch(tree)
        force.see(preselects_batch)
        tell("preselected", victims=run_out(tree), **told(force))


def leaderless(force: InForce) -> None:
    """A process whose leader has exited goes by the name of the thread that has its memory, as in the kernel's log."""
    with Tree(60) as tree:
        tree.leaf("db")
        tree.leaf("asks")
        tree.put("db", "big", 30)
        tree.put("db", "leaderless", 10, "thread")
        force.see(kills_a_thread)
        tell("leaderless", victims=run_out(tree), **told(force))


def faulting_and_preselected(force: InForce) -> None:
    """A fault counts as DEFER, and a preselection lifts that."""
    with Tree(60) as tree:
        small_in_batch(tree)
        force.see(faults_and_preselects)
        tell("a fault, preselected", victims=run_out(tree), **told(force))


def a_path_that_appears(force: InForce) -> None:
    """is_under() of a cgroup that is not there yet when the policy is loaded."""
    path = f"/stage{Stage.number + 1}/db"
    ruled = load_policy("protect", ()).with_parameters({"COMMS": (), "CGROUPS": (path,)})
    force.see(ruled)
    program = force.hook._live
    with Tree(60) as tree:
        small_in_batch(tree)
        force.see(ruled)
        assert force.hook._live is program
        tell("a path that appears", victims=run_out(tree), **told(force))


def expired() -> None:
    """Without a daemon for longer than the time to live: values are absent, the policy stays."""
    for name, ruled in (("expired values", PRIORITY), ("expired, no values", kills_small)):
        force = compiled(ttl_ms=1500)
        with Tree(60) as tree:
            small_in_batch(tree)
            force.see(ruled)
            time.sleep(1.6)
            tell(name, victims=run_out(tree), expired=force.control()[ControlWord.EXPIRED], **told(force))
        force.stop()


def refused(force: InForce) -> None:
    """A program that the verifier does not take: the policy in force stays, and so do its values."""

    def broken(layout: KernelLayout, maps: MapDescriptors, policy_id: int, body: Body) -> Iterator[Line]:
        yield from (Load(Width.U64, R0, R9, 0), Exit())

    with Tree(60) as tree:
        small_in_batch(tree)
        force.see(PRIORITY)
        good = compiled_program.live
        try:
            compiled_program.live = broken
            force.see(by_badness)
        finally:
            compiled_program.live = good
        tell("refused", said=force.told[0], victims=run_out(tree), **told(force))


def shadowed() -> None:
    force = compiled(shadowing=(by_badness, kills_small))
    with Tree(60) as tree:
        small_in_batch(tree)
        force.see(PRIORITY)
        tell("shadowed", started=force.started, victims=run_out(tree), **told(force))
    force.stop()
    tell("after shadows", left=pins.FOLDER.exists())


def swapped_in_a_storm(force: InForce) -> None:
    """Compiled and published policies in turn while OOMs go on: which policies answered in one event."""
    running = start()
    wait(lambda: kills() > 5)
    before, events, broken = kills(), 0, 0
    mixed: list[list[int]] = []
    told_of: set[int] = set()
    rulings = (PRIORITY, by_badness, kills_small, load_policy("newest_first", ()))
    for number in range(SWAPS):
        force.hook._wanted = Wanted.PUBLISHED if number % 3 == 2 else Wanted.COMPILED
        force.see(rulings[number % len(rulings)], forget=False)
        for event in force.events():
            events += 1
            broken += not event.is_whole
            ids = event.policy_ids | {event.policy_id}
            told_of |= ids
            if len(ids) != 1:
                mixed.append(sorted(ids))
    force.hook._wanted = Wanted.COMPILED
    answered = force.control()[ControlWord.ANSWERED]
    killed = kills() - before
    for each in running:
        each.kill()
    for number in range(STORMS):
        (CGROUPS / f"storm{number}" / "cgroup.kill").write_text("1")
    tell(
        "storm",
        swaps=SWAPS,
        kills=killed,
        events=events,
        mixed=mixed,
        broken=broken,
        policies=len(told_of),
        answered=answered,
    )


def main() -> None:
    has_module = "patched" not in sys.argv
    cannot_be_chosen()
    Path(f"/proc/{os.getppid()}/oom_score_adj").write_text("-1000")
    os.setxattr(CGROUPS, "user.oompolicy.value", b"1000")  # who runs the guest outranks all that is tried
    if has_module:
        load()
    force = compiled()
    tell("started", said=force.started)
    sizes(force)
    for proofs in (memcg_oom, nested_oom, whole_machine, everyone_spared, unkillable_and_readers, born_later):
        proofs(force)
    for proof in (
        a_fault,
        preselected,
        faulting_and_preselected,
        leaderless,
        a_path_that_appears,
        refused,
        swapped_in_a_storm,
    ):
        proof(force)
    force.stop()
    expired()
    shadowed()
    if has_module:
        tell("rmmod", after=command("rmmod", "oom_policy"), counters=counters())
    tell("log", tainted=tainted(), lines=log().splitlines(), left=pins.FOLDER.exists())


if __name__ == "__main__":
    main()
