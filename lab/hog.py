"""The hog as a static binary, so that it runs where there is nothing else.

Belongs here: compiling hog.c, once per version of its source.
Must not know: scenarios, guests.
"""

import hashlib
from pathlib import Path

from lab.commands import run
from lab.kernels import CACHE

SOURCE = Path(__file__).with_name("hog.c")


def hog(cache: Path = CACHE) -> Path:
    """The compiled hog; LabError when there is no compiler."""
    digest = hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:12]
    binary = cache / f"hog-{digest}"
    if not binary.exists():
        cache.mkdir(parents=True, exist_ok=True)
        compiler = ("gcc", "-static", "-O1", "-Wall", "-Wextra", "-pthread")
        run(*compiler, "-o", str(binary), str(SOURCE), advice="apt-get install gcc libc6-dev")
    return binary
