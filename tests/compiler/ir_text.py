"""Programs of the IR out of their text, so that a test shows what a pass gets and what it makes of it.

The text is what str() of a program gives; a parameter that is a reference says so: `b1(%2:memcg)`. The place of a
step is its line.
"""

from __future__ import annotations

import re
import textwrap

from oompolicy.compiler.ir import (
    NULL,
    OC,
    TASK,
    BandNumber,
    Binary,
    BinaryOp,
    Block,
    Branch,
    CommOp,
    CommTest,
    Compare,
    CompareOp,
    Const,
    End,
    Fault,
    Guard,
    Jump,
    Kind,
    Operand,
    Program,
    Read,
    Return,
    Step,
    Target,
    Unary,
    UnaryOp,
    Value,
)
from oompolicy.compiler.place import Place
from oompolicy.compiler.subset import BY_NAME, FieldKind
from oompolicy.compiler.well_formed import check

GIVES = {FieldKind.MEMCG: Kind.MEMCG, FieldKind.TASK: Kind.TASK}


def program_of(text: str) -> Program:
    """The program, which is well formed."""
    program = _Reader(textwrap.dedent(text)).program()
    check(program)
    return program


def shown(text: str) -> str:
    """A text as str() of its program gives it: dedented, without the kinds of parameters."""
    return re.sub(r":(memcg|task)\b", "", textwrap.dedent(text)).strip()


class _Reader:
    def __init__(self, text: str) -> None:
        self._values = {"%task": TASK, "%oc": OC}
        self._lines = text.strip().splitlines()

    def program(self) -> Program:
        blocks: list[Block] = []
        name = ""
        parameters: tuple[Value, ...] = ()
        steps: list[Step] = []
        for number, line in enumerate(self._lines, start=1):
            place = Place("test", number, 1)
            if not line.startswith(" "):
                name, parameters, steps = re.split(r"[(:]", line)[0], self._parameters(line), []
            elif re.match(r" *(goto|if|return|fault)\b", line):
                blocks.append(Block(name, parameters, tuple(steps), self._end(line.strip(), place)))
            else:
                steps.append(self._step(line.strip(), place))
        return Program("test", tuple(blocks))

    def _parameters(self, head: str) -> tuple[Value, ...]:
        found = re.findall(r"%(\d+)(?::(\w+))?", head)
        return tuple(self._define(number, Kind(kind or "int")) for number, kind in found)

    def _define(self, number: str, kind: Kind = Kind.INT) -> Value:
        value = Value(int(number), kind)
        self._values[f"%{number}"] = value
        return value

    def _operand(self, text: str) -> Operand:
        if text == "null":
            return NULL
        return self._values[text] if text.startswith("%") else Const(int(text))

    def _step(self, line: str, place: Place) -> Step:
        if guard := re.fullmatch(r'guard (\S+) (\S+) (\S+), "(.*)"', line):
            left, op, right, why = guard.groups()
            return Guard(CompareOp(op), self._operand(left), self._operand(right), why, place)
        results, _, said = line.partition(" = ")
        numbers = re.findall(r"%(\d+)", results)
        if read := re.fullmatch(r"read (\S+) (\S+?)(?:, (.*))?", said):
            field, base, argument = read.groups()
            return self._read(numbers, (field, base, argument), place)
        if comm := re.fullmatch(r'comm (\w+) (\S+), "(.*)"', said):
            op, base, text = comm.groups()
            return CommTest(self._define(numbers[0]), CommOp(op), self._values[base], text.encode(), place)
        op, _, rest = said.partition(" ")
        operands = [self._operand(text) for text in rest.split(", ")]
        result = self._define(numbers[0])
        checked, op = op.endswith("?"), op.rstrip("?")
        if op.upper() in CompareOp.__members__:
            return Compare(result, CompareOp[op.upper()], operands[0], operands[1], place)
        if len(operands) == 1:
            return Unary(result, UnaryOp(op), operands[0], checked, place)
        return Binary(result, BinaryOp(op), operands[0], operands[1], checked, place)

    def _read(self, numbers: list[str], said: tuple[str, str, str | None], place: Place) -> Read:
        field, base, argument = said
        kind = GIVES.get(BY_NAME[field].kind, Kind.INT) if field in BY_NAME else Kind.INT
        result = self._define(numbers[0], kind)
        present = self._define(numbers[1]) if len(numbers) == 2 else None
        given: str | Value | None = argument
        if argument is not None:
            given = self._values[argument] if argument.startswith("%") else argument.strip('"')
        return Read(result, present, field, self._values[base], given, place)

    def _end(self, line: str, place: Place) -> End:
        if branch := re.fullmatch(r"if (\S+) (\S+) (\S+) goto (.+) else (.+)", line):
            left, op, right, then, otherwise = branch.groups()
            sides = self._operand(left), self._operand(right)
            return Branch(CompareOp(op), *sides, self._target(then), self._target(otherwise), place)
        word, _, rest = line.partition(" ")
        if word == "goto":
            return Jump(self._target(rest), place)
        if word == "fault":
            return Fault(rest.strip('"'), place)
        band, _, score = rest.partition(", ")
        given = self._operand(band) if band.startswith("%") else Const(BandNumber[band])
        return Return(given, self._operand(score) if score else Const(0), place)

    def _target(self, text: str) -> Target:
        name, _, arguments = text.rstrip(")").partition("(")
        return Target(name, tuple(self._operand(argument) for argument in arguments.split(", ") if argument))
