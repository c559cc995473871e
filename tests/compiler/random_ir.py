"""Random programs of the IR over its whole grammar, well formed: every op and kind, blocks that join with parameters.

A block may go to any later ones; what it may use is what is known on every way to it. References are read through only
where a guard or a branch has shown that they are not null.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from compiler.made_up_worlds import COMMS, LONGS, PATHS
from oompolicy.compiler.ir import (
    FIRST_FREE,
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
    targets_of,
)
from oompolicy.compiler.place import Place
from oompolicy.compiler.subset import FIELDS, Field, FieldKind

CHECKED = {
    *(BinaryOp.ADD, BinaryOp.SUB, BinaryOp.MUL, BinaryOp.FLOORDIV, BinaryOp.MOD, BinaryOp.SHL, BinaryOp.SHR),
    *(UnaryOp.NEG, UnaryOp.ABS),
}
KINDS = {"task": Kind.TASK, "memcg": Kind.MEMCG, "oc": Kind.OC}
GIVES = {FieldKind.MEMCG: Kind.MEMCG, FieldKind.TASK: Kind.TASK}
EQUALITY = (CompareOp.EQ, CompareOp.NE)


@dataclass
class Scope:
    """What is known somewhere, and which of it is surely not null."""

    values: set[Value]
    present: set[Value] = field(default_factory=set)

    def __and__(self, other: Scope) -> Scope:
        return Scope(self.values & other.values, self.present & other.present)

    def of(self, kind: Kind) -> list[Value]:
        return sorted((value for value in self.values if value.kind is kind), key=lambda value: value.number)

    def readable(self, kind: Kind) -> list[Value]:
        return [value for value in self.of(kind) if value in self.present]


def random_program(dice: random.Random, blocks: int | None = None) -> Program:
    """Of one to about twelve blocks."""
    return _Maker(dice, blocks or dice.choice([1, 2, 3, 4, 5, 6, 8, 12])).program()


class _Maker:
    def __init__(self, dice: random.Random, count: int) -> None:
        self._dice = dice
        self._next = FIRST_FREE
        self._line = 0
        self._names = [f"b{index}" for index in range(count)]
        self._parameters = {name: self._some_parameters() for name in self._names[1:]}
        self._parameters[self._names[0]] = ()
        self._entered: dict[str, Scope] = {self._names[0]: Scope({TASK, OC}, {TASK, OC})}
        # Programs that compute with anything overflow at once; tame ones get further.
        self._is_tame = dice.random() < 0.7

    def program(self) -> Program:
        blocks = []
        for index, name in enumerate(self._names):
            scope = self._entered[name]
            scope.values |= set(self._parameters[name])
            steps: list[Step] = []
            for _ in range(self._dice.choice([0, 1, 2, 3, 5, 8])):
                steps.extend(self._step(scope))
            blocks.append(Block(name, self._parameters[name], tuple(steps), self._end(scope, index)))
        return Program("random", tuple(blocks), PATHS)

    def _some_parameters(self) -> tuple[Value, ...]:
        kinds = (Kind.INT, Kind.INT, Kind.MEMCG, Kind.TASK)
        return tuple(self._value(self._dice.choice(kinds)) for _ in range(self._dice.choice([0, 0, 1, 2, 3])))

    def _value(self, kind: Kind = Kind.INT) -> Value:
        self._next += 1
        return Value(self._next - 1, kind)

    def _place(self) -> Place:
        self._line += 1
        return Place("random.py", self._line, 1)

    def _number(self, scope: Scope) -> Operand:
        known = scope.of(Kind.INT)
        if known and self._dice.random() < 0.75:
            return self._dice.choice(known[-8:] if self._dice.random() < 0.7 else known)
        return Const(self._dice.choice([*LONGS, *range(-3, 10)]))

    def _reference(self, scope: Scope, kind: Kind) -> Operand:
        known = scope.of(kind)
        return self._dice.choice(known) if known and self._dice.random() < 0.85 else NULL

    def _step(self, scope: Scope) -> list[Step]:
        makers = (self._binary, self._read, self._unary, self._compare, self._comm, self._guard, self._not_null)
        (make,) = self._dice.choices(makers, weights=(3, 3, 1, 1, 1, 1, 1))
        steps = make(scope)
        for step in steps:
            if not isinstance(step, Guard):
                scope.values.add(step.result)
            if isinstance(step, Read) and step.present is not None:
                scope.values.add(step.present)
        return steps

    def _binary(self, scope: Scope) -> list[Step]:
        op = self._dice.choice(list(BinaryOp))
        left, right = self._number(scope), self._number(scope)
        if self._is_tame and op in CHECKED and op not in (BinaryOp.ADD, BinaryOp.SUB):
            right = Const(self._dice.choice([1, 2, 3, 7, -1, -5, 40, 1000]))
        steps: list[Step] = []
        if self._is_tame and op in CHECKED:
            first, tame = self._value(), self._value()
            bound = self._dice.choice([30, 1 << 20, 1 << 40])
            steps.append(Binary(first, BinaryOp.MIN, left, Const(bound), False, self._place()))
            steps.append(Binary(tame, BinaryOp.MAX, first, Const(-bound if self._dice.random() < 0.5 else 0), False,
                                self._place()))  # fmt: skip
            left = tame
            if op in (BinaryOp.SHL, BinaryOp.SHR):
                right = Const(self._dice.choice([0, 1, 5, 16, 20]))
        return [*steps, Binary(self._value(), op, left, right, op in CHECKED, self._place())]

    def _unary(self, scope: Scope) -> list[Step]:
        op = self._dice.choice(list(UnaryOp))
        return [Unary(self._value(), op, self._number(scope), op in CHECKED, self._place())]

    def _compare(self, scope: Scope) -> list[Step]:
        return [Compare(self._value(), *self._comparison(scope), self._place())]

    def _comparison(self, scope: Scope) -> tuple[CompareOp, Operand, Operand]:
        if self._dice.random() < 0.25:
            kind = self._dice.choice([Kind.TASK, Kind.MEMCG])
            return self._dice.choice(EQUALITY), self._reference(scope, kind), self._reference(scope, kind)
        return self._dice.choice(list(CompareOp)), self._number(scope), self._number(scope)

    def _read(self, scope: Scope) -> list[Step]:
        rows = [row for row in FIELDS if row.kind is not FieldKind.COMM and scope.readable(_base_kind(row))]
        row = self._dice.choice(rows)
        base = self._dice.choice(scope.readable(_base_kind(row)))
        present = self._value() if row.kind is FieldKind.OPTIONAL_INT else None
        argument: str | Value | None = None
        if row.kind is FieldKind.IS_UNDER:
            arguments: list[str | Value] = [*PATHS, *scope.readable(Kind.MEMCG)]
            argument = self._dice.choice(arguments)
        result = self._value(GIVES.get(row.kind, Kind.INT))
        return [Read(result, present, row.name, base, argument, self._place())]

    def _comm(self, scope: Scope) -> list[Step]:
        op = self._dice.choice(list(CommOp))
        text = self._dice.choice([comm for comm in COMMS if comm])
        if op is CommOp.STARTSWITH:
            text = text[: self._dice.randint(1, len(text))]
        return [CommTest(self._value(), op, self._dice.choice(scope.readable(Kind.TASK)), text, self._place())]

    def _guard(self, scope: Scope) -> list[Step]:
        op, left, right = self._comparison(scope)
        if self._dice.random() < 0.6:
            op, left, right = CompareOp.NE, self._number(scope), Const(self._dice.choice(LONGS))
        return [Guard(op, left, right, "made up", self._place())]

    def _not_null(self, scope: Scope) -> list[Step]:
        """A guard that makes a reference readable."""
        unsure = [value for value in scope.of(Kind.MEMCG) + scope.of(Kind.TASK) if value not in scope.present]
        if not unsure:
            return []
        value = self._dice.choice(unsure)
        scope.present.add(value)
        return [Guard(CompareOp.NE, value, NULL, "it is None", self._place())]

    def _end(self, scope: Scope, index: int) -> End:
        later = self._names[index + 1 :]
        must = later[:1] if later and later[0] not in self._entered else []
        kind = self._dice.random()
        if not later or (not must and kind < 0.3):
            return self._last(scope)
        if kind < 0.45:
            end: End = Jump(self._target(scope, must[0] if must else self._dice.choice(later)), self._place())
            self._enter(end, scope, scope)
            return end
        goals = [must[0] if must else self._dice.choice(later), self._dice.choice(later)]
        self._dice.shuffle(goals)
        unsure = [value for value in scope.of(Kind.MEMCG) if value not in scope.present]
        then = otherwise = scope
        if unsure and self._dice.random() < 0.6:
            value = self._dice.choice(unsure)
            sure = Scope(set(scope.values), {*scope.present, value})
            op = self._dice.choice(EQUALITY)
            then, otherwise = (sure, scope) if op is CompareOp.NE else (scope, sure)
            comparison: tuple[CompareOp, Operand, Operand] = (op, value, NULL)
        else:
            comparison = self._comparison(scope)
        end = Branch(*comparison, self._target(then, goals[0]), self._target(otherwise, goals[1]), self._place())
        self._enter(end, then, otherwise)
        return end

    def _last(self, scope: Scope) -> End:
        if self._dice.random() < 0.1:
            return Fault("made up", self._place())
        band = self._dice.choice([*BandNumber, *[BandNumber.SCORE] * 6])
        return Return(Const(band), self._number(scope), self._place())

    def _target(self, scope: Scope, name: str) -> Target:
        arguments = [
            self._number(scope) if value.kind is Kind.INT else self._reference(scope, value.kind)
            for value in self._parameters[name]
        ]
        return Target(name, tuple(arguments))

    def _enter(self, end: End, *scopes: Scope) -> None:
        for target, scope in zip(targets_of(end), scopes, strict=False):
            before = self._entered.get(target.block)
            self._entered[target.block] = (
                Scope(set(scope.values), set(scope.present)) if before is None else before & scope
            )


def _base_kind(row: Field) -> Kind:
    return KINDS[row.name.partition(".")[0]]
