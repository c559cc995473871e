"""The running kernel's own types, from /sys/kernel/btf, and which build of a kernel it is.

Belongs here: the files of sysfs, and one opener for each. Must not know: what is asked of the types.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from oompolicy.bpf import btf_cache
from oompolicy.bpf.btf import Btf
from oompolicy.bpf.btf_blob import BtfBlob, TypeSource
from oompolicy.bpf.btf_cache import CachedTypes
from oompolicy.bpf.errors import BtfError

SYS_KERNEL: Final = Path("/sys/kernel")
_NT_GNU_BUILD_ID: Final = 3  # include/uapi/linux/elf.h
_NOTE: Final = struct.Struct("=3I")  # namesz, descsz, type; then name and desc, each padded to 4 bytes


@contextmanager
def vmlinux_btf(cache_folder: Path | None = None, sys_kernel: Path = SYS_KERNEL) -> Iterator[Btf]:
    """The types of the kernel itself; what is asked meanwhile is remembered in cache_folder for the next time.

    Without a folder, or without a build id to keep kernels apart, nothing is. Raises BtfError at the first question
    where the kernel has no BTF.
    """
    path = sys_kernel / "btf/vmlinux"
    identity = build_id(sys_kernel)
    cache_file = cache_folder / f"btf-{identity}.json" if cache_folder and identity else None
    types = btf_cache.load(cache_file, lambda: _read(path)) if cache_file else CachedTypes(lambda: _read(path))
    yield Btf(types, str(path))
    if cache_file and types.changed:
        btf_cache.save(types, cache_file)


def module_btf(module: str, base: Btf, sys_kernel: Path = SYS_KERNEL) -> Btf:
    """The types of a loaded module, and below them those of the kernel. Never remembered: it is small, and a module
    may be built again at any time. Raises BtfError where there is no such module, or none with BTF.
    """
    path = sys_kernel / "btf" / module
    return Btf(_read(path, base.source), str(path))


def build_id(sys_kernel: Path = SYS_KERNEL) -> str | None:
    """The GNU build id of the running kernel, in hex; None where it has none. Two builds never share one."""
    try:
        notes = (sys_kernel / "notes").read_bytes()
    except OSError:
        return None
    at = 0
    while at + _NOTE.size <= len(notes):
        name_bytes, desc_bytes, kind = _NOTE.unpack_from(notes, at)
        name_at = at + _NOTE.size
        desc_at = name_at + -(-name_bytes // 4) * 4
        if notes[name_at : name_at + name_bytes] == b"GNU\0" and kind == _NT_GNU_BUILD_ID and desc_bytes:
            return notes[desc_at : desc_at + desc_bytes].hex()
        at = desc_at + -(-desc_bytes // 4) * 4
    return None


def _read(path: Path, base: TypeSource | None = None) -> BtfBlob:
    try:
        data = path.read_bytes()
    except OSError as error:
        hint = "the kernel needs CONFIG_DEBUG_INFO_BTF" if base is None else "load the module; it needs BTF of its own"
        raise BtfError(path, error.strerror or "cannot be read", hint) from None
    return BtfBlob(data, str(path), base)
