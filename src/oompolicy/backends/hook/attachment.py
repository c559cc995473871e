"""Maps and programs together in force, from loading them to letting go.

Belongs here: what is loaded for a target, in which order it is attached, one policy taking another's place.
Must not know: pins, how policies become programs and entries.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from oompolicy.backends.hook import generation, program
from oompolicy.backends.hook.abi import (
    FAULT_KEY,
    FAULT_PLACES,
    FAULT_VALUE,
    LAYOUT,
    NAME_BYTES,
    NAME_KEY,
    NAMES,
    RECORD,
    RECORDS,
    SLOTS,
    ControlWord,
    Form,
)
from oompolicy.backends.hook.bell import SPEC as BELL_SPEC
from oompolicy.backends.hook.bell import Bell
from oompolicy.backends.hook.control import SPEC as CONTROL_SPEC
from oompolicy.backends.hook.control import Control
from oompolicy.backends.hook.layout import KernelLayout, read_layout
from oompolicy.backends.hook.pieces import MapDescriptors
from oompolicy.backends.hook.target import Place, Target
from oompolicy.bpf.assembly import Line, assemble
from oompolicy.bpf.links import Link
from oompolicy.bpf.map_kinds import MapOfMaps, MappedArray, ProgramArray
from oompolicy.bpf.maps import Map, MapSpec
from oompolicy.bpf.programs import Program, ProgramSpec
from oompolicy.bpf.uapi import MapFlags, MapType, ProgramType

Make = Callable[[KernelLayout, MapDescriptors], Iterator[Line]]
# In the order of attaching: who sees events first, so that no answer goes without its event.
PROGRAMS: Final[dict[str, Make]] = {"end": program.end, "begin": program.begin, "score": program.score}
_HISTORY = MapSpec(MapType.ARRAY, "oom_history", 4, RECORD.size, RECORDS, MapFlags.MMAPABLE)
_NAMES = MapSpec(MapType.LRU_HASH, "oom_names", NAME_KEY.size, NAME_BYTES, NAMES)
_POLICIES = MapSpec(MapType.PROG_ARRAY, "oom_policies", 4, 4, SLOTS)
_FAULTS = MapSpec(MapType.LRU_HASH, "oom_faults", FAULT_KEY.size, FAULT_VALUE.size, FAULT_PLACES)
# An OOM ranks for milliseconds, and writes its table for seconds where the console is slow.
WAITS_FOR_OOM_S: Final = 3.0


@dataclass(frozen=True, slots=True)
class Maps:
    """The maps that all programs share."""

    control: MappedArray
    generation: MapOfMaps
    history: MappedArray
    names: Map
    policies: ProgramArray
    faults: Map
    bell: Map

    def by_name(self) -> dict[str, Map]:
        """Name -> map."""
        return {name: getattr(self, name) for name in self.__slots__}

    def descriptors(self) -> MapDescriptors:
        """What programs are made with."""
        named = (self.control, self.generation, self.history, self.policies, self.faults, self.bell)
        return MapDescriptors(*(each.fileno() for each in named))


class Attachment:
    """What is in force; close() lets go of it, and what no pin holds ends then."""

    def __init__(self, maps: Maps, links: dict[str, Link]) -> None:
        self.maps = maps
        self.links = links
        self.control = Control(maps.control)
        self.ring = maps.history.mapping(writable=False)
        self.bell = Bell(maps.bell)

    @property
    def next_slot(self) -> int:
        """The slot that is not live: the next policy's, or the next entries'."""
        return (self.control[ControlWord.LIVE_SLOT] + 1) % SLOTS

    def free_next_slot(self) -> int:
        """The slot that is not live, when no OOM under way goes by it any more; after a while in any case."""
        slot = self.next_slot
        until_s = time.monotonic() + WAITS_FOR_OOM_S
        control = self.control
        while control[ControlWord.EVENT_UNDERWAY] and control[ControlWord.EVENT_SLOT] == slot:
            if time.monotonic() > until_s:  # its end was never seen
                control[ControlWord.EVENT_UNDERWAY] = 0
            time.sleep(0.005)
        return slot

    def make_live(self, slot: int, policy: Program, policy_id: int, form: Form) -> None:
        """From the next OOM on this policy is asked, and goes by the entries of its slot. Raises BpfError before."""
        self.maps.policies.put(slot, policy)
        self.control.set_of_slot(ControlWord.SLOT_POLICY, slot, policy_id)
        self.control.set_of_slot(ControlWord.SLOT_FORM, slot, form)
        self.control[ControlWord.LIVE_SLOT] = slot
        self.control[ControlWord.POLICY_ID] = policy_id

    def close(self) -> None:
        """Links first, the answering one before those that tell of it."""
        for link in reversed(self.links.values()):
            link.close()
        self.control.close()
        self.ring.close()
        self.bell.close()
        for each in self.maps.by_name().values():
            each.close()


def create_maps() -> Maps:
    """New ones, empty: the heartbeat is that of nobody. Raises BpfError."""
    with contextlib.ExitStack() as stack:
        maps = Maps(
            stack.enter_context(MappedArray.create(CONTROL_SPEC)),
            stack.enter_context(generation.empty()),
            stack.enter_context(MappedArray.create(_HISTORY)),
            stack.enter_context(Map.create(_NAMES)),
            stack.enter_context(ProgramArray.create(_POLICIES)),
            stack.enter_context(Map.create(_FAULTS)),
            stack.enter_context(Map.create(BELL_SPEC)),
        )
        stack.pop_all()
    return maps


def attach(target: Target) -> Attachment:
    """Load all programs, then attach them. Where one is refused nothing is left: BpfError, VerifierError."""
    layout = read_layout(target.kernel)
    with contextlib.ExitStack() as stack:
        maps = create_maps()
        for each in maps.by_name().values():
            stack.enter_context(each)
        programs = {}
        for name, make in PROGRAMS.items():
            code = assemble(make(layout, maps.descriptors()))
            programs[name] = stack.enter_context(Program.load(spec(name, code, target, _place(target, name))))
        links = {}
        for name, loaded in programs.items():
            links[name] = stack.enter_context(Link.attach(loaded, _place(target, name).attach_type))
        attachment = Attachment(maps, links)
        stack.pop_all()
    for loaded in programs.values():
        loaded.close()
    return attachment


def digest(target: Target) -> str:
    """One for each layout of maps and each text of programs: what has the same may be taken over.

    Policies are not part of it: a new daemon puts its own in the place of what it finds.
    """
    layout = read_layout(target.kernel)
    nowhere = MapDescriptors(0, 0, 0, 0, 0, 0)
    code = b"".join(assemble(make(layout, nowhere)) for make in PROGRAMS.values())
    return hashlib.sha256(f"{LAYOUT} {target.name} {RECORDS}".encode() + code).hexdigest()[:16]


def _place(target: Target, name: str) -> Place:
    return {"score": target.score, "begin": target.begin, "end": target.end}[name]


def spec(name: str, code: bytes, target: Target, place: Place) -> ProgramSpec:
    """How a program for a function of the target is loaded."""
    return ProgramSpec(
        ProgramType.TRACING, f"oom_{name}", code, place.attach_type, place.type_id, target.btf_fd
    )  # fmt: skip
