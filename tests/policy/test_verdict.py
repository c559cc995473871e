"""The bands: one table, strictly apart."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from oompolicy.mm.limits import LONG_MAX, LONG_MIN
from oompolicy.policy.verdict import DEFER, KILL, POINTS, SPARE, Band, Verdict, band_of, points_of

longs = st.integers(LONG_MIN, LONG_MAX)
badnesses = st.integers(-(1 << 45), 1 << 45)
answers = st.one_of(longs, st.sampled_from(list(Verdict)))


def test_the_table_is_the_one_of_the_design() -> None:
    assert {band: (row.base, row.addend) for band, row in POINTS.items()} == {
        Band.KILL: (1 << 62, "badness"),
        Band.PRESELECTED: (1 << 61, "score"),
        Band.SCORE: (0, "score"),
        Band.DEFER: (0, "badness"),
        Band.SPARE: (-(1 << 61), "badness"),
    }


@given(answers, longs, st.booleans())
def test_points_fit_in_a_long_and_are_never_long_min(answer: int | Verdict, badness: int, preselected: bool) -> None:
    assert LONG_MIN < points_of(answer, max(badness, LONG_MIN + 1), preselected) <= LONG_MAX


@given(longs, longs, badnesses, badnesses)
def test_bands_never_overlap(score: int, other: int, badness: int, other_badness: int) -> None:
    ladder = [
        points_of(SPARE, badness),
        points_of(score, other_badness),
        points_of(other, badness, preselected=True),
        points_of(KILL, other_badness),
    ]
    assert ladder == sorted(set(ladder))


@given(badnesses, badnesses)
def test_inside_a_band_badness_decides(badness: int, other: int) -> None:
    for verdict in Verdict:
        assert (points_of(verdict, badness) < points_of(verdict, other)) == (badness < other)


@given(badnesses)
def test_defer_is_the_kernels_own(badness: int) -> None:
    assert points_of(DEFER, badness) == badness


def test_preselection_lifts_scores_and_defer_only() -> None:
    assert band_of(7, True) is band_of(DEFER, True) is Band.PRESELECTED
    assert band_of(KILL, True) is Band.KILL
    assert band_of(SPARE, True) is Band.SPARE
