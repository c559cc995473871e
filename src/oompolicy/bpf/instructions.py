"""Instructions of BPF as values: what each says, the bytes it is, the text the verifier writes for it.

Belongs here: the encoding of include/uapi/linux/bpf_common.h and Documentation/bpf/standardization/instruction-set.rst,
nothing newer than what 6.1 takes. Must not know: where a jump's label is (see `assembly.py`), what a program does.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import ClassVar, Final

from oompolicy.bpf.opcodes import AluOp, AtomicOp, JumpOp, Reg, Width
from oompolicy.bpf.uapi import Helper

_SLOT: Final = struct.Struct("=BBhi")  # opcode, src << 4 | dst, offset, imm
SLOT_BYTES: Final = _SLOT.size
_U64: Final = (1 << 64) - 1


_ALU_SIGN: Final = {
    AluOp.ADD: "+=", AluOp.SUB: "-=", AluOp.MUL: "*=", AluOp.DIV: "/=", AluOp.OR: "|=", AluOp.AND: "&=",
    AluOp.LSH: "<<=", AluOp.RSH: ">>=", AluOp.MOD: "%=", AluOp.XOR: "^=", AluOp.MOV: "=", AluOp.ARSH: "s>>=",
}  # fmt: skip
_JUMP_SIGN: Final = {
    JumpOp.EQ: "==", JumpOp.GT: ">", JumpOp.GE: ">=", JumpOp.SET: "&", JumpOp.NE: "!=", JumpOp.SGT: "s>",
    JumpOp.SGE: "s>=", JumpOp.LT: "<", JumpOp.LE: "<=", JumpOp.SLT: "s<", JumpOp.SLE: "s<=",
}  # fmt: skip
_SIZE_BITS: Final = {Width.U8: 0x10, Width.U16: 0x08, Width.U32: 0x00, Width.U64: 0x18}

Operand = Reg | int  # an int is an immediate: signed 32 bit, extended to 64
Target = str | int  # a label, or how many slots to pass over


class Instruction:
    """What all instructions have. `encode()` needs jumps that name no label any more; `str()` is the kernel's text."""

    __slots__ = ()
    slots: ClassVar[int] = 1  # of 8 bytes

    def encode(self) -> bytes:
        """The bytes. Raises ValueError for a number that does not fit, or a label."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Alu(Instruction):
    """dst op= source; with is_32 on the lower halves, and the upper half of dst becomes 0."""

    op: AluOp
    dst: Reg
    source: Operand
    is_32: bool = False

    def encode(self) -> bytes:
        """The bytes."""
        return _with_operand((0x04 if self.is_32 else 0x07) | self.op, self.dst, self.source)

    def __str__(self) -> str:
        return f"{_half(self.dst, self.is_32)} {_ALU_SIGN[self.op]} {_half(self.source, self.is_32)}"


@dataclass(frozen=True, slots=True)
class Negate(Instruction):
    """dst = -dst."""

    dst: Reg

    def encode(self) -> bytes:
        """The bytes."""
        return _slot(0x87, self.dst)

    def __str__(self) -> str:
        return f"{self.dst} = -{self.dst}"


@dataclass(frozen=True, slots=True)
class Load(Instruction):
    """dst = *(base + offset), zero-extended."""

    width: Width
    dst: Reg
    base: Reg
    offset: int = 0

    def encode(self) -> bytes:
        """The bytes."""
        return _slot(0x61 | _SIZE_BITS[self.width], self.dst, self.base, self.offset)

    def __str__(self) -> str:
        return f"{self.dst} = {_memory(self.width, self.base, self.offset)}"


@dataclass(frozen=True, slots=True)
class Store(Instruction):
    """*(base + offset) = value, cut to the width."""

    width: Width
    base: Reg
    offset: int
    value: Operand

    def encode(self) -> bytes:
        """The bytes."""
        if isinstance(self.value, Reg):
            return _slot(0x63 | _SIZE_BITS[self.width], self.base, self.value, self.offset)
        return _slot(0x62 | _SIZE_BITS[self.width], self.base, 0, self.offset, self.value)

    def __str__(self) -> str:
        return f"{_memory(self.width, self.base, self.offset)} = {self.value}"


@dataclass(frozen=True, slots=True)
class Atomic(Instruction):
    """*(base + offset) op= source in one step; width is U32 or U64."""

    op: AtomicOp
    width: Width
    base: Reg
    offset: int
    source: Reg

    def encode(self) -> bytes:
        """The bytes."""
        return _slot(0xC3 | _SIZE_BITS[self.width], self.base, self.source, self.offset, self.op)

    def __str__(self) -> str:
        name = self.op.name.removeprefix("FETCH_").lower()
        place = f"(({self.width} *)({self.base} {self.offset:+}), {self.source})"
        if self.op is AtomicOp.CMPXCHG:
            size = "64" if self.width is Width.U64 else ""
            return f"r0 = atomic{size}_cmpxchg(({self.width} *)({self.base} {self.offset:+}), r0, {self.source})"
        if self.op is AtomicOp.XCHG or self.op.name.startswith("FETCH"):
            prefix = "" if self.op is AtomicOp.XCHG else "fetch_"
            size = "64" if self.width is Width.U64 else ""
            return f"{self.source} = atomic{size}_{prefix}{name}{place}"
        return f"lock {_memory(self.width, self.base, self.offset)} {_ALU_SIGN[AluOp(self.op)]} {self.source}"


@dataclass(frozen=True, slots=True)
class Jump(Instruction):
    """To target if dst op source; with is_32 the lower halves are compared."""

    op: JumpOp
    dst: Reg
    source: Operand
    target: Target
    is_32: bool = False

    def encode(self) -> bytes:
        """The bytes."""
        return _with_operand((0x06 if self.is_32 else 0x05) | self.op, self.dst, self.source, _distance(self.target))

    def __str__(self) -> str:
        left, right = _half(self.dst, self.is_32), _half(self.source, self.is_32, hexadecimal=True)
        return f"if {left} {_JUMP_SIGN[self.op]} {right} goto {_place(self.target)}"


@dataclass(frozen=True, slots=True)
class Goto(Instruction):
    """To target."""

    target: Target

    def encode(self) -> bytes:
        """The bytes."""
        return _slot(0x05, offset=_distance(self.target))

    def __str__(self) -> str:
        return f"goto {_place(self.target)}"


@dataclass(frozen=True, slots=True)
class Exit(Instruction):
    """Return r0 to the caller."""

    def encode(self) -> bytes:
        """The bytes."""
        return _slot(0x95)

    def __str__(self) -> str:
        return "exit"


@dataclass(frozen=True, slots=True)
class Call(Instruction):
    """A helper of the kernel."""

    helper: Helper

    def encode(self) -> bytes:
        """The bytes."""
        return _slot(0x85, imm=self.helper)

    def __str__(self) -> str:
        return f"call bpf_{self.helper.name.lower()}#{self.helper.value}"


@dataclass(frozen=True, slots=True)
class CallFunction(Instruction):
    """A function of the same program."""

    target: Target

    def encode(self) -> bytes:
        """The bytes."""
        return _slot(0x85, src=1, imm=_distance(self.target))

    def __str__(self) -> str:
        return f"call {_place(self.target)}"


@dataclass(frozen=True, slots=True)
class CallKernel(Instruction):
    """A kfunc, by its BTF id; fd_index into the program's fd_array where it is a module's, 0 for vmlinux."""

    btf_id: int
    fd_index: int = 0

    def encode(self) -> bytes:
        """The bytes."""
        return _slot(0x85, src=2, offset=self.fd_index, imm=self.btf_id)

    def __str__(self) -> str:
        return f"call kernel-function#{self.btf_id}"


@dataclass(frozen=True, slots=True)
class LoadConstant(Instruction):
    """dst = value, any of 64 bits, signed or unsigned."""

    slots: ClassVar[int] = 2
    dst: Reg
    value: int

    def encode(self) -> bytes:
        """The bytes."""
        if not -(1 << 63) <= self.value <= _U64:
            raise ValueError(f"{self}: does not fit into 64 bits")
        value = self.value & _U64
        return _wide(self.dst, 0, value & 0xFFFFFFFF, value >> 32)

    def __str__(self) -> str:
        return f"{self.dst} = {self.value & _U64:#x}"


@dataclass(frozen=True, slots=True)
class LoadMap(Instruction):
    """dst = a map, by the descriptor it has when the program is loaded; name is for people."""

    slots: ClassVar[int] = 2
    dst: Reg
    fd: int
    name: str = ""

    def encode(self) -> bytes:
        """The bytes."""
        return _wide(self.dst, 1, self.fd, 0)

    def __str__(self) -> str:
        return f"{self.dst} = map[{self.name or self.fd}]"


@dataclass(frozen=True, slots=True)
class LoadMapValue(Instruction):
    """dst = the address of byte `offset` of an array map's only entry."""

    slots: ClassVar[int] = 2
    dst: Reg
    fd: int
    offset: int = 0
    name: str = ""

    def encode(self) -> bytes:
        """The bytes."""
        return _wide(self.dst, 2, self.fd, self.offset)

    def __str__(self) -> str:
        return f"{self.dst} = map[{self.name or self.fd}][0]{self.offset:+}"


