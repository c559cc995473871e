"""`demo`: a real OOM where it can be had, the model's answer where not."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from oompolicy.sources.cgroup_mount import find_memory_hierarchy

from conftest import Run

IN_A_USER_NAMESPACE = ("unshare", "--user")


@pytest.mark.root
def test_the_kernel_kills_the_important_one_and_then_obeys(run_command: Run) -> None:
    hierarchy = find_memory_hierarchy(Path("/proc"), Path("/sys"))
    if os.geteuid() != 0 or hierarchy is None:
        pytest.skip("needs root and a memory controller")
    done = run_command("demo")
    assert (done.status, done.err) == (0, "")
    first, second = done.out.split("2. With a policy:")
    assert "kernel: killed database" in first
    assert "As the model said." in first
    assert "kernel: killed batch" in second
    assert "database lives, and has its 24 MiB" in second
    assert "As the policy wanted." in second
    assert not list(hierarchy.directory.glob("oompolicy-demo-*"))


@pytest.mark.root
def test_demo_with_a_policy_of_ones_own(run_command: Run, trusted_folder: Path) -> None:
    if os.geteuid() != 0 or find_memory_hierarchy(Path("/proc"), Path("/sys")) is None:
        pytest.skip("needs root and a memory controller")
    (trusted_folder / "mine.py").write_text(
        "from oompolicy import *\n@policy\ndef smallest(task, oc):\n    return -task.rss\n"
    )
    done = run_command("demo", "--json", "--policy", trusted_folder / "mine.py")
    rounds = [json.loads(line) for line in done.out.splitlines()]
    assert [line["policy"] for line in rounds] == [None, "smallest"]
    assert [line["as_expected"] for line in rounds] == [True, True]
    assert rounds[1]["killed"][0]["comm"] == "batch"


def test_without_root_the_model_answers(run_command: Run) -> None:
    if not shutil.which("unshare"):
        pytest.skip("no unshare(1)")
    done = run_command("demo", prefix=IN_A_USER_NAMESPACE)
    assert done.status == 0
    assert "no real OOM here" in done.err
    assert "needs root" in done.err
    assert "The kernel alone kills database:" in done.out
    assert "With the policy spare_the_database kills batch:" in done.out
