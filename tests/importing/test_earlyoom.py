"""earlyoom's command line: the rules fire where it would, and take whom it would."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from importing.loaded import FIXTURES, left_out, loaded, policy_of, rules_of
from oompolicy.errors import ConfigError
from oompolicy.importing.earlyoom import import_arguments, import_defaults
from oompolicy.importing.imported import Imported
from oompolicy.policy.decision import decide
from oompolicy.rules.condition import Memory
from oompolicy.rules.look import Look
from oompolicy.rules.readings import MachineReading, Readings
from oompolicy.rules.rule import Kill
from oompolicy.rules.syntax import parse_condition

from worlds import machine, task

MIB = 1 << 20


def imported(arguments: str) -> Imported:
    return import_arguments(shlex.split(arguments), "earlyoom")


def fires(when: str, available: float, swap_free: float, swap_total: int = 1000) -> bool:
    """Amounts in MiB, of 10,000 MiB of memory."""
    reading = MachineReading(
        mem_total_bytes=10_000 * MIB,
        mem_available_bytes=int(available * MIB),
        swap_total_bytes=swap_total * MIB,
        swap_free_bytes=int(swap_free * MIB),
    )
    return parse_condition(when).judge(Look(Readings(0, reading)), Memory())[0].holds


def test_the_shipped_file_loads(trusted_folder: Path) -> None:
    made = import_defaults((FIXTURES / "earlyoom.default").read_text(), "earlyoom")
    config = loaded(made, trusted_folder)
    assert [rule.policy for rule in config.rules] == [None, None]
    assert left_out(made).keys() == {"-r 3600", "percent of memory", "SIGTERM, then SIGKILL"}


def test_both_memory_and_swap_must_be_low() -> None:
    rules = rules_of(imported("-m 10 -s 20,5"))
    soft, hard = rules["earlyoom-sigterm"].when, rules["earlyoom-sigkill"].when
    assert fires(soft, 1000, 200)
    assert not fires(soft, 1001, 200)
    assert not fires(soft, 1000, 201)
    assert fires(hard, 500, 50)
    assert not fires(hard, 501, 50)
    assert not fires(hard, 500, 51)


def test_no_swap_counts_as_none_left() -> None:
    assert fires(rules_of(imported(""))["earlyoom-sigterm"].when, 1000, 0, swap_total=0)


def test_of_share_and_amount_the_lower_counts() -> None:
    soft = rules_of(imported("-m 10 -M 409600,307200 -s 100"))["earlyoom-sigterm"].when
    assert fires(soft, 400, 1000)
    assert not fires(soft, 401, 1000)


def test_sigkill_goes_first_and_at_once_sigterm_has_its_grace() -> None:
    assert [(rule.rule.name, rule.rule.grace_ms) for rule in imported("-w 3").rules] == [
        ("earlyoom-sigkill", 0),
        ("earlyoom-sigterm", 3000),
    ]


def test_equal_thresholds_kill_at_once_alone() -> None:
    assert list(rules_of(imported("-m 9,9 -s 9,9"))) == ["earlyoom-sigkill"]


def test_preferred_and_avoided_by_300_points_of_oom_score(trusted_folder: Path) -> None:
    """300 of /proc/PID/oom_score are 45 % of all memory since v5.9."""
    made = imported("--prefer '^(java|ruby)$' --avoid '(^|/)db'")
    loaded(made, trusted_folder)
    policy = policy_of(made, trusted_folder)
    world = machine(
        *(task(comm, rss=rss) for comm, rss in (("java", "1G"), ("other", "5.4G"), ("db-writer", "5.6G"))),
        totalpages="10G",
    )
    order = [one.task.comm for one in decide(world.oom_control(), policy, world.taken_boottime_ns).candidates]
    assert order == ["java", "other", "db-writer"]


def test_an_expression_is_searched_in_user_space(trusted_folder: Path) -> None:
    made = imported("--prefer 'chrom(e|ium)'")
    loaded(made, trusted_folder)
    policy = policy_of(made, trusted_folder)
    world = machine(task("big", rss="2G"), task("chromium-x", rss="1M"), totalpages="10G")
    chosen = decide(world.oom_control(), policy, world.taken_boottime_ns).chosen
    assert chosen is not None
    assert chosen.comm == "chromium-x"
    assert any("in the kernel" in what for what in left_out(made))


def test_sorted_by_rss(trusted_folder: Path) -> None:
    policy = policy_of(imported("--sort-by-rss"), trusted_folder)
    world = machine(task("swapped", rss="1G", swap="9G"), task("resident", rss="2G"), totalpages="20G")
    chosen = decide(world.oom_control(), policy, world.taken_boottime_ns).chosen
    assert chosen is not None
    assert chosen.comm == "resident"


def test_ignored_is_protected(trusted_folder: Path) -> None:
    made = imported("--ignore '^sshd$|kde' --ignore-root-user")
    assert made.protected_comms == ("sshd", "*kde*")
    assert made.protected_uids == (0,)
    config = loaded(made, trusted_folder)
    assert (config.protect.comms, config.protect.uids) == (("sshd", "*kde*"), (0,))


def test_ignored_by_an_expression_is_spared_and_that_is_said(trusted_folder: Path) -> None:
    made = imported("--ignore '^[sx]shd$'")
    loaded(made, trusted_folder)
    assert "return SPARE" in made.policies[0].text
    assert "last, not never" in left_out(made)["--ignore '^[sx]shd$'"]


def test_scripts_group_and_dry_run(trusted_folder: Path) -> None:
    made = imported("-gn -N /usr/local/bin/after -P /usr/local/bin/before --dryrun")
    loaded(made, trusted_folder)
    for rule in rules_of(made).values():
        assert rule.action is Kill.TREE
        assert rule.notify == ("/usr/local/bin/after",)
        assert (rule.pre_kill, rule.pre_kill_limit_ms) == (("/usr/local/bin/before",), 200)
        assert rule.is_dry_run
    assert {"-g", "-n"} < left_out(made).keys()


def test_desktops_are_told() -> None:
    made = imported("-n -m 5")
    assert {rule.notify for rule in rules_of(made).values()} == {("desktop",)}
    assert "-n" not in left_out(made)


def test_a_name_too_long_to_be_met_is_said() -> None:
    said = left_out(imported("--avoid '^gnome-control-center$'"))
    assert said["--avoid: gnome-control-center"].endswith("did you mean gnome-control-c?")


def test_a_posix_class_is_left_out() -> None:
    made = imported("--avoid '[[:upper:]]'")
    assert "Python" in left_out(made)["--avoid '[[:upper:]]'"]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ("-m", "argument 1: -m needs a value"),
        ("-m 10,x", "argument 1: -m: 'x' is not a number"),
        ("-m 120", "argument 1: -m 120: more than 100 %"),
        ("-m 0,0", "argument 1: -m 0,0: nothing is below 0"),
        ("-s 10 -q", "argument 3: there is no option -q in earlyoom 1.9"),
        ("--perfer x", "argument 1: there is no option --perfer in earlyoom 1.9"),
        ("10", "argument 1: '10' is not an option: earlyoom takes options alone"),
        ("-N script", "argument 1: -N needs an absolute path, not 'script'"),
    ],
)
def test_what_earlyoom_refuses_is_refused_with_its_place(arguments: str, why: str) -> None:
    with pytest.raises(ConfigError) as caught:
        imported(arguments)
    assert str(caught.value) == why


def test_an_unclosed_quote_is_shown() -> None:
    with pytest.raises(ConfigError) as caught:
        import_defaults('# nothing\nEARLYOOM_ARGS="-m 5\n', "/etc/default/earlyoom")
    assert caught.value.what == "/etc/default/earlyoom:2"
    assert "EARLYOOM_ARGS" in caught.value.excerpt


def test_the_last_line_of_the_file_counts() -> None:
    made = import_defaults("EARLYOOM_ARGS=-m5\nEARLYOOM_ARGS=\"-m 7 --prefer '^a b$'\"\n#EARLYOOM_ARGS=-m9\n", "e")
    assert "mem_available_percent <= 7 " in rules_of(made)["earlyoom-sigterm"].when
    assert 'PREFERRED = ("a b",)' in made.policies[0].text
