"""Random OOMs under random policies in force by the hook; what the kernel noted against what the model says.

Belongs here: making them, and comparing every candidate's points and the victim. Runs in a guest, as root.
Usage: hook_random.py TIMES SEED [patched]. One line of JSON for each OOM that differs, and one in the end.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

from guest.hook_stage import InForce, Tree
from guest.oom_stage import cannot_be_chosen, load, log, sysrq_f, tainted, wait
from oompolicy.backends.hook.abi import TICK_NS, Entries, EntryFlag, task_key
from oompolicy.backends.hook.events import Event
from oompolicy.policy import DEFER, KILL, SPARE, Candidate, Decision, OomControl, Policy, Task, Verdict, decide, policy
from oompolicy.policy.verdict import POINTS, Band, clamp
from oompolicy.policy_file import load_policy
from oompolicy.snapshot import Snapshot

BUILT_IN = (
    *("memcg_priority", "memcg_hierarchy", "largest_memcg", "newest_first", "protect", "over_protection"),
    *("priority_floor", "kernel_default"),
)


def rolled(seed: int) -> Policy:
    """A policy that answers for each comm as dice have it, and moves with badness, or not, in all ways there are."""

    @policy
    def dice(task: Task, oc: OomControl) -> int | Verdict:
        roll = random.Random(f"{seed} {task.comm}")
        score = roll.choice((0, -1, 5000, -(1 << 62), 1 << 62, roll.randrange(-9000, 9000)))
        ways: list[int | Verdict] = [KILL, SPARE, DEFER, score, score, score, 0]
        ways += [score + task.badness, task.badness, -task.badness, task.rss, oc.totalpages - task.badness]
        return roll.choice(ways)

    if seed % 3 == 0:
        dice.preselects(
            lambda tasks, oc: [task for task in tasks if random.Random(f"{seed} {task.comm} p").random() < 0.3]
        )
    elif seed % 3 == 1:
        dice.preselects(
            lambda tasks, oc: [task.memcg for task in tasks if task.memcg is not None and task.uid == 0][:1]
        )
    return dice


def chosen_policy(dice: random.Random) -> Policy:
    if dice.random() < 0.5:
        return rolled(dice.randrange(1 << 30))
    return load_policy(dice.choice(BUILT_IN), ())


def furnish(tree: Tree, dice: random.Random) -> tuple[str | None, int]:
    """A random tree with hogs; the path of the memcg that will run out (None: the machine), and who asks."""
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
    total = 0
    for number in range(dice.randrange(2, 6)):
        size = dice.choice((1, 5, dice.randrange(1, 25)))
        total += size
        adj = dice.choice((0, 0, 0, -1000, -500, 300, dice.randrange(-999, 1001)))
        tree.put(dice.choice(leaves), f"hog{number}", size, adj=adj)
    asks = tree.put(dice.choice(leaves), "asks", 1, *(() if kind == "machine" else ("grow=60",)))
    os.kill(asks, signal.SIGSTOP)
    usage_path = tree.path / inside.rstrip("/")
    if kind != "machine":
        usage = int((usage_path / "memory.current").read_text())
        (usage_path / "memory.max").write_text(str(usage + (3 << 20)))
    return (None if kind == "machine" else "/" + str(usage_path.relative_to("/sys/fs/cgroup"))), asks


def one(force: InForce, number: int, seed: int) -> list[str]:
    """One OOM: what differs, in sentences; empty where nothing does, None where nobody was chosen."""
    dice = random.Random(f"{seed} {number}")
    with Tree() as tree:
        scope, asks = furnish(tree, dice)
        ruling = chosen_policy(dice)
        snapshot = force.see(ruling)
        entries = force.hook._answers.entries if force.hook._answers else {}
        if scope is None:
            sysrq_f()
        else:
            os.kill(asks, signal.SIGCONT)
        event: list[Event] = []

        def happened() -> bool:
            event.extend(each for each in force.events() if each.chosen is not None)
            return bool(event)

        wait(happened, 20)
        if not event:
            return [f"{ruling.name}, {scope}: nobody was chosen"]
        decision = decide(snapshot.oom_control(scope), ruling, snapshot.taken_boottime_ns)
        return list(differences(event[0], decision, entries, snapshot, scope))


def points_then(candidate: Candidate, badness: int) -> int:
    """Its points in the decision, had its badness been this one, and had that moved its score as it does."""
    growth = badness - candidate.badness
    if isinstance(candidate.verdict, Verdict):
        return candidate.points + growth
    return POINTS[candidate.band].base + clamp(candidate.verdict + growth)


def differences(event: Event, decision: Decision, entries: Entries, snapshot: Snapshot, scope: str | None) -> list[str]:
    scope_id = 0 if scope is None else snapshot.memcg(scope).id or 0
    by_pid = {candidate.task.process_id: candidate for candidate in decision.candidates}
    found = [] if event.is_whole else ["records are missing"]
    if event.scope != scope_id:
        found.append(f"scope {event.scope}, not {scope_id}")
    if {each.pid for each in event.weighed} != set(by_pid):
        found.append(
            f"weighed {[each.comm for each in event.weighed]}, not {[c.task.comm for c in decision.candidates]}"
        )
    expected = {}
    for each in event.weighed:
        candidate = by_pid.get(each.pid)
        if candidate is None or candidate.task.start_time_ns is None:
            continue
        ticks = candidate.task.start_time_ns // TICK_NS
        entry = entries.get(task_key(ticks, each.pid, scope_id)) or entries[task_key(ticks, each.pid)]
        moves = candidate.band not in (Band.SCORE, Band.PRESELECTED) or bool(entry.flags & EntryFlag.ADDS_BADNESS)
        expected[each.pid] = points_then(candidate, each.badness if moves else candidate.badness)
        if each.points != expected[each.pid]:
            found.append(f"{each.comm}: {each.points} points, the model says {expected[each.pid]} ({candidate.reason})")
    if expected:
        most = max(expected.values())
        victim = [each for each in event.weighed if expected.get(each.pid) == most][
            -1
        ]  # the last of equals, since 4.19
        if event.chosen is not victim or event.chosen_points != most:
            found.append(f"chose {event.chosen} with {event.chosen_points}, the model {victim} with {most}")
    return found


def main() -> None:
    times, seed = int(sys.argv[1]), int(sys.argv[2])
    cannot_be_chosen()
    Path(f"/proc/{os.getppid()}/oom_score_adj").write_text("-1000")
    if "patched" not in sys.argv:
        load()
    force = InForce()
    began_s, wrong = time.monotonic(), 0
    for number in range(times):
        differing = one(force, number, seed)
        if differing:
            wrong += 1
            print(json.dumps({"proof": f"differs {number}", "seed": seed, "said": differing}), flush=True)
    force.stop()
    seconds = round(time.monotonic() - began_s, 1)
    print(json.dumps({"proof": "all", "seed": seed, "times": times, "wrong": wrong, "seconds": seconds}), flush=True)
    print(json.dumps({"proof": "log", "tainted": tainted(), "lines": log().splitlines()}))


if __name__ == "__main__":
    main()
