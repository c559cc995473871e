"""Damaged BTF: whatever the bytes, the answer is an answer or BtfError, and it comes at once."""

from __future__ import annotations

import random
import struct
import time
from collections.abc import Callable

import pytest

from bpf.test_btf import kernel
from oompolicy.bpf.btf import Btf
from oompolicy.bpf.btf_blob import HEADER, BtfBlob
from oompolicy.bpf.btf_types import Enumerator, Kind, Member
from oompolicy.bpf.btf_writer import BtfWriter
from oompolicy.bpf.errors import BtfError
from oompolicy.bpf.kernel_btf import SYS_KERNEL

QUESTIONS: list[Callable[[Btf], object]] = [
    lambda btf: btf.field("task_struct", "mm").window,
    lambda btf: btf.field("task_struct", "state").window,
    lambda btf: btf.field("task_struct", "comm[3]"),
    lambda btf: btf.field("mm_struct", "rss_stat[2].counter").signed,
    lambda btf: btf.pointee(btf.field("task_struct", "mm").type_id),
    lambda btf: [btf.describe(parameter.type_id) for parameter in btf.function("oom_badness").parameters],
    lambda btf: btf.enumerator("MM_ANONPAGES"),
    lambda btf: btf.enumerator("WIDE", "wide"),
    lambda btf: btf.find("runqueues", Kind.VAR),
]


def asked(data: bytes, every_type: bool = True) -> int:
    """How many answers were BtfError; any other exception comes out."""
    try:
        btf = Btf(BtfBlob(data, "damaged"), "damaged")
    except BtfError:
        return len(QUESTIONS)
    errors = 0
    for question in QUESTIONS:
        try:
            question(btf)
        except BtfError:
            errors += 1
    for type_id in range(btf.source.type_count) if every_type else ():
        try:
            btf.describe(type_id)
            btf.size_bytes(type_id)
        except BtfError:
            errors += 1
    return errors


def damaged(data: bytes, dice: random.Random) -> bytes:
    """Cut off, bytes changed, words changed to numbers that mean something, a piece moved; or several of these."""
    mutable = bytearray(data)
    for _ in range(dice.randint(1, 4)):
        kind = dice.randrange(4)
        at = dice.randrange(len(mutable))
        if kind == 0 and len(mutable) > 1:
            del mutable[at:]
        elif kind == 1:
            mutable[at] = dice.randrange(256)
        elif kind == 2 and len(mutable) >= 4:
            word = dice.choice(
                [0, 1, 2, 5, 10, 20, 0xFFFF, 1 << 24, 31 << 24, 0x8400FFFF, 0xFFFFFFFF, dice.getrandbits(32)]
            )
            struct.pack_into("=I", mutable, min(at, len(mutable) - 4) // 4 * 4, word)
        else:
            other = dice.randrange(len(mutable))
            mutable[other : other + 12] = mutable[at : at + 12]
        if not mutable:
            break
    return bytes(mutable)


def test_sound_btf_answers_everything() -> None:
    assert asked(kernel().to_bytes()) == 0


def test_no_truncation_gets_past_the_reader() -> None:
    """Each is refused, or has lost nothing but the end of its last string."""
    whole = kernel().to_bytes()
    for length in range(len(whole)):
        with pytest.raises(BtfError):
            BtfBlob(whole[:length], "cut")


def test_random_damage() -> None:
    seed = random.randrange(1 << 32)
    dice = random.Random(seed)
    whole = kernel().to_bytes()
    errors = 0
    for number in range(4000):
        data = damaged(whole, dice)
        start = time.perf_counter()
        try:
            errors += asked(data) > 0
        except Exception as error:
            raise AssertionError(f"seed {seed}, number {number}: {data.hex()}") from error
        assert time.perf_counter() - start < 2, f"seed {seed}, number {number}"
    assert errors > 1000


@pytest.mark.skipif(not (SYS_KERNEL / "btf/vmlinux").exists(), reason="this kernel has no BTF")
def test_random_damage_to_this_kernels_own() -> None:
    seed = random.randrange(1 << 32)
    dice = random.Random(seed)
    whole = (SYS_KERNEL / "btf/vmlinux").read_bytes()
    for number in range(25):
        mutable = bytearray(whole[: dice.choice([len(whole), dice.randrange(len(whole))])])
        for _ in range(dice.choice([1, 100, 100_000])):
            mutable[dice.randrange(HEADER.size, max(len(mutable), HEADER.size + 1)) % len(mutable)] = dice.randrange(
                256
            )
        start = time.perf_counter()
        try:
            asked(bytes(mutable), every_type=False)
        except Exception as error:
            raise AssertionError(f"seed {seed}, number {number}") from error
        assert time.perf_counter() - start < 10, f"seed {seed}, number {number}"


def in_a_circle() -> BtfWriter:
    """typedef a b; typedef b a; int[2] of itself; a struct whose anonymous member is itself."""
    writer = BtfWriter()
    writer.modifier(Kind.TYPEDEF, 2, "a")
    writer.modifier(Kind.TYPEDEF, 1, "b")
    writer.array(3, 2, 1)
    writer.struct("itself", 8, [Member("", 4, 0, None), Member("array", 3, 0, None)])
    writer.pointer(5)
    return writer


def test_circles_end() -> None:
    btf = Btf(BtfBlob(in_a_circle().to_bytes(), "circle"), "circle")
    for type_id in (1, 2, 3):
        with pytest.raises(BtfError, match="damaged BTF"):
            btf.size_bytes(type_id)
    with pytest.raises(BtfError, match="has no field x"):
        btf.field("itself", "x")
    with pytest.raises(BtfError, match="damaged BTF"):
        btf.field("itself", "array")
    assert btf.describe(5).startswith("type 5")


def test_a_tower_of_anonymous_structs_takes_no_exponential_time() -> None:
    writer = BtfWriter()
    below = writer.struct("", 8, [Member("bottom", writer.integer("int", 4), 0, None)])
    for _ in range(60):
        below = writer.struct("", 8, [Member("", below, 0, None), Member("", below, 64, None)])
    writer.struct("tower", 8, [Member("", below, 0, None)])
    btf = Btf(BtfBlob(writer.to_bytes(), "tower"), "tower")
    assert btf.field("tower", "bottom").offset_bytes == 0
    assert not btf.has_field("tower", "top")


def test_a_kind_from_the_future_is_named() -> None:
    writer = BtfWriter()
    writer.enum("e", [Enumerator("E", 1)])
    data = bytearray(writer.to_bytes())
    data[HEADER.size + 7] = 20
    with pytest.raises(BtfError, match="a kind of type that is not known here"):
        BtfBlob(bytes(data), "future")
