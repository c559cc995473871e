"""Real OOMs in memcgs of our own: they happen, the kernel's log tells of them, and nothing is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from oompolicy.contained_oom import scene
from oompolicy.contained_oom.janitor import Janitor
from oompolicy.contained_oom.own_memcg import OwnMemcg
from oompolicy.errors import OompolicyError
from oompolicy.sources.cgroup_mount import Hierarchy


@pytest.fixture
def hierarchy() -> Hierarchy:
    try:
        return scene.memory_hierarchy()
    except OompolicyError as error:
        pytest.skip(f"no contained OOM here: {error}")


def nothing(before: scene.Scene) -> None:
    pass


@pytest.mark.root
def test_the_kernel_alone_kills_the_big_one_and_logs_it(hierarchy: Hierarchy) -> None:
    with scene.memcg_of_our_own(hierarchy) as memcg:
        ending = scene.play(memcg, nothing)
        assert [worker.name for worker in ending.killed] == [scene.BIG]
        assert not ending.big_got_its_memory
        if ending.records is not None:
            assert f"Killed process {ending.killed[0].pid} ({scene.BIG})".encode() in b"".join(ending.records)
    assert not memcg.path.exists()


@pytest.mark.root
def test_when_the_small_one_dies_the_big_one_gets_its_memory(hierarchy: Hierarchy) -> None:
    with scene.memcg_of_our_own(hierarchy) as memcg:

        def raise_small(before: scene.Scene) -> None:
            Path(f"/proc/{before.small.pid}/oom_score_adj").write_text("999")

        for _ in range(5):
            ending = scene.play(memcg, raise_small)
            if len(ending.killed) == 1:  # not a second kill before the first gave back its memory: see scene.Ending
                break
        assert [worker.name for worker in ending.killed] == [scene.SMALL]
        assert ending.big_got_its_memory


@pytest.mark.root
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_is_left_however_the_demo_dies(hierarchy: Hierarchy, how: signal.Signals) -> None:
    program = (
        "from oompolicy.contained_oom import scene\n"
        "import time\n"
        "with scene.memcg_of_our_own(scene.memory_hierarchy()) as memcg:\n"
        "    def before(stage):\n"
        "        print(memcg.path, stage.big.pid, stage.small.pid, flush=True)\n"
        "        time.sleep(60)\n"
        "    scene.play(memcg, before)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as demo:
        assert demo.stdout is not None
        path, *pids = demo.stdout.readline().split()
        assert Path(path, scene.BIG).is_dir()
        demo.send_signal(how)
        demo.wait()
    deadline = time.monotonic() + 10
    while (Path(path).exists() or any(Path(f"/proc/{pid}").exists() for pid in pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(path).exists()
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_the_janitor_says_what_it_could_not_remove(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "busy").mkdir()
    (tmp_path / "busy/a file").touch()  # not a cgroup: rmdir fails
    monkeypatch.setattr("oompolicy.contained_oom.own_memcg.REMOVE_WITHIN_S", 0.1)
    janitor = Janitor(tmp_path / "busy").__enter__()
    with pytest.raises(OompolicyError, match="could not be removed"):
        janitor.__exit__(None, None, None)


def test_an_unwritable_limit_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(OompolicyError, match=r"memory\.max: cannot write"):
        OwnMemcg(tmp_path / "none", "/none", is_v1=False).limit(1)


def test_without_root_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(OompolicyError, match="needs root"):
        scene.memory_hierarchy()
