"""Every key of [[assign]], as written in a file, on a real process in a cgroup that is named as systemd names it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from oompolicy.assign import assigned
from oompolicy.config import load_config
from oompolicy.contained_oom import scene
from oompolicy.contained_oom.own_memcg import OwnMemcg, make_memcg, remove_tree
from oompolicy.errors import OompolicyError
from oompolicy.snapshot import Snapshot
from oompolicy.sources.live import live_snapshot

pytestmark = pytest.mark.root

NOBODY = 65534


@dataclass(frozen=True)
class Real:
    """The process, and where it is: SLICE/db@main.service/worker."""

    pid: int
    slice: OwnMemcg
    program: Path
    now: Snapshot


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Real]:
    try:
        hierarchy = scene.memory_hierarchy()
        name = f"oompolicytest{os.getpid()}.slice"
        made = make_memcg(hierarchy.directory, hierarchy.version == "v1", name)
    except OompolicyError as error:
        pytest.skip(f"no memcg of our own here: {error}")
    folder = tmp_path_factory.mktemp("programs")
    program = folder / "my-sleep"
    shutil.copy("/bin/sleep", program)
    for each in (folder, folder.parent, folder.parent.parent):
        each.chmod(each.stat().st_mode | 0o011)
    try:
        worker = made.child("db@main.service").child("worker")
        command = ["setpriv", f"--reuid={NOBODY}", "--clear-groups", str(program), "4242"]
        with subprocess.Popen(command, env={"ROLE": "batch one", "EMPTY": ""}) as process:
            try:
                worker.add(process.pid)
                while os.readlink(f"/proc/{process.pid}/exe") != str(program):
                    assert process.poll() is None
                now = live_snapshot()
                now = replace(now, kernel=replace(now.kernel, tasks=(now.task(process.pid),)))
                yield Real(process.pid, made, program, now)
            finally:
                process.kill()
    finally:
        remove_tree(made.path)


def value(real: Real, folder: Path, *rows: str) -> tuple[int | None, int | None]:
    """The process's own value, and its cgroup's, under these rows."""
    path = folder / "oompolicy.toml"
    path.write_text("".join(f"[[assign]]\n{row}\n" for row in rows))
    task = assigned(real.now, load_config(path).assign).task(real.pid)
    assert task.memcg is not None
    return task.value, task.memcg.nearest_value


@pytest.mark.parametrize(
    ("key", "matches", "does_not"),
    [
        ("comm", '"my-s*"', '"sleep"'),
        ("uid", str(NOBODY), "0"),
        ("exe", '"*/my-sleep"', '"/bin/sleep"'),
        ("cmdline", '"*/my-sleep 4242"', '"*4243*"'),
        ("environment", '"ROLE=batch*"', '"ROLE=batch"'),
        ("environment", '"EMPTY="', '"ROLE"'),
    ],
)
def test_a_row_on_the_process_gives_it_the_value(
    real: Real, trusted_folder: Path, key: str, matches: str, does_not: str
) -> None:
    assert value(real, trusted_folder, f"{key} = {matches}\nvalue = 7") == (7, None)
    assert value(real, trusted_folder, f"{key} = {does_not}\nvalue = 7") == (None, None)


@pytest.mark.parametrize(
    ("key", "matches", "does_not"),
    [
        ("cgroup", '"/oompolicytest*.slice/db@*.service"', '"/oompolicytest*.slice/other.service"'),
        ("unit", '"db@*.service"', '"worker"'),
        ("unit", '"oompolicytest*.slice"', '"db.service"'),
    ],
)
def test_a_row_on_cgroup_or_unit_gives_the_cgroup_the_value(
    real: Real, trusted_folder: Path, key: str, matches: str, does_not: str
) -> None:
    assert value(real, trusted_folder, f"{key} = {matches}\nvalue = 7") == (None, 7)
    assert value(real, trusted_folder, f"{key} = {does_not}\nvalue = 7") == (None, None)


def test_all_keys_of_a_row_must_match(real: Real, trusted_folder: Path) -> None:
    row = (
        'cgroup = "*/worker"\nunit = "db@main.service"\ncomm = "my-sleep"\nuid = 65534\nexe = "*/my-sleep"\n'
        'cmdline = "* 4242"\nenvironment = "ROLE=*"\nvalue = -3'
    )
    assert value(real, trusted_folder, row) == (-3, None)
    for key in ("cgroup", "unit", "comm", "exe", "cmdline", "environment"):
        wrong = "\n".join(f'{key} = "no"' if line.startswith(key) else line for line in row.splitlines())
        assert value(real, trusted_folder, wrong) == (None, None), key


def test_a_process_s_own_value_and_its_cgroup_s_stand_side_by_side(real: Real, trusted_folder: Path) -> None:
    rows = ('unit = "db@main.service"\nvalue = 1', 'exe = "*/my-sleep"\nvalue = 2', "uid = 65534\nvalue = 3")
    assert value(real, trusted_folder, *rows) == (3, 1)
