"""`oompolicy restore`: put back what a killed daemon left.

Belongs here: the command's options. Must not know: what is put back, and how it is told.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from oompolicy.backends.kill.actions import restore_changes
from oompolicy.backends.kill.changes import Changes
from oompolicy.backends.oom_score_adj.backend import restore_left_behind
from oompolicy.backends.oom_score_adj.journal import Journal, boot_id
from oompolicy.cli.render import print_line
from oompolicy.config import load_config
from oompolicy.sources.cgroup_mount import find_memory_hierarchy
from oompolicy.sources.live import live_snapshot


@click.command()
@click.option(
    "--config", "config_path", type=click.Path(path_type=Path), help="Instead of /etc/oompolicy/oompolicy.toml."
)
@click.option("--state-dir", type=click.Path(path_type=Path), help="Where the daemon wrote down originals.")
def restore(config_path: Path | None, state_dir: Path | None) -> None:
    """Give every process that a daemon has left adjusted its own oom_score_adj again, and cgroups their own settings.

    Only needed after a kill -9: a daemon that is stopped puts back itself.
    """
    config = load_config(config_path)
    if state_dir is not None:
        config = replace(config, state_dir=state_dir)
    lines = restore_left_behind(Journal(config.state_dir, boot_id()), live_snapshot, config.scope)
    hierarchy = find_memory_hierarchy(Path("/proc"), Path("/sys"))
    if hierarchy is not None:
        lines += restore_changes(Changes(hierarchy.directory, config.state_dir, boot_id()), config.state_dir)
    for line in lines or ("there is nothing to put back",):
        print_line(line)
