"""Patterns of paths, and which scopes are about the same memory."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from oompolicy.rules.rule import Rule
from oompolicy.rules.scopes import in_scope, leads_to, matches, overlap


@pytest.mark.parametrize(
    ("pattern", "path", "is_match"),
    [
        ("/a/*", "/a/b", True),
        ("/a/*", "/a/b/c", False),
        ("/a/*", "/a/", True),
        ("/a/**", "/a/b/c", True),
        ("a/user-?.slice", "/a/user-1.slice", True),
        ("/a/?b", "/a//b", False),
        ("/a/[xyz]", "/a/y", True),
        ("/a/[!xyz]", "/a/y", False),
        ("/a/[!xyz]", "/a/b", True),
        ("/a/[!xyz]b", "/a//b", False),
        ("/a/[]]", "/a/]", True),
        ("/a/[", "/a/[", True),
        ("/a/[^b]", "/a/^", True),
        ("/a/[!]", "/a/[!]", True),
        ("/a/[z-a]", "/a/[z-a]", True),
        ("/a/[a-c]", "/a/b", True),
        ("/a.b", "/aXb", False),
        ("/a*", "/a\nb", True),
        ("/a*", "/a\udcff", True),
        ("/(a|b)", "/a", False),
        ("/(a|b)", "/(a|b)", True),
        ("/A", "/a", False),
    ],
)
def test_a_pattern(pattern: str, path: str, is_match: bool) -> None:
    assert matches(pattern, path) is is_match


@given(st.text(alphabet="abz/*?[]!^-\\&~|.(", max_size=12), st.text(alphabet="a/b", max_size=6))
def test_any_pattern_is_a_pattern(pattern: str, path: str) -> None:
    matches(pattern, path)


NAMES = st.lists(st.text(alphabet="ab*[]!", min_size=1, max_size=3), min_size=1, max_size=4)


@given(st.text(alphabet="ab/*?[]!", max_size=12), NAMES)
@example("/a/[/]*", ["a", "a"])
@example("/*/b", ["a", "b"])
def test_what_is_above_a_match_leads_to_it(pattern: str, names: list[str]) -> None:
    """So that nothing in a scope is overlooked where only such folders are watched."""
    if matches(pattern, "/" + "/".join(names)):
        assert all(leads_to(pattern, "/" + "/".join(names[:length])) for length in range(len(names)))


def test_the_deepest_come_first_and_the_machine_only_where_it_is_named() -> None:
    paths = ["/", "/a", "/a/b", "/c"]
    assert in_scope(Rule("x", "", scope=("**",)), paths) == ("/a/b", "/a", "/c")
    assert in_scope(Rule("x", "", scope=("/", "/a")), paths) == ("/a", "/")
    assert in_scope(Rule("x", "", scope=("/none",)), paths) == ()


@given(st.lists(st.sampled_from("ab"), max_size=3), st.lists(st.sampled_from("ab"), max_size=3))
def test_overlap_is_one_being_the_beginning_of_the_other(one: list[str], other: list[str]) -> None:
    is_same = one[: len(other)] == other[: len(one)]
    assert overlap("/" + "/".join(one), "/" + "/".join(other)) is is_same
