"""A program of the IR becomes the body of a BPF program.

Belongs here: steps and ends in the order of the blocks, jumps that fall through where they can. Must not know: how
arithmetic is done, where values live, how a field is read.

The body is entered with r6 = task and r7 = oc, and left to the caller's labels ANSWER (r0 = band, r1 = score) and
FAULT (r0 = an index into Emitted.places). There is no instruction that cannot be reached: the verifier refuses them.
"""

from __future__ import annotations

from dataclasses import dataclass

from oompolicy.bpf.assembly import Line
from oompolicy.bpf.instructions import Goto, Store
from oompolicy.bpf.opcodes import R0, R1, R2, R10, Width
from oompolicy.compiler.arithmetic import cannot_be_read
from oompolicy.compiler.bounds import ANY_LONG
from oompolicy.compiler.emit.allocation import ENTERED_WITH, SLOT_BYTES, Slot, allocate
from oompolicy.compiler.emit.arithmetic import binary, compare, jump_if, unary
from oompolicy.compiler.emit.code import ANSWER, FAULT, Code
from oompolicy.compiler.emit.forgetting import Forgetting
from oompolicy.compiler.emit.liveness import intervals
from oompolicy.compiler.emit.moves import Move, move_at_once
from oompolicy.compiler.emit.reader import FieldReader
from oompolicy.compiler.interp import Failure
from oompolicy.compiler.ir import (
    NEGATED,
    BandNumber,
    Binary,
    Block,
    Branch,
    CommTest,
    Compare,
    Const,
    End,
    Fault,
    Guard,
    Jump,
    Program,
    Read,
    Return,
    Step,
    Target,
    Unary,
    Value,
)
from oompolicy.compiler.passes.comm import lower_comm
from oompolicy.compiler.passes.ranges import operand_bounds


@dataclass(frozen=True, slots=True)
class Emitted:
    """The body of a policy.

    places: why and where it may fault; r0 is an index into it at FAULT. stack_bytes: of the frame, from frame_top
    down. origins: for each line the step or end of `program` that it belongs to, None for stubs. goes_to: which of
    ANSWER and FAULT are jumped to; the other must not be there, since nothing would reach it.
    """

    lines: tuple[Line, ...]
    places: tuple[Failure, ...]
    stack_bytes: int
    program: Program
    origins: tuple[Step | End | None, ...]
    goes_to: frozenset[str]


def emit(
    program: Program, reader: FieldReader, frame_top: int = 0, prefix: str = "policy", forgets: bool = False
) -> Emitted:
    """The instructions of a program, which is well formed and may be optimized or not.

    frame_top: 0, or below it the frame is free (-16 where the caller keeps the 16 bytes at r10 - 16). prefix: begins
    all labels made here. forgets: for a program whose paths are too many for the verifier (see forgetting.py). Raises
    LimitError, with the place in the source, where the frame or the length is too much.
    """
    program = lower_comm(program)
    found = intervals(program.blocks, lambda step: isinstance(step, Read) and not _keeps_registers(step, reader))
    allocation = allocate(found.values(), frame_top - SLOT_BYTES if forgets else frame_top)
    code = Code(dict(allocation.homes), prefix)
    forgetting = Forgetting(program.blocks, found.values(), frame_top - SLOT_BYTES) if forgets else None
    body = _Body(code, program, reader, forgetting)
    body.emit()
    return Emitted(
        tuple(code.lines),
        tuple(code.failures),
        allocation.stack_bytes + (SLOT_BYTES if forgets else 0),
        program,
        tuple(code.origins),
        frozenset({ANSWER, FAULT} & code.jumped_to()),
    )


def _keeps_registers(step: Read, reader: FieldReader) -> bool:
    return reader.is_light(step.field) and not isinstance(step.argument, Value)


