"""oomd.json: detectors as conditions, actions as cgroups compared, and never a rule that fires more often unsaid."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import pytest

from importing.loaded import FIXTURES, left_out, loaded, rules_of
from oompolicy.errors import ConfigError
from oompolicy.importing.imported import Imported
from oompolicy.importing.oomd import import_oomd
from oompolicy.importing.oomd_detectors import BadArgumentError, Plugin, detected
from oompolicy.rules.condition import Memory
from oompolicy.rules.look import Look
from oompolicy.rules.readings import CgroupReading, MachineReading, Pressure, Readings, Stall
from oompolicy.rules.rule import Kill, Other
from oompolicy.rules.syntax import parse_condition

MIB = 1 << 20


def imported(
    *detectors: dict[str, object],
    action: str = "kill_by_pg_scan",
    args: dict[str, object] | None = None,
    **more: object,
) -> Imported:
    """One ruleset with one group, that kills in batch.slice."""
    done = {"name": action, "args": args or {"cgroup": "batch.slice/*"}}
    ruleset = {"name": "r", "detectors": [["g", *detectors]], "actions": [done], **more}
    return import_oomd(json.dumps({"rulesets": [ruleset]}), "oomd.json")


def detector(name: str, **args: str) -> dict[str, object]:
    return {"name": name, "args": args}


def condition_of(name: str, **args: str) -> str:
    """In a rule whose scope is the cgroup that it names."""
    plugin = Plugin(name, args, "here")
    return detected(plugin, plugin.cgroups).condition


def fires(when: str, looks: Iterable[tuple[int, CgroupReading]], swap: tuple[int, int] = (0, 0)) -> list[bool]:
    """Is it true at each look? (seconds, the cgroup /c); swap: free, total in MiB."""
    condition, memory, before, answers = parse_condition(when), Memory(), None, []
    for at_s, cgroup in looks:
        of_machine = MachineReading(
            mem_total_bytes=10_000 * MIB, swap_free_bytes=swap[0] * MIB, swap_total_bytes=swap[1] * MIB
        )
        now = Readings(at_s * 1000, of_machine, {"/c": cgroup})
        answer, memory = condition.judge(Look(now, "/c", before), memory)
        answers.append(answer.holds)
        before = now
    return answers


def pressed(avg10: float, avg60: float = 0.0) -> CgroupReading:
    return CgroupReading("/c", memory=Pressure(full=Stall(avg10=avg10, avg60=avg60)))


def test_every_plugin_loads(trusted_folder: Path) -> None:
    made = import_oomd((FIXTURES / "oomd.json").read_text(), "oomd.json")
    config = loaded(made, trusted_folder)
    assert [(rule.name, rule.scope, rule.among, rule.is_dry_run) for rule in config.rules] == [
        ("thrashing", ("/",), ("/batch.slice/*",), False),
        ("fat", ("/",), ("/batch.slice/*",), False),
        ("half", ("/",), ("/batch.slice/*",), True),  # by its own `dry`
        ("low-swap", ("/",), ("/batch.slice/*", "/user.slice/user-*.slice/session-*.scope"), False),
        ("dying", ("/batch.slice/job-*.service",), ("/batch.slice/job-*.service",), False),
        ("elsewhere", ("/",), ("/batch.slice/*",), False),
    ]
    assert [rule.name for rule in config.rules if rule.is_recursive] == ["half"]
    assert {rule.cooldown_ms for rule in config.rules} == {0, 15_000, 30_000}


def test_pressure_above_for_its_duration() -> None:
    when = condition_of("pressure_above", cgroup="c", resource="memory", threshold="60", duration="10")
    looks = [(0, pressed(61)), (5, pressed(61)), (10, pressed(61)), (15, pressed(60)), (20, pressed(61))]
    assert fires(when, looks) == [False, False, True, False, False]


def test_pressure_rising_is_not_falling_rapidly() -> None:
    when = condition_of("pressure_rising_beyond", cgroup="c", resource="memory", threshold="40", duration="5")
    rising = [(0, pressed(90, 50)), (5, pressed(90, 50)), (10, pressed(80, 50)), (15, pressed(60, 50))]
    assert fires(when, rising) == [False, True, True, False]  # 60 < 0.85 * 80
    assert fires(when, [(0, pressed(90, 50)), (5, pressed(90, 50)), (10, pressed(40, 50))])[-1] is False


def test_reclaimed_within_the_last_seconds() -> None:
    when = condition_of("memory_reclaim", cgroup="c", duration="10")
    scanned = [(0, 5), (5, 9), (10, 9), (15, 9), (20, 9), (25, 10)]
    looks = [(at_s, CgroupReading("/c", scanned_pages=pages)) for at_s, pages in scanned]
    assert fires(when, looks)[1:] == [True, True, True, False, True]


@pytest.mark.parametrize(
    ("threshold", "mib"), [("300", 300), ("1.5G 512M", 2048), ("32K 512", 0.03173828125), ("20%", 2000)]
)
def test_memory_above_in_all_its_spellings(threshold: str, mib: float) -> None:
    when = condition_of("memory_above", cgroup="c", threshold=threshold, duration="0")
    edge = int(mib * MIB)
    looks = [(0, CgroupReading("/c", current_bytes=edge)), (1, CgroupReading("/c", current_bytes=edge + 4096))]
    assert fires(when, looks) == [False, True]


def test_anonymous_memory_goes_before_all_memory() -> None:
    when = condition_of("memory_above", cgroup="c", threshold="1G", threshold_anon="5G", duration="0")
    assert when == "cgroup.anon_mib > 5120"


def test_swap_free_never_fires_without_swap() -> None:
    when = condition_of("swap_free", threshold_pct="10")
    assert fires(when, [(0, pressed(0))], swap=(9, 100)) == [True]
    assert fires(when, [(0, pressed(0))], swap=(10, 100)) == [False]
    assert fires(when, [(0, pressed(0))], swap=(0, 0)) == [False]


@pytest.mark.parametrize(
    ("args", "op"),
    [({}, "<="), ({"lte": "false"}, ">"), ({"negate": "true"}, ">"), ({"lte": "0", "negate": "1"}, "<=")],
)
def test_dying_descendants(args: dict[str, str], op: str) -> None:
    assert condition_of("nr_dying_descendants", cgroup="c", count="7", **args) == f"cgroup.dying_descendants {op} 7"


@pytest.mark.parametrize(
    "lost",
    [
        detector("of_our_own"),
        detector("xattr_glob", cgroup="batch.slice", xattr="user.x", allowlist="*"),
        detector("nr_dying_descendants", cgroup="/", count="5"),
        detector("memory_above", cgroup="/", threshold_anon="5G", duration="5"),
    ],
)
def test_what_lost_a_part_of_its_condition_is_a_dry_run(lost: dict[str, object], trusted_folder: Path) -> None:
    kept = detector("pressure_above", cgroup="batch.slice", resource="memory", threshold="60", duration="30")
    made = imported(kept, lost)
    assert rules_of(made)["r"].is_dry_run
    assert not rules_of(imported(kept))["r"].is_dry_run
    assert any("dry_run" in why for why in left_out(made).values())
    loaded(made, trusted_folder)


@pytest.mark.parametrize(
    ("one", "asks"),
    [
        (detector("pressure_above", cgroup="web.slice,a.slice/*", resource="memory", threshold="60", duration="30"),
         'lasts(of("/web.slice", "/a.slice/*", cgroup.psi.memory.full.avg10 > 60), 30)'),
        (detector("memory_reclaim", cgroup="web.slice", duration="10"),
         'not lasts(not of("/web.slice", cgroup.scan_pages_per_s > 0), 10)'),
        (detector("memory_reclaim", cgroup="/", duration="10"), "not lasts(scan_pages_per_s == 0, 10)"),
        (detector("exists", cgroup="web.slice", negate="true"), 'not exists("/web.slice")'),
        (detector("nr_dying_descendants", cgroup="web.slice", count="7", lte="false"),
         'of("/web.slice", cgroup.dying_descendants > 7)'),
        (detector("memory_above", cgroup="/", threshold="70%", duration="1"),
         "lasts(mem_total_mib - mem_free_mib > 0.7 * mem_total_mib, 1)"),
        (detector("pressure_above", cgroup="/,a.slice", resource="io", threshold="6", duration="3"),
         'lasts(psi.io.full.avg10 > 6 or of("/a.slice", cgroup.psi.io.full.avg10 > 6), 3)'),
        (detector("swap_free", threshold_pct="5", swapout_bps_threshold="40960"),
         "swap_total_mib > 0 and swap_free_percent < 5 and swap_out_pages_per_s >= 10"),
    ],
)  # fmt: skip
def test_what_is_watched_need_not_be_what_is_killed(one: dict[str, object], asks: str, trusted_folder: Path) -> None:
    made = imported(one)
    (rule,) = rules_of(made).values()
    assert (rule.when, rule.scope, rule.among, rule.is_dry_run) == (asks, ("/",), ("/batch.slice/*",), False)
    loaded(made, trusted_folder)


def test_groups_are_alternatives_with_one_delay(trusted_folder: Path) -> None:
    groups = [
        ["a", detector("swap_free", threshold_pct="5")],
        ["b", detector("exists", cgroup="b")],
        ["c", detector("x")],
    ]
    action = {"name": "kill_by_swap_usage", "args": {"cgroup": "batch.slice/*", "threshold": "5%"}}
    made = import_oomd(json.dumps({"rulesets": [{"name": "r", "detectors": groups, "actions": [action]}]}), "o")
    (rule,) = rules_of(made).values()
    enough = 'of("/batch.slice/*", cgroup.swap_mib >= 0.05 * swap_total_mib)'
    assert rule.when == f'((swap_total_mib > 0 and swap_free_percent < 5) or exists("/b")) and {enough}'
    loaded(made, trusted_folder)


def test_a_group_that_lost_something_is_a_rule_of_its_own(trusted_folder: Path) -> None:
    kept, lost = detector("swap_free", threshold_pct="5"), detector("of_our_own")
    groups = [["a", kept], ["b", kept, lost]]
    actions = [{"name": "kill_by_pg_scan", "args": {"cgroup": "batch.slice/*"}}]
    made = import_oomd(json.dumps({"rulesets": [{"name": "r", "detectors": groups, "actions": actions}]}), "o")
    assert [(rule.name, rule.is_dry_run) for rule in rules_of(made).values()] == [("r", False), ("r.2", True)]
    loaded(made, trusted_folder)


def test_cgroups_relative_to_the_rulesets_own(trusted_folder: Path) -> None:
    made = imported(
        detector("swap_above_memory_max", ruleset_cgroup=".", threshold_pct="50"),
        args={"ruleset_cgroup": "task/*"},
        cgroup="jobs.slice/*.service",
    )
    rule = rules_of(made)["r"]
    assert (rule.scope, rule.among) == (("/jobs.slice/*.service",), ("/jobs.slice/*.service/task/*",))
    assert not rule.is_dry_run
    assert rule.when == "cgroup.swap_mib > 0.5 * cgroup.max_mib"
    loaded(made, trusted_folder)


@pytest.mark.parametrize("never", [detector("stop"), detector("pressure_above", resource="io")])
def test_what_never_fires_makes_no_rule(never: dict[str, object]) -> None:
    made = imported(detector("swap_free", threshold_pct="10"), never)
    assert made.rules == ()
    assert any("never fires" in why for why in left_out(made).values())


def test_a_ruleset_that_does_nothing_is_said() -> None:
    made = imported(detector("dump_cgroup_overview", cgroup="a.slice"), action="continue")
    assert made.rules == ()
    assert "r" in left_out(made)


def test_the_pressure_of_the_root_is_the_machines(trusted_folder: Path) -> None:
    root = detector("pressure_above", cgroup="/", resource="io", threshold="60", duration="30")
    made = imported(root)
    assert rules_of(made)["r"].when == "lasts(psi.io.full.avg10 > 60, 30)"
    loaded(made, trusted_folder)


def test_a_kill_outside_of_the_ruleset_s_own_cgroup_is_a_dry_run() -> None:
    made = imported(detector("swap_above_memory_max", ruleset_cgroup=".", threshold_pct="50"), cgroup="jobs.slice/*")
    assert rules_of(made)["r"].is_dry_run
    assert any("it kills in /batch.slice/*" in why for why in left_out(made).values())


def test_a_question_below_the_ruleset_s_own_cgroups_is_of_any_of_them() -> None:
    below = detector("memory_above", ruleset_cgroup="main", threshold="5G", duration="0")
    many = imported(below, args={"ruleset_cgroup": "."}, cgroup="jobs.slice/*")
    one = imported(below, args={"ruleset_cgroup": "."}, cgroup="jobs.slice/a.service")
    assert (rules_of(many)["r"].is_dry_run, rules_of(one)["r"].is_dry_run) == (True, False)


@pytest.mark.parametrize(
    ("action", "args", "by"),
    [
        ("kill_by_pg_scan", {}, ("cgroup.scan_pages_per_s",)),
        ("kill_by_swap_usage", {"recursive": "true"}, ("cgroup.swap_mib",)),
        ("kill_by_io_cost", {}, ("rate(cgroup.io_mib)",)),
        ("kill_by_pressure", {"resource": "io"}, ("cgroup.psi.io.full.avg10 / 2 + cgroup.psi.io.full.avg60 / 2",)),
    ],
)
def test_what_cgroups_are_compared_by(
    action: str, args: dict[str, object], by: tuple[str, ...], trusted_folder: Path
) -> None:
    made = imported(detector("swap_free", threshold_pct="10"), action=action, args={"cgroup": "batch.slice/*", **args})
    (rule,) = rules_of(made).values()
    assert (rule.by, rule.is_recursive, rule.action) == (by, bool(args.get("recursive")), Kill.CGROUP)
    loaded(made, trusted_folder)


def test_the_root_is_never_killed_but_what_is_in_it_may_be_compared() -> None:
    low = detector("swap_free", threshold_pct="10")
    assert rules_of(imported(low, args={"cgroup": "/", "recursive": "true"}))["r"].among == ("/*",)
    assert imported(low, args={"cgroup": "/"}).rules == ()


def test_a_restart_is_of_the_unit_that_is_watched(trusted_folder: Path) -> None:
    above = detector("memory_above", cgroup="system.slice/proxy.service", threshold_anon="15G", duration="10")
    made = imported(above, action="systemd_restart", args={"service": "proxy.service", "post_action_delay": "20"})
    rule = rules_of(made)["r"]
    assert (rule.action, rule.scope, rule.cooldown_ms) == (Other.RESTART, ("/system.slice/proxy.service",), 20_000)
    loaded(made, trusted_folder)


def test_a_restart_is_where_the_unit_is_named() -> None:
    above = detector("memory_above", cgroup="work.slice/proxy.service", threshold_anon="15G", duration="10")
    made = imported(above, action="systemd_restart", args={"service": "proxy.service"})
    rule = rules_of(made)["r"]
    assert (rule.scope, rule.when) == (
        ("/work.slice/proxy.service",),
        'lasts(of("/work.slice/proxy.service", cgroup.anon_mib > 15360), 10)',
    )
    made = imported(above, action="systemd_restart", args={"service": "proxy.service"}, cgroup="other.slice")
    assert rules_of(made)["r"].is_dry_run


def test_a_restart_of_what_is_not_watched_is_of_the_unit() -> None:
    low = detector("swap_free", threshold_pct="10")
    made = imported(low, action="systemd_restart", args={"service": "proxy.service"})
    assert rules_of(made)["r"].scope == ("/system.slice/proxy.service",)


def test_the_chain_ends_with_what_kills() -> None:
    kills = [{"name": name, "args": {"cgroup": "batch.slice/*"}} for name in ("kill_by_io_cost", "kill_by_pg_scan")]
    low = detector("swap_free", threshold_pct="10")
    made = import_oomd(json.dumps({"rulesets": [{"name": "r", "detectors": [["g", low]], "actions": kills}]}), "o")
    assert len(made.rules) == 1
    assert any("has killed nothing" in why for why in left_out(made).values())
    kills[0]["args"]["always_continue"] = "true"  # type: ignore[index]
    made = import_oomd(json.dumps({"rulesets": [{"name": "r", "detectors": [["g", low]], "actions": kills}]}), "o")
    assert [rule.rule.action for rule in made.rules] == [Kill.CGROUP, Kill.CGROUP]


@pytest.mark.parametrize(
    ("text", "what", "why"),
    [
        ('{"rulesets": [}', "o:1:15", "is not JSON: expected a value"),
        ('{\n"rulesets": [] "x": 1}', "o:2:16", "is not JSON: expected ','"),
        ('{"rulesets": []} x', "o:1:18", "is not JSON: something stands after the end"),
        ('{"a": 1, "a": 2}', "o:1:10", 'is not JSON: "a" is there twice'),
        ('{"a": "b', "o:1:7", "is not JSON: a text has no end in its line"),
        ("[" * 200, "o:1:102", "is not JSON: more than 100 levels"),
        ("", "o:1:1", "is not JSON: the text ends too early"),
        ("[]", "o:1", "the configuration is not an object {...}"),
        ("{}", "o", "there are no rulesets"),
        ('{"rulesets": {}}', "o:1", "rulesets is not an array [...]"),
        ('{"rulesets": [{"actions": {}}]}', "o:1", "actions is not an array [...]"),
        ('{"rulesets":\n[{"detectors": [[]]}]}', "o:2", "a detector group is empty"),
        ('{"rulesets": [{"detectors": [["g", 5]]}]}', "o:1", "a plugin is not an object {...}"),
        ('{"rulesets": [{"actions": [{}]}]}', "o:1", "a plugin has no name"),
    ],
)
def test_what_is_broken_is_told_with_its_place(text: str, what: str, why: str) -> None:
    with pytest.raises(ConfigError) as caught:
        import_oomd(text, "o")
    assert (caught.value.what, caught.value.why) == (what, why)


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("pressure_above", {"cgroup": "c", "resource": "cpu", "threshold": "1", "duration": "1"}),
        ("pressure_above", {"cgroup": "c", "resource": "io", "threshold": "much", "duration": "1"}),
        ("memory_above", {"cgroup": "c", "duration": "1"}),
        ("memory_above", {"cgroup": "c", "threshold": "5X", "duration": "1"}),
        ("swap_free", {}),
    ],
)
def test_an_argument_that_oomd_refuses(name: str, args: dict[str, str]) -> None:
    with pytest.raises(BadArgumentError):
        detected(Plugin(name, args, "here"))


def test_comments_are_read_over() -> None:
    assert import_oomd('// one\n{ /* two\n */ "rulesets": [] // three\n}', "o").rules == ()
