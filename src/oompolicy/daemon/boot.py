"""The first file of a daemon's process: `python -I -S boot.py DESCRIPTOR`, see start.exec_daemon().

Belongs here: making oompolicy importable, and nothing else loaded: without site there are no .pth files, and without
the command line no libraries for it. Must not know: what a daemon is.
"""

import marshal
import os
import sys
from importlib import import_module
from types import ModuleType


def boot(fd: int) -> None:
    """Take the module search path of the process that was here before, and its settings."""
    size = os.fstat(fd).st_size
    path, settings, iterator_fd = marshal.loads(os.pread(fd, size, 0))  # noqa: S302 - see start.py: our own
    os.close(fd)
    sys.path[:] = path
    hold_back()
    from oompolicy.daemon.start import main

    main(settings, iterator_fd)


def hold_back() -> None:
    """0.8 MiB: dataclasses asks for signatures of classes without a docstring, pathlib for URLs; we have neither."""
    sys.modules["inspect"] = Late("inspect")
    sys.modules["urllib.parse"] = Late("urllib.parse", "quote_from_bytes")


class Late(ModuleType):
    """A module in name only, until something of it is asked for; of the functions named, until one is called.

    importlib.util.LazyLoader would load it when a second module imports it.
    """

    def __init__(self, name: str, *functions: str) -> None:
        """In the place of module name."""
        super().__init__(name)
        for function in functions:
            setattr(self, function, lambda *args, _function=function: getattr(self._real(), _function)(*args))

    def __getattr__(self, name: str) -> object:
        """What is not there yet."""
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._real(), name)

    def _real(self) -> ModuleType:
        name = self.__name__
        if sys.modules.get(name) is self:
            del sys.modules[name]
        return import_module(name)


if __name__ == "__main__":
    boot(int(sys.argv[1]))
