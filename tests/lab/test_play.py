"""What is carried into a guest: policies of each form, a kernel's modules; kernels by name."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from oompolicy.config import AssignRow, load_config
from oompolicy.errors import OompolicyError

from lab import LabError
from lab.inside.force import configuration
from lab.kernels import Kernel, kernel, with_modules
from lab.play import carried_policy
from lab.world import Round, World


def test_a_built_in_policy_goes_by_its_name(tmp_path: Path) -> None:
    assert carried_policy("memcg_priority", tmp_path, 1) == ("memcg_priority", None)
    assert carried_policy(None, tmp_path, 1) == (None, None)


def test_a_policy_file_is_named_from_the_scenarios_folder_and_carried_in(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("# a policy")
    assert carried_policy("mine.py", tmp_path, 3) == ("/lab/policies/3/mine.py", b"# a policy")
    assert carried_policy("./mine.py:two", tmp_path, 3) == ("/lab/policies/3/mine.py:two", b"# a policy")
    assert carried_policy(str(tmp_path / "mine.py"), Path("/nowhere"), 1)[1] == b"# a policy"


def test_a_policy_of_several_lines_is_its_own_source(tmp_path: Path) -> None:
    assert carried_policy("one\ntwo\n", tmp_path, 2) == ("/lab/policies/2/inline.py", b"one\ntwo\n")


def test_a_policy_file_that_is_not_there_is_said_before_anything_boots(tmp_path: Path) -> None:
    with pytest.raises(OompolicyError, match=r"none\.py: cannot be read .*: name it from the scenario"):
        carried_policy("none.py", tmp_path, 1)


def test_what_the_guests_daemon_is_told_is_what_the_round_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    world = World(assign=[AssignRow(7, cgroup='/a"b'), AssignRow(-3, comm="x", uid=0)])
    said = Round(policy="protect", backend="oom_score_adj", params={"COMMS": ["a", "b"], "N": 3})
    path = tmp_path / "oompolicy.toml"
    path.write_text(configuration(world, said))
    assert tomllib.loads(path.read_text())["assign"] == [
        {"value": 7, "cgroup": '/a"b'},
        {"value": -3, "comm": "x", "uid": 0},
    ]
    config = load_config(path)
    assert (config.policy, config.backend) == ("protect", "oom_score_adj")
    assert config.params == (("COMMS", ("a", "b")), ("N", 3))


def test_the_hook_is_a_module_only_for_kernels_that_are_not_built_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lab.module_build.module", lambda release, cache: cache / f"{release}.ko")
    debians = Kernel("9.9", tmp_path / "vmlinuz", root=tmp_path)
    assert with_modules(debians, ["none", "hook"], tmp_path).modules == (tmp_path / "9.9.ko",)
    assert with_modules(debians, ["none", "oom_score_adj"], tmp_path) == debians
    patched = Kernel("patched", tmp_path / "vmlinuz")
    assert with_modules(patched, ["hook"], tmp_path) == patched


def test_an_image_and_what_is_none() -> None:
    with pytest.raises(LabError, match=r"no such kernel image: name a vmlinuz, or one of 6\.12, 6\.1, patched"):
        kernel("./none/bzImage")
    with pytest.raises(
        LabError, match=r"kernel stock: unknown: name one of 6\.12, 6\.1, patched, another series, or \./a/vmlinuz"
    ):
        kernel("stock")
