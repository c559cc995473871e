"""Which changes of files are changes of the configuration, and when they are over; real files, a made-up clock."""

from __future__ import annotations

import os
import select
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from oompolicy.daemon.config_watch import AT_MOST_MS, QUIET_MS, ConfigWatch
from sources.fake_machine import write


class World:
    """A configuration in a folder, its watch, and a clock."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.main = folder / "oompolicy.toml"
        self.said: list[str] = []
        self.watch = ConfigWatch(self.said.append)
        self.now_ms = 0

    def follow(self, *python: Path) -> None:
        self.watch.follow(self.main, python)

    def hear(self) -> None:
        poll = select.poll()
        poll.register(self.watch.fd, select.POLLIN)
        if poll.poll(0):
            self.watch.take(self.now_ms)

    def is_due(self) -> bool:
        """Has something happened? Let the time pass until nobody has written for long enough."""
        self.hear()
        if self.watch.due_ms is None:
            return False
        self.now_ms = self.watch.due_ms
        return True

    def is_changed(self) -> bool:
        return self.is_due() and self.watch.is_changed()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path / "etc")
    write(world.main, "interval_ms = 1000\n")
    write(world.folder / "mine.py", "# one\n")
    yield world
    world.watch.close()


def rename_over(path: Path, text: str) -> None:
    """As editors and package managers do."""
    new = path.with_name(f".{path.name}.swp")
    new.write_text(text)
    new.rename(path)


def drop_in(world: World, text: str = "") -> Path:
    path = world.folder / "oompolicy.toml.d/50-local.toml"
    write(path, text)
    return path


def exchange_folder(world: World) -> None:
    world.folder.rename(world.folder.with_name("old"))
    write(world.main, "interval_ms = 3000\n")


CHANGES: dict[str, Callable[[World], object]] = {
    "written in place": lambda world: world.main.write_text("interval_ms = 2000\n"),
    "renamed over": lambda world: rename_over(world.main, "interval_ms = 2000\n"),
    "a drop-in, and its folder": drop_in,
    "a policy": lambda world: rename_over(world.folder / "mine.py", "# two\n"),
    "a policy that is gone": lambda world: (world.folder / "mine.py").unlink(),
    "a file that others may write now": lambda world: world.main.chmod(0o666),
    "another folder in its place": exchange_folder,
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_is_told_once(world: World, what: str) -> None:
    world.follow(world.folder / "mine.py")
    assert not world.is_due()
    CHANGES[what](world)
    assert world.is_changed()
    world.watch.read()
    assert not world.is_changed()


def test_drop_ins_that_come_and_go(world: World) -> None:
    local = drop_in(world)
    world.follow()
    rename_over(local, "interval_ms = 7000\n")
    assert world.is_changed()
    world.watch.read()
    local.unlink()
    assert world.is_changed()
    world.watch.read()
    drop_in(world)
    assert world.is_changed()


def test_neighbours_and_what_an_editor_leaves_beside_it_are_nothing(world: World) -> None:
    drop_in(world)
    world.follow()
    for name in ("other.toml", ".oompolicy.toml.swp", "4913", "oompolicy.toml~", "oompolicy.toml.d/50-local.toml~"):
        (world.folder / name).write_text("x")
        (world.folder / name).unlink()
    world.main.read_text()
    assert not world.is_due()


def test_who_is_asked_to_read_anew_meanwhile_has_read_it(world: World) -> None:
    """An edit, and `systemctl reload` at once: one reload."""
    world.follow()
    world.main.write_text("interval_ms = 2000\n")
    world.watch.read()
    assert not world.is_changed()


def test_it_waits_until_nobody_writes_but_not_for_ever(world: World) -> None:
    world.follow()
    looked_at = []
    for world.now_ms in range(0, 5_000, 50):
        world.main.write_text(f"interval_ms = {1000 + world.now_ms}\n")
        if world.watch.due_ms is not None and world.watch.due_ms <= world.now_ms:
            looked_at.append(world.now_ms)
            assert world.watch.is_changed()
            world.watch.read()
        world.hear()
    assert looked_at == [AT_MOST_MS, 2 * AT_MOST_MS]
    assert world.watch.due_ms is not None
    assert world.watch.due_ms <= 4_950 + QUIET_MS


def test_behind_links_what_they_lead_to_counts(world: World) -> None:
    """A ConfigMap of Kubernetes: oompolicy.toml -> ..data/oompolicy.toml, and ..data is exchanged."""
    for name in ("one", "two"):
        write(world.folder / f"..{name}/oompolicy.toml", f"# {name}\n")
    world.main.unlink()
    (world.folder / "..data").symlink_to("..one")
    world.main.symlink_to("..data/oompolicy.toml")
    world.follow()
    (world.folder / "..new").symlink_to("..two")
    (world.folder / "..new").rename(world.folder / "..data")
    assert world.is_changed()
    world.watch.read()
    (world.folder / "..two/oompolicy.toml").write_text("# changed behind the links\n")
    assert world.is_changed()


def test_a_main_file_that_is_gone_is_waited_for_and_said_once(world: World) -> None:
    world.follow()
    world.main.unlink()
    assert not world.is_changed()
    (world.folder / "oompolicy.toml.d").mkdir()
    assert not world.is_changed()
    assert [f"{world.main} is gone" in line for line in world.said] == [True]
    world.main.write_text("interval_ms = 2000\n")
    assert world.is_changed()


def test_what_is_not_there_yet_is_seen_when_it_comes(tmp_path: Path) -> None:
    world = World(tmp_path / "etc/oompolicy/deeper")
    world.follow()
    write(world.main, "interval_ms = 1000\n")
    assert world.is_changed()
    world.watch.read()
    world.main.write_text("interval_ms = 20\n")
    assert world.is_changed()
    world.watch.close()


def test_a_policy_that_a_refused_configuration_names_is_watched_until_it_is_right(world: World) -> None:
    world.follow(world.folder / "mine.py")
    world.watch.read()
    world.watch.follow_python([world.folder / "not-there-yet.py"])
    assert not world.is_changed()
    write(world.folder / "not-there-yet.py", "# now\n")
    assert world.is_changed()
    world.watch.read()
    (world.folder / "mine.py").write_text("# nobody's any more\n")
    assert not world.is_changed()


def test_what_changes_while_it_is_read_is_not_missed(world: World) -> None:
    """read(), then somebody writes, then it is told what the configuration is made of."""
    world.follow(world.folder / "mine.py")
    world.watch.read()
    (world.folder / "mine.py").write_text("# while it was read\n")
    world.follow(world.folder / "mine.py")
    assert world.is_changed()


def test_without_a_configuration_nothing_is_watched(world: World) -> None:
    world.follow()
    world.watch.follow(None, ())
    world.main.write_text("interval_ms = 2000\n")
    drop_in(world)
    assert not world.is_due()
    world.follow()
    world.main.write_text("interval_ms = 3000\n")
    assert world.is_changed()


def test_it_holds_one_descriptor(world: World) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for number in range(50):
        write(world.folder / f"{number}/p.py", "#")
    world.follow(*(world.folder / f"{number}/p.py" for number in range(50)))
    assert len(os.listdir("/proc/self/fd")) == before
