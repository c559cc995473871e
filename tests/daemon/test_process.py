"""The daemon as a process: what it loads, and what it does when descriptors, the disk or time are not there.

It puts nothing in force here: rules alone, whose orders are only said, or the backend dry_run.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from sources.fake_machine import write

ALWAYS = '[[rule]]\nname = "always"\nwhen = "mem_available_percent >= 0"\naction = "nothing"\ncooldown = "1s"\n'

RULES_ALONE = """
import resource, sys
from pathlib import Path
from oompolicy.daemon import start
from oompolicy.daemon.settings import Settings
from oompolicy.rules.rule import Other, Rule
rule = Rule("always", "mem_available_percent >= 0", action=Other.NOTHING, cooldown_ms=200)
{before}
start.exec_daemon(Settings("kill", state_dir=Path({state!r}), rules=(rule,), command=(sys.executable,)))
"""


@dataclass
class Running:
    process: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)

    def until(self, text: str, within_s: float = 30) -> str:
        """The next line that holds the text."""
        assert self.process.stderr is not None
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline and (line := self.process.stderr.readline()):
            self.lines.append(line)
            if text in line:
                return line
        raise AssertionError(f"no {text!r} in {self.lines}")

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(30) == 0


@contextmanager
def running(command: list[str]) -> Iterator[Running]:
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    try:
        yield Running(process)
    finally:
        process.kill()
        process.communicate()


def catches(pid: int, number: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    return bool(int(status.split("SigCgt:")[1].split()[0], 16) >> (number - 1) & 1)


def rules_alone(state: Path, before: str = "") -> list[str]:
    return [sys.executable, "-c", RULES_ALONE.format(state=str(state), before=before)]


def test_its_process_has_no_library_of_the_command_line(tmp_path: Path) -> None:
    with running(rules_alone(tmp_path / "state")) as daemon:
        daemon.until("rule always")
        maps = Path(f"/proc/{daemon.process.pid}/maps").read_text()
        assert "msgspec" not in maps
        assert Path(f"/proc/{daemon.process.pid}/comm").read_text() == "oompolicy\n"
        daemon.stop()


def test_nothing_is_imported_between_the_start_and_an_order() -> None:
    """An import may need the disk, memory, descriptors: what a kill has none of."""
    program = """
import select, sys, time
import oompolicy.daemon.start
from oompolicy.daemon.judging import Judging, files_of
from oompolicy.daemon.rule_watch import Clocks, RuleWatch
from oompolicy.rules.judge import armed
from oompolicy.rules.rule import Rule
from oompolicy.sources.sensors import Sensors, Wanted
from oompolicy.sources.live import live_snapshot
from oompolicy.daemon.orders_said import said_only
rules = [armed(Rule("a", "mem_available_percent >= 0 and psi.memory.some.avg10 >= 0"))]
rules.append(armed(Rule("b", "cgroup.current_mib >= 0", scope=("/**",))))
seen = []
def act(order, now_ms):
    seen.append(order)
    live_snapshot()
    return said_only(order, now_ms)
