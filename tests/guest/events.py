"""What wakes the daemon: the kernel's bell, pressure of cgroups that came later, zram; and nothing else. As root.

Belongs here: acts on a guest and when lines came, one line of JSON a proof. Must not know: what is right, which is for
test_events.py. Usage: events.py bell [patched] (there the kernel has the hook itself), events.py pressure MODULE....
"""

from __future__ import annotations

import mmap
import os
import re
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from guest.hook_daemon import CONFIG, OOMPOLICY
from guest.hook_proofs import run_out, small_in_batch, tell
from guest.hook_stage import Tree
from guest.oom_stage import CGROUPS, cannot_be_chosen, command, load, log, tainted, wait
from oompolicy.sources.zram import ZramReader

STALLS = CGROUPS / "stalls"
RESOURCES = ("memory", "io", "cpu")
KINDS = ("some", "full")


class Heard:
    """Lines of a daemon and of the kernel, each with the time at which it came."""

    def __init__(self, *options: str) -> None:
        command = [*OOMPOLICY, "run", "--config", str(CONFIG), *options]
        self.daemon = subprocess.Popen(command, stderr=subprocess.PIPE)
        assert self.daemon.stderr is not None
        self.lines: list[tuple[float, str]] = []
        self.kills: list[tuple[float, str]] = []
        self._kmsg = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
        os.lseek(self._kmsg, 0, os.SEEK_END)
        self._thread = threading.Thread(target=self._listen, args=(self.daemon.stderr.fileno(),), daemon=True)
        self._thread.start()

    def _listen(self, pipe: int) -> None:
        poll, rest = select.poll(), ""
        poll.register(pipe, select.POLLIN)
        poll.register(self._kmsg, select.POLLIN)
        while True:
            for fd, _ in poll.poll():
                try:
                    text, now_s = os.read(fd, 8192).decode(errors="replace"), time.monotonic()
                except OSError:
                    continue
                if fd == self._kmsg:
                    self.kills += [(now_s, killed) for killed in re.findall(r"Killed process \d+ \(\S+\)", text)]
                    continue
                if not text:
                    return
                *whole, rest = (rest + text).split("\n")
                self.lines += [(now_s, line) for line in whole]

    def until(self, wanted: str, limit_s: float = 60) -> float | None:
        """When a line that matches this came; None where none did."""
        wait(lambda: self._first(wanted) is not None or self.daemon.poll() is not None, limit_s)
        return self._first(wanted)

    def _first(self, wanted: str) -> float | None:
        return next((at for at, line in list(self.lines) if re.search(wanted, line)), None)

    def switches(self) -> int:
        """How often the daemon has gone to sleep."""
        status = Path(f"/proc/{self.daemon.pid}/status").read_text()
        return int(status.split("voluntary_ctxt_switches:")[1].split()[0])

    def slept_through(self, seconds: float) -> int:
        """How often it has woken in so long."""
        before = self.switches()
        time.sleep(seconds)
        return self.switches() - before

    def is_ready(self) -> bool:
        """Does it catch SIGTERM? Then it waits in its loop, or is about to."""
        status = Path(f"/proc/{self.daemon.pid}/status").read_text()
        return bool(int(status.split("SigCgt:")[1].split()[0], 16) >> (signal.SIGTERM - 1) & 1)

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.daemon.pid}/fd"))

    def stop(self) -> list[str]:
        self.daemon.terminate()
        self.daemon.wait()
        self._thread.join(5)
        return [line for _, line in self.lines]


def configured(text: str) -> None:
    CONFIG.write_text(text)
    CONFIG.chmod(0o644)


def the_bell() -> None:
    """Its interval is an hour: between the kernel's word and the daemon's there is only the bell."""
    configured('policy = "memcg_priority"\ninterval_ms = 3600000\n')
    heard = Heard("--backend", "hook")
    heard.until("the whole order holds")
    time.sleep(2)
    idle = heard.slept_through(5)
    for _ in range(3):
        with Tree(60) as tree:
            small_in_batch(tree)
            run_out(tree)
            time.sleep(1.5)
    delays = []
    for at_s, killed in heard.kills:
        pid, comm = re.findall(r"\d+|\(\S+\)", killed)
        told_s = heard.until(rf"chose {comm[1:-1]} \({pid}\)", 5)
        delays.append([killed, None if told_s is None else round(told_s - at_s, 3)])
    tell("bell", delays=delays, idle=idle, said=heard.stop())


RULE = """[[rule]]
name = "{name}"
when = "{field} > {limit}"
scope = "{scope}"
action = "nothing"
cooldown = "1h"
"""


