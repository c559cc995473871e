"""The iterator, held by its link: read as often as one likes.

Belongs here: holding it, reading it. Must not know: its program, what a record says. A daemon has this loaded for good,
so what is needed once, to make it, is elsewhere (loading.py).
"""

from __future__ import annotations

from oompolicy.bpf.descriptor import Descriptor
from oompolicy.bpf.iterators import read_iterator


class TaskIterator(Descriptor):
    """The descriptor of its link: who holds it has the iterator. Reading needs but a few pages, for the seq file."""

    def read(self) -> bytes:
        """The records of all tasks now. Raises OSError."""
        return read_iterator(self.fileno())
