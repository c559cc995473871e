"""The values of cgroups: reading, setting, whose word counts.

Belongs here: attributes of fake and of real cgroups. Must not know: what a value is for.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from oompolicy.errors import GoneError, PrivilegeError, SourceError
from oompolicy.sources import cgroup_value
from oompolicy.sources.cgroup_mount import cgroup_directory, find_memory_hierarchy
from oompolicy.sources.cgroup_value import (
    TRUSTED_NAME,
    USER_NAME,
    MalformedValueError,
    get_value,
    only_root_writes,
    parse_value,
    set_value,
)
from oompolicy.sources.live import live_snapshot
from sources.fake_machine import FakeMachine

is_root = os.geteuid() == 0
needs_root = pytest.mark.skipif(not is_root, reason="needs root: trusted.* attributes, owners")


class Attributes(dict[tuple[str, str], bytes]):
    """Extended attributes of a file system that takes the namespaces named."""

    def __init__(self, namespaces: tuple[str, ...]) -> None:
        self.namespaces = namespaces

    def _key(self, place: int | Path, name: str) -> tuple[str, str]:
        if name.split(".")[0] not in self.namespaces:
            raise OSError(95, "Operation not supported")
        return (os.readlink(f"/proc/self/fd/{place}") if isinstance(place, int) else str(place)), name

    def read(self, place: int | Path, name: str) -> bytes:
        try:
            return self[self._key(place, name)]
        except KeyError:
            raise OSError(61, "No data available") from None

    def write(self, place: int | Path, name: str, text: bytes) -> None:
        self[self._key(place, name)] = text

    def remove(self, place: int | Path, name: str) -> None:
        self.read(place, name)
        del self[self._key(place, name)]


def attributes(patch: pytest.MonkeyPatch, *namespaces: str, root_owns: bool = True) -> Attributes:
    fake = Attributes(namespaces)
    patch.setattr(os, "getxattr", fake.read)
    patch.setattr(os, "setxattr", fake.write)
    patch.setattr(os, "removexattr", fake.remove)
    patch.setattr(cgroup_value, "only_root_writes", lambda status: root_owns)
    return fake


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"5", 5),
        (b"-900\n", -900),
        (b" +7 ", 7),
        (b"9223372036854775807", 2**63 - 1),
        (b"-9223372036854775808", -(2**63)),
    ],
)
def test_values_are_decimal(text: bytes, value: int) -> None:
    assert parse_value(text) == value


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"x",
        b"1.5",
        b"0x10",
        b"1_000",
        b"9223372036854775808",
        b"1 2",
        b"\xff",
        "\u0663".encode(),
        b"9" * 5000,
        b"5\0",
    ],
)
def test_anything_else_is_malformed(text: bytes) -> None:
    with pytest.raises(MalformedValueError):
        parse_value(text)


@pytest.mark.parametrize(("namespaces", "used"), [(("user", "trusted"), USER_NAME), (("trusted",), TRUSTED_NAME)])
def test_a_value_is_set_in_the_first_namespace_that_the_kernel_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, namespaces: tuple[str, ...], used: str
) -> None:
    machine = FakeMachine(tmp_path, "v2")
    directory = machine.memcg("/batch")
    found = attributes(monkeypatch, *namespaces)
    set_value("/batch", -3, machine.proc, machine.sys)
    assert found == {(str(directory), used): b"-3"}
    assert get_value("batch", machine.proc, machine.sys) == -3
    set_value("/batch", None, machine.proc, machine.sys)
    set_value("/batch", None, machine.proc, machine.sys)  # nothing to remove is no error
    assert get_value("/batch", machine.proc, machine.sys) is None
    assert found == {}


def test_in_a_delegated_cgroup_only_trusted_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = FakeMachine(tmp_path, "v2")
    directory = machine.memcg("/user")
    found = attributes(monkeypatch, "user", "trusted", root_owns=False)
    found[str(directory), USER_NAME] = b"1000000"  # the user about themselves
    assert get_value("/user", machine.proc, machine.sys) is None
    set_value("/user", 3, machine.proc, machine.sys)
    assert found == {(str(directory), TRUSTED_NAME): b"3"}


def test_trusted_goes_before_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = FakeMachine(tmp_path, "v2")
    directory = machine.memcg("/a")
    found = attributes(monkeypatch, "user", "trusted")
    found.update({(str(directory), USER_NAME): b"1", (str(directory), TRUSTED_NAME): b"2"})
    assert get_value("/a", machine.proc, machine.sys) == 2
    set_value("/a", 7, machine.proc, machine.sys)
    assert get_value("/a", machine.proc, machine.sys) == 7


def test_snapshots_have_the_values_and_name_the_malformed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = FakeMachine(tmp_path, "v2")
    good, bad = machine.memcg("/good"), machine.memcg("/bad")
    machine.memcg("/good/child")
    found = attributes(monkeypatch, "user")
    found.update({(str(good), USER_NAME): b"12", (str(bad), USER_NAME): b"many"})
    snapshot = live_snapshot(machine.proc, machine.sys)
    assert (snapshot.memcg("/good").value, snapshot.memcg("/bad").value) == (12, None)
    assert snapshot.memcg("/good/child").nearest_value == 12
    assert snapshot.missing == ("cgroup /bad: its value is not a 64-bit integer ('many'): ignored",)
    with pytest.raises(SourceError, match="not a 64-bit integer: 'many'"):
        get_value("/bad", machine.proc, machine.sys)


def test_refusals_say_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = FakeMachine(tmp_path, "v2")
    directory = machine.memcg("/a")
    (machine.cgroups / "plain").mkdir()
    with pytest.raises(GoneError, match="cgroup /nowhere: does not exist here: name it from the root"):
        set_value("/nowhere", 1, machine.proc, machine.sys)
    with pytest.raises(GoneError, match="does not exist here"):
        set_value("/../../../../proc", 1, machine.proc, machine.sys)
    with pytest.raises(SourceError, match="has no memory controller"):
        set_value("/plain", 1, machine.proc, machine.sys)
    with pytest.raises(SourceError, match="does not fit"):
        set_value("/a", 2**63, machine.proc, machine.sys)
    attributes(monkeypatch)
    with pytest.raises(SourceError, match="take no extended attributes"):
        set_value("/a", 1, machine.proc, machine.sys)

    def refuse(*arguments: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "setxattr", refuse)
    with pytest.raises(PrivilegeError, match="only root can"):
        set_value(str(directory), 1, machine.proc, machine.sys)
    without = FakeMachine(tmp_path / "none", "none")
    with pytest.raises(SourceError, match="no cgroup hierarchy with it is mounted"):
        set_value("/a", 1, without.proc, without.sys)


def test_a_cgroup_is_named_by_its_path_or_its_directory(tmp_path: Path) -> None:
    machine = FakeMachine(tmp_path, "v2")
    directory = machine.memcg("/a/b")
    for name in ("/a/b", "a/b", "/a/b/", str(directory)):
        assert cgroup_directory(name, machine.proc, machine.sys) == directory
    assert cgroup_directory("/", machine.proc, machine.sys) == machine.cgroups


@needs_root
def test_a_directory_is_roots_alone_unless_others_own_or_write_it(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    assert only_root_writes(tmp_path.stat())
    tmp_path.chmod(0o775)
    assert not only_root_writes(tmp_path.stat())
    tmp_path.chmod(0o755)
    os.chown(tmp_path, 1000, -1)
    assert not only_root_writes(tmp_path.stat())


@pytest.fixture
def own_cgroup() -> Iterator[Path]:
    hierarchy = find_memory_hierarchy(Path("/proc"), Path("/sys"))
    if not is_root or hierarchy is None:
        pytest.skip("needs root and a memory controller: makes a cgroup")
    directory = hierarchy.directory / f"oompolicy-test-value-{os.getpid()}"
    try:
        directory.mkdir()
    except OSError as error:
        pytest.skip(f"no cgroup of our own can be made: {error}")
    try:
        yield directory
    finally:
        directory.rmdir()


@pytest.mark.root
def test_a_real_cgroup_keeps_its_value_until_it_is_removed(own_cgroup: Path) -> None:
    path = f"/{own_cgroup.name}"
    assert get_value(path) is None
    set_value(path, -(2**63))
    assert get_value(path) == -(2**63)
    assert live_snapshot().memcg(path).value == -(2**63)
    set_value(path, None)
    assert get_value(path) is None


@pytest.mark.root
def test_a_real_delegated_cgroup_cannot_speak_for_itself(own_cgroup: Path) -> None:
    os.setxattr(own_cgroup, USER_NAME, b"99") if USER_NAME in _taken(own_cgroup) else pytest.skip("no user.* here")
    assert get_value(f"/{own_cgroup.name}") == 99
    os.chown(own_cgroup, 65534, 65534)
    assert get_value(f"/{own_cgroup.name}") is None
    seen = live_snapshot().memcg(f"/{own_cgroup.name}")
    assert (seen.value, seen.wish) == (None, 99)
    os.setxattr(own_cgroup, USER_NAME, b"a lot")
    seen = live_snapshot().memcg(f"/{own_cgroup.name}")
    assert (seen.value, seen.wish) == (None, None)
    set_value(f"/{own_cgroup.name}", 5)
    assert get_value(f"/{own_cgroup.name}") == 5
    assert USER_NAME not in os.listxattr(own_cgroup)
    os.setxattr(own_cgroup, USER_NAME, b"3")
    seen = live_snapshot().memcg(f"/{own_cgroup.name}")
    assert (seen.value, seen.wish) == (5, 3)


def _taken(directory: Path) -> list[str]:
    try:
        os.setxattr(directory, USER_NAME, b"0")
    except OSError:
        return []
    return os.listxattr(directory)
