"""From a policy to a body for the kernel at hand: front end, passes, emitter, and the reader of this kernel's fields.

Belongs here: the compiler's parts in their order. Must not know: what is around a body, how it is loaded.
"""

from __future__ import annotations

from oompolicy.backends.hook.compiled import Body
from oompolicy.bpf.btf import Btf
from oompolicy.compiler import ir
from oompolicy.errors import BackendError
from oompolicy.policy.api import Policy


def intermediate(policy: Policy) -> ir.Program:
    """What the policy computes. Raises CompileError."""
    raise BackendError(f"policy {policy.name}", "there is no compiler yet")


def body(program: ir.Program, kernel: Btf, paths_fd: int, has_preselection: bool) -> Body:
    """The instructions for this kernel. Raises PolicyError where the policy is too large for it."""
    raise BackendError(f"policy {program.name}", "there is no compiler yet")
