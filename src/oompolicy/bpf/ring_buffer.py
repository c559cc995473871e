"""The reading end of a BPF ring buffer: records that programs hand over, in order, without a call a record.

Belongs here: the memory layout of kernel/bpf/ringbuf.c. Must not know: what a record says. When the buffer is full
the kernel drops the newest record, and only the program can count that (bpf_ringbuf_output() returns -EAGAIN).
"""

from __future__ import annotations

import mmap
import select
from collections.abc import Generator
from types import TracebackType
from typing import Final, Self

from oompolicy.bpf.errors import BpfError
from oompolicy.bpf.maps import Map
from oompolicy.bpf.uapi import MapType

BUSY: Final = 1 << 31  # BPF_RINGBUF_BUSY_BIT: reserved and not submitted yet
DISCARDED: Final = 1 << 30  # BPF_RINGBUF_DISCARD_BIT
HEADER_BYTES: Final = 8  # length and two bits; then the kernel's own page offset


class RingBuffer:
    """Reads a RINGBUF map, of which there may be one reader. The map must stay open while it is in use.

    Positions are read and written as whole 64-bit words (memoryview.cast), never byte by byte as struct with "<"
    does: the kernel reads them at the same time. x86-64 keeps the order of these loads; Python has no barrier to
    offer to processors that do not.
    """

    def __init__(self, ring: Map) -> None:
        if ring.type != MapType.RINGBUF:
            raise BpfError(f"map {ring.name}", "is not a ring buffer")
        self._ring = ring
        self._size_bytes = ring.max_entries
        page = mmap.PAGESIZE
        try:
            # One page with the consumer's position, ours to write; one with the producer's; then the data, twice in
            # a row, so that a record that goes over the end is in one piece.
            self._consumer = mmap.mmap(ring.fileno(), page, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
            self._producer = mmap.mmap(
                ring.fileno(), page + 2 * self._size_bytes, mmap.MAP_SHARED, mmap.PROT_READ, offset=page
            )
        except OSError as error:
            raise BpfError(f"map {ring.name}", f"cannot be mapped: {error.strerror}", errno=error.errno) from None
        self._consumer_words = memoryview(self._consumer).cast("Q")
        self._producer_words = memoryview(self._producer).cast("Q")

    def read(self) -> Generator[bytes, None, None]:
        """The records that are there now, oldest first; each is let go of once the next is asked for."""
        mask = self._size_bytes - 1
        at = self._consumer_words[0]
        while at < self._producer_words[0]:
            header_at = mmap.PAGESIZE + (at & mask)
            header = self._producer_words[header_at // 8] & 0xFFFFFFFF
            if header & BUSY:
                return
            length = header & ~(BUSY | DISCARDED)
            start = header_at + HEADER_BYTES
            record = None if header & DISCARDED else self._producer[start : start + length]
            at += -(-(HEADER_BYTES + length) // 8) * 8
            if record is not None:
                yield record
            self._consumer_words[0] = at

    def wait(self, timeout_s: float | None) -> bool:
        """Until there is a record, or for so long (None: forever); False where there is none."""
        poll = select.poll()
        poll.register(self._ring.fileno(), select.POLLIN)
        return bool(poll.poll(None if timeout_s is None else timeout_s * 1000))

    def fileno(self) -> int:
        """The descriptor to wait for with others: readable while there are records."""
        return self._ring.fileno()

    def close(self) -> None:
        """Let go of the memory; the map stays as it is."""
        self._consumer_words.release()
        self._producer_words.release()
        self._consumer.close()
        self._producer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
