"""[X-Oompolicy] of systemd's unit files and their drop-ins, read as systemd finds them.

Belongs here: the folders, whose file goes before whose, the form of a unit file. Must not know: what a value means.
Source: systemd.unit(5), systemd.syntax(7); no D-Bus, and nothing is asked of systemd itself.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from oompolicy.mm.limits import LONG_MAX, LONG_MIN
from oompolicy.values.unit_settings import Saying, UnitSettings

# "System Unit Search Path", systemd.unit(5): in the folder that comes first a file goes before one of its name.
FOLDERS: Final = (
    "etc/systemd/system.control",
    "run/systemd/system.control",
    "run/systemd/transient",
    "run/systemd/generator.early",
    "etc/systemd/system",
    "etc/systemd/system.attached",
    "run/systemd/system",
    "run/systemd/system.attached",
    "run/systemd/generator",
    "usr/local/lib/systemd/system",
    "lib/systemd/system",
    "usr/lib/systemd/system",
    "run/systemd/generator.late",
)
# Kinds of units that have a cgroup.
KINDS: Final = ("service", "slice", "scope", "socket", "mount", "swap")
SECTION: Final = b"[X-Oompolicy]"
_MOST_BYTES: Final = 1 << 20
_NUMBER: Final = re.compile(rb"[+-]?[0-9]{1,19}", re.ASCII)


def read_unit_settings(root: Path = Path("/")) -> UnitSettings:
    """What unit files below a root say. A folder or file that is not there says nothing; what is wrong is a note."""
    notes: list[str] = []
    fragments: dict[str, Saying] = {}
    drop_ins: dict[str, dict[str, Saying]] = {}
    for folder in _folders(root):
        for name in _names(folder):
            unit = name.removesuffix(".d")
            if unit.rpartition(".")[2] not in KINDS and unit not in KINDS:
                continue
            if name == unit:
                if unit not in fragments:
                    fragments[unit] = _said(folder / name, notes)
                continue
            files = drop_ins.setdefault(unit, {})
            for file in _names(folder / name):
                if file.endswith(".conf") and file not in files:
                    files[file] = _said(folder / name / file, notes)
    # A file that says nothing is to be known where it hides one that does: an instance's own hides the template's.
    return UnitSettings(
        {unit: said for unit, said in fragments.items() if said or "@" in unit},
        {unit: files for unit, files in drop_ins.items() if files},
        tuple(notes),
    )


def _folders(root: Path) -> Iterator[Path]:
    """Each once: /lib is /usr/lib on merged systems."""
    seen: set[Path] = set()
    for folder in FOLDERS:
        path = root / folder
        real = path.resolve()
        if real not in seen:
            seen.add(real)
            yield path


def _names(folder: Path) -> Iterable[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return ()


def _said(path: Path, notes: list[str]) -> Saying:
    content = _content(path)
    if content is None or SECTION not in content:
        return ()
    found: list[int | None] = []
    is_ours = False
    for number, line in _lines(content):
        if line.startswith(b"["):
            is_ours = line == SECTION
            continue
        key, equals, text = (part.strip() for part in line.partition(b"="))
        if not is_ours:
            continue
        place = f"{path}:{number}"
        if not equals or key != b"Value":
            notes.append(f"{place}: {_shown(line)} is not understood in [X-Oompolicy]: write Value=NUMBER")
        elif not text:
            found.append(None)
        elif _NUMBER.fullmatch(text) and LONG_MIN <= int(text) <= LONG_MAX:
            found.append(int(text))
        else:
            notes.append(f"{place}: the value {_shown(text)} is no whole number of 64 bits: it does not count")
    return tuple(found)


def _content(path: Path) -> bytes | None:
    """None where it is no regular file of a sensible size: a unit that is masked is a link to /dev/null."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_size > _MOST_BYTES:
            return None
        return os.read(fd, _MOST_BYTES)
    except OSError:
        return None
    finally:
        os.close(fd)


def _lines(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Lines with their numbers; one that ends with a backslash goes on, and comments are left out."""
    begun, first = b"", 0
    for number, line in enumerate(content.split(b"\n"), start=1):
        text = line.strip()
        if text[:1] in (b"#", b";"):
            continue
        begun, first = (begun, first) if begun else (b"", number)
        begun += text
        if text.endswith(b"\\"):
            begun = begun[:-1] + b" "
            continue
        if begun:
            yield first, begun
        begun = b""


def _shown(text: bytes) -> str:
    return ascii(text[:60].decode(errors="replace"))
