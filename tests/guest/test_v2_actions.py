"""What rules do on cgroup v2, and what becomes of it when the daemon ends in whatever way.

Belongs here: what guest/v2_actions.py must have seen, in one boot. Must not know: how it made it happen.
"""

from __future__ import annotations

import pytest

from guest.test_module import Proofs, in_guest, trouble

pytestmark = pytest.mark.guest

MIB = 1 << 20
SET, UNSET = [str(64 * MIB), "1"], ["max", "0"]


@pytest.fixture(scope="module")
def seen() -> Proofs:
    return in_guest("v2_actions", limit_s=420, swap_mib=256)


def lines(proof: dict[str, list[str]], text: str) -> list[str]:
    return [line for line in proof["said"] if text in line]


@pytest.mark.parametrize(
    ("leaf", "dead", "at_once", "words"),
    [
        ("process", 1, 0, "big ("),
        ("cgroup", 4, 4, "all of cgroup "),  # by cgroup.kill: all four, before any is signalled by itself
        ("group", 4, 4, ", by its memory.oom.group"),
    ],
)
def test_who_dies(seen: Proofs, leaf: str, dead: int, at_once: int, words: str) -> None:
    proof = seen[f"kill {leaf}"]
    (line,) = lines(proof, ": killed")
    assert words in line
    assert len([end for end in proof["ends"] if end.endswith("signal 9")]) == dead
    assert proof["left"] == 4 - dead
    assert proof["at_once"] == at_once


def test_memory_high_squeezes_for_its_time_and_is_undone(seen: Proofs) -> None:
    high = seen["high"]
    assert high["high"] == str(16 * MIB)
    assert high["used"] <= 18 * MIB
    assert high["swapped"] >= 12 * MIB
    assert high["after"] == "max"


def test_a_cgroup_is_frozen_for_its_time_and_thawed(seen: Proofs) -> None:
    assert seen["freeze"] == {"proof": "freeze", "frozen": True, "after": False}


def test_what_others_have_frozen_is_thawed_by_a_rule(seen: Proofs) -> None:
    assert seen["thaw"]["after"] is False


def test_reclaim_takes_its_amount_and_little_more(seen: Proofs) -> None:
    assert 8 * MIB <= seen["reclaim"]["swapped"] <= 16 * MIB
    assert seen["reclaim"]["used"] <= 24 * MIB
    (line,) = lines(seen["for a time"], "bytes reclaimed")
    freed = int(line.rpartition(": ")[2].split()[0])
    assert 8 * MIB <= freed <= 16 * MIB


def test_nobody_died_of_these(seen: Proofs) -> None:
    assert seen["for a time"]["ends"] == []
    assert seen["for a time"]["status"] == 0


def test_after_a_kill_9_all_stays_set_until_restore(seen: Proofs) -> None:
    proof = seen["restored"]
    assert (proof["left"], proof["after"], proof["status"]) == (SET, UNSET, 0)
    assert "memory.high is max again" in proof["said"]
    assert "cgroup.freeze is 0 again" in proof["said"]


def test_at_its_end_a_daemon_undoes_what_it_has_set(seen: Proofs) -> None:
    proof = seen["ended"]
    assert (proof["after"], proof["status"], proof["lives"]) == (UNSET, 0, 0)
    assert len(lines(proof, " again")) == 2


def test_what_a_killed_daemon_has_set_the_next_one_takes_over_and_undoes(seen: Proofs) -> None:
    proof = seen["taken over"]
    assert (proof["left"], proof["after"], proof["status"]) == (SET, UNSET, 0)
    assert lines(proof, "2 files of cgroups are still as an earlier daemon has set them: taken over")


def test_with_a_read_only_sys_it_says_what_it_cannot_do_and_kills_one_by_one(seen: Proofs) -> None:
    proof = seen["read-only"]
    assert proof["options"][-1].startswith("ro,")
    assert lines(proof, "memory.high cannot be written: Read-only file system")
    assert proof["high"] == "max"
    assert lines(proof, ": killed")
    assert (proof["left"], proof["status"]) == ("", 0)


def test_with_a_full_disk_nothing_is_set_that_could_not_be_undone(seen: Proofs) -> None:
    proof = seen["full"]
    (line,) = lines(proof, "cgroups.journal")
    assert line.endswith("cannot be written (No space left on device): nothing is changed")
    assert (proof["high"], proof["status"]) == ("max", 0)


def test_where_no_fork_is_to_be_had_it_kills(seen: Proofs) -> None:
    """Strict overcommit, and all of it spent: neither a fork nor new memory is to be had, by the daemon or anybody."""
    proof = seen["no fork"]
    assert "Cannot allocate memory" in proof["refused"]
    assert lines(proof, "pre_kill could not be started: Cannot allocate memory")
    assert lines(proof, ": killed")
    assert (proof["left"], proof["status"]) == ("", 0)


def test_init_the_daemon_and_what_it_was_started_from_are_never_killed_whatever_a_policy_wants(seen: Proofs) -> None:
    proof = seen["never"]
    (line,) = lines(proof, ": killed")
    assert f"small ({proof['small']})" in line
    assert (proof["lives"], proof["status"]) == ([True, True, True], 0)


def test_the_daemon_is_locked_protected_and_out_of_the_kernel_s_choice(seen: Proofs) -> None:
    own = seen["own"]
    assert (own["adj"], own["min"]) == (-1000, 32 * MIB)
    assert own["locked_kb"] >= own["rss_kb"] > 0
    assert own["said"] == []


def test_the_kernel_never_had_to(seen: Proofs) -> None:
    print(f"{seen['log']['seconds']:.0f} s")
    assert not [line for line in seen["log"]["lines"] if "invoked oom-killer" in line]
    assert trouble(seen["log"]) == []
