"""The intermediate representation: what a policy computes, in steps that all executors share.

Belongs here: the grammar and its text form. Must not know: Python's syntax (frontend/), instructions (emit/), what a
field is read from, whether a program is well formed (well_formed.py).

A program is a list of blocks without cycles: loops over constant ranges are unrolled and calls inlined by the front
end, so a block only jumps to later ones. Every value is defined once (SSA); a block's parameters are what its
predecessors pass. All is immutable: a pass makes a new program.

    program   = block*                              the first is entered with %task, %oc
    block     = NAME ( %value, ... ) : step* end
    step      = %v = op a, b                        Binary: add sub mul floordiv mod and or xor shl shr min max
              | %v = neg|abs|invert a               Unary
              | %v = eq|ne|lt|le|gt|ge a, b         Compare: 1 or 0; eq and ne also of references, with null
              | %v [, %present] = read FIELD %ref   Read, with an argument for what takes one ("memcg.is_under")
              | %v = comm equals|startswith %task   CommTest: 1 or 0
              | guard a op b, "why"                 Guard: a fault unless it holds
    end       = goto NAME(a, ...)                   Jump
              | if a op b goto NAME(...) else NAME(...)   Branch
              | return BAND, score                  Return
              | fault "why"                         Fault
    a, b      = %v | NUMBER | null

Numbers are signed 64 bit. A step that is `checked` faults where its exact result does not fit; one that is not
checked has been shown to fit (passes/ranges.py). floordiv and mod round as Python's do, and fault on 0. shl and shr
are Python's: a negative count faults, shl by more than 63 fits for 0 alone, shr by more than 63 gives 0 or -1.
A fault anywhere ends the program: the policy counts as DEFER for this task (safety contract, line 3).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Final

from oompolicy.compiler.place import Place


class Kind(enum.Enum):
    """What a value is. A reference may be null: reading through it needs a guard or a branch before."""

    INT = "int"
    MEMCG = "memcg"
    TASK = "task"
    OC = "oc"


@dataclass(frozen=True, slots=True)
class Value:
    """The result of a step or a block's parameter; the number is its name."""

    number: int
    kind: Kind = Kind.INT

    def __hash__(self) -> int:
        # Every pass keeps values in dictionaries, and an enum's hash is made in Python, again each time.
        return self.number

    def __str__(self) -> str:
        return {TASK.number: "%task", OC.number: "%oc"}.get(self.number, f"%{self.number}")


@dataclass(frozen=True, slots=True)
class Const:
    """A number."""

    number: int

    def __str__(self) -> str:
        return str(self.number)


@dataclass(frozen=True, slots=True)
class Null:
    """No memcg, or no task: Python's None."""

    def __str__(self) -> str:
        return "null"


TASK: Final = Value(0, Kind.TASK)  # the candidate, never null
OC: Final = Value(1, Kind.OC)  # the OOM, never null
FIRST_FREE: Final = 2
NULL: Final = Null()

Operand = Value | Const | Null


class BinaryOp(enum.Enum):
    """Arithmetic of two numbers."""

    ADD = "add"
    SUB = "sub"
    MUL = "mul"
    FLOORDIV = "floordiv"
    MOD = "mod"
    AND = "and"
    OR = "or"
    XOR = "xor"
    SHL = "shl"
    SHR = "shr"
    MIN = "min"
    MAX = "max"


class UnaryOp(enum.Enum):
    """Arithmetic of one number."""

    NEG = "neg"
    ABS = "abs"
    INVERT = "invert"


class CompareOp(enum.Enum):
    """Signed comparisons; the value is the sign."""

    EQ = "=="
    NE = "!="
    LT = "<"
    LE = "<="
    GT = ">"
    GE = ">="


NEGATED: Final = {
    CompareOp.EQ: CompareOp.NE,
    CompareOp.NE: CompareOp.EQ,
    CompareOp.LT: CompareOp.GE,
    CompareOp.GE: CompareOp.LT,
    CompareOp.GT: CompareOp.LE,
    CompareOp.LE: CompareOp.GT,
}

# The same comparison with its sides exchanged.
MIRRORED: Final = {
    CompareOp.EQ: CompareOp.EQ,
    CompareOp.NE: CompareOp.NE,
    CompareOp.LT: CompareOp.GT,
    CompareOp.LE: CompareOp.GE,
    CompareOp.GT: CompareOp.LT,
    CompareOp.GE: CompareOp.LE,
}

# What may have no result, or none that fits; the others never fault.
FAULTING: Final = frozenset(
    {BinaryOp.ADD, BinaryOp.SUB, BinaryOp.MUL, BinaryOp.FLOORDIV, BinaryOp.MOD, BinaryOp.SHL, BinaryOp.SHR}
)


class CommOp(enum.Enum):
    """How a comm is compared with a constant."""

    EQUALS = "equals"
    STARTSWITH = "startswith"


class BandNumber(enum.IntEnum):
    """What a Return says, as kernel/oom_policy.h numbers it: enum oom_policy_band."""

    DEFER = 0
    SCORE = 1
    KILL = 3
    SPARE = 4


@dataclass(frozen=True, slots=True)
class Binary:
    """result = left op right. checked: it faults where the exact result does not fit, or does not exist."""

    result: Value
    op: BinaryOp
    left: Operand
    right: Operand
    checked: bool
    place: Place

    def __str__(self) -> str:
        mark = "?" if self.checked else ""
        return f"{self.result} = {self.op.value}{mark} {self.left}, {self.right}"


