"""A program that reads every field a policy can read, for every candidate, and writes down what it got. In a guest.

Belongs here: the program, attaching it, what it wrote. Must not know: what is right.

Rows are named as a policy spells them: "task.memcg.parent.usage". What a reference leads to is read from the frame,
where it was put: as a compiled policy that runs out of registers does.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator
from typing import NamedTuple

from oompolicy.backends.hook import generation
from oompolicy.backends.hook.abi import MEMO_BYTES, Entries
from oompolicy.backends.hook.kernel_fields import FRAME_BYTES, Access, Frame, KernelFields, Memo, Paths
from oompolicy.backends.hook.target import Place
from oompolicy.bpf.assembly import Label, Line, assemble, slots
from oompolicy.bpf.btf import Btf
from oompolicy.bpf.instructions import Call, Exit, Goto, Jump, Load, LoadMap, LoadMapValue, Store, add, move
from oompolicy.bpf.links import Link
from oompolicy.bpf.maps import Map, MapSpec, u32
from oompolicy.bpf.opcodes import R0, R1, R2, R6, R7, R9, R10, JumpOp, Width
from oompolicy.bpf.programs import Program, ProgramSpec
from oompolicy.bpf.uapi import Helper, MapType, ProgramType
from oompolicy.compiler.subset import BY_NAME, FIELDS, FieldKind

U32, U64 = Width.U32, Width.U64
CANDIDATES = 64
PLACE = generation.of_slot(0)
_POINTS, _ENTRIES, _KEY, _OWN = -8, -16, -24, -24 - FRAME_BYTES
FRAME = Frame(_POINTS, _ENTRIES, _OWN)
# A reference, its place in the frame, the field that it is read from and that field's base.
REFERENCES = {
    "task.memcg": (_OWN - 8, "task.memcg", "task"),
    "task.memcg.parent": (_OWN - 16, "memcg.parent", "task.memcg"),
    "oc.memcg": (_OWN - 24, "oc.memcg", "oc"),
    "oc.trigger": (_OWN - 32, "oc.trigger", "oc"),
    "oc.trigger.memcg": (_OWN - 40, "task.memcg", "oc.trigger"),
}
FAILED, NULL = 2, 3


class Hook(NamedTuple):
    """Where it is attached. task and oc: which argument they are, None where there is none."""

    kernel: Btf
    btf_fd: int
    place: Place
    task: int | None = 0
    oc: int | None = 1

    @property
    def has_points(self) -> bool:
        return self.task is not None and self.oc is not None


class Row(NamedTuple):
    """A read: what a policy would write, the field, what it is read from."""

    name: str
    field: str
    base: str
    argument: str | None = None
    other: str | None = None


class Got(NamedTuple):
    """What a read gave: present is 1, 0 (there is none), FAILED, or NULL where there was nothing to read from."""

    number: int
    present: int


def rows(hook: Hook, paths: tuple[str, ...]) -> list[Row]:
    """Every field of the table through every reference that leads to it."""
    roots = [*(["task"] if hook.task is not None else ()), *(["oc"] if hook.oc is not None else ())]
    references = [name for name in REFERENCES if name.split(".")[0] in roots]
    memcgs = [name for name in references if name.endswith(("memcg", "parent"))]
    bases = {
        "task": [name for name in ("task", "oc.trigger") if name.split(".")[0] in roots],
        "memcg": memcgs,
        "oc": [name for name in roots if name == "oc"],
    }
    found = []
    for field in FIELDS:
        kind, _, name = field.name.partition(".")
        if field.kind in (FieldKind.MEMCG, FieldKind.TASK, FieldKind.IS_UNDER):
            continue
        for base in bases[kind]:
            if field.candidate_only and (base != "task" or not hook.has_points):
                continue
            parts = ("comm_0", "comm_1") if field.kind is FieldKind.COMM else (name,)
            found += [Row(f"{base}.{part}", f"{kind}.{part}", base) for part in parts]
    for base in memcgs:
        found += [Row(f"{base}.is_under({path})", "memcg.is_under", base, path) for path in paths]
        found += [Row(f"{base}.is_under({other})", "memcg.is_under", base, None, other) for other in memcgs]
    return found


class Reading:
    """The program in force, from attach() to close()."""

    def __init__(self, hook: Hook, access: Access, paths: dict[str, int], with_memo: bool = False) -> None:
        self.hook = hook
        self.rows = rows(hook, tuple(paths))
        with contextlib.ExitStack() as stack:
            self.generation = stack.enter_context(generation.empty())
            value_bytes = 16 * len(self.rows)
            self.seen = stack.enter_context(Map.create(MapSpec(MapType.ARRAY, "seen", 4, value_bytes, CANDIDATES)))
            # The number of candidates so far; then the memo.
            self.control = stack.enter_context(Map.create(MapSpec(MapType.ARRAY, "control", 4, 8 + MEMO_BYTES, 1)))
            self.paths = stack.enter_context(Map.create(MapSpec(MapType.ARRAY, "paths", 4, 8, max(len(paths), 1))))
            for number, id_ in enumerate(paths.values()):
                self.paths.update(u32(number), struct.pack("=Q", id_))
            memo = Memo(self.control.fileno(), 8) if with_memo else None
            names = Paths(self.paths.fileno(), tuple(paths))
            self.fields = KernelFields(hook.kernel, access, FRAME, names, memo)
            lines = list(self._lines())
            self.instructions = slots(lines)
            spec = ProgramSpec(
                ProgramType.TRACING,
                "read_fields",
                assemble(lines),
                hook.place.attach_type,
                hook.place.type_id,
                hook.btf_fd,
            )
            self.program = stack.enter_context(Program.load(spec))
            self.link = stack.enter_context(Link.attach(self.program, hook.place.attach_type))
            self._stack = stack.pop_all()

    def close(self) -> None:
        self._stack.close()

    def publish(self, entries: Entries) -> None:
        generation.publish(self.generation, entries, PLACE)

    def unpublish(self) -> None:
        """As where the heartbeat is too old: the caller leaves 0 in the frame."""
        self.generation.delete(u32(PLACE))

    def read(self) -> list[dict[str, Got]]:
        """The candidates since the last call, in the order of being asked."""
        control = self.control.lookup(u32(0)) or b""
        (count,) = struct.unpack_from("=Q", control)
        self.control.update(u32(0), bytes(8) + control[8:])
        found = []
        for number in range(min(count, CANDIDATES)):
            words = struct.unpack(f"={2 * len(self.rows)}q", self.seen.lookup(u32(number)) or b"")
            found.append({row.name: Got(*words[2 * i : 2 * i + 2]) for i, row in enumerate(self.rows)})
        return found

    def _lines(self) -> Iterator[Line]:
        hook = self.hook
        yield Store(U64, R10, _POINTS, 0)
        if hook.has_points:
            yield from (Load(U64, R2, R1, 16), Store(U64, R10, _POINTS, R2))
        yield from (move(R6, 0), move(R7, 0))
        if hook.oc is not None:
            yield Load(U64, R7, R1, 8 * hook.oc)
        if hook.task is not None:
            yield from (Load(U64, R6, R1, 8 * hook.task), *self.fields.settle("settle"))
        yield from (LoadMapValue(R1, self.control.fileno()), Load(U64, R2, R1, 0), Store(U32, R10, _KEY, R2))
        yield from (add(R2, 1), Store(U64, R1, 0, R2), *self._look_up(self.seen), Jump(JumpOp.EQ, R0, 0, "leave"))
        yield from (move(R9, R0), Store(U32, R10, _KEY, PLACE), *self._look_up(self.generation))
        yield from (Store(U64, R10, _ENTRIES, 0), Jump(JumpOp.EQ, R0, 0, "no_entries"), Store(U64, R10, _ENTRIES, R0))
        yield Label("no_entries")
        for number, (place, field, base) in enumerate(REFERENCES.values()):
            null = f"no_reference_{number}"
            if base.split(".")[0] not in {row.base.split(".")[0] for row in self.rows}:
                continue
            yield from (Store(U64, R10, place, 0), self._base(base), Jump(JumpOp.EQ, R1, 0, null))
            yield from (*self.fields.read(field, None, f"ref_{number}", "leave"), Store(U64, R10, place, R0))
            yield Label(null)
        for number, row in enumerate(self.rows):
            yield from self._row(number, row)
        yield from (Label("leave"), move(R0, 0), Exit())

    def _row(self, number: int, row: Row) -> Iterator[Line]:
        null, failed, done = f"null_{number}", f"failed_{number}", f"done_{number}"
        place = 16 * number
        yield from (self._base(row.base), Jump(JumpOp.EQ, R1, 0, null))
        if row.other is not None:
            yield from (Load(U64, R2, R10, REFERENCES[row.other][0]), Jump(JumpOp.EQ, R2, 0, null))
        yield from self.fields.read(row.field, row.argument, f"row_{number}", failed)
        known = BY_NAME.get(row.field)
        if known is None or known.kind is not FieldKind.OPTIONAL_INT:
            yield move(R1, 1)
        yield from (Store(U64, R9, place, R0), Store(U64, R9, place + 8, R1), Goto(done))
        if _can_fail(self.fields, row):
            yield from (Label(failed), Store(U64, R9, place, 0), Store(U64, R9, place + 8, FAILED), Goto(done))
        yield from (Label(null), Store(U64, R9, place, 0), Store(U64, R9, place + 8, NULL), Label(done))

    def _base(self, base: str) -> Line:
        """r1 = what it is read from."""
        if base in REFERENCES:
            return Load(U64, R1, R10, REFERENCES[base][0])
        return move(R1, {"task": R6, "oc": R7}[base])

    def _look_up(self, where: Map) -> tuple[Line, ...]:
        return (LoadMap(R1, where.fileno()), move(R2, R10), add(R2, _KEY), Call(Helper.MAP_LOOKUP_ELEM))


def _can_fail(fields: KernelFields, row: Row) -> bool:
    """Does anything go to the label? Code that nothing leads to is refused."""
    lines = fields.read(row.field, row.argument, "x", "fails")
    return any(isinstance(line, Jump | Goto) and line.target == "fails" for line in lines)
