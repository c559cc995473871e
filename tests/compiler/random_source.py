"""Random policies over the whole language, as the text of a module.

random_policy(dice) -> text; its last policy is `example`. Every name keeps one type, and has a value from the start.
"""

from __future__ import annotations

import random
import textwrap

from compiler.random_expressions import (
    ANSWER_NAMES,
    INT_NAMES,
    MEMCG_NAMES,
    OPTIONAL_NAMES,
    TASK_NAMES,
    VERDICTS,
    Expressions,
)

HELPERS = ("of_numbers", "of_optional", "of_memcg", "of_task", "by_name", "may_be_absent")


def random_policy(dice: random.Random) -> str:
    """A module with constants, functions, and the policy `example`."""
    return "\n\n".join([_head(dice), *_functions(dice), _other_policy(dice), _Body(dice).policy()]) + "\n"


def _head(dice: random.Random) -> str:
    return "\n".join(
        [
            "from oompolicy import *",
            "from oompolicy.policies import priority_floor",
            "from oompolicy.policies.memcg_priority import memcg_priority",
            f"ZERO = 0\nSMALL = {dice.randint(1, 99)}\nBIG = 9223372036854775807\nLEAST = -BIG - 1",
            f"FLAG = {dice.choice([True, False])}",
            f"LONGS = ({dice.randint(0, 9)}, {dice.choice([1 << 31, -1, 1 << 62])}, SMALL)",
            f"NAME = {dice.choice(['sshd', 'post', 'a'])!r}\nNAMES = (NAME, 'eightly_', 'fifteen_letters*')",
        ]
    )


def _functions(dice: random.Random) -> list[str]:
    """One of each kind that Expressions calls."""
    condition = Expressions(dice, has_names=False).condition(0)
    read = f"memcg.{dice.choice(['depth', 'usage', 'id', 'low'])} // 3"
    value = dice.choice(["memcg.value or 2", "0"])
    total = f"task.{dice.choice(['uid', 'rss', 'pid'])} % 77 + oc.totalpages % 3 + {condition}"
    return [
        _of_numbers(dice),
        f"""@policy_function
def of_optional(value: int | None) -> int:
    return {dice.randint(0, 9)} if value is None else value % 1009""",
        f"""@policy_function
def of_memcg(memcg: Memcg | None) -> int:
    if memcg is None:
        return -1
    return {read} + ({value}) % 5""",
        f"""@policy_function
def of_task(task: Task | None, oc: OomControl) -> int:
    if task is None:
        return 0
    return {total.replace("task.badness", "task.uid")}""",
        """@policy_function
def by_name(task: Task, name: str) -> bool:
    if name.endswith('*'):
        return task.comm.startswith(name[:-1])
    return task.comm == name""",
        f"""@policy_function
def may_be_absent(x: int) -> int | None:
    for i in range(3):
        if x == i:
            return {dice.randint(0, 3)}""",
    ]


def _of_numbers(dice: random.Random) -> str:
    op = dice.choice(["x % 11 - y % 7", "min(x, y) // 2", "(x ^ y) >> 3", "abs(x % 9) * (y & 5)"])
    return (
        "@policy_function\ndef of_numbers(x: int, y: int = 3) -> int:\n"
        f"    if x {dice.choice(['<', '>', '=='])} y:\n        return {op}\n    y = x | 1\n    return y & 0xfff"
    )


def _other_policy(dice: random.Random) -> str:
    make = Expressions(dice, has_names=False, helpers=list(HELPERS))
    return (
        "@policy\ndef other(task: Task, oc: OomControl) -> int | Verdict:\n"
        f"    if {make.condition(1)}:\n        return {dice.choice(VERDICTS)}\n    return {make.number(2)}"
    )