def pressures() -> Iterator[tuple[str, str, str]]:
    """The rule's name, its field, its scope. The machine as a whole has no full cpu pressure."""
    for resource in RESOURCES:
        for kind in KINDS:
            if (resource, kind) != ("cpu", "full"):
                yield f"machine-{resource}-{kind}", f"psi.{resource}.{kind}.now", "/"
            yield f"cgroup-{resource}-{kind}", f"cgroup.psi.{resource}.{kind}.now", "/stalls/*"


def fired(name: str) -> str:
    """Its line in the log, with the number that made it true."""
    return rf"rule {name}\b.* > \d+$"


@contextmanager
def inside(program: str, cgroup: Path) -> Iterator[None]:
    """A Python program in a cgroup, until the end of the block."""
    words = ["sh", "-c", f'echo $$ > {cgroup}/cgroup.procs; exec python3 -c "$0"', program]
    with subprocess.Popen(words) as process:
        try:
            yield
        finally:
            process.kill()


HOT = "import mmap\nheld = mmap.mmap(-1, 48 << 20)\nwhile True:\n for at in range(0, len(held), 4096): held[at] = 1\n"
READS = """
import mmap, os
disk, room = os.open({disk!r}, os.O_RDONLY | os.O_DIRECT), mmap.mmap(-1, 1 << 16)
while True:
    for at in range(0, 1 << 20, len(room)): os.preadv(disk, [room], at)
"""
SPINS = "while True: pass"


def pressure() -> None:
    """Rules for each kind of pressure of the machine, and of a cgroup that is made after the daemon looked."""
    rules = "".join(RULE.format(name=name, field=field, limit=10, scope=scope) for name, field, scope in pressures())
    rules += RULE.format(name="came-later", field="cgroup.current_mib", limit=0, scope="/later*")
    configured('backend = "kill"\n' + rules)
    STALLS.mkdir()
    (CGROUPS / "cgroup.subtree_control").write_text("+memory +cpu")
    (STALLS / "cgroup.subtree_control").write_text("+memory +cpu")
    heard = Heard()
    wait(heard.is_ready, 60)
    time.sleep(3)
    seen: dict[str, float | None] = {}
    cgroups = {name: STALLS / name for name in RESOURCES}
    for resource, path in cgroups.items():
        path.mkdir()
        if resource == "memory":
            (path / "memory.high").write_text("16M")
        if resource == "cpu":
            (path / "cpu.max").write_text("20000 100000")
        time.sleep(1)
        began_s = time.monotonic()
        until_s = began_s + 25
        with inside({"memory": HOT, "io": READS.format(disk=disk()), "cpu": SPINS}[resource], path):
            for name in [name for name, _, _ in pressures() if f"-{resource}-" in name]:
                at_s = heard.until(fired(name), max(until_s - time.monotonic(), 0))
                seen[name] = None if at_s is None else round(at_s - began_s, 2)
    held = heard.descriptors()
    for path in cgroups.values():
        wait(lambda path=path: not (path / "cgroup.procs").read_text())
        path.rmdir()
    time.sleep(1)
    let_go = held - heard.descriptors()
    later = comes_later(heard)
    time.sleep(10)
    idle = heard.slept_through(5)
    tell("pressure", seen=seen, later=later, let_go=let_go, idle=idle, said=heard.stop())


def comes_later(heard: Heard) -> float | None:
    """How long after it was made a new cgroup was judged."""
    began_s = time.monotonic()
    later = CGROUPS / "later1"
    later.mkdir()
    with inside("import time; held = bytearray(4 << 20); time.sleep(8)", later):
        at_s = heard.until(fired("came-later"), 20)
    wait(lambda: not (later / "cgroup.procs").read_text())
    later.rmdir()
    return None if at_s is None else round(at_s - began_s, 2)


def disk() -> str:
    """The swap disk: something to read from that is no page cache."""
    return Path("/proc/swaps").read_text().splitlines()[1].split()[0]


def zram() -> None:
    """What a device holds is read."""
    for name in sys.argv[2:]:
        assert command("insmod", f"/lib/{name}.ko") == (0, ""), name
    device = Path("/sys/block/zram0")
    (device / "disksize").write_text("64M")
    fd = os.open("/dev/zram0", os.O_WRONLY)
    held = mmap.mmap(-1, 8 << 20)
    held[:] = os.urandom(8 << 20)
    os.write(fd, held)
    os.fsync(fd)
    os.close(fd)
    tell("zram", found=ZramReader(Path("/sys")).read())


def main() -> None:
    cannot_be_chosen()
    os.environ.pop("JOURNAL_STREAM", None)
    if "bell" in sys.argv:
        os.setxattr(CGROUPS, "user.oompolicy.value", b"1000")
        if "patched" not in sys.argv:
            load()
        the_bell()
    else:
        pressure()
        zram()
    tell("log", tainted=tainted(), lines=log().splitlines())


if __name__ == "__main__":
    main()
