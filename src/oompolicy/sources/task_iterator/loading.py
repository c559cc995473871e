"""Making the iterator: in a way that this kernel takes.

Belongs here: loading it, and whether it tells of this very process. Must not know: what a record is for.
"""

from __future__ import annotations

import os
from pathlib import Path

from oompolicy.bpf.assembly import assemble
from oompolicy.bpf.btf import Btf
from oompolicy.bpf.errors import BpfError, VerifierError
from oompolicy.bpf.kernel_btf import vmlinux_btf
from oompolicy.bpf.links import Link
from oompolicy.bpf.programs import Program, ProgramSpec
from oompolicy.bpf.uapi import AttachType, ProgramType
from oompolicy.sources.live import TICK_NS
from oompolicy.sources.procfs import parse_stat
from oompolicy.sources.task_iterator.iterator import TaskIterator
from oompolicy.sources.task_iterator.program import FUNCTION, TaskProgram
from oompolicy.sources.task_iterator.record import Record, records


def load_iterator(cache: Path | None = None) -> TaskIterator:
    """For the running kernel; cache is a folder where what is read of its BTF is remembered, if it is there.

    Raises BpfError where there is no BTF or no such iterator, where this user may not load programs, or where the
    numbers that it tells are not those of this process's pid namespace.
    """
    remembered = cache if cache is not None and cache.is_dir() else None
    with (
        vmlinux_btf(remembered) as btf,
        _program(btf) as program,
        Link.attach(program, AttachType.TRACE_ITER) as link,
    ):
        iterator = TaskIterator(os.dup(link.fileno()))
    try:
        if not any(map(_is_this_process, records(_first_look(iterator)))):
            raise BpfError("the task iterator", "does not tell of this process by its pid here")
    except BaseException:
        iterator.close()
        raise
    return iterator


def _first_look(iterator: TaskIterator) -> bytes:
    try:
        return iterator.read()
    except OSError as error:
        raise BpfError("the task iterator", f"cannot be read: {error.strerror}", errno=error.errno) from None


def _is_this_process(record: Record) -> bool:
    """By pid and start time: in another pid namespace somebody else may have our number among the kernel's own."""
    start_ticks = parse_stat(Path("/proc/self/stat").read_bytes()).start_time
    return record.tgid == os.getpid() and record.start_ns // TICK_NS == start_ticks


def _program(btf: Btf) -> Program:
    """Loads where the verifier allows them, else probing: 6.1 refuses a load of rss_stat.count[]."""
    place = btf.function(FUNCTION).type_id
    try:
        return Program.load(_spec(TaskProgram(btf, probes=False), place))
    except VerifierError:
        return Program.load(_spec(TaskProgram(btf, probes=True), place))


def _spec(program: TaskProgram, place: int) -> ProgramSpec:
    code = assemble(program.lines())
    return ProgramSpec(ProgramType.TRACING, "oompolicy_tasks", code, AttachType.TRACE_ITER, place)
