"""The unit file under a real systemd: it starts, it may do what it must, and it is there again when it falls.

Belongs here: what guest/under_systemd.py must have seen. Must not know: how it made it happen.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from guest.test_module import Proofs, in_guest, trouble

pytestmark = pytest.mark.guest

MIB = 1 << 20
SYSTEMD, SYSTEMCTL = Path("/usr/lib/systemd/systemd"), Path("/usr/bin/systemctl")
UNIT = Path(__file__).parent.parent.parent / "packaging/oompolicy.service"


def systemd_of_this_machine() -> dict[str, Path | bytes]:
    if not SYSTEMD.exists() or not SYSTEMCTL.exists():
        pytest.skip("no systemd on this machine to be carried into the guest: apt-get install systemd")
    told = subprocess.run(["ldd", SYSTEMD, SYSTEMCTL], capture_output=True, text=True, check=True).stdout
    files: dict[str, Path | bytes] = {found: Path(found) for found in re.findall(r"(/\S+) \(0x", told)}
    files |= {str(path): path for path in (SYSTEMD, SYSTEMCTL)}
    files |= {"/etc/systemd/system/oompolicy.service": UNIT, "/lab/desktop.conf": UNIT.with_name("desktop.conf")}
    return files


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Proofs:
    command = tmp_path_factory.mktemp("bin") / "oompolicy"
    command.write_text('#!/bin/sh\nexec /usr/bin/python3 -m oompolicy "$@"\n')
    command.chmod(0o755)
    passwd = command.with_name("passwd")
    passwd.write_text("root:x:0:0:root:/root:/bin/sh\n")
    files = {**systemd_of_this_machine(), "/usr/bin/oompolicy": command, "/etc/passwd": passwd}
    return in_guest("under_systemd", files=files, limit_s=420)


def lines(proof: dict[str, list[str]], text: str) -> list[str]:
    return [line for line in proof["said"] if text in line]


def test_it_is_active_when_it_has_said_that_it_is_ready(seen: Proofs) -> None:
    shown = seen["started"]["shown"]
    assert (shown["ActiveState"], shown["SubState"], shown["NRestarts"]) == ("active", "running", "0")


def test_it_has_the_rights_that_it_names_and_no_others(seen: Proofs) -> None:
    status = seen["started"]["status"]
    named = {"CAP_DAC_OVERRIDE": 1, "CAP_KILL": 5, "CAP_IPC_LOCK": 14, "CAP_SYS_PTRACE": 19, "CAP_SYS_ADMIN": 21}
    named |= {"CAP_SYS_RESOURCE": 24, "CAP_SYSLOG": 34, "CAP_PERFMON": 38, "CAP_BPF": 39}
    assert int(status["CapBnd"], 16) == sum(1 << number for number in named.values())
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")


def test_in_a_pid_namespace_the_task_iterator_is_left_alone_at_each_start(seen: Proofs) -> None:
    """Its numbers are the kernel's own: a daemon here would look for the wrong processes."""
    assert len(lines(seen["stopped"], "does not tell of this process by its pid here")) == 3


def test_its_memory_is_locked_and_protected_and_nothing_is_missing(seen: Proofs) -> None:
    started = seen["started"]
    assert (started["adj"], started["min"]) == ("-1000\n", f"{32 * MIB}\n")
    assert int(started["status"]["VmLck"].split()[0]) >= int(started["status"]["VmRSS"].split()[0])
    assert not lines(started, "cannot") + lines(started, "not locked") + lines(started, "no memory.min")


def test_what_its_rules_do_goes_first(seen: Proofs) -> None:
    started = seen["started"]
    assert not lines(started, "real-time")
    assert started["priorities"] == [2, 1], "rules, and who takes the memory of the dead"


def test_the_hook_is_in_force_behind_these_walls(seen: Proofs) -> None:
    assert lines(seen["started"], "policy kernel_default, backend hook")


def test_a_rule_kills_a_service_and_takes_its_memory(seen: Proofs) -> None:
    proof = seen["killed"]
    assert proof["shown"] == {"Result": "signal", "ActiveState": "failed"}
    assert lines(proof, "kills: pre_kill done")
    assert "0xffffffffffffffff" not in proof["mrelease"], "EPERM: the filter of system calls refuses it"
    assert proof["mrelease"]


def test_a_rule_restarts_a_service(seen: Proofs) -> None:
    first, second = seen["restarted"]["pids"]
    assert first != second > 0
    assert lines(seen["restarted"], "unit restarted.service: restarted")


def test_a_rule_sets_memory_high_and_it_is_undone_when_the_daemon_is_stopped(seen: Proofs) -> None:
    assert (seen["squeezed"]["high"], seen["stopped"]["high"]) == (str(64 * MIB), "max")


def test_reload_reads_the_file_anew_and_a_wrong_one_leaves_the_old(seen: Proofs) -> None:
    proof = seen["reloaded"]
    assert proof["answers"] == ["", ""]
    assert lines(proof, "reloaded: policy kernel_default")
    (refused,) = lines(proof, "the old configuration stays in force")
    assert "unknown key polcy" in refused


def test_after_a_kill_9_and_after_the_watchdog_it_is_there_again(seen: Proofs) -> None:
    counts = seen["restarted by systemd"]["counts"]
    assert [(each["NRestarts"], each["ActiveState"]) for each in counts] == [("1", "active"), ("2", "active")]


def test_desktops_are_told_with_the_drop_in_and_without_it_the_log_says_that_nobody_is(seen: Proofs) -> None:
    proof = seen["desktops"]
    kinds = [line for line in proof["said"] if "told: " in line or "notify: " in line]
    assert len(kinds) == 2
    assert kinds[0].endswith("notify: nobody who is to be seen from here has a session bus")
    assert re.match(r"told: 1000:1000 /run/user/1000 .* -- tells killed \w+ \(\d+\)", kinds[1])


def test_without_the_hook_it_may_read_whom_the_kernel_has_killed(seen: Proofs) -> None:
    told = [line for line in seen["the kernel's kill"]["said"] if "the kernel" in line and "kill" in line]
    assert len(told) == 1, told
    unit = "/container/system.slice/limited.service"
    assert re.search(rf"OOM of {unit}: the kernel killed worker \(\d+\) in {unit}", told[0])


def test_it_is_stopped_without_a_complaint(seen: Proofs) -> None:
    stopped = seen["stopped"]
    assert stopped["answer"] == ""
    assert stopped["shown"] == {"Result": "success", "ActiveState": "inactive", "ExecMainStatus": "0"}
    assert trouble(seen["log"]) == []
