"""nohang's configurations: thresholds, PSI, and badness as a policy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from importing.loaded import FIXTURES, left_out, loaded, policy_of, rules_of
from importing.played import Fired, at, played
from importing.played import machine as machine_at
from oompolicy.assign import Assignment, assigned
from oompolicy.errors import ConfigError
from oompolicy.importing.imported import Imported
from oompolicy.importing.nohang import import_nohang
from oompolicy.mm.sched import Task
from oompolicy.policy.decision import decide
from oompolicy.rules.rule import Other

from worlds import TaskSpec, machine, memcg, task


def imported(*lines: str) -> Imported:
    return import_nohang("\n".join(lines), "nohang.conf")


@dataclass(frozen=True)
class Seen:
    """What is read of processes, by their names: one text for all that can be asked."""

    texts: Mapping[str, str]

    def exe(self, task: Task) -> str | None:
        return self.texts.get(task.comm)

    cmdline = exe

    def environment(self, task: Task) -> tuple[str, ...]:
        return (self.texts.get(task.comm, ""),)


def chosen(made: Imported, folder: Path, seen: Mapping[str, str], *tasks: TaskSpec, **sizes: str) -> list[str]:
    """Who goes, in that order, with the values of the table."""
    world = machine(*tasks, *(task(comm, rss=rss) for comm, rss in sizes.items()), totalpages="10G")
    world = assigned(replace(world, details=Seen(seen)), [one.row for one in made.assigned])
    decision = decide(world.oom_control(), policy_of(made, folder), world.taken_boottime_ns)
    assert not decision.faults
    return [candidate.task.comm for candidate in decision.candidates]


def order(made: Imported, folder: Path, *parts: object) -> list[str]:
    world = machine(*parts, totalpages="10G")  # type: ignore[arg-type]
    decision = decide(world.oom_control(), policy_of(made, folder), world.taken_boottime_ns)
    assert not decision.faults
    return [candidate.task.comm for candidate in decision.candidates]


def test_the_shipped_files_load(trusted_folder: Path) -> None:
    plain = import_nohang((FIXTURES / "nohang.conf").read_text(), "nohang.conf")
    assert [rule.name for rule in loaded(plain, trusted_folder).rules] == ["nohang-hard", "nohang-soft"]
    assert left_out(plain).keys() == {"SIGTERM, then SIGKILL"}
    desktop = import_nohang((FIXTURES / "nohang-desktop.conf").read_text(), "nohang-desktop.conf")
    names = [rule.name for rule in loaded(desktop, trusted_folder).rules]
    assert names == ["nohang-hard", "nohang-hard-psi", "nohang-soft", "nohang-soft-psi", "nohang-warning"]
    assert {rule.notify for rule in rules_of(desktop).values()} == {("desktop",)}
    assert not [what for what in left_out(desktop) if what.startswith("@BADNESS_ADJ_RE_REALPATH ")]
    folder, first = trusted_folder, Assignment(-300, exe="/usr/libexec/Xorg")
    assert loaded(desktop, folder).assign[:1] == (first,)
    seen = {"Xorg": "/usr/lib/xorg/Xorg", "mine": "/home/me/Xorg", "helper": "/usr/lib/gdm3/anything"}
    sizes = {"Xorg": "3G", "mine": "2.5G", "helper": "3.5G", "bash": "1G"}
    assert chosen(desktop, folder, seen, **sizes) == ["mine", "bash", "helper", "Xorg"]


def test_thresholds_in_percent_and_in_mib() -> None:
    rules = rules_of(imported("soft_threshold_min_mem = 8 %", "soft_threshold_min_swap = 300 M"))
    assert rules["nohang-soft"].when == "mem_available_percent <= 8 and swap_free_mib <= 300"
    assert rules["nohang-soft"].grace_ms == 10_000
    assert rules["nohang-hard"].when == "mem_available_percent <= 2 and swap_free_percent <= 4"
    assert rules["nohang-hard"].grace_ms == 0


def test_psi_where_it_is_asked_for() -> None:
    rules = rules_of(
        imported(
            "psi_checking_enabled = True", "psi_metrics = some_avg60", "psi_excess_duration = 0", "min_badness = 1"
        )
    )
    assert rules["nohang-soft-psi"].when == (
        "psi.memory.some.avg60 >= 40 and mem_available_percent <= 5 and swap_total_mib > 0"
    )
    assert rules["nohang-soft-psi"].cooldown_ms == 15_000


def test_the_pressure_of_one_cgroup(trusted_folder: Path) -> None:
    made = imported("psi_checking_enabled = True", "psi_path = /sys/fs/cgroup/user.slice/memory.pressure")
    assert rules_of(made)["nohang-soft-psi"].when.startswith(
        'lasts(of("/user.slice", cgroup.psi.memory.full.avg10 >= 40) and mem_available_percent <= 5, 30)'
    )
    loaded(made, trusted_folder)
    made = imported("psi_checking_enabled = True", "psi_path = /proc/pressure/io")
    assert list(rules_of(made)) == ["nohang-hard", "nohang-soft"]
    assert "no PSI rule" in left_out(made)["psi_path = /proc/pressure/io"]


def test_pressure_counts_while_memory_is_short_too() -> None:
    """check_psi_ex: the timer of psi_excess_duration starts anew where either is over."""
    made = imported("psi_checking_enabled = True", "psi_excess_duration = 5", "soft_threshold_min_mem = 10 %")
    short, fine = machine_at(8, 50, full10=45), machine_at(12, 50, full10=45)
    looks = [at(at_s, fine if at_s == 4 else short) for at_s in range(12)]
    assert played(made, looks) == [Fired(10, "nohang-soft-psi", "")]


def test_memory_and_swap_must_both_be_short() -> None:
    made = imported()
    looks = [at(0, machine_at(4, 50)), at(1, machine_at(50, 3)), at(2, machine_at(4, 9)), at(10, machine_at(1, 3))]
    assert played(made, looks) == [Fired(2, "nohang-soft", ""), Fired(10, "nohang-hard", "")]


def test_zram_where_it_is_asked_for(trusted_folder: Path) -> None:
    made = imported(
        "zram_checking_enabled = True", "hard_threshold_max_zram = 900 M", "low_memory_warnings_enabled = True"
    )
    rules = rules_of(made)
    assert rules["nohang-soft-zram"].when == "zram_used_percent >= 55 and mem_available_percent <= 5"
    assert rules["nohang-hard-zram"].when == "zram_used_mib >= 900 and mem_available_percent <= 2"
    assert "(zram_used_percent >= 45 and mem_available_percent <= 20)" in rules["nohang-warning"].when
    loaded(made, trusted_folder)


def test_a_rule_has_one_notify() -> None:
    made = imported("post_action_gui_notifications = True", "post_kill_exe = /bin/true")
    rules = rules_of(made)
    assert (rules["nohang-hard"].notify, rules["nohang-soft"].notify) == (("/bin/true",), ("desktop",))
    assert "only SIGTERM is told" in left_out(made)["post_action_gui_notifications = True"]


def test_warnings_by_pressure_too(trusted_folder: Path) -> None:
    made = imported("low_memory_warnings_enabled = True", "psi_checking_enabled = True")
    rule = rules_of(made)["nohang-warning"]
    assert rule.when == (
        "(mem_available_percent <= 20 and swap_free_percent <= 25) or "
        "(psi.memory.full.avg10 >= 10 and mem_available_percent <= 20 and swap_total_mib > 0)"
    )
    assert rule.notify == ("desktop",)
    loaded(made, trusted_folder)


def test_badness_by_name_uid_and_cgroup(trusted_folder: Path) -> None:
    made = imported(
        "@BADNESS_ADJ_RE_NAME 200 /// ^Web Content$",
        "@BADNESS_ADJ_RE_UID -200 /// ^(33|34)$",
        r"@BADNESS_ADJ_RE_CGROUP_V2 -300 /// ^/db\.slice/",
    )
    loaded(made, trusted_folder)
    assert order(
        made,
        trusted_folder,
        task("Web Content", rss="1G"),
        task("web", rss="3G", uid=33),
        task("plain", rss="3.5G"),
        memcg("db.slice", tasks=[task("db", rss="4G")]),
    ) == ["Web Content", "plain", "web", "db"]


def test_more_points_only_without_a_negative_oom_score_adj(trusted_folder: Path) -> None:
    made = imported("@BADNESS_ADJ_RE_NAME 300 /// ^a$")
    kept = task("a", rss="1G", oom_score_adj=-1)
    assert order(made, trusted_folder, kept, task("b", rss="2G")) == ["b", "a"]


def test_positive_adjustments_can_be_ignored(trusted_folder: Path) -> None:
    made = imported("ignore_positive_oom_score_adj = True")
    assert order(made, trusted_folder, task("a", rss="1G", oom_score_adj=900), task("b", rss="2G")) == ["b", "a"]


def test_badness_by_what_a_row_of_values_reads(trusted_folder: Path) -> None:
    made = imported(
        "@BADNESS_ADJ_RE_CMDLINE 200 /// --type=renderer",
        "@BADNESS_ADJ_RE_ENVIRON 100 /// USER=user",
        "@BADNESS_ADJ_RE_CGROUP_V2 -100 /// /foo\\.service$",
        "@BADNESS_ADJ_RE_REALPATH -200 /// ^/usr/bin/(a|b)$",
    )
    assert [
        (row.value, row.cmdline or row.environment or row.cgroup) for row in loaded(made, trusted_folder).assign
    ] == [
        (300, "*--type=renderer*"),
        (150, "*USER=user*"),
        (-150, "*/foo.service"),
    ]
    assert "patterns alone" in left_out(made)["@BADNESS_ADJ_RE_REALPATH -200 /// ^/usr/bin/(a|b)$"]
    assert any("the last counts" in why for why in left_out(made).values())
    seen = {"tab": "/x --type=renderer -1", "main": "/x"}
    assert chosen(made, trusted_folder, seen, tab="1G", main="2G") == ["tab", "main"]


def test_values_count_as_badness_does_only_without_a_negative_oom_score_adj(trusted_folder: Path) -> None:
    made = imported("@BADNESS_ADJ_RE_CMDLINE 300 /// ^a$")
    kept = task("a", rss="1G", oom_score_adj=-1)
    assert chosen(made, trusted_folder, {"a": "a"}, kept, b="2G") == ["b", "a"]


@pytest.mark.parametrize("line", ["CWD 100 /// x", "CGROUP_V1 100 /// x", "ENVIRON 100 /// ^A=1", "CMDLINE 1 /// a.*b"])
def test_what_nothing_here_reads_is_left_out(line: str) -> None:
    made = imported(f"@BADNESS_ADJ_RE_{line}")
    assert (made.policies, made.assigned) == ((), ())
    assert f"@BADNESS_ADJ_RE_{line}" in left_out(made)


def test_warnings_with_a_command(trusted_folder: Path) -> None:
    made = imported("low_memory_warnings_enabled = True", "warning_exe = /usr/bin/logger low $PID")
    rule = rules_of(made)["nohang-warning"]
    assert (rule.action, rule.notify, rule.cooldown_ms) == (
        Other.NOTIFY,
        ("/usr/bin/logger", "low", "$PID"),
        60_000,
    )
    assert "$PID" in left_out(made)["warning_exe = /usr/bin/logger low $PID"]
    loaded(made, trusted_folder)


def test_what_is_not_a_default_and_has_no_equivalent_is_said() -> None:
    made = imported(
        "min_badness = 20",
        "max_sleep = 3",
        "min_sleep = 0.5",
        "brand_new = 1",
        "@SOFT_ACTION_RE_NAME ^foo$ /// kill -USR1 $PID",
    )
    assert left_out(made).keys() == {
        "min_badness = 20",
        "min_sleep = 0.5",
        "brand_new = 1",
        "@SOFT_ACTION_RE_NAME ^foo$ /// kill -USR1 $PID",
        "SIGTERM, then SIGKILL",
    }


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("soft_threshold_min_mem = 5", "soft_threshold_min_mem: '5' ends neither with % nor with M"),
        ("soft_threshold_min_mem = x %", "soft_threshold_min_mem: 'x' is not a number"),
        ("psi_checking_enabled = yes", "psi_checking_enabled: 'yes' is neither True nor False"),
        ("max_soft_exit_time = soon", "max_soft_exit_time: 'soon' is not a number"),
        ("nonsense", "is neither key = value nor a comment"),
        ("@BADNESS_ADJ_RE_NAME 5 /// (", "not a regular expression: missing ), unterminated subpattern at position 0"),
        ("@SOFT_ACTION_RE_NAME foo", "/// and a command are missing"),
        ("min_sleep = 1\nmin_sleep = 1", "min_sleep was set already, in line 2"),
    ],
)
def test_a_wrong_line_is_shown(line: str, why: str) -> None:
    with pytest.raises(ConfigError) as caught:
        imported("# first", line)
    assert caught.value.what.startswith(f"nohang.conf:{1 + len(line.splitlines())}")
    assert caught.value.why == why
    assert line.splitlines()[-1] in caught.value.excerpt
