"""Programs attached in this kernel: tracepoints, functions, iterators; pinned, exchanged, let go."""

from __future__ import annotations

import errno
import os
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from bpf.by_hand import R0, R1, R2, R3, R6, R7, R10, U32, U64, constant, tracing_spec
from oompolicy.bpf.assembly import Label, Line, assemble
from oompolicy.bpf.btf import Btf
from oompolicy.bpf.btf_types import Kind
from oompolicy.bpf.errors import BpfError
from oompolicy.bpf.instructions import Atomic, Call, Exit, Jump, Load, LoadMap, LoadMapValue, Store, add, move
from oompolicy.bpf.iterators import ITER_CREATE, read_iterator
from oompolicy.bpf.kernel_btf import vmlinux_btf
from oompolicy.bpf.links import Link
from oompolicy.bpf.map_kinds import ProgramArray
from oompolicy.bpf.maps import Map, MapSpec, u32
from oompolicy.bpf.opcodes import AtomicOp, JumpOp
from oompolicy.bpf.pins import open_pinned, pin, repin, unpin
from oompolicy.bpf.programs import Program, ProgramSpec
from oompolicy.bpf.uapi import AttachType, Command, Helper, LinkType, MapType, ProgramType

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("bpf_here")]


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


@pytest.fixture(scope="module")
def btf() -> Iterator[Btf]:
    with vmlinux_btf() as types:
        yield types


@pytest.fixture
def counter(stack: ExitStack) -> Map:
    return stack.enter_context(Map.create(MapSpec(MapType.ARRAY, "counter", 4, 8, 1)))


def count_in(counter: Map, step: int = 1) -> list[Line]:
    return [
        LoadMapValue(R1, counter.fileno()),
        move(R2, step),
        Atomic(AtomicOp.ADD, U64, R1, 0, R2),
        *constant(0),
    ]


def counted(counter: Map, act: Callable[[], object]) -> int:
    """By how much it went up while something was done."""

    def now() -> int:
        return int.from_bytes(counter.lookup(u32(0)) or b"", "little")

    before = now()
    act()
    return now() - before


def ends(counter: Map, act: Callable[[], object]) -> bool:
    """Is it no longer counted? What a pin held the kernel lets go of a moment later, in a worker."""
    deadline = time.monotonic() + 10
    while counted(counter, act):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def fork_once() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def raw_tracepoint(counter: Map) -> Link:
    spec = ProgramSpec(ProgramType.RAW_TRACEPOINT, "forks", assemble(count_in(counter)))
    with Program.load(spec) as program:
        return Link.attach_raw_tracepoint(program, "sched_process_fork")


def typed_tracepoint(counter: Map) -> Link:
    with vmlinux_btf() as btf:
        target = btf.find("btf_trace_sched_process_fork", Kind.TYPEDEF)
    with Program.load(tracing_spec(count_in(counter), AttachType.TRACE_RAW_TP, target, "forks")) as program:
        return Link.attach(program, AttachType.TRACE_RAW_TP)


@pytest.mark.parametrize("attach", [raw_tracepoint, typed_tracepoint])
def test_a_tracepoint_is_followed_until_the_link_is_closed(counter: Map, attach: Callable[[Map], Link]) -> None:
    with attach(counter) as link:
        assert link.info().type == link.type
        assert link.type in (LinkType.RAW_TRACEPOINT, LinkType.TRACING)
        assert counted(counter, fork_once) >= 1
    assert counted(counter, fork_once) == 0


@pytest.mark.parametrize("attach", [raw_tracepoint, typed_tracepoint])
def test_a_pinned_link_outlives_its_descriptor(counter: Map, bpffs: Path, attach: Callable[[Map], Link]) -> None:
    with attach(counter) as link:
        pin(link, bpffs / "forks")
        link_id = link.id
    assert counted(counter, fork_once) >= 1
    with open_pinned(bpffs / "forks", Link) as again:
        assert again.id == link_id
        assert unpin(bpffs / "forks")
        assert counted(counter, fork_once) >= 1
    assert ends(counter, fork_once)


def test_a_link_to_a_tracepoint_keeps_its_program(counter: Map, stack: ExitStack, btf: Btf) -> None:
    """What the kernel offers instead is another link: see the tests with fmod_ret, and those of pins.repin()."""
    link = stack.enter_context(typed_tracepoint(counter))
    spec = tracing_spec(constant(0), AttachType.TRACE_RAW_TP, btf.find("btf_trace_sched_process_fork", Kind.TYPEDEF))
    other = stack.enter_context(Program.load(spec))
    with pytest.raises(BpfError, match="keeps its program: attach another, then detach it") as refused:
        link.update(other)
    assert refused.value.errno == errno.EINVAL
    with pytest.raises(BpfError, match="ends with its last pin and descriptor") as refused:
        link.detach()
    assert refused.value.errno == errno.EOPNOTSUPP
    assert counted(counter, fork_once) >= 1


