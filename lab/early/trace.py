"""Who is killed, and by whom, as the kernel traces it. Runs in the guest.

Belongs here: tracefs, the tracepoints signal:signal_generate and oom:mark_victim. Must not know: who should die.
"""

from __future__ import annotations

import re
from pathlib import Path
from types import TracebackType
from typing import Final

INSTANCE: Final = Path("/sys/kernel/tracing/instances/early")
_EVENT: Final = re.compile(r"^ *(?P<by>.+)-\d+ +\[\d+\] .*? (?P<what>signal_generate|mark_victim): (?P<said>.*)$")
_SIGNAL: Final = re.compile(r"sig=\d+ errno=\S+ code=\S+ comm=(?P<comm>.+) pid=(?P<pid>\d+) grp=")
_MARKED: Final = re.compile(r"pid=(?P<pid>\d+)")
KERNEL: Final = "kernel"


def victims(trace: str) -> tuple[tuple[str, str], ...]:
    """Each process that was killed, once, with its comm and by whom, in order.

    What the kernel's OOM killer kills has the name of who needed memory for its sender; it marks its victims.
    """
    events = [event for line in trace.splitlines() if (event := _EVENT.match(line))]
    marked = {_MARKED.findall(event["said"])[0] for event in events if event["what"] == "mark_victim"}
    found: dict[str, tuple[str, str]] = {}
    for event in events:
        if sent := _SIGNAL.search(event["said"]):
            found.setdefault(sent["pid"], (sent["comm"], KERNEL if sent["pid"] in marked else event["by"].strip()))
    return tuple(found.values())


class Trace:
    """Signals that kill, since it was cleared."""

    def __enter__(self) -> Trace:
        INSTANCE.mkdir(exist_ok=True)
        (INSTANCE / "buffer_size_kb").write_text("512")
        (INSTANCE / "events/signal/signal_generate/filter").write_text("sig == 9 || sig == 15")
        for event in ("signal/signal_generate", "oom/mark_victim"):
            (INSTANCE / "events" / event / "enable").write_text("1")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        INSTANCE.rmdir()

    def clear(self) -> None:
        """Forget what was traced so far."""
        (INSTANCE / "trace").write_text("")

    def victims(self) -> tuple[tuple[str, str], ...]:
        """Who was killed since, and by whom."""
        return victims((INSTANCE / "trace").read_text(errors="replace"))
