"""A condition in words: as it was written, and with the numbers that made it true.

Belongs here: texts. Must not know: what is true.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from oompolicy.rules.tree import (
    AllOf,
    AnyOf,
    Arithmetic,
    Choose,
    Compare,
    Fixed,
    Growth,
    Lasts,
    Node,
    Number,
    Of,
    OfPeers,
    Rate,
    Reads,
)

ValueOf = Callable[[Number], float | None]


class Judged(Protocol):
    """One look at one scope, judged."""

    def value(self, number: Number) -> float | None: ...  # noqa: D102
    def is_true(self, node: Node) -> bool: ...  # noqa: D102
    def others(self, node: Of) -> Mapping[str, Judged]: ...  # noqa: D102


def why(node: Node, judged: Judged) -> str:
    """What is true of it, each name followed by its number: "swap_free_percent 3.1 < 10 for 5 s"."""
    match node:
        case Compare():
            return f"{_said(node.left, judged.value)} {node.op} {_said(node.right, judged.value)}"
        case AllOf():
            return " and ".join(_grouped(part, why(part, judged), " or ") for part in node.parts)
        case AnyOf():
            return " or ".join(why(part, judged) for part in node.parts if judged.is_true(part))
        case Lasts(negated=True):
            return f"not for {node.span_ms / 1000:g} s: {written(node.part)}"
        case Lasts():
            words = _grouped(node.part, why(node.part, judged), " and ", " or ")
            return f"{words} for {node.span_ms / 1000:g} s"
        case Of():
            return _why_of(node, judged)


def _why_of(node: Of, judged: Judged) -> str:
    """Of the first cgroup of which it is true."""
    patterns = ", ".join(node.patterns)
    if node.negated:
        return f"no {patterns}" if node.part is None else f"in none of {patterns}: {written(node.part)}"
    others = judged.others(node)
    part = node.part
    if part is None:
        return f"there is {next(iter(others))}"
    path, other = next((path, other) for path, other in others.items() if other.is_true(part))
    return f"{_grouped(part, why(part, other), ' and ', ' or ')} in {path}"


def written(node: Node) -> str:
    """As it could be written."""
    match node:
        case Compare():
            return f"{written_number(node.left)} {node.op} {written_number(node.right)}"
        case AllOf():
            return " and ".join(_grouped(part, written(part), " or ") for part in node.parts)
        case AnyOf():
            return " or ".join(written(part) for part in node.parts)
        case Lasts():
            return f"{'not ' if node.negated else ''}lasts({written(node.part)}, {node.span_ms / 1000:g})"
        case Of():
            patterns = ", ".join(f'"{pattern}"' for pattern in node.patterns)
            call = f"exists({patterns})" if node.part is None else f"of({patterns}, {written(node.part)})"
            return f"{'not ' if node.negated else ''}{call}"


def written_number(number: Number) -> str:
    """As it could be written."""
    return _said(number, None)


def short(value: float | None) -> str:
    """As many digits as say something.

    >>> short(3.14159), short(1234.5), short(20.0), short(0.0123)
    ('3.1', '1234', '20', '0.012')
    """
    if value is None:
        return "?"
    if abs(value) < 1:
        return f"{value:.2g}"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}".removesuffix(".0")


def _grouped(part: Node, words: str, *joints: str) -> str:
    """In parentheses where it could be read otherwise."""
    return f"({words})" if isinstance(part, AllOf | AnyOf) and any(joint in words for joint in joints) else words


def _said(number: Number, value_of: ValueOf | None) -> str:
    match number:
        case Fixed():
            return number.text
        case Arithmetic():
            left, right = _said(number.left, value_of), _said(number.right, value_of)
            if isinstance(number.left, Arithmetic) and number.op in "*/" and number.left.op in "+-":
                left = f"({left})"
            if isinstance(number.right, Arithmetic) and number.op != "+":
                right = f"({right})"
            return f"{left} {number.op} {right}"
        case Choose() | OfPeers():
            return _said_of_ranking(number, value_of)
        case Reads():
            name = number.field.name
        case Rate():
            name = f"rate({number.field.name})"
        case Growth():
            name = f"growth({number.field.name}, {number.span_ms / 1000:g})"
    return name if value_of is None else f"{name} {short(value_of(number))}"


def _said_of_ranking(number: Choose | OfPeers, value_of: ValueOf | None) -> str:
    if isinstance(number, Choose):
        then, otherwise = _said(number.then, value_of), _said(number.otherwise, value_of)
        return f"({then} if {written(number.part)} else {otherwise})"
    inside = written_number(number.number)
    return f"total({inside})" if number.percent is None else f"percentile({inside}, {number.percent:g})"
