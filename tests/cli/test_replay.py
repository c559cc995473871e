"""`replay`: its JSON, its table, and what it says when there is nothing to say."""

from __future__ import annotations

import gzip
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from oom_logs import FIXTURES, SHARED, as_log, global_report, memcg_report

from conftest import Run

KEYS = [
    "file", "report", "constraint", "kernel", "complete", "candidates", "killed", "model", "policy", "agrees",
    "why_not",
]  # fmt: skip


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "kern.log"
    path.write_bytes(as_log(f"May  9 12:34:56 db kernel: {line}" for line in [*global_report(), *memcg_report()]))
    return path


def lines_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_json_has_the_stable_keys(run_command: Run, log: Path) -> None:
    done = run_command("replay", "--json", log)
    assert (done.status, done.err) == (0, "")
    first, second = lines_of(done.out)
    assert list(first) == KEYS
    assert first == {
        "file": str(log),
        "report": 1,
        "constraint": "CONSTRAINT_NONE",
        "kernel": "6.12.1",
        "complete": True,
        "candidates": 2,
        "killed": {"pid": 202, "comm": "big"},
        "model": {"pid": 202, "comm": "big", "points": 101519},
        "policy": None,
        "agrees": True,
        "why_not": None,
    }
    assert (second["report"], second["constraint"], second["killed"]) == (
        2,
        "CONSTRAINT_MEMCG",
        {"pid": 302, "comm": "two words"},
    )


def test_a_policy_and_another_against_it(run_command: Run, log: Path) -> None:
    done = run_command(
        "replay", "--json", log, "--policy", "protect", "--param", "COMMS=big", "--against", "kernel_default"
    )
    first, second = lines_of(done.out)
    assert list(first) == [*KEYS[:9], "against", *KEYS[9:]]
    assert first["policy"]["comm"] == "hog"
    assert list(first["policy"]) == ["pid", "comm", "points", "reason"]
    assert first["against"]["comm"] == "big"
    assert second["policy"]["comm"] == second["against"]["comm"] == "two words"


def test_the_table_lists_the_reports_whose_victim_differs(run_command: Run, log: Path) -> None:
    storm = as_log(["Out of memory: Killed process 7 (unseen) total-vm:8kB"])
    done = run_command(
        "replay", log, "-", "--policy", "protect", "--param", "COMMS=big", "--against", "kernel_default", stdin=storm
    )
    assert done.status == 0
    table, summary, pairs = done.out.splitlines()[:-2], *done.out.splitlines()[-2:]
    table = [line for line in table if not line.startswith(" ")]  # a remark may take several lines
    assert len(table) == 3  # the heading, the one that differs, the one that has no table
    assert "big (202)" in table[1]
    assert "hog (201)" in table[1]
    assert "no task table" in table[2]
    assert summary == "3 reports: the model of the kernel agrees with 2, differs in 0, cannot tell in 1."
    assert pairs == "protect and kernel_default pick different victims in 1 of 2; 1 cannot be told."


def test_the_table_of_a_plain_replay(run_command: Run, log: Path) -> None:
    done = run_command("replay", log)
    assert done.status == 0
    heading, first, _, summary = done.out.splitlines()
    assert heading.split() == ["#", "WHEN", "SCOPE", "KILLED", "MODEL", "POINTS", "AGREES", "REMARKS"]
    assert first.split() == ["1", "May", "9", "12:34:56", "machine", "big", "(202)", "big", "(202)", "101,519", "yes"]
    assert summary == "2 reports: the model of the kernel agrees with 2, differs in 0, cannot tell in 0."


def test_standard_input_gzip_and_several_files(run_command: Run, log: Path, tmp_path: Path) -> None:
    packed = tmp_path / "kern.log.1.gz"
    packed.write_bytes(gzip.compress(log.read_bytes()))
    done = run_command("replay", "--json", packed, "-", stdin=log.read_bytes())
    assert [(line["file"], line["report"]) for line in lines_of(done.out)] == [
        (str(packed), 1),
        (str(packed), 2),
        ("-", 1),
        ("-", 2),
    ]


