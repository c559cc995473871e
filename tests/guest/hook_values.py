"""Values from every source under the hook, on v2: who dies by them. Runs in a guest, as root.

Belongs here: acts and what was seen, one line of JSON a proof. Must not know: what is right; test_values.py judges.
One daemon for all of them; what its scorer does is in a file.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

from guest.hook_daemon import CONFIG, LOG, OOMPOLICY
from guest.hook_proofs import run_out, tell
from guest.hook_stage import Tree
from guest.oom_stage import CGROUPS, cannot_be_chosen, load, log, tainted, wait
from oompolicy.service.control_client import DEFAULT_PATH, ask

TTL_MS = 3_000
HOW, SEEN, UNIT = Path("/run/how"), Path("/run/seen"), Path("/run/systemd/system/batch.service")
MEASURES = """import json
from pathlib import Path

from oompolicy import Scene, scorer


@scorer
def measures(scene: Scene):
    how = Path("/run/how").read_text()
    if how == "fail":
        raise ValueError("told to")
    memcgs = {scene.path(memcg): memcg for memcg in scene.memcgs if scene.path(memcg).startswith("/stage")}
    seen = {
        path: {
            "over": scene.over_protection(memcg),
            "allocation": scene.allocation(memcg),
            "psi": scene.read("cgroup.psi.memory.some.avg10", memcg),
            "kills": scene.read("cgroup.events.oom_kill", memcg),
        }
        for path, memcg in memcgs.items()
    }
    kills = [[kill.comm, kill.cgroup, kill.by] for kill in scene.kills]
    Path("/run/seen").write_text(json.dumps({"memcgs": seen, "kills": kills}))
    return {memcg: -5 for path, memcg in memcgs.items() if how == "batch" and path.endswith("/batch")}
"""


def furnish(tree: Tree, batch: str = "batch") -> None:
    """A big process and a small one; nobody has a value."""
    for leaf in ("db", batch, "asks"):
        tree.leaf(leaf)
    tree.put("db", "big", 30)
    tree.put(batch, "small", 10)


def look() -> None:
    ask({"do": "look"})


def scorer_lines() -> list[str]:
    return [line for line in LOG.read_text().splitlines() if "scorer measures" in line]


def scored() -> None:
    """It sees v2's protection, pressure and counters, and the kill that comes of its own value."""
    HOW.write_text("batch")
    with Tree(60) as tree:
        furnish(tree)
        (tree.path / "memory.low").write_text("60M")
        (tree.path / "db" / "memory.low").write_text("20M")
        look()
        time.sleep(0.6)
        look()
        before = json.loads(SEEN.read_text())
        victims = run_out(tree)
        look()
        tell("scored", victims=victims, path=tree.path.name, before=before, after=json.loads(SEEN.read_text()))


def failing() -> None:
    """One OOM while its values count, one when they do not any more."""
    with Tree(60) as tree:
        furnish(tree)
        look()
        HOW.write_text("fail")
        wait(scorer_lines)
        tell("failing", victims=run_out(tree))
    HOW.write_text("batch")
    look()
    with Tree(60) as tree:
        furnish(tree)
        look()
        HOW.write_text("fail")
        time.sleep(TTL_MS / 1000 + 2)
        tell("expired", victims=run_out(tree), lines=scorer_lines())
    HOW.write_text("nothing")


def controlled() -> None:
    with Tree(60) as tree:
        furnish(tree)
        cgroup = f"/{tree.path.name}/batch"
        ask({"do": "set", "cgroup": cgroup, "value": -5, "ttl_ms": 60_000})
        look()
        got = ask({"do": "get", "cgroup": cgroup})
        tell("controlled", victims=run_out(tree), got=got)


def of_a_unit() -> None:
    UNIT.parent.mkdir(parents=True, exist_ok=True)
    UNIT.write_text("[Service]\nExecStart=/bin/true\n[X-Oompolicy]\nValue=-5\n")
    reloaded = ask({"do": "reload"})
    tree = Tree(60)
    tree.path = tree.path.with_name(f"{tree.path.name}.slice")
    with tree:
        furnish(tree, "batch.service")
        look()
        got = ask({"do": "get", "cgroup": f"/{tree.path.name}/batch.service"})
        tell("of a unit", victims=run_out(tree), got=got, reloaded=reloaded)


def delegated(name: str, given: dict[str, int], wish: int) -> None:
    """db, with the big process, belongs to a user, who wishes for a value."""
    with Tree(60) as tree:
        furnish(tree)
        for leaf, value in given.items():
            os.setxattr(tree.path / leaf, "user.oompolicy.value", str(value).encode())
        os.chown(tree.path / "db", 65534, 65534)
        wishes = f"import os; os.setxattr({str(tree.path / 'db')!r}, 'user.oompolicy.value', b'{wish}')"
        who = {"user": 65534, "group": 65534, "extra_groups": []}
        subprocess.run([OOMPOLICY[0], "-c", wishes], check=True, **who)  # type: ignore[call-overload]
        look()
        got = ask({"do": "get", "cgroup": f"/{tree.path.name}/db"})
        tell(name, victims=run_out(tree), got=got)


def main() -> None:
    cannot_be_chosen()
    load()
    Path("/run/measures.py").write_text(MEASURES)
    CONFIG.write_text(
        'policy = "memcg_priority"\nscorers = ["/run/measures.py"]\nbackend = "hook"\n'
        f"ttl_ms = {TTL_MS}\ninterval_ms = 500\n"
    )
    for path in (Path("/run/measures.py"), CONFIG):
        path.chmod(0o644)
    HOW.write_text("nothing")
    with LOG.open("wb") as out:
        daemon = subprocess.Popen([*OOMPOLICY, "run", "--config", str(CONFIG)], stderr=out)
    wait(lambda: DEFAULT_PATH.exists() or daemon.poll() is not None, 60)
    look()
    scored()
    failing()
    controlled()
    of_a_unit()
    delegated("cannot raise itself", {"": 100, "batch": 200, "asks": 300}, 5000)
    delegated("can lower itself", {"": 100, "batch": 50, "asks": 300}, 7)
    daemon.send_signal(signal.SIGTERM)
    tell("daemon", status=daemon.wait(), said=LOG.read_text().splitlines())
    tell("log", tainted=tainted(), lines=log().splitlines(), cgroups=os.listdir(CGROUPS))


if __name__ == "__main__":
    main()
