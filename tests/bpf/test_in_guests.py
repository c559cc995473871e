"""The tests of this folder once more, inside of guests: what a stock kernel of each series says to them.

Belongs here: carrying pytest and the tests in, and the outcome out. Must not know: what is tested.
"""

from __future__ import annotations

import lzma
import shutil
import sysconfig
from pathlib import Path
from xml.etree import ElementTree

import pytest

from lab import LabError
from lab.guest import Ended, GuestResult, Machine, run_guest
from lab.kernels import kernel as lab_kernel
from lab.python_tree import PROJECT, installed, python_tree

MODULE, FUNCTION = "dummy", "dummy_setup"
SCRIPT = f"""
insmod /lab/{MODULE}.ko
export IN_GUEST=1 GUEST_MODULE={MODULE}:{FUNCTION} PYTHONDONTWRITEBYTECODE=1
cd /project
mkdir -p /out
python3 -m pytest -p no:cacheprovider --junitxml=/out/junit.xml tests/bpf bench/btf.py
status=$?
python3 bench/btf.py > /out/bench 2>&1
dmesg > /out/dmesg
exit $status
"""
# What stock kernels do not have; any other skip fails.
MAY_SKIP: dict[str, set[str]] = {
    "6.12": set(),
    "6.1": set(),
}


def carried(kernel: str) -> dict[str, Path | bytes]:
    """Guest path -> what is there: Python, pytest, these tests, and a module of the guest's own kernel."""
    tree = python_tree()
    tree |= installed(["pytest"], Path(sysconfig.get_path("platlib")))
    for name in ("pyproject.toml", "tests/conftest.py", "tests/bpf", "bench/btf.py"):
        tree[f"/project/{name}"] = PROJECT / name
    root = lab_kernel(kernel).root
    assert root is not None
    (packed,) = root.glob(f"**/{MODULE}.ko.xz")
    tree[f"/lab/{MODULE}.ko"] = lzma.decompress(packed.read_bytes())
    return tree


def in_guest(kernel: str) -> GuestResult:
    if shutil.which("qemu-system-x86_64") is None:
        pytest.skip("no QEMU: apt-get install qemu-system-x86")
    try:
        done = run_guest(SCRIPT, kernel, Machine(1024), carried(kernel), time_limit_s=240)
    except LabError as error:
        pytest.skip(f"no guest here: {error}")
    assert done.ended is Ended.SCRIPT_DONE, done.console[-2000:] + done.stdout[-2000:]
    return done


@pytest.mark.guest
@pytest.mark.parametrize("kernel", [pytest.param("6.12", marks=pytest.mark.guest_core), "6.1"])
def test_all_of_it_on_stock_kernels(kernel: str) -> None:
    done = in_guest(kernel)
    assert done.status == 0, done.stdout[-20_000:] + done.stderr[-2000:]
    cases = ElementTree.fromstring(done.out["junit.xml"]).iter("testcase")
    outcome = {case.get("name", ""): case.find("skipped") for case in cases}
    skipped = {name: element.get("message") for name, element in outcome.items() if element is not None}
    assert set(skipped) <= MAY_SKIP[kernel] | {"test_all_of_it_on_stock_kernels"}, skipped
    assert len(outcome) > 200
    assert "WARNING:" not in done.out["dmesg"].decode()
