"""Registers, widths and operations: what instructions are made of, with the bits that encode them.

Belongs here: numbers of include/uapi/linux/bpf.h and bpf_common.h that are part of an opcode. Must not know: opcodes.
"""

from __future__ import annotations

from enum import IntEnum


class Reg(IntEnum):
    """A register: r0 returns, r1 to r5 are arguments and lost by a call, r6 to r9 are kept, r10 is the frame's end."""

    R0 = 0
    R1 = 1
    R2 = 2
    R3 = 3
    R4 = 4
    R5 = 5
    R6 = 6
    R7 = 7
    R8 = 8
    R9 = 9
    R10 = 10

    def __str__(self) -> str:
        return f"r{self.value}"


R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, R10 = Reg


class Width(IntEnum):
    """The width of a load or store, in bytes."""

    U8 = 1
    U16 = 2
    U32 = 4
    U64 = 8

    def __str__(self) -> str:
        return f"u{8 * self.value}"


class AluOp(IntEnum):
    """An operation on registers; DIV and MOD are unsigned."""

    ADD = 0x00
    SUB = 0x10
    MUL = 0x20
    DIV = 0x30
    OR = 0x40
    AND = 0x50
    LSH = 0x60
    RSH = 0x70
    MOD = 0x90
    XOR = 0xA0
    MOV = 0xB0
    ARSH = 0xC0


class JumpOp(IntEnum):
    """A comparison; S is signed, SET is `&`."""

    EQ = 0x10
    GT = 0x20
    GE = 0x30
    SET = 0x40
    NE = 0x50
    SGT = 0x60
    SGE = 0x70
    LT = 0xA0
    LE = 0xB0
    SLT = 0xC0
    SLE = 0xD0


class AtomicOp(IntEnum):
    """An operation on memory as one step; with FETCH the register gets what was there before."""

    ADD = 0x00
    OR = 0x40
    AND = 0x50
    XOR = 0xA0
    FETCH_ADD = 0x01
    FETCH_OR = 0x41
    FETCH_AND = 0x51
    FETCH_XOR = 0xA1
    XCHG = 0xE1
    CMPXCHG = 0xF1  # compares with r0, which gets what was there before
