"""systemd-oomd: its configuration, units' properties and .oomrule files, merged as systemd merges them."""

from __future__ import annotations

from pathlib import Path

import pytest

from importing.loaded import left_out, loaded, rules_of
from importing.played import Fired, at, cgroup, machine, played
from oompolicy.errors import ConfigError
from oompolicy.importing.imported import Imported, Setting
from oompolicy.importing.systemd_files import Entry, Unit, in_order, percent, seconds, unit_name
from oompolicy.importing.systemd_oomd import import_systemd
from oompolicy.rules.readings import Readings

# The settings that Debian's systemd-oomd ships, in its files.
SHIPPED = {
    "/etc/systemd/oomd.conf": "[OOM]\n#SwapUsedLimit=90%\n#DefaultMemoryPressureLimit=60%\n",
    "/usr/lib/systemd/oomd.conf.d/10-oomd-defaults.conf": "[OOM]\nDefaultMemoryPressureDurationSec=20s\n",
    "/usr/lib/systemd/system/-.slice.d/10-oomd-root-slice-defaults.conf": "[Slice]\nManagedOOMSwap=kill\n",
    "/usr/lib/systemd/system/user@.service.d/10-oomd-user-service-defaults.conf": (
        "[Service]\nManagedOOMMemoryPressure=kill\nManagedOOMMemoryPressureLimit=50%\n"
    ),
}
SWAP_IS_LOW = (
    "mem_available_percent < {0} and swap_total_mib > 0 and swap_free_percent < {0} and "
    'of("/**", cgroup.swap_mib > 0.05 * swap_total_mib)'
)


def imported(files: dict[str, str]) -> Imported:
    return import_systemd(files, "/etc/systemd")


def entry(value: str) -> Entry:
    return Entry("OOM", "Key", value, Setting(f"Key={value}", "here:1"))


def unit(name: str, is_of_user: bool = False, **settings: str) -> Unit:
    return Unit(name, is_of_user, {key: entry(value) for key, value in settings.items()})


def test_what_debian_ships(trusted_folder: Path) -> None:
    made = imported(SHIPPED)
    config = loaded(made, trusted_folder)
    assert [(rule.name, rule.when, rule.scope) for rule in config.rules] == [
        ("root.slice-swap", SWAP_IS_LOW.format(10), ("/",)),
        (
            "user@-.service-pressure",
            "lasts(cgroup.psi.memory.full.avg10 > 50, 20) and not lasts(cgroup.scan_pages_per_s == 0, 30)",
            ("/user.slice/user-*.slice/user@*.service",),
        ),
    ]


def test_a_file_in_etc_masks_the_one_of_its_name_and_the_last_drop_in_counts() -> None:
    made = imported(
        {
            **SHIPPED,
            "/etc/systemd/oomd.conf.d/10-oomd-defaults.conf": "",
            "/etc/systemd/oomd.conf.d/50-mine.conf": "[OOM]\nSwapUsedLimit=80%\nDefaultMemoryPressureLimit=700‰\n",
            "/usr/lib/systemd/oomd.conf.d/60-later.conf": "[OOM]\nSwapUsedLimit=8500‱\n",
            "/etc/systemd/system/user@.service.d/90-limit.conf": "[Service]\nManagedOOMMemoryPressureLimit=\n",
        }
    )
    rules = rules_of(made)
    assert rules["root.slice-swap"].when == SWAP_IS_LOW.format(15)
    assert rules["user@-.service-pressure"].when.startswith("lasts(cgroup.psi.memory.full.avg10 > 70, 30)")


def test_of_several_units_whoever_swaps_most_goes(trusted_folder: Path) -> None:
    units = {f"/etc/systemd/system/{name}.slice": "[Slice]\nManagedOOMSwap=kill\n" for name in ("a", "b")}
    made = imported(units)
    (rule,) = rules_of(made).values()
    assert (rule.name, rule.scope) == ("systemd-oomd-swap", ("/",))
    loaded(made, trusted_folder)
    swaps = {"/a.slice": 90, "/a.slice/x": 40, "/a.slice/y": 50, "/b.slice": 60, "/c.slice": 99}
    looks = [
        at(at_s, machine(available, free), *(cgroup(path, swap_mib=mib * share) for path, mib in swaps.items()))
        for at_s, (available, free, share) in enumerate([(11, 5, 1), (5, 11, 1), (9, 9, 0.5), (9, 9, 1)])
    ]
    assert played(made, looks) == [Fired(3, "systemd-oomd-swap", "/b.slice")]


