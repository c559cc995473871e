"""All that is loaded into the kernel, by the ids it gives: BTF, programs, maps, links.

Belongs here: walking ids, opening by id, finding the BTF of a module. Must not know: what is looked for and why.
Walking needs CAP_SYS_ADMIN.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import Final, NamedTuple

from oompolicy.bpf.attributes import GetId
from oompolicy.bpf.descriptor import Descriptor
from oompolicy.bpf.errors import BpfError, BtfError, refusal
from oompolicy.bpf.links import Link
from oompolicy.bpf.maps import Map
from oompolicy.bpf.object_info import btf_info
from oompolicy.bpf.programs import Program
from oompolicy.bpf.syscall import ask, bpf_fd
from oompolicy.bpf.uapi import Command

VMLINUX: Final = "vmlinux"


class BtfObject(Descriptor):
    """BTF in the kernel: its own, a module's, or a program's. As attach_btf_fd it says whose function an id is."""

    def __init__(self, fd: int) -> None:
        super().__init__(fd)
        try:
            info, self.name, _ = btf_info(fd, f"BTF fd {fd}")
        except BaseException:
            self.close()
            raise
        self.id = info.id
        self.of_kernel = bool(info.kernel_btf)

    def data(self) -> bytes:
        """Its bytes, as /sys/kernel/btf has them."""
        return btf_info(self.fileno(), f"BTF {self.name}", with_data=True)[2]


class _Kind(NamedTuple):
    next_id: Command
    open_id: Command
    noun: str


_BTF: Final = _Kind(Command.BTF_GET_NEXT_ID, Command.BTF_GET_FD_BY_ID, "BTF")
_MAP: Final = _Kind(Command.MAP_GET_NEXT_ID, Command.MAP_GET_FD_BY_ID, "map")
_PROGRAM: Final = _Kind(Command.PROG_GET_NEXT_ID, Command.PROG_GET_FD_BY_ID, "program")
_LINK: Final = _Kind(Command.LINK_GET_NEXT_ID, Command.LINK_GET_FD_BY_ID, "link")


def open_btf(btf_id: int) -> BtfObject:
    """BTF by its id. Raises BpfError."""
    return BtfObject(_open(_BTF, btf_id))


def open_map(map_id: int) -> Map:
    """A map by its id. Raises BpfError."""
    return Map(_open(_MAP, map_id))


def open_program(program_id: int) -> Program:
    """A program by its id. Raises BpfError."""
    return Program(_open(_PROGRAM, program_id))


def open_link(link_id: int) -> Link:
    """A link by its id. Raises BpfError."""
    return Link(_open(_LINK, link_id))


def btf_ids() -> Iterator[int]:
    """The ids of all BTF, ascending. Raises BpfError."""
    return _ids(_BTF)


def map_ids() -> Iterator[int]:
    """The ids of all maps, ascending. Raises BpfError."""
    return _ids(_MAP)


def program_ids() -> Iterator[int]:
    """The ids of all programs, ascending. Raises BpfError."""
    return _ids(_PROGRAM)


def link_ids() -> Iterator[int]:
    """The ids of all links, ascending. Raises BpfError."""
    return _ids(_LINK)


def kernel_btf_object(name: str = VMLINUX) -> BtfObject:
    """The BTF of the kernel or of a loaded module, to attach to its functions. Raises BtfError where there is none."""
    for btf_id in btf_ids():
        try:
            found = open_btf(btf_id)
        except BpfError as error:
            if error.errno == errno.ENOENT:  # it went away meanwhile
                continue
            raise
        if found.of_kernel and found.name == name:
            return found
        found.close()
    raise BtfError(f"module {name}", "not loaded, or without BTF", f"modprobe {name}")


def _ids(kind: _Kind) -> Iterator[int]:
    last = 0
    while True:
        answer = ask(kind.next_id, GetId(start_id=last))
        if answer.returned == -errno.ENOENT:
            return
        if answer.returned < 0:
            raise refusal(kind.next_id, -answer.returned, f"{kind.noun} ids")
        last = answer.attribute.next_id
        yield last


def _open(kind: _Kind, number: int) -> int:
    return bpf_fd(kind.open_id, GetId(start_id=number), f"{kind.noun} {number}")
