"""Programs in this kernel: loading, what the verifier says, runs by hand, functions and callbacks."""

from __future__ import annotations

import os
import random
import re
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bpf.by_hand import (
    R0,
    R1,
    R2,
    R3,
    R4,
    R5,
    R6,
    R7,
    R10,
    U8,
    U16,
    U32,
    U64,
    constant,
    load,
    not_here,
    syscall_spec,
)
from oompolicy.bpf.assembly import Label, Line, assemble, label_places, resolve
from oompolicy.bpf.btf_types import Kind, Parameter
from oompolicy.bpf.btf_writer import BtfWriter
from oompolicy.bpf.errors import BpfError, VerifierError
from oompolicy.bpf.instructions import (
    Alu,
    Atomic,
    Call,
    CallFunction,
    CallKernel,
    Exit,
    Goto,
    Jump,
    Load,
    LoadConstant,
    LoadFunction,
    LoadVariable,
    Negate,
    Store,
    add,
    move,
)
from oompolicy.bpf.kernel_btf import vmlinux_btf
from oompolicy.bpf.opcodes import AluOp, AtomicOp, JumpOp
from oompolicy.bpf.programs import LOG_FOR_PEOPLE, Program, ProgramSpec, verifier_log
from oompolicy.bpf.uapi import Helper, ProgramFlags, ProgramType

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("bpf_here")]


def test_the_context_comes_back_as_the_program_left_it() -> None:
    lines: list[Line] = [
        Load(U64, R2, R1, 0),
        Load(U32, R3, R1, 8),
        add(R2, R3),
        Store(U64, R1, 16, R2),
        move(R4, 0x1234),
        Store(U16, R1, 12, R4),  # before 6.3 the verifier takes no number here, only a register
        move(R0, -7),
        Exit(),
    ]
    with load(lines) as program:
        run = program.run(struct.pack("=QIIQ", 1 << 40, 5, 0, 0))
        assert (run.returned, struct.unpack("=QIIQ", run.context)) == (-7, (1 << 40, 5, 0x1234, (1 << 40) + 5))
        info = program.info()
        assert (info.type, info.id, program.name) == (ProgramType.SYSCALL, program.id, "by_hand")
        assert info.verified_insns == len(lines)


EXPECTED: dict[AluOp, Callable[[int, int], int]] = {
    AluOp.ADD: lambda a, b: a + b,
    AluOp.SUB: lambda a, b: a - b,
    AluOp.MUL: lambda a, b: a * b,
    AluOp.DIV: lambda a, b: a // b if b else 0,
    AluOp.MOD: lambda a, b: a % b if b else a,
    AluOp.OR: lambda a, b: a | b,
    AluOp.AND: lambda a, b: a & b,
    AluOp.XOR: lambda a, b: a ^ b,
    AluOp.MOV: lambda a, b: b,
    AluOp.LSH: lambda a, b: a << b % 64,
    AluOp.RSH: lambda a, b: a >> b % 64,
    AluOp.ARSH: lambda a, b: (a - ((a >> 63) << 64)) >> b % 64,
}
WORD = (1 << 64) - 1


@pytest.mark.parametrize("op", AluOp)
def test_operations_are_what_their_names_say(op: AluOp) -> None:
    dice = random.Random(seed := random.randrange(1 << 32))
    with load(
        [Load(U64, R2, R1), Load(U64, R3, R1, 8), Alu(op, R2, R3), Store(U64, R1, 0, R2), *constant(0)]
    ) as program:
        for _ in range(100):
            a, b = (dice.choice([0, 1, 63, WORD, 1 << 63, dice.getrandbits(64)]) for _ in range(2))
            if op in (AluOp.LSH, AluOp.RSH, AluOp.ARSH):
                b %= 64
            (found,) = struct.unpack_from("=Q", program.run(struct.pack("=QQ", a, b)).context)
            assert found == EXPECTED[op](a, b) & WORD, (seed, a, b)


