"""How long it takes from a policy's text to the policy in force in the kernel.

Belongs here: a policy of ten lines, the steps, a stopwatch. Must not know: what is too much.
Usage: compile_cost.py RUNS [attach]; one JSON object a way. With attach it runs in a guest, as root.
"""

from __future__ import annotations

import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path

from oompolicy.backends.hook import policy_body
from oompolicy.backends.hook.attachment import Attachment, attach
from oompolicy.backends.hook.kernel_fields import access
from oompolicy.backends.hook.pieces import MapDescriptors
from oompolicy.backends.hook.ruling import Wanted, ruling_for
from oompolicy.backends.hook.target import CACHE, open_target
from oompolicy.bpf.assembly import Label, assemble
from oompolicy.bpf.kernel_btf import vmlinux_btf
from oompolicy.policy_file import load_policy

TEN_LINES = '''
"""Ten lines."""
from oompolicy import *

@policy
def ten_lines(task: Task, oc: OomControl) -> int | Verdict:
    if task.comm in ("sshd", "dockerd") or task.uid == 0 and task.rss < 2560:
        return SPARE
    if task.memcg is None or task.memcg.value is None:
        return DEFER
    value = min(max(task.memcg.value, -1000), 1000)
    if task.memcg.usage > 2 * max(task.memcg.low, 1):
        value -= 1
    if oc.is_memcg_oom and task.oom_score_adj > 500:
        return KILL
    return -value * (1 << 36) + task.badness
'''

Way = Callable[[Path, Path | None, ExitStack], None]
STANDING: list[Attachment] = []  # what swapped() works on


def compiled(path: Path, cache: Path | None, stack: ExitStack) -> None:
    """From the text to instructions for this kernel."""
    policy = load_policy(str(path), ())
    btf = stack.enter_context(vmlinux_btf(cache))
    program = policy_body.intermediate(policy)
    kernel = policy_body.Kernel(btf, access.NONE, MapDescriptors(0, 0, 0, 0, 0, 0), -1)
    made = policy_body.emitted(program, kernel, is_live=True)
    assemble([*made.lines, *map(Label, made.goes_to)])


def in_force(path: Path, cache: Path | None, stack: ExitStack) -> None:
    """From the text to the policy in its slot, all attached."""
    policy = load_policy(str(path), ())
    target = stack.enter_context(open_target(cache))
    attachment = stack.enter_context(closing(attach(target)))
    ruling = stack.enter_context(closing(ruling_for(policy, Wanted.COMPILED, target, attachment.maps)))
    attachment.make_live(attachment.free_next_slot(), ruling.program, ruling.id, ruling.form)


def swapped(path: Path, cache: Path | None, stack: ExitStack) -> None:
    """From the text to the policy in its slot, in the place of another."""
    policy = load_policy(str(path), ())
    target = stack.enter_context(open_target(cache))
    (held,) = STANDING
    ruling = stack.enter_context(closing(ruling_for(policy, Wanted.COMPILED, target, held.maps)))
    held.make_live(held.free_next_slot(), ruling.program, ruling.id, ruling.form)


def report(way: Way, path: Path, cache: Path, runs: int) -> None:
    """Cold: nothing is remembered of this kernel. Warm: all that was asked of it the last time is."""
    for state in ("cold", "warm"):
        took = []
        for number in range(runs + 1):
            if state == "cold" or number == 0:
                shutil.rmtree(cache, ignore_errors=True)
            if state == "warm":
                cache.mkdir(mode=0o700, exist_ok=True)
            with ExitStack() as stack:  # what is let go of afterwards does not count
                start = time.perf_counter()
                way(path, cache if state == "warm" else None, stack)
                took.append((time.perf_counter() - start) * 1e3)
        shutil.rmtree(cache, ignore_errors=True)
        print(json.dumps({"way": way.__name__, "btf": state, "median_ms": statistics.median(took[1:])}))


def main() -> None:
    runs, can_attach = int(sys.argv[1]), sys.argv[2:] == ["attach"]
    with tempfile.TemporaryDirectory(dir="/run") as folder:
        path = Path(folder, "ten_lines.py")
        path.write_text(TEN_LINES)
        report(compiled, path, Path(folder, "cache"), runs)
        if not can_attach:
            return
        report(in_force, path, CACHE, runs)
        with open_target() as target:
            STANDING.append(attach(target))
        report(swapped, path, CACHE, runs)
        STANDING[0].close()


if __name__ == "__main__":
    main()
