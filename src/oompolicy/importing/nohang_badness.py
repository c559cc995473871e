"""nohang's badness adjustments as a policy.

Source: pid_to_badness of nohang 0.2.0: it begins with /proc/PID/oom_score; what is negative is always added, what is
positive only to processes whose oom_score_adj is not negative.

Belongs here: which expressions on which properties a policy can test. Must not know: thresholds.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final

from oompolicy.assign import Assignment
from oompolicy.importing.imported import ImportedRow, LeftOut, PolicyFile
from oompolicy.importing.names import COMM_BYTES, globs_of, names_of
from oompolicy.importing.nohang_keys import Badness, Keys
from oompolicy.importing.policy_text import (
    Clause,
    Constant,
    add_points,
    name_clauses,
    policy_source,
    regex_clause,
    thousandths,
)

POLICY_NAME: Final = "nohang"

_NOT_READ: Final = {
    "CGROUP_V1": "a process's line of a cgroup v1 hierarchy is not read: it goes by its memory cgroup",
    "CWD": "where a process works is not read",
}
# What a row of [[assign]] reads.
_ROWS: Final = {"REALPATH": "exe", "CMDLINE": "cmdline", "ENVIRON": "environment", "CGROUP_V2": "cgroup"}
# A hundred times all memory: more says no more, and a value that somebody else has set must not overflow.
_MOST: Final = 100_000
_OF_VALUES: Final = Clause(
    "task.value is not None and -MOST <= task.value <= MOST and (task.value < 0 or task.oom_score_adj >= 0)",
    "points += task.value * (oc.totalpages // 1000)",
    (Constant("MOST", _MOST, "values of [[assign]] are thousandths of all memory, as oom_score_adj is"),),
)


@dataclass(frozen=True, slots=True)
class Chosen:
    """Who is chosen: the policy's file and its name in a rule, None where the kernel's choice stands; and values."""

    files: tuple[PolicyFile, ...] = ()
    policy: str | None = None
    rows: tuple[ImportedRow, ...] = ()


def chosen(keys: Keys, left_out: list[LeftOut]) -> Chosen:
    """What a policy can test is in the policy; what [[assign]] reads is a value, in thousandths of all memory."""
    clauses: list[Clause] = []
    if keys.truth("ignore_positive_oom_score_adj"):
        clauses.append(Clause("task.oom_score_adj > 0", "points -= task.oom_score_adj * (oc.totalpages // 1000)"))
    rows: list[ImportedRow] = []
    for number, badness in enumerate(keys.badness, start=1):
        of_it = _rows(badness)
        if of_it:
            rows += of_it
        else:
            clauses += _clauses(badness, f"{badness.property}_{number}", left_out)
    if rows:
        clauses.append(_OF_VALUES)
    if len({row.origin for row in rows}) > 1:
        why = "of several such lines that match a process the last counts, for it has one value; nohang adds them up"
        left_out.append(LeftOut(f"@BADNESS_ADJ_RE_{', _'.join(_ROWS)}", why, rows[0].origin.place))
    if not clauses:
        return Chosen()
    doc = "Whom nohang takes: the highest oom_score, with its adjustments of badness."
    file = f"{POLICY_NAME}.py"
    return Chosen((PolicyFile(file, policy_source(POLICY_NAME, doc, clauses, "points")),), file, tuple(rows))


def _rows(badness: Badness) -> list[ImportedRow]:
    """One for each pattern; none where the policy itself can tell, or the expression is no pattern."""
    key = _ROWS.get(badness.property)
    if key is None or (key == "cgroup" and _cgroup(badness.regex) is not None):
        return []
    globs = globs_of(badness.regex, is_path=True)
    if globs is None or (key == "environment" and not all(glob[0] == glob[-1] == "*" for glob in globs)):
        return []  # nohang's ^ and $ are of the whole environment
    value = min(max(thousandths(badness.points), -_MOST), _MOST)
    return [ImportedRow(_row(value, key, glob), badness.setting) for glob in globs]


def _row(value: int, key: str, glob: str) -> Assignment:
    """With any comm it is of the processes, and not of the cgroup."""
    row = Assignment(value, comm="*" if key == "cgroup" else None)
    return replace(row, **{key: glob})  # type: ignore[arg-type]


def _clauses(badness: Badness, constant: str, left_out: list[LeftOut]) -> list[Clause]:
    comment = f"{badness.setting.place}: {badness.setting.text}"
    statement = add_points(badness.points)
    and_also = " and task.oom_score_adj >= 0" if badness.points > 0 else ""

    def leave_out(why: str, what: str = "") -> None:
        left_out.append(LeftOut(badness.setting.text + what, why, badness.setting.place))

    match badness.property:
        case "NAME":
            names = names_of(badness.regex)
            if names is None:
                leave_out("more than a list of names: the policy searches it, in user space", ": in the kernel")
                return [regex_clause(badness.regex, constant, comment, statement, and_also)]
            if names.never_met:
                leave_out(f"longer than the {COMM_BYTES} bytes of a name, never met: {', '.join(names.never_met)}")
            return name_clauses(names, constant, comment, statement, and_also)
        case "UID":
            uids = _uids(badness.regex)
            if uids is None:
                leave_out("not a list of whole user ids")
                return []
            if 0 not in uids or len(uids) > 1:
                leave_out("nohang asks for the effective user id, a policy for the real one")
            found = Constant(constant, uids, comment)
            return [Clause(f"task.uid in {constant}{and_also}", statement, (found,))]
        case "CGROUP_V2" if (path := _cgroup(badness.regex)) is not None:
            found = Constant(constant, path, comment)
            test = f"task.memcg is not None and task.memcg.is_under({constant}){and_also}"
            return [Clause(test, statement, (found,))]
        case other:
            leave_out(_NOT_READ.get(other, "more than a list of texts, and [[assign]] knows patterns alone"))
            return []


def _uids(regex: str) -> tuple[int, ...] | None:
    """The user ids of ^0$ or ^(33|1000)$."""
    found = re.fullmatch(r"\^\(?(?:\?:)?(\d+(?:\|\d+)*)\)?\$", regex)
    return None if found is None else tuple(int(uid) for uid in found[1].split("|"))


def _cgroup(regex: str) -> str | None:
    r"""The path of ^/user\.slice/ (what is below it) or ^/user\.slice$.

    >>> _cgroup(r"^/user\.slice/"), _cgroup("^/workload"), _cgroup(r"/foo\.service$")
    ('/user.slice', None, None)
    """
    found = re.fullmatch(r"\^((?:/(?:[\w@:-]|\\\.)+)+)(?:/|\$)", regex)
    return None if found is None else found[1].replace("\\.", ".")
