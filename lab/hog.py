"""The hog as a static binary, so that it runs where there is nothing else.

Belongs here: compiling hog.c, once per version of its source.
Must not know: scenarios, guests.
"""

import hashlib
from pathlib import Path

from lab.kernels import CACHE, run

SOURCE = Path(__file__).with_name("hog.c")


def hog(cache: Path = CACHE) -> Path:
    """The compiled hog; LabError when there is no compiler."""
    digest = hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:12]
    binary = cache / f"hog-{digest}"
    if not binary.exists():
        cache.mkdir(parents=True, exist_ok=True)
        run("gcc", "-static", "-O1", "-Wall", "-Wextra", "-pthread", "-o", str(binary), str(SOURCE))
    return binary
