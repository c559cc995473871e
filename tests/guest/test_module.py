"""The module on a stock kernel: answers decide, without them the kernel does, and it comes and goes at any moment."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from lab import DoesNotBuildError, LabError
from lab.guest import Ended, Machine, run_guest
from lab.hog import hog
from lab.kernels import PATCHED, kernel
from lab.log_problems import log_problems
from lab.module_build import module
from lab.python_tree import python_tree

HERE = Path(__file__).parent
Proofs = dict[str, dict[str, Any]]
TROUBLE = re.compile(r"WARNING:|BUG:|BUG at|Oops|stall|soft lockup|hung|possible recursive|circular|general protection")
TAINTED_BY_US = 1 << 12 | 1 << 13  # out of tree, unsigned; a warning would add bit 9, an oops bit 7
TAINTED_BY_LIVE_PATCH = 1 << 15
POINTS_KILL, POINTS_PRESELECTED, POINTS_SPARE = 1 << 62, 1 << 61, -(1 << 61)
CLAMP = (1 << 60) - 1
MIB_PAGES = 256


def in_guest(
    program: str,
    wanted: str = "6.12",
    modules: Mapping[str, Path] | None = None,
    files: Mapping[str, Path | bytes] | None = None,
    limit_s: float = 240,
    swap_mib: int = 0,
) -> Proofs:
    """Run a program of this folder with the module, `modules` built and `files` as they are: its lines by name."""
    if shutil.which("qemu-system-x86_64") is None:
        pytest.skip("no QEMU: apt-get install qemu-system-x86")
    try:
        release = kernel("6.12").release
        carried = python_tree() | {"/bin/hog": hog(), "/lib/oom_policy.ko": module(release)}
        carried |= {f"/lab/guest/{path.name}": path for path in HERE.glob("*.py")}
        carried |= {name: module(release, folder) for name, folder in (modules or {}).items()} | dict(files or {})
        done = run_guest(f"cd /lab && python3 -m guest.{program}", wanted, Machine(swap_mib=swap_mib), carried, limit_s)
    except DoesNotBuildError:
        raise
    except LabError as error:
        pytest.skip(f"no guest here: {error}")
    for fault in done.faults:
        print(f"booted again, the emulator had failed: {fault}")
    assert done.ended is Ended.SCRIPT_DONE, done.console[-8000:]
    assert done.status == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return {line.get("order", line["proof"]): line for line in lines}


def trouble(log: dict[str, Any]) -> list[str]:
    """What the kernel complained of, by broad words and by the lab's own."""
    return [line for line in log["lines"] if TROUBLE.search(line)] + log_problems(log["lines"])


@pytest.fixture(scope="module")
def of_the_module() -> Proofs:
    """One boot for all that needs no storm."""
    return in_guest("module_proofs module")


@pytest.fixture(scope="module")
def of_the_patch() -> Proofs:
    return in_guest("module_proofs patched", PATCHED, limit_s=300)


@pytest.fixture(params=[pytest.param("module", marks=pytest.mark.guest_core), "patch"])
def proofs(request: pytest.FixtureRequest) -> Proofs:
    """The same program and the same answers, whichever way the kernel came by the hook."""
    found: Proofs = request.getfixturevalue(f"of_the_{request.param}")
    return found


