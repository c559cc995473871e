"""Cgroups whose names are no text, through the whole of a daemon: scope, protection, log line, hook, kill.

Belongs here: bytes that are no UTF-8, and what would write to a terminal. Must not know: ordinary names.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from backends.kill.arena import Arena, arena_in, memory_hierarchy
from daemon.killer import killer, rule, too_big, until
from oompolicy.backends.kill.changes import Changes
from oompolicy.rules.rule import Rule
from oompolicy.rules.scopes import in_scope

# Latin-1, an escape that clears the screen, quotes, spaces, a backslash, a tab; and what a shell would run.
ODD = os.fsdecode(b"caf\xe9 \x1b[2J\t\"'\\ $(reboot)\xff")
ODD_IN_LOG = "caf\\udce9 \\x1b[2J\\t\"'\\ $(reboot)\\udcff"


@pytest.fixture
def arena() -> Iterator[Arena]:
    with arena_in(memory_hierarchy()) as arena:
        yield arena


@pytest.mark.root
def test_a_cgroup_of_odd_bytes_is_found_named_and_killed(arena: Arena, trusted_folder: Path) -> None:
    hook = f'["sh", "-c", \'printf %s "$OOMPOLICY_CGROUP" > {trusted_folder}/hook\']'
    row = rule("odd", f"{arena.scope}/*", f'action = "kill_cgroup"\npre_kill = {hook}')
    with killer(trusted_folder, row) as daemon:
        worker = too_big(arena, "in-it", arena.memcg.child(ODD))
        until(worker.was_killed, why=lambda: daemon.log)
        line = daemon.until_said("killed")
        assert line.startswith(f"oompolicy: rule odd: cgroup {arena.scope}/{ODD_IN_LOG}: cgroup.current_mib ")
        assert line.endswith(f"all of cgroup {arena.scope}/{ODD_IN_LOG} (for in-it ({worker.pid})): killed")
        assert (trusted_folder / "hook").read_bytes() == os.fsencode(f"{arena.scope}/{ODD}")
        daemon.stop()


@pytest.mark.root
def test_of_odd_names_one_is_protected_by_a_pattern(arena: Arena, trusted_folder: Path) -> None:
    head = f'[protect]\ncgroups = ["{arena.scope}/caf?s"]\n'
    with killer(trusted_folder, rule("odd", f"{arena.scope}/*"), head=head) as daemon:
        kept = too_big(arena, "kept", arena.memcg.child(os.fsdecode(b"caf\xe9s")))
        said = daemon.until_said("nobody in the scope can be killed: ")
        assert said.endswith(f"kept ({kept.pid}): cgroup {arena.scope}/caf?s is protected")
        other = too_big(arena, "other", arena.memcg.child(os.fsdecode(b"caf\xe9")))
        until(other.was_killed, why=lambda: daemon.log)
        assert not kept.was_killed()


@pytest.mark.root
def test_the_kernel_makes_no_cgroup_with_a_newline_in_its_name(arena: Arena) -> None:
    """cgroup_mkdir(), kernel/cgroup/cgroup.c: it would make /proc/PID/cgroup unparsable. So none is ever there."""
    with pytest.raises(OSError, match="Invalid argument") as refused:
        (arena.memcg.path / "a\nb").mkdir()
    assert refused.value.errno == errno.EINVAL


def test_a_newline_in_a_name_would_be_one_character_of_it() -> None:
    paths = ["/a\nb", "/a", "/a\nb/c"]
    assert in_scope(Rule("x", "", scope=("/*",)), paths) == ("/a", "/a\nb")
    assert in_scope(Rule("x", "", scope=("/a?b",)), paths) == ("/a\nb",)


def test_the_journal_of_changes_keeps_odd_names(tmp_path: Path) -> None:
    for name in (ODD, "a\nb"):
        folder = tmp_path / "cgroups" / name
        folder.mkdir(parents=True)
        (folder / "memory.high").write_text("max\n")
        Changes(tmp_path / "cgroups", tmp_path / "state", "boot").set(f"/{name}", "memory.high", "4096", None)
    after_a_kill_9 = Changes(tmp_path / "cgroups", tmp_path / "state", "boot")
    assert after_a_kill_9.take_over() == 2
    assert len(list(after_a_kill_9.undo_all())) == 2
    assert [(each / "memory.high").read_text() for each in (tmp_path / "cgroups").iterdir()] == ["max", "max"]
