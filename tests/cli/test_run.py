"""`oompolicy run`: its options, what it prints once, and what it refuses. The daemon at work: tests/backends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import Run

IN_A_USER_NAMESPACE = ("unshare", "--user")  # an unprivileged user for all that the kernel checks

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def test_once_prints_the_plan_and_what_it_holds(run_command: Run) -> None:
    done = run_command("run", "--backend", "dry_run", "--once", "-p", "newest_first")
    assert done.status == 0
    assert "PLAN" in done.out
    assert "processes get another oom_score_adj" in done.out
    assert "GROWTH THAT CHANGES IT, MIB" in done.out
    assert "the machine" in done.out


def test_once_as_json_has_a_line_for_everything(run_command: Run) -> None:
    done = run_command("run", "--backend", "dry_run", "--once", "--json", "-p", "newest_first")
    lines = [json.loads(line) for line in done.out.splitlines()]
    kinds = {line["kind"]: list(line) for line in lines}
    assert kinds["adjustment"] == ["kind", "pid", "comm", "cgroup", "original", "adj"]
    assert kinds["scope"][:6] == ["kind", "scope", "totalpages", "candidates", "held", "first"]


def test_json_goes_with_once(run_command: Run) -> None:
    done = run_command("run", "--backend", "dry_run", "--json")
    assert done.status == 2
    assert "--json goes with --once" in done.err


@pytest.mark.parametrize(("option", "why"), [((), "has no [[rule]] to go by"), (("--once",), "does nothing once")])
def test_killing_by_rules_takes_rules_and_time(run_command: Run, option: tuple[str, ...], why: str) -> None:
    done = run_command("run", "--backend", "kill", *option)
    assert done.status == 1
    assert done.err.startswith(f"oompolicy: backend kill: {why}")


@pytest.mark.parametrize("option", ["--compiled", "--published", "--shadow=newest_first"])
def test_what_is_the_hooks_alone_is_refused_for_others(run_command: Run, option: str) -> None:
    done = run_command("run", "--backend", "dry_run", option)
    assert done.status == 1
    assert done.err == (
        "oompolicy: backend dry_run: knows no --compiled, --published or --shadow: they are the hook's\n"
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="without root it is root that is missing")
def test_the_hook_needs_its_daemon(run_command: Run) -> None:
    done = run_command("run", "--backend", "hook", "--once")
    assert done.status == 1
    assert "backend hook: cannot --once: its answers expire without the daemon: use --backend oom_score_adj" in done.err


def test_the_hook_needs_root(run_command: Run) -> None:
    prefix = ("setpriv", "--reuid=65534", "--clear-groups") if os.geteuid() == 0 else ()
    done = run_command("run", "--backend", "hook", prefix=prefix)
    assert done.status == 1
    assert "needs root" in done.err


def test_an_unknown_backend_is_wrong_usage(run_command: Run) -> None:
    assert run_command("run", "--backend", "magic").status == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("-p", "newest_frist"), "did you mean newest_first?"),
        (("-p", "priority_floor", "--param", "FLOOR=1"), "has no parameter FLOOR"),
        (("--scope", "/no/such"), "cgroup /no/such: does not exist here"),
    ],
)
def test_wrong_names_are_one_line(run_command: Run, arguments: tuple[str, ...], said: str) -> None:
    done = run_command("run", "--backend", "dry_run", "--once", *arguments)
    assert done.status == 1
    assert said in done.err
    assert len(done.err.splitlines()) == 1


def test_a_wrong_configuration_is_shown_with_its_line(run_command: Run, trusted_folder: Path) -> None:
    path = trusted_folder / "oompolicy.toml"
    path.write_text('interval_ms = 100\npolcy = "newest_first"\n')
    done = run_command("run", "--config", path)
    assert done.status == 1
    assert f"oompolicy: {path}:2: unknown key polcy" in done.err
    assert "did you mean policy?" in done.err


def test_the_configuration_s_policy_and_parameters_count_and_options_come_first(
    run_command: Run, trusted_folder: Path
) -> None:
    path = trusted_folder / "oompolicy.toml"
    (trusted_folder / "mine.py").write_text(
        "from oompolicy import *\nADJ = 1\n@policy\ndef mine(task, oc):\n    return 1 // 0 if ADJ == 5 else DEFER\n"
    )
    path.write_text('policy = "mine.py"\nbackend = "dry_run"\nparams = { ADJ = 5 }\n')
    assert "policy mine faulted: ZeroDivisionError" in run_command("run", "--config", path, "--once").err
    assert run_command("run", "--config", path, "--once", "--param", "ADJ=6").err == ""
    assert run_command("run", "--config", path, "--once", "-p", "kernel_default").err == ""


@pytest.mark.root
@needs_root
def test_without_root_nothing_is_written(run_command: Run) -> None:
    done = run_command("run", "--backend", "oom_score_adj", prefix=IN_A_USER_NAMESPACE)
    assert (done.status, done.err) == (
        1,
        "oompolicy: run: needs root to put a policy in force: use --backend dry_run\n",
    )


@pytest.mark.root
@needs_root
def test_without_root_auto_only_says_what_it_would_do(run_command: Run) -> None:
    done = run_command("run", "--once", prefix=IN_A_USER_NAMESPACE)
    assert done.status == 0
    assert "not root: nothing will be changed, only said (backend dry_run)" in done.err


def test_the_loop_s_own_module_imports_nothing_big() -> None:
    """What the command line needs has been imported by then; the loop itself must not need it."""
    program = "import sys, oompolicy.daemon; print(*sorted({'click', 'rich', 'msgspec'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
