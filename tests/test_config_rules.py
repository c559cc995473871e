"""[[rule]], [budget], [protect] and drop-ins: what they become, and how they are told to be wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from oompolicy.assign import Assignment
from oompolicy.config import Config, load_config
from oompolicy.errors import ConfigError
from oompolicy.rules.protect import Protect
from oompolicy.rules.rule import Budget, Kill, Other, Rule


@pytest.fixture(autouse=True)
def _trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    """/tmp is not a folder that root trusts, so the check is told to be somebody else's."""
    monkeypatch.setattr("os.geteuid", lambda: 1000)


def loaded(folder: Path, text: str, **drop_ins: str) -> Config:
    (folder / "oompolicy.toml").write_text(text)
    (folder / "oompolicy.toml.d").mkdir(exist_ok=True)
    for name, more in drop_ins.items():
        (folder / "oompolicy.toml.d" / f"{name}.toml").write_text(more)
    return load_config(folder / "oompolicy.toml")


LOW = 'when = "mem_available_percent < 5"'


def test_every_key_of_a_rule(tmp_path: Path) -> None:
    config = loaded(
        tmp_path,
        f"""
        [[rule]]
        name = "thrash"
        when = "lasts(cgroup.psi.memory.full.avg10 > 20, 5)"
        scope = ["/batch.slice", "/user.slice/*"]
        policy = "mine.py:late"
        params = {{ LIMIT = 7, UIDS = [0, 33] }}
        action = "kill_cgroup"
        among = ["/batch.slice/**", "/user.slice/*/x/"]
        by = ["cgroup.swap_mib", "cgroup.current_mib"]
        recursive = true
        grace = "1min 30s"
        cooldown = "15s"
        anew = false
        budget = {{ kills = 3, per = "10min" }}
        pre_kill = ["/usr/bin/dump", "--short"]
        pre_kill_limit = "500ms"
        notify = ["notify-send"]
        dry_run = true

        [[rule]]
        name = "squeeze"
        {LOW}
        action = "high"
        scope = "/batch.slice"
        amount = "1.5G"
        undo_after = "2min"
        [rule.budget]
        kills = 1
        per = "1h"

        [budget]
        kills = 10
        per = "1h"

        [protect]
        cgroups = ["/system.slice/sshd.service"]
        comms = ["Xorg"]
        uids = [0]
        pids = [77]
        """,
    )
    assert config.rules == (
        Rule(
            "thrash",
            "lasts(cgroup.psi.memory.full.avg10 > 20, 5)",
            ("/batch.slice", "/user.slice/*"),
            f"{tmp_path}/mine.py:late",
            (("LIMIT", 7), ("UIDS", (0, 33))),
            Kill.CGROUP,
            ("/batch.slice/**", "/user.slice/*/x"),
            ("cgroup.swap_mib", "cgroup.current_mib"),
            True,
            grace_ms=90_000,
            cooldown_ms=15_000,
            must_last_anew=False,
            budget=Budget(3, 600_000),
            pre_kill=("/usr/bin/dump", "--short"),
            pre_kill_limit_ms=500,
            notify=("notify-send",),
            is_dry_run=True,
        ),
        Rule(
            "squeeze",
            "mem_available_percent < 5",
            ("/batch.slice",),
            action=Other.HIGH,
            amount_bytes=3 << 29,
            for_ms=120_000,
            budget=Budget(1, 3_600_000),
        ),
    )
    assert config.budget == Budget(10, 3_600_000)
    assert config.protect == Protect(("/system.slice/sshd.service",), ("Xorg",), (0,), (77,))


def test_a_rule_s_defaults_are_the_dataclass_s(tmp_path: Path) -> None:
    assert loaded(tmp_path, f'[[rule]]\nname = "low"\n{LOW}').rules == (Rule("low", "mem_available_percent < 5"),)


def test_cgroups_are_compared_by_their_size_where_nothing_is_said(tmp_path: Path) -> None:
    (rule,) = loaded(tmp_path, f'[[rule]]\nname = "low"\n{LOW}\naction = "kill_cgroup"\namong = "/a/*"').rules
    assert (rule.among, rule.by) == (("/a/*",), ("cgroup.current_mib",))


def test_other_cgroups_may_be_asked_about_whatever_the_scope(tmp_path: Path) -> None:
    (rule,) = loaded(tmp_path, """[[rule]]\nname = "low"\nwhen = 'of("/a", cgroup.swap_mib > 3)'""").rules
    assert rule.scope == ("/",)


