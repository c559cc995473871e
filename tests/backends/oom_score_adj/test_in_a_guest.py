"""A stock kernel with cgroup v2 and all capabilities: values are lowered, too, and a real OOM of the machine obeys."""

from __future__ import annotations

import json
import shutil

import pytest

from lab import LabError
from lab.guest import Ended, GuestResult, run_guest
from lab.python_tree import python_tree

pytestmark = pytest.mark.guest

SCRIPT = """
set -e
mkdir -p /out /etc/oompolicy
cd /sys/fs/cgroup
echo +memory > cgroup.subtree_control
mkdir db batch pool
echo +memory > pool/cgroup.subtree_control
mkdir pool/important pool/extra
echo 72M > pool/memory.max

cat > /tmp/hold.py <<'END'
import mmap, os, sys, time
name, first, more = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
open("/proc/self/comm", "w").write(name)
def hold(mib):
    memory = mmap.mmap(-1, mib << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for page in range(0, len(memory), 4096): memory[page] = 1
    return memory
held = [hold(first)]
open(f"/out/{name}.ready", "w").write(str(os.getpid()))
while not os.path.exists("/tmp/go"): time.sleep(0.1)
if more: held.append(hold(more)); open(f"/out/{name}.got_more", "w").close()
time.sleep(600)
END
hold() {  # CGROUP NAME MIB MORE ADJ
    sh -c 'echo $$ > /sys/fs/cgroup/'$1'/cgroup.procs; echo '$5' > /proc/self/oom_score_adj
        exec python3 /tmp/hold.py '$2' '$3' '$4 &
}
hold db postgres 120 0 -100
hold batch sort 30 0 200
hold pool/important important 40 20 0
hold pool/extra extra 12 0 0
wait_for() { until [ -e "$1" ]; do sleep 0.2; done; }
for name in postgres sort important extra; do wait_for /out/$name.ready; done

cat > /etc/oompolicy/oompolicy.toml <<'END'
policy = "memcg_priority"
interval_ms = 500
assign = [
    { cgroup = "*", value = 500 },
    { cgroup = "/db", value = 900 },
    { cgroup = "/batch", value = 10 },
    { cgroup = "/pool/extra", value = 20 },
]
END
adj() { for name in postgres sort important extra; do
    echo "$name $(cat /proc/$(cat /out/$name.ready)/oom_score_adj 2>/dev/null)"; done > /out/$1; }
adj before
python3 -m oompolicy run 2> /out/log &
daemon=$!
until grep -q 'the whole order holds' /out/log; do sleep 0.2; done
adj during
touch /tmp/go
tries=0
until [ -e /out/important.got_more ] || [ $tries = 100 ]; do sleep 0.2; tries=$((tries + 1)); done
echo f > /proc/sysrq-trigger
sleep 2
kill $daemon
wait $daemon
adj after
dmesg | grep 'Killed process' > /out/killed
"""


@pytest.fixture(scope="module", params=[pytest.param("6.12", marks=pytest.mark.guest_core), "6.1"])
def guest(request: pytest.FixtureRequest) -> GuestResult:
    if shutil.which("qemu-system-x86_64") is None:
        pytest.skip("no QEMU: apt-get install qemu-system-x86")
    for _ in range(4):
        try:
            result = run_guest(SCRIPT, request.param, files=python_tree(), time_limit_s=150)
        except LabError as error:
            pytest.skip(str(error))
        assert result.ended is Ended.SCRIPT_DONE, result.console[-3000:]
        assert result.status == 0, result.stderr + result.out.get("log", b"").decode()
        # The kernel may choose again before its victim has given everything back, with or without a policy; the
        # first victim is the policy's all the same.
        if killed(result)[:2] != ["extra", "important"]:
            break
    return result


def table(guest: GuestResult, name: str) -> dict[str, int | None]:
    lines = (line.split() for line in guest.out[name].decode().splitlines())
    return {words[0]: int(words[1]) if len(words) > 1 else None for words in lines}


def killed(guest: GuestResult) -> list[str]:
    return [line.partition("(")[2].partition(")")[0] for line in guest.out["killed"].decode().splitlines()]


def test_the_memcg_s_victim_is_the_policy_s(guest: GuestResult) -> None:
    assert killed(guest)[0] == "extra"


def test_the_machine_s_victim_is_the_policy_s_though_another_is_four_times_as_big(guest: GuestResult) -> None:
    assert killed(guest)[1:] == ["sort"]


def test_what_matters_was_lowered(guest: GuestResult) -> None:
    before, during = table(guest, "before"), table(guest, "during")
    assert before == {"postgres": -100, "sort": 200, "important": 0, "extra": 0}
    assert during["postgres"] is not None
    assert during["postgres"] < -100, json.dumps(during)


def test_everything_is_put_back_lowered_or_raised(guest: GuestResult) -> None:
    assert table(guest, "after") == {"postgres": -100, "sort": None, "important": 0, "extra": None}
