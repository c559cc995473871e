"""From a policy to a body for the kernel at hand: front end, passes, emitter, and the reader of this kernel's fields.

Belongs here: the compiler's parts in their order. Must not know: what is around a body, how it is loaded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from oompolicy.backends.hook.abi import MEMO_WORD
from oompolicy.backends.hook.compiled import Body
from oompolicy.backends.hook.kernel_fields import FRAME_BYTES, OF_THE_THREAD, Frame, KernelFields, Memo, Paths
from oompolicy.backends.hook.kernel_fields.access import Access
from oompolicy.backends.hook.pieces import ENTRIES, FRAME_TOP, POINTS, MapDescriptors
from oompolicy.bpf.assembly import Line
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


@dataclass(frozen=True, slots=True)
class Kernel:
    """What a body is made for: a kernel's types, the ways to memory it allows, the maps of the program's set."""

    btf: Btf
    access: Access
    maps: MapDescriptors
    paths_fd: int


def emitted(program: ir.Program, kernel: Kernel, is_live: bool, forgets: bool = False) -> Emitted:
    """The instructions for that kernel; forgets: as emit() has it. Raises PolicyError where the policy is too large,
    BtfError for a field that this kernel has not got.
    """
    # A shadow's programs run between the live policy's, and would only overwrite what it remembers.
    memo = Memo(kernel.maps.control, 8 * MEMO_WORD) if is_live else None
    paths = Paths(kernel.paths_fd, program.paths)
    reader = KernelFields(kernel.btf, kernel.access, Frame(POINTS, ENTRIES, _OWN), paths, memo)
    return emit(optimized(program), reader, _OWN, forgets=forgets)


def body(made: Emitted, btf: Btf, access: Access, has_preselection: bool) -> Body:
    """What was emitted for a kernel, with what its surroundings must know of it."""
    places = tuple(f"{failure.place}: {failure.why}" for failure in made.places)
    lines = (*_settled(made, btf, access), *made.lines)
    return Body(lines, places, _reads(made.program, _VALUES), has_preselection)


def _settled(made: Emitted, btf: Btf, access: Access) -> tuple[Line, ...]:
    """The task of the body is the thread that has the memory, as in the model, where that makes a difference."""
    reader = KernelFields(btf, access, Frame(POINTS, ENTRIES, _OWN))
    return tuple(reader.settle("settle")) if _reads(made.program, OF_THE_THREAD) else ()


def _reads(program: ir.Program, fields: frozenset[str]) -> bool:
    steps = (step for block in program.blocks for step in block.steps)
    return any(isinstance(step, ir.Read) and step.field in fields for step in steps)