@dataclass(frozen=True, slots=True)
class LoadVariable(Instruction):
    """dst = the address of a variable of the kernel, by the id of its VAR; a per-CPU one needs PER_CPU_PTR."""

    slots: ClassVar[int] = 2
    dst: Reg
    btf_id: int
    btf_fd: int = 0  # of a module's BTF
    name: str = ""

    def encode(self) -> bytes:
        """The bytes."""
        return _wide(self.dst, 3, self.btf_id, self.btf_fd)

    def __str__(self) -> str:
        return f"{self.dst} = &{self.name or f'kernel-variable#{self.btf_id}'}"


@dataclass(frozen=True, slots=True)
class LoadFunction(Instruction):
    """dst = a function of the same program, for a helper to call back."""

    slots: ClassVar[int] = 2
    dst: Reg
    target: Target

    def encode(self) -> bytes:
        """The bytes."""
        return _wide(self.dst, 4, _distance(self.target), 0)

    def __str__(self) -> str:
        return f"{self.dst} = func {_place(self.target)}"


def _slot(opcode: int, dst: int = 0, src: int = 0, offset: int = 0, imm: int = 0) -> bytes:
    try:
        return _SLOT.pack(opcode, src << 4 | dst, offset, imm)
    except struct.error:
        raise ValueError(f"an offset of {offset} or a number of {imm:#x} does not fit into an instruction") from None


