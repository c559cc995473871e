"""The commands on stock Debian kernels with cgroup v2: a guest boots, OOMs, and obeys."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from lab import LabError
from lab.guest import Ended, GuestResult, run_guest
from lab.hog import hog
from lab.kernels import PATCHED
from lab.python_tree import python_tree

KERNELS = [pytest.param("6.12", marks=pytest.mark.guest_core), "6.1"]


def in_guest(kernel: str, script: str, **files: Path | bytes) -> GuestResult:
    if shutil.which("qemu-system-x86_64") is None:
        pytest.skip("no QEMU: apt-get install qemu-system-x86")
    try:
        done = run_guest(
            script, kernel, files={**python_tree(), **{f"/bin/{name}": file for name, file in files.items()}}
        )
    except LabError as error:
        pytest.skip(f"no guest here: {error}")
    assert done.ended is Ended.SCRIPT_DONE, done.console[-2000:]
    return done


@pytest.mark.guest
@pytest.mark.parametrize("kernel", KERNELS)
def test_demo_on_cgroup_v2(kernel: str) -> None:
    """The demo's own words, and its trace: nothing is left in the cgroup tree."""
    done = in_guest(kernel, "python3 -m oompolicy demo --json; ls /sys/fs/cgroup | grep -c oompolicy")
    lines = done.stdout.splitlines()
    first, second = map(json.loads, lines[:2])
    assert (first["real"], first["expected"]["comm"], first["as_expected"]) == (True, "database", True)
    assert (second["real"], second["expected"]["comm"], second["as_expected"]) == (True, "batch", True)
    assert "picks database" in first["report"]
    assert "picks batch" in second["report"]
    assert lines[2] == "0"


@pytest.mark.guest
@pytest.mark.parametrize("kernel", [*KERNELS, PATCHED])
def test_values_on_cgroup_v2_are_seen_by_everybody(kernel: str) -> None:
    script = """
        mkdir /sys/fs/cgroup/batch /sys/fs/cgroup/batch2
        python3 -m oompolicy set /batch -7
        python3 -m oompolicy get --json
        python3 -m oompolicy doctor --json
    """
    lines = in_guest(kernel, script).stdout.splitlines()
    assert lines[0] == "/batch: -7"
    assert [json.loads(lines[1])[key] for key in ("cgroup", "value", "own")] == ["/batch", -7, -7]
    found = {line["what"]: line for line in map(json.loads, lines[2:])}
    assert found["memory controller"]["found"] == "cgroup v2 at /sys/fs/cgroup"
    assert found["backend"]["found"] == ("hook" if kernel == PATCHED else "oom_score_adj")


@pytest.mark.guest
def test_on_6_1_doctor_says_why_there_is_no_hook_and_what_to_do() -> None:
    done = in_guest("6.1", "python3 -m oompolicy doctor --json; python3 -m oompolicy doctor > /out/table")
    found = {line["what"]: line for line in map(json.loads, done.stdout.splitlines())}
    assert found["BTF"]["ok"] == "yes"
    assert found["fmod_ret"]["ok"] == found["hook"]["ok"] == "no"
    said = "fmod_ret for functions of modules is not there: no register_btf_fmodret_id_set(), which came with 6.3"
    assert found["fmod_ret"]["found"] == said
    assert found["fmod_ret"]["todo"].startswith("take backend oom_score_adj")
    table = done.out["table"].decode()
    assert said in table
    assert "`run --backend auto` takes: oom_score_adj" in table


STAGE = (Path(__file__).parents[2] / "lab/reports/stage.sh").read_text()

RUN_IN_FORCE = """
memcg db
memcg batch
python3 -m oompolicy set /db 900
python3 -m oompolicy set /batch 10
hog large db 0 80
hog small batch 0 10
pid_of() { awk -F "$tab" -v name="$1" '$3 == name { print $2 }' $ledger/born; }
adjusted() { # wait until the daemon has seen to a hog
    tries=0
    until [ "$(cat /proc/$(pid_of $1)/oom_score_adj)" != 0 ] || [ $tries = 100 ]; do
        sleep 0.1; tries=$((tries + 1))
    done
}
python3 -m oompolicy run --backend auto --policy memcg_priority --interval-ms 300 2> /out/daemon &
daemon=$!
adjusted small
echo "sysrq: small $(cat /proc/$(pid_of small)/oom_score_adj), large $(cat /proc/$(pid_of large)/oom_score_adj)"
echo f > /proc/sysrq-trigger
ended 1
hog newcomer batch 0 10
adjusted newcomer
hog grower db 0 1 grow=600
ended 2
kill $daemon
wait $daemon
echo "daemon ended with $?"
for name in large grower; do
    [ -e /proc/$(pid_of $name) ] && echo "after: $name $(cat /proc/$(pid_of $name)/oom_score_adj)"
done
awk '{ print "ended", $1 }' $ledger/ends
awk -F "$tab" '{ print "born", $2, $3 }' $ledger/born
"""


@pytest.mark.guest
@pytest.mark.parametrize("kernel", ["6.12", "6.1"])
def test_a_stock_kernel_obeys_the_daemon_when_the_whole_machine_runs_out(kernel: str) -> None:
    """sysrq first, then memory really exhausted; a process started meanwhile is covered; at the end all is put back."""
    done = in_guest(kernel, STAGE + RUN_IN_FORCE, hog=hog())
    lines = [line.split() for line in done.stdout.splitlines()]
    names = {pid: name for word, pid, name in (line for line in lines if line[0] == "born")}
    ends = [names[line[1]] for line in lines if line[0] == "ended"]
    log = done.out["daemon"].decode()
    assert ends[:2] == ["small", "newcomer"], (ends, log, done.console[-3000:])
    assert ["daemon", "ended", "with", "0"] in lines, log
    after = [line[2] for line in lines if line[0] == "after:"]
    assert set(after) <= {"0"}, (lines, log)
    assert "putting back" in log
    assert f"oompolicy: not the hook: hook: {NO_HOOK[kernel]}" in log
    assert "policy memcg_priority, backend oom_score_adj" in log


NO_HOOK = {
    "6.12": "neither this kernel nor a module has bpf_oom_score(): modprobe oom_policy",
    "6.1": "this kernel has no bpf_oom_score(), and fmod_ret for functions of modules is not there",
}
