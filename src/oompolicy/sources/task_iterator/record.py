"""What the iterator's program writes of each process, and how it is read: one table for both.

Belongs here: the layout, and what its numbers mean. Must not know: where the kernel keeps them (program.py).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple


class Record(NamedTuple):
    """One process, by the thread that find_lock_task_mm() would return; or one of its threads (see records()).

    start_ns is the process's, from boot. memcg_id is that of the cgroup in the memory hierarchy (or the nearest above
    that has a memory account). Counters are pages, as oom_badness() reads them, before it takes what is below 0 for 0.
    pending: the first 64 signals, of the thread and of the process. signal_flags: SIGNAL_GROUP_EXIT and its like.
    """

    start_ns: int
    memcg_id: int
    rss_file: int
    rss_anon: int
    swap: int
    rss_shmem: int
    pgtables_bytes: int
    total_vm: int
    pending: int
    pid: int
    tgid: int
    ppid: int
    uid: int
    flags: int
    signal_flags: int
    oom_score_adj: int
    thread_count: int
    bits: int
    comm: bytes


HAS_MM: Final = 1 << 0
IS_OOM_VICTIM: Final = 1 << 1  # signal->oom_mm
OOM_SKIP: Final = 1 << 2  # MMF_OOM_SKIP of its mm
IN_VFORK: Final = 1 << 3
DUMPS_CORE: Final = 1 << 4  # core_state: it will need its memory for a while

COMM_BYTES: Final = 16
_FORMAT: Final = {
    **dict.fromkeys(("start_ns", "memcg_id", "total_vm", "pending"), "Q"),
    **dict.fromkeys(("rss_file", "rss_anon", "swap", "rss_shmem", "pgtables_bytes"), "q"),
    **dict.fromkeys(("uid", "flags", "signal_flags", "bits"), "I"),
    **dict.fromkeys(("pid", "tgid", "ppid", "oom_score_adj", "thread_count"), "i"),
    "comm": f"4x{COMM_BYTES}s",
}
LAYOUT: Final = struct.Struct("=" + "".join(_FORMAT[name] for name in Record._fields))
SIZES: Final = {name: struct.calcsize("=" + kind.removeprefix("4x")) for name, kind in _FORMAT.items()}
OFFSETS: Final = {
    name: struct.calcsize("=" + "".join(_FORMAT[one] for one in Record._fields[: number + 1])) - SIZES[name]
    for number, name in enumerate(Record._fields)
}
assert LAYOUT.size % 8 == 0
_BEFORE_PID, _BEFORE_BITS = OFFSETS["pid"] - SIZES["start_ns"], OFFSETS["bits"] - OFFSETS["ppid"]
_TELLS: Final = struct.Struct(f"=Q{_BEFORE_PID}xii{_BEFORE_BITS}xI")  # start_ns, pid, tgid, bits


def records(data: bytes) -> Iterator[Record]:
    """One for each process, the oldest first; of a process whose leader has let go of its memory, the first thread
    that has not. Kernel threads and processes without any memory are there too.

    Each is made when it is its turn: two thousand at once would be a megabyte.
    """
    places: list[tuple[int, int, int]] = []  # start, tgid, where
    without: dict[int, tuple[int, int, int]] = {}  # leaders that have no memory, until a thread of theirs comes
    for at in range(0, len(data), LAYOUT.size):
        start_ns, pid, tgid, bits = _TELLS.unpack_from(data, at)
        place = start_ns, tgid, at
        if pid != tgid:
            if without.pop(tgid, None) is not None:
                places.append(place)
        elif bits & HAS_MM:
            places.append(place)
        else:
            without[tgid] = place
    for _, _, at in sorted((*places, *without.values())):
        yield Record(*LAYOUT.unpack_from(data, at))
