"""Debian's kernel sources with our patches, in the smallest useful configuration, built once.

Belongs here: from patches and a configuration to a kernel image in the cache.
Must not know: who boots it. Usage: python3 -m lab.patched_kernel
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from lab import DoesNotBuildError, LabError
from lab.commands import run

SOURCES = "linux-source-6.12"  # Debian's package
PATCHES = Path(__file__).resolve().parent.parent / "kernel" / "patches"
CONFIG = Path(__file__).with_name("patched.config")
TOOLS = {
    "make": "make",
    "gcc": "gcc",
    "flex": "flex",
    "bison": "bison",
    "bc": "bc",
    "pahole": "pahole",
    "xz": "xz-utils",
}
TOOLS |= {"patch": "patch", "/usr/include/libelf.h": "libelf-dev"}
MINUTES = "about 15 minutes of two processors, 3 GB of disk meanwhile"


def patched_image(cache: Path) -> Path:
    """The image of the patched kernel; it is built when patches or configuration are not those of the last build.

    Raises LabError when something that building needs is missing, DoesNotBuildError where a patch does not apply or
    the result does not compile.
    """
    patches = sorted(PATCHES.glob("*.patch"))
    digest = hashlib.sha256(b"\0".join(path.read_bytes() for path in (*patches, CONFIG))).hexdigest()[:12]
    image = cache / "patched" / digest / "vmlinuz"
    if not image.is_file():
        for tool, package in TOOLS.items():
            if shutil.which(tool) is None and not Path(tool).is_file():
                raise LabError(f"{tool}: not found: apt-get install {package}")
        image.parent.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="building-", dir=image.parent.parent) as work:
            tree = unpacked_sources(Path(work))
            for patch in patches:
                apply(patch, tree)
            made = Path(work, "made")
            made.mkdir()
            shutil.copy(built(tree), made / "vmlinuz")
            shutil.copy(tree / ".config", made / "config")
            shutil.rmtree(image.parent, ignore_errors=True)
            made.rename(image.parent)
    return image


def unpacked_sources(work: Path) -> Path:
    """Debian's sources, unpacked."""
    run("apt-get", "download", SOURCES, cwd=work, advice="this needs Debian's apt; run apt-get update and try again")
    (package,) = work.glob("*.deb")
    run("dpkg", "-x", str(package), str(work / "package"), advice="this needs Debian's dpkg")
    package.unlink()
    (archive,) = work.glob("package/usr/src/*.tar.xz")
    run("tar", "-xf", str(archive), "-C", str(work), advice="is the disk full?")
    shutil.rmtree(work / "package")
    return work / SOURCES


def apply(patch: Path, tree: Path) -> None:
    """Apply one patch; nothing is applied where a part of it does not fit."""
    for dry in (["--dry-run"], []):
        try:
            run("patch", "-p1", "--forward", *dry, f"--input={patch}", cwd=tree, advice="it needs a new version")
        except LabError as error:
            raise DoesNotBuildError(f"{patch.name}: {error}") from error


def built(tree: Path) -> Path:
    """Configure and build; the image."""
    run("make", f"KCONFIG_ALLCONFIG={CONFIG}", "allnoconfig", cwd=tree, advice="see lab/patched.config")
    have = set((tree / ".config").read_text().splitlines())
    asked = [line for line in CONFIG.read_text().splitlines() if line.startswith("CONFIG_") and not line.endswith("=n")]
    if lost := [line for line in asked if line not in have]:
        raise LabError(f"{lost[0]}: not what the configuration became: what it depends on is missing in {CONFIG.name}")
    command = ["nice", "-n", "10", "make", f"-j{min(2, os.cpu_count() or 1)}", "bzImage"]
    done = subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        complaint = next((line for line in done.stderr.splitlines() if "error:" in line), done.stderr[-300:])
        raise DoesNotBuildError(f"the patched kernel: does not build: {complaint}")
    return tree / "arch" / "x86" / "boot" / "bzImage"


def main() -> int:
    """Build it, or say where it is."""
    cache = Path(__file__).resolve().parent.parent / ".cache" / "lab"
    print(f"lab: the patched kernel; if it must be built: {MINUTES}", file=sys.stderr)
    began_s = time.monotonic()
    try:
        print(patched_image(cache))
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    print(f"lab: after {time.monotonic() - began_s:.0f} s", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
