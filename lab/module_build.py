"""The module, built for a Debian kernel that is not installed, with headers that are not installed either.

Belongs here: fetching headers into the cache, building a folder of kernel code against them.
Must not know: what the module does. Usage: python3 -m lab.module_build RELEASE|SERIES --into DIR
"""

import argparse
import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from lab import DoesNotBuildError, LabError
from lab.commands import run
from lab.kernels import ADVICE, CACHE, SERIES, kernel

SOURCE = Path(__file__).resolve().parent.parent / "kernel"
TOOLS = {
    "make": "make",
    "pahole": "pahole",
    "x86_64-linux-gnu-gcc-12": "gcc-12",
}  # command -> package; pahole makes BTF


def module(release: str, source: Path = SOURCE, cache: Path = CACHE) -> Path:
    """The one module that a folder's Kbuild makes, for a kernel by its release; built once per content of the folder.

    It carries BTF and no other debug information. Raises LabError when headers or tools are missing,
    DoesNotBuildError with the compiler's complaint.
    """
    files = sorted(path for path in source.iterdir() if path.name == "Kbuild" or path.suffix in (".c", ".h"))
    digest = hashlib.sha256(b"\0".join(path.name.encode() + path.read_bytes() for path in files)).hexdigest()[:12]
    folder = cache / "modules" / f"{release}-{digest}"
    if not folder.exists():
        for tool, package in TOOLS.items():
            if shutil.which(tool) is None:
                raise LabError(f"{tool}: not found: apt-get install {package}")
        build = headers(release, cache)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="building-", dir=folder.parent) as work:
            for path in files:
                shutil.copy(path, work)
            make(build, Path(work))
            made = Path(work, "made")
            made.mkdir()
            for path in Path(work).glob("*.ko"):
                run("strip", "--strip-debug", "-o", str(made / path.name), str(path), advice="apt-get install binutils")
            move(made, folder)
    (built,) = folder.glob("*.ko")
    return built


def make(build: Path, source: Path) -> None:
    """Run kbuild on a folder; DoesNotBuildError with the line that names the error."""
    command = ("make", "-C", str(build), f"M={source}", "modules")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        named = re.search(r"(?:error: |\*\*\* )(.*)", done.stderr)
        complaint = named[1].strip() if named else f"exit status {done.returncode}"
        raise DoesNotBuildError(f"the module: does not build for {build.name}: {complaint}")


def headers(release: str, cache: Path = CACHE) -> Path:
    """The build folder (KDIR) of a release, unpacked into the cache with the packages that it depends on."""
    root = cache / "headers" / release
    if not root.exists():
        root.parent.mkdir(parents=True, exist_ok=True)
        package = f"linux-headers-{release}"
        depends = run("apt-cache", "depends", package, advice=gone(release))
        needed = re.findall(r"Depends: (linux-(?:headers|kbuild)-\S+)", depends)
        with tempfile.TemporaryDirectory(prefix="fetching-", dir=root.parent) as work:
            run("apt-get", "download", package, *needed, cwd=Path(work), advice=gone(release))
            unpacked = Path(work, "root")
            for deb in Path(work).glob("*.deb"):
                run("dpkg", "-x", str(deb), str(unpacked), advice=ADVICE)
            make_relative(unpacked / "usr" / "src" / package / "Makefile")
            move(unpacked, root)
    return root / "usr" / "src" / f"linux-headers-{release}"


def make_relative(makefile: Path) -> None:
    """Debian's build folder includes /usr/src/...-common/Makefile; let it be found beside this one instead."""
    here = "$(dir $(lastword $(MAKEFILE_LIST)))"
    makefile.write_text(re.sub(r"(?m)^include /usr/src/", f"include {here}../", makefile.read_text()))


def gone(release: str) -> str:
    """What to do where headers cannot be fetched."""
    return (
        f"Debian keeps the headers of its newest kernels only: {ADVICE}, or remove "
        f".cache/lab/kernels/{release} so that a newer kernel is fetched with them"
    )


def move(made: Path, place: Path) -> None:
    """Put a finished folder in its place; who else has put the same there meanwhile was as good."""
    try:
        made.rename(place)
    except OSError:
        if not place.exists():
            raise


def main() -> int:
    """Build the module as the command line says."""
    parser = argparse.ArgumentParser("python3 -m lab.module_build", description="build the module for a Debian kernel")
    parser.add_argument("kernel", help=f"a release as `uname -r` says it, or a series ({', '.join(SERIES)})")
    parser.add_argument("--into", type=Path, default=Path(), help="the folder for the module")
    asked = parser.parse_args()
    try:
        release = kernel(asked.kernel).release if asked.kernel in SERIES else asked.kernel
        built = module(release)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    asked.into.mkdir(parents=True, exist_ok=True)
    print(shutil.copy(built, asked.into))
    return 0


if __name__ == "__main__":
    sys.exit(main())
