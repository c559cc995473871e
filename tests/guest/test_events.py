"""What wakes the daemon in a real kernel, how soon, and that nothing else does.

Belongs here: what guest/events.py must have seen. Must not know: how it made it happen.
"""

from __future__ import annotations

import lzma

import pytest

from guest.test_hook import on, tainted_by_us
from guest.test_module import Proofs, in_guest, trouble

from lab.kernels import PATCHED
from lab.kernels import kernel as kernel_of

pytestmark = pytest.mark.guest
KERNELS = ["6.12", PATCHED]


@pytest.fixture(scope="module", params=KERNELS)
def kernel(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture(scope="module")
def of_the_bell(kernel: str) -> Proofs:
    return on(kernel, "events bell")


@pytest.fixture(scope="module", params=["6.12"])
def of_pressure(request: pytest.FixtureRequest) -> Proofs:
    modules = zram_modules(request.param)
    carried = {f"/lib/{name}.ko": content for name, content in modules.items()}
    return in_guest(" ".join(("events pressure", *modules)), request.param, files=carried, limit_s=300, swap_mib=64)


def zram_modules(series: str) -> dict[str, bytes]:
    """The kernel's own, in the order of loading."""
    root = kernel_of(series).root
    assert root is not None
    found = {path.name.removesuffix(".ko.xz"): path for path in root.glob("lib/modules/*/kernel/**/*.ko.xz")}
    names = ("zsmalloc", "lz4_compress", "lz4hc_compress", "zram")
    return {name: lzma.decompress(found[name].read_bytes()) for name in names}


def test_an_oom_is_told_of_within_a_fraction_of_a_second(of_the_bell: Proofs) -> None:
    """Each one, from the arrival of the kernel's line to that of the daemon's, whose interval is an hour.

    Two in a row are told of together, half a second after the look before.
    """
    proof = of_the_bell["bell"]
    print(proof["delays"])
    assert len(proof["delays"]) >= 3, proof["said"]
    assert all(delay is not None for _, delay in proof["delays"]), proof["said"]
    delays = sorted(delay for _, delay in proof["delays"])
    assert delays[len(delays) // 2] < 0.5
    assert delays[-1] < 1.5


def test_without_an_oom_it_does_not_wake(of_the_bell: Proofs) -> None:
    assert of_the_bell["bell"]["idle"] == 0


@pytest.mark.parametrize("resource", ["memory", "io", "cpu"])
def test_each_pressure_wakes_it_of_the_machine_and_of_a_cgroup_that_came_later(
    of_pressure: Proofs, resource: str
) -> None:
    """some and full, by triggers alone: there was nothing to look for by the clock."""
    proof = of_pressure["pressure"]
    found = {name: seconds for name, seconds in proof["seen"].items() if f"-{resource}-" in name}
    print(found)
    assert len(found) == (3 if resource == "cpu" else 4)
    assert None not in found.values(), proof["said"]
    assert not [line for line in proof["said"] if "triggers for" in line]


def test_a_cgroup_that_appears_is_judged_soon_and_one_that_goes_is_let_go_of(of_pressure: Proofs) -> None:
    proof = of_pressure["pressure"]
    print(proof["later"], proof["let_go"])
    assert proof["later"] is not None, proof["said"]
    assert proof["later"] < 5
    assert proof["let_go"] >= 3 * 3  # of each cgroup three files at least, and triggers besides


def test_when_the_stalls_are_over_it_sleeps(of_pressure: Proofs) -> None:
    print(of_pressure["pressure"]["idle"])
    assert of_pressure["pressure"]["idle"] <= 3


def test_what_is_in_zram_is_counted(of_pressure: Proofs) -> None:
    """8 MiB that do not compress."""
    stored, used = of_pressure["zram"]["found"]
    assert stored == 8 << 20
    assert 8 << 20 <= used < 9 << 20


def test_the_kernel_has_nothing_to_complain_of(of_the_bell: Proofs, kernel: str) -> None:
    assert trouble(of_the_bell["log"]) == []
    assert of_the_bell["log"]["tainted"] == tainted_by_us(kernel)
