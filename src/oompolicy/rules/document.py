"""docs/conditions.md, from the tables of conditions:  python -m oompolicy.rules.document > docs/conditions.md

Belongs here: the page's text around the tables. Must not know: how anything is judged.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Final

from oompolicy.rules.fields import FIELDS, RESOURCES, Field
from oompolicy.rules.judge import APART_MS
from oompolicy.rules.vocabulary import CONSTANTS, FUNCTIONS, RANKING

_LANGUAGE: Final = """\
# Conditions

The `when` of a [rule](rules.md): one line in Python's syntax, which is parsed and never run. There are comparisons
(`1 < x <= 5` too), `and`, `or`, `not`, `+ - * /`, parentheses, the fields below, and:

| function | is |
|---|---|
{functions}
Percent are plain numbers. Amounts are in MiB and times in seconds, so that {constants} can be
written after a number: `2 * GiB`. Comparing MiB with percent is refused, and so is a name that does not exist, with its
place and the nearest one:

```
oompolicy: /etc/oompolicy/oompolicy.toml:3:9: there is no field mem_avail_percent
    when = "mem_avail_percent < 5"
            ^
  did you mean mem_available_percent?
```

What is not known (no swap controller, no pressure of this kind, no memory.max) is neither above nor below anything: a
comparison with it does not hold, and neither does its opposite. The log says so once.

"The look before" is at least {apart} s ago; longer where nothing was going on, since the daemon sleeps until something
may have become true. A condition on pressure costs nothing until there is some; one on a level is looked at the more
rarely the further away it is; what counts a cgroup's events when it changes; `rate()`, `growth()` of anything else and
reclaim every second, the number of dying cgroups every 10 s. Of parts joined by `and`, the cheapest that is false is
waited for. What has begun to last is looked at every second, or four times in its
span if that is sooner: where A is often true, write `lasts(A and B, 5)` rather than `lasts(A, 5) and B`. What must not
have lasted, and has, is looked at every 15 s.

This page is made from the tables of `src/oompolicy/rules/fields.py` and `vocabulary.py`, by
`python -m oompolicy.rules.document`.

## Other cgroups

`of("/system.slice", cgroup.psi.memory.full.avg10 > 40)` asks about a cgroup that is not the rule's scope. The patterns
are those of a [scope](rules.md#keys-of-rule). `lasts()` may stand outside, where it may be another of them at each
look, or inside, where it is one of them all the time. Where there is no such cgroup it is false, and `not of(…)` true.
A rule that asks this is about the machine's memory: while its order is carried out no other rule gives one.

## Cgroups compared

The `by` of a rule is a number for each cgroup of its `among`: fields of the cgroup and of the machine, functions and
arithmetic as above, and:

| in `by` | is |
|---|---|
{ranking}
The largest number goes first. Of a list of numbers the first that differs decides. What is not known comes last.

```toml
by = "cgroup.swap_mib"
by = "rate(cgroup.io_mib)"
by = "cgroup.current_mib / (cgroup.current_mib - growth(cgroup.current_mib, 15))"
by = ["cgroup.swap_mib if cgroup.swap_mib > total(cgroup.swap_mib) / 2 else 0", "cgroup.current_mib"]
```

## Fields of the machine

| field | unit | is | from /proc |
|---|---|---|---|
{machine}
## Fields of a cgroup

The rule's scope; within `of()` and `by` the cgroup that is asked about. Where it has no such file, or that says `max`,
the field is not known.

| field | unit | is | from |
|---|---|---|---|
{cgroup}"""


def conditions_page() -> str:
    """The whole page."""
    parts = {
        "functions": "".join(f"| `{row.call}` | {row.doc} |\n" for row in FUNCTIONS.values()),
        "ranking": "".join(f"| `{row.call}` | {row.doc} |\n" for row in RANKING.values()),
        "constants": ", ".join(f"`{name}`" for name in CONSTANTS),
        "apart": f"{APART_MS / 1000:g}",
        "machine": "".join(_rows(field for field in FIELDS if not field.is_of_cgroup)),
        "cgroup": "".join(_rows(field for field in FIELDS if field.is_of_cgroup)),
    }
    return _LANGUAGE.format(**parts)


def _rows(fields: Iterable[Field]) -> list[str]:
    """One row for each field; of a pressure one for all resources."""
    rows = []
    for field in fields:
        name, doc, file = field.name, field.doc, " ".join(field.files)
        if field.psi is not None:
            first = RESOURCES[0]
            if field.psi.resource != first:
                continue
            name = "`, `".join(name.replace(f"psi.{first}", f"psi.{resource}") for resource in RESOURCES)
            doc, file = doc.replace(first, "it"), " ".join(file.replace(first, resource) for resource in RESOURCES)
        rows.append(f"| `{name}` | {field.unit.value} | {doc} | {file} |\n")
    return rows


if __name__ == "__main__":
    sys.stdout.write(conditions_page())
