"""Programs: handing one to the verifier, keeping what it said, and running one by hand.

Belongs here: loading and test runs. Must not know: what a program is for, where it will be attached by whom.
"""

from __future__ import annotations

import errno
import os
import struct
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from oompolicy.bpf.attributes import ProgInfo, ProgLoad, ProgTestRun, c_string, filled, room
from oompolicy.bpf.call import out_of_the_way
from oompolicy.bpf.descriptor import Descriptor
from oompolicy.bpf.errors import VerifierError, refusal
from oompolicy.bpf.instructions import SLOT_BYTES
from oompolicy.bpf.maps import object_name
from oompolicy.bpf.object_info import PROGRAM, check_kind, object_info, text
from oompolicy.bpf.syscall import ask, bpf
from oompolicy.bpf.uapi import AttachType, Command, ProgramFlags, ProgramType

FIRST_LOG_BYTES: Final = 1 << 16
LARGEST_LOG_BYTES: Final = 1 << 24
LOG_FOR_PEOPLE: Final = 1  # log_level: the path that was refused
LOG_ALL: Final = 2  # every instruction, with the state of the registers
_FUNC_INFO: Final = struct.Struct("=II")  # struct bpf_func_info: insn_off, type_id


@dataclass(frozen=True, slots=True)
class ProgramSpec:
    """What to load. `code` is what assemble() made.

    attach_btf_id is the id of the function (FENTRY, FEXIT, MODIFY_RETURN, LSM_MAC, TRACE_ITER: of bpf_iter_X) or of
    the typedef btf_trace_X (TRACE_RAW_TP); in a module it is an id of the module's BTF, whose descriptor is
    attach_btf_fd (0 for vmlinux). functions is (first slot, id of its FUNC in btf_fd) for each function of the
    program, the main one included; only what passes a function to a helper needs it. fd_array is where CallKernel
    finds the BTF of modules, from index 1 on.
    """

    type: ProgramType
    name: str
    code: bytes
    attach_type: AttachType = AttachType.NONE
    attach_btf_id: int = 0
    attach_btf_fd: int = 0
    flags: ProgramFlags = ProgramFlags.NONE
    license: str = "GPL"
    btf_fd: int = 0
    functions: tuple[tuple[int, int], ...] = ()
    fd_array: tuple[int, ...] = ()


class TestedRun(NamedTuple):
    """What a program returned (as signed 32 bit), how long it took, and its context and data afterwards."""

    returned: int
    duration_ns: int
    context: bytes
    data: bytes


class Program(Descriptor):
    """A program that the verifier accepted. Errors name it as "program NAME"."""

    def __init__(self, fd: int) -> None:
        super().__init__(fd)
        try:
            check_kind(fd, PROGRAM, f"fd {fd}")
            info = self.info()
        except BaseException:
            self.close()
            raise
        self.type = info.type
        self.id = info.id
        self.name = text(info.name)

    @classmethod
    def load(cls, spec: ProgramSpec) -> Program:
        """Raises VerifierError, with the log's last lines, or BpfError where the kernel refused before verifying.

        A log is asked for only after a refusal: writing it takes longer than verifying.
        """
        what = f"program {spec.name}"
        attribute = _attribute(spec)
        refused = ask(Command.PROG_LOAD, attribute).returned
        if refused >= 0:
            return cls(out_of_the_way(refused))
        returned, log = _load_aloud(attribute, LOG_FOR_PEOPLE)
        if returned >= 0:
            return cls(out_of_the_way(returned))
        if log:
            raise VerifierError(what, log, -refused)
        raise refusal(Command.PROG_LOAD, -refused, what)

    def info(self) -> ProgInfo:
        """struct bpf_prog_info now: ids, sizes, run_cnt. Raises BpfError."""
        return object_info(self.fileno(), ProgInfo, "program")

    def run(self, context: bytes = b"", data: bytes = b"", repeat: int = 0) -> TestedRun:
        """Run it here and now, BPF_PROG_TEST_RUN.

        A SYSCALL program gets a copy of `context`, which comes back as it left it. `data` is for kinds that take a
        packet. A TRACING program of FENTRY, FEXIT or MODIFY_RETURN takes neither: the kernel calls its
        bpf_fentry_test* or bpf_modify_return_test(). repeat is for kinds that take it. Raises BpfError.
        """
        context_in, data_in = filled(context), filled(data)
        data_out = room(len(data))
        attribute = ProgTestRun(
            prog_fd=self.fileno(),
            data_size_in=len(data),
            data_size_out=len(data),
            data_in=data_in if data else None,
            data_out=data_out if data else None,
            repeat=repeat,
            ctx_size_in=len(context),
            ctx_in=context_in if context else None,
        )
        done = bpf(Command.PROG_TEST_RUN, attribute, f"program {self.name}")
        (returned,) = struct.unpack("=i", struct.pack("=I", done.retval))
        return TestedRun(returned, done.duration, context_in.raw[: len(context)], data_out.raw[: len(data)])

    def __repr__(self) -> str:
        return f"Program({getattr(self, 'name', '')!r}, fd={self._fd})"


def verifier_log(spec: ProgramSpec, level: int = LOG_ALL) -> tuple[str, ...]:
    """All that the verifier says of a program it accepts; nothing stays loaded. Raises as Program.load()."""
    returned, log = _load_aloud(_attribute(spec), level)
    if returned < 0:
        what = f"program {spec.name}"
        raise VerifierError(what, log, -returned) if log else refusal(Command.PROG_LOAD, -returned, what)
    os.close(returned)
    return log


def _load_aloud(attribute: ProgLoad, level: int) -> tuple[int, tuple[str, ...]]:
    """(descriptor or -errno, log): with ever more room for the log, until all of it fits."""
    size_bytes = FIRST_LOG_BYTES
    while True:
        log = room(size_bytes)
        asked = replace(attribute, log_level=level, log_size=size_bytes, log_buf=log)
        returned = ask(Command.PROG_LOAD, asked).returned
        if returned != -errno.ENOSPC or size_bytes >= LARGEST_LOG_BYTES:
            return returned, tuple(log.value.decode(errors="replace").splitlines())
        size_bytes *= 4


def _attribute(spec: ProgramSpec) -> ProgLoad:
    functions = b"".join(_FUNC_INFO.pack(*function) for function in spec.functions)
    fd_array = struct.pack(f"={1 + len(spec.fd_array)}i", 0, *spec.fd_array)  # index 0 means vmlinux
    return ProgLoad(
        prog_type=spec.type,
        insn_cnt=len(spec.code) // SLOT_BYTES,
        insns=filled(spec.code),
        license=c_string(spec.license),
        prog_flags=spec.flags,
        prog_name=object_name(spec.name),
        expected_attach_type=spec.attach_type,
        prog_btf_fd=spec.btf_fd,
        func_info_rec_size=_FUNC_INFO.size if functions else 0,
        func_info=filled(functions) if functions else None,
        func_info_cnt=len(spec.functions),
        attach_btf_id=spec.attach_btf_id,
        attach_prog_fd=spec.attach_btf_fd,
        fd_array=filled(fd_array) if spec.fd_array else None,
    )
