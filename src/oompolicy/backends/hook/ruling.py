"""From a policy to a program for a slot: compiled where it compiles, else one that looks its answers up.

Belongs here: which of the two, the policy's id, loading. Must not know: slots, entries, when it is put in force.
"""

from __future__ import annotations

import hashlib
from contextlib import ExitStack
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

from oompolicy.backends.hook import compiled, policy_body, published
from oompolicy.backends.hook.abi import FAULT_KEY, FAULT_VALUE, Form, shown
from oompolicy.backends.hook.attachment import Maps, spec
from oompolicy.backends.hook.compiled import Body
from oompolicy.backends.hook.kernel_fields.trial import find
from oompolicy.backends.hook.layout import read_layout
from oompolicy.backends.hook.paths import Paths
from oompolicy.backends.hook.target import Place, Target
from oompolicy.bpf.assembly import Line, assemble, slots
from oompolicy.bpf.errors import VerifierError
from oompolicy.bpf.programs import Program
from oompolicy.bpf.uapi import AttachType
from oompolicy.errors import BackendError, OompolicyError
from oompolicy.policy.api import Policy

_FAULT_TEXT_BYTES: Final = FAULT_VALUE.size - 8


class Wanted(Enum):
    """How a policy is to be put into the kernel."""

    COMPILED_IF_POSSIBLE = "compiled where it compiles"
    COMPILED = "compiled"
    PUBLISHED = "published"


@dataclass(frozen=True, slots=True)
class Ruling:
    """A policy as a program of the kernel's. instructions: of the whole program; why_published: None where compiled."""

    policy: Policy
    id: int
    form: Form
    program: Program
    instructions: int
    paths: Paths
    places: tuple[str, ...] = ()
    why_published: OompolicyError | None = None

    @property
    def is_compiled(self) -> bool:
        """Is the policy itself asked in the kernel?"""
        return self.form is not Form.PUBLISHED

    @property
    def name(self) -> str:
        """The policy's name, and what tells this text of it from others of the name."""
        return shown(self.policy.name, self.id)

    @property
    def in_words(self) -> str:
        """One line for the log."""
        if self.is_compiled:
            return f"policy {self.name} runs in the kernel: compiled, {self.instructions} instructions"
        why = "" if self.why_published is None else f"; it is not compiled: {first_of(self.why_published)}"
        return f"policy {self.name}: its answers are published{why}"

    def close(self) -> None:
        """Let go of it; what a slot or a link holds stays."""
        self.program.close()
        self.paths.close()


def first_of(error: OompolicyError) -> str:
    """An error in one line: a compiler's has many, and `oompolicy check` shows them all."""
    return f"{error.what}: {error.why}"


def ruling_for(policy: Policy, wanted: Wanted, target: Target, maps: Maps) -> Ruling:
    """Load the policy's program, ready to go into a slot.

    Raises OompolicyError where it cannot be as wanted; nothing in force is touched. A policy that may be compiled or
    not is published where the compiler, or the verifier, refuses it.
    """
    if wanted is not Wanted.PUBLISHED:
        try:
            return _compiled(policy, target, maps)
        except OompolicyError as error:
            if wanted is Wanted.COMPILED:
                raise
            why: OompolicyError | None = error
    else:
        why = None
    policy_id = id_of(policy, _text_of(policy))
    lines = list(published.body(read_layout(target.kernel), maps.descriptors(), policy_id))
    program = _load("published", lines, target, target.score)
    return Ruling(policy, policy_id, Form.PUBLISHED, program, slots(lines), Paths(()), (), why)


def shadow_for(policy: Policy, target: Target, maps: Maps) -> Ruling:
    """Load a policy's program that decides nothing, for attaching beside the live one. Raises OompolicyError."""
    if policy.preselection is not None:
        raise BackendError(f"shadow {policy.name}", "it has a preselection, which is made for the live policy alone")
    return _compiled(policy, target, maps, is_shadow=True)


def _compiled(policy: Policy, target: Target, maps: Maps, is_shadow: bool = False) -> Ruling:
    """With all that the verifier can know; where it gives up, with as little as it needs (emit/forgetting.py)."""
    program = policy_body.intermediate(policy)
    policy_id = id_of(policy, str(program))
    with ExitStack() as stack:
        paths = stack.enter_context(Paths(program.paths))
        kernel = policy_body.Kernel(target.kernel, find(target), maps.descriptors(), paths.fileno())

        def load(forgets: bool) -> tuple[Body, list[Line], Program]:
            made = policy_body.emitted(program, kernel, not is_shadow, forgets)
            body = policy_body.body(made, kernel.btf, kernel.access, policy.preselection is not None)
            make = compiled.shadow if is_shadow else compiled.live
            lines = list(make(read_layout(kernel.btf), kernel.maps, policy_id, body))
            place = Place(target.score.type_id, AttachType.TRACE_FENTRY) if is_shadow else target.score
            return body, lines, _load(policy.name, lines, target, place)

        try:
            body, lines, loaded = load(forgets=False)
        except VerifierError as error:
            if not error.has_too_many_ways:
                raise
            body, lines, loaded = load(forgets=True)
        stack.pop_all()
    _name_places(maps, policy_id, body)
    form = Form.COMPILED_WITH_VALUES if body.goes_by_entries else Form.COMPILED
    return Ruling(policy, policy_id, form, loaded, slots(lines), paths, body.places)


def id_of(policy: Policy, text: str) -> int:
    """Of a policy's name and text: another text is another policy."""
    digest = hashlib.blake2b(f"{policy.name}\0{text}".encode(errors="surrogateescape"), digest_size=8).digest()
    return int.from_bytes(digest, "little") or 1


def _text_of(policy: Policy) -> str:
    """What a policy that does not compile is known by: its file, its code, its parameters."""
    code = getattr(policy.function, "__code__", None)
    try:
        source = Path(policy.source_path or "").read_text(errors="replace")
    except OSError:
        source = ""
    return f"{source}{sorted(policy.parameters.items())}{b'' if code is None else code.co_code!r}"


def _load(name: str, lines: list[Line], target: Target, place: Place) -> Program:
    return Program.load(spec(name, assemble(lines), target, place))


def _name_places(maps: Maps, policy_id: int, body: Body) -> None:
    """So that a fault can be counted at its place, and told of by a daemon that has not compiled the policy."""
    for number, text in enumerate(body.places):
        key = FAULT_KEY.pack(policy_id, number)
        if maps.faults.lookup(key) is None:
            words = text.encode()[: _FAULT_TEXT_BYTES - 1]
            maps.faults.update(key, FAULT_VALUE.pack(0, words))
