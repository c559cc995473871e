"""What this machine offers to an OOM policy, found by feature.

Belongs here: looking, without changing anything. Must not know: which backend is chosen by it, how it is printed.
"""

from __future__ import annotations

import enum
import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from oompolicy.mm.rules import rules_for
from oompolicy.sources.cgroup_mount import Hierarchy, find_memory_hierarchy
from oompolicy.sources.cgroup_value import USER_NAME

# Daemons that kill by themselves when memory gets short: two judges, and neither knows of the other.
OTHER_KILLERS = ("earlyoom", "systemd-oomd", "oomd", "nohang", "nohang-desktop")
CAP_SYS_RESOURCE = 24


class State(enum.Enum):
    """How good a finding is."""

    GOOD = "yes"
    CARE = "care"
    BAD = "no"


@dataclass(frozen=True, slots=True)
class Offer:
    """One finding: what was looked at, how it is, and what to do about it (None: nothing)."""

    what: str
    state: State
    found: str
    todo: str | None = None


def offers(proc: Path = Path("/proc"), sys: Path = Path("/sys")) -> Iterator[Offer]:
    """Everything that decides what oompolicy can do here, in the order of importance."""
    release = (proc / "sys/kernel/osrelease").read_text().strip()
    rules = rules_for(release)
    yield Offer("kernel", State.GOOD, f"{release}: on equal points dies {rules.ties.value}")
    yield _privilege(proc)
    yield from _memory_controller(find_memory_hierarchy(proc, sys))
    yield _kernel_log(Path("/dev/kmsg"))
    yield from _sysctls(proc)
    yield _pressure(proc)
    yield _other_killers(proc)


def can_lower_oom_score_adj(proc: Path = Path("/proc")) -> bool:
    """May this process write less to another's oom_score_adj than it has (CAP_SYS_RESOURCE)?

    C: __set_oom_adj(), fs/proc/base.c: without it only values from oom_score_adj_min up are taken.
    """
    return _has_capability(proc, CAP_SYS_RESOURCE)


def _has_capability(proc: Path, number: int) -> bool:
    for line in (proc / "self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> number & 1)
    return False


def _privilege(proc: Path) -> Offer:
    if os.geteuid() != 0:
        return Offer(
            "root", State.BAD, f"uid {os.geteuid()}: can look, not act", "run as root to put a policy in force"
        )
    if not can_lower_oom_score_adj(proc):
        return Offer(
            "root", State.CARE, "root without CAP_SYS_RESOURCE: may raise oom_score_adj, not lower it",
            "grant it to the container, for orderings that raising alone cannot hold",
        )  # fmt: skip
    return Offer("root", State.GOOD, "may write oom_score_adj")


def _memory_controller(hierarchy: Hierarchy | None) -> Iterator[Offer]:
    if hierarchy is None:
        yield Offer(
            "memory controller", State.BAD, "none is mounted: only the whole machine can be looked at",
            "boot with cgroup_enable=memory, or mount cgroup2",
        )  # fmt: skip
        return
    yield Offer("memory controller", State.GOOD, f"cgroup {hierarchy.version} at {hierarchy.directory}")
    if hierarchy.version == "v2":
        control = hierarchy.directory / "cgroup.subtree_control"
        if control.exists() and "memory" not in control.read_text().split():
            yield Offer("memcgs", State.BAD, "no child cgroup has a memory account", f"echo +memory > {control}")
    try:
        os.getxattr(hierarchy.directory, USER_NAME)
    except OSError as error:
        if error.errno == errno.EOPNOTSUPP:
            yield Offer("values", State.CARE, "only root sees values: this cgroup file system has no user.* attributes")
            return
    yield Offer("values", State.GOOD, "kept as extended attributes of the cgroups")


def _kernel_log(kmsg: Path) -> Offer:
    try:
        os.close(os.open(kmsg, os.O_RDONLY | os.O_NONBLOCK))
    except OSError as error:
        todo = "sysctl kernel.dmesg_restrict=0, or run as root" if isinstance(error, PermissionError) else None
        return Offer("kernel log", State.CARE, f"{kmsg} cannot be read: {error.strerror}", todo)
    return Offer("kernel log", State.GOOD, f"{kmsg} can be read")


# sysctl -> (the value that is well, what another one means, what to do)
SYSCTLS = {
    "oom_kill_allocating_task": ("0", "whoever asks for memory is killed, without a choice: no policy is asked"),
    "panic_on_oom": ("0", "the machine panics when it runs out: no policy is asked"),
    "oom_dump_tasks": ("1", "OOM reports come without their table of tasks: replay cannot decide them"),
}


def _sysctls(proc: Path) -> Iterator[Offer]:
    for name, (well, meaning) in SYSCTLS.items():
        path = proc / "sys/vm" / name
        value = path.read_text().strip() if path.exists() else well
        if value == well:
            yield Offer(f"vm.{name}", State.GOOD, value)
        else:
            yield Offer(f"vm.{name}", State.CARE, f"{value}: {meaning}", f"sysctl vm.{name}={well}")


def _pressure(proc: Path) -> Offer:
    path = proc / "pressure/memory"
    try:
        path.read_bytes()
    except FileNotFoundError:
        return Offer("PSI", State.CARE, "this kernel has none (CONFIG_PSI)")
    except OSError as error:
        return Offer("PSI", State.CARE, f"off: {error.strerror}", "boot with psi=1")
    return Offer("PSI", State.GOOD, "memory pressure is measured")


def _other_killers(proc: Path) -> Offer:
    running = []
    for comm in proc.glob("[0-9]*/comm"):
        try:
            name = comm.read_text().strip()
        except OSError:
            continue
        if name in OTHER_KILLERS:
            running.append(f"{name} ({comm.parent.name})")
    if running:
        return Offer(
            "other OOM killers", State.CARE, f"{', '.join(running)}: may kill before the policy is asked",
            "stop it, or keep its thresholds below the kernel's",
        )  # fmt: skip
    return Offer("other OOM killers", State.GOOD, "none runs")
