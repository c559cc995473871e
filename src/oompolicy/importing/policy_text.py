"""A policy's source, made of clauses: what another tool calls preferences.

Belongs here: how such a file is laid out, in the language of docs/language.md where that suffices.
Must not know: which tool the clauses came from.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from oompolicy.importing.imported import plain
from oompolicy.importing.names import Names

WIDTH = 120

# /proc/PID/oom_score is (1000 + badness * 1000 / totalpages) * 2 / 3 since commit 9066e5cfb73c "mm, oom: make the
# calculation of oom badness more accurate" (in v5.9): one of its points is 3/2 thousandths of the scope.
THOUSANDTHS_PER_TWO_POINTS = 3


@dataclass(frozen=True, slots=True)
class Constant:
    """A constant of the module; is_regex: a compiled expression, which user space alone can use."""

    name: str
    value: tuple[str, ...] | tuple[int, ...] | str | int
    comment: str
    is_regex: bool = False


@dataclass(frozen=True, slots=True)
class Clause:
    """One step: `if test:` the statement; the constants that it needs."""

    test: str
    statement: str
    constants: tuple[Constant, ...] = ()


def add_points(oom_score_points: int) -> str:
    """The statement that adds what another tool adds to /proc/PID/oom_score.

    >>> add_points(300), add_points(-200)
    ('points += 450 * (oc.totalpages // 1000)', 'points -= 300 * (oc.totalpages // 1000)')
    """
    sign = "-" if oom_score_points < 0 else "+"
    return f"points {sign}= {abs(thousandths(oom_score_points))} * (oc.totalpages // 1000)"


def thousandths(oom_score_points: int) -> int:
    """The same as thousandths of the scope's memory.

    >>> thousandths(300), thousandths(-201)
    (450, -301)
    """
    found = abs(oom_score_points) * THOUSANDTHS_PER_TWO_POINTS // 2
    return -found if oom_score_points < 0 else found


def name_clauses(names: Names, constant: str, comment: str, statement: str, and_also: str = "") -> list[Clause]:
    """The clauses that test a process's name for a list of names."""
    clauses = []
    if names.exact:
        found = Constant(constant, names.exact, comment)
        clauses.append(Clause(f"task.comm in {constant}{and_also}", statement, (found,)))
    if names.starts:
        plural = f"{constant}_STARTS"
        tests = " or ".join(f"task.comm.startswith({plural}[{i}])" for i in range(len(names.starts)))
        if and_also and len(names.starts) > 1:
            tests = f"({tests})"
        clauses.append(Clause(f"{tests}{and_also}", statement, (Constant(plural, names.starts, comment),)))
    return clauses


def regex_clause(regex: str, constant: str, comment: str, statement: str, and_also: str = "") -> Clause:
    """The clause that searches a process's name, as the other tool does: for user space alone."""
    test = f"{constant}.search(task.comm) is not None{and_also}"
    return Clause(test, statement, (Constant(constant, regex, comment, is_regex=True),))


def policy_source(
    name: str,
    doc: str,
    clauses: Sequence[Clause],
    last: str,
    *,
    start: str = "task.badness",
) -> str:
    """The whole file; start is what `points` begins with, last what is returned in the end."""
    constants = [constant for clause in clauses for constant in clause.constants]
    is_compiled = not any(constant.is_regex for constant in constants)
    lines = [f'"""{doc}', "", f"Belongs here: {name}. Must not know: anything but the policy API.", '"""', ""]
    if not is_compiled:
        lines += ["import re", ""]
    lines += ["from oompolicy import *", ""]
    for constant in constants:
        lines += _constant(constant)
    where = "it can go into the kernel" if is_compiled else "in user space alone: expressions do not compile"
    lines += ["", "", "@policy", f"def {name}(task: Task, oc: OomControl) -> int | Verdict:"]
    lines += [f'    """{doc}', "", f"    Ready: yes; {where}.", '    """']
    if "points" in last or any("points" in clause.statement for clause in clauses):
        lines.append(f"    points = {start}")
    for clause in clauses:
        lines += [*_test(clause.test), f"        {clause.statement}"]
    return "\n".join([*lines, f"    return {last}", ""])


def _test(test: str) -> list[str]:
    line = f"    if {test}:"
    if len(line) <= WIDTH:
        return [line]
    parts = test.split(" or ")
    return ["    if (", f"        {parts[0]}", *(f"        or {part}" for part in parts[1:]), "    ):"]


def _constant(constant: Constant) -> list[str]:
    comment = [f"# {line}" for line in _wrapped(plain(constant.comment), WIDTH - 2)]
    if constant.is_regex:
        return [*comment, f"{constant.name} = re.compile({_literal(constant.value)})"]
    whole = f"{constant.name} = {_literal(constant.value)}"
    if len(whole) <= WIDTH or isinstance(constant.value, str | int):
        return [*comment, whole]
    # Not wrapped as prose is: a name may have blanks of its own.
    return [*comment, f"{constant.name} = (", *(f"    {_literal(item)}," for item in constant.value), ")"]


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)


def _literal(value: object) -> str:
    """Python's literal, texts in double quotes.

    >>> _literal(("a", "b")), _literal(("a",)), _literal((1, 2))
    ('("a", "b")', '("a",)', '(1, 2)')
    """
    if isinstance(value, tuple):
        return f"({', '.join(map(_literal, value))}{',' if len(value) == 1 else ''})"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)
