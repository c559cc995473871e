"""Random OOMs under compiled policies; what the kernel noted for each candidate against what the model says.

Belongs here: making them so that the model can know every number, and comparing. Runs in a guest, as root.
Usage: hook_random_compiled.py TIMES SEED [patched]. One line of JSON for each OOM that differs, and one in the end.

All candidates are stopped before the machine is looked at, and no memcg has pages charged ahead. The OOM is then asked
for by sysrq, or by a process that cannot be chosen. So the numbers are those of the snapshot, and a policy's points
must be the very same.
"""

from __future__ import annotations

import json
import linecache
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from guest.hook_random import BUILT_IN
from guest.hook_stage import InForce, Tree, nothing_charged_ahead
from guest.oom_stage import cannot_be_chosen, load, log, sysrq_f, tainted, wait
from oompolicy.backends.hook.abi import Source
from oompolicy.backends.hook.events import Event
from oompolicy.backends.hook.ruling import Wanted
from oompolicy.compiler.checked import checked
from oompolicy.errors import OompolicyError
from oompolicy.policy import Candidate, Decision, Policy, decide
from oompolicy.policy_file import load_policy
from oompolicy.snapshot import Snapshot

# What another moment, or another process than the candidates, has a say in.
NOT_OF_THE_SNAPSHOT = ("age_ms", "oc.trigger")
CHANGES_BEFORE_A_MEMCG_OOM = "usage"


class Scene(NamedTuple):
    """What will run out: a memcg by its path (None: the machine), and who makes it so."""

    scope: str | None
    asks: int


def furnish(tree: Tree, dice: random.Random) -> Scene:
    """A random tree with stopped hogs."""
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
    asks = tree.put(dice.choice(leaves), "asks", 1, "grow=60", adj=-1000)
    for pid in tree.lines("ready"):
        os.kill(int(pid), signal.SIGSTOP)
    nothing_charged_ahead()
    if kind == "machine":
        return Scene(None, asks)
    scope = tree.path / inside.rstrip("/")
    usage = int((scope / "memory.current").read_text())
    (scope / "memory.max").write_text(str(usage + (3 << 20)))
    return Scene("/" + str(scope.relative_to("/sys/fs/cgroup")), asks)


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
        scene = furnish(tree, dice)
        ruling = random_policy(dice)
        if dice.random() < 0.2:
            ruling = ruling.with_function(ruling.function)
            ruling.preselects(lambda tasks, oc: [each for each in tasks if each.comm in ("hog1", "hog3")])
        try:
            snapshot = force.see(ruling)
        except OompolicyError as error:
            return [f"{ruling.name}: {error}", text_of(ruling)]
        if "stays in force" in force.told[0]:
            return [force.told[0], text_of(ruling)]
        event: list[Event] = []

        def happened() -> bool:
            event.extend(each for each in force.events() if each.chosen is not None)
            return bool(event)

        if scene.scope is None:
            sysrq_f()
        else:
            os.kill(scene.asks, signal.SIGCONT)
        wait(happened, 20)
        if not event:
            return [f"{ruling.name}, {scene}: nobody was chosen"]
        decision = modelled(snapshot, scene, ruling, event[0])
        found = list(differences(event[0], decision, seen, ruling))
        return [*found, text_of(ruling)] if found else []


def text_of(ruling: Policy) -> str:
    """A made-up policy's module, for who looks into a difference."""
    path = ruling.source_path or ""
    return "".join(linecache.getlines(path)) if path.startswith("<") else ruling.name


def modelled(snapshot: Snapshot, scene: Scene, ruling: Policy, event: Event) -> Decision:
    """What the model makes of the same machine."""
    oc = snapshot.oom_control(scene.scope)
    oc.order, oc.gfp_mask = event.order, event.gfp_mask
    if scene.scope is not None:
        oc.trigger = next(each for each in snapshot.kernel.tasks if each.process_id == scene.asks)
    return decide(oc, checked(ruling), snapshot.taken_boottime_ns)


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
        changing = NOT_OF_THE_SNAPSHOT if event.scope == 0 else (*NOT_OF_THE_SNAPSHOT, CHANGES_BEFORE_A_MEMCG_OOM)
        said = str(candidate.fault and candidate.fault.why)
        if any(part in name for name in (*candidate.reads, said) for part in changing):
            seen["not to be known"] += 1
            knows_all = False
            continue
        seen["fault" if candidate.fault else candidate.band.value] += 1
        if (each.points, each.source is Source.FAULT) != (candidate.points, candidate.fault is not None):
            yield (
                f"{ruling.name}: {each.comm}: {each.points} points ({each.reason} {each.place}), "
                f"the model says {candidate.points} ({candidate.reason}), having read {dict(candidate.reads)}"
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
