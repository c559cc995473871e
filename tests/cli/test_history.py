"""`oompolicy history`: the record and the kernel's log as one list, each kill once."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import click
import pytest

from kill_entries import KILL
from oom_logs import FIXTURES, as_log, global_report, memcg_report, report_of
from oompolicy.cli import oompolicy, past_kills
from oompolicy.cli.past_kills import LogClock, entry_of, merged
from oompolicy.errors import OompolicyError
from oompolicy.rules.rule import Victim
from oompolicy.service.history import Entry, History
from oompolicy.sources.oom_report import read_reports

from conftest import Run

NOW_MS = 1_700_000_000_000
AWAKE = LogClock(NOW_MS, monotonic_ms=1_000_000, slept_ms=0)
RECORDED = KILL._replace(victims=(Victim(4242, "sort"),), freed_bytes=300 << 20)
OF_HOOK = RECORDED._replace(
    by="kernel",
    rule=None,
    scope="/job",
    victims=(Victim(302, "two words"),),
    freed_bytes=None,
    why="OOM in /job: chose",
)


def write(folder: Path, *entries: Entry) -> Path:
    folder.mkdir(mode=0o700, exist_ok=True)
    kept = History(folder, pytest.fail)
    for entry in entries:
        kept.append(entry)
    kept.close()
    return folder


def kmsg(messages: list[str], ago_ms: int = 0) -> bytes:
    """As /dev/kmsg has them, so long ago."""
    stamp_us = (time.monotonic_ns() // 1_000_000 - ago_ms) * 1000
    return b"".join(f"6,{number},{stamp_us},-;{text}\n".encode() for number, text in enumerate(messages))


@dataclass
class Shown:
    out: str
    err: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]


Show = Callable[..., Shown]


@pytest.fixture
def show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Show:
    """The command in this process, with a kernel's log of the test's; none where the test has made none."""
    monkeypatch.setattr(past_kills, "KMSG", str(tmp_path / "kmsg"))

    def run(*arguments: object, log: bytes = b"") -> Shown:
        (tmp_path / "kmsg").write_bytes(log)
        oompolicy.main(["history", *map(str, arguments)], standalone_mode=False)
        return Shown(*capfd.readouterr())

    return run


def test_the_table_says_who_by_whom_where_how_much_and_why(show: Show, tmp_path: Path) -> None:
    group = RECORDED._replace(victims=(Victim(7, "a"), Victim(8, "b")), killed=24, action="kill_cgroup", scope="/x")
    found = show("--state-dir", write(tmp_path / "state", RECORDED, group))
    head, first, second = found.out.splitlines()
    assert head.split() == ["TIME", "BY", "VICTIM", "CGROUP", "FREED", "MIB", "WHY"]
    when = datetime.fromtimestamp(NOW_MS / 1000).strftime("%Y-%m-%d %H:%M:%S")
    assert first.split() == [*when.split(), "low", "sort", "(4242)", "/batch", "300", *RECORDED.why.split()]
    assert "a (7) and 23 more" in second
    assert "/x: mem_available_percent" in second
    assert found.err == ""


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"action": "freeze", "victims": (), "killed": 0}, [" freeze "]),
        (
            {"victims": (), "killed": 0, "failed": "nobody can be killed"},
            [" nobody ", ": failed: nobody can be killed"],
        ),
        ({"dry_run": True, "killed": 0, "freed_bytes": None}, ["sort (4242)", "dry run, nothing was done: "]),
    ],
)
def test_what_was_no_kill_is_not_shown_as_one(
    show: Show, tmp_path: Path, changes: dict[str, Any], words: list[str]
) -> None:
    out = show("--state-dir", write(tmp_path / "state", RECORDED._replace(**changes))).out
    assert all(word in out for word in words), out


def test_kills_that_no_daemon_has_seen_come_from_the_kernel_s_log_at_their_time(show: Show, tmp_path: Path) -> None:
    (line,) = show("--json", "--state-dir", tmp_path / "none", log=kmsg(memcg_report(), ago_ms=60_000)).lines
    assert abs(time.time() * 1000 - 60_000 - line["time_ms"]) < 30_000
    assert (line["by"], line["scope"], line["cgroup"]) == ("kernel", "/job", "/job/team")
    assert line["victims"] == [{"pid": 302, "comm": "two words"}]
    held = "the kernel's choice of 2 candidates; it held 3.9 MiB"
    assert line["why"] == f"OOM in /job (asked for by two words, 302): {held}"


def test_a_kill_that_both_tell_of_is_shown_once_with_the_record_s_reason(show: Show, tmp_path: Path) -> None:
    recorded = OF_HOOK._replace(time_ms=time.time_ns() // 1_000_000, cgroup=None)
    log = kmsg(memcg_report(), ago_ms=1000) + kmsg(global_report(), ago_ms=500)
    lines = show("--json", "--state-dir", write(tmp_path / "state", recorded), log=log).lines
    assert [line["victims"][0]["pid"] for line in lines] == [202, 302]
    assert lines[1]["why"] == OF_HOOK.why
    assert lines[1]["cgroup"] == "/job/team"  # what only the log knows


@pytest.mark.parametrize(
    ("clock", "told_ms", "is_one"),
    [
        (AWAKE, -4_000, True),
        (AWAKE, 4_000, True),
        (AWAKE, 60_000, False),  # another process that has the pid by then
        (AWAKE, -60_000, False),
        (AWAKE._replace(slept_ms=100_000), 60_000, True),  # the log's clock stood still meanwhile
        (AWAKE._replace(slept_ms=100_000), -60_000, False),
        (AWAKE._replace(now_ms=NOW_MS + 30 * 86_400_000), 60_000, True),  # a month ago: clocks come apart
    ],
)
def test_they_are_the_same_kill_where_the_moment_is_the_same(clock: LogClock, told_ms: int, is_one: bool) -> None:
    told = entry_of(report_of(memcg_report()), NOW_MS + told_ms)
    assert (len(merged([OF_HOOK], [told], clock)) == 1) is is_one


def test_what_a_dry_run_only_named_is_no_other_kill() -> None:
    dry = OF_HOOK._replace(by="rule", rule="try", dry_run=True)
    assert len(merged([dry], [entry_of(report_of(memcg_report()), NOW_MS)], AWAKE)) == 2


def test_victims_of_a_group_come_from_the_log() -> None:
    (report,) = read_reports([(FIXTURES / "6.1-group.log").read_bytes()])
    told = entry_of(report, NOW_MS)
    assert [victim.comm for victim in told.victims] == ["captain", "member", "member"]
    assert "with it all of /job/team, by memory.oom.group" in told.why
    (one,) = merged([OF_HOOK._replace(victims=told.victims[:1])], [told], AWAKE)
    assert (one.killed, one.why) == (3, OF_HOOK.why)


def test_a_report_without_a_victim_says_why() -> None:
    told = entry_of(report_of(global_report(kill="Kernel panic - not syncing: Out of memory: panic_on_oom")), NOW_MS)
    assert told.victims == ()
    assert told.failed is not None


def test_the_log_s_clock_stands_for_times_of_the_day() -> None:
    assert AWAKE.time_ms(1_000_000_000) == NOW_MS
    assert AWAKE.time_ms(940_000_000) == NOW_MS - 60_000


def test_of_a_log_that_was_cut_nobody_is_said_to_have_survived(run_command: Run, tmp_path: Path) -> None:
    (tmp_path / "cut.log").write_bytes((FIXTURES / "6.12-allocating_task.log").read_bytes()[:1500])
    done = run_command("history", tmp_path / "cut.log")
    assert (done.status, "nobody" in done.out) == (0, False)
    assert "the log does not say who was killed" in done.out
    entry = json.loads(run_command("history", "--json", tmp_path / "cut.log").out)
    assert (entry["victims"], entry["failed"]) == ([], None)


def test_every_kind_of_report_makes_an_entry() -> None:
    logs = sorted(FIXTURES.glob("*.log"))
    assert logs
    for path in logs:
        for report in read_reports([path.read_bytes()]):
            entry = entry_of(report, None)
            assert entry.why.startswith("OOM in "), path
            assert entry.victims or entry.failed, path


def test_a_log_in_a_file_has_its_own_times(show: Show, tmp_path: Path) -> None:
    messages = memcg_report()
    (tmp_path / "iso").write_bytes(as_log(f"2024-05-09T12:34:56+0200 db kernel: {each}" for each in messages))
    (line,) = show("--json", tmp_path / "iso").lines
    assert line["time_ms"] == 1_715_250_896_000
    (tmp_path / "boot").write_bytes(as_log(f"[   12.345678] {each}" for each in messages))
    found = show(tmp_path / "boot")
    assert found.out.splitlines()[1].startswith("12.345678")
    assert "1 reports without a time of a day" in found.err


def test_a_copy_of_a_record_is_a_file_too(show: Show, tmp_path: Path) -> None:
    write(tmp_path / "state", RECORDED)
    (line,) = show("--json", tmp_path / "state/history").lines
    assert line["rule"] == "low"


def test_last_and_since(show: Show, tmp_path: Path) -> None:
    now_ms = time.time_ns() // 1_000_000
    entries = [RECORDED._replace(time_ms=now_ms - ago_s * 1000) for ago_s in (90_000, 5400, 60)]
    state = write(tmp_path / "state", *entries)
    for options, number in (((), 3), (("-n", 2), 2), (("--since", "2h"), 2), (("--since", "1min"), 0)):
        assert len(show("--json", "--state-dir", state, *options).lines) == number, options
    moment = datetime.fromtimestamp(now_ms / 1000 - 70).strftime("%Y-%m-%d %H:%M:%S")
    assert len(show("--json", "--state-dir", state, "--since", moment).lines) == 1
    assert show("--state-dir", state, "-n", 1).out.startswith("… 2 before these (--last)\n")
    assert show("--state-dir", state, "--since", "1s").out == "Nobody was killed since then.\n"
    with pytest.raises(click.BadParameter, match="yesterday is no time"):
        show("--state-dir", state, "--since", "yesterday")


def test_nothing_at_all_is_one_sentence(show: Show, tmp_path: Path) -> None:
    found = show("--state-dir", tmp_path / "none")
    assert found.out == (
        f"No kill is recorded: neither by a daemon in {tmp_path}/none, nor in what the kernel's log still has.\n"
    )
    assert show("--json", "--state-dir", tmp_path / "none").out == ""


def test_broken_lines_are_counted_and_the_rest_is_shown(show: Show, tmp_path: Path) -> None:
    state = write(tmp_path / "state", RECORDED)
    with (state / "history").open("a") as file:
        file.write("broken\n{}\n")
    found = show("--json", "--state-dir", state)
    assert len(found.lines) == 1
    assert "2 lines of the history cannot be read, and left out" in found.err


def test_a_log_that_cannot_be_read_is_a_note(show: Show, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = write(tmp_path / "state", RECORDED)
    monkeypatch.setattr(past_kills, "KMSG", str(tmp_path / "not there"))
    found = show("--json", "--state-dir", state)
    assert len(found.lines) == 1
    assert "kills that only the kernel's log tells of are missing" in found.err


def test_the_state_dir_is_the_configuration_s(show: Show, trusted_folder: Path) -> None:
    write(trusted_folder / "elsewhere", RECORDED)
    (trusted_folder / "oompolicy.toml").write_text(f'state_dir = "{trusted_folder}/elsewhere"\n')
    (line,) = show("--json", "--config", trusted_folder / "oompolicy.toml").lines
    assert line["rule"] == "low"


def test_a_file_that_is_not_there_is_an_error(show: Show, tmp_path: Path) -> None:
    with pytest.raises(OompolicyError, match="cannot be read"):
        show(tmp_path / "nothing")


def test_what_a_victim_calls_itself_is_shown_and_not_obeyed(show: Show, tmp_path: Path) -> None:
    named = RECORDED._replace(victims=(Victim(7, "\x1b[2J\udcff"),))
    state = write(tmp_path / "state", named)
    found = show("--state-dir", state)
    assert "\x1b" not in found.out
    assert r"\x1b[2J\udcff" in found.out
    assert show("--json", "--state-dir", state).lines[0]["victims"][0]["pid"] == 7


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_without_root_it_says_what_to_do(run_command: Run, trusted_folder: Path) -> None:
    state = write(trusted_folder / "state", RECORDED)
    nobody = ("setpriv", "--reuid=65534", "--clear-groups")
    done = run_command("history", "--state-dir", state, prefix=nobody)
    assert done.status == 1
    assert done.err == (f"oompolicy: {state}/history: cannot be read: run as root, or name another state_dir\n")
