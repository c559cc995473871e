"""The daemon with compiled policies: swapped, shadowed, killed, refused. Runs in a guest, as root.

Belongs here: acts and what was seen, one line of JSON a proof. Must not know: what is right; test_hook_compiled.py
judges. Usage: hook_daemon_compiled.py [patched]
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from guest.hook_daemon import CONFIG, LOG, OOMPOLICY, oompolicy
from guest.hook_proofs import run_out, small_in_batch, tell
from guest.hook_stage import Tree
from guest.oom_stage import CGROUPS, cannot_be_chosen, load, log, tainted, wait
from oompolicy.backends.hook import pins

TTL_S = 2.0
KILLS_SMALL = """from oompolicy import DEFER, KILL, OomControl, Task, Verdict, policy


@policy
def kills_small(task: Task, oc: OomControl) -> int | Verdict:
    return KILL if task.comm == "small" else DEFER
"""
SORTS = """from oompolicy import DEFER, KILL, OomControl, Task, Verdict, policy


@policy
def sorts(task: Task, oc: OomControl) -> int | Verdict:
    return KILL if sorted([task.comm, "smalk"])[1] == "small" else DEFER
"""
SCORES = """from oompolicy import DEFER, KILL, OomControl, Scene, Task, Verdict, policy


@policy
def smallest_of_two(task: Task, oc: OomControl) -> int | Verdict:
    return KILL if task.value == 1 else DEFER


@smallest_of_two.scorer
def ranks(scene: Scene):
    two = sorted((task for task in scene.tasks if task.comm in ("small", "big")), key=lambda task: task.rss)
    return [(task, rank) for rank, task in enumerate(two, start=1)]
"""


def start(policy: str, *options: str, until: str = "in 2 of 2 scopes") -> subprocess.Popen[bytes]:
    """A daemon whose first look is over when this returns."""
    LOG.write_text("")
    CONFIG.write_text(f'policy = "{policy}"\nttl_ms = {TTL_S * 1000:.0f}\ninterval_ms = 500\n')
    CONFIG.chmod(0o644)
    with LOG.open("wb") as out:
        daemon = subprocess.Popen(
            [*OOMPOLICY, "run", "--backend", "hook", "--config", str(CONFIG), *options], stderr=out
        )
    wait(lambda: until in LOG.read_text() or daemon.poll() is not None, 60)
    return daemon


def said() -> list[str]:
    return LOG.read_text().splitlines()


def stop(daemon: subprocess.Popen[bytes]) -> list[str]:
    daemon.send_signal(signal.SIGTERM)
    daemon.wait()
    return said()


def shadowed_and_swapped() -> None:
    """One OOM under the first policy, with shadows; a reload; one OOM under the second; another daemon, a third."""
    with Tree(60) as tree:
        small_in_batch(tree)
        daemon = start("memcg_priority", "--shadow", "largest_memcg", "--shadow", "kernel_default")
        got = [oompolicy("get", f"/{tree.path.relative_to(CGROUPS)}/batch", "--json"), oompolicy("doctor")]
        victims = run_out(tree)
        wait(lambda: "OOM in" in LOG.read_text())
        tell("shadowed daemon", said=said(), victims=victims, got=got, pins=shadow_pins())
    with Tree(60) as tree:
        small_in_batch(tree)
        CONFIG.write_text(CONFIG.read_text().replace("memcg_priority", "kernel_default"))
        daemon.send_signal(signal.SIGHUP)
        wait(lambda: "policy kernel_default (" in LOG.read_text())
        time.sleep(0.5)
        victims = run_out(tree)
        wait(lambda: any("OOM in" in line and "policy kernel_default (" in line for line in said()))
        tell("swapped by a reload", said=said(), victims=victims)
    with Tree(60) as tree:
        small_in_batch(tree)
        before = [path.name for path in pins.sets()]
        daemon.kill()
        daemon.wait()
        adopter = start("memcg_priority")
        sets = [before, [path.name for path in pins.sets()]]
        victims, shadows = run_out(tree), shadow_pins()
        tell("adopted", sets=sets, victims=victims, shadows=shadows, said=stop(adopter), left=pins.FOLDER.exists())


def shadow_pins() -> int:
    return len([name for path in pins.sets() for name in os.listdir(path) if name.startswith("shadow-")])


def killed(name: str, policy: str) -> None:
    """kill -9, longer than the time to live, an OOM; the next daemon tells of it."""
    with Tree(60) as tree:
        small_in_batch(tree)
        daemon = start(policy)
        daemon.kill()
        daemon.wait()
        time.sleep(TTL_S + 0.5)
        victims = run_out(tree)
        doctor = oompolicy("doctor")
        adopter = start(policy)
        wait(lambda: "OOM in" in LOG.read_text())
        tell(name, victims=victims, said=stop(adopter), doctor=doctor, left=pins.FOLDER.exists())


def does_not_compile() -> None:
    with Tree(60) as tree:
        small_in_batch(tree)
        daemon = start("/run/sorts.py")
        victims = run_out(tree)
        told = stop(daemon)
        daemon = start("/run/sorts.py", "--compiled", until="sorts.py:")
        tell("does not compile", victims=victims, said=told, refused=stop(daemon))


def scored() -> None:
    """What the kernel cannot do, a sort, in user space; its result is a value that the compiled policy reads."""
    with Tree(60) as tree:
        small_in_batch(tree)
        daemon = start("/run/scores.py", "--compiled")
        victims = run_out(tree)
        wait(lambda: "OOM in" in LOG.read_text())
        tell("scored", victims=victims, said=stop(daemon))


def main() -> None:
    cannot_be_chosen()
    os.setxattr(CGROUPS, "user.oompolicy.value", b"1000")
    Path("/run/kills_small.py").write_text(KILLS_SMALL)
    Path("/run/sorts.py").write_text(SORTS)
    Path("/run/scores.py").write_text(SCORES)
    for path in ("/run/kills_small.py", "/run/sorts.py", "/run/scores.py"):
        Path(path).chmod(0o644)
    if "patched" not in sys.argv:
        load()
    shadowed_and_swapped()
    killed("killed, with values", "memcg_priority")
    killed("killed, no values", "/run/kills_small.py")
    does_not_compile()
    scored()
    tell("log", tainted=tainted(), lines=log().splitlines())


if __name__ == "__main__":
    main()
