"""Maps and programs together in force, from loading them to letting go.

Belongs here: what is loaded for a target, in which order it is attached. Must not know: pins, policies, entries.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from oompolicy.backends.hook import generation, program
from oompolicy.backends.hook.abi import LAYOUT, NAME_BYTES, NAME_KEY, NAMES, RECORD, RECORDS
from oompolicy.backends.hook.control import SPEC as CONTROL_SPEC
from oompolicy.backends.hook.control import Control
from oompolicy.backends.hook.layout import KernelLayout, read_layout
from oompolicy.backends.hook.program import MapDescriptors
from oompolicy.backends.hook.target import Place, Target
from oompolicy.bpf.assembly import Line, assemble
from oompolicy.bpf.links import Link
from oompolicy.bpf.map_kinds import MapOfMaps, MappedArray
from oompolicy.bpf.maps import Map, MapSpec
from oompolicy.bpf.programs import Program, ProgramSpec
from oompolicy.bpf.uapi import MapFlags, MapType, ProgramType

Make = Callable[[KernelLayout, MapDescriptors], Iterator[Line]]
# In the order of attaching: who sees events first, so that no answer goes without its event.
PROGRAMS: Final[dict[str, Make]] = {"end": program.end, "begin": program.begin, "score": program.score}
_HISTORY = MapSpec(MapType.ARRAY, "oom_history", 4, RECORD.size, RECORDS, MapFlags.MMAPABLE)
_NAMES = MapSpec(MapType.LRU_HASH, "oom_names", NAME_KEY.size, NAME_BYTES, NAMES)


@dataclass(frozen=True, slots=True)
class Maps:
    """The four maps."""

    control: MappedArray
    generation: MapOfMaps
    history: MappedArray
    names: Map

    def by_name(self) -> dict[str, Map]:
        """Name -> map."""
        return {name: getattr(self, name) for name in self.__slots__}


class Attachment:
    """What is in force; close() lets go of it, and what no pin holds ends then."""

    def __init__(self, maps: Maps, links: dict[str, Link]) -> None:
        self.maps = maps
        self.links = links
        self.control = Control(maps.control)
        self.ring = maps.history.mapping(writable=False)

    def close(self) -> None:
        """Links first, the answering one before those that tell of it."""
        for link in reversed(self.links.values()):
            link.close()
        self.control.close()
        self.ring.close()
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
        descriptors = MapDescriptors(maps.control.fileno(), maps.generation.fileno(), maps.history.fileno())
        programs = {}
        for name, make in PROGRAMS.items():
            code = assemble(make(layout, descriptors))
            programs[name] = stack.enter_context(Program.load(_spec(name, code, target)))
        links = {}
        for name, loaded in programs.items():
            links[name] = stack.enter_context(Link.attach(loaded, _place(target, name).attach_type))
        attachment = Attachment(maps, links)
        stack.pop_all()
    for loaded in programs.values():
        loaded.close()
    return attachment


def digest(target: Target) -> str:
    """One for each layout of maps and each text of programs: what has the same may be taken over."""
    layout = read_layout(target.kernel)
    code = b"".join(assemble(make(layout, MapDescriptors(0, 0, 0))) for make in PROGRAMS.values())
    return hashlib.sha256(f"{LAYOUT} {target.name} {RECORDS}".encode() + code).hexdigest()[:16]


def _place(target: Target, name: str) -> Place:
    return {"score": target.score, "begin": target.begin, "end": target.end}[name]


def _spec(name: str, code: bytes, target: Target) -> ProgramSpec:
    place = _place(target, name)
    return ProgramSpec(
        ProgramType.TRACING, f"oom_{name}", code, place.attach_type, place.type_id, target.btf_fd
    )  # fmt: skip