def test_pressure_that_lasts_kills_what_is_scanned_most_in_the_unit_alone() -> None:
    """As ManagedOOMMemoryPressure= in systemd.resource-control(5): of its descendants, and of nobody else's."""
    user = "/user.slice/user-{0}.slice/user@{0}.service"
    pages = {f"{user.format(1000)}/app.slice/a": 5, f"{user.format(1000)}/app.slice/b": 7, user.format(1000): 12}
    pages |= {f"{user.format(1000)}/app.slice": 12, f"{user.format(7)}/app.slice/a": 99, user.format(7): 99}

    def look(at_s: int) -> Readings:
        pressed = {user.format(1000): 55 if at_s > 4 else 45}
        return at(at_s, None, *(cgroup(path, 100, pressed.get(path, 0), n * at_s) for path, n in pages.items()))

    assert played(imported(SHIPPED), [look(at_s) for at_s in range(30)]) == [
        Fired(25, "user@-.service-pressure", f"{user.format(1000)}/app.slice/b")
    ]


def test_a_unit_without_anything_below_goes_itself() -> None:
    made = imported({"/etc/systemd/system/db.service": "[Service]\nManagedOOMSwap=kill\n"})
    looks = [at(0, machine(5, 5), cgroup("/system.slice/db.service", swap_mib=90))]
    assert played(made, looks) == [Fired(0, "db.service-swap", "/system.slice/db.service")]


def test_all_of_a_unit(trusted_folder: Path) -> None:
    files = {
        "/etc/systemd/system/a.slice": "[Slice]\nOOMRules=r\n",
        "/etc/systemd/system/-.slice": "[Slice]\nOOMRules=r\n",
    }
    made = imported({**files, "/etc/systemd/oomd/rules.d/r.oomrule": "[Rule]\nSwapUsageMax=80%\nAction=kill-all\n"})
    (rule,) = rules_of(made).values()
    assert (rule.scope, rule.among) == (("/a.slice",), ("/a.slice",))
    assert left_out(made)["Action=kill-all"] == "a rule does not kill all of the machine"
    loaded(made, trusted_folder)


def test_a_unit_can_take_it_back() -> None:
    made = imported({**SHIPPED, "/etc/systemd/system/-.slice.d/20.conf": "[Slice]\nManagedOOMSwap=auto\n"})
    assert list(rules_of(made)) == ["user@-.service-pressure"]


def test_a_ruleset_of_a_unit(trusted_folder: Path) -> None:
    made = imported(
        {
            "/etc/systemd/system/batch.slice": "[Slice]\nOOMRules=busy other\n",
            "/etc/systemd/oomd/rules.d/busy.oomrule": (
                "[Rule]\nMemoryPressureAbove=25%\nSwapUsageMax=800‰\nAction=kill-by-swap\nLastingSec=1min 5s\n"
            ),
            "/etc/systemd/oomd/rules.d/unused.oomrule": "[Rule]\nSwapUsageMax=80%\nAction=kill-all\n",
        }
    )
    rule = rules_of(made)["batch.slice-busy"]
    assert rule.when == "lasts(cgroup.psi.memory.full.avg10 > 25 and swap_total_mib > 0 and swap_used_percent > 80, 65)"
    assert (rule.scope, rule.among) == (("/batch.slice",), ("/batch.slice", "/batch.slice/**"))
    assert rule.by == ("cgroup.swap_mib",)
    assert left_out(made) == {
        "OOMRules=other": "there is no other.oomrule among these",
        "unused.oomrule": "no unit among these names it in OOMRules=",
    }
    loaded(made, trusted_folder)


@pytest.mark.parametrize("text", ["[Rule]\nAction=kill-all\n", "[Rule]\nSwapUsageMax=5%\n", "[Rule]\n"])
def test_a_ruleset_that_systemd_ignores_makes_no_rule(text: str) -> None:
    made = imported(
        {"/etc/systemd/system/a.slice": "[Slice]\nOOMRules=r\n", "/etc/systemd/oomd/rules.d/r.oomrule": text}
    )
    assert made.rules == ()
    assert "ignores it" in left_out(made)["r.oomrule"]


def test_a_preference_stays_where_it_is() -> None:
    made = imported({"/etc/systemd/system/db.service": "[Service]\nManagedOOMPreference=omit\n"})
    assert made.rules == ()
    assert "stays in the unit" in left_out(made)["ManagedOOMPreference=omit"]


