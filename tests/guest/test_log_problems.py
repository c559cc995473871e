"""Each kind of trouble that a module can bring a kernel into is noticed in what that kernel says of it.

Lockdep is not in the stock kernels; its headlines are in tests/lab/test_verdict.py.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from lab import DoesNotBuildError, LabError
from lab.guest import Ended, GuestResult, Machine, run_guest
from lab.kernels import kernel
from lab.log_problems import PROBLEMS, log_problems
from lab.module_build import module

pytestmark = pytest.mark.guest
MODULE = Path(__file__).with_name("trouble")
# What the module is asked for, in this order -> the kinds of trouble that its kernel must be found to be in.
TROUBLE = {
    "hung": {"hung task"},  # first: after an oops khungtaskd looks no more
    "warning": {"warning"},
    "refcount": {"warning", "refcount"},
    "atomic": {"bug"},
    "list": {"bug", "refcount"},
    "null": {"bug"},
    "astray": {"bug"},
    "bug": {"bug"},
    "stall": {"rcu stall", "lockup"},
}
MARK = "of "
SCRIPT = f"""
echo 1 > /proc/sys/kernel/watchdog_thresh
echo 2 > /proc/sys/kernel/hung_task_timeout_secs
echo 1 > /proc/sys/kernel/hung_task_check_interval_secs
until_said() {{ # for at most 30 s
    tries=0
    until dmesg | grep -q "$1" || [ $tries = 30 ]; do sleep 1; tries=$((tries + 1)); done
}}
insmod /lab/trouble.ko
for what in nothing {" ".join(TROUBLE)}; do
    echo $what > /sys/module/trouble/parameters/make
    case $what in stall) sleep 18;; hung) until_said "blocked for more";; *) sleep 0.5;; esac
    echo "{MARK}$what"
    dmesg -c
done
echo c > /proc/sysrq-trigger
"""


def in_guest(name: str) -> GuestResult:
    if shutil.which("qemu-system-x86_64") is None:
        pytest.skip("no QEMU: apt-get install qemu-system-x86")
    try:
        files = {"/lab/trouble.ko": module(kernel(name).release, MODULE)}
        return run_guest(SCRIPT, name, Machine(append="rcupdate.rcu_cpu_stall_timeout=3"), files, 120)
    except DoesNotBuildError:
        raise
    except LabError as error:
        pytest.skip(f"no guest here: {error}")


@pytest.fixture(scope="module", params=["6.12", "6.1"])
def in_trouble(request: pytest.FixtureRequest) -> GuestResult:
    """One boot for all of it; the last is a panic."""
    return in_guest(request.param)


def logs(result: GuestResult) -> dict[str, str]:
    """What was asked for -> what the kernel said of it."""
    parts = re.split(rf"^{MARK}(\w+)$", result.stdout, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.parametrize("what", TROUBLE)
def test_trouble_is_noticed_and_of_its_kind(in_trouble: GuestResult, what: str) -> None:
    found = log_problems([logs(in_trouble)[what]])
    print(*found, sep="\n")
    kinds = {kind for kind, words in PROBLEMS.items() if any(re.search(words, line) for line in found)}
    assert TROUBLE[what] <= kinds, found


def test_a_module_that_makes_none_is_no_trouble(in_trouble: GuestResult) -> None:
    said = logs(in_trouble)["nothing"]
    assert "module verification failed" in said
    assert log_problems([said]) == []


def test_a_panic_is_noticed_on_the_console(in_trouble: GuestResult) -> None:
    assert in_trouble.ended is Ended.DIED
    assert "Kernel panic - not syncing: sysrq triggered crash" in log_problems([in_trouble.console])
