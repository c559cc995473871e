"""`oompolicy detach`: take the hook's programs out of the kernel.

Belongs here: the command. Must not know: where they are pinned.
"""

from __future__ import annotations

import click

from oompolicy.backends.hook.backend import detach as detach_all
from oompolicy.cli.render import print_line


@click.command()
def detach() -> None:
    """Let the kernel decide alone again, where a daemon was killed and its policy is still attached.

    A daemon that is stopped detaches itself; while one runs, this is refused.
    """
    print_line("detached: the kernel decides alone again" if detach_all() else "nothing is attached")