class _Body:
    def __init__(self, code: Code, program: Program, reader: FieldReader, forgetting: Forgetting | None) -> None:
        self._code = code
        self._forgetting = forgetting
        self._blocks = program.blocks
        self._reader = reader
        self._parameters = {block.name: block.parameters for block in program.blocks}
        self._bounds = operand_bounds(program)

    def emit(self) -> None:
        self._code.origin = _first(self._blocks[0])
        for value, register in ENTERED_WITH.items():
            home = self._code.home(value)
            if isinstance(home, Slot):
                self._code.put(Store(Width.U64, R10, home.offset, register))
        if self._forgetting is not None:
            self._forgetting.begin(self._code)
        for block, following in zip(self._blocks, (*self._blocks[1:], None), strict=True):
            self._code.origin = _first(block)
            self._code.here(self._code.block_label(block.name))
            if self._forgetting is not None:
                self._forgetting.at(self._code, block)
            for step in block.steps:
                self._code.origin = step
                self._step(step)
            self._code.origin = block.end
            self._end(block.end, None if following is None else following.name)
        self._code.stubs()

    def _step(self, step: Step) -> None:
        match step:
            case Binary():
                binary(self._code, step, *self._bounds.get(step.result, (ANY_LONG, ANY_LONG)))
            case Unary():
                unary(self._code, step)
            case Compare():
                compare(self._code, step)
            case Read():
                self._read(step)
            case Guard(op, left, right, why, place):
                jump_if(self._code, NEGATED[op], left, right, self._code.fault(why, place))
            case CommTest():
                raise AssertionError("lower_comm() leaves none")

    def _read(self, step: Read) -> None:
        code = self._code
        code.into(R1, step.base)
        argument = step.argument
        if isinstance(argument, Value):
            code.into(R2, argument)
            argument = None
        fail = code.fault(cannot_be_read(step.field), step.place)
        code.put_all(self._reader.read(step.field, argument, code.label(), fail))
        code.store(step.result, R0)
        if step.present is not None:
            code.store(step.present, R1)

    def _end(self, end: End, following: str | None) -> None:
        code = self._code
        match end:
            case Jump(target):
                self._go(target, following)
            case Branch():
                self._branch(end, following)
            case Return(band, score):
                counts = not isinstance(band, Const) or band.number == BandNumber.SCORE
                code.into(R1, score if counts else Const(0))  # the score may be in r0
                code.into(R0, band)
                code.put(Goto(ANSWER))
            case Fault(why, place):
                code.put(Goto(code.fault(why, place)))

    def _branch(self, end: Branch, following: str | None) -> None:
        """The side that comes next falls through; the other jumps, with its moves done out of the way."""
        code = self._code
        op, then, otherwise = end.op, end.then, end.otherwise
        falls_through = otherwise.block == following and not self._moves(then)
        if not falls_through and (then.block == following or self._moves(then)) and not self._moves(otherwise):
            op, then, otherwise = NEGATED[op], otherwise, then
        moves = self._moves(then)
        label = code.label() if moves else code.block_label(then.block)
        jump_if(code, op, end.left, end.right, label)
        self._go(otherwise, None if moves else following)
        if moves:
            code.here(label)
            self._go(then, following)

    def _go(self, target: Target, following: str | None) -> None:
        move_at_once(self._code, self._moves(target))
        if target.block != following:
            self._code.put(Goto(self._code.block_label(target.block)))

    def _moves(self, target: Target) -> list[Move]:
        """What is not yet where the block expects it."""
        moves: list[Move] = []
        for parameter, argument in zip(self._parameters[target.block], target.arguments, strict=True):
            home = self._code.home(parameter)
            if home is None:
                continue
            if isinstance(argument, Value):
                source = self._code.home(argument)
                assert source is not None
                if source != home:
                    moves.append((home, source))
            else:
                moves.append((home, argument if isinstance(argument, Const) else Const(0)))
        return moves


def _first(block: Block) -> Step | End:
    return block.steps[0] if block.steps else block.end
