"""What the kernel itself tells of its choice beside its log: tracepoint oom:mark_victim, and oom_badness() by kprobes.

Belongs here: tracefs. Must not know: who the tasks are. A kernel without tracefs or kprobes just tells less.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from lab.seen import Marked

TRACING = Path("/sys/kernel/tracing")
INSTANCE = TRACING / "instances" / "lab"
LONG_MIN = -(1 << 63)
PROBES = ("p:lab/begin out_of_memory", "r:lab/points oom_badness points=$retval:s64")
EVENT = re.compile(r"-(?P<by>\d+)\s+\[\d+\] \S+\s+(?P<at_s>\d+\.\d+): (?P<what>mark_victim|begin|points): (?P<said>.*)")


class Trace:
    """Events since the last look; with points also what every candidate scored in the kernel."""

    def __init__(self, points: bool) -> None:
        self._points = points
        self._ok = False

    def __enter__(self) -> Trace:
        with contextlib.suppress(OSError):
            if self._points:
                (TRACING / "kprobe_events").write_text("\n".join(PROBES))
            INSTANCE.mkdir()
            (INSTANCE / "trace_clock").write_text("mono")
            (INSTANCE / "events/oom/mark_victim/enable").write_text("1")
            if self._points:
                (INSTANCE / "events/lab/enable").write_text("1")
            self._ok = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            INSTANCE.rmdir()
            if self._points:
                (TRACING / "kprobe_events").write_text("")

    def clear(self) -> None:
        """Forget what was traced so far."""
        if self._ok:
            (INSTANCE / "trace").write_text("")

    def marked(self, triggered_s: float, process_of: Mapping[int, int]) -> list[Marked]:
        """The victims marked since, in the kernel's order; process_of is a thread's process."""
        if not self._ok:
            return []
        marked: list[Marked] = []
        points: dict[str, list[int]] = {}
        for found in EVENT.finditer((INSTANCE / "trace").read_text(errors="replace")):
            by, what, said = found["by"], found["what"], found["said"]
            if what == "begin":
                points[by] = []
            elif what == "points":
                scored = int(said.rpartition("points=")[2])
                if scored != LONG_MIN and by in points:
                    points[by].append(scored)
            else:
                pid = int(said.removeprefix("pid=").split()[0])
                after_s = float(found["at_s"]) - triggered_s
                marked.append(Marked(process_of.get(pid, pid), after_s, points.pop(by, []) if self._points else None))
        return marked
