"""[X-Oompolicy] in unit files: real files, found and put together as systemd does it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from oompolicy.sources.unit_files import FOLDERS, read_unit_settings

from worlds import machine, memcg

ETC, RUN, LIB = "etc/systemd/system", "run/systemd/system", "usr/lib/systemd/system"


def unit(root: Path, folder: str, name: str, text: str) -> Path:
    path = root / folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def value(number: int | str) -> str:
    return f"[Unit]\nDescription=x\n[X-Oompolicy]\nValue={number}\n[Service]\nExecStart=/bin/true\n"


def value_of(root: Path, name: str) -> int | None:
    found = read_unit_settings(root)
    assert found.notes == ()
    return found.value_of(name)


def test_where_there_is_no_systemd_nobody_has_a_value(tmp_path: Path) -> None:
    found = read_unit_settings(tmp_path)
    assert found.is_empty
    assert found.value_of("db.service") is None


def test_a_unit_has_the_value_of_its_file_and_only_of_that_section(tmp_path: Path) -> None:
    unit(tmp_path, LIB, "db.service", value(-5))
    unit(tmp_path, LIB, "web.service", "[Service]\nValue=7\n[X-Other]\nValue=8\n")
    assert value_of(tmp_path, "db.service") == -5
    assert value_of(tmp_path, "web.service") is None


def test_etc_goes_before_run_and_run_before_lib(tmp_path: Path) -> None:
    unit(tmp_path, LIB, "db.service", value(1))
    assert value_of(tmp_path, "db.service") == 1
    unit(tmp_path, RUN, "db.service", value(2))
    assert value_of(tmp_path, "db.service") == 2
    unit(tmp_path, ETC, "db.service", "[Service]\nExecStart=/bin/true\n")
    assert value_of(tmp_path, "db.service") is None


def test_a_masked_unit_has_none(tmp_path: Path) -> None:
    unit(tmp_path, LIB, "db.service", value(1))
    (tmp_path / ETC).mkdir(parents=True)
    (tmp_path / ETC / "db.service").symlink_to("/dev/null")
    assert value_of(tmp_path, "db.service") is None


def test_drop_ins_come_after_in_the_order_of_their_names_wherever_they_are(tmp_path: Path) -> None:
    unit(tmp_path, LIB, "db.service", value(1))
    unit(tmp_path, ETC, "db.service.d/20-b.conf", value(20))
    unit(tmp_path, LIB, "db.service.d/30-c.conf", value(30))
    assert value_of(tmp_path, "db.service") == 30
    unit(tmp_path, ETC, "db.service.d/30-c.conf", "[Service]\n")  # hides the other of that name
    assert value_of(tmp_path, "db.service") == 20
    unit(tmp_path, RUN, "db.service.d/40-d.conf", value(""))
    assert value_of(tmp_path, "db.service") is None


def test_drop_ins_alone_are_enough_and_other_files_are_none(tmp_path: Path) -> None:
    unit(tmp_path, ETC, "db.service.d/10-a.conf", value(10))
    unit(tmp_path, ETC, "db.service.d/20-b.conf~", value(99))
    assert value_of(tmp_path, "db.service") == 10


def test_instances_go_by_their_template_and_their_own(tmp_path: Path) -> None:
    unit(tmp_path, LIB, "pg@.service", value(5))
    unit(tmp_path, ETC, "pg@main.service.d/x.conf", value(6))
    unit(tmp_path, ETC, "pg@.service.d/a.conf", value(7))
    assert value_of(tmp_path, "pg@old.service") == 7
    assert value_of(tmp_path, "pg@main.service") == 6
    unit(tmp_path, ETC, "pg@own.service", "[Service]\n")  # an instance with a file of its own
    (tmp_path / ETC / "pg@.service.d/a.conf").unlink()
    assert value_of(tmp_path, "pg@own.service") is None


def test_folders_for_many_units_count_less_than_those_for_fewer(tmp_path: Path) -> None:
    unit(tmp_path, ETC, "service.d/50.conf", value(1))
    unit(tmp_path, ETC, "batch-.service.d/50.conf", value(2))
    unit(tmp_path, LIB, "batch-sort-.service.d/50.conf", value(3))
    assert value_of(tmp_path, "other.service") == 1
    assert value_of(tmp_path, "batch-join.service") == 2
    assert value_of(tmp_path, "batch-sort-big.service") == 3
    assert value_of(tmp_path, "batch.slice") is None
    unit(tmp_path, ETC, "service.d/60.conf", value(4))  # another name: in its place by name
    assert value_of(tmp_path, "batch-sort-big.service") == 4


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("Value=high", "the value 'high' is no whole number of 64 bits"),
        ("Value=1.5", "the value '1.5' is no whole number"),
        ("Value=9223372036854775808", "is no whole number of 64 bits"),
        ("Valeu=5", "'Valeu=5' is not understood in [X-Oompolicy]: write Value=NUMBER"),
        ("5", "'5' is not understood"),
    ],
)
def test_what_is_wrong_is_said_with_its_place_and_counts_for_nothing(tmp_path: Path, line: str, said: str) -> None:
    path = unit(tmp_path, ETC, "db.service", f"# one\n[X-Oompolicy]\nValue=3\n{line}\n")
    found = read_unit_settings(tmp_path)
    assert found.value_of("db.service") == 3
    (note,) = found.notes
    assert note.startswith(f"{path}:4: ")
    assert said in note


def test_comments_blanks_and_lines_that_go_on_are_systemd_s(tmp_path: Path) -> None:
    text = "; a\n [X-Oompolicy] \n# Value=1\n  Value = \\\n# between\n  +42  \n\n"
    unit(tmp_path, ETC, "db.service", text)
    assert value_of(tmp_path, "db.service") == 42


def test_what_is_no_plain_file_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / ETC / "folder.service").mkdir(parents=True)
    os.mkfifo(tmp_path / ETC / "fifo.service")
    unit(tmp_path, ETC, "big.service", value(1) + "#" * (1 << 20))
    (tmp_path / ETC / "gone.service").symlink_to("/no/such/file")
    assert read_unit_settings(tmp_path).is_empty


def test_lib_that_is_usr_lib_is_read_once(tmp_path: Path) -> None:
    unit(tmp_path, LIB, "db.service", "[X-Oompolicy]\nValue=x\n")
    (tmp_path / "lib").symlink_to("usr/lib")
    assert len(read_unit_settings(tmp_path).notes) == 1


def test_the_cgroup_of_a_unit_has_its_value_and_one_that_was_set_stays(tmp_path: Path) -> None:
    unit(tmp_path, ETC, "db.service", value(5))
    unit(tmp_path, ETC, "web.service", value(6))
    unit(tmp_path, ETC, "system.slice", value(1))
    world = machine(
        memcg("system.slice", memcg("db.service", memcg("web.service")), memcg("web.service", value=60)),
        memcg("user.slice", memcg("user@7.service", memcg("db.service"))),
    )
    found = read_unit_settings(tmp_path).valued(world)
    assert {memcg.path: memcg.value for memcg in found.kernel.memcgs if memcg.value is not None} == {
        "/system.slice": 1,
        "/system.slice/db.service": 5,
        "/system.slice/web.service": 60,
    }


def test_this_machine_s_own_files_are_read(tmp_path: Path) -> None:
    """Whatever there is here: no traceback, and nobody has written that section yet."""
    read_unit_settings()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here")
def test_systemd_takes_such_a_unit_without_a_word(tmp_path: Path) -> None:
    path = unit(tmp_path, ETC, "oompolicy-try.service", value(-5).replace("ExecStart=/bin/true", "ExecStart=/bin/sh"))
    done = subprocess.run(["systemd-analyze", "verify", str(path)], capture_output=True, text=True, check=False)
    assert "Oompolicy" not in done.stderr, done.stderr


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here")
def test_the_folders_are_systemd_s_own_and_in_its_order() -> None:
    done = subprocess.run(["systemd-analyze", "unit-paths"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"systemd-analyze unit-paths: {done.stderr.strip()}")
    theirs = [path.lstrip("/") for path in done.stdout.split()]
    assert [path for path in FOLDERS if path in theirs] == [path for path in theirs if path in FOLDERS]
    assert set(theirs) <= set(FOLDERS)
