"""docs/language.md, made from the tables of subset.py:  python -m oompolicy.compiler.document > docs/language.md

Belongs here: the page's text around the tables. Must not know: how anything is translated.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import Final

from oompolicy.compiler.examples import module_of, policy_of
from oompolicy.compiler.frontend import compile_to_ir
from oompolicy.compiler.frontend.builder import MOST_STEPS
from oompolicy.compiler.frontend.context import MOST_ITERATIONS
from oompolicy.compiler.subset import ACCEPTED, FIELDS, REFUSED, Accepted, Field, FieldKind, Refused
from oompolicy.errors import CompileError, Refusal

_INTRO: Final = """\
# The language of policies

A policy is Python, and runs unchanged in the interpreter; what can be compiled for the kernel is described here.
Anything else is refused, with its place, the reason and what to do, all that there is in one go:

```
policy.py:7:12: a list is not available in the kernel: use a tuple of constants
```

This page is made from the tables of `src/oompolicy/compiler/subset.py`, by `python -m oompolicy.compiler.document`.
"""

_FIELDS: Final = """\
## What a policy reads

Memory is in pages. `None` is tested with `is None`; to read a field of what is `None`, or to calculate with it, is a
fault.
"""

_GROUPS: Final = (
    ("task", "`task.`, and where it is not `None`, `oc.trigger.`"),
    ("memcg", "`task.memcg.`, `oc.memcg.`, and any `.parent.`"),
    ("oc", "`oc.`"),
)

_NUMBERS: Final = f"""\
## Numbers, and faults

Numbers are Python's as long as they fit into signed 64 bits: `//` and `%` round down, `>>` keeps the sign, a bool is
1 or 0. A fault ends the policy for this task, and counts as `DEFER`. It is one in the kernel, on a snapshot and on a
report alike:

- a result beyond 64 bits, of each operation on its own; an expression of constants alone is computed exactly, and
  only its result must fit
- division by zero, a shift by a negative count
- arithmetic or `<` with `None` or a verdict, a field of `None`, the end of the policy without a `return`
- a read that fails (marked in the tables), or of a field that the source does not have

`==` with `None` or a verdict is no fault: it does not hold. Loops are unrolled and calls inlined, so a program always
ends; there may be {MOST_ITERATIONS:,} turns of all loops together, and {MOST_STEPS:,} steps. Code that no way leads
to is left out.
"""

_ACCEPTED: Final = """\
## What it is written in

In the examples `LIMIT`, `NAME`, `UIDS` are constants of the module (a number, a text, a tuple of numbers), `at_most`
is a function marked `@policy_function`.
"""

_REFUSED: Final = """\
## What is refused

| for example | why | what to do |
|---|---|---|
"""

_KINDS: Final = {
    FieldKind.INT: "a number",
    FieldKind.BOOL: "True or False",
    FieldKind.OPTIONAL_INT: "a number or `None`",
    FieldKind.COMM: "a name",
    FieldKind.MEMCG: "a memcg or `None`",
    FieldKind.TASK: "a task or `None`",
    FieldKind.IS_UNDER: "True or False",
}


def language_page() -> str:
    """The whole page."""
    return "\n".join(
        [
            _INTRO,
            _FIELDS,
            *(f"{_field_table(group, head)}\n" for group, head in _GROUPS),
            _ACCEPTED,
            *map(_accepted, ACCEPTED),
            _NUMBERS,
            _REFUSED + "\n".join(_refused_rows(REFUSED.values())),
            "",
        ]
    )


def _field_table(group: str, head: str) -> str:
    rows = [field for field in FIELDS if field.name.startswith(f"{group}.")]
    return "\n".join([f"| {head} | | |", "|---|---|---|", *map(_field_row, rows)])


def _field_row(field: Field) -> str:
    name = field.name.partition(".")[2] + ("(other)" if field.kind is FieldKind.IS_UNDER else "")
    remarks = (" The read can fail." if field.can_fail else "") + (
        " Of the task being ranked alone." if field.candidate_only else ""
    )
    return f"| `{name}` | {_KINDS[field.kind]} | {field.doc}{remarks} |"


def _accepted(construct: Accepted) -> str:
    return f"**{construct.name}**: {construct.meaning}\n\n```python\n{construct.example}\n```\n"


def _refused_rows(rows: Iterable[Refused]) -> Iterator[str]:
    for row in rows:
        if row.example:
            lines = "<br>".join(f"`{_shortened(line)}`" for line in row.example.splitlines())
            refusal = _refusal_of(row.example)
            yield f"| {lines} | {_escaped(refusal.why)} | {_escaped(refusal.hint or '')} |"


def _refusal_of(example: str) -> Refusal:
    try:
        compile_to_ir(policy_of(module_of(example)))
    except CompileError as error:
        return error.refusals[0]
    raise AssertionError(f"{example} is not refused")


def _shortened(line: str) -> str:
    # A code span begins and ends with what is no space.
    indent = len(line) - len(line.lstrip())
    text = line.strip() if len(line) < 80 else f"{line.strip()[:60]} …"
    return "\u00a0" * indent + text.replace("|", "\\|")


def _escaped(said: str) -> str:
    """Not to be taken for markup."""
    return said.replace("|", "\\|").replace("*", "\\*").replace("<", "&lt;")


if __name__ == "__main__":
    sys.stdout.write(language_page())
