"""The reference semantics: what a program of the IR means, step by step on numbers.

Belongs here: running a program on a world, as ir.py's grammar says it. Small and obviously right rather than fast:
all other executors are held to it. Must not know: where a world's fields come from, what is done with an answer.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from oompolicy.compiler.arithmetic import (
    COMM_WORDS,
    ArithmeticFault,
    binary,
    cannot_be_read,
    comm_test,
    comm_word,
    compare,
    unary,
)
from oompolicy.compiler.ir import (
    OC,
    TASK,
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
    Null,
    Operand,
    Program,
    Read,
    Return,
    Step,
    Target,
    Unary,
    Value,
)
from oompolicy.compiler.place import Place
from oompolicy.compiler.well_formed import MalformedError
from oompolicy.policy.view import FailedReadError


class World(Protocol):
    """Where reads go. References are whatever the world likes, compared by ==; None is null."""

    def read(self, field: str, base: object, argument: object) -> object:
        """An int, the bytes of a comm (16, or up to the NUL), a reference, or None for an absent number or null.

        argument: of "memcg.is_under", a path or a reference. Raises FailedReadError where the field cannot be read.
        """
        ...


class Answer(NamedTuple):
    """What a policy said; the score is 0 but for SCORE."""

    band: BandNumber
    score: int


class Failure(NamedTuple):
    """A fault: why, and where in the source."""

    why: str
    place: Place


class _Faulted(Exception):  # noqa: N818 - caught in run(): never seen outside
    pass


def run(program: Program, world: World, task: object, oc: object) -> Answer | Failure:
    """What a program answers for a task in an OOM. Raises MalformedError where it reads through null."""
    try:
        return _Run(world, {TASK: task, OC: oc}).program(program)
    except _Faulted as fault:
        why, place = fault.args
        return Failure(why, place)


class _Run:
    def __init__(self, world: World, known: dict[Value, object]) -> None:
        self._world = world
        self._known = known

    def program(self, program: Program) -> Answer:
        blocks = {block.name: block for block in program.blocks}
        block = program.blocks[0]
        while True:
            for step in block.steps:
                self._step(step)
            after = self._end(block.end)
            if isinstance(after, Answer):
                return after
            block = self._enter(blocks[after.block], after)

    def _enter(self, block: Block, target: Target) -> Block:
        arguments = [self._of(argument) for argument in target.arguments]
        self._known.update(zip(block.parameters, arguments, strict=True))
        return block

    def _end(self, end: End) -> Target | Answer:
        match end:
            case Jump(target):
                return target
            case Branch(op, left, right, then, otherwise):
                return then if compare(op, self._of(left), self._of(right)) else otherwise
            case Return(band, score):
                number = BandNumber(self._number(band))
                return Answer(number, self._number(score) if number is BandNumber.SCORE else 0)
            case Fault(why, place):
                raise _Faulted(why, place)

    def _step(self, step: Step) -> None:
        try:
            match step:
                case Binary(result, op, left, right):
                    self._known[result] = binary(op, self._number(left), self._number(right))
                case Unary(result, unary_op, operand):
                    self._known[result] = unary(unary_op, self._number(operand))
                case Compare(result, compare_op, left, right):
                    self._known[result] = int(compare(compare_op, self._of(left), self._of(right)))
                case CommTest(result, comm_op, base, text):
                    self._known[result] = int(comm_test(comm_op, self._comm(base), text))
                case Read():
                    self._read(step)
                case Guard(compare_op, left, right, why):
                    if not compare(compare_op, self._of(left), self._of(right)):
                        raise _Faulted(why, step.place)
        except ArithmeticFault as fault:
            raise _Faulted(fault.args[0], step.place) from None

    def _read(self, step: Read) -> None:
        if step.field in COMM_WORDS:
            self._known[step.result] = comm_word(self._comm(step.base), COMM_WORDS.index(step.field))
            return
        argument = self._of(step.argument) if isinstance(step.argument, Value) else step.argument
        try:
            found = self._world.read(step.field, self._reference(step.base), argument)
        except FailedReadError:
            raise _Faulted(cannot_be_read(step.field), step.place) from None
        if step.present is not None:
            self._known[step.present] = int(found is not None)
            found = 0 if found is None else found
        self._known[step.result] = int(found) if isinstance(found, bool) else found

    def _comm(self, base: Value) -> bytes:
        comm = self._world.read("task.comm", self._reference(base), None)
        assert isinstance(comm, bytes)
        return comm

    def _reference(self, base: Value) -> object:
        reference = self._known[base]
        if reference is None:
            raise MalformedError(f"a read through {base}, which is null")
        return reference

    def _of(self, operand: Operand) -> object:
        match operand:
            case Const(number):
                return number
            case Null():
                return None
            case Value():
                return self._known[operand]

    def _number(self, operand: Operand) -> int:
        found = self._of(operand)
        if not isinstance(found, int):
            raise MalformedError(f"{operand} is not a number")
        return found
