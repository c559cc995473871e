"""Links: a program in force at a place in the kernel, for as long as the link is held or pinned.

Belongs here: attaching, exchanging, detaching. Must not know: what runs there.

A link lives while a descriptor or a pin holds it. Of the kinds made here only iterators can be given another program
(update()), and none can be detached before its time (detach()): the kernel's bpf_tracing_link_lops has neither.
"""

from __future__ import annotations

from typing import Final

from oompolicy.bpf.attributes import LinkCreate, LinkInfo, LinkUpdate, OneLink, RawTracepoint, c_string
from oompolicy.bpf.descriptor import Descriptor
from oompolicy.bpf.object_info import LINK, check_kind, object_info
from oompolicy.bpf.programs import Program
from oompolicy.bpf.syscall import bpf, bpf_fd
from oompolicy.bpf.uapi import AttachType, Command

_REPLACE: Final = 1 << 2  # BPF_F_REPLACE


class Link(Descriptor):
    """An attached program."""

    def __init__(self, fd: int) -> None:
        super().__init__(fd)
        try:
            check_kind(fd, LINK, f"fd {fd}")
            info = self.info()
        except BaseException:
            self.close()
            raise
        self.type = info.type
        self.id = info.id

    @classmethod
    def attach(cls, program: Program, attach_type: AttachType) -> Link:
        """Attach to what the program was loaded for, of the same attach type. Raises BpfError.

        The newest of several MODIFY_RETURN programs on a function runs first, and the first that returns other than
        0 has the last word (kernel/bpf/trampoline.c, hlist_add_head; arch/x86/net/bpf_jit_comp.c, invoke_bpf_mod_ret).
        """
        attribute = LinkCreate(prog_fd=program.fileno(), attach_type=attach_type)
        return cls(bpf_fd(Command.LINK_CREATE, attribute, f"program {program.name}"))

    @classmethod
    def attach_raw_tracepoint(cls, program: Program, tracepoint: str) -> Link:
        """Attach a RAW_TRACEPOINT program to a tracepoint by name ("oom_score_adj_update"). Raises BpfError."""
        attribute = RawTracepoint(name=c_string(tracepoint), prog_fd=program.fileno())
        return cls(bpf_fd(Command.RAW_TRACEPOINT_OPEN, attribute, f"tracepoint {tracepoint}"))

    def info(self) -> LinkInfo:
        """struct bpf_link_info now: prog_id, and for tracing links what it is attached to. Raises BpfError."""
        return object_info(self.fileno(), LinkInfo, "link")

    def update(self, program: Program, instead_of: Program | None = None) -> None:
        """Exchange the program in one step; `instead_of` must be the one there, if given.

        Raises BpfError, for tracing links always: attach the new one, then close the old.
        """
        attribute = LinkUpdate(
            link_fd=self.fileno(),
            new_prog_fd=program.fileno(),
            flags=_REPLACE if instead_of else 0,
            old_prog_fd=instead_of.fileno() if instead_of else 0,
        )
        bpf(Command.LINK_UPDATE, attribute, f"link {self.id}")

    def detach(self) -> None:
        """Take the program out of force though the link is still held. Raises BpfError where the kind cannot."""
        bpf(Command.LINK_DETACH, OneLink(link_fd=self.fileno()), f"link {self.id}")
