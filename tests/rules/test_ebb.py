"""Memory that goes fast, told from amounts and times alone."""

from __future__ import annotations

import pytest

from oompolicy.rules.ebb import Ebb, noticed

MIB = 1 << 20


def after(*amounts: tuple[int, int]) -> Ebb:
    """(at_ms, MiB), one after the other."""
    ebb = Ebb()
    for at_ms, mib in amounts:
        ebb = noticed(ebb, mib * MIB, at_ms)
    return ebb


@pytest.mark.parametrize(
    ("amounts", "is_fast"),
    [
        ([(0, 300)], False),
        ([(0, 300), (100, 290)], True),  # the rest within 2.9 s
        ([(0, 300), (100, 291)], False),
        ([(0, 300), (100, 310)], False),
        ([(0, 300), (1000, 200)], True),
        ([(0, 300), (1000, 290)], False),
        ([(0, 300), (10, 200)], False),  # too close to tell: amounts go in steps
        ([(0, 300), (10, 298), (20, 292), (110, 280)], True),  # 20 since 110 ms ago
        ([(0, 300), (100, 200), (200, 200)], False),  # it has stopped
        ([(0, 300), (100, 200), (150, 195)], True),  # against the last that is far enough, not the very last
        ([(0, 300), (100, 0)], True),
    ],
)
def test_fast_is_what_leaves_no_three_seconds(amounts: list[tuple[int, int]], is_fast: bool) -> None:
    assert after(*amounts).is_fast is is_fast


def test_only_two_amounts_are_remembered() -> None:
    assert len(after(*((at, 10_000 - at) for at in range(0, 5000, 7))).marks) == 2
