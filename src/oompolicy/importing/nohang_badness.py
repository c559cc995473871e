"""nohang's badness adjustments as a policy.

Source: pid_to_badness of nohang 0.2.0: it begins with /proc/PID/oom_score; what is negative is always added, what is
positive only to processes whose oom_score_adj is not negative.

Belongs here: which expressions on which properties a policy can test. Must not know: thresholds.
"""

from __future__ import annotations

import re
from typing import Final

from oompolicy.importing.imported import LeftOut, PolicyFile
from oompolicy.importing.names import COMM_BYTES, Names, names_of, paths_of
from oompolicy.importing.nohang_keys import Badness, Keys
from oompolicy.importing.policy_text import Clause, Constant, add_points, name_clauses, policy_source, regex_clause

POLICY_NAME: Final = "nohang"

_NOT_READ: Final = {
    "CGROUP_V1": "a process's line of a cgroup v1 hierarchy is not what a policy reads: it asks by memory cgroup",
    "CWD": "a policy does not read where a process works",
    "CMDLINE": "a policy does not read command lines",
    "ENVIRON": "a policy does not read environments",
}


def policy_of(keys: Keys, left_out: list[LeftOut]) -> tuple[tuple[PolicyFile, ...], str | None]:
    """The policy's file and its name in a rule; none where the kernel's choice stands."""
    clauses: list[Clause] = []
    if keys.truth("ignore_positive_oom_score_adj"):
        clauses.append(Clause("task.oom_score_adj > 0", "points -= task.oom_score_adj * (oc.totalpages // 1000)"))
    for number, badness in enumerate(keys.badness, start=1):
        clauses += _clauses(badness, f"{badness.property}_{number}", left_out)
    if not clauses:
        return (), None
    doc = "Whom nohang takes: the highest oom_score, with its adjustments of badness."
    file = f"{POLICY_NAME}.py"
    return (PolicyFile(file, policy_source(POLICY_NAME, doc, clauses, "points")),), file


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
        case "REALPATH":
            paths = paths_of(badness.regex)
            if paths is None:
                leave_out("a policy does not read a program's path, and this is no list of whole paths")
                return []
            leave_out("taken by the names of the programs, not by their paths: another program of that name counts too")
            return name_clauses(_names_of_programs(paths), constant, comment, statement, and_also)
        case "UID":
            uids = _uids(badness.regex)
            if uids is None:
                leave_out("not a list of whole user ids")
                return []
            if 0 not in uids or len(uids) > 1:
                leave_out("nohang asks for the effective user id, a policy for the real one")
            found = Constant(constant, uids, comment)
            return [Clause(f"task.uid in {constant}{and_also}", statement, (found,))]
        case "CGROUP_V2":
            path = _cgroup(badness.regex)
            if path is None:
                leave_out("a policy asks whether a process is under a cgroup: ^/a.slice/ and ^/a.slice$ are such paths")
                return []
            found = Constant(constant, path, comment)
            test = f"task.memcg is not None and task.memcg.is_under({constant}){and_also}"
            return [Clause(test, statement, (found,))]
        case other:
            leave_out(_NOT_READ[other])
            return []


def _names_of_programs(paths: tuple[str, ...]) -> Names:
    """A process's name is its program's, cut off after 15 bytes, as long as it does not rename itself."""
    names = [path.rpartition("/")[2].encode()[:COMM_BYTES].decode(errors="ignore") for path in paths]
    return Names(tuple(dict.fromkeys(name for name in names if name)))


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
