"""Which kernel has which rules: each boundary from both sides."""

from __future__ import annotations

import pytest

from oompolicy.mm.rules import CHANGES, NEWEST, OLDEST, RootBonus, Rules, Ties, rules_for, version_of


@pytest.mark.parametrize(
    ("before", "after", "flag", "old", "new"),
    [
        ("2.6.35.14", "2.6.36", "weighs_run_time", True, False),
        ("2.6.38.8", "2.6.39-rc1", "counts_pgtables", False, True),
        ("3.4.113", "3.5.0", "per_mille", True, False),
        ("3.13.0-57-generic", "3.14.0", "root_bonus", RootBonus.ADJ_30, RootBonus.PERCENT_3),
        ("3.10.34", "3.10.35", "root_bonus", RootBonus.ADJ_30, RootBonus.PERCENT_3),
        ("4.16.18", "4.17.0", "root_bonus", RootBonus.PERCENT_3, RootBonus.NONE),
        ("4.6.7", "4.7.0", "ties", Ties.FIRST, Ties.LAST_UNLESS_MEMCG),
        ("4.8.17", "4.9.0", "ties", Ties.LAST_UNLESS_MEMCG, Ties.FIRST),
        ("5.2.21", "5.3.0", "ties", Ties.FIRST, Ties.LAST),
        ("5.0.21", "5.1.0", "sacrifice_child", True, False),
        ("5.2.21", "5.3-rc1", "memcg_dump_in_scan_order", False, True),
        ("5.3.18", "5.4.0", "counts_node_holes", True, False),
        ("5.8.18", "5.9.0", "clamp_to_one", True, False),
    ],
)
def test_boundaries(before: str, after: str, flag: str, old: object, new: object) -> None:
    assert getattr(rules_for(before), flag) == old
    assert getattr(rules_for(after), flag) == new


@pytest.mark.parametrize(
    ("release", "like"),
    [
        ("2.6.32-642.11.1.el6.x86_64", Rules(
            per_mille=True, root_bonus=RootBonus.ADJ_30, ties=Ties.FIRST, clamp_to_one=True, sacrifice_child=True,
            counts_node_holes=True, memcg_dump_in_scan_order=False,
        )),
        ("3.10.0-1160.el7.x86_64", rules_for("3.13.0")),
        ("4.18.0-305.3.1.el8_4.x86_64", rules_for("5.8.0")),
        ("5.14.0-362.8.1.el9_3.x86_64", NEWEST),
        # Mainline kernels in packages of the same distributions go by their version.
        ("5.4.17-2136.300.7.el8uek.x86_64", rules_for("5.4.17")),
        ("5.4.246-1.el7.elrepo.x86_64", rules_for("5.4.246")),
        ("4.14.35-1902.el7uek.x86_64", rules_for("4.14.35")),
    ],
)  # fmt: skip
def test_enterprise_kernels_have_their_own(release: str, like: Rules) -> None:
    assert rules_for(release) == like


@pytest.mark.parametrize(
    ("release", "like"),
    [
        ("5.2.0-rc2-mm1-00247-g47d49835983c", "5.3.0"),
        ("5.8.0-rc4-next-20200710", "5.9.0"),
        ("5.7.0-rc1-00051-g12e5bf757a1fd", "5.7.0"),
        ("6.8.0-45-generic", "6.8.0"),
        ("6.18.0+", "6.18.0"),
    ],
)
def test_development_kernels_have_what_comes_next(release: str, like: str) -> None:
    assert version_of(release) == version_of(like)
    assert rules_for(release) == rules_for(like)


@pytest.mark.parametrize("release", [None, "", "custom", "x5.4"])
def test_an_unreadable_release_has_the_newest_rules(release: str | None) -> None:
    assert rules_for(release) == NEWEST


def test_the_table_leads_from_the_oldest_to_the_newest_in_order() -> None:
    assert rules_for("2.6.18") == OLDEST
    assert rules_for("99.0.0") == NEWEST
    assert [change.since for change in CHANGES] == sorted(change.since for change in CHANGES)


def test_every_change_cites_its_commit() -> None:
    for change in CHANGES:
        assert '"' in change.commit
        assert f"(in v{'.'.join(str(part) for part in change.since).removesuffix('.0')}" in change.commit, change


def test_who_wins_a_tie() -> None:
    assert Ties.LAST.last_wins(memcg_oom=True)
    assert not Ties.FIRST.last_wins(memcg_oom=False)
    assert Ties.LAST_UNLESS_MEMCG.last_wins(memcg_oom=False)
    assert not Ties.LAST_UNLESS_MEMCG.last_wins(memcg_oom=True)
