"""An initramfs, written as the kernel reads it.

Belongs here: the newc form of a cpio archive (Documentation/driver-api/early-userspace/buffer-format.rst).
Must not know: what the files are for, or who boots them.
"""

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from lab import LabError


def write_initramfs(archive: Path, contents: Mapping[str, Path | bytes]) -> None:
    """Write the archive: guest path -> host file, host folder (with all below it), or bytes.

    Symbolic links are followed, so the guest gets files; what is given as bytes is executable.
    The archive is not compressed: an emulated processor unpacks far slower than QEMU loads.
    """
    made: set[PurePosixPath] = set()
    with archive.open("wb") as out:
        for name, source in contents.items():
            for path, content in leaves(PurePosixPath(name.lstrip("/")), source):
                for folder in reversed(path.parents[:-1]):
                    if folder not in made:
                        put(out, str(folder), stat.S_IFDIR | 0o755)
                        made.add(folder)
                if isinstance(content, bytes):
                    put(out, str(path), stat.S_IFREG | 0o755, content)
                else:
                    status = content.stat()
                    put(out, str(path), status.st_mode, content.read_bytes(), int(status.st_mtime))
        put(out, "TRAILER!!!", 0)


def leaves(name: PurePosixPath, source: Path | bytes) -> Iterator[tuple[PurePosixPath, Path | bytes]]:
    """Each file of a source with its guest path; broken links and sockets are passed over."""
    if isinstance(source, bytes) or source.is_file():
        yield name, source
    elif source.is_dir():
        for folder, below, files in os.walk(source):
            below.sort()
            for file in sorted(files):
                path = Path(folder, file)
                if path.is_file():
                    yield name / path.relative_to(source), path
    else:
        raise LabError(f"{source}: no such file or folder: it was to become /{name} in the guest")


def put(out: BinaryIO, name: str, mode: int, content: bytes = b"", mtime_s: int = 0) -> None:
    """One member of the archive."""
    # inode, mode, uid, gid, links, mtime, size, four device numbers, size of the name, check
    fields = (0, mode, 0, 0, 1, mtime_s, len(content), 0, 0, 0, 0, len(name.encode()) + 1, 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
    for part in (head, content):
        out.write(part)
        out.write(b"\0" * (-len(part) % 4))
