"""The first file of a daemon's process: `python -I -S boot.py DESCRIPTOR`, see start.exec_daemon().

Belongs here: making oompolicy importable, and nothing else loaded: without site there are no .pth files, and without
the command line no libraries for it. Must not know: what a daemon is.
"""

import marshal
import os
import sys


def boot(fd: int) -> None:
    """Take the module search path of the process that was here before, and its settings."""
    size = os.fstat(fd).st_size
    path, settings, iterator_fd = marshal.loads(os.pread(fd, size, 0))  # noqa: S302 - see start.py: our own
    os.close(fd)
    sys.path[:] = path
    from oompolicy.daemon.start import main

    main(settings, iterator_fd)


if __name__ == "__main__":
    boot(int(sys.argv[1]))