def test_the_configuration_alone_watches_nothing() -> None:
    made = imported({"/etc/systemd/oomd.conf": "[OOM]\nSwapUsedLimit=80%\nPrekillHookTimeoutSec=5\n"})
    assert made.rules == ()
    assert left_out(made).keys() == {"PrekillHookTimeoutSec=5", "oomd.conf alone"}


@pytest.mark.parametrize(
    ("made", "cgroup"),
    [
        (unit("-.slice"), "/"),
        (unit("a-b.slice"), "/a.slice/a-b.slice"),
        (unit("user-*.slice"), "/user.slice/user-*.slice"),
        (unit("ssh.service"), "/system.slice/ssh.service"),
        (unit("db.service", Slice="db-main.slice"), "/db.slice/db-main.slice/db.service"),
        (unit("run-x@*.service"), "/system.slice/system-run\\x2dx.slice/run-x@*.service"),
        (unit("user@*.service"), "/user.slice/user-*.slice/user@*.service"),
        (unit("-.slice", is_of_user=True), "/user.slice/user-*.slice/user@*.service"),
        (unit("x.service", is_of_user=True), "/user.slice/user-*.slice/user@*.service/app.slice/x.service"),
        (unit("*.service"), "/system.slice/*.service"),
    ],
)
def test_where_a_units_cgroup_is(made: Unit, cgroup: str) -> None:
    assert made.cgroup == cgroup


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/etc/systemd/system/a.service", "a.service"),
        ("/etc/systemd/system/a.service.d/x.conf", "a.service"),
        ("/etc/systemd/system/user-.slice.d/x.conf", "user-*.slice"),
        ("/etc/systemd/system/-.slice.d/x.conf", "-.slice"),
        ("/etc/systemd/system/service.d/x.conf", "*.service"),
        ("/etc/systemd/system/getty@.service", "getty@*.service"),
        ("/etc/systemd/oomd.conf.d/x.conf", None),
        ("oomd.conf", None),
    ],
)
def test_which_unit_a_file_is_of(path: str, name: str | None) -> None:
    assert unit_name(path) == name


def test_files_come_in_systemds_order() -> None:
    files = dict.fromkeys(
        ("usr/lib/systemd/a.d/20.conf", "etc/systemd/a.d/30.conf", "run/systemd/a.d/20.conf", "a"), ""
    )
    assert [path for path, _ in in_order(files)] == ["a", "run/systemd/a.d/20.conf", "etc/systemd/a.d/30.conf"]


@pytest.mark.parametrize(("text", "number"), [("60%", 60), ("12.5%", 12.5), ("600‰", 60), ("5‱", 0.05)])
def test_shares(text: str, number: float) -> None:
    assert percent(entry(text)) == pytest.approx(number)


@pytest.mark.parametrize("text", ["60", "101%", "-1%", "%", "ten%"])
def test_what_is_no_share(text: str) -> None:
    with pytest.raises(ConfigError):
        percent(entry(text))


@pytest.mark.parametrize(("text", "number"), [("20", 20), ("20s", 20), ("1min 30s", 90), ("500ms", 0.5), ("2h", 7200)])
def test_time_spans(text: str, number: float) -> None:
    assert seconds(entry(text)) == pytest.approx(number)


@pytest.mark.parametrize("text", ["soon", "5x", "", "1min30"])
def test_what_is_no_time_span(text: str) -> None:
    if text == "1min30":
        assert seconds(entry(text)) == 90
        return
    with pytest.raises(ConfigError):
        seconds(entry(text))


@pytest.mark.parametrize(
    ("path", "text", "what"),
    [
        ("/etc/systemd/oomd.conf", "[OOM]\nSwapUsedLimit\n", "/etc/systemd/oomd.conf:2"),
        ("/etc/systemd/oomd.conf", "SwapUsedLimit=5%\n", "/etc/systemd/oomd.conf:1"),
        ("/etc/systemd/system/a.slice", "[Slice]\nManagedOOMSwap=yes\n", "/etc/systemd/system/a.slice:2"),
        ("notes.txt", "[Slice]\nManagedOOMSwap=kill\n", "notes.txt"),
    ],
)
def test_what_is_broken_is_told_with_its_place(path: str, text: str, what: str) -> None:
    with pytest.raises(ConfigError) as caught:
        imported({path: text})
    assert caught.value.what == what


def test_lines_go_on_after_a_backslash() -> None:
    made = imported({"/etc/systemd/system/a.slice": "[Slice]\nManagedOOMSwap=\\\n# between\nkill\n"})
    assert list(rules_of(made)) == ["a.slice-swap"]
