"""What DKMS and a kernel tree get: one version, one header, and no kernel that cannot carry it."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KERNEL = ROOT / "kernel"


def dkms(variable: str) -> str:
    """A variable of dkms.conf, as DKMS reads it."""
    script = f'. "{KERNEL}/dkms.conf"; printf %s "${{{variable}}}"'
    return subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout


def test_module_dkms_and_project_have_one_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert dkms("PACKAGE_VERSION") == version
    assert f'MODULE_VERSION("{version}")' in (KERNEL / "oom_policy.c").read_text()
    assert f"oompolicy-{version}" in (KERNEL / "README.md").read_text()


@pytest.mark.parametrize(
    ("release", "carries"),
    [
        ("6.1.0-56-amd64", False),
        ("6.2.0-39-generic", False),
        ("5.15.0-91-generic", False),
        ("6.3.0-1-amd64", True),
        ("6.12.117+deb12-cloud-amd64", True),
        ("6.8.0-45-generic", True),
        ("7.0.1", True),
    ],
)
def test_dkms_builds_from_6_3_on_and_leaves_others_alone(release: str, carries: bool) -> None:
    assert (re.search(dkms("BUILD_EXCLUSIVE_KERNEL"), release) is not None) == carries


def test_the_patch_carries_the_same_header() -> None:
    """One encoding: what a program answers means the same to the module and to a patched kernel."""
    (patch,) = (KERNEL / "patches").glob("0001-*.patch")
    (added,) = re.findall(
        r"(?ms)^\+\+\+ b/include/linux/oom_policy\.h\n@@ [^\n]*\n(.*?)(?=^diff |^-- $)", patch.read_text()
    )
    assert re.sub(r"(?m)^\+", "", added) == (KERNEL / "oom_policy.h").read_text()
