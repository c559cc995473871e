"""What a daemon does while it kills, as the kernel sees it: nothing that needs a fork, a library or another's memory.

Belongs here: its system calls and its process while a rule kills. Must not know: who is chosen, why.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from backends.kill.arena import Arena, arena_in, memory_hierarchy
from daemon.killer import Killer, folder_of_root, killer, rule, too_big, until

pytestmark = pytest.mark.root

CALLS = "trace=%process,%file,pidfd_open,pidfd_send_signal,process_mrelease"


@contextmanager
def traced(daemon: Killer, file: Path) -> Iterator[None]:
    """All that it asks of the kernel meanwhile."""
    if shutil.which("strace") is None:
        pytest.skip("no strace")
    command = ["strace", "-f", "-e", CALLS, "-o", str(file), "-p", str(daemon.pid)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer:
        assert tracer.stderr is not None
        said = tracer.stderr.readline()
        if "attached" not in said:
            pytest.skip(f"strace may not attach here: {said}")
        try:
            yield
        finally:
            tracer.send_signal(signal.SIGINT)
            tracer.stderr.read()


@pytest.fixture(scope="module")
def kill() -> list[str]:
    """The system calls of a daemon's first kill, of a process, and those until the memory is back."""
    with (
        arena_in(memory_hierarchy()) as arena,
        folder_of_root() as folder,
        killer(folder, rule("big", f"{arena.scope}/*")) as daemon,
    ):
        with traced(daemon, folder / "calls"):
            worker = too_big(arena)
            daemon.until_said("killed")
            until(worker.was_killed)
            time.sleep(1)  # what the reaper's thread does comes after
        calls = (folder / "calls").read_text().splitlines()
        assert f"pidfd_open({worker.pid}, 0)" in "\n".join(calls), "the trace has not seen the kill"
        return calls


def test_the_signal_goes_to_a_pidfd_and_to_nothing_else(kill: list[str]) -> None:
    sent = [line for line in kill if re.search(r"\b(kill|tkill|tgkill|rt_sigqueueinfo|pidfd_send_signal)\(", line)]
    assert len(sent) == 1
    assert "SIGKILL" in sent[0]
    opened = [match[1] for line in kill if (match := re.search(r"pidfd_open\(\d+, 0\)\s*= (\d+)", line))]
    assert f"pidfd_send_signal({opened[0]}, SIGKILL" in sent[0]


def test_nothing_is_forked_or_executed(kill: list[str]) -> None:
    assert [line for line in kill if re.search(r"\b(fork|vfork|clone|clone3|execve|execveat)\(", line)] == []


def test_no_file_is_opened_but_the_kernel_s_own(kill: list[str]) -> None:
    """No library, no module of Python's, no configuration: what would have to come from a disk."""
    named = {match[1] for line in kill if (match := re.search(r'\b\w+\((?:AT_FDCWD, )?"(/[^"]*)"', line))}
    assert named, "the trace has not seen any file"
    assert {path for path in named if not path.startswith(("/proc", "/sys/"))} - {"/dev/null"} == set()


def test_the_victim_s_memory_is_taken_by_process_mrelease(kill: list[str]) -> None:
    text = "\n".join(kill)
    assert re.search(r"pidfd_send_signal\(\d+, SIGKILL.*process_mrelease\(\d+, 0\)", text, re.DOTALL)


IMPORTS = """
import os, sys
from pathlib import Path
from oompolicy.daemon import start
from oompolicy.daemon.loop import Daemon
from oompolicy.daemon.settings import Settings
from oompolicy.rules.rule import Kill, Rule

seen = []
def audit(event, args):
    if seen is not None and event in ("import", "os.fork", "os.posix_spawn", "os.exec", "subprocess.Popen"):
        seen.append((event, str(args[0])))
before = Daemon.run
def run(daemon):
    sys.addaudithook(audit)
    try:
        before(daemon)
    finally:
        sys.stderr.write(f"seen: {seen}\\n")
Daemon.run = run
rule = Rule("big", "cgroup.current_mib > 16", scope=(sys.argv[2] + "/*",), action=Kill(sys.argv[3]))
start.run_daemon(Settings("kill", state_dir=Path(sys.argv[1]), rules=(rule,)))
"""


@pytest.fixture
def arena() -> Iterator[Arena]:
    with arena_in(memory_hierarchy()) as arena:
        yield arena


@pytest.mark.parametrize("action", ["process", "tree", "cgroup"])
def test_from_its_first_look_to_the_end_it_imports_nothing(arena: Arena, tmp_path: Path, action: str) -> None:
    """Python's own word (sys.addaudithook): neither in a look, nor in a kill, nor when it is told to stop."""
    command = [sys.executable, "-c", IMPORTS, str(tmp_path / "state"), arena.scope, action]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, stderr=log)
    try:
        worker = too_big(arena)
        until(worker.was_killed, why=(tmp_path / "log").read_text)
        until(lambda: "killed" in (tmp_path / "log").read_text())
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
    assert (tmp_path / "log").read_text().splitlines()[-1] == "seen: []"


def test_all_of_its_memory_is_locked_before_it_is_ready_and_after_a_kill(arena: Arena, trusted_folder: Path) -> None:
    assert unlocked(os.getpid()), "of a process that locks nothing there is something to be seen"
    with killer(trusted_folder, rule("big", f"{arena.scope}/*")) as daemon:
        if any("memory is not locked" in line for line in daemon.log):
            pytest.skip("this user may not lock memory")
        assert unlocked(daemon.pid) == []
        worker = too_big(arena)
        until(worker.was_killed)
        assert unlocked(daemon.pid) == []


def unlocked(pid: int) -> list[str]:
    """Mappings of which pages could be taken: not locked (VmFlags lo), and not the kernel's own."""
    found, name = [], ""
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            name = line
        elif line.startswith("VmFlags:") and "lo" not in line.split() and not name.endswith("]"):
            found.append(name)
    return found


def test_it_judges_again_only_when_the_memory_is_back(arena: Arena, trusted_folder: Path) -> None:
    """Without any cooldown, and with a condition that is false as soon as the victim's memory has come back."""
    both = arena.memcg.child("both")
    small = arena.workers.start("small", both, 1)
    row = rule("big", f"{arena.scope}/*", 'action = "kill"\ncooldown = "0s"', when="cgroup.current_mib > 40")
    with killer(trusted_folder, row) as daemon:
        for number in range(3):
            worker = arena.workers.start(f"big{number}", both, 1)
            worker.hold(64)
            until(worker.was_killed, why=lambda: daemon.log)
            time.sleep(1)
        assert len(daemon.saying(": killed")) == 3
        assert not small.was_killed()
        daemon.stop()


def test_what_keeps_it_from_being_hit_is_set_or_said(arena: Arena, trusted_folder: Path) -> None:
    with killer(trusted_folder, rule("big", f"{arena.scope}/*")) as daemon:
        adj = int(Path(f"/proc/{daemon.pid}/oom_score_adj").read_text())
        assert adj == -1000 or daemon.saying("oom_score_adj of the daemon stays ")