@pytest.mark.guest
class TestAnswersDecide:
    """A memcg OOM among small (10 MiB), big (30 MiB) and who asks (up to 22 MiB); then the whole machine.

    One victim is enough, but the kernel may kill a second one before the memory of the first is back; the first counts.
    """

    @pytest.mark.parametrize(
        ("proof", "victim", "points"),
        [
            ("score", "small", 10**9),
            ("score 0", "big", 0),
            ("preselected", "small", POINTS_PRESELECTED - 7),
            ("sysrq", "small", 1 << 40),
        ],
    )
    def test_a_score_is_what_the_kernel_compares(self, proofs: Proofs, proof: str, victim: str, points: int) -> None:
        assert proofs[proof]["victims"][0] == victim
        assert proofs[proof]["events"][0]["chosen_points"] == points

    @pytest.mark.parametrize(
        ("proof", "victim", "base", "mib"),
        [
            ("kill", "small", POINTS_KILL, 10),
            ("spare", "asks", 0, 19),
            ("spare all", "big", POINTS_SPARE, 30),
            ("defer", "big", 0, 30),
            ("score 0 loses", "small", 0, 10),
            ("sysrq without", "big", 0, 80),
            ("exhausted", "small", POINTS_KILL, 10),
        ],
    )
    def test_badness_decides_inside_a_band(self, proofs: Proofs, proof: str, victim: str, base: int, mib: int) -> None:
        """The points are the band's base and the victim's own pages, and little more."""
        assert proofs[proof]["victims"][0] == victim
        badness = proofs[proof]["events"][0]["chosen_points"] - base
        assert mib * MIB_PAGES <= badness <= (mib + 4) * MIB_PAGES

    def test_an_event_tells_its_scope(self, proofs: Proofs) -> None:
        memcg, sysrq, machine = (proofs[proof]["events"][0] for proof in ("score", "sysrq", "exhausted"))
        assert (memcg["is_memcg_oom"], memcg["totalpages"], memcg["order"]) == (True, 60 * MIB_PAGES, 0)
        assert (sysrq["is_memcg_oom"], sysrq["order"]) == (False, -1)
        assert (machine["is_memcg_oom"], machine["totalpages"]) == (False, sysrq["totalpages"])

    def test_without_a_program_the_kernel_decides(self, proofs: Proofs) -> None:
        assert proofs["no policy"]["victims"][0] == proofs["unloaded"]["victims"][0] == "big"
        if "asked" in proofs["no policy"]:
            assert proofs["no policy"]["asked"] >= 3
            assert proofs["no policy"]["answered"] == 0


@pytest.mark.guest
class TestWhatStaysTheKernels:
    def test_oom_score_shows_the_kernels_own(self, proofs: Proofs) -> None:
        seen = proofs["oom_score"]
        assert seen["own"] == seen["attached"]
        assert seen["own"][0] > 600
        assert seen["before"] == seen["after"], "reading oom_score asked the policy"

    def test_the_kernel_has_nothing_to_complain_of(self, proofs: Proofs) -> None:
        """The patched kernel has lockdep on, and checks that nobody sleeps where he must not."""
        assert trouble(proofs["log"]) == []
        assert proofs["log"]["tainted"] & ~TAINTED_BY_US == 0


@pytest.mark.guest
@pytest.mark.guest_core
class TestTheModule:
    def test_unkillable_is_never_asked_about(self, of_the_module: Proofs) -> None:
        seen = of_the_module["unkillable never asked"]
        assert seen["victims"][0] == "small"
        # Of four in the memcg one has oom_score_adj -1000; big, the largest by far, it is.
        assert "big" not in seen["victims"]
        asked, events = (seen["after"][name] - seen["before"][name] for name in ("asked", "events"))
        assert 3 <= asked <= 3 * events

    def test_it_says_its_abi_and_takes_no_parameter(self, of_the_module: Proofs) -> None:
        assert of_the_module["loaded"] == {"proof": "loaded", "abi": 1, "events": 0, "asked": 0, "answered": 0}
        assert of_the_module["refuses a parameter"]["insmod"][0] != 0
        assert any("oom_policy: abi: for reading only" in line for line in of_the_module["log"]["lines"])

    def test_it_stays_while_a_program_is_attached(self, of_the_module: Proofs) -> None:
        status, complaint = of_the_module["rmmod while attached"]["rmmod"]
        assert (status, "temporarily unavailable" in complaint) == (1, True)

    def test_it_goes_afterwards_and_comes_back(self, of_the_module: Proofs) -> None:
        assert of_the_module["rmmod after"]["rmmod"] == [0, ""]
        assert of_the_module["loaded again"]["events"] == 0


