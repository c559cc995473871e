"""What bpf(2) reads and writes: the anonymous structs of `union bpf_attr`, field by field, in the kernel's order.

Belongs here: struct layouts of include/uapi/linux/bpf.h. Must not know: which call a person meant.
Native alignment is C's; where the header says __aligned_u64 it is the same on 64 bit.
"""

from __future__ import annotations

import ctypes
import struct
from dataclasses import dataclass, fields
from typing import Annotated, Final, NamedTuple, Self, get_type_hints

Buffer = ctypes.Array[ctypes.c_char]

U32 = Annotated[int, "I"]
I32 = Annotated[int, "i"]
U64 = Annotated[int, "Q"]
Name = Annotated[bytes, "16s"]  # NUL-padded
Tag = Annotated[bytes, "8s"]
POINTER_CODE: Final = "P"
Pointer = Annotated[
    Buffer | None, POINTER_CODE
]  # None is NULL; the layout keeps the memory alive while the kernel uses it


def room(size_bytes: int) -> Buffer:
    """Zeroed memory for the kernel to write into."""
    return ctypes.create_string_buffer(max(size_bytes, 1))


def filled(data: bytes) -> Buffer:
    """Memory that holds a copy of data, for the kernel to read."""
    return ctypes.create_string_buffer(data, max(len(data), 1))


def c_string(text: str) -> Buffer:
    """Memory that holds text and a final NUL."""
    return ctypes.create_string_buffer(text.encode())


@dataclass(frozen=True, slots=True)
class Layout:
    """A C struct; a subclass lists its fields with the types above, in the kernel's order."""

    def pack(self) -> bytes:
        """The struct's bytes; pointers are addresses of this process."""
        shape = _shape(type(self))
        return shape.struct.pack(*(_plain(getattr(self, name)) for name in shape.names))

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        """The struct as the kernel left it; pointers come out as None. Missing bytes at the end count as 0."""
        shape = _shape(cls)
        size = shape.struct.size
        values = shape.struct.unpack(data[:size].ljust(size, b"\0"))
        pairs = zip(shape.names, shape.codes, values, strict=True)
        return cls(**{name: None if code == POINTER_CODE else value for name, code, value in pairs})

    @classmethod
    def size_bytes(cls) -> int:
        """sizeof, without padding at the end."""
        return _shape(cls).struct.size


def offsets(layout: type[Layout]) -> dict[str, tuple[int, int]]:
    """Field name -> (offset, size), in bytes.

    >>> offsets(GetId)["open_flags"]
    (8, 4)
    """
    found: dict[str, tuple[int, int]] = {}
    so_far = "@"
    shape = _shape(layout)
    for name, code in zip(shape.names, shape.codes, strict=True):
        so_far += code
        size = struct.calcsize(code)
        found[name] = (struct.calcsize(so_far) - size, size)
    return found


class _Shape(NamedTuple):
    names: tuple[str, ...]
    codes: tuple[str, ...]
    struct: struct.Struct


_SHAPES: Final[dict[type[Layout], _Shape]] = {}


def _shape(layout: type[Layout]) -> _Shape:
    """What the annotations of a layout say, worked out once."""
    if layout not in _SHAPES:
        names = tuple(field.name for field in fields(layout))
        hints = get_type_hints(layout, include_extras=True)
        codes = tuple(hints[name].__metadata__[0] for name in names)
        _SHAPES[layout] = _Shape(names, codes, struct.Struct("@" + "".join(codes)))
    return _SHAPES[layout]


def _plain(value: int | bytes | Buffer | None) -> int | bytes:
    if value is None:
        return 0
    return ctypes.addressof(value) if isinstance(value, ctypes.Array) else value


