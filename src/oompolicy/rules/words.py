"""A condition in words: as it was written, and with the numbers that made it true.

Belongs here: texts. Must not know: what is true.
"""

from __future__ import annotations

from collections.abc import Callable

from oompolicy.rules.tree import AllOf, AnyOf, Arithmetic, Compare, Fixed, Growth, Lasts, Node, Number, Rate, Reads

ValueOf = Callable[[Number], float | None]
IsTrue = Callable[[Node], bool]


def why(node: Node, value_of: ValueOf, is_true: IsTrue) -> str:
    """What is true of it, each name followed by its number: "swap_free_percent 3.1 < 10 for 5 s"."""
    match node:
        case Compare():
            return f"{_said(node.left, value_of)} {node.op} {_said(node.right, value_of)}"
        case AllOf():
            return " and ".join(_grouped(part, why(part, value_of, is_true), " or ") for part in node.parts)
        case AnyOf():
            return " or ".join(why(part, value_of, is_true) for part in node.parts if is_true(part))
        case Lasts(negated=True):
            return f"not for {node.span_ms / 1000:g} s: {written(node.part)}"
        case Lasts():
            words = _grouped(node.part, why(node.part, value_of, is_true), " and ", " or ")
            return f"{words} for {node.span_ms / 1000:g} s"


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
        case Reads():
            name = number.field.name
        case Rate():
            name = f"rate({number.field.name})"
        case Growth():
            name = f"growth({number.field.name}, {number.span_ms / 1000:g})"
    return name if value_of is None else f"{name} {short(value_of(number))}"
