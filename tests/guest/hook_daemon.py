"""The daemon with the hook: killed, adopted, stopped, poked; the commands around it. Runs in a guest, as root.

Belongs here: acts and what was seen, one line of JSON a proof. Must not know: what is right; test_hook.py judges.
Usage: hook_daemon.py [patched]: there the kernel has the hook itself, and there is no module to take away.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from guest.hook_proofs import run_out, small_in_batch, tell
from guest.hook_stage import Tree
from guest.oom_stage import CGROUPS, cannot_be_chosen, command, load, log, tainted, wait
from oompolicy.backends.hook import pins

LOG = Path("/run/daemon.log")
CONFIG = Path("/run/oompolicy.toml")
OOMPOLICY = (sys.executable, "-m", "oompolicy")


def start(*options: str) -> subprocess.Popen[bytes]:
    """A daemon whose first look is over when this returns."""
    LOG.write_text("")
    hook = ("--backend", "hook", "--published")
    command_line = [*OOMPOLICY, "run", *hook, "--policy", "memcg_priority", *options]
    with LOG.open("wb") as out:
        daemon = subprocess.Popen(command_line, stderr=out)
    wait(lambda: "in 2 of 2 scopes" in LOG.read_text() or daemon.poll() is not None, 60)
    return daemon


NOBODY = 65534


def oompolicy(*words: str, uid: int = 0) -> tuple[int, str]:
    who = {"user": uid, "group": uid, "extra_groups": []} if uid else {}
    done = subprocess.run([*OOMPOLICY, *words], capture_output=True, text=True, check=False, **who)  # type: ignore[call-overload]
    return done.returncode, done.stdout + done.stderr


def killed_and_adopted() -> None:
    """kill -9, an OOM while nobody looks, a second daemon; it is stopped in the end."""
    with Tree(60) as tree:
        small_in_batch(tree)
        daemon = start("--interval-ms", "500")
        second = oompolicy("run", "--backend", "hook")
        refused = oompolicy("detach")
        before = [path.name for path in pins.sets()]
        daemon.kill()
        daemon.wait()
        victims = run_out(tree)
        adopter = start("--interval-ms", "500")
        wait(lambda: "OOM in" in LOG.read_text())
        said = LOG.read_text().splitlines()
        after = [path.name for path in pins.sets()]
        rmmod = command("rmmod", "oom_policy")
        adopter.send_signal(signal.SIGTERM)
        tell(
            "killed",
            victims=victims,
            said=said,
            sets=[before, after],
            second=second,
            refused=refused,
            rmmod=rmmod,
            status=adopter.wait(),
            last=LOG.read_text().splitlines()[-1],
            left=pins.FOLDER.exists(),
        )


def detached_without_a_daemon() -> None:
    with Tree(60) as tree:
        small_in_batch(tree)
        daemon = start("--backend", "auto")
        daemon.kill()
        daemon.wait()
        said = [oompolicy("detach"), oompolicy("detach")]
        tell("detach", auto=LOG.read_text(), said=said, victims=run_out(tree), left=pins.FOLDER.exists())


def set_is_live() -> None:
    """Nothing but `set` makes the daemon look: its interval is an hour."""
    with Tree(60) as tree:
        small_in_batch(tree)
        daemon = start("--interval-ms", "3600000")
        scope = f"/{tree.path.relative_to(CGROUPS)}"
        began_s = time.monotonic()
        said = [oompolicy("set", f"{scope}/batch", "950"), oompolicy("set", f"{scope}/db", "5")]
        seconds = time.monotonic() - began_s
        got = [oompolicy("get", f"{scope}/batch", "--json"), oompolicy("get", scope)]
        got.append(oompolicy("get", scope, uid=NOBODY))
        tell("set", said=said, victims=run_out(tree), seconds=seconds, got=got)
        daemon.terminate()
        daemon.wait()


def get_shows_what_is_in_force() -> None:
    """An attribute that nobody told the daemon of; then a daemon that is gone, until nothing counts any more."""
    with Tree(60) as tree:
        small_in_batch(tree)
        leaf = f"/{(tree.path / 'batch').relative_to(CGROUPS)}"
        CONFIG.write_text("ttl_ms = 15000\n")
        CONFIG.chmod(0o644)
        daemon = start("--interval-ms", "1000", "--config", str(CONFIG))
        daemon.kill()
        daemon.wait()
        os.setxattr(tree.path / "batch", "user.oompolicy.value", b"7")
        fresh = oompolicy("get", leaf, "--json")
        time.sleep(15.1)
        expired = [oompolicy("get", leaf, "--json"), oompolicy("get", leaf)]
        oompolicy("detach")
        tell("get", fresh=fresh, expired=expired, detached=oompolicy("get", leaf, "--json"))


def commands() -> None:
    tell("selftest", said=oompolicy("selftest"), left=pins.FOLDER.exists())
    tell("doctor", said=oompolicy("doctor", "--json"))


def without_the_module() -> None:
    tell("rmmod after", detached=command("rmmod", "oom_policy"))
    tell("selftest without", said=oompolicy("selftest"))
    tell("doctor without", said=oompolicy("doctor", "--json"))


def main() -> None:
    cannot_be_chosen()
    os.setxattr(CGROUPS, "user.oompolicy.value", b"1000")
    has_module = "patched" not in sys.argv
    if has_module:
        load()
    killed_and_adopted()
    detached_without_a_daemon()
    set_is_live()
    get_shows_what_is_in_force()
    commands()
    if has_module:
        without_the_module()
    tell("log", tainted=tainted(), lines=log().splitlines())


if __name__ == "__main__":
    main()
