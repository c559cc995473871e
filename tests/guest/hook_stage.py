"""A tree of memcgs with values, and the backend hook in this process. Runs in a guest, as root.

Belongs here: building, publishing, and reading back what the kernel noted. Must not know: what is tested.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from guest.oom_stage import CGROUPS, HOG, Stage, wait
from oompolicy.backends.hook import history
from oompolicy.backends.hook.abi import ControlWord
from oompolicy.backends.hook.attachment import Attachment
from oompolicy.backends.hook.backend import Hook
from oompolicy.backends.hook.events import Event, events_of
from oompolicy.backends.hook.ruling import Wanted
from oompolicy.policy.api import Policy
from oompolicy.snapshot import Snapshot
from oompolicy.sources.live import live_snapshot


class Tree(Stage):
    """One memcg below the root with memcgs in it; leaves hold processes."""

    def __enter__(self) -> Tree:
        super().__enter__()
        return self

    def leaf(self, name: str, value: int | None = None, limit_mib: int = 0) -> Path:
        """A memcg by its path below the stage; those above are made if need be."""
        path = self.path
        for part in name.split("/"):
            (path / "cgroup.subtree_control").write_text("+memory")
            path = path / part
            path.mkdir(exist_ok=True)
        if value is not None:
            os.setxattr(path, "user.oompolicy.value", str(value).encode())
        if limit_mib:
            (path / "memory.max").write_text(f"{limit_mib}M")
        return path

    def put(self, leaf: str, name: str, mib: int, *words: str, adj: int = 0) -> int:
        """Start a hog in a leaf; its pid when it holds its memory."""
        before = len(self.lines("ready"))
        subprocess.Popen([HOG, str(self.ledger), name, str(self.path / leaf), str(adj), str(mib), *words])
        wait(lambda: len(self.lines("ready")) > before)
        return int(self.lines("ready")[-1])

    def victims_besides(self, before: list[str]) -> list[str]:
        """Who was killed after these, when there is somebody."""
        wait(lambda: len(self.victims()) > len(before))
        return self.victims()[len(before) :]

    def __exit__(self, *error: object) -> None:
        (self.path / "cgroup.kill").write_text("1")
        for folder, _, _ in os.walk(self.path, topdown=False):
            removed(Path(folder))


def nothing_charged_ahead() -> None:
    """Make every memory.current what its memcg really has, and let it stay so.

    A CPU charges 64 pages at once and keeps what it does not need yet, also of bytes for the slab, for one memcg: until
    somebody of another memcg charges there (mm/memcontrol.c: try_charge_memcg, refill_stock, drain_obj_stock). Then
    these numbers fall, though every process is stopped. So somebody of another memcg charges on each CPU, now.
    """
    other = CGROUPS / "charges"
    other.mkdir(exist_ok=True)
    for cpu in os.sched_getaffinity(0):
        child = os.fork()
        if child == 0:
            try:
                os.sched_setaffinity(0, {cpu})
                (other / "cgroup.procs").write_text("0")
                bytearray(1 << 20)
                os.pipe()
            finally:
                os._exit(0)
        os.waitpid(child, 0)


def removed(path: Path) -> None:
    """rmdir, as soon as the last process has been reaped."""
    for _ in range(200):
        try:
            path.rmdir()
            return
        except OSError:
            time.sleep(0.02)


class InForce:
    """The backend in this process, with a policy in force from see() on."""

    def __init__(
        self, ttl_ms: int = 600_000, wanted: Wanted = Wanted.PUBLISHED, shadowing: Sequence[Policy] = ()
    ) -> None:
        self.hook = Hook(ttl_ms, wanted=wanted, shadowing=shadowing)
        self.started = self.hook.start(live_snapshot())
        self.told: tuple[str, ...] = ()  # at the last look
        self.seen_seq = self.control()[ControlWord.NEXT_SEQ]

    def attachment(self) -> Attachment:
        found = self.hook._attachment
        assert found is not None
        return found

    def control(self) -> dict[ControlWord, int]:
        held = self.attachment().control
        return {word: held[word] for word in ControlWord}

    def see(self, policy: Policy, forget: bool = True) -> Snapshot:
        """Look, and publish; the OOMs before are forgotten, or not."""
        if forget:
            self.seen_seq = self.control()[ControlWord.NEXT_SEQ]
        snapshot = live_snapshot()
        self.told = self.hook.look(snapshot, policy, nullcontext).notes
        self.hook.enforce()
        return snapshot

    def events(self) -> list[Event]:
        """The OOMs since the last call."""
        attachment = self.attachment()
        found = history.since(self.seen_seq, attachment.control, attachment.ring)
        assert found.dropped == 0
        events = events_of(found.records)
        if events:  # one that goes on is read again
            self.seen_seq = events[-1].ended_seq + 1
        return events

    def choices(self) -> list[dict[str, object]]:
        """The OOMs since the last call in which somebody was chosen."""
        return [shown(event) for event in self.events() if event.chosen is not None]

    def stop(self) -> None:
        """Detach."""
        self.hook.put_back(live_snapshot)
        self.hook.close()


def shown(event: Event) -> dict[str, object]:
    """What a test compares."""
    chosen = event.chosen
    assert chosen is not None
    return {
        "victim": chosen.comm,
        "points": event.chosen_points,
        "by_answer": chosen.points,
        "most": event.ranked[0].points,
        "whole": event.is_whole,
        "policies": len(event.policy_ids | {event.policy_id}),
        "scope": event.scope,
        "sources": {one.comm: one.source.name for one in event.weighed},
        "bands": {one.comm: one.band.value for one in event.weighed},
        "asked": sorted(one.comm for one in event.weighed),
    }
