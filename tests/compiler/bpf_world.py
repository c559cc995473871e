"""Made-up worlds in maps of the kernel, a reader of their fields, and a program that runs a policy's body on them.

The worlds lie in two maps with the same words: one is looked up with a helper (heavy reads, which leave junk in r2 to
r5), the other is addressed (light reads, which keep them). The context says which world.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Final, Self

from bpf.by_hand import load
from compiler.made_up_worlds import OBJECTS, OC, PATHS, TASKS, MadeUpWorld, objects_of
from oompolicy.bpf.assembly import Label, Line
from oompolicy.bpf.errors import VerifierError
from oompolicy.bpf.instructions import Alu, Call, Exit, Jump, Load, LoadMap, LoadMapValue, Store, add, move
from oompolicy.bpf.maps import Map, MapSpec, u32
from oompolicy.bpf.opcodes import R0, R1, R2, R3, R4, R5, R6, R7, R10, AluOp, JumpOp, Width
from oompolicy.bpf.programs import Program
from oompolicy.bpf.uapi import Helper, MapType
from oompolicy.compiler import ir
from oompolicy.compiler.arithmetic import COMM_WORDS, comm_word
from oompolicy.compiler.emit import ANSWER, FAULT, Emitted, emit
from oompolicy.compiler.emit.reader import FieldReader
from oompolicy.compiler.interp import Answer, Failure
from oompolicy.compiler.ir import BandNumber
from oompolicy.compiler.subset import FIELDS

U32, U64 = Width.U32, Width.U64
NAMES: Final = tuple(row.name for row in FIELDS if row.name != "task.comm") + COMM_WORDS
OFFSETS: Final = {name: 16 * index for index, name in enumerate(NAMES)}
STRIDE: Final = 16 * len(NAMES)
PRESENT, FAILS = 1, 2
_FIRST, _CONTEXT, _OTHER, _KEY = -8, -16, -24, -32
FRAME_TOP: Final = _KEY
_CONTEXT_WORDS: Final = struct.Struct("=QqqQ")  # the world's first object, r0, r1, is it a fault


class Worlds:
    """Many worlds, in the kernel. A context manager."""

    def __init__(self, worlds: Sequence[MadeUpWorld]) -> None:
        self.worlds = tuple(worlds)
        self.objects = OBJECTS * len(worlds) + 1  # references begin with 1
        words = b"".join([bytes(STRIDE), *(_object(world, n) for world in worlds for n in range(1, OBJECTS + 1))])
        self.looked_up = Map.create(MapSpec(MapType.ARRAY, "looked_up", 4, STRIDE, self.objects))
        self.looked_up.update_many(
            {u32(number): words[STRIDE * number : STRIDE * (number + 1)] for number in range(self.objects)}
        )
        self.addressed = Map.create(MapSpec(MapType.ARRAY, "addressed", 4, len(words), 1))
        self.addressed.update(u32(0), words)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.looked_up.close()
        self.addressed.close()

    def run(self, program: Program, emitted: Emitted, world: int) -> Answer | Failure:
        """What the program says in the kernel."""
        done = program.run(_CONTEXT_WORDS.pack(OBJECTS * world, 0, 0, 0))
        first, second, is_fault = (int(word) for word in _CONTEXT_WORDS.unpack(done.context)[1:])
        if is_fault:
            return emitted.places[first]
        band = BandNumber(first)
        return Answer(band, second if band is BandNumber.SCORE else 0)


def _object(world: MadeUpWorld, number: int) -> bytes:
    words = [0] * (2 * len(NAMES))
    for row in FIELDS:
        if row.name == "task.comm" or number not in objects_of(row):
            continue
        index = 2 * NAMES.index(row.name)
        word = world.words[number, row.name]
        if row.name == "memcg.is_under":
            word = sum(1 << (PATHS.index(up) + 32 if isinstance(up, str) else up) for up in world.under[number])
        flags = 0 if word is None else PRESENT
        words[index : index + 2] = [word or 0, flags | (FAILS if (number, row.name) in world.fails else 0)]
    if number in TASKS:
        for index, name in enumerate(COMM_WORDS):
            words[2 * NAMES.index(name)] = comm_word(world.comms[number], index)
    return struct.pack(f"={len(words)}q", *words)


class MapReader:
    """A FieldReader on these maps; which fields are light is left to the dice."""

    def __init__(self, worlds: Worlds, dice: random.Random) -> None:
        self._worlds = worlds
        self._light = {name for name in NAMES if dice.random() < 0.5}

    def is_light(self, field: str) -> bool:
        return field in self._light

    def read(self, field: str, argument: str | None, labels: str, fail: str) -> Iterator[Line]:
        yield from (Load(U64, R0, R10, _FIRST), Alu(AluOp.ADD, R1, R0))
        yield Jump(JumpOp.GE, R1, self._worlds.objects, fail)
        if self.is_light(field):
            yield from (Alu(AluOp.MUL, R1, STRIDE), LoadMapValue(R0, self._worlds.addressed.fileno()), add(R0, R1))
        else:
            if field == "memcg.is_under" and argument is None:
                yield Store(U64, R10, _OTHER, R2)
            yield from (Store(U32, R10, _KEY, R1), LoadMap(R1, self._worlds.looked_up.fileno()), move(R2, R10))
            yield from (add(R2, _KEY), Call(Helper.MAP_LOOKUP_ELEM), Jump(JumpOp.EQ, R0, 0, fail))
            yield from (move(register, 0x5A5A5A00 + register) for register in (R2, R3, R4, R5))
            if field == "memcg.is_under" and argument is None:
                yield Load(U64, R2, R10, _OTHER)
        yield from (Load(U64, R1, R0, OFFSETS[field] + 8), Jump(JumpOp.SET, R1, FAILS, fail))
        yield from (Alu(AluOp.AND, R1, PRESENT), Load(U64, R0, R0, OFFSETS[field]))
        if field == "memcg.is_under":
            by = R2 if argument is None else PATHS.index(argument) + 32
            yield from (Alu(AluOp.RSH, R0, by), Alu(AluOp.AND, R0, 1))


def caller(emitted: Emitted) -> list[Line]:
    """A program around a body: task and oc in, what it says into the context."""
    lines: list[Line] = [
        Store(U64, R10, _CONTEXT, R1),
        Load(U64, R2, R1, 0),
        Store(U64, R10, _FIRST, R2),
        move(R6, TASKS[0]),
        move(R7, OC),
        *emitted.lines,
    ]
    for label, is_fault in ((ANSWER, 0), (FAULT, 1)):
        if label in emitted.goes_to:
            lines.extend([Label(label), Load(U64, R2, R10, _CONTEXT), Store(U64, R2, 8, R0)])
            if label == ANSWER:
                lines.append(Store(U64, R2, 16, R1))
            lines.extend([move(R3, is_fault), Store(U64, R2, 24, R3), move(R0, 0), Exit()])
    return lines


def loaded(emitted: Emitted) -> Program:
    """The body in a program of the kernel. Raises VerifierError."""
    return load(caller(emitted), "policy")


def loaded_somehow(program: ir.Program, reader: FieldReader, forgets: bool = False) -> tuple[Emitted, Program]:
    """As the hook does: where the ways are too many for the verifier, so that it forgets. Raises VerifierError."""
    emitted = emit(program, reader, FRAME_TOP, forgets=forgets)
    try:
        return emitted, loaded(emitted)
    except VerifierError as error:
        if forgets or not error.has_too_many_ways:
            raise
    return loaded_somehow(program, reader, forgets=True)
