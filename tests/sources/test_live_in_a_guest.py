"""A stock kernel with cgroup v2, two nodes and swap: a snapshot against the dump of the kernel's own OOM killer.

Belongs here: what this machine's own kernel may not have. Must not know: fake trees.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from oompolicy.mm.limits import div_long
from oompolicy.mm.memcontrol import PAGE_COUNTER_MAX
from oompolicy.mm.oom import OomControl
from oompolicy.mm.oom_kill import oom_badness, out_of_memory
from oompolicy.mm.sched import Task
from oompolicy.snapshot import Snapshot
from oompolicy.sources.recording import read_recording

from lab import LabError
from lab.guest import Ended, GuestResult, Machine, run_guest
from lab.python_tree import python_tree

# Idle processes in cgroups, one of them with memory in swap; then sysrq f, whose dump has every process.
SCRIPT = """
set -e
mkdir -p /out
cd /sys/fs/cgroup
echo +memory > cgroup.subtree_control
mkdir a b b/below
echo +memory > a/cgroup.subtree_control
mkdir a/inner
echo threaded > b/below/cgroup.type
echo 32M > a/memory.max; echo 24M > a/memory.high; echo 8M > a/memory.swap.max
echo 4M > b/memory.min; echo max > b/memory.low; echo 1 > b/memory.oom.group

