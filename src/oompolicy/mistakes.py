"""Where a mistake is, and what was meant.

Belongs here: the lines of a file in a traceback, the known name nearest to a mistyped one. Must not know: what is said
of them. The daemon has this loaded for good, so it is done without the standard library's traceback, and difflib is
loaded when somebody has made a mistake.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator


def nearest(name: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The known name most like this one; None where none is like it by at least cutoff, from 0 to 1 (difflib's ratio).

    >>> nearest("protct", ["protect", "newest_first"])
    'protect'
    """
    import difflib

    found = difflib.get_close_matches(name, list(known), n=1, cutoff=cutoff)
    return found[0] if found else None


def frames_of(error: BaseException) -> Iterator[tuple[str, int]]:
    """Files and lines that an error has come through: where it was caught first, where it was raised last."""
    trace = error.__traceback__
    while trace is not None:
        yield trace.tb_frame.f_code.co_filename, trace.tb_lineno
        trace = trace.tb_next


def line_in(error: BaseException, path: str | None) -> int | None:
    """The last line of a file that an error has come through; None where it has not been there."""
    lines = [line for file, line in frames_of(error) if file == path]
    return lines[-1] if lines else None
