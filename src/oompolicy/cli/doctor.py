"""`oompolicy doctor`: what this machine offers, and which backend `auto` takes.

Belongs here: the command. Must not know: how the machine is looked at.
"""

from __future__ import annotations

import click

from oompolicy.backends import choose_backend
from oompolicy.backends.hook.findings import Finding, findings
from oompolicy.cli.inputs import json_option
from oompolicy.cli.render import Column, print_json, print_line, print_table
from oompolicy.sources.offers import offers

COLUMNS = (Column("WHAT"), Column("OK"), Column("FOUND", is_wide=True), Column("WHAT TO DO", is_wide=True))


@click.command()
@json_option
def doctor(as_json: bool) -> None:
    """What this machine offers to an OOM policy, what is in the way, and which backend `run --backend auto` takes."""
    found = [Finding(offer.what, offer.state.value, offer.found, offer.todo) for offer in offers()]
    found += findings()
    backend, _ = choose_backend()
    if as_json:
        for one in (*found, Finding("backend", "yes", backend)):
            print_json(one._asdict())
        return
    print_table(COLUMNS, found)
    print_line("")
    print_line(f"`run --backend auto` takes: {backend}")
