"""docs/conditions.md, from the tables of conditions:  python -m oompolicy.rules.document > docs/conditions.md

Belongs here: the page's text around the tables. Must not know: how anything is judged.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Final

from oompolicy.rules.fields import FIELDS, RESOURCES, Field
from oompolicy.rules.judge import APART_MS
from oompolicy.rules.syntax import CONSTANTS, FUNCTIONS

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
span if that is sooner: where A is often true, write `lasts(A and B, 5)` rather than `lasts(A, 5) and B`.

This page is made from the tables of `src/oompolicy/rules/fields.py` and `syntax.py`, by
`python -m oompolicy.rules.document`.

## Fields of the machine

| field | unit | is | from /proc |
|---|---|---|---|
{machine}
## Fields of the scope's cgroup

For rules whose scope is not the machine. Where the cgroup has no such file, or it says `max`, the field is not known.

| field | unit | is | from |
|---|---|---|---|
{cgroup}"""


def conditions_page() -> str:
    """The whole page."""
    parts = {
        "functions": "".join(f"| `{row.call}` | {row.doc} |\n" for row in FUNCTIONS.values()),
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
