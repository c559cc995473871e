"""What the emitter asks of whoever knows where fields are kept: a kernel's BTF, or a test's array.

Belongs here: the calling convention of a read. Must not know: any kernel, any field's place.

The body of a policy is entered with r6 = task and r7 = oc. It owns r6 to r9, and the frame below what its caller
keeps. A read may overwrite r0 to r5, and nothing else but its own part of the frame.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from oompolicy.bpf.assembly import Line


class FieldReader(Protocol):
    """Makes the instructions of reads, and says what they cost the registers."""

    def read(self, field: str, argument: str | None, labels: str, fail: str) -> Iterator[Line]:
        """r0 = the field of what r1 refers to, which is not null; for an optional field r1 = 1, or 0 and then r0 = 0.

        field: as compiler/subset.py names it, or "task.comm_0", "task.comm_1": the comm's two little-endian words.
        argument: for "memcg.is_under" a path, or None and then the other memcg is in r2. Numbers are within the
        field's bounds of the table. labels: begins the name of every label made here, and is used once. fail: the
        label to go to where the read fails, with any registers.
        """
        ...

    def is_light(self, field: str) -> bool:
        """Does it keep r2 to r5 (no helper is called)?"""
        ...
