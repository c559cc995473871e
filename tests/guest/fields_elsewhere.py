"""The fields on a kernel that the hook cannot be had on: read where its own functions are entered. Runs in a guest.

Belongs here: fentry on oom_badness(), which serves /proc/PID/oom_score too, and on out_of_memory(); cgroups of v1.
Must not know: what is right. Usage: fields_elsewhere.py v1|v2, with swap. As fields_proofs.py.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

from guest.fields_program import Hook, Reading
from guest.fields_stage import compare, furnish, let_everything_settle, tell, values_of
from guest.hook_stage import Tree, removed
from guest.oom_stage import CGROUPS, cannot_be_chosen, log, oom_score, tainted, wait
from oompolicy.backends.hook.kernel_fields import Access, trial
from oompolicy.backends.hook.target import Place, Target
from oompolicy.bpf.btf import Btf
from oompolicy.bpf.kernel_btf import vmlinux_btf
from oompolicy.bpf.uapi import AttachType
from oompolicy.sources.live import live_snapshot

V1 = Path("/run/memory")


class V1Tree(Tree):
    """The same in a hierarchy of v1."""

    def __enter__(self) -> V1Tree:
        self.path = V1 / self.path.name
        super().__enter__()
        return self

    def leaf(self, name: str, value: int | None = None, limit_mib: int = 0) -> Path:
        path = self.path / name
        path.mkdir(parents=True, exist_ok=True)
        if value is not None:
            os.setxattr(path, "user.oompolicy.value", str(value).encode())
        if limit_mib:
            (path / "memory.limit_in_bytes").write_text(f"{limit_mib}M")
        return path

    def __exit__(self, *error: object) -> None:
        for pid in self.lines("ready"):
            if (Path("/proc") / pid).exists():
                os.kill(int(pid), signal.SIGKILL)
        for folder, _, _ in os.walk(self.path, topdown=False):
            removed(Path(folder))


def mount_v1() -> None:
    """Take the controller from v2, where nothing has used it yet."""
    (CGROUPS / "cgroup.subtree_control").write_text("-memory")
    V1.mkdir()
    for _ in range(20):
        if subprocess.run(["mount", "-t", "cgroup", "-o", "memory", "none", V1], check=False).returncode == 0:
            return
        time.sleep(0.2)


def of_tasks(tree: Tree, kernel: Btf) -> None:
    place = Place(kernel.function("oom_badness").type_id, AttachType.TRACE_FENTRY)
    began_s = time.monotonic()
    access = trial.find(Target("oom_badness", kernel, 0, place, place, place), None)
    tell("access", seconds=time.monotonic() - began_s, found=[getattr(access, name) for name in access.__slots__])
    paths = {f"/{tree.path.name}/a/b": (tree.path / "a/b").stat().st_ino, "/gone/away": 0}
    with closing(Reading(Hook(kernel, 0, place, oc=None), access, paths)) as reading:
        tell("program", instructions=reading.instructions, approximate=reading.fields.approximate)
        let_everything_settle()
        snapshot = live_snapshot()
        reading.publish(values_of(snapshot))
        for pid in tree.lines("ready"):
            oom_score(int(pid))
        tell("tasks", candidates=compare(reading.read(), snapshot, snapshot.oom_control()))


def of_the_oom(tree: Tree, kernel: Btf, access: Access) -> None:
    place = Place(kernel.function("out_of_memory").type_id, AttachType.TRACE_FENTRY)
    with closing(Reading(Hook(kernel, 0, place, task=None, oc=0), access, {})) as reading:
        small = tree.leaf("small", limit_mib=20)
        v2, v1 = small / "memory.swap.max", small / "memory.memsw.limit_in_bytes"
        (v2 if v2.exists() else v1).write_text("0" if v2.exists() else "20M")
        grower = tree.put("small", "grower", 1, "grow=60")
        wait(lambda: str(grower) in " ".join(tree.lines("ends")))
        seen = [{name: tuple(each) for name, each in got.items()} for got in reading.read()]
        tell("oom", seen=seen[0], grower=grower, scope=small.stat().st_ino)


def main() -> None:
    cannot_be_chosen()
    is_v1 = "v1" in sys.argv
    if is_v1:
        mount_v1()
    with vmlinux_btf(None) as kernel, V1Tree() if is_v1 else Tree() as tree:
        furnish(tree)
        of_tasks(tree, kernel)
        of_the_oom(tree, kernel, Access(casts=False, loads_comm=False, sums_cpus=False))
    tell("log", tainted=tainted(), lines=log().splitlines())


if __name__ == "__main__":
    main()
