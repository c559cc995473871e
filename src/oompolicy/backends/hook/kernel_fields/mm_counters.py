"""Fields of a task that are in its mm_struct: resident pages, swap, page tables.

Belongs here: which mm, which counters, and their sums over CPUs. Must not know: what the sums are compared with.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from oompolicy.backends.hook.kernel_fields.ground import (
    PAGE_SHIFT,
    U32,
    U64,
    Ground,
    Request,
    not_negative,
    within_pages,
)
from oompolicy.backends.hook.kernel_fields.possible_cpus import possible_cpus
from oompolicy.backends.hook.kernel_fields.threads import find_mm
from oompolicy.bpf.assembly import Label, Line
from oompolicy.bpf.btf_types import Kind
from oompolicy.bpf.instructions import Alu, Call, Jump, Load, LoadVariable, Store, add, move
from oompolicy.bpf.opcodes import R0, R1, R2, R3, R4, R10, AluOp, JumpOp
from oompolicy.bpf.uapi import Helper

ANY_CPU_VARIABLE: Final = "bpf_prog_active"  # kernel/bpf/syscall.c: wherever there is bpf(2)
RESIDENT: Final = ("MM_FILEPAGES", "MM_ANONPAGES", "MM_SHMEMPAGES")
_BASE, _SUM, _CPU = 3, 4, 5  # own words; 0 and 1 are what `reach` and `take` keep and probe into


def rss(ground: Ground, request: Request) -> Iterator[Line]:
    """get_mm_rss() as oom_badness() reads it: three counters, each 0 where it is below, not summed over CPUs."""
    yield from (*_mm(ground, request), Store(U64, R10, ground.own(_SUM), 0))
    for number, name in enumerate(RESIDENT):
        yield from ground.take(R1, "mm_struct", _counter(ground, name), request.fail)
        yield from not_negative(R1, request.label(f"counted_{number}"))
        yield from (Load(U64, R2, R10, ground.own(_SUM)), add(R2, R1), Store(U64, R10, ground.own(_SUM), R2))
    yield from (Load(U64, R0, R10, ground.own(_SUM)), *within_pages(request.labels))


def rss_anon(ground: Ground, request: Request) -> Iterator[Line]:
    """RssAnon of /proc/PID/status."""
    yield from _exact(ground, request, "MM_ANONPAGES")


def rss_file(ground: Ground, request: Request) -> Iterator[Line]:
    """RssFile."""
    yield from _exact(ground, request, "MM_FILEPAGES")


def rss_shmem(ground: Ground, request: Request) -> Iterator[Line]:
    """RssShmem."""
    yield from _exact(ground, request, "MM_SHMEMPAGES")


def swap(ground: Ground, request: Request) -> Iterator[Line]:
    """VmSwap."""
    yield from _exact(ground, request, "MM_SWAPENTS")


def pgtables(ground: Ground, request: Request) -> Iterator[Line]:
    """mm_pgtables_bytes() / PAGE_SIZE."""
    yield from _mm(ground, request)
    yield from ground.take(R1, "mm_struct", "pgtables_bytes.counter", request.fail)
    yield from (*not_negative(R1, request.label("counted")), Alu(AluOp.RSH, R1, PAGE_SHIFT))
    yield from (move(R0, R1), *within_pages(request.labels))


def has_cpu_counters(ground: Ground) -> bool:
    """Since commit f1a7941243c1 "mm: convert mm's rss stats into percpu_counter" (in v6.2); without SMP there is
    nothing to sum.
    """
    return not ground.btf.has_field("mm_struct", "rss_stat.count") and ground.btf.has_field(
        "percpu_counter", "counters"
    )


def _counter(ground: Ground, name: str, part: str = "count") -> str:
    """The path of one of them in mm_struct."""
    number = ground.btf.enumerator(name)
    if ground.btf.has_field("mm_struct", "rss_stat.count"):
        return f"rss_stat.count[{number}].counter"
    return f"rss_stat[{number}].{part}"


def _mm(ground: Ground, request: Request) -> Iterator[Line]:
    """The mm is reached; to fail where there is none."""
    yield from (*find_mm(ground, request.labels, request.fail), *ground.reach("mm_struct"))


def _exact(ground: Ground, request: Request, name: str) -> Iterator[Line]:
    """One counter as task_mem(), fs/proc/task_mmu.c, shows it: summed over the CPUs since commit 82241a83cd15 "mm:
    fix the inaccurate memory statistics issue for users" (in v6.16, and in stable kernels).
    """
    yield from _mm(ground, request)
    sums = ground.access.sums_cpus and has_cpu_counters(ground)
    if sums:
        yield from ground.take(R4, "mm_struct", _counter(ground, name, "counters"), request.fail)
        yield Store(U64, R10, ground.own(_BASE), R4)
    yield from ground.take(R4, "mm_struct", _counter(ground, name), request.fail)
    if sums:
        yield from (Store(U64, R10, ground.own(_SUM), R4), *_add_cpus(ground, request))
    else:
        yield move(R0, R4)
    yield from within_pages(request.labels)


def _add_cpus(ground: Ground, request: Request) -> Iterator[Line]:
    """r0 = the sum so far, and what each CPU has not folded into it yet. C: percpu_counter_sum(), lib/percpu_counter.c.

    It sums CPUs that are online; the others have nothing left (percpu_counter_cpu_dead()). The distance of a CPU's
    memory is taken from a variable that each CPU has: where it is there, less where the linker put it.
    """
    own = ground.own
    variable = ground.btf.find(ANY_CPU_VARIABLE, Kind.VAR)
    for number, (first, last) in enumerate(possible_cpus()):
        again, summed = request.label(f"cpu_{number}"), request.label(f"summed_{number}")
        yield from (Store(U64, R10, own(_CPU), first), Label(again))
        yield from (LoadVariable(R1, variable, 0, ANY_CPU_VARIABLE), Load(U64, R2, R10, own(_CPU)))
        yield from (Call(Helper.PER_CPU_PTR), Jump(JumpOp.EQ, R0, 0, summed), move(R3, R0))
        yield from (LoadVariable(R1, variable, 0, ANY_CPU_VARIABLE), Alu(AluOp.SUB, R3, R1))
        yield from (Load(U64, R1, R10, own(_BASE)), add(R3, R1), *ground.probe(1, 4, request.fail))
        yield from (Load(U32, R1, R10, own(1)), Alu(AluOp.LSH, R1, 32), Alu(AluOp.ARSH, R1, 32))
        yield from (Load(U64, R2, R10, own(_SUM)), add(R2, R1), Store(U64, R10, own(_SUM), R2))
        yield from (Load(U64, R1, R10, own(_CPU)), add(R1, 1), Store(U64, R10, own(_CPU), R1))
        yield from (Jump(JumpOp.LE, R1, last, again), Label(summed))
    yield Load(U64, R0, R10, own(_SUM))
