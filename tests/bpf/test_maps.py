"""Maps of every kind in this kernel: what goes in comes out, and programs see it."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from bpf.by_hand import R0, R1, R2, R3, R10, U32, U64, call_with_key, load
from oompolicy.bpf.assembly import Label, Line, assemble
from oompolicy.bpf.btf_types import Member
from oompolicy.bpf.btf_writer import BtfWriter
from oompolicy.bpf.errors import BpfError
from oompolicy.bpf.instructions import Atomic, Call, Exit, Jump, Load, LoadMap, LoadMapValue, Store, add, move
from oompolicy.bpf.map_kinds import MapOfMaps, MappedArray, PerCpuMap, ProgramArray, possible_cpus
from oompolicy.bpf.maps import Map, MapSpec, u32
from oompolicy.bpf.object_ids import open_map
from oompolicy.bpf.opcodes import AtomicOp, JumpOp
from oompolicy.bpf.programs import Program, ProgramSpec
from oompolicy.bpf.uapi import Helper, MapFlags, MapType, ProgramType, UpdateFlag

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("bpf_here")]


def u64(number: int) -> bytes:
    return struct.pack("=Q", number)


def number(value: bytes | None) -> int | None:
    return None if value is None else int.from_bytes(value, "little")


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


@pytest.mark.parametrize("kind", [MapType.HASH, MapType.LRU_HASH])
def test_hash(kind: MapType) -> None:
    with Map.create(MapSpec(kind, "values", 8, 24, 64)) as values:
        key, first, second = u64(1), b"a" * 24, b"b" * 24
        assert values.lookup(key) is None
        values.update(key, first, UpdateFlag.NOEXIST)
        with pytest.raises(BpfError, match="map values: MAP_UPDATE_ELEM: the key is there already"):
            values.update(key, second, UpdateFlag.NOEXIST)
        values.update(key, second, UpdateFlag.EXIST)
        with pytest.raises(BpfError, match="there is no such key"):
            values.update(u64(2), first, UpdateFlag.EXIST)
        assert (values.lookup(key), list(values.items()), list(values.keys())) == (second, [(key, second)], [key])
        assert (values.delete(key), values.delete(key), list(values.items())) == (True, False, [])


def test_a_map_knows_what_it_is() -> None:
    with Map.create(MapSpec(MapType.HASH, "a_name_that_is_too_long", 4, 5, 6, MapFlags.NO_PREALLOC)) as values:
        assert (values.type, values.name, values.key_bytes, values.value_bytes) == (
            MapType.HASH,
            "a_name_that_is_",
            4,
            5,
        )
        assert (values.max_entries, values.flags) == (6, MapFlags.NO_PREALLOC)
        assert repr(values) == f"Map('a_name_that_is_', fd={values.fileno()})"
    assert values.closed
    with pytest.raises(ValueError, match="closed"):
        values.fileno()
    values.close()


@pytest.mark.parametrize("count", [0, 1, 4096, 10_000])
def test_many_entries_at_once(count: int) -> None:
    with Map.create(MapSpec(MapType.HASH, "many", 8, 8, 10_000)) as many:
        entries = {u64(key): u64(key * key) for key in range(count)}
        many.update_many(entries)
        assert dict(many.items()) == entries
        assert set(many.keys()) == set(entries)


def test_a_full_map_says_so() -> None:
    with Map.create(MapSpec(MapType.HASH, "full", 4, 4, 2)) as full:
        full.update_many({u32(1): u32(1), u32(2): u32(2)})
        with pytest.raises(BpfError, match="the map is full") as refused:
            full.update(u32(3), u32(3))
        assert refused.value.errno == errno.E2BIG
        with pytest.raises(BpfError, match="the map is full"):
            full.update_many({u32(3): u32(3)})


def test_array() -> None:
    with Map.create(MapSpec(MapType.ARRAY, "array", 4, 8, 3)) as array:
        array.update_many({u32(0): u64(5), u32(2): u64(7)})
        assert [(number(key), number(value)) for key, value in array.items()] == [(0, 5), (1, 0), (2, 7)]
        assert array.lookup(u32(3)) is None
        with pytest.raises(BpfError, match="ends before this index"):
            array.update(u32(3), u64(1))
        with pytest.raises(BpfError, match="map array: MAP_DELETE_ELEM"):
            array.delete(u32(0))


def test_sizes_are_checked_here_and_not_in_the_kernel() -> None:
    with Map.create(MapSpec(MapType.ARRAY, "array", 4, 8, 3)) as array:
        with pytest.raises(ValueError, match="map array: a key has 4 bytes, not 8"):
            array.lookup(u64(0))
        with pytest.raises(ValueError, match="map array: a value has 8 bytes, not 4"):
            array.update(u32(0), u32(0))


def test_frozen() -> None:
    with Map.create(MapSpec(MapType.ARRAY, "frozen", 4, 8, 1, MapFlags.RDONLY_PROG)) as frozen:
        frozen.update(u32(0), u64(5))
        frozen.freeze()
        with pytest.raises(BpfError, match="it is frozen, or not for writing"):
            frozen.update(u32(0), u64(6))
        assert number(frozen.lookup(u32(0))) == 5


@pytest.mark.parametrize("kind", [MapType.PERCPU_HASH, MapType.PERCPU_ARRAY, MapType.LRU_PERCPU_HASH])
def test_a_value_for_each_cpu(kind: MapType) -> None:
    with PerCpuMap.create(MapSpec(kind, "each", 4, 4, 8)) as each:
        values = [u32(100 + cpu) for cpu in range(each.cpus)]
        each.update_each(u32(1), values)
        assert each.lookup_each(u32(1)) == tuple(values)
        assert each.lookup_each(u32(9)) is None
        read = dict(each.items())
        assert read[u32(1)] == b"".join(value + bytes(4) for value in values)
        with pytest.raises(ValueError, match=f"wants {each.cpus} values of 4 bytes"):
            each.update_each(u32(1), values[1:])


def test_programs_count_on_their_own_cpu(stack: ExitStack) -> None:
    each = stack.enter_context(PerCpuMap.create(MapSpec(MapType.PERCPU_ARRAY, "each", 4, 8, 1)))
    program = stack.enter_context(
        load(
            [
                *call_with_key(Helper.MAP_LOOKUP_ELEM, each, 0),
                Jump(JumpOp.EQ, R0, 0, "end"),
                move(R1, 1),
                Atomic(AtomicOp.ADD, U64, R0, 0, R1),
                Label("end"),
                move(R0, 0),
                Exit(),
            ]
        )
    )
    for _ in range(5):
        program.run()
    counted = each.lookup_each(u32(0))
    assert counted
    assert sum(int.from_bytes(value, "little") for value in counted) == 5


@pytest.mark.parametrize(("text", "count"), [("0", 1), ("0-3\n", 4), ("0,2-3", 3), ("0-1,4-5,7", 5)])
def test_possible_cpus(text: str, count: int, tmp_path: Path) -> None:
    (tmp_path / "possible").write_text(text)
    assert possible_cpus(tmp_path / "possible") == count


@pytest.mark.parametrize("kind", [MapType.HASH_OF_MAPS, MapType.ARRAY_OF_MAPS])
def test_a_generation_of_values_is_swapped_whole(kind: MapType, stack: ExitStack) -> None:
    """A program looks up the map that is current, then a value in it; swapping the map swaps all values."""
    spec = MapSpec(MapType.HASH, "generation", 4, 8, 16)
    old, new = (stack.enter_context(Map.create(spec)) for _ in range(2))
    old.update(u32(7), u64(100))
    new.update(u32(7), u64(200))
    current = stack.enter_context(MapOfMaps.create(MapSpec(kind, "current", 4, 4, 1), inner=old))
    lines: list[Line] = [
        *call_with_key(Helper.MAP_LOOKUP_ELEM, current, 0),
        Jump(JumpOp.EQ, R0, 0, "none"),
        move(R1, R0),
        Store(U32, R10, -4, 7),
        move(R2, R10),
        add(R2, -4),
        Call(Helper.MAP_LOOKUP_ELEM),
        Jump(JumpOp.EQ, R0, 0, "none"),
        Load(U64, R0, R0),
        Exit(),
        Label("none"),
        move(R0, -1),
        Exit(),
    ]
    program = stack.enter_context(load(lines))
    assert (current.inner_id(u32(0)), program.run().returned) == (None, -1)
    current.put(u32(0), old)
    assert (current.inner_id(u32(0)), program.run().returned) == (old.id, 100)
    current.put(u32(0), new)
    assert (current.inner_id(u32(0)), program.run().returned) == (new.id, 200)
    with open_map(current.inner_id(u32(0)) or 0) as again:
        assert number(again.lookup(u32(7))) == 200
    other = stack.enter_context(Map.create(MapSpec(MapType.HASH, "other", 8, 8, 16)))
    with pytest.raises(BpfError, match="map current"):
        current.put(u32(0), other)


def test_an_array_in_memory_is_one_and_the_same_here_and_there(stack: ExitStack) -> None:
    spec = MapSpec(MapType.ARRAY, "mapped", 4, 12, 1000, MapFlags.MMAPABLE)
    mapped = stack.enter_context(MappedArray.create(spec))
    assert mapped.stride_bytes == 16
    memory = mapped.mapping()
    only_read = mapped.mapping(writable=False)
    for index in (0, 1, 999):
        memory[index * 16 : index * 16 + 12] = struct.pack("=QI", index, index + 1)
        assert mapped.lookup(u32(index)) == struct.pack("=QI", index, index + 1)
        assert only_read[index * 16] == index & 0xFF
    with pytest.raises(TypeError):
        only_read[0] = 1
    only_read.close()
    memory.close()


def test_a_program_and_a_process_share_a_counter(stack: ExitStack) -> None:
    spec = MapSpec(MapType.ARRAY, "counter", 4, 16, 1, MapFlags.MMAPABLE)
    counter = stack.enter_context(MappedArray.create(spec))
    memory = counter.mapping()
    words = memoryview(memory).cast("Q")
    lines = [
        LoadMapValue(R1, counter.fileno(), 8),
        move(R2, 1),
        Atomic(AtomicOp.FETCH_ADD, U64, R1, 0, R2),
        move(R0, R2),
        Exit(),
    ]
    program = stack.enter_context(load(lines))
    words[1] = 40
    assert [program.run().returned for _ in range(3)] == [40, 41, 42]
    assert (words[0], words[1]) == (0, 43)
    words.release()
    memory.close()


def test_what_was_not_made_to_be_mapped_is_not(stack: ExitStack) -> None:
    with pytest.raises(BpfError, match="was not made to be mapped"):
        MappedArray.create(MapSpec(MapType.ARRAY, "plain", 4, 8, 1))


def test_a_tail_call_goes_to_what_is_there_now(stack: ExitStack) -> None:
    def raw_tracepoint(*lines: Line) -> Program:
        return stack.enter_context(Program.load(ProgramSpec(ProgramType.RAW_TRACEPOINT, "tail", assemble(lines))))

    array = stack.enter_context(ProgramArray.create(MapSpec(MapType.PROG_ARRAY, "policies", 4, 4, 2)))
    caller = raw_tracepoint(LoadMap(R2, array.fileno()), move(R3, 0), Call(Helper.TAIL_CALL), move(R0, -1), Exit())
    one, two = (raw_tracepoint(move(R0, result), Exit()) for result in (1, 2))
    assert caller.run().returned == -1
    array.put(0, one)
    assert (caller.run().returned, array.program_id(0)) == (1, one.id)
    array.put(0, two)
    assert caller.run().returned == 2
    array.clear(0)
    assert (caller.run().returned, array.program_id(0)) == (-1, None)


def test_storage_of_a_task_needs_types(stack: ExitStack) -> None:
    """Values that hang on a task and go with it, keyed by a pidfd from user space."""
    writer = BtfWriter()
    key = writer.integer("int", 4, signed=True)
    word = writer.integer("long", 8, signed=True)
    value = writer.struct("value", 16, [Member("pages", word, 0, None), Member("until_ns", word, 64, None)])
    types = stack.enter_context(writer.load())
    spec = MapSpec(MapType.TASK_STORAGE, "of_tasks", 4, 16, 0, MapFlags.NO_PREALLOC, types.fileno(), key, value)
    storage = stack.enter_context(Map.create(spec))
    pidfd = os.pidfd_open(os.getpid())
    stack.callback(os.close, pidfd)
    assert storage.lookup(u32(pidfd)) is None
    storage.update(u32(pidfd), struct.pack("=qq", -5, 9))
    assert storage.lookup(u32(pidfd)) == struct.pack("=qq", -5, 9)
    assert storage.delete(u32(pidfd))


def test_a_map_that_cannot_be(stack: ExitStack) -> None:
    with pytest.raises(BpfError, match="map odd: MAP_CREATE: this kernel has no such map, or not with such sizes"):
        Map.create(MapSpec(MapType.ARRAY, "odd", 8, 8, 1))


def test_a_descriptor_of_something_else_is_no_map(stack: ExitStack) -> None:
    program = load([move(R0, 0), Exit()])
    with pytest.raises(BpfError, match="is a bpf-prog, not a bpf-map"):
        Map(os.dup(program.fileno()))
    program.close()


def test_closing_is_not_forgotten_in_silence() -> None:
    forgotten = Map.create(MapSpec(MapType.ARRAY, "forgotten", 4, 8, 1))
    with pytest.warns(ResourceWarning, match="unclosed Map"):
        del forgotten


def test_low_descriptors_are_left_to_others() -> None:
    """With stdin closed the kernel would give a map descriptor 0, which means "none" in attributes."""
    kept = os.dup(0)
    os.close(0)
    try:
        with Map.create(MapSpec(MapType.ARRAY, "low", 4, 8, 1)) as low, load([move(R0, 0), Exit()]) as program:
            assert min(low.fileno(), program.fileno()) > 2
    finally:
        os.dup2(kept, 0)
        os.close(kept)
