"""The process that holds memory: `python -I worker.py NAME`, told over standard input how much.

Belongs here: what runs inside the memcg; standard library only, and little of it. Must not know: who tells it.

Each line "N" asks for N MiB more; the answer is "N" once they are touched. It ends when its input ends, so it does not
outlive the one who started it.
"""

from __future__ import annotations

import mmap
import sys
from pathlib import Path

MIB = 1 << 20


def hold(size_mib: int) -> mmap.mmap:
    """Anonymous memory, every page of it written to, in small pages so that the account is exact."""
    area = mmap.mmap(-1, size_mib * MIB, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_NOHUGEPAGE"):
        area.madvise(mmap.MADV_NOHUGEPAGE)
    for offset in range(0, size_mib * MIB, mmap.PAGESIZE):
        area[offset] = 1
    return area


def main() -> None:
    """Serve requests until the input ends."""
    Path("/proc/self/comm").write_text(sys.argv[1])
    held = []
    for line in sys.stdin:
        held.append(hold(int(line)))
        print(int(line), flush=True)


if __name__ == "__main__":
    main()