@pytest.mark.guest
def test_under_an_oom_storm_it_comes_and_goes_two_hundred_times() -> None:
    """And so do programs; OOMs go on all the while, before and after."""
    proofs = in_guest("module_storm 200", limit_s=1500)
    for act in ("load and unload", "load and unload inside an OOM", "attach and detach"):
        assert proofs[act]["kills"] > proofs[act]["times"], act
    assert proofs["load and unload"]["times"] == proofs["attach and detach"]["times"] == 200
    assert proofs["log"]["still"] > 0
    assert trouble(proofs["log"]) == []
    assert proofs["log"]["tainted"] == TAINTED_BY_US
    for act, seen in proofs.items():
        if act != "log":
            print(f"{act}: {seen['times']} times in {seen['seconds']} s, {seen['kills']} killed meanwhile")


@pytest.fixture(scope="module")
def beside_neighbours() -> Proofs:
    return in_guest("module_neighbours", modules={"/lib/live_patch.ko": HERE / "live_patch"})


@pytest.mark.guest
@pytest.mark.parametrize("order", ["tracers, module", "module", "module, tracers", "tracers, module again"])
def test_tracers_on_the_same_functions_change_nothing(beside_neighbours: Proofs, order: str) -> None:
    """Entry and return probes, the graph tracer and BPF at both ends: the answers still decide."""
    seen = beside_neighbours[order]
    assert seen["victims"][0] == "small"
    assert seen["seen"]["answered"] > 0
    assert 3 <= seen["seen"]["asked"] <= 3 * seen["seen"]["events"]
    assert beside_neighbours["only tracers"]["victims"][0] == "big"
    assert all(beside_neighbours["trace"]["seen"][name] for name in ("oom_badness", "out_of_memory"))


@pytest.mark.guest
def test_a_live_patch_is_respected_and_kept_out(beside_neighbours: Proofs) -> None:
    refused, patched = beside_neighbours["live patch before"], beside_neighbours["live patch after"]
    assert "busy" in refused["insmod"][1]
    assert "oom_policy: oom_badness: held by a live patch" in refused["log"][-1]
    assert "busy" in patched["insmod"][1]
    assert beside_neighbours["live patch alone"]["insmod"] == [0, ""]
    assert beside_neighbours["live patch gone"]["asked"] > 0


@pytest.mark.guest
def test_no_sysctl_switches_a_policy_off_behind_its_back(beside_neighbours: Proofs) -> None:
    refused = beside_neighbours["ftrace off"]
    assert "busy" in refused["insmod"][1]
    assert "kernel.ftrace_enabled" in refused["log"][-1]
    assert "busy" in beside_neighbours["ftrace cannot be switched off"]["error"]


@pytest.mark.guest
def test_the_neighbours_leave_no_trouble(beside_neighbours: Proofs) -> None:
    assert trouble(beside_neighbours["log"]) == []
    assert beside_neighbours["log"]["tainted"] == TAINTED_BY_US | TAINTED_BY_LIVE_PATCH


@pytest.mark.guest
def test_without_btf_it_says_why_not(tmp_path: Path) -> None:
    """Somebody built it without pahole, or stripped it of more than debug information: nothing could ever attach."""
    try:
        built = module(kernel("6.12").release)
    except LabError as error:
        pytest.skip(f"no module here: {error}")
    bare = tmp_path / "oom_policy.ko"
    subprocess.run(["objcopy", "--remove-section", ".BTF", str(built), str(bare)], check=True)
    seen = in_guest("module_refused", files={"/lib/oom_policy.ko": bare})["refused"]
    assert "invalid module format" in seen["insmod"][1]
    assert "oom_policy: built or packaged without BTF" in seen["log"][-1]


@pytest.mark.guest
def test_on_6_1_it_says_why_not() -> None:
    """The build names the function that is missing; a module of another kernel is refused by the kernel itself."""
    try:
        release = kernel("6.1").release
    except LabError as error:
        pytest.skip(f"no kernel 6.1 here: {error}")
    with pytest.raises(DoesNotBuildError, match=r"register_btf_fmodret_id_set\(\).* needs 6\.3 or newer"):
        module(release)
    seen = in_guest("module_refused", "6.1")["refused"]
    assert seen["insmod"][0] != 0
    assert "oom_policy: disagrees about version of symbol" in seen["log"][-1]