class _Body:
    """The statements of the policy."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.make = Expressions(dice, helpers=list(HELPERS), policies=["other", "memcg_priority"])
        self.loops = 0

    def policy(self) -> str:
        """The whole function."""
        lines = ['"""Made up."""', *self._first_values()]
        for _ in range(self.dice.randint(2, 6)):
            lines += self.statement(2)
        lines.append(f"return {self.make.answer(2)}")
        if self.dice.random() < 0.1:
            lines.append("a = 1  # never reached")
        head = "@policy\ndef example(task: Task, oc: OomControl) -> int | Verdict:\n"
        return head + textwrap.indent("\n".join(lines), "    ")

    def _first_values(self) -> list[str]:
        early = Expressions(self.dice, has_names=False, helpers=list(HELPERS))
        lines = [f"{name} = {early.number(1)}" for name in INT_NAMES[:2]]
        lines.append(f"{INT_NAMES[2]} = {INT_NAMES[3]} = {early.constant()}")
        lines += [f"{name}: int | None = {early.optional()}" for name in OPTIONAL_NAMES]
        lines += [f"{name} = {early.memcg()}" for name in MEMCG_NAMES]
        lines += [f"{name} = {early.task()}" for name in TASK_NAMES]
        lines += [f"{name} = {early.answer(1)}" for name in ANSWER_NAMES]
        return lines

    def block(self, depth: int) -> list[str]:
        """Some statements, indented."""
        lines = [line for _ in range(self.dice.randint(1, 2)) for line in self.statement(depth)]
        return [f"    {line}" for line in lines]

    def statement(self, depth: int) -> list[str]:
        """One statement, in lines."""
        simple = [*(4 * [self._assign]), self._augment, self._other_assign, self._effect]
        if self.loops:
            simple += [self._leave_loop]
        if depth <= 0:
            return self.dice.choice(simple)()
        return self.dice.choice([*simple, *(3 * [lambda: self._if(depth - 1)]), lambda: self._for(depth - 1),
                                 self._return])()  # fmt: skip

    def _assign(self) -> list[str]:
        name, number = self.dice.choice(INT_NAMES), self.make.number(3)
        if self.dice.random() < 0.5:
            number = self.dice.choice([f"{number} & 0xffffff", f"min(max({number}, -LONGS[0]), 1 << 40)"])
        return [f"{name}{self.dice.choice(['', ': int'])} = {number}"]

    def _augment(self) -> list[str]:
        op = self.dice.choice(["+=", "-=", "*=", "//=", "%=", "&=", "|=", "^=", "<<=", ">>="])
        name = self.dice.choice(INT_NAMES)
        if op in ("<<=", ">>="):
            return [f"{name} %= 8192", f"{name} {op} {self.make.number(1)} & 15"]
        if op in ("//=", "%="):
            return [f"{name} {op} {self.make.number(1)} | 1"]
        return [f"{name} >>= 34", f"{name} {op} {self.make.number(1)} & 0xffff"]

    def _other_assign(self) -> list[str]:
        pick, make = self.dice.choice, self.make
        values: list[tuple[tuple[str, ...], str]] = [
            (OPTIONAL_NAMES, pick([make.optional(), make.number(1), "None"])),
            (MEMCG_NAMES, pick([make.memcg(), make.memcg(), "None"])),
            (TASK_NAMES, make.task()),
            (ANSWER_NAMES, make.answer(1)),
            (ANSWER_NAMES, f"{make.number(1)} and {pick(VERDICTS)}"),
            (ANSWER_NAMES, f"{pick(ANSWER_NAMES)} {pick(['and', 'or'])} {make.number(1)}"),
        ]
        names, value = pick(values)
        return [f"{pick(names)} = {value}"]

    def _effect(self) -> list[str]:
        return [self.dice.choice(["pass", self.make.condition(1), f"{self.make.memcg()} is None"])]

    def _return(self) -> list[str]:
        if self.dice.random() < 0.15:
            absent = self.dice.choice(["return", "return None", *(2 * [f"return {self.make.optional()}"])])
            return [f"if {self.make.condition(1)}:", f"    {absent}"]
        return [f"if {self.make.condition(1)}:", f"    return {self.make.answer(1)}"]

    def _if(self, depth: int) -> list[str]:
        tests = [self.make.condition(2), self.make.condition(2), self.make.number(1), self.dice.choice(ANSWER_NAMES)]
        lines = [f"if {self.dice.choice([*tests, self.make.optional()])}:", *self.block(depth)]
        if self.dice.random() < 0.3:
            lines += [f"elif {self.make.condition(1)}:", *self.block(depth)]
        if self.dice.random() < 0.5:
            lines += ["else:", *self.block(depth)]
        return lines

    def _for(self, depth: int) -> list[str]:
        name = f"i{self.loops}"
        counted = self.dice.choice(
            ["range(3)", "range(2, 5)", "range(5, 0, -2)", "LONGS", "(1, SMALL, -1)", "NAMES", "()"]
        )
        names = self.make.text_names if counted == "NAMES" else self.make.loop_names
        names.append(name)
        self.loops += 1
        body = self.block(depth)
        self.loops -= 1
        names.remove(name)
        lines = [f"for {name} in {counted}:", *body]
        if self.dice.random() < 0.3:
            lines += ["else:", *self.block(depth)]
        return lines

    def _leave_loop(self) -> list[str]:
        return [f"if {self.make.condition(1)}:", f"    {self.dice.choice(['break', 'continue'])}"]