def test_a_function_is_named_from_the_folder_of_its_file(tmp_path: Path) -> None:
    (rule,) = loaded(tmp_path, '[[rule]]\nname = "low"\npython = "mine.py:low"').rules
    assert (rule.when, rule.python) == ("", f"{tmp_path}/mine.py:low")


@pytest.mark.parametrize(
    ("text", "place", "why", "hint"),
    [
        ('when = "mem_avail_percent < 5"', ":3:9", "there is no field mem_avail_percent",
         "did you mean mem_available_percent?"),
        ("when = 'oom_kills > 1 and x > 3'", ":3:27", "there is no field x", "see docs/conditions.md for every field"),
        ('when = """\noom_kills > 1\n  and x > 3"""', ":5:7", "there is no field x",
         "see docs/conditions.md for every field"),
        ('when = "oom_kills > 1 \\u0061nd x > 3"', ":3", "there is no field x",
         "see docs/conditions.md for every field"),
        (f'{LOW}\ncooldwn = "3s"', ":4", "unknown key cooldwn in [[rule]]", "did you mean cooldown?"),
        (f'{LOW}\ncooldown = "3"', ":4", "'3' is no duration", 'write "500ms", "5s", "2min", "1h"'),
        (f"{LOW}\ncooldown = 3", ":4", "rule.cooldown: expected a text in quotes or nothing, got a whole number", None),
        (f'{LOW}\ngrace = "3 fortnights"', ":4", "'3 fortnights' is no duration",
         'write "500ms", "5s", "2min", "1h"'),
        (f'{LOW}\nbudget = {{ kills = 3, pro = "3s" }}', ":4", "unknown key pro in a rule's budget",
         "did you mean per?"),
        (f'{LOW}\nbudget = {{ kills = 3, per = "0s" }}', ":4", "'0s' is no duration",
         'write "500ms", "5s", "2min", "1h"'),
        (f'{LOW}\n[rule.budget]\nkills = 3\nper = "x"', ":6", "'x' is no duration",
         'write "500ms", "5s", "2min", "1h"'),
        (f"{LOW}\nbudget = {{ kills = 3 }}", ":4", "rule.budget has no per", "add per = …"),
        (f'{LOW}\naction = "kil"', ":4",
         'rule.action: \'kil\' is none of "kill", "kill_tree", "kill_cgroup", "freeze", "thaw", "reclaim", "high", '
         '"restart", "notify", "nothing"', 'did you mean "kill"?'),
        (f'{LOW}\naction = "reclaim"', ":1", 'action "reclaim" needs amount', 'add amount = "512M"'),
        (f'{LOW}\naction = "reclaim"\namount = "10%"', ":5", "'10%' is no size", 'write "512M" or "2G"'),
        (f'{LOW}\namount = "10M"', ":4", 'amount has no meaning for action "kill"', 'it is for "reclaim" or "high"'),
        (f'{LOW}\naction = "notify"', ":1", 'action "notify" needs a command',
         'add notify = ["COMMAND", "ARGUMENT"]'),
        (f'{LOW}\nscope = "batch.slice"', ":4", "'batch.slice' is not a path from the root of the cgroups",
         'write "/batch.slice"'),
        (f'{LOW}\nscope = "/sys/fs/cgroup/a"', ":4", "'/sys/fs/cgroup/a' is a path of the file system",
         "leave out /sys/fs/cgroup"),
        (f"{LOW}\nscope = []", ":4", "there is no scope", 'write "/" for the machine, or patterns of cgroups'),
        ('when = "cgroup.current_mib > 3"', ":3",
         "cgroup.current_mib is of a cgroup, and the rule's scope is the machine",
         'add scope = "/some.slice", write of("/some.slice", …), or use a field of the machine'),
        (f'{LOW}\namong = "/a/*"', ":4", 'among has no meaning for action "kill"', 'it is for "kill_cgroup"'),
        (f'{LOW}\naction = "kill_cgroup"\nby = "cgroup.swap_mib"', ":5", "by has no meaning without among",
         'add among = "/some.slice/*"'),
        (f'{LOW}\naction = "kill_cgroup"\namong = "/"', ":5", "the root is not killed whole",
         'write "/*" for what is in it'),
        (f'{LOW}\naction = "kill_cgroup"\namong = "/a/*"\nby = ["cgroup.swap_mib", "cgroup.swap"]', ":6:27",
         "there is no field cgroup.swap", "did you mean cgroup.swap_mib?"),
        ("", ":1", "rule low has neither when nor python", 'add when = "…", or python = "FILE.py:NAME"'),
        (f'{LOW}\npython = "a.py"', ":1", "rule low has both when and python",
         'add when = "…", or python = "FILE.py:NAME"'),
        (f'{LOW}\n[[rule]]\nname = "low"\n{LOW}', ":5", "there are two rules named low", None),
        (f'{LOW}\n[[rule]]\nname = "a b"\n{LOW}', ":5", "'a b' is no name", "1 to 64 letters, digits, - _ . @"),
        (f"{LOW}\n[protect]\ncoms = []", ":5", "unknown key coms in [protect]", "did you mean comms?"),
        (f'{LOW}\n[protect]\ncgroups = ["a"]', ":5", "'a' is not a path from the root of the cgroups", 'write "/a"'),
        (f"{LOW}\n[protect]\npids = [0]", ":5", "protect.pids: expected a whole number >= 1", None),
        (f'{LOW}\n[budget]\nkills = -1\nper = "1h"', ":5", "budget.kills: expected a whole number >= 0", None),
        (f'{LOW}\n[budget]\nkills = 1\nper = "1y"', ":6", "'1y' is no duration", 'write "500ms", "5s", "2min", "1h"'),
    ],
)  # fmt: skip
def test_a_wrong_rule_says_where_and_what(tmp_path: Path, text: str, place: str, why: str, hint: str | None) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, f'[[rule]]\nname = "low"\n{text}')
    error = caught.value
    assert (error.what.removeprefix(f"{tmp_path}/oompolicy.toml"), error.why, error.hint) == (place, why, hint)
    assert error.excerpt


