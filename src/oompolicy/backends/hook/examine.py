"""What becomes of a policy on its way into this kernel, without putting it in force.

Belongs here: compiling, counting, and the verifier's word where it can be had. Must not know: how it is printed, what
the policy says of any task.
"""

from __future__ import annotations

from contextlib import ExitStack, closing
from dataclasses import dataclass

from oompolicy.backends.hook import compiled, policy_body
from oompolicy.backends.hook.attachment import create_maps
from oompolicy.backends.hook.kernel_fields import access
from oompolicy.backends.hook.layout import read_layout
from oompolicy.backends.hook.pieces import MapDescriptors
from oompolicy.backends.hook.ruling import Wanted, ruling_for
from oompolicy.backends.hook.target import CACHE, open_target
from oompolicy.bpf.assembly import slots
from oompolicy.bpf.errors import VerifierError
from oompolicy.bpf.kernel_btf import vmlinux_btf
from oompolicy.compiler.emit import Emitted
from oompolicy.compiler.frontend import translate
from oompolicy.compiler.lint import Suspicion, lint
from oompolicy.compiler.passes import optimized
from oompolicy.errors import CompileError, OompolicyError
from oompolicy.policy.api import Policy

_NO_MAPS = MapDescriptors(0, 0, 0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Examined:
    """A policy, looked at for the kernel.

    refused: why it cannot go in, be it the compiler's word or the verifier's; None where it can. emitted: its body.
    instructions: of the whole program, None where this kernel's types are not to be had. unverified: why the verifier
    could not be asked; None where it has accepted the program. paths: the cgroups that it names.
    """

    refused: OompolicyError | None = None
    emitted: Emitted | None = None
    instructions: int | None = None
    unverified: OompolicyError | None = None
    suspicions: tuple[Suspicion, ...] = ()
    paths: tuple[str, ...] = ()


def examine(policy: Policy) -> Examined:
    """Compile it for this kernel, and let the verifier see it where that is allowed; nothing stays loaded."""
    try:
        translation = translate(policy)
    except CompileError as error:
        return Examined(refused=error)
    program = translation.program
    suspicions = tuple(lint(translation, optimized(program)))
    emitted, instructions = None, None
    try:
        with vmlinux_btf(CACHE if CACHE.is_dir() else None) as btf:
            # What this kernel's verifier allows is known once it has been asked; until then the way that always works.
            kernel = policy_body.Kernel(btf, access.NONE, _NO_MAPS, -1)
            emitted = policy_body.emitted(program, kernel, is_live=True)
            body = policy_body.body(emitted, btf, access.NONE, policy.preselection is not None)
            instructions = slots(compiled.live(read_layout(btf), _NO_MAPS, 0, body))
        instructions = _verified(policy)
    except (CompileError, VerifierError) as error:
        return Examined(error, emitted, instructions, None, suspicions, program.paths)
    except OompolicyError as error:
        return Examined(None, emitted, instructions, error, suspicions, program.paths)
    return Examined(None, emitted, instructions, None, suspicions, program.paths)


def _verified(policy: Policy) -> int:
    """How many instructions the verifier has accepted. Raises OompolicyError where it was not asked, or refused."""
    with ExitStack() as stack:
        target = stack.enter_context(open_target())
        maps = create_maps()
        for each in maps.by_name().values():
            stack.enter_context(each)
        return stack.enter_context(closing(ruling_for(policy, Wanted.COMPILED, target, maps))).instructions
