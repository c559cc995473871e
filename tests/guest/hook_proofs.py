"""What the backend hook does in a kernel, one line of JSON a proof: {"proof": name, ...}. Runs in a guest, as root.

Belongs here: acts on the kernel and what was seen, no judgement; test_hook.py judges.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from guest.hook_stage import InForce, Tree
from guest.oom_stage import CGROUPS, cannot_be_chosen, command, load, log, oom_score, sysrq_f, tainted, wait
from oompolicy.backends.hook import attachment, pins, program
from oompolicy.backends.hook.layout import KernelLayout
from oompolicy.backends.hook.pieces import MapDescriptors
from oompolicy.backends.hook.target import open_target
from oompolicy.bpf.assembly import Line
from oompolicy.bpf.instructions import Exit, Load, move
from oompolicy.bpf.opcodes import R0, R9, Width
from oompolicy.errors import OompolicyError
from oompolicy.policy import SPARE, OomControl, Task, Verdict, policy
from oompolicy.policy_file import load_policy

PRIORITY = load_policy("memcg_priority", ())


def tell(proof: str, **seen: object) -> None:
    print(json.dumps({"proof": proof, **seen}), flush=True)


@policy
def spare_all(task: Task, oc: OomControl) -> int | Verdict:
    return SPARE


@policy
def faulty(task: Task, oc: OomControl) -> int | Verdict:
    return 1 // (task.badness - task.badness)


def small_in_batch(tree: Tree, inside: str = "") -> None:
    """A big important process, a small unimportant one."""
    tree.leaf(f"{inside}db", 900)
    tree.leaf(f"{inside}batch", 10)
    tree.leaf(f"{inside}asks", 500)
    tree.put(f"{inside}db", "big", 30)
    tree.put(f"{inside}batch", "small", 10)


def run_out(tree: Tree, inside: str = "") -> list[str]:
    tree.put(f"{inside}asks", "asks", 1, "grow=22")
    return tree.victims()


def memcg_oom(force: InForce) -> None:
    with Tree(60) as tree:
        small_in_batch(tree)
        force.see(PRIORITY)
        tell("memcg", victims=run_out(tree), choices=force.choices(), path=str(tree.path))


def nested_oom(force: InForce) -> None:
    with Tree(400) as tree:
        tree.leaf("inner", limit_mib=60)
        small_in_batch(tree, "inner/")
        tree.leaf("outside", -5)
        tree.put("outside", "bystander", 20)
        force.see(PRIORITY)
        scope = (tree.path / "inner").stat().st_ino
        tell("nested", victims=run_out(tree, "inner/"), choices=force.choices(), scope=scope)


def whole_machine(force: InForce) -> None:
    with Tree() as tree:
        small_in_batch(tree)
        force.see(PRIORITY)
        sysrq_f()
        tell("sysrq", victims=tree.victims(), choices=force.choices())
    with Tree() as tree:
        small_in_batch(tree)
        force.see(PRIORITY)
        tree.put("db", "grower", 1, "grow=700")
        wait(lambda: len(tree.lines("ends")) >= 2, 40)
        tell("exhausted", victims=tree.victims(), choices=force.choices())


def everyone_spared(force: InForce) -> None:
    with Tree(60) as tree:
        small_in_batch(tree)
        force.see(spare_all)
        tell("spare all", victims=run_out(tree), choices=force.choices())
    with Tree(60) as tree:
        small_in_batch(tree)
        force.see(faulty)
        tell("fault", victims=run_out(tree), choices=force.choices())


def unkillable_and_readers(force: InForce) -> None:
    with Tree(60) as tree:
        small_in_batch(tree)
        never = tree.put("batch", "never", 5, adj=-1000)
        pids = [int(pid) for pid in tree.lines("ready")]
        own = [oom_score(pid) for pid in pids if pid != never]
        force.see(PRIORITY)
        attached = [oom_score(pid) for pid in pids if pid != never]
        tell("unkillable", victims=run_out(tree), choices=force.choices(), own=own, attached=attached)


def born_later(force: InForce) -> None:
    """After the last look: one in a memcg that was empty, one in a memcg that was not there."""
    for proof, leaf in (("born in an empty memcg", "empty"), ("born in a new memcg", "empty/new")):
        with Tree(60) as tree:
            tree.leaf("db", 900)
            tree.leaf("empty", 10)
            tree.leaf("asks", 500)
            tree.put("db", "big", 30)
            force.see(PRIORITY)
            tree.leaf(leaf)
            tree.put(leaf, "small", 10)
            tell(proof, victims=run_out(tree), choices=force.choices())


def expired() -> None:
    force = InForce(ttl_ms=1500)
    with Tree(60) as tree:
        small_in_batch(tree)
        force.see(PRIORITY)
        time.sleep(1.6)
        tell("expired", victims=run_out(tree), choices=force.choices())
    force.stop()


def refused_program(force: InForce) -> None:
    """Another version of the programs, which the verifier does not take: what is in force stays so."""

    def broken(*_: object) -> Iterator[Line]:
        yield from (Load(Width.U64, R0, R9, 0), Exit())

    with Tree(60) as tree:
        small_in_batch(tree)
        force.see(PRIORITY)
        good = attachment.PROGRAMS["score"]
        attachment.PROGRAMS["score"] = broken
        said = ""
        try:
            with open_target() as target:
                pins.take(target)
        except OompolicyError as error:
            said = str(error)
        finally:
            attachment.PROGRAMS["score"] = good
        sets = [path.name for path in pins.sets()]
        tell("refused", said=said, sets=sets, victims=run_out(tree), choices=force.choices())


def longer(layout: KernelLayout, maps: MapDescriptors) -> Iterator[Line]:
    """Another version of the program that answers, which answers the same."""
    yield from (move(R0, 0), *program.score(layout, maps))


def given_up(force: InForce) -> InForce:
    """A newer version is attached, and its daemon is gone before it has published; then the older one comes back."""
    with Tree(60) as tree:
        small_in_batch(tree)
        force.see(PRIORITY)
        force.hook.close()
        older = attachment.PROGRAMS["score"]
        attachment.PROGRAMS["score"] = longer
        InForce().hook.close()
        attachment.PROGRAMS["score"] = older
        sets = [[path.name for path in pins.sets()]]
        victims = run_out(tree)
        back = InForce()
        told = [back.started]
        for _ in range(2):
            back.see(PRIORITY)
            told.append(back.told)
        sets.append([path.name for path in pins.sets()])
        tell("given up", victims=victims, told=told, sets=sets)
    return back


def other_programs(force: InForce) -> InForce:
    """A newer version of the programs takes over from the old one, which answers until the new one has published.

    One OOM while nobody looks, one while both are attached, one under the new: each is told of once.
    """
    with Tree(60) as tree:
        small_in_batch(tree)
        force.see(PRIORITY)
        force.hook.close()
        alone = run_out(tree)
        attachment.PROGRAMS["score"] = longer
        newer = InForce()
        before = [path.name for path in pins.sets()]
        tree.put("asks", "asks_more", 1, "grow=22")
        in_between = tree.victims_besides(alone)
        newer.see(PRIORITY)
        told = [newer.started, newer.told]
    with Tree(60) as tree:
        small_in_batch(tree)
        newer.see(PRIORITY)
        told.append(newer.told)
        sets = [before, [path.name for path in pins.sets()]]
        seen: dict[str, object] = {"sets": sets, "alone": alone, "in_between": in_between}
        seen |= {"victims": run_out(tree), "choices": newer.choices()}
        newer.see(PRIORITY)
        tell("replaced", told=[*told, newer.told], **seen)
    return newer


AS_NOBODY = """
import os, sys
from pathlib import Path
os.setgroups([]); os.setgid(65534); os.setuid(65534)
from oompolicy.bpf.object_ids import map_ids
from oompolicy.bpf.pins import open_pinned
from oompolicy.bpf.maps import Map
pins = Path("/sys/fs/bpf/oompolicy")
for act in (lambda: list(pins.iterdir()), lambda: open_pinned(Path(sys.argv[1]), Map), lambda: list(map_ids())):
    try:
        act()
        print("allowed")
    except Exception as error:
        print(type(error).__name__)
