"""`oompolicy selftest`: is the hook asked and obeyed, on this machine?

Belongs here: the command and its words. Must not know: how the proof is made.
"""

from __future__ import annotations

import sys

import click

from oompolicy.backends.hook.target import load_module
from oompolicy.cli.inputs import json_option
from oompolicy.cli.render import points_text, print_json, print_line
from oompolicy.contained_oom.hook_selftest import Proof, prove
from oompolicy.contained_oom.scene import BIG, BIG_MIB, SMALL, SMALL_MIB


@click.command()
@json_option
def selftest(as_json: bool) -> None:
    """Run a memcg of our own out of memory and see whether the kernel asks the hook and obeys it.

    The smaller of two processes is to die. Nothing else on the machine is touched, and nothing stays attached.
    Without a hook it says why, and what to do; exit 1.
    """
    load_module()
    proof = prove()
    (_print_json if as_json else _print)(proof)
    if not proof.is_obeyed:
        sys.exit(1)


def _print(proof: Proof) -> None:
    print_line(f"hook: {proof.target}")
    print_line(f"a memcg ran out: {BIG} held {BIG_MIB} MiB, {SMALL} {SMALL_MIB} MiB with the published answer KILL")
    for one in proof.event.ranked if proof.event else ():
        print_line(
            f"  weighed: {one.comm} ({one.pid}), badness {one.badness:,}, {points_text(one.points)}: {one.reason}"
        )
    killed = ", ".join(f"{worker.name} ({worker.pid})" for worker in proof.ending.killed) or "nobody"
    print_line(f"killed: {killed}")
    if proof.is_obeyed:
        print_line("the kernel asks the hook and obeys it; it is detached again")
    else:
        asked = "was not asked" if proof.event is None else "was asked, and not obeyed"
        print_line(f"the hook {asked}: please report this with the kernel's log")


def _print_json(proof: Proof) -> None:
    event = proof.event
    print_json(
        {
            "target": proof.target,
            "asked": event is not None,
            "obeyed": proof.is_obeyed,
            "killed": [{"pid": worker.pid, "comm": worker.name} for worker in proof.ending.killed],
            "weighed": [
                {"pid": one.pid, "comm": one.comm, "badness": one.badness, "points": one.points, "reason": one.reason}
                for one in (event.ranked if event else ())
            ],
        }
    )
