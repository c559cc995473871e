"""The hog as a static binary.

Belongs here: where its source is. Must not know: scenarios, guests.
"""

from pathlib import Path

from lab.kernels import CACHE
from lab.static_binary import static_binary

SOURCE = Path(__file__).with_name("hog.c")


def hog(cache: Path = CACHE) -> Path:
    """The compiled hog; LabError when there is no compiler."""
    return static_binary(SOURCE, cache)
