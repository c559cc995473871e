"""BTF of our own, written and read again: every kind of record, fields on their way, a module's on a kernel's."""

from __future__ import annotations

import pytest

from oompolicy.bpf.btf import Btf, Window
from oompolicy.bpf.btf_blob import BtfBlob
from oompolicy.bpf.btf_types import Array, Enum, Enumerator, Forward, Int, Kind, Member, Parameter, Pointer, Variable
from oompolicy.bpf.btf_writer import BtfWriter
from oompolicy.bpf.errors import BtfError


def kernel() -> BtfWriter:
    """A small kernel:

    struct mm_struct { struct { atomic_long_t rss_stat[4]; unsigned long pgtables; }; u32 flags; };
    struct task_struct { int pid; u32 in_vfork:1, state:3; s32 small:5; union { struct mm_struct *mm; long other; };
                         char comm[16]; enum kind kind; enum wide wide; struct list entries[]; };
    """
    writer = BtfWriter()
    s32, u32 = writer.integer("int", 4, signed=True), writer.integer("unsigned int", 4)
    s64, char = writer.integer("long", 8, signed=True), writer.integer("char", 1)
    atomic = writer.struct("", 8, [Member("counter", s64, 0, None)])
    atomic_long = writer.modifier(Kind.TYPEDEF, atomic, "atomic_long_t")
    counters = writer.array(writer.modifier(Kind.VOLATILE, atomic_long), 4, u32)
    inner = writer.struct("", 40, [Member("rss_stat", counters, 0, None), Member("pgtables", s64, 256, None)])
    mm = writer.struct("mm_struct", 48, [Member("", inner, 0, None), Member("flags", u32, 320, None)])
    mm_pointer = writer.pointer(writer.modifier(Kind.CONST, mm))
    either = [Member("mm", mm_pointer, 0, None), Member("other", s64, 0, None)]
    union = writer.struct("", 8, either, Kind.UNION)
    kind = writer.enum("kind", [Enumerator("KIND_NONE", -1), Enumerator("KIND_ANY", 7)])
    wide = writer.enum("wide", [Enumerator("WIDE", 1 << 40)], size_bytes=8)
    members = [
        Member("pid", s32, 0, None),
        Member("in_vfork", u32, 32, 1),
        Member("state", u32, 33, 3),
        Member("small", s32, 36, 5),
        Member("", union, 64, None),
        Member("comm", writer.array(char, 16, u32), 128, None),
        Member("kind", kind, 256, None),
        Member("wide", wide, 320, None),
        Member("entries", writer.array(writer.forward("list"), 0, u32), 384, None),
    ]
    task = writer.struct("task_struct", 48, members)
    writer.enum("", [Enumerator("MM_FILEPAGES", 0), Enumerator("MM_ANONPAGES", 1)])
    task_pointer = writer.pointer(task)
    proto = writer.prototype(s64, [Parameter("p", task_pointer), Parameter("totalpages", s64)])
    writer.function("oom_badness", proto)
    writer.section(".data..percpu", [(writer.variable("runqueues", s64), 0, 8)])
    writer.floating("double", 8)
    writer.modifier(Kind.TYPE_TAG, mm_pointer, "rcu")
    return writer


@pytest.fixture
def btf() -> Btf:
    return Btf(BtfBlob(kernel().to_bytes(), "vmlinux"), "vmlinux")


@pytest.mark.parametrize(
    ("struct", "path", "offset_bytes", "size_bytes", "signed"),
    [
        ("task_struct", "pid", 0, 4, True),
        ("task_struct", "mm", 8, 8, False),
        ("task_struct", "other", 8, 8, True),
        ("task_struct", "comm", 16, 16, False),
        ("task_struct", "comm[3]", 19, 1, False),
        ("task_struct", "kind", 32, 4, True),
        ("task_struct", "wide", 40, 8, False),
        ("mm_struct", "rss_stat", 0, 32, False),
        ("mm_struct", "rss_stat[2].counter", 16, 8, True),
        ("mm_struct", "pgtables", 32, 8, True),
        ("mm_struct", "flags", 40, 4, False),
        ("atomic_long_t", "counter", 0, 8, True),
    ],
)
def test_fields(btf: Btf, struct: str, path: str, offset_bytes: int, size_bytes: int, signed: bool) -> None:
    field = btf.field(struct, path)
    assert (field.offset_bytes, field.size_bytes, field.signed) == (offset_bytes, size_bytes, signed)
    assert field.bit_size is None
    assert btf.has_field(struct, path)
    if size_bytes <= 8:
        assert field.window == Window(offset_bytes, size_bytes, 64 - 8 * size_bytes, 64 - 8 * size_bytes)


@pytest.mark.parametrize(
    ("path", "bit_size", "window"),
    [
        ("in_vfork", 1, Window(4, 4, 63, 63)),
        ("state", 3, Window(4, 4, 60, 61)),
        ("small", 5, Window(4, 4, 55, 59)),
    ],
)
def test_bitfields_load_by_shifts(btf: Btf, path: str, bit_size: int, window: Window) -> None:
    field = btf.field("task_struct", path)
    assert (field.bit_size, field.window) == (bit_size, window)
    before, value, after = 0b1010, (1 << bit_size) - 2, 0x5A5A
    at = field.bit_offset - 8 * window.offset_bytes
    loaded = before & (1 << at) - 1 | value << at | after << (at + bit_size)
    assert (loaded << window.shift_left & (1 << 64) - 1) >> window.shift_right == value


