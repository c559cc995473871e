"""What the kernel says about an object behind a descriptor: BPF_OBJ_GET_INFO_BY_FD.

Belongs here: reading one info struct, and what kind of object a descriptor is. Must not know: how it was got.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, TypeVar

from oompolicy.bpf.attributes import BtfInfo, InfoByFd, Layout, filled, room
from oompolicy.bpf.errors import BpfError
from oompolicy.bpf.syscall import bpf
from oompolicy.bpf.uapi import Command

InfoT = TypeVar("InfoT", bound=Layout)

# What /proc/self/fd says of a descriptor (kernel/bpf/syscall.c, anon_inode_getfd()).
MAP: Final = "bpf-map"
PROGRAM: Final = "bpf-prog"
LINK: Final = "bpf-link"
BTF: Final = "btf"


def object_info(fd: int, layout: type[InfoT], what: object) -> InfoT:
    """The info of a map, program or link. Raises BpfError."""
    memory = room(layout.size_bytes())
    bpf(Command.OBJ_GET_INFO_BY_FD, InfoByFd(bpf_fd=fd, info_len=layout.size_bytes(), info=memory), what)
    return layout.unpack(memory.raw)


def btf_info(fd: int, what: object, with_data: bool = False) -> tuple[BtfInfo, str, bytes]:
    """(info, name, data) of a BTF; the name is "vmlinux" or a module's, "" for one that a program brought.

    data is b"" unless asked for. Raises BpfError.
    """
    name = room(64)  # MODULE_NAME_LEN is 56
    asked = BtfInfo(name=name, name_len=len(name))
    info = _btf_info(fd, asked, what)
    data = room(info.btf_size) if with_data else None
    if data is not None:
        info = _btf_info(fd, BtfInfo(btf=data, btf_size=info.btf_size), what)
    return info, name.value.decode(errors="replace"), data.raw if data is not None else b""


def _btf_info(fd: int, asked: BtfInfo, what: object) -> BtfInfo:
    memory = filled(asked.pack())
    bpf(Command.OBJ_GET_INFO_BY_FD, InfoByFd(bpf_fd=fd, info_len=BtfInfo.size_bytes(), info=memory), what)
    return BtfInfo.unpack(memory.raw)


def check_kind(fd: int, wanted: str, what: object) -> None:
    """Raise BpfError where the descriptor is not of a MAP, PROGRAM, LINK or BTF, as wanted."""
    found = str(Path(f"/proc/self/fd/{fd}").readlink()).removeprefix("anon_inode:").strip("[]").replace("_", "-")
    if found != wanted:
        raise BpfError(what, f"is a {found}, not a {wanted}")


def text(name: bytes) -> str:
    """A NUL-padded name."""
    return name.partition(b"\0")[0].decode(errors="replace")
