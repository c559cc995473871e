"""A C program of the lab as a static binary, so that it runs where there is nothing else.

Belongs here: compiling, once per version of the source. Must not know: what the program does.
"""

import hashlib
from pathlib import Path

from lab.commands import run
from lab.kernels import CACHE


def static_binary(source: Path, cache: Path = CACHE) -> Path:
    """The compiled program; LabError when there is no compiler."""
    digest = hashlib.sha256(source.read_bytes()).hexdigest()[:12]
    binary = cache / f"{source.stem}-{digest}"
    if not binary.exists():
        cache.mkdir(parents=True, exist_ok=True)
        compiler = ("gcc", "-static", "-O1", "-Wall", "-Wextra", "-pthread")
        run(*compiler, "-o", str(binary), str(source), advice="apt-get install gcc libc6-dev")
    return binary