def test_repin_exchanges_one_link_for_another(counter: Map, bpffs: Path) -> None:
    """At no moment is none in force."""
    with typed_tracepoint(counter) as link:
        pin(link, bpffs / "policy")
    with typed_tracepoint(counter) as link:
        newer = link.id
        repin(link, bpffs / "policy")
    with open_pinned(bpffs / "policy", Link) as link:
        assert link.id == newer
    assert sorted(path.name for path in bpffs.iterdir() if not path.name.endswith(".debug")) == ["policy"]
    assert counted(counter, fork_once) >= 1
    unpin(bpffs / "policy")
    assert ends(counter, fork_once)


def test_no_such_tracepoint(stack: ExitStack) -> None:
    spec = ProgramSpec(ProgramType.RAW_TRACEPOINT, "p", assemble(constant(0)))
    program = stack.enter_context(Program.load(spec))
    with pytest.raises(BpfError, match="tracepoint no_such: RAW_TRACEPOINT_OPEN: there is no such tracepoint"):
        Link.attach_raw_tracepoint(program, "no_such")


# ---- functions


@pytest.mark.usefixtures("trampolines_here")
def test_a_function_is_followed_with_its_arguments(counter: Map, stack: ExitStack, btf: Btf, bpffs: Path) -> None:
    """fentry at security_task_getpgid(struct task_struct *p): adds p->tgid, for our own only."""
    tgid = btf.field("task_struct", "tgid")
    lines: list[Line] = [
        Load(U64, R6, R1, 0),
        Load(U32, R7, R6, tgid.offset_bytes),
        Jump(JumpOp.NE, R7, os.getpid(), "end"),
        LoadMapValue(R1, counter.fileno()),
        Atomic(AtomicOp.ADD, U64, R1, 0, R7),
        Label("end"),
        *constant(0),
    ]
    spec = tracing_spec(lines, AttachType.TRACE_FENTRY, btf.function("security_task_getpgid").type_id, "getpgid")
    with Program.load(spec) as program:
        link = Link.attach(program, AttachType.TRACE_FENTRY)
        info = link.info()
        assert (info.prog_id, info.attach_type) == (program.id, AttachType.TRACE_FENTRY)
        assert info.target_btf_id == spec.attach_btf_id
        pin(link, bpffs / "getpgid")
        link.close()
    assert counted(counter, lambda: os.getpgid(os.getpid())) == os.getpid()
    unpin(bpffs / "getpgid")
    assert ends(counter, lambda: os.getpgid(os.getpid()))


def refuses_getpgid(stack: ExitStack, btf: Btf, number: int, name: str = "refuse") -> Program:
    """fmod_ret at security_task_getpgid(struct task_struct *p): -number for this process, 0 for others."""
    lines: list[Line] = [
        Load(U64, R6, R1, 0),
        Load(U32, R7, R6, btf.field("task_struct", "tgid").offset_bytes),
        move(R0, -number),
        Jump(JumpOp.EQ, R7, os.getpid(), "end"),
        move(R0, 0),
        Label("end"),
        Exit(),
    ]
    return at_getpgid(stack, btf, lines, name)


def at_getpgid(stack: ExitStack, btf: Btf, lines: list[Line], name: str) -> Program:
    target = btf.function("security_task_getpgid").type_id
    return stack.enter_context(Program.load(tracing_spec(lines, AttachType.MODIFY_RETURN, target, name)))


def answer() -> int:
    """The errno of getpgid(2), 0 where it is allowed."""
    try:
        os.getpgid(os.getpid())
    except OSError as error:
        return error.errno or 0
    return 0


@pytest.mark.usefixtures("trampolines_here")
def test_the_newest_answer_of_several_counts(stack: ExitStack, btf: Btf) -> None:
    """And 0 means: ask the next, at last the function itself. So attaching the new before closing the old exchanges."""
    old, new, silent = (refuses_getpgid(stack, btf, number) for number in (errno.EIO, errno.EXDEV, 0))
    assert answer() == 0
    with Link.attach(old, AttachType.MODIFY_RETURN) as first:
        assert answer() == errno.EIO
        with Link.attach(new, AttachType.MODIFY_RETURN):
            assert answer() == errno.EXDEV
            first.close()
            assert answer() == errno.EXDEV
            with Link.attach(silent, AttachType.MODIFY_RETURN):
                assert answer() == errno.EXDEV
        assert answer() == 0