COMPARED: dict[JumpOp, Callable[[int, int], bool]] = {
    JumpOp.EQ: lambda a, b: a == b,
    JumpOp.NE: lambda a, b: a != b,
    JumpOp.GT: lambda a, b: a > b,
    JumpOp.GE: lambda a, b: a >= b,
    JumpOp.LT: lambda a, b: a < b,
    JumpOp.LE: lambda a, b: a <= b,
    JumpOp.SET: lambda a, b: a & b != 0,
    JumpOp.SGT: lambda a, b: signed(a) > signed(b),
    JumpOp.SGE: lambda a, b: signed(a) >= signed(b),
    JumpOp.SLT: lambda a, b: signed(a) < signed(b),
    JumpOp.SLE: lambda a, b: signed(a) <= signed(b),
}


def signed(word: int) -> int:
    return word - ((word >> 63) << 64)


@pytest.mark.parametrize("op", JumpOp)
def test_comparisons_are_what_their_names_say(op: JumpOp) -> None:
    lines: list[Line] = [
        Load(U64, R2, R1),
        Load(U64, R3, R1, 8),
        move(R0, 1),
        Jump(op, R2, R3, "yes"),
        move(R0, 0),
        Label("yes"),
        Exit(),
    ]
    values = [0, 1, 2, WORD, WORD - 1, 1 << 63, (1 << 63) - 1]
    with load(lines) as program:
        for a in values:
            for b in values:
                assert program.run(struct.pack("=QQ", a, b)).returned == COMPARED[op](a, b), (a, b)


def test_the_verifiers_last_lines_come_with_the_error() -> None:
    with pytest.raises(VerifierError) as refused:
        load([move(R1, 5), move(R6, R2), *constant(0)], "reads_r2")
    error = refused.value
    assert error.what == "program reads_r2"
    assert error.why == "the verifier refused it: R2 !read_ok"
    assert "R2 !read_ok" in error.log
    assert any(re.search(r"1: \(bf\) r6 = r2", line) for line in error.log)
    assert error.log[-1].startswith("processed ")
    assert "R2 !read_ok" in error.excerpt
    assert error.errno


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ([Goto(1), move(R0, 0), move(R0, 1), Exit()], "unreachable insn"),
        ([Load(U64, R0, R1, 0), Load(U64, R0, R0, 0), Exit()], "R0 invalid mem access"),
        ([move(R0, 0)], "last insn is not an exit or jmp"),
        ([Load(U64, R0, R10, -520), Exit()], "invalid read from stack"),
        ([move(R0, 0), Label("x"), add(R0, 1), Goto("x"), Exit()], "unreachable insn"),
    ],
)
def test_refusals_name_their_reason(lines: list[Line], reason: str) -> None:
    with pytest.raises(VerifierError, match=reason):
        load(lines)


def test_a_long_log_is_read_to_its_end() -> None:
    """Far more than the first 64 KiB: older kernels then keep the beginning, where no reason is."""
    steps: list[Line] = [line for number in range(3000) for line in (move(R2, number), Store(U64, R10, -8, R2))]
    log = verifier_log(syscall_spec([*steps, *constant(0)]))
    assert sum(map(len, log)) > 1 << 17
    assert log[-1].startswith("processed 6002 insns") or any(
        line.startswith("processed 6002 insns") for line in log[-3:]
    )
    branches: list[Line] = []
    for number in range(1500):  # paths that are not alike, so that each is verified and logged
        label = f"l{number}"
        branches += [Call(Helper.GET_PRANDOM_U32), Jump(JumpOp.EQ, R0, number, label), Store(U64, R10, -8, R0)]
        branches += [Label(label)]
    with pytest.raises(VerifierError, match="R7 !read_ok"):
        load([*branches, move(R0, R7), Exit()])