@dataclass(frozen=True, slots=True)
class MapCreate(Layout):
    """BPF_MAP_CREATE."""

    map_type: U32 = 0
    key_size: U32 = 0
    value_size: U32 = 0
    max_entries: U32 = 0
    map_flags: U32 = 0
    inner_map_fd: U32 = 0
    numa_node: U32 = 0
    map_name: Name = b""
    map_ifindex: U32 = 0
    btf_fd: U32 = 0
    btf_key_type_id: U32 = 0
    btf_value_type_id: U32 = 0
    btf_vmlinux_value_type_id: U32 = 0
    map_extra: U64 = 0


@dataclass(frozen=True, slots=True)
class MapElement(Layout):
    """BPF_MAP_*_ELEM, BPF_MAP_GET_NEXT_KEY (value is next_key there) and BPF_MAP_FREEZE (map_fd alone)."""

    map_fd: U32 = 0
    key: Pointer = None
    value: Pointer = None
    flags: U64 = 0


@dataclass(frozen=True, slots=True)
class MapBatch(Layout):
    """BPF_MAP_*_BATCH; count comes back as how many were done."""

    in_batch: Pointer = None
    out_batch: Pointer = None
    keys: Pointer = None
    values: Pointer = None
    count: U32 = 0
    map_fd: U32 = 0
    elem_flags: U64 = 0
    flags: U64 = 0


@dataclass(frozen=True, slots=True)
class ProgLoad(Layout):
    """BPF_PROG_LOAD. attach_prog_fd is attach_btf_obj_fd where the target is in a module."""

    prog_type: U32 = 0
    insn_cnt: U32 = 0
    insns: Pointer = None
    license: Pointer = None
    log_level: U32 = 0
    log_size: U32 = 0
    log_buf: Pointer = None
    kern_version: U32 = 0
    prog_flags: U32 = 0
    prog_name: Name = b""
    prog_ifindex: U32 = 0
    expected_attach_type: U32 = 0
    prog_btf_fd: U32 = 0
    func_info_rec_size: U32 = 0
    func_info: Pointer = None
    func_info_cnt: U32 = 0
    line_info_rec_size: U32 = 0
    line_info: Pointer = None
    line_info_cnt: U32 = 0
    attach_btf_id: U32 = 0
    attach_prog_fd: U32 = 0
    core_relo_cnt: U32 = 0
    fd_array: Pointer = None


@dataclass(frozen=True, slots=True)
class ObjPin(Layout):
    """BPF_OBJ_PIN, BPF_OBJ_GET."""

    pathname: Pointer = None
    bpf_fd: U32 = 0
    file_flags: U32 = 0


@dataclass(frozen=True, slots=True)
class ProgTestRun(Layout):
    """BPF_PROG_TEST_RUN. retval, duration (ns of one run) and the two sizes out come back."""

    prog_fd: U32 = 0
    retval: U32 = 0
    data_size_in: U32 = 0
    data_size_out: U32 = 0
    data_in: Pointer = None
    data_out: Pointer = None
    repeat: U32 = 0
    duration: U32 = 0
    ctx_size_in: U32 = 0
    ctx_size_out: U32 = 0
    ctx_in: Pointer = None
    ctx_out: Pointer = None
    flags: U32 = 0
    cpu: U32 = 0


@dataclass(frozen=True, slots=True)
class GetId(Layout):
    """BPF_*_GET_NEXT_ID (next_id comes back) and BPF_*_GET_FD_BY_ID."""

    start_id: U32 = 0
    next_id: U32 = 0
    open_flags: U32 = 0


@dataclass(frozen=True, slots=True)
class InfoByFd(Layout):
    """BPF_OBJ_GET_INFO_BY_FD; info_len comes back as what the kernel knows."""

    bpf_fd: U32 = 0
    info_len: U32 = 0
    info: Pointer = None


@dataclass(frozen=True, slots=True)
class RawTracepoint(Layout):
    """BPF_RAW_TRACEPOINT_OPEN."""

    name: Pointer = None
    prog_fd: U32 = 0


