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

LEADER_EXITS = (
    "def hold():\n"
    "    open(f'/proc/self/task/{threading.get_native_id()}/comm', 'w').write('holder')\n"
    "    memory = mmap.mmap(-1, 30 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)\n"
    "    for page in range(0, len(memory), 4096): memory[page] = 1\n"
    "    while open('/proc/self/stat').read().rpartition(')')[2].split()[0] != 'Z': time.sleep(0.01)\n"
    "    print('ready', flush=True)\n"
    "    time.sleep(60)\n"
    "threading.Thread(target=hold).start()\n"
    "libc.syscall(int(sys.argv[1]), 0)\n"
)

# Opening the fifo for reading, which posix_spawn() does in the child before exec, waits for a writer. Through ctypes,
# because os.posix_spawn() keeps the interpreter's lock.
IN_VFORK = (
    "actions, pid = ctypes.create_string_buffer(256), ctypes.c_int()\n"
    "os.mkfifo(sys.argv[1])\n"
    "libc.posix_spawn_file_actions_init(actions)\n"
    "libc.posix_spawn_file_actions_addopen(actions, 9, sys.argv[1].encode(), 0, 0)\n"
    "arguments = (ctypes.c_char_p * 2)(b'true', None)\n"
    "spawn = lambda: libc.posix_spawn(ctypes.byref(pid), b'/bin/true', actions, None, arguments, None)\n"
    "thread = threading.Thread(target=spawn, daemon=True)\n"
    "thread.start()\n"
    "while ' D ' not in open(f'/proc/self/task/{thread.native_id}/stat').read(): time.sleep(0.01)\n"
    + READY
    + "time.sleep(60)\n"
)

# Names itself and sets its adjustment, then makes short-lived children that inherit both.
SPAWNS = (
    "open('/proc/self/comm', 'w').write('oomp-' + sys.argv[1])\n"
    "open('/proc/self/oom_score_adj', 'w').write(sys.argv[1])\n" + READY + "while True:\n"
    "    child = os.fork()\n"
    "    if child == 0: os._exit(0)\n"
    "    os.waitpid(child, 0)\n"
)
