"""Random expressions of the language, typed: numbers, absent numbers, memcgs, tasks, answers.

Most are kept from faulting (small operands, tests before a reference is read), a share of each kind is not.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from compiler.made_up_worlds import COMMS, LONGS, PATHS
from oompolicy.compiler.subset import FIELDS, FieldKind

INT_NAMES: Final = ("a", "b", "c", "d")
OPTIONAL_NAMES: Final = ("o", "p")
MEMCG_NAMES: Final = ("m", "k")
TASK_NAMES: Final = ("t",)
ANSWER_NAMES: Final = ("v", "w")
VERDICTS: Final = ("KILL", "DEFER", "SPARE", "Verdict.KILL", "Verdict.SPARE")
INT_CONSTANTS: Final = ("ZERO", "SMALL", "BIG", "LEAST", "FLAG")
TEXTS: Final = (
    '"sshd"',
    '"postgre"',
    '"a"',
    '"fifteen_letters"',
    '"sixteen__letters"',
    '"eightly_"',
    "NAME",
    "NAMES[0]",
)
_UNSAFE: Final = 0.04  # of the places where a fault is possible


def fields_of(base: str, *kinds: FieldKind) -> list[str]:
    """The names of the fields of such kinds."""
    return [row.name.partition(".")[2] for row in FIELDS if row.name.startswith(f"{base}.") and row.kind in kinds]


_TASK_INTS: Final = fields_of("task", FieldKind.INT, FieldKind.BOOL)
_MEMCG_INTS: Final = fields_of("memcg", FieldKind.INT, FieldKind.BOOL)
_OC_INTS: Final = fields_of("oc", FieldKind.INT, FieldKind.BOOL)


@dataclass
class Expressions:
    """Makes expressions; `loop_names` are the ints that a loop has set where we are, `helpers` what may be called."""

    dice: random.Random
    loop_names: list[str] = field(default_factory=list)
    text_names: list[str] = field(default_factory=list)
    helpers: list[str] = field(default_factory=list)
    policies: list[str] = field(default_factory=list)
    has_names: bool = True  # are the local names of a policy's body there?

    def _unsafe(self) -> bool:
        return self.dice.random() < _UNSAFE

    def number(self, depth: int) -> str:
        """An int."""
        if depth <= 0:
            return self.leaf()
        makers: list[Callable[[int], str]] = [
            *(3 * [self._arithmetic]),
            *(2 * [self._conditional, self._extreme, self.condition, self._read]),
            *(self._signed, self._bits, self._shift, self._division, self._and_or, self._optional_or, self._call),
        ]
        return self.dice.choice(makers)(depth - 1)

    def leaf(self) -> str:
        """An int without a part."""
        choices: list[Callable[[], str]] = [self.constant, self.name, self.name, lambda: self._read(0)]
        return self.dice.choice(choices)()

    def name(self) -> str:
        """A local name that holds an int, or a field that is always there."""
        names: list[str] = [
            *self.loop_names,
            *(INT_NAMES if self.has_names else ("task.pid", "oc.order", "task.oom_score_adj")),
        ]
        return self.dice.choice(names)

    def constant(self) -> str:
        """A number that is known."""
        if self.dice.random() < 0.15:
            return self.dice.choice([str(self.dice.choice(LONGS)), *INT_CONSTANTS, "LONGS[1]", "len(NAMES)", "True"])
        return self.dice.choice(
            [str(self.dice.randint(-9, 300)), "SMALL", "ZERO", "LONGS[0]", "FLAG", "priority_floor.FLOOR_PAGES"]
        )

    def _small(self, depth: int) -> str:
        """An int that is small, mostly."""
        number = self.number(depth)
        if self._unsafe():
            return number
        kept = [f"({number} & 0xffff)", f"({number} % 1000)", f"({number} % -1000)", f"({number} >> 48)"]
        return self.dice.choice([*kept, f"min(max({number}, -5000), 5000)"])

    def _arithmetic(self, depth: int) -> str:
        # One side is no constant: what is constant altogether must fit, and is tested elsewhere.
        left, right = self._small(depth), self._small(depth)
        left = f"({self.name()} % 4096 ^ {left})" if self.dice.random() < 0.2 else left
        return f"({self.varying(left)} {self.dice.choice(['+', '-', '*', '+', '-'])} {right})"

    def varying(self, number: str) -> str:
        """The same where it depends on the task, or else something that does."""
        known = not any(name in number for name in ("task", "oc", *(self._locals()), "("))
        return f"({self.name()} % 64)" if known or ("(" in number and not self._mentions(number)) else number

    def _locals(self) -> list[str]:
        return [*self.loop_names]

    def _mentions(self, number: str) -> bool:
        words = "".join(letter if letter.isalnum() or letter == "_" else " " for letter in number).split()
        mine = {"task", "oc", *self.loop_names, *(INT_NAMES if self.has_names else ())}
        return bool(mine & set(words))

    def _signed(self, depth: int) -> str:
        number = self.varying(self._small(depth))
        return self.dice.choice([f"(-{number})", f"(+{number})", f"(~{number})", *(2 * [f"abs({number} - 99)"])])

    def _bits(self, depth: int) -> str:
        return f"({self.varying(self.number(depth))} {self.dice.choice('&|^')} {self.number(depth)})"

    def _shift(self, depth: int) -> str:
        count = self.number(depth) if self._unsafe() else f"({self.number(depth)} & {self.dice.choice([3, 7, 63])})"
        if self.dice.random() < 0.5:
            return f"({self.varying(self.number(depth))} >> {count})"
        return f"({self.varying(self._small(depth))} << ({count} & 31))"

    def _division(self, depth: int) -> str:
        divisor = self.number(depth) if self._unsafe() else self.dice.choice([f"({self.number(depth)} | 3)", "7", "-5"])
        return f"({self.varying(self.number(depth))} {self.dice.choice(['//', '%'])} {divisor})"

    def _extreme(self, depth: int) -> str:
        parts = [self.number(depth) for _ in range(self.dice.choice([2, 2, 3]))]
        return f"{self.dice.choice(['min', 'max'])}({', '.join(parts)})"

    def _conditional(self, depth: int) -> str:
        return f"({self.number(depth)} if {self.condition(depth)} else {self.number(depth)})"

    def _and_or(self, depth: int) -> str:
        return f"({self.number(depth)} {self.dice.choice(['and', 'or'])} {self.number(depth)})"

    def _optional_or(self, depth: int) -> str:
        if self._unsafe():
            answers: list[str] = [*(ANSWER_NAMES if self.has_names else ()), self.optional()]
            return f"(({self.dice.choice(answers)} if task.uid % 3 else 2) + 1)"
        return f"({self.optional()} or {self.number(depth)})"

    def _call(self, depth: int) -> str:
        if not self.helpers:
            return self.leaf()
        arguments: dict[str, Callable[[], str]] = {
            "of_numbers": lambda: self.dice.choice([f"{self.number(depth)}, ", "y=5, x="]) + self.number(depth),
            "of_optional": lambda: f"value={self.optional()}",
            "of_memcg": self.memcg,
            "of_task": lambda: f"{self.task()}, oc",
            "by_name": lambda: self.dice.choice(TEXTS),
            "may_be_absent": lambda: self.number(depth),
        }
        name = self.dice.choice(self.helpers)
        call = f"{name}({('task, ' if name == 'by_name' else '')}{arguments[name]()})"
        return f"({call} or 1)" if name == "may_be_absent" else call

    def condition(self, depth: int) -> str:
        """A bool."""
        if depth <= 0:
            return self.dice.choice([self._comparison, self._comm, self._is_none])(0)
        makers = [
            *(3 * [self._comparison]),
            *(2 * [self._comm, self._is_none]),
            *(self._chain, self._among, self._joined, self._not, self._under, self._answered, self._equal_optional),
        ]
        return self.dice.choice(makers)(depth - 1)

    def _comparison(self, depth: int) -> str:
        return f"({self.number(depth)} {self.dice.choice(['<', '<=', '>', '>=', '==', '!='])} {self.number(depth)})"

    def _chain(self, depth: int) -> str:
        return f"({self.number(depth)} {self.dice.choice(['<', '!='])} {self.number(depth)} <= {self.number(depth)})"

    def _among(self, depth: int) -> str:
        items = self.dice.choice(["LONGS", "(0, 1, BIG)", "(None, 3, 7)", "()"])
        value = self.optional() if self.dice.random() < 0.3 else self.number(depth)
        return f"({value} {self.dice.choice(['in', 'not in'])} {items})"

    def _joined(self, depth: int) -> str:
        return f"({self.condition(depth)} {self.dice.choice(['and', 'or'])} {self.condition(depth)})"

    def _not(self, depth: int) -> str:
        things: list[str] = [self.number(depth), self.optional(), *(ANSWER_NAMES if self.has_names else ())]
        return f"(not {self.dice.choice(things)})"

    def _equal_optional(self, depth: int) -> str:
        other = self.dice.choice([self.optional(), self.number(depth), "None"])
        return f"({self.optional()} {self.dice.choice(['==', '!='])} {other})"

    def _answered(self, depth: int) -> str:
        if not self.has_names:
            return self._comparison(depth)
        name = self.dice.choice(ANSWER_NAMES)
        return self.dice.choice(
            [f"({name} is {self.dice.choice(VERDICTS)})", f"({name} != {self.number(depth)})", f"({name} is not DEFER)"]
        )

    def _is_none(self, depth: int) -> str:
        thing = self.dice.choice([self.optional, self.memcg, self.task])()
        return f"({thing} {self.dice.choice(['is', 'is not'])} None)"

    def _comm(self, depth: int) -> str:
        base = self.dice.choice(["task", "task", *([] if not self.has_names else TASK_NAMES)])
        names = ", ".join(repr(comm.decode()) for comm in self.dice.sample([comm for comm in COMMS if comm], 2))
        text = self.dice.choice([*TEXTS, *self.text_names])
        test = self.dice.choice(
            [
                *(f"{base}.comm {op} {text}" for op in ("==", "!=")),
                *(f"{base}.comm {op} {items}" for op in ("in", "not in") for items in ("NAMES", f"({names})")),
                *(f"{base}.comm.startswith({text})", f'{base}.comm.startswith(("s", {text}))'),
            ]
        )
        return f"({test})" if base == "task" or self._unsafe() else f"({base} is not None and {test})"

    def _under(self, depth: int) -> str:
        memcg, other = self.memcg(), self.memcg()
        tests = [f"{memcg} is not None"]
        path = self.dice.random() < 0.6
        if not path:
            tests.append(f"{other} is not None")
        if self._unsafe():
            tests = ["True"]
        argument = repr(self.dice.choice([*PATHS, "/"])) if path else other
        return f"({' and '.join([*tests, f'{memcg}.is_under({argument})'])})"

    def _read(self, depth: int) -> str:
        """A field; its numbers are made small mostly, as most are huge."""
        kind = self.dice.choice(["task", "task", "memcg", "memcg", "oc", "trigger"])
        if kind == "task":
            read = f"task.{self.dice.choice(_TASK_INTS)}"
        elif kind == "oc":
            read = f"oc.{self.dice.choice(_OC_INTS)}"
        else:
            base = self.memcg() if kind == "memcg" else self.task()
            names = _MEMCG_INTS if kind == "memcg" else [name for name in _TASK_INTS if name != "badness"]
            read = self._through(base, self.dice.choice(names), self.constant())
        return read if self.dice.random() < 0.3 else f"({read} % {self.dice.choice([97, 4096, 1 << 40])})"

    def _through(self, base: str, name: str, otherwise: str) -> str:
        return f"{base}.{name}" if self._unsafe() else f"({base}.{name} if {base} is not None else {otherwise})"

    def optional(self) -> str:
        """An int or None."""
        kind = self.dice.choice(["task", "memcg", "name", "name"])
        if kind == "name" and self.has_names:
            return self.dice.choice(OPTIONAL_NAMES)
        return self._through(self.memcg(), "value", "None") if kind == "memcg" else "task.value"

    def memcg(self) -> str:
        """A memcg or None."""
        bases: list[str] = ["task.memcg", "oc.memcg", *(2 * MEMCG_NAMES if self.has_names else ())]
        base = self.dice.choice(bases)
        return self._through(base, "parent", "None") if self.dice.random() < 0.2 else base

    def task(self) -> str:
        """A task or None."""
        names: list[str] = ["task", "oc.trigger", *(TASK_NAMES if self.has_names else ())]
        return self.dice.choice(names)

    def answer(self, depth: int) -> str:
        """An int or a verdict."""
        choices: list[str] = [
            self.number(depth),
            self.number(depth),
            self.dice.choice(VERDICTS),
            f"({self.number(depth)} if {self.condition(depth)} else {self.dice.choice(VERDICTS)})",
            *(f"{name}(task, oc)" for name in self.policies),
            *(ANSWER_NAMES if self.has_names else ()),
        ]
        return self.dice.choice(choices)