def test_text_is_the_verifiers() -> None:
    """Each instruction as the kernel's own disassembler writes it."""
    lines: list[Line] = [
        move(R6, R1),
        move(R0, -1),
        LoadConstant(R2, 1 << 40),
        Load(U64, R3, R6, 0),
        Load(U8, R4, R6, 8),
        Load(U16, R4, R6, 8),
        Load(U32, R4, R6, 8),
        *(Alu(op, R2, R4) for op in AluOp),
        *(Alu(op, R2, 3) for op in AluOp),
        Alu(AluOp.ADD, R2, R4, is_32=True),
        Alu(AluOp.MOV, R2, -5, is_32=True),
        Negate(R2),
        Store(U64, R10, -8, R2),
        Store(U64, R10, -16, 5),
        Store(U32, R10, -8, 5),
        Store(U16, R10, -8, 5),
        Store(U8, R10, -8, R2),
        Store(U64, R10, -8, R2),
        move(R5, 1),
        *(Atomic(op, U64, R10, -8, R5) for op in AtomicOp),
        Call(Helper.KTIME_GET_NS),
        move(R7, R0),
        *(line for op in JumpOp for line in (Jump(op, R7, 5, f"k{op.name}"), move(R0, 0), Label(f"k{op.name}"))),
        Load(U64, R3, R6, 0),
        *(line for op in JumpOp for line in (Jump(op, R7, R3, f"r{op.name}"), move(R0, 0), Label(f"r{op.name}"))),
        Jump(JumpOp.LT, R7, R3, "w", is_32=True),
        move(R0, 0),
        Label("w"),
        Goto("end"),
        Label("end"),
        move(R0, 0),
        Exit(),
    ]
    said: dict[int, str] = {}
    for line in verifier_log(syscall_spec(lines)):
        if found := re.match(r"(\d+): \(([0-9a-f]{2})\) (.*?)(?: +;.*)?$", line):
            said.setdefault(int(found[1]), found[3])
    slot = 0
    for instruction in resolve(lines):
        if slot in said:  # a path that cannot be is not logged
            assert str(instruction) == said[slot], slot
        slot += instruction.slots
    assert len(said) > 90


def two_functions() -> tuple[list[Line], BtfWriter, tuple[tuple[int, int], ...]]:
    """bpf_loop() calls `step` five times, each adds its number to the context's first word."""
    lines: list[Line] = [
        move(R6, R1),
        Store(U64, R10, -8, 0),
        move(R1, 5),
        LoadFunction(R2, "step"),
        move(R3, R10),
        add(R3, -8),
        move(R4, 0),
        Call(Helper.LOOP),
        Load(U64, R1, R10, -8),
        Store(U64, R6, 0, R1),
        Exit(),
        Label("step"),  # (u32 index, void *context)
        Load(U64, R3, R2, 0),
        add(R3, R1),
        Store(U64, R2, 0, R3),
        move(R0, 0),
        Exit(),
    ]
    writer = BtfWriter()
    number, u32 = writer.integer("int", 4, signed=True), writer.integer("unsigned int", 4)
    pointer = writer.pointer(0)
    main = writer.function("main", writer.prototype(number, [Parameter("context", pointer)]))
    step = writer.function("step", writer.prototype(number, [Parameter("index", u32), Parameter("context", pointer)]))
    return lines, writer, ((0, main), (label_places(lines)["step"], step))


def test_a_function_of_the_program_is_called_back_by_a_helper() -> None:
    lines, writer, functions = two_functions()
    with writer.load() as types:
        spec = replace(syscall_spec(lines), btf_fd=types.fileno(), functions=functions)
        with Program.load(spec) as program:
            run = program.run(bytes(8))
            assert (run.returned, run.context) == (5, struct.pack("=Q", 0 + 1 + 2 + 3 + 4))
            assert program.info().btf_id


def test_a_function_of_the_program_is_called() -> None:
    lines: list[Line] = [
        Load(U64, R1, R1, 0),
        CallFunction("twice"),
        Exit(),
        Label("twice"),
        move(R0, R1),
        add(R0, R1),
        Exit(),
    ]
    with load(lines) as program:
        assert program.run(struct.pack("=Q", 21)).returned == 42


def test_a_raw_tracepoint_runs_by_hand_on_arguments() -> None:
    spec = ProgramSpec(ProgramType.RAW_TRACEPOINT, "raw", assemble([Load(U64, R0, R1, 8), Exit()]))
    with Program.load(spec) as program:
        assert program.run(struct.pack("=QQ", 1, 77)).returned == 77


def test_btf_that_the_kernel_refuses() -> None:
    writer = BtfWriter()
    writer.modifier(Kind.CONST, 77)
    with pytest.raises(BpfError, match="BTF: BTF_LOAD"):
        writer.load()


def test_a_target_that_is_not_there() -> None:
    spec = ProgramSpec(ProgramType.TRACING, "p", assemble(constant(0)), attach_btf_id=1 << 24)
    with pytest.raises(BpfError, match="program p"):
        Program.load(spec)