def test_a_damaged_archive_yields_what_it_has(run_command: Run, log: Path, tmp_path: Path) -> None:
    packed = tmp_path / "kern.log.gz"
    packed.write_bytes(gzip.compress(log.read_bytes() + os.urandom(1 << 19).hex().encode())[:-100_000])
    done = run_command("replay", "--json", packed)
    assert len(lines_of(done.out)) == 2
    assert "damaged" in done.err
    assert done.status == 0


def test_values_come_from_a_configuration(run_command: Run, log: Path, trusted_folder: Path) -> None:
    config = trusted_folder / "oompolicy.toml"
    config.write_text('[[assign]]\ncgroup = "/job"\nvalue = 5\n')
    done = run_command("replay", "--json", log, "--policy", "memcg_priority", "--config", config)
    reasons = [line["policy"]["reason"] for line in lines_of(done.out)]
    assert "task.memcg.value=5" in reasons[1]


# Trouble


def test_no_file_named_says_how_to_feed_the_journal(run_command: Run) -> None:
    done = run_command("replay")
    assert done.status == 2
    assert "journalctl -k | oompolicy replay -" in done.err


def test_a_file_that_is_not_there(run_command: Run, tmp_path: Path) -> None:
    done = run_command("replay", tmp_path / "none")
    assert (done.status, done.out) == (1, "")
    assert done.err == f"oompolicy: {tmp_path}/none: cannot be read: No such file or directory\n"


def test_an_empty_file(run_command: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    done = run_command("replay", tmp_path / "empty")
    assert (done.status, done.out) == (1, "")
    assert done.err.startswith(f"oompolicy: {tmp_path}/empty: is empty: ")


def test_a_binary_file(run_command: Run, tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\x7fELF\0\0" + os.urandom(100_000))
    done = run_command("replay", tmp_path / "binary")
    assert (done.status, done.out) == (1, "")
    assert done.err.startswith(f"oompolicy: no OOM report found in {tmp_path}/binary: it is not text: ")


def test_a_log_without_a_report(run_command: Run) -> None:
    done = run_command("replay", "-", stdin=b"May  9 12:34:56 db systemd[1]: all is well\n")
    assert (done.status, done.out) == (1, "")
    assert done.err.startswith("oompolicy: no OOM report found in standard input: ")


def test_among_several_files_those_without_a_report_are_noted(run_command: Run, log: Path, tmp_path: Path) -> None:
    (tmp_path / "quiet").write_text("all is well\n")
    done = run_command("replay", "--json", tmp_path / "quiet", log)
    assert (done.status, len(lines_of(done.out))) == (0, 2)
    assert done.err == f"oompolicy: no OOM report found in {tmp_path}/quiet\n"
    done = run_command("replay", "--json", tmp_path / "none", log)
    assert (done.status, len(lines_of(done.out))) == (1, 2)


def test_a_policy_that_faults_is_an_error_after_the_answer(run_command: Run, log: Path) -> None:
    done = run_command("replay", "--json", log, "--policy", "newest_first")
    assert len(lines_of(done.out)) == 2
    assert done.status == 1
    assert "policy newest_first: faulted" in done.err


# Speed


@pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/oom-reports is not there")
def test_the_shared_folder_takes_less_than_two_seconds(run_command: Run) -> None:
    files = sorted(SHARED.glob("*.txt"))
    started = time.monotonic()
    done = run_command("replay", "--json", *files)
    taken_s = time.monotonic() - started
    assert done.status == 0
    assert len(lines_of(done.out)) == len(files)
    assert taken_s < 2


def test_fixtures_as_a_table(run_command: Run) -> None:
    done = run_command("replay", *sorted(FIXTURES.glob("6.12-*.log")))
    assert done.status == 0
    assert "differs in 0" in done.out
