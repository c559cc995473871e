"""What every field is to a program in the kernel and to the model on a snapshot. Runs in a guest, as root.

Belongs here: processes of all kinds that stand still, OOMs, both sides of each number; test_fields.py judges.
Usage: fields_proofs.py [patched], with swap. One line of JSON a proof: {"proof": name, "candidates": {comm: {field:
[kernel, model]}}}; null is None, "fault" a read that fails.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import closing
from pathlib import Path

from guest.fields_program import Hook, Reading
from guest.fields_stage import compare, furnish, let_everything_settle, task_values, tell, values_of
from guest.hook_stage import Tree
from guest.oom_stage import cannot_be_chosen, load, log, sysrq_f, tainted, wait
from oompolicy.backends.hook.abi import Entries
from oompolicy.backends.hook.kernel_fields import Access, trial
from oompolicy.backends.hook.target import open_target
from oompolicy.snapshot import Snapshot
from oompolicy.sources.live import live_snapshot


def whole_machine(tree: Tree, reading: Reading, proof: str, entries: Entries | None) -> Snapshot:
    """sysrq f; whoever is most ready to die does, and the rest stands as it stood."""
    tree.put("a/c/d", "victim", 1, adj=1000)
    let_everything_settle()
    snapshot = live_snapshot()
    if entries is None:
        reading.unpublish()
    else:
        reading.publish(entries)
    dead = len(tree.lines("ends"))
    sysrq_f()
    wait(lambda: len(tree.lines("ends")) > dead)
    tell(proof, candidates=compare(reading.read(), snapshot, snapshot.oom_control()))
    return snapshot


def one_memcg(tree: Tree, reading: Reading) -> None:
    """Who grows is stopped, and goes on when the memcg has little left."""
    (tree.path / "a/b/memory.swap.max").write_text("0")
    grower = tree.put("a/b", "grower", 1, "grow=150", adj=1000)
    os.kill(grower, signal.SIGSTOP)
    let_everything_settle()
    usage = int((tree.path / "a/b/memory.current").read_text())
    (tree.path / "a/b/memory.max").write_text(str(usage + (3 << 20)))
    snapshot = live_snapshot()
    reading.publish(values_of(snapshot))
    dead = len(tree.lines("ends"))
    os.kill(grower, signal.SIGCONT)
    wait(lambda: len(tree.lines("ends")) > dead)
    scope = f"/{tree.path.name}/a/b"
    tell("memcg", candidates=compare(reading.read(), snapshot, snapshot.oom_control(scope)))


def all_proofs(tree: Tree, hook: Hook, access: Access, paths: dict[str, int]) -> None:
    new = f"/{tree.path.name}/a/c/d"
    with closing(Reading(hook, access, paths)) as reading:
        tell("program", instructions=reading.instructions, approximate=reading.fields.approximate)
        # One memcg is newer than what is published, and one task has a value of its own.
        snapshot = live_snapshot()
        entries = values_of(snapshot, but=new) | task_values(snapshot, "user", -77)
        whole_machine(tree, reading, "sysrq", entries)
        whole_machine(tree, reading, "values are absent", None)
    with closing(Reading(hook, access, paths, with_memo=True)) as reading:
        whole_machine(tree, reading, "with a memo", entries)
        whole_machine(tree, reading, "with a memo, other values", values_of(snapshot, less=1))
    with closing(Reading(hook, Access(casts=False, loads_comm=False, sums_cpus=False), paths)) as reading:
        whole_machine(tree, reading, "by probes", entries)
    with closing(Reading(hook, access, paths)) as reading:
        one_memcg(tree, reading)


def main() -> None:
    cannot_be_chosen()
    Path(f"/proc/{os.getppid()}/oom_score_adj").write_text("-1000")
    if "patched" not in sys.argv:
        load()
    with open_target(None) as target, Tree() as tree:
        began_s = time.monotonic()
        access = trial.find(target, None)
        tell("access", seconds=time.monotonic() - began_s, found=[getattr(access, name) for name in access.__slots__])
        furnish(tree)
        rootling = tree.put("..", "rootling", 1, adj=-400)
        own = f"/{tree.path.name}"
        paths = {path: Path(f"/sys/fs/cgroup{path}").stat().st_ino for path in (own, f"{own}/a/b")} | {"/gone/away": 0}
        all_proofs(tree, Hook(target.kernel, target.btf_fd, target.score), access, paths)
    os.kill(rootling, signal.SIGKILL)
    tell("log", tainted=tainted(), lines=log().splitlines())


if __name__ == "__main__":
    main()
