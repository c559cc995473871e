"""A /proc and a /sys as one literal, for tests of the readers.

Belongs here: writing the files as kernels print them. Must not know: how they are read.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

# mountinfo of three machines; SYS stands for the fake /sys where the mount point is not below /sys.
MOUNTINFO = {
    "v1": "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n",
    "v2": "30 24 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n",
    "hybrid": (
        "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n"
        "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n"
        "33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n"
        "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory\n"
    ),
    "none": "23 1 0:22 / /proc rw - proc proc rw\n",
}
DIRECTORY = {"v1": "fs/cgroup/memory", "v2": "fs/cgroup", "hybrid": "fs/cgroup/memory", "none": ""}
V1_UNLIMITED = "9223372036854771712\n"


@dataclass
class Proc:
    """A process, or a thread of one; sizes in kB, as status has them. None for anon: it has no memory."""

    pid: int
    comm: bytes = b"sleep"
    anon: int | None = 400
    file: int = 1200
    shmem: int = 0
    swap: int = 0
    pte: int = 44
    rss_pages: int | None = None  # of stat; None: the sum of the parts
    ppid: int = 1
    uid: int = 1000
    adj: int = 0
    start: int = 500
    flags: int = 0x00400000
    state: str = "S"
    cgroup: str = "/"
    threads: list[Proc] = field(default_factory=list)
    extra_status: str = "SigPnd:\t0000000000000000\nShdPnd:\t0000000000000000\nMems_allowed_list:\t0\n"

    def stat(self) -> bytes:
        rss = self.rss_pages
        if rss is None:
            rss = 0 if self.anon is None else (self.anon + self.file + self.shmem) // 4
        threads = max(len(self.threads), 1)
        rest = (
            f") {self.state} {self.ppid} {self.pid} {self.pid} 0 -1 {self.flags} 0 0 0 0 0 0 0 0 20 0 {threads} 0 "
            f"{self.start} 8392704 {rss} 18446744073709551615 1 1 0 0 0 0 0 0 0 0 0 0 17 0 0 0 0 0 0\n"
        )
        return f"{self.pid} (".encode() + self.comm + rest.encode()

    def status(self) -> bytes:
        name = self.comm.replace(b"\\", b"\\\\").replace(b"\n", b"\\n")
        ids = f"\nUmask:\t0022\nState:\t{self.state}\nUid:\t{self.uid}\t0\t0\t0\nGroups:\t0 \n"
        memory = ""
        if self.anon is not None:
            memory = (
                "VmPeak:\t    9000 kB\nVmSize:\t    8196 kB\nVmLck:\t       0 kB\n"
                f"VmRSS:\t{self.anon + self.file + self.shmem:8} kB\nRssAnon:\t{self.anon:8} kB\n"
                f"RssFile:\t{self.file:8} kB\nRssShmem:\t{self.shmem:8} kB\nVmPTE:\t{self.pte:8} kB\n"
                f"VmSwap:\t{self.swap:8} kB\n"
            )
        return b"Name:\t" + name + (ids + memory + self.extra_status).encode()


class FakeMachine:
    """A machine below a directory: proc and sys are its roots, cgroups its memory hierarchy."""

    def __init__(self, below: Path, kind: str, *processes: Proc) -> None:
        self.proc, self.sys, self.kind = below / "proc", below / "sys", kind
        self.cgroups = self.sys / DIRECTORY[kind]
        self.cgroups.mkdir(parents=True)
        write(self.proc / "self/mountinfo", MOUNTINFO[kind])
        write(self.proc / "meminfo", "MemTotal:        8000000 kB\nMemFree:  1 kB\nSwapTotal:       2000000 kB\n")
        write(self.proc / "zoneinfo", "Node 0, zone   Normal\n  pages free     5\n        present  2097152\n")
        for name, text in {"oom_kill_allocating_task": "0", "panic_on_oom": "0", "swappiness": "60"}.items():
            write(self.proc / "sys/vm" / name, f"{text}\n")
        write(self.proc / "sys/kernel/osrelease", "6.12.1-test\n")
        write(self.proc / "sys/kernel/hostname", "fake\n")
        if kind == "v2":
            write(self.cgroups / "cgroup.controllers", "cpu memory pids\n")
        if kind == "hybrid":
            write(self.sys / "fs/cgroup/unified/cgroup.controllers", "\n")
        if kind in ("v1", "hybrid"):
            self.memcg("/")
        for process in (Proc(1, b"init", uid=0, ppid=0, start=1), *processes):
            self.add(process)

    def add(self, process: Proc) -> None:
        directory = self.proc / str(process.pid)
        self._thread(directory, process)
        write(directory / "oom_score_adj", f"{process.adj}\n")
        for thread in process.threads or [process]:
            self._thread(directory / "task" / str(thread.pid), thread)

    def _thread(self, directory: Path, thread: Proc) -> None:
        write(directory / "stat", thread.stat())
        write(directory / "status", thread.status())
        lines = {
            "v1": f"4:memory:{thread.cgroup}\n3:cpuset:/elsewhere\n0::/\n",
            "hybrid": f"5:cpu,cpuacct:/\n4:memory:{thread.cgroup}\n1:name=systemd:/\n0::/user.slice\n",
            "v2": f"0::{thread.cgroup}\n",
            "none": "",
        }
        write(directory / "cgroup", os.fsencode(lines[self.kind]))

    def memcg(self, path: str | bytes, **files: str | int) -> Path:
        """A memory cgroup; files by their name without "memory.", "__" for a dot (swap__max)."""
        directory = self.cgroups / os.fsdecode(path).strip("/")
        directory.mkdir(parents=True, exist_ok=True)
        if self.kind == "v2":
            texts: dict[str, str | int] = {"current": 0, "max": "max", "high": "max", "min": 0, "low": 0}
            texts |= {"swap.current": 0, "swap.max": "max", "oom.group": 0}
        else:
            texts = {"usage_in_bytes": 0, "limit_in_bytes": V1_UNLIMITED, "swappiness": 60}
            texts |= {"memsw.usage_in_bytes": 0, "memsw.limit_in_bytes": V1_UNLIMITED}
            texts |= {"oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n"}
        for name, text in {**texts, **{name.replace("__", "."): text for name, text in files.items()}}.items():
            write(directory / f"memory.{name}", f"{text}".rstrip("\n") + "\n")
        return directory


def write(path: Path, text: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
