"""The iterator, held by its link: read as often as one likes.

Belongs here: holding it, reading it. Must not know: its program, what a record says. A daemon has this loaded for good,
so what is needed once, to make it, is elsewhere (loading.py).
"""

from __future__ import annotations

from oompolicy.bpf.links import Link, read_iterator


class TaskIterator:
    """Close it. Reading needs no memory of the kernel but a few pages for the seq file."""

    def __init__(self, link: Link) -> None:
        self._link = link

    @classmethod
    def held(cls, fd: int) -> TaskIterator:
        """The one whose link this descriptor is; it is closed with it. Raises BpfError for any other descriptor."""
        return cls(Link(fd))

    def read(self) -> bytes:
        """The records of all tasks now. Raises BpfError."""
        return read_iterator(self._link)

    def fileno(self) -> int:
        """The link's descriptor: who holds it has the iterator."""
        return self._link.fileno()

    def close(self) -> None:
        """Let go; with the last descriptor the program goes too."""
        self._link.close()
