"""Instructions: their bytes, their text, labels."""

from __future__ import annotations

import pytest

from bpf.by_hand import R0, R1, R2, R3, R6, R10, U8, U16, U32, U64
from oompolicy.bpf.assembly import Label, Line, assemble, label_places, listing, resolve, slots
from oompolicy.bpf.instructions import (
    Alu,
    Atomic,
    Call,
    CallFunction,
    CallKernel,
    Exit,
    Goto,
    Instruction,
    Jump,
    Load,
    LoadConstant,
    LoadFunction,
    LoadMap,
    LoadMapValue,
    LoadVariable,
    Negate,
    Store,
    add,
    move,
)
from oompolicy.bpf.opcodes import AluOp, AtomicOp, JumpOp
from oompolicy.bpf.uapi import Helper

# The bytes are those of `llvm-mc -triple bpfel`, and of Documentation/bpf/standardization/instruction-set.rst.
ENCODED = [
    (move(R0, 0), "b700000000000000", "r0 = 0"),
    (move(R1, -1), "b7010000ffffffff", "r1 = -1"),
    (move(R6, R1), "bf16000000000000", "r6 = r1"),
    (Alu(AluOp.MOV, R2, R1, is_32=True), "bc12000000000000", "w2 = w1"),
    (add(R2, -8), "07020000f8ffffff", "r2 += -8"),
    (Alu(AluOp.SUB, R0, R1), "1f10000000000000", "r0 -= r1"),
    (Alu(AluOp.DIV, R0, R1), "3f10000000000000", "r0 /= r1"),
    (Alu(AluOp.ARSH, R0, 63), "c70000003f000000", "r0 s>>= 63"),
    (Alu(AluOp.AND, R0, 7, is_32=True), "5400000007000000", "w0 &= 7"),
    (Negate(R3), "8703000000000000", "r3 = -r3"),
    (Load(U64, R0, R1, 16), "7910100000000000", "r0 = *(u64 *)(r1 +16)"),
    (Load(U32, R0, R1, -4), "6110fcff00000000", "r0 = *(u32 *)(r1 -4)"),
    (Load(U16, R0, R1), "6910000000000000", "r0 = *(u16 *)(r1 +0)"),
    (Load(U8, R0, R1, 1), "7110010000000000", "r0 = *(u8 *)(r1 +1)"),
    (Store(U64, R10, -8, R6), "7b6af8ff00000000", "*(u64 *)(r10 -8) = r6"),
    (Store(U8, R10, -1, 5), "720affff05000000", "*(u8 *)(r10 -1) = 5"),
    (Atomic(AtomicOp.ADD, U64, R0, 0, R1), "db10000000000000", "lock *(u64 *)(r0 +0) += r1"),
    (Atomic(AtomicOp.FETCH_ADD, U64, R0, 8, R1), "db10080001000000", "r1 = atomic64_fetch_add((u64 *)(r0 +8), r1)"),
    (Atomic(AtomicOp.XCHG, U32, R0, 0, R1), "c3100000e1000000", "r1 = atomic_xchg((u32 *)(r0 +0), r1)"),
    (Atomic(AtomicOp.CMPXCHG, U64, R2, 0, R1), "db120000f1000000", "r0 = atomic64_cmpxchg((u64 *)(r2 +0), r0, r1)"),
    (Jump(JumpOp.EQ, R0, 0, 3), "1500030000000000", "if r0 == 0x0 goto pc+3"),
    (Jump(JumpOp.SLT, R0, R1, -2), "cd10feff00000000", "if r0 s< r1 goto pc-2"),
    (Jump(JumpOp.SET, R0, -1, 1, is_32=True), "46000100ffffffff", "if w0 & 0xffffffff goto pc+1"),
    (Goto(5), "0500050000000000", "goto pc+5"),
    (Exit(), "9500000000000000", "exit"),
    (Call(Helper.MAP_LOOKUP_ELEM), "8500000001000000", "call bpf_map_lookup_elem#1"),
    (CallFunction(2), "8510000002000000", "call pc+2"),
    (CallKernel(4711, 1), "8520010067120000", "call kernel-function#4711"),
    (LoadConstant(R1, 1 << 62), "18010000000000000000000000000040", "r1 = 0x4000000000000000"),
    (LoadConstant(R1, -1), "18010000ffffffff00000000ffffffff", "r1 = 0xffffffffffffffff"),
    (LoadMap(R1, 5, "values"), "18110000050000000000000000000000", "r1 = map[values]"),
    (LoadMapValue(R1, 5, 8), "18210000050000000000000008000000", "r1 = map[5][0]+8"),
    (LoadVariable(R1, 99, name="runqueues"), "18310000630000000000000000000000", "r1 = &runqueues"),
    (LoadFunction(R2, 3), "18420000030000000000000000000000", "r2 = func pc+3"),
]


@pytest.mark.parametrize(("instruction", "encoded", "shown"), ENCODED, ids=[shown for *_, shown in ENCODED])
def test_bytes_and_text(instruction: Instruction, encoded: str, shown: str) -> None:
    assert instruction.encode().hex() == encoded
    assert len(instruction.encode()) == 8 * instruction.slots
    assert str(instruction) == shown


def test_instructions_are_values() -> None:
    assert move(R0, 1) == Alu(AluOp.MOV, R0, 1)
    assert len({Exit(), Exit(), move(R0, 1)}) == 2
    with pytest.raises(AttributeError):
        add(R0, 1).dst = R1  # type: ignore[misc]


def test_a_large_constant_takes_two_slots_only_where_it_must() -> None:
    assert [move(R0, number).slots for number in (0, -1, -(1 << 31), (1 << 31) - 1, 1 << 31, 1 << 63)] == [1] * 4 + [
        2,
        2,
    ]


@pytest.mark.parametrize(
    "instruction",
    [Load(U64, R0, R1, 1 << 15), add(R0, 1 << 31), Goto(1 << 15), LoadConstant(R0, 1 << 64), Goto("somewhere")],
)
def test_what_does_not_fit_is_refused(instruction: Instruction) -> None:
    with pytest.raises(ValueError, match=r"fit|label"):
        instruction.encode()


LOOP: list[Line] = [
    LoadConstant(R1, 1 << 40),
    move(R0, 0),
    Label("again"),
    add(R0, 1),
    Jump(JumpOp.EQ, R0, 10, "done"),
    LoadConstant(R2, 1 << 41),
    Goto("again"),
    Label("done"),
    Exit(),
]


def test_labels_count_slots_and_not_instructions() -> None:
    assert label_places(LOOP) == {"again": 3, "done": 8}
    jumps = [line for line in resolve(LOOP) if isinstance(line, Jump | Goto)]
    assert jumps == [Jump(JumpOp.EQ, R0, 10, 3), Goto(-5)]
    assert slots(LOOP) == len(assemble(LOOP)) // 8 == 9


def test_a_listing_names_labels_and_slots() -> None:
    assert listing(LOOP).splitlines() == [
        "     0: r1 = 0x10000000000",
        "     2: r0 = 0",
        "again:",
        "     3: r0 += 1",
        "     4: if r0 == 0xa goto done",
        "     5: r2 = 0x20000000000",
        "     7: goto again",
        "done:",
        "     8: exit",
    ]


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        ([Goto("nowhere")], "there is no label nowhere"),
        ([Label("twice"), Exit(), Label("twice")], "the label twice is there twice"),
        ([Goto("far"), *[Exit()] * 40_000, Label("far")], "does not fit"),
    ],
)
def test_labels_that_cannot_be(lines: list[Line], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        assemble(lines)
