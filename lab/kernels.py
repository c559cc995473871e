"""Kernels by name: Debian's cloud kernels, unpacked into a cache and never installed; the patched one; any image.

Belongs here: from a name ("6.12") to a bootable kernel, by way of apt-cache, apt-get download and dpkg -x.
Must not know: QEMU, what a kernel is wanted for, how one is built.
"""

import re
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from lab import DoesNotBuildError, LabError
from lab.commands import run
from lab.patched_kernel import patched_image

CACHE = Path(__file__).resolve().parent.parent / ".cache" / "lab"
SERIES = ("6.12", "6.1")  # newest first; what Debian 12 and its updates offer
PATCHED = "patched"
ADVICE = "this needs Debian's apt and dpkg; run apt-get update and try again"


@dataclass(frozen=True)
class Kernel:
    """A bootable kernel; `root` is the unpacked package (boot/, lib/modules/), None for a bare image.

    modules are built for it, and loaded before a scenario is played.
    """

    release: str
    vmlinuz: Path
    root: Path | None = None
    modules: tuple[Path, ...] = ()


def kernel(wanted: str, cache: Path = CACHE) -> Kernel:
    """The kernel of a series ("6.12"), the patched one ("patched"), or the image at a path ("build/bzImage").

    The patched one is built when it has to be, which takes a quarter of an hour. A series is looked for in the cache
    first; remove its folder there to move on to a newer version.
    Raises LabError when there is none to be had.
    """
    if "/" in wanted:
        image = Path(wanted)
        if not image.is_file():
            raise LabError(f"{image}: no such kernel image: name a vmlinuz, or one of {', '.join(names())}")
        return Kernel(release=image.name, vmlinuz=image)
    if wanted == PATCHED:
        return Kernel(release=PATCHED, vmlinuz=patched_image(cache))
    if not re.fullmatch(r"\d+\.\d+", wanted):
        raise LabError(f"kernel {wanted}: unknown: name one of {', '.join(names())}, another series, or ./a/vmlinuz")
    folder = cache / "kernels"
    folder.mkdir(parents=True, exist_ok=True)
    cached = newest((path.name for path in folder.iterdir()), wanted)
    return unpacked(folder / (cached or download(wanted, folder)))


def with_modules(chosen: Kernel, backends: Iterable[str], cache: Path = CACHE) -> Kernel:
    """The kernel with what these backends need to have loaded, built for it.

    The hook is a module for a Debian kernel; the patched one, and whoever brings an image, has it built in. For auto
    it is there where it builds: that is the machine on which auto has to find out. Raises LabError where it cannot be
    built, and is wanted by its name.
    """
    wanted = set(backends)
    if not wanted & {"hook", "auto"} or chosen.root is None:
        return chosen
    from lab.module_build import module  # which needs this room

    try:
        return replace(chosen, modules=(module(chosen.release, cache=cache),))
    except DoesNotBuildError:
        if "hook" in wanted:
            raise
        return chosen


def names() -> tuple[str, ...]:
    """The kernels that have a name."""
    return (*SERIES, PATCHED)


def newest(packages: Iterable[str], series: str) -> str | None:
    """The newest release of a series among packages; a name counts without its "linux-image-".

    >>> newest(["linux-image-6.1.0-9-cloud-amd64", "linux-image-6.1.0-56-cloud-amd64"], "6.1")
    '6.1.0-56-cloud-amd64'
    >>> newest(["linux-image-6.12.117+deb12-cloud-amd64-dbg", "linux-image-6.12-cloud-amd64"], "6.12") is None
    True
    """
    release = re.compile(rf"(?:linux-image-)?({re.escape(series)}\.\d+(?:[-+][a-z0-9]+)*-cloud-amd64)")
    matches = [match[1] for name in packages if (match := release.fullmatch(name))]
    return max(matches, key=lambda found: [int(number) for number in re.findall(r"\d+", found)], default=None)


def download(series: str, folder: Path) -> str:
    """Fetch and unpack the newest kernel of a series below `folder`; its release."""
    pattern = rf"^linux-image-{re.escape(series)}\..*-cloud-amd64$"
    found = run("apt-cache", "search", "--names-only", pattern, advice=ADVICE)
    release = newest((line.split(" ", 1)[0] for line in found.splitlines()), series)
    if release is None:
        raise LabError(
            f"kernel {series}: apt-cache knows no linux-image-{series}.*-cloud-amd64: "
            f"run apt-get update, or ask for one of {', '.join(SERIES)}"
        )
    with tempfile.TemporaryDirectory(dir=folder, prefix="fetching-") as work:
        run("apt-get", "download", f"linux-image-{release}", cwd=Path(work), advice=ADVICE)
        (package,) = Path(work).glob("*.deb")
        run("dpkg", "-x", str(package), f"{work}/root", advice=ADVICE)
        shutil.rmtree(folder / release, ignore_errors=True)
        Path(work, "root").rename(folder / release)
    return release


def unpacked(root: Path) -> Kernel:
    """The kernel in an unpacked package."""
    vmlinuz = root / "boot" / f"vmlinuz-{root.name}"
    if not vmlinuz.is_file():
        raise LabError(f"{root}: holds no boot/{vmlinuz.name}: remove the folder, it will be fetched again")
    return Kernel(release=root.name, vmlinuz=vmlinuz, root=root)
