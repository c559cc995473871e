"""The names in conditions that are no fields: constants and functions, with what is said of them; one table each.

Belongs here: the tables; docs/conditions.md and the parser's messages are made from them. Must not know: how a text is
parsed (syntax.py), what is true of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from oompolicy.rules.fields import Unit

# Amounts are in MiB, times in seconds.
CONSTANTS: Final = {
    "KiB": (1 / 1024, Unit.MIB),
    "MiB": (1, Unit.MIB),
    "GiB": (1024, Unit.MIB),
    "TiB": (1024 * 1024, Unit.MIB),
    "minutes": (60, None),
    "hours": (3600, None),
}


@dataclass(frozen=True, slots=True)
class Function:
    """A row of the functions: how it is called, and what it says."""

    call: str
    doc: str


FUNCTIONS: Final = {
    "lasts": Function("lasts(CONDITION, SECONDS)", "True when the condition has been true at every look for so long."),
    "rate": Function("rate(FIELD)", "How much the field grows in a second, since the look before."),
    "growth": Function("growth(FIELD, SECONDS)", "How much the field has grown in the last so many seconds."),
    "of": Function(
        'of("PATTERN", …, CONDITION)',
        "True when the condition is true of any cgroup of the patterns: in it `cgroup.` is that cgroup, whatever the "
        "rule's scope.",
    ),
    "exists": Function('exists("PATTERN", …)', "True when there is a cgroup of the patterns."),
}
# In `by` alone.
RANKING: Final = {
    "if": Function("A if CONDITION else B", "The one number, or the other where the condition does not hold."),
    "total": Function("total(NUMBER)", "The sum of the number over all cgroups that are compared."),
    "percentile": Function("percentile(NUMBER, P)", "The least of the largest 100 - P % of the numbers."),
}
