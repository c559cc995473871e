"""The other tools, as Debian packages have them, for a guest.

Belongs here: fetching a package, which of its files are carried, and what of its configuration is told otherwise. Must
not know: how it fares.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from lab import LabError
from lab.commands import run
from lab.kernels import CACHE

ADVICE: Final = "this needs Debian's apt and dpkg; run apt-get update and try again"
Files = dict[str, Path | bytes]
_NOHANG_CONF: Final = "etc/nohang/nohang-desktop.conf"


def package(name: str, cache: Path = CACHE) -> Path:
    """The folder of an unpacked package, fetched when it is not there yet; nothing is installed."""
    folder = cache / "peers" / name
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix="fetching-") as work:
            run("apt-get", "download", name, cwd=Path(work), advice=ADVICE)
            (archive,) = Path(work).glob("*.deb")
            run("dpkg", "-x", str(archive), f"{work}/root", advice=ADVICE)
            Path(work, "root").rename(folder)
    return folder


def peer(name: str) -> Files:
    """Guest path -> what is there, for a tool that runs as Debian ships it. Raises LabError where it cannot be had."""
    return _FILES[name](package(name))


def _earlyoom(root: Path) -> Files:
    return _with_libraries("/usr/bin/earlyoom", root / "usr/bin/earlyoom")


def _nohang(root: Path) -> Files:
    """Its desktop's configuration, the one that looks at pressure; nobody is there to see windows."""
    text = (root / _NOHANG_CONF).read_text()
    for key in ("post_action_gui_notifications", "low_memory_warnings_enabled"):
        text = re.sub(rf"^{key} = True$", f"{key} = False", text, flags=re.MULTILINE)
    text += "\n@BADNESS_ADJ_RE_NAME -500 /// ^(database|shell)$\n"
    files: Files = {f"/{_NOHANG_CONF}": text.encode(), "/usr/sbin/nohang": root / "usr/sbin/nohang"}
    return files


def _oomd(root: Path) -> Files:
    return _with_libraries("/usr/bin/oomd", root / "usr/bin/oomd") | {
        "/etc/oomd/oomd.json": root / "etc/oomd/oomd.json"
    }


def _with_libraries(path: str, binary: Path) -> Files:
    told = subprocess.run(["ldd", str(binary)], capture_output=True, text=True, check=False).stdout
    missing = re.findall(r"(\S+) => not found", told)
    if missing:
        raise LabError(f"{path}: needs {', '.join(missing)}: apt-get install {binary.name}")
    libraries: Files = {library: Path(library) for library in re.findall(r"(/\S+) \(0x", told)}
    return libraries | {path: binary}


_FILES: Final[dict[str, Callable[[Path], Files]]] = {
    "earlyoom": _earlyoom,
    "nohang": _nohang,
    "oomd": _oomd,
}