def _wide(dst: int, src: int, low: int, high: int) -> bytes:
    return _slot(0x18, dst, src, 0, _signed_32(low)) + _slot(0, imm=_signed_32(high))


def _with_operand(opcode: int, dst: Reg, source: Operand, offset: int = 0) -> bytes:
    if isinstance(source, Reg):
        return _slot(opcode | 0x08, dst, source, offset)
    return _slot(opcode, dst, 0, offset, source)


def _signed_32(word: int) -> int:
    return word - (1 << 32) if word >> 31 == 1 else word


def _distance(target: Target) -> int:
    if isinstance(target, str):
        raise ValueError(f"the label {target} has no place yet: assemble() gives it one")
    return target


def _place(target: Target) -> str:
    return target if isinstance(target, str) else f"pc{target:+}"


def _memory(width: Width, base: Reg, offset: int) -> str:
    return f"*({width} *)({base} {offset:+})"


def _half(operand: Operand, is_32: bool, hexadecimal: bool = False) -> str:
    if not isinstance(operand, Reg):
        return f"{operand & 0xFFFFFFFF:#x}" if hexadecimal else str(operand)
    return f"w{operand.value}" if is_32 else str(operand)


def move(dst: Reg, source: Operand) -> Instruction:
    """dst = source, in the shortest instruction that holds it."""
    if isinstance(source, Reg) or -(1 << 31) <= source < 1 << 31:
        return Alu(AluOp.MOV, dst, source)
    return LoadConstant(dst, source)


def add(dst: Reg, source: Operand) -> Alu:
    """dst += source."""
    return Alu(AluOp.ADD, dst, source)
