"""`oompolicy record`: a snapshot to a file.

Belongs here: the command. Must not know: the file's form.
"""

from __future__ import annotations

from pathlib import Path

import click

from oompolicy.cli.render import print_line, print_note
from oompolicy.sources.live import live_snapshot
from oompolicy.sources.recording import write_recording


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
def record(file: Path) -> None:
    """Write a snapshot of this machine to FILE; `rank --snapshot FILE` reads it on any machine."""
    snapshot = live_snapshot()
    for sentence in snapshot.missing:
        print_note(sentence)
    write_recording(snapshot, file)
    kernel = snapshot.kernel
    print_line(f"{file}: {len(kernel.tasks)} tasks, {len(kernel.memcgs)} memcgs, {file.stat().st_size / 1024:.0f} KiB")