hold() {  # CGROUP MIB ADJ
    sh -c 'echo $$ > /sys/fs/cgroup/'$1'/cgroup.procs; echo '$3' > /proc/self/oom_score_adj
        exec python3 /tmp/hold.py '$2' /out/'$(echo $1 | tr / -) &
}
cat > /tmp/hold.py <<'END'
import mmap, sys, time
memory = mmap.mmap(-1, int(sys.argv[1]) << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
for page in range(0, len(memory), 4096): memory[page] = 1
open(sys.argv[2], 'w').write('ready')
time.sleep(600)
END
hold a/inner 26 0; hold b 40 500; hold a/inner 1 -1000
while [ "$(ls /out | wc -l)" -lt 2 ]; do sleep 0.2; done
sleep 1

cat > /tmp/take.py <<'END'
import json, os
from oompolicy.sources.cgroup_value import set_value
from oompolicy.sources.live import live_snapshot
from oompolicy.sources.recording import write_recording
set_value("/a", 12)
snapshot = live_snapshot()
write_recording(snapshot, "/out/recording")
scores = {task.pid: int(open(f"/proc/{task.pid}/oom_score").read()) for task in snapshot.kernel.tasks}
json.dump(scores, open("/out/scores", "w"))
json.dump({path: os.stat("/sys/fs/cgroup" + path).st_ino for path in ("/", "/a", "/b")}, open("/out/ids", "w"))
END
python3 /tmp/take.py
echo f > /proc/sysrq-trigger
sleep 1
dmesg > /out/dmesg
"""
# pid, uid, tgid, total_vm, rss, pgtables_bytes, swapents, oom_score_adj, name; 6.12 has three more columns
ROW = re.compile(r"\[ *(\d+)\] +(\d+) +(\d+) +(\d+) +(\d+) +(?:\d+ +\d+ +\d+ +)?(\d+) +(\d+) +(-?\d+) (.*)")


@pytest.fixture(scope="module", params=[pytest.param("6.12", marks=pytest.mark.guest_core), "6.1"])
def guest(request: pytest.FixtureRequest) -> GuestResult:
    if shutil.which("qemu-system-x86_64") is None:
        pytest.skip("no QEMU: apt-get install qemu-system-x86")
    try:
        done = run_guest(SCRIPT, request.param, Machine(512, swap_mib=64, numa_nodes=2), python_tree())
    except LabError as error:
        pytest.skip(f"no guest here: {error}")
    assert done.ended is Ended.SCRIPT_DONE, done.console[-2000:]
    assert done.status == 0, done.stderr
    return done


@pytest.fixture
def snapshot(guest: GuestResult, tmp_path: Path) -> Snapshot:
    (tmp_path / "recording").write_bytes(guest.out["recording"])
    return read_recording(tmp_path / "recording")


pytestmark = pytest.mark.guest


def held(snapshot: Snapshot) -> list[Task]:
    return [task for task in snapshot.kernel.tasks if task.memcg is not None and task.memcg.path != "/"]


def test_pages_are_those_of_the_oom_killers_own_dump(guest: GuestResult, snapshot: Snapshot) -> None:
    rows = {int(row[0]): row for row in ROW.findall(guest.out["dmesg"].decode())}
    lag = 2 * 32  # of the swap counter alone: two CPUs, a batch of 32
    for task in held(snapshot):
        _, uid, tgid, total_vm, rss, pgtables_bytes, swapents, adj, name = rows[task.pid]
        assert task.mm is not None
        assert (task.uid, task.tgid, task.oom_score_adj, task.comm) == (int(uid), int(tgid), int(adj), name)
        assert (task.mm.rss_pages, task.mm.total_vm_pages) == (int(rss), int(total_vm))
        assert task.mm.pgtables_pages == int(pgtables_bytes) // 4096
        assert abs(task.mm.swap_pages - int(swapents)) <= lag
    assert [task.oom_score_adj for task in held(snapshot)] == [0, 500, -1000]
    swapped = held(snapshot)[0].mm
    assert swapped is not None
    assert swapped.swap_pages > 100
    order = [task.pid for task in snapshot.kernel.tasks if task.pid in rows]
    assert order == [pid for pid in rows if pid in order]


def test_badness_is_the_kernels_score(guest: GuestResult, snapshot: Snapshot) -> None:
    scores = json.loads(guest.out["scores"])
    totalpages = snapshot.kernel.totalram_pages + snapshot.kernel.total_swap_pages
    for task in held(snapshot):
        badness = oom_badness(task, totalpages, snapshot.kernel.rules)
        score = 0 if badness is None else (1000 + div_long(badness * 1000, totalpages)) * 2 // 3
        assert abs(score - scores[str(task.pid)]) <= 1


def test_the_victim_and_all_who_die_with_it_are_the_kernels(guest: GuestResult, snapshot: Snapshot) -> None:
    outcome = out_of_memory(OomControl(snapshot.kernel, order=-1))
    assert outcome.victim is not None
    assert outcome.oom_group is snapshot.memcg("/b")
    killed = re.findall(r"Killed process (\d+) ", guest.out["dmesg"].decode())
    assert {task.pid for task in outcome.killed} == {int(pid) for pid in killed}


def test_cgroups_of_v2(guest: GuestResult, snapshot: Snapshot) -> None:
    a, b, inner = (snapshot.memcg(path) for path in ("/a", "/b", "/a/inner"))
    assert snapshot.hierarchy == "v2"
    assert [memcg.path for memcg in snapshot.kernel.memcgs] == ["/", "/a", "/a/inner", "/b"]  # /b/below is none
    ids = json.loads(guest.out["ids"])
    assert {path: snapshot.memcg(path).id for path in ids} == ids
    assert (a.max_pages, a.high_pages, a.swap_max_pages, a.value) == (8192, 6144, 2048, 12)
    assert (b.min_pages, b.low_pages, b.oom_group) == (1024, PAGE_COUNTER_MAX, True)
    assert (inner.max_pages, inner.value, inner.nearest_value) == (None, None, 12)
    assert a.usage_pages is not None
    assert 4096 < a.usage_pages <= 8192
    assert [task.memcg for task in held(snapshot)] == [inner, b, inner]


def test_nodes(guest: GuestResult, snapshot: Snapshot) -> None:
    nodes = snapshot.kernel.node_present_pages
    assert set(nodes) == {0, 1}
    assert all(60_000 < pages <= 65_536 for pages in nodes.values())
    assert all(task.mems_allowed == frozenset({0, 1}) for task in held(snapshot))