def test_a_mistake_in_a_condition_is_shown_where_it_stands(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, '[[rule]]\nname = "low"\n  when = "oom_kills > x"')
    assert caught.value.excerpt == '    when = "oom_kills > x"\n                        ^'


def test_drop_ins_come_in_the_order_of_their_names_and_override_key_by_key(tmp_path: Path) -> None:
    config = loaded(
        tmp_path,
        'interval_ms = 1000\npolicy = "priority_floor"\nparams = { FLOOR_PAGES = 7 }\n[[assign]]\nvalue = 1',
        b="interval_ms = 3000\n[[assign]]\nvalue = 3",
        a='interval_ms = 2000\npolicy = "mine.py"\n[[assign]]\nvalue = 2',
    )
    folder = tmp_path / "oompolicy.toml.d"
    assert config.interval_ms == 3000
    assert (config.policy, config.params) == (f"{folder}/mine.py", ())
    assert config.assign == (Assignment(1), Assignment(2), Assignment(3))
    assert config.files == (tmp_path / "oompolicy.toml", folder / "a.toml", folder / "b.toml")


def test_a_rule_of_a_drop_in_takes_the_place_of_the_one_of_that_name(tmp_path: Path) -> None:
    main = "\n".join(f'[[rule]]\nname = "{name}"\n{LOW}' for name in ("one", "two", "three"))
    config = loaded(
        tmp_path,
        main,
        a=f'[[rule]]\nname = "two"\ndry_run = true\n{LOW}\n[[rule]]\nname = "four"\n{LOW}',
        b='[[rule]]\nname = "one"\nenabled = false',
    )
    assert [(rule.name, rule.is_dry_run) for rule in config.rules] == [("two", True), ("three", False), ("four", False)]


def test_protections_add_up_and_an_empty_list_forgets(tmp_path: Path) -> None:
    main = '[protect]\ncomms = ["a"]\nuids = [1]'
    config = loaded(tmp_path, main, a='[protect]\ncomms = ["b"]', b="[protect]\nuids = []\npids = [7]")
    assert config.protect == Protect((), ("a", "b"), (), (7,))


def test_a_mistake_in_a_drop_in_names_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"oompolicy\.toml\.d/a\.toml:1: unknown key polcy"):
        loaded(tmp_path, "", a="polcy = 3")


def test_drop_ins_count_without_a_main_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oompolicy.config.load.DEFAULT_PATH", tmp_path / "oompolicy.toml")
    (tmp_path / "oompolicy.toml.d").mkdir()
    (tmp_path / "oompolicy.toml.d" / "a.toml").write_text("interval_ms = 700")
    (tmp_path / "oompolicy.toml.d" / "note.txt").write_text("not TOML")
    (tmp_path / "oompolicy.toml.d" / ".a.toml.swp.toml").write_text("not TOML")
    assert load_config().interval_ms == 700
