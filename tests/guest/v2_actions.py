"""What only cgroup v2 has, by a daemon with rules: cgroup.kill, memory.oom.group, freeze, memory.high, memory.reclaim,
its own memory.min; and faults that would harm another machine: a read-only /sys, forks that fail. Runs in a guest.

Belongs here: acts and what was seen, one line of JSON a proof. Must not know: what is right; test_v2_actions.py judges.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from guest.hook_stage import Tree, removed
from guest.oom_stage import CGROUPS, cannot_be_chosen, log, wait

LOG, CONFIG = Path("/run/daemon.log"), Path("/run/oompolicy.toml")
OOMPOLICY = (sys.executable, "-m", "oompolicy")
TRACING = Path("/sys/kernel/tracing")
EVENTS = ("syscalls/sys_enter_pidfd_send_signal", "signal/signal_generate")
OWN = CGROUPS / "own"
OVER_MIB, HOLDS_MIB = 20, 30


def tell(proof: str, **seen: object) -> None:
    print(json.dumps({"proof": proof, **seen}), flush=True)


def rule(tree: Tree, leaf: str, action: str, when: str = f"cgroup.current_mib > {OVER_MIB}") -> str:
    """A rule for one leaf of the tree, which then rests for longer than this program runs."""
    scope = f"/{(tree.path / leaf).relative_to(CGROUPS)}"
    return f'[[rule]]\nname = "{leaf}"\nwhen = "{when}"\nscope = "{scope}"\ncooldown = "1h"\naction = {action}\n'


class Daemon:
    """One with these rules, in a memcg of its own; prefix comes before its command line."""

    def __init__(self, *rules: str, state_dir: str = "/run/state", prefix: str = "") -> None:
        CONFIG.write_text(f'backend = "kill"\nstate_dir = "{state_dir}"\n' + "\n".join(rules))
        CONFIG.chmod(0o644)
        OWN.mkdir(exist_ok=True)
        move = f'echo $$ > {OWN}/cgroup.procs; {prefix} exec "$@"'
        command = ["sh", "-ec", move, "sh", *OOMPOLICY, "run", "--config", str(CONFIG)]
        with LOG.open("wb") as out:
            self.process = subprocess.Popen(command, stderr=out)
        wait(lambda: self.process.poll() is not None or self.catches(signal.SIGTERM), 60)

    def catches(self, number: int) -> bool:
        """Is its end its own already?"""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return bool(int(status.split("SigCgt:")[1].split()[0], 16) >> (number - 1) & 1)

    @property
    def said(self) -> list[str]:
        return LOG.read_text().splitlines()

    def until_said(self, text: str, limit_s: float = 30) -> None:
        wait(lambda: any(text in line for line in self.said) or self.process.poll() is not None, limit_s)

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait()


def read(tree: Tree, leaf: str, file: str) -> str:
    return (tree.path / leaf / file).read_text().strip()


def is_frozen(tree: Tree, leaf: str) -> bool:
    return "frozen 1" in read(tree, leaf, "cgroup.events")


@contextlib.contextmanager
def at_once(seen: dict[str, int | None], name: str) -> Iterator[None]:
    """How many get SIGKILL from a daemon before its first call that signals one process; None: cannot be told.

    By cgroup.kill all get theirs in one write; while somebody has not ended it is written again.
    """
    switches = [TRACING / "events" / event / "enable" for event in EVENTS]
    seen[name] = None
    if not all(switch.exists() for switch in switches):
        yield
        return
    (TRACING / "trace").write_text("")
    for switch in switches:
        switch.write_text("1")
    yield
    for switch in switches:
        switch.write_text("0")
    by_it = [line for line in (TRACING / "trace").read_text().splitlines() if line.lstrip().startswith("oompolicy-")]
    first = next((index for index, line in enumerate(by_it) if "sys_pidfd_send_signal" in line), len(by_it))
    killed = {match[1] for line in by_it[:first] if (match := re.search(r"signal_generate: sig=9 .* pid=(\d+) ", line))}
    seen[name] = len(killed)


def kills(tree: Tree) -> None:
    """A process, all of a cgroup, and a process whose cgroup goes as one."""
    together: dict[str, int | None] = {}
    for leaf, action in (("process", "kill"), ("cgroup", "kill_cgroup"), ("group", "kill")):
        tree.leaf(leaf)
        if leaf == "group":
            (tree.path / leaf / "memory.oom.group").write_text("1")
        daemon = Daemon(rule(tree, leaf, f'"{action}"'))
        for number in range(3):
            tree.put(leaf, f"small{number}", 1)
        before = len(tree.lines("ends"))
        with at_once(together, leaf):
            tree.put(leaf, "big", 1, f"grow={HOLDS_MIB}")
            daemon.until_said("killed")
            time.sleep(0.5)
        left = len(read(tree, leaf, "cgroup.procs").split())
        daemon.end()
        ends = tree.lines("ends")[before:]
        tell(f"kill {leaf}", said=daemon.said, ends=ends, left=left, at_once=together[leaf])


def its_own_memory() -> None:
    """Of a daemon with a helper beside it in its memcg, which a hook needs."""
    daemon = Daemon('[[rule]]\nname = "x"\nwhen = "mem_available_mib < 1"\naction = "kill"\npre_kill = ["true"]\n')
    wait(lambda: len((OWN / "cgroup.procs").read_text().split()) == 2)
    time.sleep(1)
    status = Path(f"/proc/{daemon.process.pid}/status").read_text().split()
    tell(
        "own",
        adj=int(Path(f"/proc/{daemon.process.pid}/oom_score_adj").read_text()),
        min=int((OWN / "memory.min").read_text()),
        locked_kb=int(status[status.index("VmLck:") + 1]),
        rss_kb=int(status[status.index("VmRSS:") + 1]),
        said=daemon.said,
    )
    daemon.end()


def for_a_time(tree: Tree) -> None:
    """One daemon, one rule for each; all that it sets is undone in three seconds."""
    for leaf in ("squeezed", "frozen", "thawed", "reclaimed"):
        tree.leaf(leaf)
    (tree.path / "thawed/cgroup.freeze").write_text("1")
    daemon = Daemon(
        rule(tree, "squeezed", '"high"\namount = "16M"\nundo_after = "3s"'),
        rule(tree, "frozen", '"freeze"\nundo_after = "3s"'),
        rule(tree, "thawed", '"thaw"', when="cgroup.is_frozen == 1"),
        rule(tree, "reclaimed", '"reclaim"\namount = "10M"'),
    )
    tree.put("squeezed", "squeezed", 1, f"grow={HOLDS_MIB}")
    daemon.until_said("memory.high set to")
    high = read(tree, "squeezed", "memory.high")
    time.sleep(1)
    used, swapped = (int(read(tree, "squeezed", f"memory.{name}")) for name in ("current", "swap.current"))
    daemon.until_said("memory.high is max again")
    tell("high", high=high, used=used, swapped=swapped, after=read(tree, "squeezed", "memory.high"))
    tree.put("frozen", "frozen", HOLDS_MIB)
    wait(lambda: is_frozen(tree, "frozen"))
    frozen = is_frozen(tree, "frozen")
    wait(lambda: not is_frozen(tree, "frozen"))
    tell("freeze", frozen=frozen, after=is_frozen(tree, "frozen"))
    daemon.until_said("thawed: ")
    tell("thaw", after=is_frozen(tree, "thawed"))
    tree.put("reclaimed", "reclaimed", HOLDS_MIB)
    daemon.until_said("bytes reclaimed")
    tell(
        "reclaim",
        used=int(read(tree, "reclaimed", "memory.current")),
        swapped=int(read(tree, "reclaimed", "memory.swap.current")),
    )
    status = daemon.end()
    tell("for a time", status=status, said=daemon.said, ends=tree.lines("ends"))


def until_the_end(tree: Tree) -> None:
    """kill -9 and `restore`; an ordinary end; kill -9 and the next daemon."""
    for leaf in ("high", "freeze"):
        tree.leaf(leaf)
        tree.put(leaf, leaf, HOLDS_MIB)
    rules = rule(tree, "high", '"high"\namount = "64M"'), rule(tree, "freeze", '"freeze"')

    def state() -> list[str]:
        return [read(tree, "high", "memory.high"), read(tree, "freeze", "cgroup.freeze")]

    def is_set() -> Daemon:
        daemon = Daemon(*rules)
        wait(lambda: state() == [str(64 << 20), "1"])
        return daemon

    is_set().end(signal.SIGKILL)
    left = state()
    command = [*OOMPOLICY, "restore", "--state-dir", "/run/state"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    tell("restored", left=left, status=done.returncode, said=done.stdout + done.stderr, after=state())
    daemon = is_set()
    tell("ended", status=daemon.end(), said=daemon.said, after=state(), lives=len(tree.lines("ends")))
    is_set().end(signal.SIGKILL)
    left = state()
    daemon = Daemon('[[rule]]\nname = "x"\nwhen = "mem_available_mib < 1"\naction = "nothing"\n')
    daemon.until_said("taken over")
    tell("taken over", left=left, status=daemon.end(), said=daemon.said, after=state())


def faults(tree: Tree) -> None:
    """A read-only /sys, a full disk under the journal, forks that fail."""
    for leaf in ("high", "victims", "unwritten", "nofork"):
        tree.leaf(leaf)
    read_only = 'exec unshare -m sh -ec "mount -o remount,bind,ro /sys/fs/cgroup; exec \\"\\$@\\"" sh "$@";'
    daemon = Daemon(
        rule(tree, "high", '"high"\namount = "64M"'), rule(tree, "victims", '"kill_cgroup"'), prefix=read_only
    )
    tree.put("high", "high", HOLDS_MIB)
    daemon.until_said("memory.high")
    tree.put("victims", "small", 1)
    tree.put("victims", "big", 1, f"grow={HOLDS_MIB}")
    daemon.until_said("killed")
    wait(lambda: not read(tree, "victims", "cgroup.procs"))
    left = read(tree, "victims", "cgroup.procs")
    mounts = Path(f"/proc/{daemon.process.pid}/mounts").read_text().splitlines()
    options = [line.split()[3] for line in mounts if line.split()[1] == str(CGROUPS)]
    status = daemon.end()
    tell(
        "read-only", options=options, said=daemon.said, left=left, high=read(tree, "high", "memory.high"), status=status
    )

    full = Path("/run/full")
    full.mkdir(mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k,mode=700", "tmpfs", str(full)], check=True)
    with contextlib.suppress(OSError), (full / "fill").open("wb", buffering=0) as fill:
        while True:
            fill.write(b"x" * 4096)
    daemon = Daemon(rule(tree, "unwritten", '"high"\namount = "64M"'), state_dir=str(full))
    tree.put("unwritten", "unwritten", HOLDS_MIB)
    daemon.until_said("cgroups.journal")
    tell("full", said=daemon.said, high=read(tree, "unwritten", "memory.high"), status=daemon.end())
    subprocess.run(["umount", str(full)], check=True)

    tree.put("nofork", "nofork", HOLDS_MIB)
    daemon = Daemon(rule(tree, "nofork", '"kill"\npre_kill = ["true"]', when="cgroup.is_frozen == 1"))
    time.sleep(1)
    memory = {name: Path(f"/proc/sys/vm/{name}") for name in ("overcommit_memory", "overcommit_kbytes")}
    swap = Path("/proc/swaps").read_text().splitlines()[1].split()[0]
    subprocess.run(["swapoff", swap], check=True)  # its size counts for what may be promised
    memory["overcommit_kbytes"].write_text("1")
    memory["overcommit_memory"].write_text("2")
    try:
        os.fork() or os._exit(0)
        refused = ""
    except OSError as error:
        refused = str(error)
    (tree.path / "nofork/cgroup.freeze").write_text("1")
    daemon.until_said("killed")
    memory["overcommit_memory"].write_text("0")
    wait(lambda: not read(tree, "nofork", "cgroup.procs"))
    tell("no fork", refused=refused, said=daemon.said, left=read(tree, "nofork", "cgroup.procs"), status=daemon.end())


SUICIDAL = """
from oompolicy import *

