"""The unit file: as hardened as it says, and it starts what there is."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

UNIT = Path(__file__).parent.parent / "packaging" / "oompolicy.service"
DOCUMENT = Path(__file__).parent.parent / "docs" / "service.md"
EXPOSURE_BELOW = 3.0


def settings() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in UNIT.read_text().splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


needs_systemd_analyze = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)


@needs_systemd_analyze
def test_systemd_finds_nothing_wrong_with_it(tmp_path: Path) -> None:
    """Unknown settings, wrong values, bad names of capabilities and system calls; the command itself is not here."""
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace("/usr/bin/oompolicy", sys.executable))
    done = subprocess.run(["systemd-analyze", "verify", str(copy)], capture_output=True, text=True, check=False)
    about_it = [line for line in done.stderr.splitlines() if UNIT.name in line]
    assert (done.returncode, about_it) == (0, [])
    copy.write_text(copy.read_text().replace("WatchdogSec=", "WatchdogSecs="))
    wrong = subprocess.run(["systemd-analyze", "verify", str(copy)], capture_output=True, text=True, check=False)
    assert "WatchdogSecs" in wrong.stderr


@needs_systemd_analyze
def test_its_exposure_is_below_three() -> None:
    command = ["systemd-analyze", "security", "--offline=true", str(UNIT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "ignoring" not in done.stderr
    found = re.search(r"Overall exposure level for oompolicy.service: ([\d.]+)", done.stdout)
    assert found is not None, done.stdout + done.stderr
    assert float(found[1]) < EXPOSURE_BELOW


def test_every_capability_is_explained() -> None:
    granted = {name for value in settings()["CapabilityBoundingSet"] for name in value.split()}
    comments = "\n".join(line for line in UNIT.read_text().splitlines() if line.startswith("#"))
    assert granted == set(re.findall(r"CAP_\w+", comments))
    assert granted == set(re.findall(r"CAP_\w+", DOCUMENT.read_text()))


def test_it_stays_when_memory_is_gone_and_the_watchdog_is_fed() -> None:
    found = settings()
    assert found["OOMScoreAdjust"] == ["-1000"]
    assert found["LimitMEMLOCK"] == ["infinity"]
    assert found["Type"] == ["notify"]
    assert "WatchdogSec" in found
