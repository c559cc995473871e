"""`oompolicy import`: what it prints and writes, and that it writes all or nothing."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest

from importing.loaded import FIXTURES
from oompolicy.config import load_config
from oompolicy.errors import OompolicyError
from oompolicy.importing.imported import Imported, PolicyFile
from oompolicy.rule_file import armed_rules
from oompolicy.rules.rule import Kill

from conftest import Run


@pytest.mark.parametrize(
    ("file", "tool", "rules"),
    [
        ("oomd.json", "oomd", 6),
        ("earlyoom.default", "earlyoom", 2),
        ("nohang.conf", "nohang", 2),
        ("nohang-desktop.conf", "nohang", 5),
    ],
)
def test_the_tool_is_recognised_by_content(run_command: Run, file: str, tool: str, rules: int) -> None:
    done = run_command("import", FIXTURES / file, "--json")
    assert done.status == 0
    said = json.loads(done.out)
    assert (said["tool"], len(said["rules"])) == (tool, rules)
    assert said["config"].count("[[rule]]") == rules
    assert all(one.keys() == {"what", "why", "place"} for one in said["left_out"])


def test_printed_it_is_the_configuration_alone(run_command: Run, trusted_folder: Path) -> None:
    done = run_command("import", "--earlyoom", "earlyoom -m 7 --prefer '^java$'")
    assert "earlyoom.py: -o FOLDER writes them beside it" in done.err
    (trusted_folder / "oompolicy.toml").write_text(done.out)
    assert [rule.name for rule in load_config(trusted_folder / "oompolicy.toml").rules] == [
        "earlyoom-sigkill",
        "earlyoom-sigterm",
    ]
    assert "# argument 1: -m 7" in done.out


def test_written_with_its_policy_beside_it(run_command: Run, trusted_folder: Path) -> None:
    done = run_command("import", FIXTURES / "nohang-desktop.conf", "-o", trusted_folder / "new")
    assert done.status == 0, done.err
    assert sorted(path.name for path in (trusted_folder / "new").iterdir()) == ["nohang.py", "oompolicy.toml"]
    config = load_config(trusted_folder / "new" / "oompolicy.toml")
    kills = [rule for rule in config.rules if rule.action is Kill.PROCESS]
    assert {rule.policy for rule in kills} == {str(trusted_folder / "new" / "nohang.py")}
    assert len(kills) == 4
    assert "WHY NOT, OR NOT QUITE" in done.out
    checked = run_command("check", trusted_folder / "new" / "nohang.py")
    assert checked.status == 0, checked.err


@pytest.mark.parametrize(
    "path",
    [
        "/etc/oomd/oomd.json",
        "/etc/default/earlyoom",
        "/etc/nohang/nohang.conf",
        "/etc/nohang/nohang-desktop.conf",
        "/usr/lib/systemd/oomd.conf.d",
    ],
)
def test_what_a_package_has_installed_comes_out_as_a_configuration_that_loads(
    run_command: Run, path: str, trusted_folder: Path
) -> None:
    if not Path(path).exists():
        pytest.skip(f"{path} is not there: its package is not installed")
    # Of systemd all files together say who is watched.
    done = run_command("import", "/usr/lib/systemd" if "systemd" in path else path, "-o", trusted_folder / "new")
    assert done.status == 0, done.err
    config = load_config(trusted_folder / "new" / "oompolicy.toml")
    assert armed_rules(config.rules)
    assert not any(rule.is_dry_run for rule in config.rules)


def test_what_is_there_stays_unless_forced(run_command: Run, tmp_path: Path) -> None:
    (tmp_path / "earlyoom.py").write_text("mine")
    refused = run_command("import", "--earlyoom", "--prefer '^java$'", "-o", tmp_path)
    assert refused.status == 1
    assert refused.err == (
        f"oompolicy: {tmp_path}/earlyoom.py: is there already: write over it with --force, or name another folder\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["earlyoom.py"]
    assert (tmp_path / "earlyoom.py").read_text() == "mine"
    assert run_command("import", "--earlyoom", "--prefer '^java$'", "-o", tmp_path, "--force").status == 0
    assert "PREFERRED" in (tmp_path / "earlyoom.py").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["earlyoom.py", "oompolicy.toml"]


def test_a_folder_of_systemd(run_command: Run, tmp_path: Path) -> None:
    units = tmp_path / "systemd" / "system"
    (units / "batch.slice.d").mkdir(parents=True)
    (units / "batch.slice.d" / "oom.conf").write_text("[Slice]\nManagedOOMSwap=kill\n")
    (units / "other.service").write_text("[Service]\nnonsense that nobody asks about\n")
    (units / "wants.conf").mkdir()
    done = run_command("import", tmp_path / "systemd")
    assert done.status == 0, done.err
    assert 'among = ["/batch.slice", "/batch.slice/**"]' in done.out
    assert f"{units}/batch.slice.d/oom.conf:2:" in done.out


def test_broken_input_is_shown_and_nothing_is_written(run_command: Run, tmp_path: Path) -> None:
    (tmp_path / "oomd.json").write_text('{"rulesets": [\n  {"name": oops}\n]}')
    done = run_command("import", tmp_path / "oomd.json", "-o", tmp_path / "new")
    assert (done.status, done.out) == (1, "")
    assert done.err == (
        f'oompolicy: {tmp_path}/oomd.json:2:12: is not JSON: expected a value\n    {{"name": oops}}\n             ^\n'
    )
    assert not (tmp_path / "new").exists()


def test_what_cannot_be_written_leaves_nothing_behind(run_command: Run, tmp_path: Path) -> None:
    (tmp_path / "oompolicy.toml").mkdir()
    done = run_command("import", "--earlyoom", "--prefer '^java$'", "-o", tmp_path, "--force")
    assert done.status == 1
    assert "is a folder" in done.err
    assert [path.name for path in tmp_path.iterdir()] == ["oompolicy.toml"]


def test_no_temporary_file_stays_where_the_last_step_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = importlib.import_module("oompolicy.cli.import")

    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OompolicyError, match="No space left"):
        command._write(tmp_path / "new", "", Imported("earlyoom", "x", policies=(PolicyFile("a.py", ""),)), force=False)
    assert list((tmp_path / "new").iterdir()) == []


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"hello", "is not recognised as a configuration of oomd, nohang, earlyoom, systemd-oomd"),
        (b'{"rulesets": []}\n\xff', "is not UTF-8 text"),
        (b"x" * ((1 << 20) + 1), "is larger than 1 MiB"),
        (None, "cannot be read: No such file or directory"),
    ],
)
def test_what_cannot_be_read(run_command: Run, tmp_path: Path, content: bytes | None, why: str) -> None:
    if content is not None:
        (tmp_path / "file").write_bytes(content)
    done = run_command("import", tmp_path / "file")
    assert done.status == 1
    assert why in done.err


def test_wrong_usage(run_command: Run, tmp_path: Path) -> None:
    assert run_command("import").status == 2
    assert run_command("import", tmp_path, "--earlyoom", "-m 5").status == 2
    assert run_command("import", FIXTURES / "oomd.json", "--from", "elsewhere").status == 2
    two = run_command("import", FIXTURES / "oomd.json", FIXTURES / "nohang.conf")
    assert (two.status, "name one file" in two.err) == (1, True)