@pytest.mark.parametrize(
    ("struct", "path", "complaint"),
    [
        ("task_struct", "nothing", "struct task_struct has no field nothing"),
        ("task_struct", "mm.flags", "has no field flags"),
        ("task_struct", "state.x", "goes into a bitfield"),
        ("task_struct", "pid[0]", "int is not an array"),
        ("task_struct", "pid..x", "not the path of a field"),
        ("no_struct", "x", "no typedef no_struct"),
    ],
)
def test_fields_that_are_not_there(btf: Btf, struct: str, path: str, complaint: str) -> None:
    assert not btf.has_field(struct, path)
    with pytest.raises(BtfError, match=complaint.replace("[", r"\[")):
        btf.field(struct, path)


def test_what_is_larger_than_a_register_has_no_window(btf: Btf) -> None:
    for path in ("comm", "entries"):
        with pytest.raises(BtfError, match="not a register's"):
            _ = btf.field("task_struct", path).window


def test_pointers_are_followed_by_id(btf: Btf) -> None:
    mm = btf.pointee(btf.field("task_struct", "mm").type_id)
    assert btf.field(mm, "pgtables").offset_bytes == 32
    with pytest.raises(BtfError, match="int is not a pointer"):
        btf.pointee(btf.field("task_struct", "pid").type_id)


def test_enumerators_with_and_without_the_name_of_their_enum(btf: Btf) -> None:
    assert btf.enumerator("MM_ANONPAGES") == 1
    assert btf.enumerator("KIND_NONE", "kind") == -1
    assert btf.enumerator("WIDE", "wide") == btf.enumerator("WIDE") == 1 << 40
    for name, enum in (("KIND_ANY", "wide"), ("pid", None), ("NOT_THERE", None)):
        with pytest.raises(BtfError, match=f"no enumerator {name}"):
            btf.enumerator(name, enum)


def test_a_function_and_what_it_takes(btf: Btf) -> None:
    badness = btf.function("oom_badness")
    assert [(name, btf.describe(type_id)) for name, type_id in badness.parameters] == [
        ("p", "struct task_struct *"),
        ("totalpages", "long"),
    ]
    assert btf.describe(badness.return_id) == "long"
    assert btf.type(badness.type_id) == btf.type(btf.find("oom_badness", Kind.FUNC))
    assert (btf.has_function("oom_badness"), btf.has_function("task_struct")) == (True, False)


def test_every_kind_of_record_comes_back(btf: Btf) -> None:
    assert btf.type(0) == ()
    assert btf.type(btf.find("int", Kind.INT)) == Int("int", 4, True, 32)
    assert btf.type(btf.find("list", Kind.FWD)) == Forward("list")
    assert btf.type(btf.field("task_struct", "comm").type_id) == Array(btf.find("char", Kind.INT), 16)
    assert isinstance(btf.type(btf.field("task_struct", "mm").type_id), Pointer)
    assert isinstance(btf.field("task_struct", "wide").type, Enum)
    assert btf.size_bytes(btf.find("double", Kind.FLOAT)) == 8
    assert btf.type(btf.find("runqueues", Kind.VAR)) == Variable("runqueues", btf.find("long", Kind.INT))
    assert btf.type(btf.find(".data..percpu", Kind.DATASEC)) == (Kind.DATASEC, ".data..percpu")
    assert btf.describe(btf.find("rcu", Kind.TYPE_TAG)) == "struct mm_struct *"
    count = btf.source.type_count
    assert [len(btf.describe(type_id)) > 0 for type_id in range(count)] == [True] * count
    with pytest.raises(BtfError, match=f"no type {count}"):
        btf.type(count)


def test_a_module_stands_on_the_kernel(btf: Btf) -> None:
    """Its ids and strings go on where the kernel's end, and its functions take the kernel's types."""
    writer = BtfWriter(btf.source.type_count, btf.source.strings_bytes)
    task = writer.pointer(btf.find("task_struct", Kind.STRUCT))
    proto = writer.prototype(btf.find("long", Kind.INT), [Parameter("task", task)])
    own = writer.function("bpf_oom_score", proto)
    own_struct = writer.struct("oom_policy_event", 8, [Member("task", task, 0, None)])
    writer.enum("", [Enumerator("OOM_POLICY_KILL", 3)])
    module = Btf(BtfBlob(writer.to_bytes(), "oom_policy", btf.source), "oom_policy")

    assert (module.function("bpf_oom_score").type_id, module.function("oom_badness").type_id) == (
        own,
        btf.function("oom_badness").type_id,
    )
    assert module.find("oom_policy_event", Kind.STRUCT) == own_struct
    assert module.describe(module.field("oom_policy_event", "task").type_id) == "struct task_struct *"
    assert module.enumerator("OOM_POLICY_KILL") == 3
    assert module.enumerator("MM_ANONPAGES") == 1
    assert module.field("task_struct", "comm").offset_bytes == 16
    assert module.source.type_count == btf.source.type_count + 5


def test_a_modules_name_may_be_a_string_of_the_kernel(btf: Btf) -> None:
    """pahole does not repeat a string that the kernel has: here a function named as a field is."""
    writer = BtfWriter(btf.source.type_count, btf.source.strings_bytes)
    writer._offsets["comm"] = btf.source.string_offset("comm") or 0
    writer.function("comm", writer.prototype(0, []))
    module = Btf(BtfBlob(writer.to_bytes(), "m", btf.source), "m")
    assert module.function("comm").parameters == ()
    assert not btf.has_function("comm")
