"""What the tests that speak to a kernel share: is BPF to be had here, a file system for pins, nothing left open."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from bpf.by_hand import constant, not_here, tracing_spec
from oompolicy.bpf.errors import BpfError, BtfError
from oompolicy.bpf.kernel_btf import vmlinux_btf
from oompolicy.bpf.maps import Map, MapSpec
from oompolicy.bpf.programs import Program
from oompolicy.bpf.uapi import AttachType, MapType

# x86-64 and arm64 alike: the calls are younger than their difference.
FSOPEN, FSCONFIG, FSMOUNT = 430, 431, 432
FSCONFIG_CMD_CREATE = 6


@pytest.fixture(scope="session")
def bpf_here() -> None:
    """Skips where this process cannot make a map at all."""
    try:
        Map.create(MapSpec(MapType.ARRAY, "probe", 4, 8, 1)).close()
    except BpfError as error:
        not_here(error)


@pytest.fixture(scope="session")
def trampolines_here(bpf_here: None) -> None:
    """Skips where programs at functions (fentry, fmod_ret) are refused; some sandboxes do."""
    try:
        with vmlinux_btf() as btf:
            spec = tracing_spec(constant(0), AttachType.TRACE_FENTRY, btf.function("bpf_fentry_test1").type_id)
        Program.load(spec).close()
    except (BpfError, BtfError) as error:
        not_here(error)


@pytest.fixture(autouse=True)
def nothing_is_left_open(request: pytest.FixtureRequest) -> Iterator[None]:
    """As many descriptors after a test as before it."""
    before = os.listdir("/proc/self/fd")
    yield
    after = os.listdir("/proc/self/fd")
    assert len(after) == len(before), [Path(f"/proc/self/fd/{fd}").readlink() for fd in set(after) - set(before)]


@pytest.fixture
def bpffs(bpf_here: None) -> Iterator[Path]:
    """A bpf file system that is mounted nowhere: nobody else sees it, and it is gone with its descriptor."""
    libc = ctypes.CDLL(None, use_errno=True)

    def call(*arguments: object) -> int:
        returned = int(libc.syscall(*arguments))
        if returned < 0:
            not_here(f"no bpf file system: {os.strerror(ctypes.get_errno())}")
        return returned

    context = call(FSOPEN, b"bpf", 1)
    try:
        call(FSCONFIG, context, FSCONFIG_CMD_CREATE, None, None, 0)
        mounted = call(FSMOUNT, context, 1, 0)
    finally:
        os.close(context)
    yield Path(f"/proc/self/fd/{mounted}")
    os.close(mounted)
