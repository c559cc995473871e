"""`oompolicy get`: the values of memcgs.

Belongs here: the command. Must not know: where a value is kept.
"""

from __future__ import annotations

from pathlib import Path

import click

from oompolicy.cli.inputs import json_option, scope_path, snapshot_options, taken_snapshot
from oompolicy.cli.render import Column, mib, print_json, print_line, print_table
from oompolicy.mm.memcontrol import MemCgroup, mem_cgroup_is_descendant

COLUMNS = (
    Column("CGROUP"),
    Column("VALUE", is_number=True),
    Column("OWN", is_number=True),
    Column("MIB", is_number=True),
    Column("LIMIT MIB", is_number=True),
)


@click.command()
@click.argument("cgroup", required=False)
@click.option("--all", "show_all", is_flag=True, help="Those without a value too.")
@snapshot_options
@json_option
def get(
    cgroup: str | None, show_all: bool, snapshot_path: Path | None, config_path: Path | None, as_json: bool
) -> None:
    """The values of CGROUP and those below it; without CGROUP, of all that have one."""
    snapshot = taken_snapshot(snapshot_path, config_path)
    path = scope_path(cgroup)
    root = None if path is None else snapshot.memcg(path)
    found = [
        memcg
        for memcg in snapshot.kernel.memcgs
        if (root is None or mem_cgroup_is_descendant(memcg, root))
        and (show_all or memcg is root or memcg.value is not None)
    ]
    if as_json:
        for memcg in found:
            print_json(_as_json(memcg))
    elif found:
        print_table(COLUMNS, (_row(memcg, snapshot.page_size_bytes) for memcg in found))
    else:
        print_line("No memcg has a value yet: oompolicy set CGROUP VALUE")


def _row(memcg: MemCgroup, page_size_bytes: int) -> tuple[object, ...]:
    usage, limit = (mib(pages, page_size_bytes) for pages in (memcg.usage_pages, memcg.max_pages))
    return memcg.path, memcg.nearest_value, memcg.value, usage, limit


def _as_json(memcg: MemCgroup) -> dict[str, object]:
    return {
        "cgroup": memcg.path,
        "value": memcg.nearest_value,
        "own": memcg.value,
        "usage_pages": memcg.usage_pages,
        "limit_pages": memcg.max_pages,
    }