"""


def unprivileged() -> None:
    path = pins.in_force()
    assert path is not None
    for folder in ("/sys/fs/bpf", "/sys"):
        Path(folder).chmod(0o755)  # even where the file system itself lets everybody in
    done = subprocess.run(
        [sys.executable, "-c", AS_NOBODY, str(path / "control")], capture_output=True, text=True, check=False
    )
    modes = [oct(os.stat(each).st_mode & 0o777) for each in (pins.FOLDER, path, path / "control")]
    tell("unprivileged", said=done.stdout.split(), trouble=done.stderr[-500:], modes=modes)


def main() -> None:
    has_module = "patched" not in sys.argv
    cannot_be_chosen()
    os.setxattr(CGROUPS, "user.oompolicy.value", b"1000")  # who runs the guest outranks all that is tried
    if has_module:
        load()
    force = InForce()
    tell("started", said=force.started)
    for proofs in (memcg_oom, nested_oom, whole_machine, everyone_spared, unkillable_and_readers, born_later):
        proofs(force)
    refused_program(force)
    force = other_programs(given_up(force))
    unprivileged()
    while_attached = command("rmmod", "oom_policy") if has_module else None
    force.stop()
    expired()
    if has_module:
        tell("rmmod", attached=while_attached, after=command("rmmod", "oom_policy"))
    tell("log", tainted=tainted(), lines=log().splitlines(), left=pins.FOLDER.exists())


if __name__ == "__main__":
    main()
