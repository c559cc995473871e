"""Why a call was refused, in words; on fake trees, and by really losing the right to it."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest

from oompolicy.bpf.attributes import U64, Layout, MapCreate
from oompolicy.bpf.errors import BpfError, BpfPrivilegeError, VerifierError, refusal
from oompolicy.bpf.maps import Map, MapSpec
from oompolicy.bpf.privileges import effective_capabilities, lockdown, what_forbids
from oompolicy.bpf.syscall import bpf_fd, number_on
from oompolicy.bpf.uapi import Command, MapType
from oompolicy.errors import OompolicyError, PrivilegeError

KnownPart = Annotated[bytes, "400s"]
EVERYTHING = "000001ffffffffff"
WHOLE = "         0          0 4294967295\n"


def machine(root: Path, capabilities: str, uid_map: str = WHOLE, levels: str | None = None) -> Path:
    files = {
        "proc/self/status": f"Name:\tpython\nCapEff:\t{capabilities}\n",
        "proc/self/uid_map": uid_map,
        "proc/sys/kernel/unprivileged_bpf_disabled": "2\n",
    }
    if levels:
        files["sys/kernel/security/lockdown"] = levels
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root


@pytest.mark.parametrize(
    ("capabilities", "uid_map", "levels", "why"),
    [
        (EVERYTHING, WHOLE, None, None),
        ("0000000000200000", WHOLE, None, None),  # CAP_SYS_ADMIN stands for the others
        ("000000c000000000", WHOLE, "[none] integrity confidentiality\n", None),
        ("0000000000000000", WHOLE, None, "lacks CAP_BPF and CAP_PERFMON (kernel.unprivileged_bpf_disabled is 2)"),
        ("0000008000000000", WHOLE, None, "lacks CAP_PERFMON"),
        (EVERYTHING, "0 1000 1\n", None, "in a user namespace, whose capabilities do not count"),
        (EVERYTHING, WHOLE, "none integrity [confidentiality]\n", "locked down (confidentiality)"),
    ],
)
def test_what_forbids(tmp_path: Path, capabilities: str, uid_map: str, levels: str | None, why: str | None) -> None:
    found = what_forbids(machine(tmp_path, capabilities, uid_map, levels))
    assert (found is None) == (why is None)
    if found and why:
        assert why in found[0]
        assert found[1]


def test_a_machine_that_tells_nothing(tmp_path: Path) -> None:
    assert what_forbids(tmp_path) is None
    assert (effective_capabilities(tmp_path), lockdown(tmp_path)) == (None, None)


@pytest.mark.parametrize(
    ("command", "number", "said"),
    [
        (Command.MAP_UPDATE_ELEM, errno.E2BIG, "the map is full, or ends before this index"),
        (Command.MAP_CREATE, errno.EINVAL, "this kernel has no such map"),
        (Command.PROG_LOAD, errno.E2BIG, "too long, or newer than the kernel"),
        (Command.LINK_CREATE, errno.E2BIG, "the kernel is older than something that was asked of it"),
        (Command.MAP_FREEZE, errno.EBUSY, os.strerror(errno.EBUSY)),
        (Command.MAP_CREATE, errno.ENOSYS, "CONFIG_BPF_SYSCALL"),
    ],
)
def test_an_errno_in_words(command: Command, number: int, said: str) -> None:
    error = refusal(command, number, "map values")
    assert error.errno == number
    assert str(error).startswith(f"map values: {command.name}: ")
    assert said in str(error)
    assert not isinstance(error, PrivilegeError)


def test_eperm_with_all_capabilities_points_at_what_stands_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oompolicy.bpf.errors.what_forbids", lambda: None)
    error = refusal(Command.PROG_LOAD, errno.EPERM, "program p")
    assert isinstance(error, BpfPrivilegeError)
    assert isinstance(error, PrivilegeError)
    assert "seccomp" in str(error)
    pinned = refusal(Command.OBJ_PIN, errno.EPERM, "/tmp/x")
    assert "not in a bpf file system: mount -t bpf" in str(pinned)
    assert not isinstance(pinned, PrivilegeError)


def test_the_verifiers_reason_is_the_last_line_that_is_one() -> None:
    log = [f"{number}: (b7) r0 = {number}" for number in range(100)]
    log += [
        "R1 type=scalar expected=fp",
        "processed 100 insns (limit 1000000) max_states_per_insn 0",
        "verification time 7 usec",
    ]
    error = VerifierError("program p", log, errno.EACCES)
    assert str(error) == "program p: the verifier refused it: R1 type=scalar expected=fp"
    assert error.log[-2:] == ("R1 type=scalar expected=fp", "processed 100 insns (limit 1000000) max_states_per_insn 0")
    assert len(error.log) == 12
    assert error.excerpt.splitlines()[-2] == "    R1 type=scalar expected=fp"
    assert isinstance(error, (BpfError, OompolicyError))


def test_a_log_without_a_reason_falls_back_on_the_errno() -> None:
    error = VerifierError("program p", ["processed 0 insns"], errno.EINVAL)
    assert str(error).endswith(os.strerror(errno.EINVAL))


def test_lockdown_is_named_where_the_verifier_may_refuse_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oompolicy.bpf.errors.lockdown", lambda: "confidentiality")
    assert "where programs may not read its memory" in str(VerifierError("p", ["unknown func"], errno.EINVAL))


def test_a_machine_whose_number_is_unknown_is_named() -> None:
    assert {machine: number_on(machine) for machine in ("x86_64", "aarch64")} == {"x86_64": 321, "aarch64": 280}
    with pytest.raises(BpfError, match="its number on riscv64 is not known here: known: x86_64, aarch64"):
        number_on("riscv64")


@pytest.mark.root
def test_a_process_without_capabilities_is_told_which(bpf_here: None) -> None:
    program = """
import os
from oompolicy.bpf.maps import Map, MapSpec
from oompolicy.bpf.uapi import MapType
from oompolicy.errors import PrivilegeError
os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    Map.create(MapSpec(MapType.HASH_OF_MAPS, "m", 4, 4, 1))
except PrivilegeError as error:
    print(error)
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=True)
    assert "map m: MAP_CREATE: not permitted: this process lacks CAP_BPF and CAP_PERFMON" in told.stdout


@dataclass(frozen=True, slots=True)
class MapCreateOfTheFuture(Layout):
    """BPF_MAP_CREATE as a kernel to come may have it."""

    known: KnownPart = b""
    more: U64 = 0


def small_array(more: int) -> MapCreateOfTheFuture:
    known = MapCreate(map_type=MapType.ARRAY, key_size=4, value_size=8, max_entries=1).pack()
    return MapCreateOfTheFuture(known.ljust(400, b"\0"), more)


@pytest.mark.root
def test_only_what_says_something_can_be_too_new_for_a_kernel(bpf_here: None) -> None:
    with Map(bpf_fd(Command.MAP_CREATE, small_array(more=0), "map m")) as made:
        assert made.type == MapType.ARRAY
    with pytest.raises(BpfError, match="map m: MAP_CREATE: too large, or newer than the kernel") as refused:
        bpf_fd(Command.MAP_CREATE, small_array(more=1), "map m")
    assert refused.value.errno == errno.E2BIG


@pytest.mark.root
def test_names_are_made_to_fit(bpf_here: None) -> None:
    with Map.create(MapSpec(MapType.ARRAY, "spare-the-database", 4, 8, 1)) as values:
        assert values.name == "spare_the_datab"
