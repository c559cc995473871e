"""A ring buffer between a program of this kernel and this process."""

from __future__ import annotations

import mmap
import struct
import threading
import time
from collections.abc import Iterator

import pytest

from bpf.by_hand import R0, R1, R2, R3, R6, U64, emit, load
from oompolicy.bpf.assembly import Label, Line
from oompolicy.bpf.errors import BpfError
from oompolicy.bpf.instructions import Call, Exit, Jump, Load, LoadMap, Store, move
from oompolicy.bpf.maps import Map, MapSpec
from oompolicy.bpf.opcodes import JumpOp
from oompolicy.bpf.programs import Program
from oompolicy.bpf.ring_buffer import RingBuffer
from oompolicy.bpf.uapi import Helper, MapType

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("bpf_here")]

PAGE = mmap.PAGESIZE
EAGAIN = -11


@pytest.fixture
def ring() -> Iterator[Map]:
    with Map.create(MapSpec(MapType.RINGBUF, "events", 0, 0, PAGE)) as ring:
        yield ring


def send(program: Program, number: int) -> int:
    return program.run(struct.pack("=Q", number)).returned


def numbers(reader: RingBuffer) -> list[int]:
    return [struct.unpack("=Q", record)[0] for record in reader.read()]


def test_records_come_in_order_and_once(ring: Map) -> None:
    with load([*emit(ring), Exit()]) as program, RingBuffer(ring) as reader:
        assert (numbers(reader), reader.wait(0)) == ([], False)
        assert [send(program, number) for number in range(5)] == [0] * 5
        assert reader.wait(1)
        assert numbers(reader) == [0, 1, 2, 3, 4]
        assert (numbers(reader), reader.wait(0)) == ([], False)


@pytest.mark.parametrize("length", [1, 3, 7, 8])
def test_records_go_round_the_end_many_times(ring: Map, length: int) -> None:
    with load([*emit(ring, length), Exit()]) as program, RingBuffer(ring) as reader:
        for number in range(0, 3000, 3):
            sent = [struct.pack("=Q", number + step)[:length] for step in range(3)]
            for step in range(3):
                assert send(program, number + step) == 0
            assert list(reader.read()) == sent


def test_a_full_buffer_refuses_the_newest(ring: Map) -> None:
    """And has room again once something was read: 8 bytes of header, 8 of record."""
    with load([*emit(ring), Exit()]) as program, RingBuffer(ring) as reader:
        answers = [send(program, number) for number in range(300)]
        kept = answers.count(0)
        assert kept in (PAGE // 16 - 1, PAGE // 16)
        assert answers == [0] * kept + [EAGAIN] * (300 - kept)
        assert numbers(reader) == list(range(kept))
        assert send(program, 1000) == 0
        assert numbers(reader) == [1000]


def test_a_reader_that_stops_halfway_goes_on_there(ring: Map) -> None:
    with load([*emit(ring), Exit()]) as program, RingBuffer(ring) as reader:
        for number in range(4):
            send(program, number)
        first = reader.read()
        assert [next(first), next(first)] == [struct.pack("=Q", 0), struct.pack("=Q", 1)]
        first.close()  # the second was handed out and not let go of
        assert numbers(reader) == [1, 2, 3]


def test_a_second_reader_takes_over_where_the_first_left(ring: Map) -> None:
    with load([*emit(ring), Exit()]) as program:
        send(program, 1)
        with RingBuffer(ring) as reader:
            assert numbers(reader) == [1]
        send(program, 2)
        with RingBuffer(ring) as reader:
            assert numbers(reader) == [2]


def test_discarded_records_are_passed_over(ring: Map) -> None:
    """Reserve; submit odd numbers, discard even ones."""
    lines: list[Line] = [
        Load(U64, R6, R1),
        LoadMap(R1, ring.fileno()),
        move(R2, 8),
        move(R3, 0),
        Call(Helper.RINGBUF_RESERVE),
        Jump(JumpOp.EQ, R0, 0, "full"),
        Store(U64, R0, 0, R6),
        move(R1, R0),
        move(R2, 0),
        Jump(JumpOp.SET, R6, 1, "odd"),
        Call(Helper.RINGBUF_DISCARD),
        move(R0, 0),
        Exit(),
        Label("odd"),
        Call(Helper.RINGBUF_SUBMIT),
        Label("full"),
        move(R0, 0),
        Exit(),
    ]
    with load(lines) as program, RingBuffer(ring) as reader:
        for number in range(7):
            send(program, number)
        assert numbers(reader) == [1, 3, 5]
        for number in (2, 4):
            send(program, number)
        assert (numbers(reader), reader.wait(0)) == ([], False)


def test_waiting_ends_with_the_first_record(ring: Map) -> None:
    with load([*emit(ring), Exit()]) as program, RingBuffer(ring) as reader:
        sender = threading.Timer(0.1, send, (program, 9))
        sender.start()
        start = time.monotonic()
        assert reader.wait(30)
        assert time.monotonic() - start < 20
        sender.join()
        assert numbers(reader) == [9]


def test_a_reader_keeps_up_with_a_writer(ring: Map) -> None:
    """Both at once: nothing is lost that was not refused, nothing comes twice or torn."""
    sent: list[int] = []
    with load([*emit(ring), Exit()]) as program, RingBuffer(ring) as reader:

        def write() -> None:
            words = (number * 0x0001_0001_0001 for number in range(3000))
            sent.extend(word for word in words if send(program, word) == 0)

        writer = threading.Thread(target=write)
        writer.start()
        read: list[int] = []
        while writer.is_alive():
            reader.wait(0.01)
            read += numbers(reader)
        writer.join()
        read += numbers(reader)
    assert read == sent
    assert len(read) > 250


def test_other_maps_are_no_ring_buffers() -> None:
    with Map.create(MapSpec(MapType.ARRAY, "array", 4, 8, 1)) as array, pytest.raises(BpfError, match="not a ring"):
        RingBuffer(array)
