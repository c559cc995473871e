"""The tests of this folder once more, and the task iterator's, in guests: what a stock kernel says to them.

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
# These ask no kernel anything, and emulation is slow.
LEFT_OUT = ("test_btf.py", "test_btf_cache.py", "test_btf_damage.py", "test_instructions.py", Path(__file__).name)
SCRIPT = f"""
insmod /lab/{MODULE}.ko
export IN_GUEST=1 GUEST_MODULE={MODULE}:{FUNCTION} PYTHONDONTWRITEBYTECODE=1
cd /project
mkdir -p /out
python3 -m pytest -p no:cacheprovider --color=no --durations=10 --junitxml=/out/junit.xml \\
    {" ".join(f"--ignore=tests/bpf/{name}" for name in LEFT_OUT)} tests/bpf tests/sources/test_iterated.py
status=$?
dmesg > /out/dmesg
exit $status
"""


MAY_SKIP = {"6.1": {"test_a_function_of_the_kernel_is_called"}}


def carried(kernel: str) -> dict[str, Path | bytes]:
    """Guest path -> what is there: Python, pytest, these tests, and a module of the guest's own kernel."""
    tree = python_tree()
    tree |= installed(["pytest"], Path(sysconfig.get_path("platlib")))
    for name in ("pyproject.toml", "tests/conftest.py", "tests/bpf", "tests/sources"):
        tree[f"/project/{name}"] = PROJECT / name
    root = lab_kernel(kernel).root
    assert root is not None
    (module,) = root.glob(f"**/{MODULE}.ko*")
    content = module.read_bytes()
    tree[f"/lab/{MODULE}.ko"] = lzma.decompress(content) if module.suffix == ".xz" else content
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
@pytest.mark.parametrize("kernel", ["6.12", "6.1"])
def test_all_of_it_on_stock_kernels(kernel: str) -> None:
    done = in_guest(kernel)
    assert done.status == 0, done.stdout[-20_000:] + done.stderr[-2000:]
    cases = ElementTree.fromstring(done.out["junit.xml"]).iter("testcase")
    outcome = {case.get("name", ""): case.find("skipped") for case in cases}
    skipped = {name: element.get("message") for name, element in outcome.items() if element is not None}
    assert set(skipped) <= MAY_SKIP.get(kernel, set()), skipped
    assert len(outcome) > 130
    assert "Call Trace:" not in done.out["dmesg"].decode()
