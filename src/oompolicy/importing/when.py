"""Conditions as text, put together: the one place that knows how a `when` is spelled.

Belongs here: the fields that imports read, and brackets. Must not know: any tool's settings, how a condition is judged.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

HAS_SWAP = "swap_total_mib > 0"


def number(value: float) -> str:
    """As short as it can be written.

    >>> number(10.0), number(2.5), number(0.1 + 0.2)
    ('10', '2.5', '0.3')
    """
    return f"{value:.12f}".rstrip("0").rstrip(".")


def compare(field: str, op: str, value: float | str) -> str:
    """A field against a number, or against what is reckoned from another field."""
    return f"{field} {op} {value if isinstance(value, str) else number(value)}"


def all_of(*parts: str) -> str:
    """Every part; those with "or" get brackets.

    >>> all_of("a > 1", "b > 1 or c > 1", 'of("/x (or y", d > 1 or e > 1)')
    'a > 1 and (b > 1 or c > 1) and of("/x (or y", d > 1 or e > 1)'
    """
    if len(parts) == 1:
        return parts[0]
    return " and ".join(f"({part})" if " or " in part and not _is_call(part) else part for part in parts)


def any_of(*parts: str) -> str:
    """One of the parts; those with "and" get brackets, for who reads it."""
    if len(parts) == 1:
        return parts[0]
    return " or ".join(f"({part})" if " and " in part and not _is_call(part) else part for part in parts)


def of(patterns: Iterable[str], part: str) -> str:
    """True of a cgroup of the patterns."""
    return f"of({_texts(patterns)}, {part})"


def exists(patterns: Iterable[str]) -> str:
    """There is a cgroup of the patterns."""
    return f"exists({_texts(patterns)})"


def lasting(part: str, seconds: float) -> str:
    """For so long at a stretch; with 0 at once."""
    return f"lasts({part}, {number(seconds)})" if seconds > 0 else part


def lasts(condition: str) -> bool:
    """Must anything in it last?"""
    return "lasts(" in condition


def within(part: str, opposite: str, seconds: float) -> str:
    """At some moment of the last seconds: the opposite has not lasted that long."""
    return f"not lasts({opposite}, {number(seconds)})" if seconds > 0 else part


def _texts(patterns: Iterable[str]) -> str:
    return ", ".join(json.dumps(pattern, ensure_ascii=False) for pattern in patterns)


def _is_call(part: str) -> bool:
    """Is it one call, brackets and all?"""
    part = re.sub(r'"(?:\\.|[^"\\])*"', '""', part)
    if not part.endswith(")") or "(" not in part.split(" ")[0]:
        return False
    depth = 0
    for position, character in enumerate(part):
        depth += (character == "(") - (character == ")")
        if depth == 0 and character == ")":
            return position == len(part) - 1
    return False
