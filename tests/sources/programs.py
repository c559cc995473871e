"""Small programs that a test starts, and that end with it.

Belongs here: starting them and waiting until they are ready. Must not know: what is read of them.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from collections.abc import Iterator

PROGRAM_START = "import ctypes, mmap, os, sys, threading, time\nlibc = ctypes.CDLL(None)\n"
READY = "print('ready', flush=True)\n"


@contextlib.contextmanager
def python(program: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A Python program that says when it is ready; it ends with the block."""
    command = [sys.executable, "-c", PROGRAM_START + program, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        patience = threading.Timer(20, process.kill)
        patience.start()
        try:
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            patience.cancel()
            process.kill()


HOLDS_MEMORY = (
    "memory = mmap.mmap(-1, int(sys.argv[1]) << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)\n"
    "for page in range(0, len(memory), 4096): memory[page] = 1\n"
    "open('/proc/self/oom_score_adj', 'w').write(sys.argv[2])\n" + READY + "time.sleep(60)\n"
)
