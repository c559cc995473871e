"""Trials in guests: a disk with all that is needed, a boot for each contender, what was seen.

Belongs here: the disk, the guest, and what is told of one that did not come to its end. Must not know: what is right.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from lab.commands import run
from lab.early.contenders import CONTENDERS, NONE, OURS
from lab.early.loads import FILES_MIB, LOADS
from lab.early.peers import peer
from lab.early.seen import Seen, seen
from lab.guest import Ended, GuestResult, Machine, run_guest
from lab.kernels import kernel
from lab.module_build import module
from lab.python_tree import python_tree
from lab.static_binary import static_binary

HERE: Final = Path(__file__).parent
RULES: Final = HERE.parents[1] / "examples" / "early.toml"
KERNEL: Final = "6.12"
MEMORY_MIB, SWAP_MIB, DISK_MIB = 512, 256, 640
IOPS: Final = (
    300  # as a small volume of a cloud, or a good disk that turns; without a limit it is the memory of the host
)
START_S: Final = 30
TRIAL_S: Final = 60  # beside a load's own limit: starting, stopping, giving memory back
SCRIPT: Final = """
for each in proc sys dev run; do mkdir -p /disk/$each; mount --rbind /$each /disk/$each; done
mkdir -p /disk/tmp; mount -t tmpfs -o size=4g tmpfs /disk/tmp
chroot /disk /bin/busybox --install -s /bin
cd /disk && exec chroot /disk /bin/sh -c 'cd /lab && exec python3 -m lab.early.inside {words}'
"""


def files_for(contenders: Sequence[str], rules: Path = RULES) -> dict[str, Path | bytes]:
    """What is on the disk. Raises LabError where a contender cannot be had."""
    files = python_tree() | {f"/lab/lab/early/{path.name}": path for path in HERE.glob("*.py")}
    files |= {"/lab/lab/__init__.py": HERE.parent / "__init__.py", "/lib/oom_policy.ko": module(kernel(KERNEL).release)}
    files |= {f"/lab/lab/{name}.py": HERE.parent / f"{name}.py" for name in ("commands", "kernels", "patched_kernel")}
    files |= {f"/bin/{name}": static_binary(HERE / f"{name}.c") for name in ("pulse", "load")}
    files |= {"/bin/busybox": Path("/bin/busybox"), "/etc/oompolicy/oompolicy.toml": rules}
    for name in contenders:
        if name not in (NONE, OURS):
            files |= peer(name)
    return files


@contextmanager
def disk(files: dict[str, Path | bytes]) -> Iterator[Path]:
    """The image of an ext4 file system that holds these files, and what is read of it."""
    with tempfile.TemporaryDirectory(prefix="lab-disk-") as work:
        root, image = Path(work, "root"), Path(work, "image")
        for name, source in files.items():
            path = root / name.lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(source, bytes):
                path.write_bytes(source)
                path.chmod(0o644)
            elif source.is_dir():
                shutil.copytree(source, path, dirs_exist_ok=True)
            else:
                shutil.copy(source, path)
        for name, mib in FILES_MIB.items():
            path = root / name.lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as out:
                for _ in range(mib):
                    out.write(os.urandom(1 << 20))  # holes would not be read from the disk
        image.touch()
        os.truncate(image, DISK_MIB << 20)
        advice = "apt-get install e2fsprogs"
        run("mkfs.ext4", "-q", "-F", "-E", "root_owner=0:0", "-d", str(root), str(image), advice=advice)
        shutil.rmtree(root)
        yield image


def contest(contender: str, loads: Sequence[str], image: Path) -> Iterator[Seen]:
    """Each load with one contender, in one guest; in another one where a machine did not live through a trial."""
    left = list(loads)
    while left:
        result = boot(contender, left, image)
        done = [seen(line) for line in result.stdout.splitlines() if line.endswith("}")]
        yield from done
        left = left[len(done) :]
        if not left or (done and result.ended is Ended.SCRIPT_DONE):  # what it could not clean up, a boot does
            continue
        yield Seen(contender, left.pop(0), problem=why_not(result), said=tuple(result.console[-3000:].split("\n")))


def why_not(result: GuestResult) -> str:
    """Why a trial has no outcome."""
    if result.ended is Ended.SCRIPT_DONE:
        return f"it could not be played: {result.stderr[-2000:]}"
    return "the machine did not come to its end in time" if result.ended is Ended.TIME_LIMIT else "the machine died"


def boot(contender: str, loads: Sequence[str], image: Path) -> GuestResult:
    """One guest."""
    assert contender in CONTENDERS
    machine = Machine(MEMORY_MIB, SWAP_MIB, disk=image, disk_iops=IOPS)
    limit_s = START_S + sum(LOADS[load].limit_s + TRIAL_S for load in loads)
    words = " ".join((contender, *loads))
    return run_guest(SCRIPT.format(words=words), KERNEL, machine, time_limit_s=limit_s)
