"""The layouts of attributes.py against the running kernel's own description of them."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator

import pytest

from oompolicy.bpf import attributes
from oompolicy.bpf.attributes import Layout, MapElement, ProgTestRun, offsets, room
from oompolicy.bpf.btf import Btf
from oompolicy.bpf.btf_types import Kind, Struct
from oompolicy.bpf.errors import BtfError
from oompolicy.bpf.kernel_btf import vmlinux_btf

# Layout -> the struct; for those of union bpf_attr one field of theirs that no other member has.
STRUCTS = {
    attributes.ProgInfo: "bpf_prog_info",
    attributes.MapInfo: "bpf_map_info",
    attributes.BtfInfo: "bpf_btf_info",
    attributes.LinkInfo: "bpf_link_info",
}
MEMBERS = {
    attributes.MapCreate: "map_type",
    attributes.MapElement: "key",
    attributes.MapBatch: "batch",
    attributes.ProgLoad: "prog_type",
    attributes.ObjPin: "pathname",
    attributes.ProgTestRun: "test",
    attributes.GetId: "next_id",
    attributes.InfoByFd: "info",
    attributes.RawTracepoint: "raw_tracepoint",
    attributes.BtfLoad: "btf",
    attributes.LinkCreate: "link_create",
    attributes.LinkUpdate: "link_update",
    attributes.OneLink: "iter_create",
}


@pytest.fixture(scope="module")
def btf() -> Iterator[Btf]:
    with vmlinux_btf() as types:
        try:
            types.find("int", Kind.INT)
        except BtfError as error:
            pytest.skip(f"nothing to compare with: {error}")
        yield types


def fields_of(btf: Btf, type_id: int) -> dict[str, tuple[int, int]]:
    """Name -> (offset, size) of every field, those of the structs inside too unless their name is taken."""
    _, found = btf.resolve(type_id)
    members = found.members if isinstance(found, Struct) else ()
    fields = {
        member.name: (member.bit_offset // 8, btf.size_bytes(member.type_id)) for member in members if member.name
    }
    for member in members:
        for name, (at, size) in fields_of(btf, member.type_id).items():
            fields.setdefault(name, (member.bit_offset // 8 + at, size))
    return fields


def struct_of(btf: Btf, layout: type[Layout]) -> int:
    if layout in STRUCTS:
        return btf.find(STRUCTS[layout], Kind.STRUCT)
    wanted = MEMBERS[layout]
    _, union = btf.resolve(btf.find("bpf_attr", Kind.UNION))
    assert isinstance(union, Struct)
    for member in union.members:
        if member.name == wanted or (not member.name and wanted in fields_of(btf, member.type_id)):
            return member.type_id
    raise AssertionError(f"union bpf_attr has no {wanted}")


@pytest.mark.parametrize("layout", [*STRUCTS, *MEMBERS], ids=lambda layout: layout.__name__)
def test_fields_are_where_this_kernel_has_them(btf: Btf, layout: type[Layout]) -> None:
    theirs = fields_of(btf, struct_of(btf, layout))
    if layout is attributes.LinkInfo:  # its union repeats names of members at other places
        theirs |= {
            name: btf_field(btf, f"tracing.{name}") for name in ("attach_type", "target_obj_id", "target_btf_id")
        }
    ours = {name: place for name, place in offsets(layout).items() if not name.startswith("_")}
    unknown = [name for name in ours if name not in theirs]
    assert {name: theirs[name] for name in ours if name in theirs} == {
        name: place for name, place in ours.items() if name not in unknown
    }
    assert list(ours)[len(ours) - len(unknown) :] == unknown, "an older kernel lacks fields at the end only"


def btf_field(btf: Btf, path: str) -> tuple[int, int]:
    field = btf.field("bpf_link_info", path)
    return field.offset_bytes, field.size_bytes


def test_all_layouts_are_compared() -> None:
    layouts = {layout for layout in Layout.__subclasses__() if layout.__module__ == attributes.__name__}
    assert {layout.__name__ for layout in layouts} == {layout.__name__ for layout in [*STRUCTS, *MEMBERS]}


def test_memory_is_passed_by_its_address_and_kept_alive() -> None:
    packed = MapElement(map_fd=3, key=(key := room(4)), flags=1).pack()
    assert len(packed) == 32
    assert packed[:8] == b"\3\0\0\0\0\0\0\0"
    assert int.from_bytes(packed[8:16], "little") == ctypes.addressof(key)
    assert packed[16:24] == bytes(8)


def test_what_comes_back_may_be_shorter_than_what_is_known() -> None:
    returned = ProgTestRun(prog_fd=1, retval=7, cpu=9).pack()
    assert ProgTestRun.unpack(returned[:8]) == ProgTestRun(prog_fd=1, retval=7)
    assert ProgTestRun.unpack(returned + b"more").cpu == 9
