"""The doorbell: the program at the end of an OOM rings it, and a daemon that waits in poll() wakes.

Belongs here: the ring buffer that is the bell, and making it silent. Must not know: what has happened (`history.py`).

A BPF_MAP_TYPE_RINGBUF of one page, into which a few bytes an OOM are written. poll() says it is readable for as long
as it is not empty, so that a full one, into which no more is written, has rung already.
"""

from __future__ import annotations

import mmap
from typing import Final

from oompolicy.bpf.maps import Map, MapSpec
from oompolicy.bpf.ring_buffer import RingBuffer
from oompolicy.bpf.uapi import MapType

SPEC: Final = MapSpec(MapType.RINGBUF, "oom_bell", 0, 0, mmap.PAGESIZE)


class Bell:
    """The listener's end. The map must stay open while it is in use."""

    def __init__(self, ring: Map) -> None:
        """Raises BpfError."""
        self._ring = RingBuffer(ring)

    def fileno(self) -> int:
        """For poll(): readable once it has rung."""
        return self._ring.fileno()

    def silence(self) -> None:
        """Until it rings the next time."""
        for _ in self._ring.read():
            pass

    def close(self) -> None:
        """Let go of its memory."""
        self._ring.close()