@pytest.mark.usefixtures("trampolines_here")
def test_a_tail_call_exchanges_what_a_link_runs_in_one_step(stack: ExitStack, btf: Btf) -> None:
    """The attached program goes on to the one in an array, and falls back on 0 where there is none."""
    policies = stack.enter_context(ProgramArray.create(MapSpec(MapType.PROG_ARRAY, "policies", 4, 4, 1)))
    lines = [LoadMap(R2, policies.fileno()), move(R3, 0), Call(Helper.TAIL_CALL), *constant(0)]
    entry = at_getpgid(stack, btf, lines, "entry")
    one, two = (refuses_getpgid(stack, btf, number) for number in (errno.EIO, errno.EXDEV))
    with Link.attach(entry, AttachType.MODIFY_RETURN):
        assert answer() == 0
        policies.put(0, one)
        assert answer() == errno.EIO
        policies.put(0, two)
        assert answer() == errno.EXDEV
        policies.clear(0)
        assert answer() == 0


@pytest.mark.usefixtures("trampolines_here")
def test_run_calls_what_a_program_is_attached_to(stack: ExitStack, btf: Btf) -> None:
    """BPF_PROG_TEST_RUN of an fentry program calls bpf_fentry_test1(1) to test8 and so runs what is attached there."""
    counter = stack.enter_context(Map.create(MapSpec(MapType.ARRAY, "counter", 4, 8, 1)))
    target = btf.function("bpf_fentry_test1").type_id
    program = stack.enter_context(Program.load(tracing_spec(count_in(counter), AttachType.TRACE_FENTRY, target)))
    assert counted(counter, program.run) == 0
    with Link.attach(program, AttachType.TRACE_FENTRY):
        assert counted(counter, program.run) == 1


# ---- iterators


def task_iterator(stack: ExitStack, btf: Btf, word: str) -> Program:
    """Writes one field of each task: struct bpf_iter__task {meta, task}, task NULL at the end."""
    field = btf.field("task_struct", word)
    seq = btf.field("bpf_iter_meta", "seq").offset_bytes
    lines: list[Line] = [
        move(R6, R1),
        Load(U64, R7, R1, 8),
        Jump(JumpOp.EQ, R7, 0, "end"),
        Load(U32, R1, R7, field.offset_bytes),
        Store(U32, R10, -4, R1),
        Load(U64, R1, R6, 0),
        Load(U64, R1, R1, seq),
        move(R2, R10),
        add(R2, -4),
        move(R3, 4),
        Call(Helper.SEQ_WRITE),
        Label("end"),
        *constant(0),
    ]
    spec = tracing_spec(lines, AttachType.TRACE_ITER, btf.function("bpf_iter_task").type_id, f"iter_{word}")
    return stack.enter_context(Program.load(spec))


def words(link: Link) -> list[int]:
    return [number for (number,) in struct.iter_unpack("=I", read_iterator(link.fileno()))]


def test_a_task_iterator_gives_every_pid(stack: ExitStack, btf: Btf) -> None:
    program = task_iterator(stack, btf, "pid")
    link = stack.enter_context(Link.attach(program, AttachType.TRACE_ITER))
    assert link.type == LinkType.ITER
    pids = words(link)
    tids = {int(path.name) for path in Path("/proc").glob("[0-9]*/task/[0-9]*")}
    assert {os.getpid(), os.getppid()} <= set(pids)
    assert len(set(pids) - tids) < 5, "but for those that ended meanwhile"
    if "IN_GUEST" in os.environ:  # a sandbox may keep some of its own back
        assert len(tids - set(pids)) < 5, "but for those that began meanwhile"
    assert words(link)[:5] == pids[:5], "and again from the beginning"


def test_an_iterators_program_can_be_exchanged(stack: ExitStack, btf: Btf) -> None:
    pid, prio = task_iterator(stack, btf, "pid"), task_iterator(stack, btf, "static_prio")
    link = stack.enter_context(Link.attach(pid, AttachType.TRACE_ITER))
    with pytest.raises(BpfError, match="holds another program than the one to replace"):
        link.update(prio, instead_of=prio)
    link.update(prio, instead_of=pid)
    assert link.info().prog_id == prio.id
    assert set(words(link)) <= set(range(141))
    link.update(pid)
    assert os.getpid() in words(link)


def test_reading_an_iterator_is_the_kernels_call_and_nothing_else_has_an_iterator() -> None:
    assert Command(ITER_CREATE).name == "ITER_CREATE"
    with Path("/dev/null").open() as no_link, pytest.raises(OSError, match=r"Bad file descriptor|Invalid argument"):
        read_iterator(no_link.fileno())