def test_what_the_kernel_does_not_know_is_said() -> None:
    spec = replace(syscall_spec(constant(0)), flags=ProgramFlags(1 << 30))
    with pytest.raises(BpfError, match="program by_hand: PROG_LOAD: the kernel does not take these arguments"):
        Program.load(spec)


def test_a_helper_that_may_not_be_called_here() -> None:
    with pytest.raises(VerifierError, match=r"unknown func|cannot use helper|pointer type"):
        load([Call(Helper.SEQ_WRITE), *constant(0)])


def test_reading_a_field_of_the_running_task() -> None:
    """The whole way: offsets from BTF, a load through a trusted pointer, checked by the verifier."""
    with vmlinux_btf() as btf:
        tgid, comm = btf.field("task_struct", "tgid"), btf.field("task_struct", "comm")
        group_leader = btf.field("task_struct", "group_leader")
    lines: list[Line] = [
        move(R7, R1),
        Call(Helper.GET_CURRENT_TASK_BTF),
        Load(U64, R6, R0, group_leader.offset_bytes),
        Load(U32, R1, R6, tgid.offset_bytes),
        Store(U32, R7, 0, R1),
        move(R1, R10),
        add(R1, -16),
        move(R2, comm.size_bytes),
        move(R3, R6),
        add(R3, comm.offset_bytes),
        Call(Helper.PROBE_READ_KERNEL),
        Load(U64, R1, R10, -16),
        Store(U64, R7, 8, R1),
        Load(U64, R1, R10, -8),
        Store(U64, R7, 16, R1),
        Exit(),
    ]
    with load(lines) as program:
        run = program.run(bytes(24))
    assert run.returned == 0
    assert struct.unpack_from("=I", run.context)[0] == os.getpid()
    assert run.context[8:].partition(b"\0")[0] == Path("/proc/self/comm").read_bytes().strip()


def test_a_function_of_the_kernel_is_called() -> None:
    """bpf_task_from_pid(), which SYSCALL programs may call since commit a8e03b6bbb2c "bpf: Allow invoking kfuncs from
    BPF_PROG_TYPE_SYSCALL progs" (in v6.10).
    """
    with vmlinux_btf() as btf:
        if not btf.has_function("bpf_task_from_pid"):
            pytest.skip("no bpf_task_from_pid()")
        from_pid, release = (btf.function(f"bpf_task_{name}").type_id for name in ("from_pid", "release"))
        tgid = btf.field("task_struct", "tgid").offset_bytes
    lines: list[Line] = [
        Load(U32, R1, R1, 0),
        CallKernel(from_pid),
        Jump(JumpOp.EQ, R0, 0, "end"),
        Load(U32, R6, R0, tgid),
        move(R1, R0),
        CallKernel(release),
        move(R0, R6),
        Label("end"),
        Exit(),
    ]
    with load(lines) as program:
        assert program.run(struct.pack("=I", os.getppid())).returned == os.getppid()
        assert program.run(struct.pack("=I", 0x7FFFFFFF)).returned == 0


def test_a_variable_of_the_kernel_is_read() -> None:
    """A per-CPU counter of the kernel's, by the id of its VAR: how deep in BPF programs each CPU is."""
    with vmlinux_btf() as btf:
        variable = btf.find("bpf_prog_active", Kind.VAR)
    lines: list[Line] = [
        LoadVariable(R1, variable),
        Call(Helper.THIS_CPU_PTR),
        Load(U32, R6, R0, 0),
        LoadVariable(R1, variable),
        move(R2, 1 << 20),
        Call(Helper.PER_CPU_PTR),
        Jump(JumpOp.EQ, R0, 0, "no such CPU"),
        move(R6, -1),
        Label("no such CPU"),
        move(R0, R6),
        Exit(),
    ]
    try:
        program = load(lines)
    except VerifierError as error:
        if "failed to find the address" not in error.why:
            raise
        not_here(f"{error}: the kernel lacks CONFIG_KALLSYMS_ALL")
    with program:
        assert program.run().returned in (0, 1)


def test_the_log_for_people_is_short() -> None:
    lines = verifier_log(syscall_spec(constant(0)), LOG_FOR_PEOPLE)
    assert any(line.startswith("processed 2 insns") for line in lines)
