"""kernel/oom_policy.h, compiled for a process: its points are those of the table in policy/verdict.py."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oompolicy.policy.verdict import CLAMP, DEFER, KILL, SPARE, Verdict, points_of

HEADER = Path(__file__).parents[2] / "kernel" / "oom_policy.h"
STUBS = Path(__file__).with_name("stubs")
LONG_MIN, LONG_MAX = -(1 << 63), (1 << 63) - 1
EXTREMES = [LONG_MIN + 1, -(1 << 62), -(1 << 61), -CLAMP - 1, -CLAMP, -1, 0, 1, CLAMP, CLAMP + 1, 1 << 62, LONG_MAX]
BADNESS = st.sampled_from(EXTREMES) | st.integers(LONG_MIN + 1, LONG_MAX)
SCORE = st.sampled_from([-(1 << 60), -CLAMP, -1, 0, 1, CLAMP]) | st.integers(-(1 << 60), CLAMP)  # what 61 bits hold

EXPORTED = "long points(long answer, long badness) { return oom_policy_points(answer, badness); }\n"

Points = Callable[[int, int], int]


@pytest.fixture(scope="module")
def oom_policy_points(tmp_path_factory: pytest.TempPathFactory) -> Points:
    """The function of the header; a signed shift and any overflow would be seen by -Werror and the sanitizer."""
    if shutil.which("gcc") is None:
        pytest.skip("no gcc: apt-get install gcc libc6-dev")
    library = tmp_path_factory.mktemp("abi") / "abi.so"
    source = f'#include "{HEADER}"\n{EXPORTED}'
    compiler = ["gcc", "-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror", f"-I{STUBS}", "-xc", "-"]
    sanitizer = ["-fsanitize=undefined", "-fsanitize-undefined-trap-on-error"]
    subprocess.run([*compiler, *sanitizer, "-o", str(library)], input=source, text=True, check=True)
    function = ctypes.CDLL(str(library)).points
    function.argtypes, function.restype = [ctypes.c_long, ctypes.c_long], ctypes.c_long
    return lambda answer, badness: int(function(answer, badness))


def band(name: str) -> int:
    """A band's number, as the header gives it."""
    found = re.search(rf"OOM_POLICY_{name} = (\d+)", HEADER.read_text())
    assert found, name
    return int(found[1])


def test_an_answer_of_nothing_is_defer() -> None:
    """An fmod_ret program that returns 0 lets the target itself answer, which says DEFER."""
    assert band("DEFER") == 0


@given(badness=BADNESS, score=SCORE)
def test_points_are_those_of_the_table(oom_policy_points: Points, badness: int, score: int) -> None:
    for verdict in (KILL, SPARE, DEFER):
        answer = score << 3 | band(verdict.name)  # the score counts in two bands only
        assert oom_policy_points(answer, badness) == points_of(verdict, badness)
    assert oom_policy_points(score << 3 | band("SCORE"), badness) == points_of(score, badness)
    assert oom_policy_points(score << 3 | band("PRESELECTED"), badness) == points_of(score, badness, preselected=True)


@given(badness=BADNESS, answer=st.integers(LONG_MIN, LONG_MAX))
def test_no_answer_means_unkillable(oom_policy_points: Points, badness: int, answer: int) -> None:
    """LONG_MIN to the kernel is "not to be killed"; with it a policy that spares everyone would panic the machine."""
    assert oom_policy_points(answer, badness) != LONG_MIN


@given(badness=BADNESS, score=SCORE, unknown=st.integers(5, 7))
def test_a_band_from_the_future_is_no_opinion(
    oom_policy_points: Points, badness: int, score: int, unknown: int
) -> None:
    assert oom_policy_points(score << 3 | unknown, badness) == badness


def test_every_verdict_has_a_band() -> None:
    assert len({band(name) for name in (*Verdict.__members__, "SCORE", "PRESELECTED")}) == len(Verdict) + 2
