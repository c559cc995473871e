"""What of the hook this machine has, found by looking, and what to do about the rest. Changes nothing.

Belongs here: BTF, module, lockdown, Secure Boot, whether programs may be loaded. Must not know: how it is printed.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from oompolicy.backends.hook import pins
from oompolicy.backends.hook.abi import ControlWord, Form
from oompolicy.backends.hook.target import (
    HOOK,
    INSTEAD,
    LIB_MODULES,
    MODULE,
    NOT_FOR_MODULES,
    SYS_MODULE,
    how_to_load,
    installed_at,
    is_loaded,
    takes_the_module,
    why_not,
)
from oompolicy.bpf.kernel_btf import vmlinux_btf
from oompolicy.bpf.privileges import lockdown
from oompolicy.errors import OompolicyError, PrivilegeError

# UEFI specification, 3.3: global variables; four bytes of attributes come before the value.
SECURE_BOOT: Final = "firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
_LEFT: Final = {Form.COMPILED_WITH_VALUES: "the policy decides, without values"}
GOOD, CARE, BAD = "yes", "care", "no"


class Finding(NamedTuple):
    """What was looked at, how it is (yes, care, no), what was found, and what to do (None: nothing)."""

    what: str
    ok: str
    found: str
    todo: str | None = None


def findings(sys: Path = Path("/sys")) -> Iterator[Finding]:
    """Everything that decides whether the kernel itself can obey, in the order in which it matters."""
    has_btf = (sys / "kernel/btf/vmlinux").exists()
    if not has_btf:
        yield Finding("BTF", BAD, "this kernel has none: no BPF program can be made for it", "CONFIG_DEBUG_INFO_BTF")
    else:
        yield Finding("BTF", GOOD, "the kernel tells its types")
    in_kernel, by_module = _offers(sys) if has_btf and os.geteuid() == 0 else (False, True)
    if in_kernel:
        yield Finding("hook", GOOD, f"this kernel has {HOOK}() itself")
    elif by_module:
        yield _module(os.uname().release)
    else:
        yield Finding("hook", BAD, f"this kernel has no {HOOK}(), and no module can bring it: see fmod_ret", INSTEAD)
        yield Finding("fmod_ret", BAD, NOT_FOR_MODULES, INSTEAD)
    yield _lockdown(sys)
    yield from _secure_boot(sys, in_kernel)
    if in_kernel or is_loaded():
        yield _programs()
    attached = pins.in_force()
    if attached is not None:
        yield _attached(attached)


def _offers(sys: Path) -> tuple[bool, bool]:
    """Has the kernel the hook itself? Could a module bring it? Where that cannot be told, the module is tried."""
    try:
        with vmlinux_btf(None, sys / "kernel") as kernel:
            return kernel.has_function(HOOK), takes_the_module(kernel)
    except OompolicyError:
        return False, True


def _module(release: str) -> Finding:
    if is_loaded():
        try:
            abi = (SYS_MODULE / MODULE / "parameters/abi").read_text().strip()
        except OSError:
            abi = "unknown"
        return Finding("hook", GOOD, f"the module {MODULE} is loaded, ABI {abi}")
    file = installed_at(release)
    if file is not None:
        return Finding("hook", CARE, f"the module {MODULE} is installed, not loaded", f"modprobe {MODULE}")
    where = LIB_MODULES / release
    return Finding("hook", BAD, f"this kernel has no {HOOK}(), and there is no {MODULE} in {where}", how_to_load())


def _lockdown(sys: Path) -> Finding:
    level = lockdown(sys.parent)
    if level == "confidentiality":
        why = "confidentiality: no BPF program may read the kernel's memory"
        return Finding("lockdown", BAD, why, "boot with lockdown=integrity")
    if level == "integrity":
        return Finding(
            "lockdown", CARE, "integrity: only signed modules can be loaded", "sign the module: kernel/README.md"
        )
    return Finding("lockdown", GOOD, "none" if level else "this kernel has none")


def _secure_boot(sys: Path, in_kernel: bool) -> Iterator[Finding]:
    try:
        value = (sys / SECURE_BOOT).read_bytes()
    except OSError:
        yield Finding("Secure Boot", GOOD, "off, or no UEFI")
        return
    if value[4:5] != b"\1":
        yield Finding("Secure Boot", GOOD, "off")
    elif in_kernel:
        yield Finding("Secure Boot", GOOD, "on; no module is needed")
    else:
        yield Finding("Secure Boot", CARE, "on: only signed modules can be loaded", "enrol a key: kernel/README.md")


def _programs() -> Finding:
    reason = why_not()
    if reason is None:
        return Finding("fmod_ret", GOOD, f"a BPF program may be attached to {HOOK}()")
    if isinstance(reason, PrivilegeError) and os.geteuid() != 0:
        return Finding("fmod_ret", CARE, "only root can tell", "run doctor as root")
    todo = reason.hint or "some sandboxes and containers refuse such programs: run it on the host"
    return Finding("fmod_ret", BAD, f"{reason.what}: {reason.why}", todo)


def _attached(path: Path) -> Finding:
    """What is in force, and whether somebody looks after it."""
    try:
        with contextlib.closing(pins.open_control(path)) as control:
            counts = {word: control[word] for word in ControlWord}
            form = control.of_slot(ControlWord.SLOT_FORM, counts[ControlWord.LIVE_SLOT])
    except OompolicyError as error:
        return Finding("attached", CARE, f"{path} cannot be opened: {error.why}", "oompolicy detach")
    age_s = (time.monotonic_ns() - counts[ControlWord.HEARTBEAT_NS]) / 1e9
    ttl_s = counts[ControlWord.TTL_NS] / 1e9
    found = (
        f"asked {counts[ControlWord.ASKED]} times, answered {counts[ControlWord.ANSWERED]}, "
        f"faulted {counts[ControlWord.FAULTS]}, expired {counts[ControlWord.EXPIRED]}; "
        f"the last look was {age_s:.0f} s ago"
    )
    if age_s > ttl_s and form != Form.COMPILED:
        left = _LEFT.get(Form(form), "the kernel decides")
        return Finding("attached", CARE, f"{found}: expired, {left}", "run the daemon, or oompolicy detach")
    return Finding("attached", GOOD, found)