@dataclass(frozen=True, slots=True)
class BtfLoad(Layout):
    """BPF_BTF_LOAD."""

    btf: Pointer = None
    btf_log_buf: Pointer = None
    btf_size: U32 = 0
    btf_log_size: U32 = 0
    btf_log_level: U32 = 0


@dataclass(frozen=True, slots=True)
class LinkCreate(Layout):
    """BPF_LINK_CREATE, with the iter member of its union."""

    prog_fd: U32 = 0
    target_fd: U32 = 0
    attach_type: U32 = 0
    flags: U32 = 0
    iter_info: Pointer = None
    iter_info_len: U32 = 0


@dataclass(frozen=True, slots=True)
class LinkUpdate(Layout):
    """BPF_LINK_UPDATE; old_prog_fd counts only with BPF_F_REPLACE in flags."""

    link_fd: U32 = 0
    new_prog_fd: U32 = 0
    flags: U32 = 0
    old_prog_fd: U32 = 0


@dataclass(frozen=True, slots=True)
class OneLink(Layout):
    """BPF_LINK_DETACH, BPF_ITER_CREATE (flags stays 0)."""

    link_fd: U32 = 0
    flags: U32 = 0


@dataclass(frozen=True, slots=True)
class ProgInfo(Layout):
    """struct bpf_prog_info; run_time_ns and run_cnt stay 0 unless kernel.bpf_stats_enabled is 1."""

    type: U32 = 0
    id: U32 = 0
    tag: Tag = b""
    jited_prog_len: U32 = 0
    xlated_prog_len: U32 = 0
    jited_prog_insns: Pointer = None
    xlated_prog_insns: Pointer = None
    load_time: U64 = 0  # ns since boot
    created_by_uid: U32 = 0
    nr_map_ids: U32 = 0
    map_ids: Pointer = None
    name: Name = b""
    ifindex: U32 = 0
    gpl_compatible: U32 = 0  # bit 0
    netns_dev: U64 = 0
    netns_ino: U64 = 0
    nr_jited_ksyms: U32 = 0
    nr_jited_func_lens: U32 = 0
    jited_ksyms: Pointer = None
    jited_func_lens: Pointer = None
    btf_id: U32 = 0
    func_info_rec_size: U32 = 0
    func_info: Pointer = None
    nr_func_info: U32 = 0
    nr_line_info: U32 = 0
    line_info: Pointer = None
    jited_line_info: Pointer = None
    nr_jited_line_info: U32 = 0
    line_info_rec_size: U32 = 0
    jited_line_info_rec_size: U32 = 0
    nr_prog_tags: U32 = 0
    prog_tags: Pointer = None
    run_time_ns: U64 = 0
    run_cnt: U64 = 0
    recursion_misses: U64 = 0
    verified_insns: U32 = 0
    attach_btf_obj_id: U32 = 0
    attach_btf_id: U32 = 0


@dataclass(frozen=True, slots=True)
class MapInfo(Layout):
    """struct bpf_map_info."""

    type: U32 = 0
    id: U32 = 0
    key_size: U32 = 0
    value_size: U32 = 0
    max_entries: U32 = 0
    map_flags: U32 = 0
    name: Name = b""


@dataclass(frozen=True, slots=True)
class BtfInfo(Layout):
    """struct bpf_btf_info; btf and name are ours to give, btf_size and name_len come back as what there is."""

    btf: Pointer = None
    btf_size: U32 = 0
    id: U32 = 0
    name: Pointer = None
    name_len: U32 = 0
    kernel_btf: U32 = 0


@dataclass(frozen=True, slots=True)
class LinkInfo(Layout):
    """struct bpf_link_info, with the tracing member of its union."""

    type: U32 = 0
    id: U32 = 0
    prog_id: U32 = 0
    _padding: U32 = 0
    attach_type: U32 = 0
    target_obj_id: U32 = 0
    target_btf_id: U32 = 0
