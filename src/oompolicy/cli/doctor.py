"""`oompolicy doctor`: what this machine offers, and which backend `auto` takes.

Belongs here: the command. Must not know: how the machine is looked at.
"""

from __future__ import annotations

import click

from oompolicy.backends import choose_backend
from oompolicy.cli.inputs import json_option
from oompolicy.cli.render import Column, print_json, print_line, print_table
from oompolicy.sources.offers import offers

COLUMNS = (Column("WHAT"), Column("OK"), Column("FOUND", is_wide=True), Column("WHAT TO DO", is_wide=True))


@click.command()
@json_option
def doctor(as_json: bool) -> None:
    """What this machine offers to an OOM policy, what is in the way, and which backend `run --backend auto` takes."""
    found = list(offers())
    backend = choose_backend()
    if as_json:
        for offer in found:
            print_json({"what": offer.what, "ok": offer.state.value, "found": offer.found, "todo": offer.todo})
        print_json({"what": "backend", "ok": "yes", "found": backend, "todo": None})
        return
    print_table(COLUMNS, ((offer.what, offer.state.value, offer.found, offer.todo) for offer in found))
    print_line("")
    print_line(f"`run --backend auto` takes: {backend}")
