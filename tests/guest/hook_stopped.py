"""A daemon of the hook that is stopped for longer than its values live, and continued. Runs in a guest, as root.

Belongs here: four OOMs: while it runs, just after it was stopped, long after, and when it goes on. Must not know: what
is right; test_hook_stopped.py judges.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

from guest.hook_daemon import CONFIG, LOG, start
from guest.hook_proofs import run_out, small_in_batch, tell
from guest.hook_stage import Tree
from guest.oom_stage import CGROUPS, cannot_be_chosen, load, log, tainted

TTL_S = 6.0


def died(before_it: Callable[[], object] = bool) -> list[str]:
    """Of a big important process and a small one of the batch, which the policy sends first; both have been seen."""
    with Tree(60) as tree:
        small_in_batch(tree)
        time.sleep(1.5)  # for the daemon to look, if it does
        before_it()
        return run_out(tree)


def main() -> None:
    cannot_be_chosen()
    os.setxattr(CGROUPS, "user.oompolicy.value", b"1000")
    load()
    CONFIG.write_text(f"ttl_ms = {TTL_S * 1000:.0f}\n")
    CONFIG.chmod(0o644)
    with Tree(60) as tree:  # it is ready when its first order holds in the machine and in one scope
        small_in_batch(tree)
        daemon = start("--interval-ms", "500", "--config", str(CONFIG))

    def stopped(for_s: float = 0.0) -> list[str]:
        def stop() -> None:
            daemon.send_signal(signal.SIGSTOP)
            time.sleep(for_s)

        found = died(stop)
        daemon.send_signal(signal.SIGCONT)
        return found

    victims = {"running": died(), "stopped": stopped(), "expired": stopped(TTL_S + 1), "continued": died()}
    daemon.terminate()
    tell("victims", **victims, status=daemon.wait())
    tell("log", said=LOG.read_text().splitlines(), lines=log().splitlines(), tainted=tainted())


if __name__ == "__main__":
    main()
