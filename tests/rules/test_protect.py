"""Who is never killed by us."""

from __future__ import annotations

import pytest

from oompolicy.mm.memcontrol import MemCgroup
from oompolicy.mm.sched import Task
from oompolicy.rules.protect import Protect

PROTECT = Protect(cgroups=("/system.slice/ssh*",), comms=("Xorg", "gnome-*"), uids=(7,), pids=(40,))


def task(pid: int = 50, comm: str = "sort", uid: int = 1000, path: str = "/batch") -> Task:
    return Task(pid, comm, None, uid=uid, memcg=MemCgroup(path))


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (task(), None),
        (task(pid=40), "pid 40 is protected"),
        (Task(41, "thread", None, tgid=40), "pid 40 is protected"),
        (task(uid=7), "uid 7 is protected"),
        (task(comm="gnome-shell"), "comm gnome-* is protected"),
        (task(path="/system.slice/sshd.service/session"), "cgroup /system.slice/ssh* is protected"),
        (task(path="/system.slice"), None),
        (Task(50, "sort", None), None),
    ],
)
def test_a_task(found: Task, why: str | None) -> None:
    assert PROTECT.why_not(found) == why


def test_the_root_protects_all_that_is_below() -> None:
    assert Protect(cgroups=("/",)).why_not_cgroup("/anything") == "cgroup / is protected"
