"""What there is to attach to: the functions of the module oom_policy, or of a kernel that has the hook itself.

Belongs here: finding them, and trying whether a program may be loaded for them. Must not know: the programs that are.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from oompolicy.backends.hook.program import refuses_nothing
from oompolicy.bpf.assembly import assemble
from oompolicy.bpf.btf import Btf
from oompolicy.bpf.errors import BpfError, BtfError
from oompolicy.bpf.kernel_btf import module_btf, vmlinux_btf
from oompolicy.bpf.object_ids import kernel_btf_object
from oompolicy.bpf.programs import Program, ProgramSpec
from oompolicy.bpf.uapi import AttachType, ProgramType
from oompolicy.errors import BackendError, OompolicyError

MODULE: Final = "oom_policy"
HOOK: Final = "bpf_oom_score"
# What makes a module's function a target of fmod_ret: commit 5b481acab4ce "bpf: do not rely on ALLOW_ERROR_INJECTION
# for fmod_ret" (in v6.3).
REGISTERS: Final = "register_btf_fmodret_id_set"
CACHE: Final = Path("/run/oompolicy")
SYS_MODULE: Final = Path("/sys/module")
LIB_MODULES: Final = Path("/lib/modules")
MODULE_ABI: Final = 1
NOT_FOR_MODULES: Final = f"fmod_ret for functions of modules is not there: no {REGISTERS}(), which came with 6.3"
INSTEAD: Final = "take backend oom_score_adj, or a kernel from 6.3 on, or one with the patch: docs/hook.md"


@dataclass(frozen=True, slots=True)
class Place:
    """A function, by its id in the BTF that holds it, and how to attach to it."""

    type_id: int
    attach_type: AttachType


@dataclass(frozen=True, slots=True)
class Target:
    """Where the programs go. btf_fd is the module's BTF, 0 for the kernel's own functions."""

    name: str
    kernel: Btf
    btf_fd: int
    score: Place
    begin: Place
    end: Place


@contextmanager
def open_target(cache: Path | None = CACHE) -> Iterator[Target]:
    """The kernel's own hook where it has one, else the module's.

    Raises BackendError where there is neither: in words, with what to do about it.
    """
    folder = cache if cache is not None and cache.is_dir() else None
    with vmlinux_btf(folder) as kernel:
        if kernel.has_function(HOOK):
            yield _in_kernel(kernel)
            return
        if not is_loaded():
            if not takes_the_module(kernel):
                raise BackendError("hook", f"this kernel has no {HOOK}(), and {NOT_FOR_MODULES}", INSTEAD)
            raise BackendError("hook", f"neither this kernel nor a module has {HOOK}()", how_to_load())
        _check_abi()
        try:
            functions = module_btf(MODULE, kernel)
            with kernel_btf_object(MODULE) as btf:
                yield _in_module(kernel, functions, btf.fileno())
        except BtfError as error:
            raise BackendError(
                f"module {MODULE}", error.why, "build it anew for this kernel: kernel/Makefile"
            ) from error


def why_not(cache: Path | None = CACHE) -> OompolicyError | None:
    """Why the hook cannot be used here; None where a program for it may be loaded. Tries with one that does nothing."""
    try:
        with open_target(cache) as target:
            spec = ProgramSpec(
                ProgramType.TRACING,
                "oompolicy_try",
                assemble(refuses_nothing()),
                target.score.attach_type,
                target.score.type_id,
                target.btf_fd,
            )
            Program.load(spec).close()
    except OompolicyError as error:
        return error
    return None


def takes_the_module(kernel: Btf) -> bool:
    """Could a module bring the hook to this kernel?"""
    return kernel.has_function(REGISTERS)


def is_loaded() -> bool:
    """Is the module there?"""
    return (SYS_MODULE / MODULE).is_dir()


def installed_at(release: str) -> Path | None:
    """The module's file for a kernel, where `modprobe` would find it."""
    folder = LIB_MODULES / release
    for place in ("updates", "extra", "kernel", "."):
        if found := sorted((folder / place).glob(f"**/{MODULE}.ko*")):
            return found[0]
    return None


def load_module() -> bool:
    """modprobe it, where it is installed and not there yet; is it there now?"""
    if is_loaded():
        return True
    try:
        subprocess.run(["modprobe", "--quiet", MODULE], capture_output=True, timeout=60, check=False)
    except (OSError, subprocess.SubprocessError):
        return False
    return is_loaded()


def how_to_load() -> str:
    """What to do where the module is not there."""
    return f"modprobe {MODULE}; it is built from kernel/ of this project (see docs/hook.md)"


def _check_abi() -> None:
    try:
        abi = int((SYS_MODULE / MODULE / "parameters/abi").read_text())
    except (OSError, ValueError):
        abi = 0
    if abi != MODULE_ABI:
        raise BackendError(f"module {MODULE}", f"speaks ABI {abi}, this is for {MODULE_ABI}", "rebuild the module")


def _in_module(kernel: Btf, functions: Btf, btf_fd: int) -> Target:
    return Target(
        f"module {MODULE}",
        kernel,
        btf_fd,
        Place(functions.function(HOOK).type_id, AttachType.MODIFY_RETURN),
        Place(functions.function("oom_policy_begin").type_id, AttachType.TRACE_FENTRY),
        Place(functions.function("oom_policy_end").type_id, AttachType.TRACE_FENTRY),
    )


def _in_kernel(kernel: Btf) -> Target:
    out_of_memory = kernel.function("out_of_memory").type_id
    return Target(
        "this kernel",
        kernel,
        0,
        Place(kernel.function(HOOK).type_id, AttachType.MODIFY_RETURN),
        Place(out_of_memory, AttachType.TRACE_FENTRY),
        Place(out_of_memory, AttachType.TRACE_FEXIT),
    )


__all__ = ["BpfError", "Place", "Target", "installed_at", "is_loaded", "load_module", "open_target", "why_not"]