@policy
def suicidal(task: Task, oc: OomControl) -> int | Verdict:
    return KILL if task.pid == 1 or task.comm in ("oompolicy", "oompolicy-run", "sh", "python3") else DEFER
"""


def whom_it_never_kills(tree: Tree) -> None:
    """A policy that wants init, the daemon, its helper and what it was started from dead before all others."""
    Path("/run/suicidal.py").write_text(SUICIDAL)
    tree.leaf("small")
    small = tree.put("small", "small", HOLDS_MIB)
    Path("/proc/self/oom_score_adj").write_text("0")  # nor are they kept by this
    rule = '[[rule]]\nname = "all"\nwhen = "mem_available_percent >= 0"\naction = "{}"\ncooldown = "1h"\n'
    rule += 'policy = "/run/suicidal.py"\npre_kill = ["true"]\n'
    daemon = Daemon(rule.format("kill"))
    daemon.until_said("killed")
    wait(lambda: not read(tree, "small", "cgroup.procs"))
    cannot_be_chosen()
    lives = [Path(f"/proc/{pid}").exists() for pid in (1, os.getppid(), daemon.process.pid)]
    tell("never", small=small, lives=lives, said=daemon.said, status=daemon.end())


def main() -> None:
    cannot_be_chosen()
    os.environ.pop("JOURNAL_STREAM", None)
    began_s = time.monotonic()
    for act in (kills, for_a_time, until_the_end, faults, whom_it_never_kills):
        with Tree() as tree:
            act(tree)
    its_own_memory()
    removed(OWN)
    tell("log", lines=log().splitlines(), seconds=time.monotonic() - began_s)


if __name__ == "__main__":
    main()
