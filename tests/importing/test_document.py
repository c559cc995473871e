"""docs/coming-from.md has a word on all that an import knows."""

from __future__ import annotations

from pathlib import Path

import pytest

from oompolicy.importing import earlyoom, oomd_actions, oomd_detectors, systemd_oomd

DOCUMENT = (Path(__file__).parents[2] / "docs" / "coming-from.md").read_text()
SAME = {"--help": "-h", "--debug": "-d"}


@pytest.mark.parametrize("name", [*oomd_detectors.DETECTORS, *oomd_actions.KILLS])
def test_every_plugin_of_oomd(name: str) -> None:
    assert f"`{name}`" in DOCUMENT


@pytest.mark.parametrize(
    "name", sorted({*earlyoom.LONG_OPTIONS, *earlyoom.NO_EQUIVALENT, "-m", "-M", "-s", "-S", "-N"})
)
def test_every_option_of_earlyoom(name: str) -> None:
    assert f"`{SAME.get(name, name)}" in DOCUMENT


@pytest.mark.parametrize("name", sorted(systemd_oomd.UNIT_KEYS))
def test_every_property_of_a_unit(name: str) -> None:
    shortened = name.replace("ManagedOOMMemoryPressure", "…") if name.endswith(("Limit", "Sec")) else name
    assert f"`{shortened}=" in DOCUMENT
