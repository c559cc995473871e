"""The backend hook: a policy in the kernel, and what it goes by published at each look.

Belongs here: the daemon's questions, answered. Must not know: when it looks, how a policy comes to its answers, what a
program looks like.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from oompolicy.backends.backend import TakeSnapshot
from oompolicy.backends.hook import generation, kernel_log, pins, shadows
from oompolicy.backends.hook.abi import NAME_BYTES, NAME_KEY, ControlWord, Entries
from oompolicy.backends.hook.answers import Answers, answers
from oompolicy.backends.hook.attachment import Attachment
from oompolicy.backends.hook.bell import Bell
from oompolicy.backends.hook.news import News, forget, news
from oompolicy.backends.hook.process_start import start_ticks
from oompolicy.backends.hook.ruling import Ruling, Wanted, first_of, ruling_for, shadow_for
from oompolicy.backends.hook.target import Target, open_target
from oompolicy.backends.hook.values import value_entries, values
from oompolicy.bpf.errors import BpfError
from oompolicy.engine import Enforced, Looked, Standing
from oompolicy.errors import BackendError, OompolicyError
from oompolicy.policy.api import Policy
from oompolicy.policy.decision import CallLimit, Fault
from oompolicy.scoring.scene import PastKill
from oompolicy.snapshot import Snapshot


class Hook:
    """The backend hook. within: the only cgroup whose processes are ranked; None for all."""

    name = "hook"

    def __init__(
        self,
        ttl_ms: int,
        within: str | None = None,
        folder: Path = pins.FOLDER,
        wanted: Wanted = Wanted.COMPILED_IF_POSSIBLE,
        shadowing: Sequence[Policy] = (),
    ) -> None:
        self.ttl_ms = ttl_ms
        self._within = within
        self._folder = folder
        self._wanted = wanted
        self._lock = pins.Lock(folder)
        self._attachment: Attachment | None = None
        self._path: Path | None = None
        self._replaced: tuple[Path, ...] = ()
        self._old: list[Attachment] = []
        self._taken_over_ns: int | None = None
        self._shadowing = shadowing
        self._shadows: tuple[Ruling, ...] = ()
        self._ruling: Ruling | None = None  # of the last look
        self._refused: tuple[Policy | None, str] = (None, "")
        self._live: Ruling | None = None
        self._answers: Answers | None = None
        self._of_shadows: Entries = {}
        self._published: tuple[Entries, Entries] | None = None
        self._heartbeat_ns = 0
        self._kills: list[PastKill] = []
        self._untold: tuple[str, ...] = ()

    def start(self, snapshot: Snapshot) -> tuple[str, ...]:
        """Attach, or take over what an earlier daemon has left attached; tell what happened while nobody looked."""
        self._lock.take()
        with ExitStack() as stack:
            target = stack.enter_context(open_target())
            taken = pins.take(target, self._folder)
            self._attachment, self._path, self._replaced = taken.attachment, taken.path, taken.replaced
            about_shadows = tuple(self._make_shadows(target))
        control = self._attachment.control
        control[ControlWord.DAEMON_PID] = os.getpid()
        control[ControlWord.DAEMON_START_TICKS] = start_ticks(os.getpid()) or 0
        self._attachment.bell.silence()  # before the news are read: what rings from here on is told of later
        lines = ["attached: taken over from an earlier daemon" if taken.was_there else "attached to bpf_oom_score"]
        return (*lines, *about_shadows, *self._open_old(), *self._news(snapshot))

    def take_kills(self, snapshot: Snapshot) -> tuple[PastKill, ...]:
        """Whom the kernel has killed since this was asked last; the log is told at the next look."""
        self._untold += self._news(snapshot)
        kills, self._kills = tuple(self._kills), []
        return kills

    @property
    def bell(self) -> Bell | None:
        """Rings when an OOM has ended."""
        return None if self._attachment is None else self._attachment.bell

    def look(self, snapshot: Snapshot, policy: Policy, limit: CallLimit) -> Looked:
        """Find out what the policy goes by; where that is what is published, that is as fresh as this look.

        A policy that is not compiled is asked about everything. Where one is refused, the policy in force stays so, and
        is looked after; raises OompolicyError where none is.
        """
        control = self._held().control
        self._heartbeat_ns = _monotonic_ns(snapshot)
        ruling = self._ruling = self._ruling_for(policy)
        refused = () if ruling.policy is policy else (self._refused[1],)
        policy = ruling.policy
        if ruling.is_compiled:
            self._answers = values(snapshot, policy, limit)
        else:
            self._answers = answers(snapshot, policy, self._within, limit)
        self._of_shadows = value_entries(snapshot) if self._shadows else {}
        for each in (ruling, *self._shadows):
            each.paths.refresh(snapshot)
        is_in_force = ruling is self._live and self._published == (self._answers.entries, self._of_shadows)
        if is_in_force:
            control[ControlWord.HEARTBEAT_NS] = self._heartbeat_ns
        faults = (_fault_in_words(policy, fault) for fault in self._answers.faults)
        return Looked(
            self._standings(),
            self._answers.crowd,
            (*refused, ruling.in_words, *self._answers.notes, *faults, *self._told(snapshot)),
            stale=None if is_in_force else "other answers",
        )

    def enforce(self) -> Enforced:
        """Put what was found at the last look in force, policy and entries in one step; then it is as fresh as that
        look. An OOM that is under way goes on with the policy and the entries that it began with.
        """
        assert self._answers is not None
        assert self._ruling is not None
        held, ruling = self._held(), self._ruling
        is_new = ruling is not self._live
        self._name(ruling)
        slot = held.free_next_slot()
        generation.publish(held.maps.generation, self._answers.entries, generation.of_slot(slot))
        if self._shadows:
            generation.publish(held.maps.generation, self._of_shadows, generation.of_shadows(slot))
        held.make_live(slot, ruling.program, ruling.id, ruling.form)
        held.control[ControlWord.TTL_NS] = self.ttl_ms * 1_000_000
        held.control[ControlWord.HEARTBEAT_NS] = self._heartbeat_ns
        self._published = (self._answers.entries, self._of_shadows)
        if is_new:
            self._is_live(ruling)
        return Enforced(self._standings(), 0)

    def _ruling_for(self, policy: Policy) -> Ruling:
        """The policy's program, made once; a compiled one whose text is the same stays the same."""
        for known in (self._ruling, self._live):
            if known is not None and known.policy is policy:
                return known
        if self._live is not None and self._refused[0] is policy:
            return self._live
        try:
            ruling = self._made(policy)
        except OompolicyError as error:
            if self._live is None:
                raise
            self._refused = (policy, f"{first_of(error)}: policy {self._live.name} stays in force")
            return self._live
        if self._ruling is not None and self._ruling is not self._live:
            self._ruling.close()
        return ruling

    def _made(self, policy: Policy) -> Ruling:
        """Raises OompolicyError."""
        wanted = self._wanted
        if self._within is not None:
            if wanted is Wanted.COMPILED:
                raise BackendError("hook", "cannot --compiled with --scope: the kernel asks a policy about everybody")
            wanted = Wanted.PUBLISHED
        with ExitStack() as stack:
            target = stack.enter_context(open_target())
            return ruling_for(policy, wanted, target, self._held().maps)

    def _make_shadows(self, target: Target) -> Iterator[str]:
        """Those that compile; a shadow decides nothing, so one that does not is no reason to do without the policy."""
        for policy in self._shadowing:
            try:
                shadow = shadow_for(policy, target, self._held().maps)
            except OompolicyError as error:
                yield f"shadow {policy.name} is not asked: {first_of(error)}"
                continue
            self._shadows = (*self._shadows, shadow)
            self._name(shadow)
            yield f"shadow {shadow.name}: {shadow.instructions} instructions, decides nothing"

    def _is_live(self, ruling: Ruling) -> None:
        """What is over when a policy has taken the place of another, or of another daemon's programs."""
        kernel_log.say(f"policy {ruling.name} is in force, {'compiled' if ruling.is_compiled else 'published'}")
        if self._live is None:
            assert self._path is not None
            shadows.attach_all(self._shadows, self._path)
        else:
            self._live.close()
        self._live = ruling
        if self._replaced:
            self._take_over()

    def _name(self, ruling: Ruling) -> None:
        self._held().maps.names.update(NAME_KEY.pack(ruling.id), _name_bytes(ruling.policy.name))

    def put_back(self, take_snapshot: TakeSnapshot) -> tuple[str, ...]:
        """Detach: the kernel decides alone from here on."""
        pins.remove_all(self._folder)
        lines = self._told(take_snapshot())
        self._let_go()
        kernel_log.say("no policy is in force: detached")
        return (*lines, "detached: the kernel decides alone again")

    def close(self) -> None:
        """Let go of what is held; pins keep it in force until it expires."""
        self._let_go()
        self._lock.release()

    def _let_go(self) -> None:
        self._close_old()
        attachment, self._attachment = self._attachment, None
        for ruling in {id(each): each for each in (self._ruling, self._live, *self._shadows) if each}.values():
            ruling.close()
        self._ruling = self._live = None
        self._shadows = ()
        if attachment is not None:
            attachment.control[ControlWord.DAEMON_PID] = 0
            attachment.close()

    def _held(self) -> Attachment:
        assert self._attachment is not None, "start() comes first"
        return self._attachment

    def _standings(self) -> tuple[Standing, ...]:
        """The whole order holds in every scope: the kernel compares the policy's own points."""
        assert self._answers is not None
        return tuple(
            Standing(scope.path, scope.candidates, scope.candidates, scope.totalpages, None)
            for scope in self._answers.scopes
        )

    def _news(self, snapshot: Snapshot) -> tuple[str, ...]:
        """A line for each OOM that has ended since the last was told of.

        While other programs are in force beside ours it is they who answer, until the first publishing: both record,
        and theirs is what happened.
        """
        lines: list[str] = []
        for old in self._old:
            lines += self._noted(news(old, snapshot, self._taken_over_ns))
        if self._old and self._taken_over_ns is None:
            return tuple(lines)
        self._close_old()
        return (*lines, *self._noted(news(self._held(), snapshot)))

    def _noted(self, found: News) -> tuple[str, ...]:
        self._kills += found.kills
        return found.lines

    def _told(self, snapshot: Snapshot) -> tuple[str, ...]:
        """What take_kills() has found, and what has happened since."""
        untold, self._untold = self._untold, ()
        return (*untold, *self._news(snapshot))

    def _take_over(self) -> None:
        """The new programs have something to say: the old ones go, and tell until now, see _news()."""
        self._taken_over_ns = time.monotonic_ns()
        if self._old:
            forget(self._held(), self._taken_over_ns)
        for path in self._replaced:
            pins.remove(path)
        self._replaced = ()

    def _open_old(self) -> Iterator[str]:
        """What other programs than ours have recorded and nobody told of; where it cannot be read, that is said.

        A set that was never whole has never answered. One that was fed before ours, or never (its daemon was about to
        take over, and is gone), did not answer either since: ours has recorded the same, and answered.
        """
        fed_ns = self._held().control[ControlWord.HEARTBEAT_NS]
        for path in (path for path in self._replaced if path.name.startswith(pins.WHOLE)):
            try:
                old = pins.open_maps(path)
            except BpfError as error:
                yield f"OOMs that {path.name} has recorded are not told of: {error.why}"
                continue
            if old.control[ControlWord.HEARTBEAT_NS] > fed_ns:
                self._old.append(old)
            else:
                old.close()

    def _close_old(self) -> None:
        for old in self._old:
            old.close()
        self._old = []


def detach(folder: Path = pins.FOLDER) -> int:
    """Take everything out of force without a daemon; how many attachments there were.

    Raises BackendError where a daemon is at work, PrivilegeError for others than root.
    """
    if os.geteuid() == 0 and not pins.sets(folder):
        return 0
    lock = pins.Lock(folder)
    lock.take()
    try:
        return pins.remove_all(folder)
    finally:
        lock.release()


def _monotonic_ns(snapshot: Snapshot) -> int:
    """When the snapshot was taken, on the clock of the program: one that stands still while the machine sleeps."""
    if snapshot.taken_boottime_ns is None:
        raise BackendError("hook", "this snapshot does not say when it was taken")
    return time.monotonic_ns() - (time.clock_gettime_ns(time.CLOCK_BOOTTIME) - snapshot.taken_boottime_ns)


def _fault_in_words(policy: Policy, fault: Fault) -> str:
    return f"policy {policy.name} faulted for {fault.who}: {fault.why}: counts as DEFER"


def _name_bytes(name: str) -> bytes:
    return name.encode()[: NAME_BYTES - 1].ljust(NAME_BYTES, b"\0")