@dataclass(frozen=True, slots=True)
class Unary:
    """result = op operand. checked: of neg and abs, for LONG_MIN."""

    result: Value
    op: UnaryOp
    operand: Operand
    checked: bool
    place: Place

    def __str__(self) -> str:
        mark = "?" if self.checked else ""
        return f"{self.result} = {self.op.value}{mark} {self.operand}"


@dataclass(frozen=True, slots=True)
class Compare:
    """result = 1 or 0."""

    result: Value
    op: CompareOp
    left: Operand
    right: Operand
    place: Place

    def __str__(self) -> str:
        return f"{self.result} = {self.op.name.lower()} {self.left}, {self.right}"


@dataclass(frozen=True, slots=True)
class Read:
    """result = a field of what base refers to; base is not null here.

    present is defined for a field that may have no number (kind "int?"): 1, or 0 and then result is 0. argument: what
    memcg.is_under compares with, a path from the root ("/a/b", never "/") or a memcg that is not null.
    A read that fails is a fault.
    """

    result: Value
    present: Value | None
    field: str  # as compiler/subset.py names it: "task.rss"
    base: Value
    argument: str | Value | None
    place: Place

    def __str__(self) -> str:
        results = str(self.result) if self.present is None else f"{self.result}, {self.present}"
        argument = "" if self.argument is None else f", {_text(self.argument)}"
        return f"{results} = read {self.field} {self.base}{argument}"


@dataclass(frozen=True, slots=True)
class CommTest:
    """result = 1 where a task's comm equals text, or starts with it; text has 1 to 15 bytes for EQUALS too."""

    result: Value
    op: CommOp
    base: Value
    text: bytes
    place: Place

    def __str__(self) -> str:
        return f"{self.result} = comm {self.op.value} {self.base}, {_text(self.text)}"


@dataclass(frozen=True, slots=True)
class Guard:
    """A fault unless the comparison holds."""

    op: CompareOp
    left: Operand
    right: Operand
    why: str
    place: Place

    def __str__(self) -> str:
        return f"guard {self.left} {self.op.value} {self.right}, {_text(self.why)}"


Step = Binary | Unary | Compare | Read | CommTest | Guard


@dataclass(frozen=True, slots=True)
class Target:
    """A block, by its name, and what its parameters are there."""

    block: str
    arguments: tuple[Operand, ...] = ()

    def __str__(self) -> str:
        return f"{self.block}({', '.join(map(str, self.arguments))})" if self.arguments else self.block


@dataclass(frozen=True, slots=True)
class Jump:
    """On to one block."""

    target: Target
    place: Place

    def __str__(self) -> str:
        return f"goto {self.target}"


@dataclass(frozen=True, slots=True)
class Branch:
    """On to one of two blocks."""

    op: CompareOp
    left: Operand
    right: Operand
    then: Target
    otherwise: Target
    place: Place

    def __str__(self) -> str:
        return f"if {self.left} {self.op.value} {self.right} goto {self.then} else {self.otherwise}"


@dataclass(frozen=True, slots=True)
class Return:
    """The answer: a BandNumber, and a score, which counts for SCORE alone."""

    band: Operand
    score: Operand
    place: Place

    def __str__(self) -> str:
        if isinstance(self.band, Const):
            name = BandNumber(self.band.number).name
            return f"return {name}, {self.score}" if self.band.number == BandNumber.SCORE else f"return {name}"
        return f"return {self.band}, {self.score}"


@dataclass(frozen=True, slots=True)
class Fault:
    """The policy fails here, whatever the numbers."""

    why: str
    place: Place

    def __str__(self) -> str:
        return f"fault {_text(self.why)}"


End = Jump | Branch | Return | Fault


@dataclass(frozen=True, slots=True)
class Block:
    """Steps without a branch, then one end."""

    name: str
    parameters: tuple[Value, ...]
    steps: tuple[Step, ...]
    end: End

    def __str__(self) -> str:
        head = f"{self.name}({', '.join(map(str, self.parameters))}):" if self.parameters else f"{self.name}:"
        return "\n".join([head, *(f"  {step}" for step in (*self.steps, self.end))])


@dataclass(frozen=True, slots=True)
class Program:
    """A policy. blocks: the first is the entry, and each only goes to later ones."""

    name: str
    blocks: tuple[Block, ...]
    paths: tuple[str, ...] = field(default=())  # of cgroups that is_under() names, in the order they are numbered

    def __str__(self) -> str:
        return "\n".join(map(str, self.blocks))


def _text(item: object) -> str:
    if isinstance(item, bytes):
        return '"' + item.decode("ascii", "backslashreplace").replace('"', '\\"') + '"'
    if isinstance(item, str):
        return '"' + item.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return str(item)


def results_of(step: Step) -> tuple[Value, ...]:
    """What a step defines."""
    match step:
        case Guard():
            return ()
        case Read(result, present) if present is not None:
            return (result, present)
        case _:
            return (step.result,)


def operands_of(item: Step | End) -> tuple[Operand, ...]:
    """What a step or an end reads, the arguments it passes on included."""
    match item:
        case Binary() | Compare() | Guard():
            return (item.left, item.right)
        case Unary():
            return (item.operand,)
        case Read(base=base, argument=argument):
            return (base, argument) if isinstance(argument, Value) else (base,)
        case CommTest(base=base):
            return (base,)
        case Jump(target):
            return target.arguments
        case Branch():
            return (item.left, item.right, *item.then.arguments, *item.otherwise.arguments)
        case Return():
            return (item.band, item.score)
        case Fault():
            return ()


def targets_of(end: End) -> tuple[Target, ...]:
    """Where a block may go on."""
    match end:
        case Jump(target):
            return (target,)
        case Branch(then=then, otherwise=otherwise):
            return (then, otherwise)
        case _:
            return ()
