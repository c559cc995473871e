"""`oompolicy completion`: the script that teaches a shell our commands and options.

Belongs here: which shells. Must not know: the commands.
"""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script of a shell.

    bash: oompolicy completion bash > /etc/bash_completion.d/oompolicy
    """
    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(ctx.find_root().command, {}, "oompolicy", "_OOMPOLICY_COMPLETE").source())
