"""Rules act before the kernel must: thrashing, a leak, a fork bomb, a tmpfs that fills, many small processes.

Belongs here: what examples/early.toml must achieve in a guest of 512 MiB with swap, and how far that is from what
happens with nobody. Must not know: how a trial is played (lab/early). The other tools: bench/early.py.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import DoesNotBuildError, LabError
from lab.early.contenders import NONE, OURS
from lab.early.contest import contest, disk, files_for
from lab.early.loads import LOADS
from lab.early.seen import Seen
from lab.early.trace import KERNEL

pytestmark = pytest.mark.guest

Seens = dict[str, Seen]


@pytest.fixture(scope="module")
def image() -> Iterator[Path]:
    if shutil.which("qemu-system-x86_64") is None:
        pytest.skip("no QEMU: apt-get install qemu-system-x86")
    try:
        with disk(files_for([NONE, OURS])) as made:
            yield made
    except DoesNotBuildError:
        raise
    except LabError as error:
        pytest.skip(f"no guest here: {error}")


@pytest.fixture(scope="module")
def ours(image: Path) -> Seens:
    return {seen.load: seen for seen in contest(OURS, tuple(LOADS), image)}


@pytest.fixture(scope="module")
def nobody(image: Path) -> Seens:
    return {seen.load: seen for seen in contest(NONE, tuple(LOADS), image)}


# Of examples/early.toml; which one comes first is a matter of disks and processors.
RULES = ("almost-gone", "forks", "thrashes")


@pytest.mark.parametrize("load", LOADS)
def test_the_rule_fires_and_only_the_load_dies(ours: Seens, load: str) -> None:
    seen = ours[load]
    print("\n".join(seen.said))
    assert seen.problem == ""
    fired = [line for line in seen.said if "killed" in line and "app-load.scope" in line]
    assert any(f"rule {name}:" in line for line in fired for name in RULES)
    assert {comm for comm, _, _ in seen.killed} == {load}
    assert seen.lives == {"database": True, "browser": True, "shell": True, "the watcher": True}
    if load != "bomb":  # where memory has gone before, its hundreds take up to half a minute to end
        assert seen.gone_s is not None


@pytest.mark.parametrize("load", LOADS)
def test_the_kernel_never_had_to(ours: Seens, load: str) -> None:
    assert ours[load].oom_kills == 0
    assert KERNEL not in {by for _, _, by in ours[load].killed}


@pytest.mark.parametrize("load", LOADS)
def test_no_stall_is_long(ours: Seens, load: str) -> None:
    """Measured: 0.3 s to 3.7 s, of which the longest are the time before a rule may say that it thrashes; 13.9 s, too
    long, where the bomb has taken the memory before it is judged (docs/early-kills.md).
    """
    assert ours[load].longest_ms < 8000


@pytest.mark.parametrize("load", ["thrash", "bomb"])
def test_it_hangs_for_less_of_the_time_than_with_nobody(ours: Seens, nobody: Seens, load: str) -> None:
    """Measured: half as long. A single stall is a matter of luck; with nobody there is no end to them."""
    assert nobody[load].gone_s is None
    assert nobody[load].stalled_ms > 10_000
    assert ours[load].stalled_ms < 0.75 * nobody[load].stalled_ms


@pytest.mark.parametrize("load", ["fill", "many"])
def test_with_nobody_the_database_dies(nobody: Seens, load: str) -> None:
    assert not nobody[load].lives["database"]
