"""From a policy to a body for the kernel at hand: front end, passes, emitter, and the reader of this kernel's fields.

Belongs here: the compiler's parts in their order. Must not know: what is around a body, how it is loaded.
"""

from __future__ import annotations

from typing import Final

from oompolicy.backends.hook.abi import MEMO_WORD
from oompolicy.backends.hook.compiled import Body
from oompolicy.backends.hook.kernel_fields import FRAME_BYTES, Frame, KernelFields, Memo, Paths
from oompolicy.backends.hook.kernel_fields.access import Access
from oompolicy.backends.hook.pieces import ENTRIES, FRAME_TOP, POINTS, MapDescriptors
from oompolicy.bpf.btf import Btf
from oompolicy.compiler import ir
from oompolicy.compiler.emit import Emitted, emit
from oompolicy.compiler.frontend import compile_to_ir
from oompolicy.compiler.passes import optimized
from oompolicy.policy.api import Policy

_VALUES: Final = frozenset({"task.value", "memcg.value"})
_OWN: Final = FRAME_TOP - FRAME_BYTES


def intermediate(policy: Policy) -> ir.Program:
    """What the policy computes. Raises CompileError."""
    return compile_to_ir(policy)


def emitted(
    program: ir.Program, btf: Btf, access: Access, maps: MapDescriptors, paths_fd: int, is_live: bool
) -> Emitted:
    """The instructions for a kernel of these types. Raises PolicyError where the policy is too large, BtfError for a
    field that this kernel has not got.
    """
    # A shadow's programs run between the live policy's, and would only overwrite what it remembers.
    memo = Memo(maps.control, 8 * MEMO_WORD) if is_live else None
    reader = KernelFields(btf, access, Frame(POINTS, ENTRIES, _OWN), Paths(paths_fd, program.paths), memo)
    return emit(optimized(program), reader, _OWN)


def body(made: Emitted, has_preselection: bool) -> Body:
    """What was emitted, with what its surroundings must know of it."""
    places = tuple(f"{failure.place}: {failure.why}" for failure in made.places)
    return Body(made.lines, places, _reads_values(made.program), has_preselection)


def _reads_values(program: ir.Program) -> bool:
    return any(isinstance(step, ir.Read) and step.field in _VALUES for block in program.blocks for step in block.steps)
