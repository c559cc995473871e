"""Finding what is loaded, by the ids this kernel gives."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from bpf.by_hand import constant, load, tracing_spec
from oompolicy.bpf.assembly import assemble
from oompolicy.bpf.btf import Btf
from oompolicy.bpf.btf_blob import BtfBlob
from oompolicy.bpf.errors import BpfError, BtfError
from oompolicy.bpf.instructions import Exit, move
from oompolicy.bpf.kernel_btf import module_btf, vmlinux_btf
from oompolicy.bpf.links import Link
from oompolicy.bpf.maps import Map, MapSpec
from oompolicy.bpf.object_ids import (
    btf_ids,
    kernel_btf_object,
    link_ids,
    map_ids,
    open_btf,
    open_link,
    open_map,
    open_program,
    program_ids,
)
from oompolicy.bpf.opcodes import Reg
from oompolicy.bpf.programs import Program, ProgramSpec
from oompolicy.bpf.uapi import AttachType, MapType, ProgramType

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("bpf_here")]


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


def test_maps_programs_and_links_are_found(stack: ExitStack) -> None:
    values = stack.enter_context(Map.create(MapSpec(MapType.HASH, "found_by_id", 4, 4, 1)))
    program = stack.enter_context(
        Program.load(ProgramSpec(ProgramType.RAW_TRACEPOINT, "found_by_id", assemble(constant(0))))
    )
    link = stack.enter_context(Link.attach_raw_tracepoint(program, "sched_process_fork"))
    assert (values.id in map_ids(), program.id in program_ids(), link.id in link_ids()) == (True, True, True)
    with open_map(values.id) as again:
        assert (again.id, again.name) == (values.id, "found_by_id")
    with open_program(program.id) as same:
        assert (same.id, same.name) == (program.id, "found_by_id")
    with open_link(link.id) as attached:
        assert (attached.id, attached.info().prog_id) == (link.id, program.id)
    assert list(map_ids()) == sorted(map_ids())


def test_what_is_gone_is_said_to_be() -> None:
    with load(constant(0)) as program:
        number = program.id
    with pytest.raises(BpfError, match=f"program {number}: PROG_GET_FD_BY_ID: there is no such thing"):
        open_program(number)


def test_the_kernels_own_btf_by_name() -> None:
    with kernel_btf_object() as vmlinux:
        assert (vmlinux.name, vmlinux.of_kernel, vmlinux.id in btf_ids()) == ("vmlinux", True, True)
        assert vmlinux.data() == Path("/sys/kernel/btf/vmlinux").read_bytes()
    with pytest.raises(BtfError, match="module no_such_module: not loaded, or without BTF: modprobe no_such_module"):
        kernel_btf_object("no_such_module")


def test_every_btf_opens() -> None:
    for number in btf_ids():
        with open_btf(number) as found:
            assert found.id == number


@pytest.mark.skipif("GUEST_MODULE" not in os.environ, reason="loads a module: only in a guest")
def test_a_function_of_a_module_is_attached_to_by_the_modules_own_btf(stack: ExitStack) -> None:
    """GUEST_MODULE is NAME:FUNCTION of a module that is loaded."""
    name, _, function = os.environ["GUEST_MODULE"].partition(":")
    with vmlinux_btf() as btf:
        module = module_btf(name, btf)
        target = module.function(function)
        assert target.type_id >= btf.source.type_count
        assert [module.describe(parameter.type_id) for parameter in target.parameters]
        found = stack.enter_context(kernel_btf_object(name))
        own = Btf(BtfBlob(found.data(), name, btf.source), name)
        assert own.function(function) == target
    spec = tracing_spec([move(Reg.R0, 0), Exit()], AttachType.TRACE_FENTRY, target.type_id, "at_module", found.fileno())
    program = stack.enter_context(Program.load(spec))
    link = stack.enter_context(Link.attach(program, AttachType.TRACE_FENTRY))
    assert (link.info().target_obj_id, link.info().target_btf_id) == (found.id, target.type_id)
    assert os.spawnlp(os.P_WAIT, "rmmod", "rmmod", name) != 0, "a module that is attached to stays"
