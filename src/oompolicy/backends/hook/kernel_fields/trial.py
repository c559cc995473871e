"""Finding out which ways to memory this kernel allows: by handing the verifier a program for each.

Belongs here: trying, once for a kernel. Must not know: what is read when a policy is compiled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from oompolicy.backends.hook.kernel_fields import access
from oompolicy.backends.hook.kernel_fields.access import NONE, Access
from oompolicy.backends.hook.kernel_fields.comm import WORDS
from oompolicy.backends.hook.kernel_fields.ground import FRAME_BYTES, Frame
from oompolicy.backends.hook.kernel_fields.reader import KernelFields
from oompolicy.backends.hook.target import CACHE, Target
from oompolicy.bpf.assembly import Label, Line, assemble
from oompolicy.bpf.btf import Btf
from oompolicy.bpf.errors import BtfError, VerifierError
from oompolicy.bpf.instructions import Exit, Load, move
from oompolicy.bpf.kernel_btf import build_id
from oompolicy.bpf.opcodes import R0, R1, R6, Width
from oompolicy.bpf.programs import Program, ProgramSpec
from oompolicy.bpf.uapi import ProgramType

# A way, and the fields that show it best.
WAYS = {"casts": ("task.pgtables",), "loads_comm": WORDS, "sums_cpus": ("task.rss_anon",)}
Loads = Callable[[Iterator[Line]], bool]


def find(target: Target, folder: Path | None = CACHE) -> Access:
    """The ways of this kernel, remembered by its build id in a folder that is there. Raises BpfError where nothing
    can be loaded at all.
    """
    identity = build_id()
    path = folder / f"fields-{identity}.json" if folder and folder.is_dir() and identity else None
    found = access.load(path) if path else None
    if found is None:
        found = try_all(target.kernel, lambda lines: _loads(target, lines))
        if path:
            access.save(found, path)
    return found


def try_all(btf: Btf, loads: Loads) -> Access:
    """All at once, which is one program where all is allowed; else one by one."""
    if _works(btf, loads, Access(), [field for fields in WAYS.values() for field in fields]):
        return Access()
    found = NONE
    for way, fields in WAYS.items():
        wanted = replace(found, **{way: True})
        if _works(btf, loads, wanted, fields):
            found = wanted
    return found


def _works(btf: Btf, loads: Loads, wanted: Access, fields: list[str] | tuple[str, ...]) -> bool:
    try:
        return loads(_program(btf, wanted, fields))
    except BtfError:  # what it needs is not there
        return False


def _program(btf: Btf, wanted: Access, fields: list[str] | tuple[str, ...]) -> Iterator[Line]:
    """The task is the first argument."""
    reader = KernelFields(btf, wanted, Frame(-8, -16, -16 - FRAME_BYTES))
    yield Load(Width.U64, R6, R1, 0)
    for number, field in enumerate(fields):
        yield from (move(R1, R6), *reader.read(field, None, f"read_{number}", "leave"))
    yield from (Label("leave"), move(R0, 0), Exit())


def _loads(target: Target, lines: Iterator[Line]) -> bool:
    place = target.score
    code = assemble(lines)
    spec = ProgramSpec(
        ProgramType.TRACING, "oompolicy_try", code, place.attach_type, place.type_id, target.btf_fd
    )  # fmt: skip
    try:
        Program.load(spec).close()
    except VerifierError:  # any other refusal says nothing of the program, and is not to be remembered
        return False
    return True
