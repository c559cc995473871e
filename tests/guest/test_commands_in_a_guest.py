"""The commands on stock Debian kernels with cgroup v2: a guest boots, OOMs, and obeys."""

from __future__ import annotations

import json
import shutil

import pytest

from lab import LabError
from lab.guest import Ended, GuestResult, run_guest
from lab.python_tree import python_tree

KERNELS = [pytest.param("6.12", marks=pytest.mark.guest_core), "6.1"]


def in_guest(kernel: str, script: str) -> GuestResult:
    if shutil.which("qemu-system-x86_64") is None:
        pytest.skip("no QEMU: apt-get install qemu-system-x86")
    try:
        done = run_guest(script, kernel, files=python_tree())
    except LabError as error:
        pytest.skip(f"no guest here: {error}")
    assert done.ended is Ended.SCRIPT_DONE, done.console[-2000:]
    return done


@pytest.mark.guest
@pytest.mark.parametrize("kernel", KERNELS)
def test_demo_on_cgroup_v2(kernel: str) -> None:
    """The demo's own words, and its trace: nothing is left in the cgroup tree."""
    done = in_guest(kernel, "python3 -m oompolicy demo --json; ls /sys/fs/cgroup | grep -c oompolicy")
    lines = done.stdout.splitlines()
    first, second = map(json.loads, lines[:2])
    assert (first["real"], first["expected"]["comm"], first["as_expected"]) == (True, "database", True)
    assert (second["real"], second["expected"]["comm"], second["as_expected"]) == (True, "batch", True)
    assert "picks database" in first["report"]
    assert "picks batch" in second["report"]
    assert lines[2] == "0"


@pytest.mark.guest
@pytest.mark.parametrize("kernel", KERNELS)
def test_values_on_cgroup_v2_are_seen_by_everybody(kernel: str) -> None:
    script = """
        mkdir /sys/fs/cgroup/batch /sys/fs/cgroup/batch2
        python3 -m oompolicy set /batch -7
        python3 -m oompolicy get --json
        python3 -m oompolicy doctor --json
    """
    lines = in_guest(kernel, script).stdout.splitlines()
    assert lines[0] == "/batch: -7"
    assert [json.loads(lines[1])[key] for key in ("cgroup", "value", "own")] == ["/batch", -7, -7]
    found = {line["what"]: line for line in map(json.loads, lines[2:])}
    assert found["memory controller"]["found"] == "cgroup v2 at /sys/fs/cgroup"
    assert found["backend"]["found"] == "oom_score_adj"
