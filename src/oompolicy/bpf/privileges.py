"""Why bpf(2) answers EPERM: what this process may do, and what the machine forbids everybody.

Belongs here: capabilities, user namespaces, the sysctl, lockdown. Must not know: which call was refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

# include/uapi/linux/capability.h
CAP_SYS_ADMIN: Final = 21
CAP_PERFMON: Final = 38
CAP_BPF: Final = 39

_WHOLE_UID_RANGE: Final = ["0", "0", "4294967295"]  # /proc/self/uid_map of the first user namespace


def what_forbids(root: Path = Path("/")) -> tuple[str, str] | None:
    """(why, hint) for an EPERM in this process; None where /proc and /sys below root show no reason for one."""
    held = effective_capabilities(root)
    if held is not None and not held & (1 << CAP_SYS_ADMIN):
        missing = [name for name, bit in (("CAP_BPF", CAP_BPF), ("CAP_PERFMON", CAP_PERFMON)) if not held & (1 << bit)]
        if missing:
            disabled = _read(root / "proc/sys/kernel/unprivileged_bpf_disabled") or "?"
            why = f"not permitted: this process lacks {' and '.join(missing)}"
            return f"{why} (kernel.unprivileged_bpf_disabled is {disabled})", "run it as root"
    if _read(root / "proc/self/uid_map").split() not in (_WHOLE_UID_RANGE, []):
        return "not permitted in a user namespace, whose capabilities do not count", "run it outside of the container"
    if lockdown(root) not in (None, "none"):
        return f"not permitted: the kernel is locked down ({lockdown(root)})", "see kernel_lockdown(7)"
    return None


def effective_capabilities(root: Path = Path("/")) -> int | None:
    """The CapEff mask of this process, None where procfs does not tell."""
    for line in _read(root / "proc/self/status").splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16)
    return None


def lockdown(root: Path = Path("/")) -> str | None:
    """The level in force: "none", "integrity" or "confidentiality"; None where the kernel has no lockdown.

    In "confidentiality" BPF programs may not read the kernel's memory (security/lockdown/lockdown.c,
    LOCKDOWN_BPF_READ_KERNEL): the verifier then does not know bpf_probe_read_kernel.
    """
    levels = _read(root / "sys/kernel/security/lockdown")
    _, found, rest = levels.partition("[")
    return rest.partition("]")[0] if found else None


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