clocks = Clocks(lambda: time.monotonic_ns() // 1_000_000, time.thread_time_ns)
watch = RuleWatch(Sensors(Wanted(*files_of(rules))), Judging(rules), act, clocks)
watch.start(select.poll())
before = set(sys.modules)
for now_ms in (1000, 2000, 40000):
    watch.turn(now_ms)
print(bool(seen), sorted(set(sys.modules) - before))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "True []\n"


def test_it_goes_on_when_no_descriptor_is_to_be_had(tmp_path: Path) -> None:
    with running(rules_alone(tmp_path / "state")) as daemon:
        daemon.until("rule always")
        limit = ["prlimit", "--pid", str(daemon.process.pid), "--nofile=3:3"]
        if subprocess.run(limit, check=False).returncode != 0:
            pytest.skip("no prlimit")
        daemon.until("rule always")
        daemon.until("rule always")
        daemon.stop()


def test_after_sigstop_it_goes_on(tmp_path: Path) -> None:
    with running(rules_alone(tmp_path / "state")) as daemon:
        daemon.until("rule always")
        daemon.process.send_signal(signal.SIGSTOP)
        time.sleep(2)
        daemon.process.send_signal(signal.SIGCONT)
        continued_s = time.monotonic()
        daemon.until("rule always")
        daemon.until("rule always")
        assert time.monotonic() - continued_s < 10
        daemon.stop()


def test_a_second_one_for_the_same_state_directory_is_refused(tmp_path: Path) -> None:
    with running(rules_alone(tmp_path / "state")) as daemon:
        daemon.until("rule always")
        again = rules_alone(tmp_path / "state")
        second = subprocess.run(again, capture_output=True, text=True, timeout=60, check=False)
        assert second.returncode == 1
        assert f"another oompolicy (pid {daemon.process.pid}) is at work there" in second.stderr
        daemon.stop()
    with running(rules_alone(tmp_path / "state")) as daemon:
        daemon.until("rule always")
        daemon.process.send_signal(signal.SIGKILL)
        daemon.process.wait()
    with running(rules_alone(tmp_path / "state")) as daemon:  # the lock went with it
        daemon.until("rule always")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_under_its_log_does_not_end_it(tmp_path: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        process = subprocess.Popen(rules_alone(tmp_path / "state"), stderr=full)
    try:
        while not catches(process.pid, signal.SIGTERM):  # until then its end is not its own
            assert process.poll() is None
            time.sleep(0.05)
        time.sleep(1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()


def configured(folder: Path, text: str) -> Path:
    path = folder / "oompolicy.toml"
    write(path, f'backend = "dry_run"\ninterval_ms = 3600000\nstate_dir = "{folder}/state"\n{text}')
    return path


def test_a_reload_is_read_by_a_child_and_a_wrong_one_leaves_the_old(trusted_folder: Path) -> None:
    path = configured(trusted_folder, "")
    with running([sys.executable, "-m", "oompolicy", "run", "--config", str(path)]) as daemon:
        daemon.until("policy kernel_default, backend dry_run")
        daemon.until("the whole order holds")
        configured(trusted_folder, 'drift = "leave"\n')
        daemon.process.send_signal(signal.SIGHUP)
        daemon.until("drift counts from the next start")
        daemon.until("reloaded: policy kernel_default")
        configured(trusted_folder, 'polcy = "newest_first"\n')
        daemon.process.send_signal(signal.SIGHUP)
        refused = daemon.until("reload: ")
        assert re.search(r"unknown key polcy.*did you mean policy\?: the old configuration stays in force", refused)
        maps = Path(f"/proc/{daemon.process.pid}/maps").read_text()
        assert "msgspec" not in maps
        children = Path(f"/proc/{daemon.process.pid}/task/{daemon.process.pid}/children").read_text()
        assert children == ""
        daemon.stop()


POLICY = """from oompolicy import DEFER, OomControl, Task, Verdict, policy


@policy
def {name}(task: Task, oc: OomControl) -> Verdict:
    return DEFER
"""


def rename_over(path: Path, text: str) -> None:
    """As an editor does."""
    new = path.with_name(f".{path.name}.swp")
    write(new, text)
    new.rename(path)


def test_what_changes_is_reloaded_unasked_and_what_is_wrong_is_said_once(trusted_folder: Path) -> None:
    """The configuration, a drop-in, the policy's file; each wrong one leaves the old one, until it is mended."""
    mine, local = trusted_folder / "mine.py", trusted_folder / "oompolicy.toml.d/50-local.toml"
    write(mine, POLICY.format(name="one"))
    path = configured(trusted_folder, 'policy = "mine.py"\n')
    with running([sys.executable, "-m", "oompolicy", "run", "--config", str(path)]) as daemon:
        daemon.until("policy one, backend dry_run")
        daemon.until("the whole order holds")
        rename_over(mine, POLICY.format(name="two"))
        daemon.until("reloaded: policy two")
        write(local, 'policy = "newest_frist"\n')
        daemon.until("did you mean newest_first?: the old configuration stays in force")
        write(local, 'policy = "newest_first"\n')
        daemon.until("reloaded: policy newest_first")
        rename_over(local, 'policy = "../new.py"\n')
        daemon.until("new.py: no such file: the old configuration stays in force")
        write(trusted_folder / "new.py", POLICY.format(name="three"))
        daemon.until("reloaded: policy three")
        local.unlink()
        daemon.until("reloaded: policy two")
        daemon.stop()
        assert daemon.process.stderr is not None
        daemon.lines += daemon.process.stderr.readlines()
    assert len([line for line in daemon.lines if "reload" in line]) == 6


def test_where_it_is_not_wanted_only_sighup_reloads(trusted_folder: Path) -> None:
    path = configured(trusted_folder, "reload_on_change = false\n")
    with running([sys.executable, "-m", "oompolicy", "run", "--config", str(path)]) as daemon:
        daemon.until("the whole order holds")
        configured(trusted_folder, 'reload_on_change = false\npolicy = "newest_first"\n')
        time.sleep(1.5)
        configured(trusted_folder, 'policy = "protect"\n')
        daemon.process.send_signal(signal.SIGHUP)
        assert "reloaded: policy protect" in daemon.until("reloaded")
        configured(trusted_folder, 'policy = "newest_first"\n')
        daemon.until("reloaded: policy newest_first")
        daemon.stop()


def test_rules_of_the_configuration_are_watched(trusted_folder: Path) -> None:
    path = configured(trusted_folder, ALWAYS)
    with running([sys.executable, "-m", "oompolicy", "run", "--config", str(path)]) as daemon:
        assert "would nothing" in daemon.until("rule always, the machine: mem_available_percent")
        configured(trusted_folder, ALWAYS.replace("always", "other"))
        daemon.process.send_signal(signal.SIGHUP)
        daemon.until("reloaded")
        daemon.until("rule other, the machine: mem_available_percent")
        daemon.stop()


def test_where_it_cannot_begin_it_says_so_in_one_line(trusted_folder: Path) -> None:
    path = configured(trusted_folder, 'policy = "newest_frist"\n')
    command = [sys.executable, "-m", "oompolicy", "run", "--config", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "did you mean newest_first?" in done.stderr
    assert len(done.stderr.splitlines()) == 1
