"""What a daemon tells systemd and journald, with sockets of the test's own in their place.

Belongs here: the words on the wire, from a real daemon. Must not know: how they are made.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from backends.kill.arena import Arena, arena_in, memory_hierarchy
from daemon.killer import configure, killer, rule, too_big, until, with_mounts

pytestmark = pytest.mark.root


@pytest.fixture
def arena() -> Iterator[Arena]:
    with arena_in(memory_hierarchy()) as arena:
        yield arena


def test_from_ready_to_stopping_systemd_hears_of_each_step(arena: Arena, trusted_folder: Path) -> None:
    with killer(trusted_folder, rule("big", f"{arena.scope}/*")) as daemon:  # READY=1 was heard
        daemon.process.send_signal(signal.SIGHUP)
        assert daemon.heard().startswith("RELOADING=1\nMONOTONIC_USEC=")
        assert daemon.heard() == "READY=1"
        (trusted_folder / "oompolicy.toml").write_text("[[rule]\n")
        daemon.process.send_signal(signal.SIGHUP)
        assert daemon.heard().startswith("RELOADING=1")
        assert daemon.heard() == "READY=1", "a reload that was refused is over, too"
        daemon.process.send_signal(signal.SIGTERM)
        assert daemon.heard() == "STOPPING=1"


def test_the_watchdog_is_fed_while_it_runs_and_not_while_it_is_stopped(arena: Arena, trusted_folder: Path) -> None:
    """Nothing but the watchdog wakes it: the rule is far from true, and nobody stalls."""
    rows = [rule("big", f"{arena.scope}/*", when="lasts(psi.memory.full.avg10 > 99, 600)")]
    with killer(trusted_folder, *rows, environment={"WATCHDOG_USEC": "1000000"}) as daemon:
        assert fed(daemon.systemd, 5) >= 6, "twice a second, on a machine that may be busy"
        daemon.process.send_signal(signal.SIGSTOP)
        fed(daemon.systemd, 0.2)
        assert fed(daemon.systemd, 3) == 0
        daemon.process.send_signal(signal.SIGCONT)
        assert fed(daemon.systemd, 3) >= 3


def fed(systemd: socket.socket, for_s: float) -> int:
    """How often the watchdog is told in that time."""
    until_s, count = time.monotonic() + for_s, 0
    while (left_s := until_s - time.monotonic()) > 0:
        systemd.settimeout(left_s)
        try:
            count += systemd.recv(4096) == b"WATCHDOG=1"
        except TimeoutError:
            break
    return count


def test_the_watchdog_is_not_fed_by_a_daemon_that_is_stuck(arena: Arena, trusted_folder: Path) -> None:
    """A rule's function that catches even its own time limit: only a restart helps."""
    python = trusted_folder / "stuck.py"
    python.write_text(
        "from oompolicy import rule\n\n@rule\ndef stuck(now):\n    while True:\n        try:\n"
        "            while True:\n                pass\n        except BaseException:\n            pass\n"
    )
    row = f'[[rule]]\nname = "stuck"\npython = "{python}:stuck"\naction = "nothing"\n'
    path = configure(trusted_folder, row)
    assert path.exists()
    with killer(trusted_folder, row, environment={"WATCHDOG_USEC": "1000000"}) as daemon:
        fed(daemon.systemd, 2)
        assert fed(daemon.systemd, 3) == 0


def test_a_kill_reaches_journald_as_a_record_with_the_rule_and_its_scope(arena: Arena, trusted_folder: Path) -> None:
    journald, log = trusted_folder / "journald", trusted_folder / "log"
    log.touch()
    prefix = with_mounts(
        f"mount --bind {trusted_folder} /mnt",
        "mount -t tmpfs -o mode=755 tmpfs /run",
        f"mkdir -p {trusted_folder} /run/systemd/journal",
        f"mount --bind /mnt {trusted_folder}",
        f"ln -s {journald} /run/systemd/journal/socket",
    )
    stream = log.stat()
    environment = {"JOURNAL_STREAM": f"{stream.st_dev}:{stream.st_ino}"}
    row = rule("big", f"{arena.scope}/*", 'action = "kill"\npre_kill = ["true"]')
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as socket_of_journald:
        socket_of_journald.bind(str(journald))
        socket_of_journald.settimeout(20)
        with killer(trusted_folder, row, prefix=prefix, environment=environment) as daemon:
            worker = too_big(arena)
            until(worker.was_killed, why=lambda: daemon.log)
            records: list[bytes] = []
            while not any(b": killed" in record for record in records):
                records.append(socket_of_journald.recv(65536))
            assert daemon.log == [], "standard error has no second copy of it"
    fields = [dict(line.partition(b"=")[::2] for line in record.splitlines()) for record in records]
    of_the_rule = [each for each in fields if b"big: " in each[b"MESSAGE"]]
    assert [each[b"MESSAGE"].rpartition(b": ")[2] for each in of_the_rule] == [b"pre_kill done", b"killed"]
    for each in of_the_rule:
        assert each[b"OOMPOLICY_RULE"] == b"big"
        assert each[b"OOMPOLICY_SCOPE"] == f"{arena.scope}/big".encode()
        assert each[b"PRIORITY"] == b"6"
    assert b"OOMPOLICY_RULE" not in fields[0], "what is of no rule has none"


def test_a_neighbour_that_kills_too_is_said(arena: Arena, trusted_folder: Path) -> None:
    """A real process of that name."""
    earlyoom = trusted_folder / "earlyoom"
    sleep = shutil.which("sleep")
    assert sleep is not None
    shutil.copy(sleep, earlyoom)
    with subprocess.Popen([str(earlyoom), "60"]) as neighbour:
        try:
            until(lambda: Path(f"/proc/{neighbour.pid}/comm").read_text() == "earlyoom\n")
            with killer(trusted_folder, rule("big", f"{arena.scope}/*")) as daemon:
                assert daemon.saying(f"earlyoom (pid {neighbour.pid}) runs too: either may kill first")
        finally:
            os.kill(neighbour.pid, signal.SIGKILL)
