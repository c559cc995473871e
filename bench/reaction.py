"""How long from the crossing of a threshold to the signal: ours and earlyoom's, one after the other in each round.

Belongs here: a process that fills memory and notes when it is asked to stop, one that watches MemAvailable, starting
each daemon. Must not know: what a daemon does. Bound: a median of 30 ms.

Run it as root: `python bench/reaction.py [ROUNDS [PROCESSES...]]`. What fills memory does it in a memcg of our own with
a limit, has oom_score_adj 1000, and is asked by SIGTERM. Each daemon's threshold is a little below what is available.

The crossing is the first moment at which /proc/meminfo shows it, to somebody who does nothing else than look.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import select
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))  # for bench itself, as the tests have it

from bench.snapshot import sleeping_processes

from oompolicy.contained_oom.janitor import Janitor
from oompolicy.contained_oom.own_memcg import OwnMemcg, make_memcg
from oompolicy.contained_oom.scene import memory_hierarchy
from oompolicy.daemon import start
from oompolicy.daemon.settings import Settings
from oompolicy.rules.rule import Rule

BOUND_MS = 30.0
HEADROOM_MIB, FILLS_MIB, MIB_PER_S = 150, 400, 200
SETTLE_S, GIVE_UP_S = 1.0, 8.0


def available_kib() -> int:
    """MemAvailable."""
    return int(Path("/proc/meminfo").read_bytes().split(b"MemAvailable:")[1].split(None, 1)[0])


def become(threshold_kib: int, scope: str, state: Path) -> None:
    """In a child: become our daemon with one rule; it may take whom it finds in the scope."""
    rule = Rule("low", f"mem_available_mib <= {threshold_kib / 1024}", scope=(scope,), grace_ms=5_000)
    start.exec_daemon(Settings("kill", state_dir=state, rules=(rule,), command=(sys.executable,)))


def fill(memcg: OwnMemcg, told: int) -> None:
    """In a child: take memory at a steady pace; when asked to stop, tell when that was, and end."""
    signal.signal(signal.SIGTERM, lambda *_: None)
    memcg.add(os.getpid())
    Path("/proc/self/oom_score_adj").write_text("1000")
    os.set_blocking(told, False)
    wakeup, ring = os.pipe()
    os.set_blocking(ring, False)
    signal.set_wakeup_fd(ring)
    area = mmap.mmap(-1, FILLS_MIB << 20)
    began = time.monotonic()
    for mib in range(FILLS_MIB):
        for page in range(mib << 20, (mib + 1) << 20, mmap.PAGESIZE):
            area[page] = 1
        wait_s = max(began + mib / MIB_PER_S - time.monotonic(), 0)
        if select.select([wakeup], [], [], wait_s)[0]:
            os.write(told, str(time.monotonic_ns()).encode())
            return
    if select.select([wakeup], [], [], GIVE_UP_S)[0]:
        os.write(told, str(time.monotonic_ns()).encode())


def watch(threshold_kib: int, told: int) -> None:
    """In a child: tell when the threshold is crossed."""
    file = os.open("/proc/meminfo", os.O_RDONLY)
    end = time.monotonic() + GIVE_UP_S
    while time.monotonic() < end:
        if int(os.pread(file, 512, 0).split(b"MemAvailable:")[1].split(None, 1)[0]) <= threshold_kib:
            os.write(told, str(time.monotonic_ns()).encode())
            return
        time.sleep(0.0005)


@contextlib.contextmanager
def child(work: Callable[[int], None]) -> Iterator[int]:
    """A child that does it, with a pipe to tell by; the other end."""
    told, tells = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            work(tells)
        finally:
            os._exit(0)
    os.close(tells)
    try:
        yield told
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(told)


def reaction_ms(command: Callable[[int], list[str]], memcg: OwnMemcg) -> float | None:
    """One round: a daemon with a threshold a little below what there is, and memory filled; None: no signal came."""
    threshold_kib = available_kib() - HEADROOM_MIB * 1024
    daemon = subprocess.Popen(command(threshold_kib), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        time.sleep(SETTLE_S)
        with (
            child(lambda told: watch(threshold_kib, told)) as crossed,
            child(lambda told: fill(memcg, told)) as signalled,
        ):
            # read() gives nothing where the child has ended without a word
            crossed_ns, signalled_ns = os.read(crossed, 32), os.read(signalled, 32)
            return (int(signalled_ns) - int(crossed_ns)) / 1e6 if crossed_ns and signalled_ns else None
    finally:
        daemon.terminate()
        daemon.wait()


def contenders(memcg: OwnMemcg, state: Path) -> dict[str, Callable[[int], list[str]]]:
    """How each is started for a threshold in KiB."""
    ours = [sys.executable, __file__, "--become"]
    found: dict[str, Callable[[int], list[str]]] = {
        "oompolicy": lambda kib: [*ours, str(kib), memcg.scope, str(state)],
    }
    if earlyoom := shutil.which("earlyoom"):
        found["earlyoom"] = lambda kib: [earlyoom, "-M", f"{kib},{kib // 2}", "-s", "100", "-r", "0"]
    return found


def main(rounds: int = 11, *counts: int) -> int:
    """Print a line for each; status 1 where ours is over the bound."""
    hierarchy, status = memory_hierarchy(), 0
    memcg = make_memcg(hierarchy.directory, hierarchy.version == "v1", f"oompolicy-bench-{os.getpid()}")
    with Janitor(memcg.path), tempfile.TemporaryDirectory() as state:
        memcg.limit(FILLS_MIB + 100)
        ways = contenders(memcg, Path(state))
        for count in counts or (300, 2000):
            with sleeping_processes(count):
                found: dict[str, list[float | None]] = {name: [] for name in ways}
                for _ in range(rounds):
                    for name, command in ways.items():
                        found[name].append(reaction_ms(command, memcg))
            print(f"{count} processes, {rounds} rounds, memory falls by {MIB_PER_S} MiB/s")
            base = None
            for name, each in found.items():
                known = [one for one in each if one is not None]
                if not known:
                    print(f"  {name:<10} no signal at all")
                    status |= name == "oompolicy"
                    continue
                median = statistics.median(known)
                base = base or median
                print(
                    f"  {name:<10} median {median:6.1f} ms ({median / base:4.1f}x), {min(known):.1f} to "
                    f"{max(known):.1f}" + (f", {len(each) - len(known)} times none" if len(known) < len(each) else "")
                )
                if name == "oompolicy" and median > BOUND_MS:
                    print(f"  over the bound ({BOUND_MS:g} ms)")
                    status = 1
    return status


if __name__ == "__main__":
    if sys.argv[1:2] == ["--become"]:
        become(int(sys.argv[2]), sys.argv[3], Path(sys.argv[4]))
    sys.exit(main(*map(int, sys.argv[1:])))
