"""Bounds hold whatever is between them: every small interval tried out, and the ends of large ones."""

from __future__ import annotations

import itertools

import pytest

from oompolicy.compiler.arithmetic import ArithmeticFault, binary, compare, unary
from oompolicy.compiler.bounds import Bounds, certain, of_binary, of_unary, where
from oompolicy.compiler.ir import BinaryOp, CompareOp, UnaryOp
from oompolicy.mm.limits import LONG_MAX, LONG_MIN

SMALL = [Bounds(least, greatest) for least in range(-4, 5) for greatest in range(least, 5)]
ENDS = (LONG_MIN, LONG_MIN + 1, -(1 << 32), -64, -1, 0, 1, 63, 64, 65, (1 << 32) - 1, 1 << 32, LONG_MAX - 1, LONG_MAX)
LARGE = [Bounds(least, greatest) for least in ENDS for greatest in ENDS if least <= greatest]


def within(known: Bounds) -> list[int]:
    """All of a small interval; of a large one what is at its ends, and the ends of everything inside."""
    if known.greatest - known.least < 10:
        return list(range(known.least, known.greatest + 1))
    near = (known.least, known.least + 1, known.greatest - 1, known.greatest)
    return sorted({*near, *(end for end in ENDS if known.least <= end <= known.greatest)})


@pytest.mark.parametrize("op", BinaryOp, ids=lambda op: op.value)
def test_no_result_of_two_is_outside(op: BinaryOp) -> None:
    for left, right in (*itertools.product(SMALL, SMALL), *itertools.product(LARGE[::3], LARGE[::2])):
        known = of_binary(op, left, right)
        for one, other in itertools.product(within(left), within(right)):
            try:
                result = binary(op, one, other)
            except ArithmeticFault:
                continue
            assert known.least <= result <= known.greatest, (op, left, right, one, other)


@pytest.mark.parametrize("op", [BinaryOp.ADD, BinaryOp.SUB, BinaryOp.MUL, BinaryOp.SHL], ids=lambda op: op.value)
def test_what_does_not_fit_is_seen(op: BinaryOp) -> None:
    """Bounds that fit say that no operation within them faults, but for a negative count."""
    for left, right in itertools.product(LARGE, LARGE[::3]):
        if not of_binary(op, left, right).fits or (op is BinaryOp.SHL and right.least < 0):
            continue
        for one, other in itertools.product(within(left), within(right)):
            binary(op, one, other)


@pytest.mark.parametrize("op", UnaryOp, ids=lambda op: op.value)
def test_no_result_of_one_is_outside(op: UnaryOp) -> None:
    for known in (*SMALL, *LARGE):
        found = of_unary(op, known)
        for number in within(known):
            try:
                assert found.least <= unary(op, number) <= found.greatest, (op, known, number)
            except ArithmeticFault:
                assert not found.fits, (op, known, number)


@pytest.mark.parametrize("op", CompareOp, ids=lambda op: op.name)
def test_comparisons_are_certain_exactly_where_all_agree(op: CompareOp) -> None:
    for left, right in itertools.product(SMALL, SMALL):
        found = {compare(op, one, other) for one, other in itertools.product(within(left), within(right))}
        assert certain(op, left, right) == (found.pop() if len(found) == 1 else None), (op, left, right)


@pytest.mark.parametrize("op", CompareOp, ids=lambda op: op.name)
def test_where_a_comparison_holds_nothing_is_lost_and_little_kept(op: CompareOp) -> None:
    for left, right in itertools.product(SMALL, SMALL):
        possible = [one for one in within(left) if any(compare(op, one, other) for other in within(right))]
        found = where(op, left, right)
        if possible:
            assert found == Bounds(min(possible), max(possible)), (op, left, right)
        else:
            assert found.least > found.greatest, (op, left, right)


def test_bounds_are_as_close_as_a_policy_needs() -> None:
    assert of_binary(BinaryOp.MOD, Bounds(LONG_MIN, LONG_MAX), Bounds(7, 7)) == Bounds(0, 6)
    assert of_binary(BinaryOp.AND, Bounds(LONG_MIN, LONG_MAX), Bounds(255, 255)) == Bounds(0, 255)
    assert of_binary(BinaryOp.FLOORDIV, Bounds(-7, 9), Bounds(2, 2)) == Bounds(-4, 4)
    assert of_binary(BinaryOp.SHL, Bounds(0, 15), Bounds(0, 20)) == Bounds(0, 15 << 20)
    assert of_unary(UnaryOp.ABS, Bounds(-5, 3)) == Bounds(0, 5)
