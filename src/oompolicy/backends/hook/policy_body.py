"""From a policy to a body for the kernel at hand: front end, passes, emitter, and the reader of this kernel's fields.

Belongs here: the compiler's parts in their order. Must not know: what is around a body, how it is loaded.
"""

from __future__ import annotations

from typing import Final

from oompolicy.backends.hook.abi import MEMO_WORD
from oompolicy.backends.hook.compiled import Body
from oompolicy.backends.hook.kernel_fields import FRAME_BYTES, OF_THE_THREAD, Frame, KernelFields, Memo, Paths
from oompolicy.backends.hook.kernel_fields.trial import find
from oompolicy.backends.hook.pieces import ENTRIES, FRAME_TOP, POINTS, MapDescriptors
from oompolicy.backends.hook.target import Target
from oompolicy.compiler import ir
from oompolicy.compiler.emit import emit
from oompolicy.compiler.frontend import compile_to_ir
from oompolicy.compiler.passes import optimized
from oompolicy.policy.api import Policy

_VALUES: Final = frozenset({"task.value", "memcg.value"})
_OWN: Final = FRAME_TOP - FRAME_BYTES


def intermediate(policy: Policy) -> ir.Program:
    """What the policy computes. Raises CompileError."""
    return compile_to_ir(policy)


def body(program: ir.Program, target: Target, maps: MapDescriptors, paths_fd: int, is_live: bool) -> Body:
    """The instructions for this kernel. Raises PolicyError where the policy is too large, BtfError for a field that
    this kernel has not got.
    """
    # A shadow's programs run between the live policy's, and would only overwrite what it remembers.
    memo = Memo(maps.control, 8 * MEMO_WORD) if is_live else None
    frame = Frame(POINTS, ENTRIES, _OWN)
    reader = KernelFields(target.kernel, find(target), frame, Paths(paths_fd, program.paths), memo)
    program = optimized(program)
    emitted = emit(program, reader, _OWN)
    places = tuple(f"{failure.place}: {failure.why}" for failure in emitted.places)
    # The model takes a process for the thread that has its memory.
    settled = tuple(reader.settle("settle")) if _reads(emitted.program, OF_THE_THREAD) else ()
    return Body((*settled, *emitted.lines), places, _reads(emitted.program, _VALUES))


def _reads(program: ir.Program, fields: frozenset[str]) -> bool:
    steps = [step for block in program.blocks for step in block.steps]
    return any(isinstance(step, ir.Read) and step.field in fields for step in steps)
