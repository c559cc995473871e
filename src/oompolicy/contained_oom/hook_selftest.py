"""A contained OOM that proves that the hook is asked and obeyed on this very machine.

Belongs here: attaching for one OOM, publishing one answer, and what the kernel noted. Must not know: how it is shown.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from typing import Final

from oompolicy.backends.hook import history
from oompolicy.backends.hook.abi import ControlWord, Entries, Entry, task_key
from oompolicy.backends.hook.attachment import attach
from oompolicy.backends.hook.events import Event, events_of
from oompolicy.backends.hook.generation import of_slot, publish
from oompolicy.backends.hook.process_start import start_ticks
from oompolicy.backends.hook.ruling import Wanted, ruling_for
from oompolicy.backends.hook.target import open_target
from oompolicy.contained_oom.scene import Ending, Scene, memcg_of_our_own, memory_hierarchy, play
from oompolicy.policy.api import Policy
from oompolicy.policy.verdict import DEFER, Band

_TTL_NS: Final = 600 * 1_000_000_000


@dataclass(frozen=True, slots=True)
class Proof:
    """What came of it: how the OOM ended, who was to die, and the OOM as the programs noted it (None: not asked)."""

    ending: Ending
    meant_pid: int
    event: Event | None
    target: str

    @property
    def is_obeyed(self) -> bool:
        """Did the one die that was meant to, and nobody else, with the kernel asking first?"""
        killed = [worker.pid for worker in self.ending.killed]
        chosen = None if self.event is None else self.event.chosen
        return killed == [self.meant_pid] and chosen is not None and chosen.pid == self.meant_pid


def prove() -> Proof:
    """One memcg OOM of our own in which the small process dies by a published KILL, though the big one is bigger.

    Its programs are its own and are gone afterwards; what a daemon has attached answers for everybody else meanwhile.
    Raises OompolicyError where the hook cannot be used, or no memcg be made.
    """
    hierarchy = memory_hierarchy()
    with contextlib.ExitStack() as stack:
        target = stack.enter_context(open_target())
        attachment = attach(target)
        stack.callback(attachment.close)
        nobody_s = Policy(lambda task, oc: DEFER)
        nobody_s.name = "selftest"
        ruling = ruling_for(nobody_s, Wanted.PUBLISHED, target, attachment.maps)
        stack.callback(ruling.close)

        def publish_for(scene: Scene) -> None:
            meant.append(scene.small.pid)
            entries: Entries = {task_key(start_ticks(scene.small.pid) or 0, scene.small.pid): Entry(Band.KILL)}
            slot = attachment.next_slot
            publish(attachment.maps.generation, entries, of_slot(slot))
            attachment.make_live(slot, ruling.program, ruling.id, ruling.form)
            attachment.control[ControlWord.TTL_NS] = _TTL_NS
            attachment.control[ControlWord.HEARTBEAT_NS] = time.monotonic_ns()

        meant: list[int] = []
        memcg = stack.enter_context(memcg_of_our_own(hierarchy))
        ending = play(memcg, publish_for)
        scope = memcg.path.stat().st_ino
        events = events_of(history.since(0, attachment.control, attachment.ring).records)
        event = next((each for each in events if each.scope == scope and each.chosen is not None), None)
        return Proof(ending, meant[0], event, target.name)
