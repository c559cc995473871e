"""What cgroups say to systemd-oomd and oomd, and whose word counts: real attributes on real cgroups."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from oompolicy.rules.preference import Preference
from oompolicy.sources.cgroup_mount import Hierarchy
from oompolicy.sources.oomd_preference import read_preferences

pytestmark = pytest.mark.root

USER = 65534


@pytest.fixture
def tree() -> Iterator[Hierarchy]:
    """A v2 hierarchy with cgroups of ours at its root: attributes are every cgroup's there, whatever controllers."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    v2 = next((Path(words[1]) for words in mounts if words[2] == "cgroup2"), None)
    if os.geteuid() != 0 or v2 is None:
        pytest.skip("needs root and a cgroup2 mount: makes cgroups")
    top = v2 / f"oompolicy-test-oomd-{os.getpid()}"
    made = [top, top / "a", top / "a/b", top / "user", top / "user/x", top / "user/x/y"]
    try:
        for directory in made:
            directory.mkdir()
        try:
            os.setxattr(top, "user.oomd_test", b"1")
        except OSError:
            pytest.skip("this kernel's cgroups take no user.* attributes")
        for directory in made[3:]:
            os.chown(directory, USER, USER)
        yield Hierarchy(top, "v2")
    finally:
        for directory in reversed(made):
            if directory.exists():
                directory.rmdir()


def tell(tree: Hierarchy, path: str, name: str, text: bytes = b"1") -> None:
    os.setxattr(tree.directory / path.lstrip("/"), name, text)


def read(tree: Hierarchy, *paths: str, scope: str = "/") -> dict[str, Preference]:
    return dict(read_preferences(tree, scope, paths))


@pytest.mark.parametrize(
    ("name", "preference"),
    [
        ("user.oomd_omit", Preference.OMIT),
        ("user.oomd_avoid", Preference.AVOID),
        ("user.oomd_prefer", Preference.PREFER),
        ("trusted.oomd_avoid", Preference.AVOID),
        ("trusted.oomd_prefer", Preference.PREFER),
        ("trusted.oomd_omit", Preference.OMIT),
    ],
)
def test_each_attribute_of_a_cgroup_of_root_counts(tree: Hierarchy, name: str, preference: Preference) -> None:
    tell(tree, "/a", name)
    assert read(tree, "/a", "/a/b", "/user") == {"/a": preference, "/a/b": preference}


def test_the_nearest_that_says_something_counts(tree: Hierarchy) -> None:
    tell(tree, "/a", "user.oomd_avoid")
    tell(tree, "/a/b", "user.oomd_prefer")
    assert read(tree, "/a", "/a/b") == {"/a": Preference.AVOID, "/a/b": Preference.PREFER}


def test_above_the_scope_nothing_counts(tree: Hierarchy) -> None:
    tell(tree, "/a", "user.oomd_omit")
    assert read(tree, "/a/b", scope="/a/b") == {}
    assert read(tree, "/a/b", scope="/a") == {"/a/b": Preference.OMIT}


def test_omit_goes_before_avoid_and_prefer_before_both(tree: Hierarchy) -> None:
    tell(tree, "/a", "user.oomd_avoid")
    tell(tree, "/a", "user.oomd_omit")
    assert read(tree, "/a") == {"/a": Preference.OMIT}
    tell(tree, "/a", "trusted.oomd_prefer")
    assert read(tree, "/a") == {"/a": Preference.PREFER}


@pytest.mark.parametrize("text", [b"0", b"no", b"false\n", b"off"])
def test_a_no_is_a_no(tree: Hierarchy, text: bytes) -> None:
    tell(tree, "/a", "user.oomd_omit", text)
    assert read(tree, "/a") == {}


@pytest.mark.parametrize("name", ["user.oomd_avoid", "user.oomd_omit"])
def test_a_delegated_cgroup_cannot_spare_itself(tree: Hierarchy, name: str) -> None:
    tell(tree, "/user", name)
    tell(tree, "/user/x", name)
    assert read(tree, "/user", "/user/x", "/user/x/y") == {}


def test_nor_can_a_cgroup_that_others_can_write_in(tree: Hierarchy) -> None:
    tell(tree, "/a", "user.oomd_omit")
    (tree.directory / "a").chmod(0o777)
    assert read(tree, "/a", scope="/a") == {}


def test_nor_escape_what_its_parent_was_given(tree: Hierarchy) -> None:
    tell(tree, "/user", "trusted.oomd_prefer")
    tell(tree, "/user/x", "user.oomd_omit")
    assert read(tree, "/user/x", "/user/x/y") == {"/user/x": Preference.PREFER, "/user/x/y": Preference.PREFER}


def test_among_a_user_s_own_the_user_decides(tree: Hierarchy) -> None:
    tell(tree, "/user/x/y", "user.oomd_avoid")
    assert read(tree, "/user/x", "/user/x/y", scope="/user") == {"/user/x/y": Preference.AVOID}


def test_to_go_first_is_everybody_s_to_say(tree: Hierarchy) -> None:
    tell(tree, "/user/x", "user.oomd_prefer")
    assert read(tree, "/user/x/y") == {"/user/x/y": Preference.PREFER}


def test_what_root_says_of_a_delegated_cgroup_counts(tree: Hierarchy) -> None:
    tell(tree, "/user", "trusted.oomd_avoid")
    assert read(tree, "/user/x/y") == {"/user/x/y": Preference.AVOID}


def test_what_has_gone_has_none(tree: Hierarchy) -> None:
    assert read(tree, "/nope", "/a/nope") == {}
