"""Random OOMs under compiled policies; what the kernel noted for each candidate against what the model says.

Belongs here: making them so that the model can know every number, and comparing. Runs in a guest, as root.
Usage: hook_random_compiled.py TIMES SEED [patched]. One line of JSON for each OOM that differs, and one in the end.

All processes are stopped, and what can be reclaimed has been, before the machine is looked at. The OOM is then asked
for: by sysrq, or by a limit below what a memcg holds. So the numbers are those of the snapshot, and a policy's points
must be the very same.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from guest.hook_random import BUILT_IN
from guest.hook_stage import InForce, Tree
from guest.oom_stage import cannot_be_chosen, load, log, sysrq_f, tainted, wait
from oompolicy.backends.hook.abi import Source
from oompolicy.backends.hook.events import Event
from oompolicy.backends.hook.ruling import Wanted
from oompolicy.compiler.checked import checked
from oompolicy.errors import OompolicyError
from oompolicy.mm.memcontrol import MemCgroup
from oompolicy.mm.oom import Kernel
from oompolicy.mm.oom import OomControl as KernelOomControl
from oompolicy.policy import Candidate, Decision, Policy, decide
from oompolicy.policy_file import load_policy
from oompolicy.snapshot import Snapshot

PAGE_BYTES = 4096
# What another moment, or another process than the candidates, has a say in.
NOT_OF_THE_SNAPSHOT = ("age_ms", "oc.trigger", "parent.usage", "parent.swap", "parent.parent")


class Scene(NamedTuple):
    """What will run out: a memcg by its path, and the limit that makes it so; None: the machine."""

    scope: str | None
    limit_pages: int


def furnish(tree: Tree, dice: random.Random) -> Path | None:
    """A random tree with stopped hogs; the folder of the memcg that will run out (None: the machine)."""
    kind = dice.choice(("memcg", "memcg", "nested", "machine"))
    inside = "inner/" if kind == "nested" else ""
    if inside:
        tree.leaf("inner", dice.choice((None, 3)))
        tree.leaf("outside", dice.choice((None, -4)))
        tree.put("outside", "outside", dice.randrange(1, 9), adj=dice.choice((0, 500)))
    leaves = [f"{inside}{name}" for name in ("a", "b", "b/c", "d/e")[: dice.randrange(2, 5)]]
    if f"{inside}b/c" in leaves:
        leaves.remove(f"{inside}b")  # a memcg with memcgs in it holds no processes
    for leaf in leaves:
        tree.leaf(leaf, dice.choice((None, 0, dice.randrange(-20, 1000))))
        if dice.random() < 0.3:
            (tree.path / leaf / "memory.low").write_text(f"{dice.randrange(1, 20)}M")
    for number in range(dice.randrange(3, 7)):
        adj = dice.choice((0, 0, 0, -1000, -500, 300, dice.randrange(-999, 1001)))
        size = dice.choice((1, 5, dice.randrange(1, 25)))
        tree.put(dice.choice(leaves), f"hog{number}", size, adj=adj)
    tree.put(dice.choice(leaves), "last", 6)
    for pid in tree.lines("ready"):
        os.kill(int(pid), signal.SIGSTOP)
    return None if kind == "machine" else tree.path / inside.rstrip("/")


def settle(scope: Path | None, tree: Tree) -> Scene:
    """Give back what is charged ahead or can be reclaimed; nobody is killed for memory.high."""
    if scope is None:
        return Scene(None, 0)
    (tree.path / "memory.high").write_text("0")
    (tree.path / "memory.high").write_text("max")
    usage = int((scope / "memory.current").read_text())
    return Scene("/" + str(scope.relative_to("/sys/fs/cgroup")), (usage - (2 << 20)) // PAGE_BYTES)


def random_policy(dice: random.Random) -> Policy:
    """A built-in one, or one of the whole language."""
    if dice.random() < 0.3:
        return load_policy(dice.choice(BUILT_IN), ())
    from compiler.random_source import random_policy as random_text
    from oompolicy.compiler.examples import policy_of

    return policy_of(random_text(dice))


def one(force: InForce, number: int, seed: int, seen: Counter[str]) -> list[str]:
    """One OOM: what differs, in sentences."""
    dice = random.Random(f"{seed} {number}")
    with Tree() as tree:
        scope = furnish(tree, dice)
        ruling = random_policy(dice)
        if dice.random() < 0.2:
            ruling = ruling.with_function(ruling.function)
            ruling.preselects(lambda tasks, oc: [each for each in tasks if each.comm in ("hog1", "hog3")])
        scene = settle(scope, tree)
        try:
            snapshot = force.see(ruling)
        except OompolicyError as error:
            return [f"{ruling.name}: {error}"]
        if scope is None:
            sysrq_f()
        else:
            (scope / "memory.max").write_text(str(scene.limit_pages * PAGE_BYTES))
        event: list[Event] = []

        def happened() -> bool:
            event.extend(each for each in force.events() if each.chosen is not None)
            return bool(event)

        wait(happened, 20)
        if not event:
            return [f"{ruling.name}, {scene}: nobody was chosen"]
        decision = modelled(snapshot, scene, ruling, event[0])
        return list(differences(event[0], decision, seen, ruling))


def modelled(snapshot: Snapshot, scene: Scene, ruling: Policy, event: Event) -> Decision:
    """What the model makes of the same machine with the limit that made it run out."""
    memcgs = limited(snapshot.kernel.memcgs, scene)
    tasks = tuple(
        each if each.memcg is None else replace(each, memcg=memcgs[each.memcg.path]) for each in snapshot.kernel.tasks
    )
    kernel: Kernel = replace(snapshot.kernel, tasks=tasks, memcgs=tuple(memcgs.values()))
    oc = KernelOomControl(kernel, memcg=None if scene.scope is None else memcgs[scene.scope])
    oc.order, oc.gfp_mask = event.order, event.gfp_mask
    return decide(oc, checked(ruling), snapshot.taken_boottime_ns)


def limited(memcgs: tuple[MemCgroup, ...], scene: Scene) -> dict[str, MemCgroup]:
    """All memcgs by path, one of them with the limit, and each with such a parent."""
    made: dict[str, MemCgroup] = {}
    for memcg in sorted(memcgs, key=lambda each: each.depth):
        limit = scene.limit_pages if memcg.path == scene.scope else memcg.max_pages
        parent = None if memcg.parent is None else made[memcg.parent.path]
        made[memcg.path] = replace(memcg, max_pages=limit, parent=parent)
    return made


def differences(event: Event, decision: Decision, seen: Counter[str], ruling: Policy) -> Iterator[str]:
    by_pid: Mapping[int, Candidate] = {each.task.process_id: each for each in decision.candidates}
    if not event.is_whole or len(event.policy_ids) != 1:
        yield f"records are missing, or of policies {event.policy_ids}"
    if {each.pid for each in event.weighed} != set(by_pid):
        yield f"weighed {[each.comm for each in event.weighed]}, not {[c.task.comm for c in decision.candidates]}"
    knows_all = True
    for each in event.weighed:
        candidate = by_pid.get(each.pid)
        if candidate is None:
            continue
        if each.badness != candidate.badness:
            yield f"{each.comm}: badness {each.badness}, the model says {candidate.badness}"
        if any(part in name for name in candidate.reads for part in NOT_OF_THE_SNAPSHOT):
            seen["not to be known"] += 1
            knows_all = False
            continue
        seen["fault" if candidate.fault else candidate.band.value] += 1
        if (each.points, each.source is Source.FAULT) != (candidate.points, candidate.fault is not None):
            yield (
                f"{ruling.name}: {each.comm}: {each.points} points ({each.reason} {each.place}), "
                f"the model says {candidate.points} ({candidate.reason})"
            )
    if knows_all and event.chosen is not None:
        chosen = decision.chosen
        if chosen is None or chosen.process_id != event.chosen.pid or decision.chosen_points != event.chosen_points:
            yield f"chose {event.chosen}, the model {chosen} with {decision.chosen_points}"
        seen["victims"] += 1


def main() -> None:
    times, seed = int(sys.argv[1]), int(sys.argv[2])
    cannot_be_chosen()
    Path(f"/proc/{os.getppid()}/oom_score_adj").write_text("-1000")
    if "patched" not in sys.argv:
        load()
    force = InForce(wanted=Wanted.COMPILED)
    began_s, wrong = time.monotonic(), 0
    seen: Counter[str] = Counter()
    for number in range(times):
        differing = one(force, number, seed, seen)
        if differing:
            wrong += 1
            print(json.dumps({"proof": f"differs {number}", "seed": seed, "said": differing}), flush=True)
    force.stop()
    seconds = round(time.monotonic() - began_s, 1)
    print(
        json.dumps({"proof": "all", "seed": seed, "times": times, "wrong": wrong, "seconds": seconds, "seen": seen}),
        flush=True,
    )
    print(json.dumps({"proof": "log", "tainted": tainted(), "lines": log().splitlines()}))


if __name__ == "__main__":
    main()
