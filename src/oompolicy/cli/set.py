"""`oompolicy set`: the value of a memcg.

Belongs here: the command. Must not know: where a value is kept.
"""

from __future__ import annotations

import click

from oompolicy.backends.hook.poke import Poked, look_now
from oompolicy.cli.inputs import scope_path
from oompolicy.cli.render import print_line, print_note
from oompolicy.mm.limits import LONG_MAX, LONG_MIN
from oompolicy.sources.cgroup_value import set_value


@click.command("set", context_settings={"ignore_unknown_options": True})
@click.argument("cgroup")
@click.argument("value", type=click.IntRange(LONG_MIN, LONG_MAX), required=False)
@click.option("--unset", is_flag=True, help="Take the value away; the nearest ancestor's counts again.")
def set_(cgroup: str, value: int | None, unset: bool) -> None:
    """Give CGROUP the opaque VALUE that policies read; its descendants without one of their own have it too."""
    if unset == (value is not None):
        raise click.UsageError("name a VALUE, or --unset.")
    path = scope_path(cgroup)
    assert path is not None
    set_value(path, value)
    print_line(f"{path}: {'no value' if value is None else value}")
    poked = look_now()
    if poked is not Poked.NOTHING_ATTACHED:
        print_note(f"hook: {poked.value}")
