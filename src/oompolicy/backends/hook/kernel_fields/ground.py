"""What all reads stand on: this kernel's types, what the caller keeps in the frame, and the ways to memory.

Belongs here: getting at a field by name; bounds. Must not know: which field is read for what.

Three ways: *directly*, a load through a pointer whose type the verifier knows (it looks after bad addresses); by
*casting*, bpf_rdonly_cast() (a35b9af4ec2c "bpf: Add a kfunc for generic type cast", in v6.2) and then a load; by
*probing*, bpf_probe_read_kernel() into the frame.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from oompolicy.backends.hook.kernel_fields.access import Access
from oompolicy.bpf.assembly import Label, Line
from oompolicy.bpf.btf import Btf, Field
from oompolicy.bpf.btf_types import Kind
from oompolicy.bpf.instructions import Alu, Call, CallKernel, Jump, Load, Store, add, move
from oompolicy.bpf.opcodes import R0, R1, R2, R3, R10, AluOp, JumpOp, Reg, Width
from oompolicy.bpf.uapi import Helper
from oompolicy.mm.memcontrol import PAGE_COUNTER_MAX

U32, U64 = Width.U32, Width.U64
PAGE_SHIFT: Final = mmap.PAGESIZE.bit_length() - 1
PAGES_BITS: Final = PAGE_COUNTER_MAX.bit_length()
assert (1 << PAGES_BITS) - 1 == PAGE_COUNTER_MAX
SLOT_COUNT: Final = 6
FRAME_BYTES: Final = 8 * SLOT_COUNT


@dataclass(frozen=True, slots=True)
class Frame:
    """Offsets from r10 of what the caller keeps, in multiples of 8.

    points: the third argument, the kernel's own badness. entries: the address of the map of published entries, 0 where
    values are absent (none are in force, or the heartbeat is too old). own: the lowest of FRAME_BYTES bytes that any
    read may overwrite.
    """

    points: int
    entries: int
    own: int

    def slot(self, number: int) -> int:
        """One of the reads' own words; 0 to 2 are in a row, as a key is."""
        assert 0 <= number < SLOT_COUNT
        return self.own + 8 * number


@dataclass(frozen=True, slots=True)
class Paths:
    """The map of the cgroups that is_under() names: an array, 4 -> 8 bytes, an id for each name, 0 where it is not."""

    fd: int = 0
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Memo:
    """Where the last memcg's value is remembered: MEMO_BYTES of an array map with one entry, from an offset on.

    All programs that share it must run one at a time, as they do under oom_lock.
    """

    fd: int
    offset: int


class Request(NamedTuple):
    """One read: the argument of is_under(), what its labels begin with, where to go when it fails."""

    argument: str | None
    labels: str
    fail: str

    def label(self, name: str) -> str:
        """A label of this read."""
        return f"{self.labels}_{name}"


@dataclass(frozen=True, slots=True)
class Ground:
    """The kernel's types and the caller's arrangements."""

    btf: Btf
    access: Access
    frame: Frame
    paths: Paths = field(default_factory=Paths)
    memo: Memo | None = None

    def at(self, struct: str, path: str) -> int:
        """The offset of a field, in bytes."""
        return self.btf.field(struct, path).offset_bytes

    def load(self, to: Reg, base: Reg, struct: str, path: str) -> tuple[Line, ...]:
        """to = a field of what base points to, signed as it is declared."""
        found = self.btf.field(struct, path)
        return (Load(Width(found.window.size_bytes), to, base, found.offset_bytes), *_widened(to, found))

    def walk(self, *hops: tuple[str, str]) -> Iterator[Line]:
        """r0 = r1->a->b->c: (struct, field) for each hop; nothing but r0 changes. A null on the way reads as 0."""
        base = R1
        for struct, path in hops:
            yield from self.load(R0, base, struct, path)
            base = R0

    def own(self, number: int) -> int:
        """The offset of one of the reads' own words."""
        return self.frame.slot(number)

    def probe(self, number: int, size_bytes: int, fail: str) -> tuple[Line, ...]:
        """Copy from the address in r3 into an own word; to fail where nothing is there. Only r6 to r9 are kept."""
        return (
            *(move(R1, R10), add(R1, self.own(number)), move(R2, size_bytes), Call(Helper.PROBE_READ_KERNEL)),
            Jump(JumpOp.NE, R0, 0, fail),
        )

    def cast(self, struct: str) -> tuple[Line, ...]:
        """r0 = r1, from now on a pointer to such a struct; r1 to r5 count as lost."""
        return (
            move(R2, self.btf.find(struct, Kind.STRUCT)),
            CallKernel(self.btf.function("bpf_rdonly_cast").type_id),
        )

    def reach(self, struct: str) -> tuple[Line, ...]:
        """Make what is at the address in r1 readable by `take`; it stays so until the next helper is called, if by
        casting, and as long as own word 0 is kept, if by probing.
        """
        if self.access.casts:
            return self.cast(struct)
        return (Store(U64, R10, self.own(0), R1),)

    def take(self, to: Reg, struct: str, path: str, fail: str) -> tuple[Line, ...]:
        """to (not r0) = a field of what `reach` reached; r1 to r5 count as lost, r0 too where it is probed."""
        if self.access.casts:
            return self.load(to, R0, struct, path)
        found = self.btf.field(struct, path)
        size_bytes = found.window.size_bytes
        return (
            *(Load(U64, R3, R10, self.own(0)), add(R3, found.offset_bytes), *self.probe(1, size_bytes, fail)),
            *(Load(Width(size_bytes), to, R10, self.own(1)), *_widened(to, found)),
        )


def _widened(register: Reg, found: Field) -> tuple[Line, ...]:
    unused = 64 - 8 * found.size_bytes
    if not unused or not found.signed:
        return ()
    return (Alu(AluOp.LSH, register, unused), Alu(AluOp.ARSH, register, unused))


def within_pages(labels: str) -> tuple[Line, ...]:
    """r0 = r0, but at least 0 and at most PAGE_COUNTER_MAX; r1 is lost, and nothing else."""
    return (
        *(move(R1, R0), Alu(AluOp.RSH, R1, PAGES_BITS), Jump(JumpOp.EQ, R1, 0, f"{labels}_within")),
        # All bits of the sign, then the opposite: -1 above, 0 below.
        *(Alu(AluOp.ARSH, R0, 63), Alu(AluOp.XOR, R0, -1), Alu(AluOp.RSH, R0, 64 - PAGES_BITS)),
        Label(f"{labels}_within"),
    )


def not_negative(register: Reg, label: str) -> tuple[Line, ...]:
    """0 where it is below."""
    return (Jump(JumpOp.SGE, register, 0, label), move(register, 0), Label(label))


def natural() -> tuple[Line, ...]:
    """r0, an int that is never below 0, without the copies of its sign; that it is below 2^31 then shows."""
    return (Alu(AluOp.AND, R0, (1 << 31) - 1),)
