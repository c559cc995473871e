"""Worlds of objects and fields, made up at random, for programs of the IR: one for the interpreter and for BPF alike.

A reference is an object's number, from 1: tasks, then memcgs in a tree, then the OOM. What a field gives is a word, or
absent, or a read that fails.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Final

from oompolicy.compiler.interp import World
from oompolicy.compiler.subset import COMM_BYTES, FIELDS, Field, FieldKind
from oompolicy.mm.limits import LONG_MAX, LONG_MIN
from oompolicy.policy.view import FailedReadError

TASKS: Final = (1, 2, 3)
MEMCGS: Final = (4, 5, 6, 7, 8, 9)
OC: Final = 10
OBJECTS: Final = 10
PATHS: Final = ("/a", "/a/b", "/c")
COMMS: Final = (
    b"sshd",
    b"postgres",
    b"postgre",
    b"a",
    b"fifteen_letters",
    b"fifteen_lettert",
    b"sevenly",
    b"eightly_",
    b"",
)
LONGS: Final = (
    *(0, 1, -1, 2, 3, 7, -7, 62, 63, 64, 65, 1000, -1000, 4096, (1 << 31) - 1, 1 << 31, -(1 << 31), -(1 << 31) - 1),
    *((1 << 32) - 1, 1 << 32, -(1 << 32), 3037000499, 3037000500, -3037000500, 1 << 61, 1 << 62, -(1 << 62)),
    *(LONG_MAX, LONG_MAX - 1, LONG_MIN, LONG_MIN + 1),
)


@dataclass(frozen=True, slots=True)
class MadeUpWorld(World):
    """words: (object, field) -> what it gives; None is absent. fails: what cannot be read."""

    words: dict[tuple[int, str], int | None]
    comms: dict[int, bytes]
    under: dict[int, frozenset[int | str]]  # of a memcg: the memcgs and paths it is under
    fails: frozenset[tuple[int, str]] = field(default=frozenset())

    def read(self, field: str, base: object, argument: object) -> object:
        assert isinstance(base, int)
        if (base, field) in self.fails:
            raise FailedReadError(field)
        if field == "task.comm":
            return self.comms[base]
        if field == "memcg.is_under":
            return argument in self.under[base]
        return self.words[base, field]


def made_up_world(dice: random.Random) -> MadeUpWorld:
    """With extreme numbers, missing references and failing reads in it."""
    words: dict[tuple[int, str], int | None] = {}
    parents = {memcg: dice.choice([None, *MEMCGS[:index]]) for index, memcg in enumerate(MEMCGS)}
    fails = set()
    for row in FIELDS:
        for number in objects_of(row):
            words[number, row.name] = parents[number] if row.name == "memcg.parent" else _word(row, dice)
            if row.can_fail and dice.random() < 0.05:
                fails.add((number, row.name))
    comms = {task: _comm(dice) for task in TASKS}
    return MadeUpWorld(words, comms, _under(parents, dice), frozenset(fails))


def objects_of(row: Field) -> tuple[int, ...]:
    """The objects that have a field."""
    return {"task": TASKS, "memcg": MEMCGS, "oc": (OC,)}[row.name.partition(".")[0]]


def _word(row: Field, dice: random.Random) -> int | None:
    match row.kind:
        case FieldKind.COMM | FieldKind.IS_UNDER:
            return 0
        case FieldKind.MEMCG:
            return dice.choice([None, *MEMCGS, *MEMCGS])
        case FieldKind.TASK:
            return dice.choice([None, *TASKS])
        case FieldKind.OPTIONAL_INT if dice.random() < 0.3:
            return None
    return number_between(row.least, row.greatest, dice)


def number_between(least: int, greatest: int, dice: random.Random) -> int:
    """Small ones, the ends, and what is just beyond a power of two, as often as anything."""
    for _ in range(3):
        number = dice.choice([least, greatest, dice.choice(LONGS), dice.choice(LONGS), dice.randint(-100, 100)])
        if least <= number <= greatest:
            return number
    return dice.randint(least, greatest)


def _comm(dice: random.Random) -> bytes:
    """16 bytes; what stands after the NUL is anything."""
    name = dice.choice(COMMS)
    rest = dice.choice([bytes(COMM_BYTES), dice.randbytes(COMM_BYTES)])
    return (name + b"\0" + rest)[: COMM_BYTES - 1] + b"\0"


def _under(parents: dict[int, int | None], dice: random.Random) -> dict[int, frozenset[int | str]]:
    homes = {path: dice.choice(MEMCGS) for path in PATHS}
    under = {}
    for memcg in MEMCGS:
        line: list[int | str] = []
        above: int | None = memcg
        while above is not None:
            line.append(above)
            above = parents[above]
        line.extend([path for path, home in homes.items() if home in line])
        under[memcg] = frozenset(line)
    return under
