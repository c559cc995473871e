"""How kernels differ in choosing a victim: one flag each, with the commit that changed it.

Belongs here: the flags, the table of boundaries, and reading a release string. Must not know: how a flag is obeyed.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple


class RootBonus(enum.Enum):
    """What a task with CAP_SYS_ADMIN is spared."""

    NONE = "none"
    ADJ_30 = "its oom_score_adj counts 30 less"
    PERCENT_3 = "3 % of its points"


class Ties(enum.Enum):
    """Which of two tasks with equal points is chosen."""

    LAST = "the one scanned last"
    FIRST = "the one scanned first"
    LAST_UNLESS_MEMCG = "the one scanned last, in a memcg's OOM the one scanned first"

    def last_wins(self, memcg_oom: bool) -> bool:
        """Does the later of two equals replace the earlier one?"""
        return self is Ties.LAST or (self is Ties.LAST_UNLESS_MEMCG and not memcg_oom)


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of one kernel; the defaults are the newest kernel's.

    weighs_run_time marks the heuristic before 2.6.36: it looked at CPU time, age, niceness and children, and is not
    modelled. counts_node_holes: a node's size in a cpuset's or mempolicy's totalpages includes its holes
    (node_spanned_pages). memcg_dump_in_scan_order: in a memcg's OOM the report lists the tasks as they were scanned.
    """

    weighs_run_time: bool = False
    per_mille: bool = False
    root_bonus: RootBonus = RootBonus.NONE
    ties: Ties = Ties.LAST
    clamp_to_one: bool = False
    sacrifice_child: bool = False
    counts_pgtables: bool = True
    counts_node_holes: bool = False
    memcg_dump_in_scan_order: bool = True


NEWEST: Final = Rules()
OLDEST: Final = Rules(
    weighs_run_time=True,
    per_mille=True,
    root_bonus=RootBonus.ADJ_30,
    ties=Ties.FIRST,
    clamp_to_one=True,
    sacrifice_child=True,
    counts_pgtables=False,
    counts_node_holes=True,
    memcg_dump_in_scan_order=False,
)

Version = tuple[int, int, int]


class Change(NamedTuple):
    """From a release on, the flags given have new values; also from the given release of each stable series on."""

    since: Version
    flags: dict[str, Any]
    commit: str
    stable: tuple[Version, ...] = ()


# Oldest first. Every line is one commit; the release is the first that has it.
CHANGES: Final = (
    Change((2, 6, 36), {"weighs_run_time": False}, 'a63d83f427fb "oom: badness heuristic rewrite" (in v2.6.36)'),
    # Page tables were also counted by the stable releases 2.6.36.y to 2.6.38.y; they do not say so in their version.
    Change((2, 6, 39), {"counts_pgtables": True}, 'f755a042d82b "oom: use pte pages in OOM score" (in v2.6.39)'),
    Change(
        (3, 5, 0),
        {"per_mille": False},
        'a7f638f999ff "mm, oom: normalize oom scores to oom_score_adj scale only for userspace" (in v3.5)',
    ),
    Change(
        (3, 14, 0),
        {"root_bonus": RootBonus.PERCENT_3},
        '778c14affaf9 "mm, oom: base root bonus on current usage" (in v3.14; 3.10.35 has it too)',
        stable=((3, 10, 35),),
    ),
    Change(
        (4, 7, 0),
        {"ties": Ties.LAST_UNLESS_MEMCG},
        'f44666b04605 "mm,oom: speed up select_bad_process() loop" (in v4.7): the test for group leaders, which kept '
        "the first of equals, is gone from the global scan",
    ),
    Change(
        (4, 9, 0),
        {"ties": Ties.FIRST},
        '7c5f64f84483 "mm: oom: deduplicate victim selection code for memcg and global oom" (in v4.9): it is back',
    ),
    Change(
        (4, 17, 0),
        {"root_bonus": RootBonus.NONE},
        'd46078b28889 "mm, oom: remove 3% bonus for CAP_SYS_ADMIN processes" (in v4.17)',
    ),
    Change(
        (5, 1, 0),
        {"sacrifice_child": False},
        "bbbe48029720 \"mm, oom: remove 'prefer children over parent' heuristic\" (in v5.1)",
    ),
    Change(
        (5, 3, 0),
        {"ties": Ties.LAST},
        'f168a9a54ec3 "mm: memcontrol: use CSS_TASK_ITER_PROCS at mem_cgroup_scan_tasks()" (in v5.3)',
    ),
    Change(
        (5, 3, 0),
        {"memcg_dump_in_scan_order": True},
        'ac311a14c682 "oom: decouple mems_allowed from oom_unkillable_task" (in v5.3) has '
        '"mm, oom: refactor dump_tasks for memcg OOMs"',
    ),
    # Between v5.4 and v5.9; the patch is of August 2019, so v5.4.
    Change((5, 4, 0), {"counts_node_holes": False}, '"mm, oom: consider present pages for the node size" (in v5.4)'),
    Change(
        (5, 9, 0),
        {"clamp_to_one": False},
        '9066e5cfb73c "mm, oom: make the calculation of oom badness more accurate" (in v5.9)',
    ),
)

# Enterprise kernels carry changes of later releases under an old version: what their sources were seen to do, by the
# suffix of their packages and the version they all keep. Mainline in such a package (UEK, elrepo) has another version.
VENDORS: Final = {
    # 2.6.32-642.6.2.el6: the rewrite with per-mille points, root's 30, page tables, the first of equals.
    ("el6", (2, 6, 32)): replace(OLDEST, weighs_run_time=False, counts_pgtables=True),
    # 3.10.0 el7: adj - 30 for root and not the 3 %, whatever its stable series did; the first of equals.
    ("el7", (3, 10, 0)): replace(OLDEST, weighs_run_time=False, counts_pgtables=True, per_mille=False),
    # 4.18.0-305.3.1.el8_4: as v5.8: no root bonus, no child is sacrificed, the last of equals, at least one point.
    ("el8", (4, 18, 0)): replace(NEWEST, clamp_to_one=True),
    # 5.14.0 el9: as v5.9.
    ("el9", (5, 14, 0)): NEWEST,
}

_RELEASE = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?")
_VENDOR = re.compile(r"\.(el\d+)")
_DEVELOPMENT = re.compile(r"-next-|-mm\d")


def version_of(release: str) -> Version | None:
    """The three numbers of a release string; None where it has none. linux-next and -mm count as what comes next.

    >>> version_of("5.15.0-86-generic"), version_of("6.18+"), version_of("5.2.0-rc2-mm1-00247-g47d4983")
    ((5, 15, 0), (6, 18, 0), (5, 3, 0))
    """
    found = _RELEASE.match(release)
    if found is None:
        return None
    major, minor, patch = (int(number or 0) for number in found.groups())
    if _DEVELOPMENT.search(release):
        return (major, minor, patch + 1) if (major, minor) == (2, 6) else (major, minor + 1, 0)
    return major, minor, patch


def rules_for(release: str | None) -> Rules:
    """The rules of a kernel by its release (`uname -r`); the newest where the release is unknown or unreadable."""
    if release is None:
        return NEWEST
    version = version_of(release)
    if version is None:
        return NEWEST
    vendor = _VENDOR.search(release)
    if vendor is not None and (vendor[1], version) in VENDORS:
        return VENDORS[vendor[1], version]
    rules = OLDEST
    for change in CHANGES:
        if version >= change.since or any(version[:2] == line[:2] and version >= line for line in change.stable):
            rules = replace(rules, **change.flags)
    return rules
