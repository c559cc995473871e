"""Spare what is named.

Belongs here: protect. Must not know: anything but the policy API.
"""

from oompolicy.policy import DEFER, SPARE, OomControl, Task, Verdict, policy

COMMS = ("sshd", "systemd*", "dbus-daemon", "dockerd", "containerd*", "kubelet")
UIDS: tuple[int, ...] = ()
CGROUPS: tuple[str, ...] = ()


@policy
def protect(task: Task, oc: OomControl) -> int | Verdict:
    """Spare the named processes, users and cgroups; everyone else as the kernel would.

    When: a handful of processes must live (the way in, the node agent), and the rest is as good as any other.
    Ready: yes. Parameters: COMMS (names, "*" at the end for any ending), UIDS (numbers), CGROUPS (paths from the
    root; everything below is meant).
    """
    for name in COMMS:
        if name.endswith("*"):
            if task.comm.startswith(name[:-1]):
                return SPARE
        elif task.comm == name:
            return SPARE
    if task.uid in UIDS:
        return SPARE
    if task.memcg is not None:
        for path in CGROUPS:
            if task.memcg.is_under(path):
                return SPARE
    return DEFER
