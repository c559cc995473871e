"""`set`, `get` and `doctor` on this machine."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from oompolicy.sources.cgroup_mount import find_memory_hierarchy

from conftest import Run

IN_A_USER_NAMESPACE = ("unshare", "--user")  # an unprivileged user for all that the kernel checks


@pytest.fixture
def cgroup() -> Iterator[str]:
    """A memcg of our own with a child, as its path from the root."""
    hierarchy = find_memory_hierarchy(Path("/proc"), Path("/sys"))
    if hierarchy is None or os.geteuid() != 0:
        pytest.skip("needs root and a memory controller")
    name = f"oompolicy-test-{os.getpid()}"
    path = hierarchy.directory / name
    path.mkdir()
    child = path / "child"
    try:
        if hierarchy.version == "v2":
            (path / "cgroup.subtree_control").write_text("+memory")
        child.mkdir()
        yield f"/{name}"
    finally:
        if child.exists():
            child.rmdir()
        path.rmdir()


def values(run_command: Run, cgroup: str) -> list[tuple[int | None, int | None]]:
    done = run_command("get", cgroup, "--all", "--json")
    return [(line["value"], line["own"]) for line in map(json.loads, done.out.splitlines())]


@pytest.mark.root
def test_a_value_is_set_inherited_shown_and_taken_away(run_command: Run, cgroup: str) -> None:
    assert values(run_command, cgroup) == [(None, None), (None, None)]
    assert run_command("set", cgroup, -7).out == f"{cgroup}: -7\n"
    assert values(run_command, cgroup) == [(-7, -7), (-7, None)]
    assert run_command("set", f"{cgroup}/child", (1 << 63) - 1).status == 0
    assert values(run_command, cgroup) == [(-7, -7), ((1 << 63) - 1, (1 << 63) - 1)]
    assert run_command("set", cgroup, "--unset").status == 0
    assert values(run_command, cgroup)[0] == (None, None)


@pytest.mark.root
def test_a_value_of_65_bits_is_wrong_usage(run_command: Run, cgroup: str) -> None:
    assert run_command("set", cgroup, 1 << 63).status == 2


@pytest.mark.root
def test_without_root_nothing_is_set_and_it_says_so(run_command: Run, cgroup: str) -> None:
    if not shutil.which("unshare"):
        pytest.skip("no unshare(1)")
    done = run_command("set", cgroup, 5, prefix=IN_A_USER_NAMESPACE)
    assert done.status == 1
    assert done.err.startswith("oompolicy: ")
    assert "root" in done.err
    assert values(run_command, cgroup)[0] == (None, None)


def test_doctor_says_what_is_here_and_which_backend_auto_takes(run_command: Run) -> None:
    done = run_command("doctor", "--json")
    found = {line["what"]: line for line in map(json.loads, done.out.splitlines())}
    assert done.status == 0
    assert os.uname().release in found["kernel"]["found"]
    assert found["backend"]["found"] in ("oom_score_adj", "dry_run")
    assert f"takes: {found['backend']['found']}" in run_command("doctor").out


def test_doctor_without_root(run_command: Run) -> None:
    if not shutil.which("unshare"):
        pytest.skip("no unshare(1)")
    done = run_command("doctor", "--json", prefix=IN_A_USER_NAMESPACE)
    found = {line["what"]: line for line in map(json.loads, done.out.splitlines())}
    assert done.status == 0
    assert found["root"]["ok"] == "no"
    assert found["backend"]["found"] == "dry_run"


@pytest.mark.root
def test_what_a_configuration_says_of_values_is_shown_with_its_scorers(
    run_command: Run, cgroup: str, trusted_folder: Path
) -> None:
    config, scorer = trusted_folder / "oompolicy.toml", trusted_folder / "mine.py"
    table = f'scorers = ["mine.py"]\n[[assign]]\ncgroup = "{cgroup}"\nvalue = 5\n'
    config.write_text(table)
    scorer.write_text(
        "from oompolicy import *\n@scorer\ndef twice(scene):\n"
        "    return {memcg: memcg.value * 2 for memcg in scene.memcgs if memcg.value == 5}\n"
    )
    shown = run_command("get", cgroup, "--json", "--config", config)
    assert json.loads(shown.out.splitlines()[0])["own"] == 10
    scorer.write_text(scorer.read_text().replace("* 2", "// 0"))
    refused = run_command("get", cgroup, "--config", config)
    assert refused.status == 1
    assert f"{scorer}:4" in refused.err
    assert "scorer twice: ZeroDivisionError" in refused.err
    config.write_text('scorers = ["mine"]\n')
    refused = run_command("get", cgroup, "--config", config)
    assert f"{config}:1: scorers: 'mine' is no file" in refused.err
