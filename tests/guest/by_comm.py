"""A policy of a few BPF instructions, for tests of the hook: each task is answered for by its comm. Runs in a guest.

Belongs here: bpf(2) by hand, as little as these tests need, independent of the product's own.
Must not know: what is tested.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

SYS_BPF = {"x86_64": 321, "aarch64": 280}[os.uname().machine]
MAP_CREATE, _, MAP_UPDATE, _, _, PROG_LOAD = range(6)
OBJ_GET_INFO, BTF_GET_FD_BY_ID, MAP_POP, BTF_GET_NEXT_ID, LINK_CREATE = 15, 19, 21, 23, 28
HASH, QUEUE, TRACING = 1, 22, 26
FENTRY, FEXIT, MODIFY_RETURN = 24, 25, 26
MAP_LOOKUP_ELEM, MAP_PUSH_ELEM, PROBE_READ_KERNEL = 1, 87, 113
STRUCT, FUNC = 4, 12
R0, R1, R2, R3, R6, R7, R10 = 0, 1, 2, 3, 6, 7, 10

DEFER = 0


def score(points: int) -> int:
    return points << 3 | 1


def preselected(points: int) -> int:
    return points << 3 | 2


KILL, SPARE = 3, 4


class Event(NamedTuple):
    """What oc holds when an OOM is over."""

    totalpages: int
    chosen_points: int
    is_memcg_oom: bool
    order: int
    found: bool


# kind -> bytes after the twelve that every type has, and bytes for each of its members
EXTRA = {1: (4, 0), 3: (12, 0), 4: (0, 12), 5: (0, 12), 6: (0, 8), 13: (0, 8), 14: (4, 0), 15: (0, 12), 17: (4, 0)}
EXTRA |= {19: (0, 12)}


class Btf:
    """Types of the kernel, and of a module on top of it."""

    def __init__(self, path: str, base: Btf | None = None) -> None:
        raw = Path(path).read_bytes()
        _, _, _, header, types, types_size, strings, strings_size = struct.unpack_from("<HBBIIIII", raw)
        self.types = raw[header + types : header + types + types_size]
        own = raw[header + strings : header + strings + strings_size]
        self.strings: bytes = base.strings + own if base else own
        self.first: int = base.first + len(base.offsets) if base else 1
        self.offsets: list[int] = []
        place, unpack = 0, struct.Struct("<I").unpack_from
        while place < len(self.types):
            self.offsets.append(place)
            (info,) = unpack(self.types, place + 4)
            fixed, each = EXTRA.get(info >> 24 & 31, (0, 0))
            place += 12 + fixed + each * (info & 0xFFFF)

    def find(self, name: str, kind: int) -> int:
        """The id of a type."""
        wanted = self.strings.index(b"\0" + name.encode() + b"\0") + 1
        for number, place in enumerate(self.offsets):
            name_place, info = struct.unpack_from("<II", self.types, place)
            if name_place == wanted and info >> 24 & 31 == kind:
                return self.first + number
        raise KeyError(name)

    def offset(self, structure: str, field: str) -> int:
        """Where a field is, in bytes; fields of anonymous members are not looked for."""
        place = self.offsets[self.find(structure, STRUCT) - self.first]
        (info,) = struct.unpack_from("<I", self.types, place + 4)
        for member in range(info & 0xFFFF):
            name, _, bits = struct.unpack_from("<III", self.types, place + 12 + 12 * member)
            if self.strings[name : self.strings.index(b"\0", name)] == field.encode():
                return int(bits & 0xFFFFFF) // 8
        raise KeyError(field)


def bpf(command: int, attributes: bytes) -> tuple[int, bytes]:
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    libc = ctypes.CDLL(None, use_errno=True)
    result = int(libc.syscall(SYS_BPF, command, buffer, len(attributes)))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result, buffer.raw


def map_create(kind: int, key_size: int, value_size: int, entries: int) -> int:
    return bpf(MAP_CREATE, struct.pack("<5I", kind, key_size, value_size, entries, 0))[0]


def instruction(code: int, to: int = 0, source: int = 0, offset: int = 0, value: int = 0) -> bytes:
    return struct.pack("<BBhi", code, to | source << 4, offset, value)


def load(to: int, source: int, offset: int, size: int = 8) -> bytes:
    return instruction({8: 0x79, 4: 0x61}[size], to, source, offset)


def store(offset: int, source: int) -> bytes:
    """To the stack, eight bytes."""
    return instruction(0x7B, R10, source, offset)


def stack_address(to: int, offset: int) -> bytes:
    return instruction(0xBF, to, R10) + instruction(0x07, to, value=offset)


def map_address(to: int, descriptor: int) -> bytes:
    return instruction(0x18, to, 1, value=descriptor) + instruction(0)


def call(helper: int) -> bytes:
    return instruction(0x85, value=helper)


EXIT = instruction(0x95)


def program(code: bytes, attach_type: int, function: int, btf_descriptor: int) -> int:
    """Load; the verifier's words when it refuses."""
    text, licence = ctypes.create_string_buffer(code, len(code)), ctypes.create_string_buffer(b"GPL")
    log = ctypes.create_string_buffer(1 << 16)
    address = ctypes.addressof
    head = struct.pack("<IIQQ", TRACING, len(code) // 8, address(text), address(licence))
    head += struct.pack("<IIQII16sII", 1, len(log), address(log), 0, 0, b"by_comm", 0, attach_type)
    head += struct.pack("<IIQIIQIII", 0, 0, 0, 0, 0, 0, 0, function, btf_descriptor)
    try:
        return bpf(PROG_LOAD, head)[0]
    except OSError as error:
        raise OSError(error.errno, f"{error.strerror}: {log.value.decode()}") from error


def link(descriptor: int, attach_type: int) -> int:
    return bpf(LINK_CREATE, struct.pack("<IIIIQ", descriptor, 0, attach_type, 0, 0))[0]


def module_btf_descriptor(module: str) -> int:
    """A descriptor of a module's BTF object."""
    number = 0
    while True:
        _, answer = bpf(BTF_GET_NEXT_ID, struct.pack("<III", number, 0, 0))
        (number,) = struct.unpack_from("<I", answer, 4)
        descriptor, _ = bpf(BTF_GET_FD_BY_ID, struct.pack("<III", number, 0, 0))
        name = ctypes.create_string_buffer(64)
        info = ctypes.create_string_buffer(struct.pack("<QIIQII", 0, 0, 0, ctypes.addressof(name), 64, 0), 32)
        bpf(OBJ_GET_INFO, struct.pack("<IIQ", descriptor, 32, ctypes.addressof(info)))
        if name.value == module.encode():
            return descriptor
        os.close(descriptor)


class ByComm:
    """The policy, in force from attach() to detach()."""

    def __init__(self, module: str | None = "oom_policy") -> None:
        """With module None the functions are the kernel's own, and OOMs are observed where out_of_memory() returns."""
        self.kernel = Btf("/sys/kernel/btf/vmlinux")
        self.target = Btf(f"/sys/kernel/btf/{module}", self.kernel) if module else self.kernel
        self.module = module
        self.answers = map_create(HASH, 16, 8, 64)
        self.events = map_create(QUEUE, 0, 40, 4096)
        self.links: list[int] = []

    def attach(self) -> None:
        btf = module_btf_descriptor(self.module) if self.module else 0
        end = (FENTRY, "oom_policy_end") if self.module else (FEXIT, "out_of_memory")
        try:
            self.put(self.observer(), *end, btf)
            self.put(self.ranker(), MODIFY_RETURN, "bpf_oom_score", btf)
        finally:
            if btf:
                os.close(btf)

    def put(self, code: bytes, attach_type: int, function: str, btf: int) -> None:
        loaded = program(code, attach_type, self.target.find(function, FUNC), btf)
        try:
            self.links.append(link(loaded, attach_type))
        finally:
            os.close(loaded)

    def detach(self) -> None:
        while self.links:
            os.close(self.links.pop())

    def close(self) -> None:
        """Give the maps back."""
        os.close(self.answers)
        os.close(self.events)

    def answer(self, **answers: int) -> None:
        for comm, value in answers.items():
            key, held = ctypes.create_string_buffer(comm.encode(), 16), ctypes.c_int64(value)
            bpf(MAP_UPDATE, struct.pack("<IIQQQ", self.answers, 0, ctypes.addressof(key), ctypes.addressof(held), 0))

    def ended(self) -> Iterator[Event]:
        """The OOMs that have ended since the last call."""
        value = ctypes.create_string_buffer(40)
        while True:
            try:
                bpf(MAP_POP, struct.pack("<IIQQQ", self.events, 0, 0, ctypes.addressof(value), 0))
            except FileNotFoundError:
                return
            totalpages, points, memcg, order, found = struct.unpack("<QqQi4xB7x", value.raw)
            yield Event(totalpages, points, memcg != 0, order, found != 0)

    def ranker(self) -> bytes:
        """bpf_oom_score(task, oc, points): the answer for task->comm, 0 where there is none."""
        comm = self.kernel.offset("task_struct", "comm")
        return b"".join(
            (
                load(R3, R1, 0),
                instruction(0x07, R3, value=comm),
                stack_address(R1, -16),
                instruction(0xB7, R2, value=16),
                call(PROBE_READ_KERNEL),
                map_address(R1, self.answers),
                stack_address(R2, -16),
                call(MAP_LOOKUP_ELEM),
                instruction(0x15, R0, offset=1, value=0),
                load(R0, R0, 0),
                EXIT,
            )
        )

    def observer(self) -> bytes:
        """oom_policy_end(oc, found): what oc holds, into the queue."""
        at = {
            field: self.kernel.offset("oom_control", field)
            for field in ("totalpages", "chosen_points", "memcg", "order")
        }
        return b"".join(
            (
                load(R6, R1, 0),
                load(R7, R1, 8),
                store(-8, R7),
                load(R7, R6, at["order"], 4),
                store(-16, R7),
                load(R7, R6, at["memcg"]),
                store(-24, R7),
                load(R7, R6, at["chosen_points"]),
                store(-32, R7),
                load(R7, R6, at["totalpages"]),
                store(-40, R7),
                map_address(R1, self.events),
                stack_address(R2, -40),
                instruction(0xB7, R3, value=0),
                call(MAP_PUSH_ELEM),
                instruction(0xB7, R0, value=0),
                EXIT,
            )
        )
