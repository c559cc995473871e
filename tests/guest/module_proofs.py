"""What the hook does in a kernel, one line of JSON a proof: {"proof": name, ...}. Runs in a guest, as root.

Belongs here: acts on the kernel and what was seen, no judgement; test_module.py judges.
Usage: module_proofs.py module|patched
"""

from __future__ import annotations

import json
import sys

from guest.by_comm import DEFER, KILL, SPARE, ByComm, preselected, score
from guest.oom_stage import (
    Stage,
    cannot_be_chosen,
    command,
    counters,
    load,
    log,
    oom_score,
    small_and_big,
    sysrq_f,
    tainted,
)

NOBODY = -(1 << 63)


def tell(proof: str, **seen: object) -> None:
    print(json.dumps({"proof": proof, **seen}), flush=True)


def chosen(policy: ByComm) -> list[dict[str, int]]:
    """The OOMs that chose somebody; where a victim was on its way out, the kernel itself ends the search."""
    return [event._asdict() for event in policy.ended() if event.chosen_points != NOBODY]


def answered(proof: str, policy: ByComm, **answers: int) -> None:
    """One memcg OOM under these answers: who died, and with how many points."""
    policy.answer(small=DEFER, big=DEFER, asks=DEFER)
    policy.answer(**answers)
    victims = small_and_big()
    tell(proof, victims=victims, events=chosen(policy))


def in_memcgs(policy: ByComm) -> None:
    policy.attach()
    answered("score", policy, small=score(10**9))
    answered("score 0", policy, big=score(0), small=score(-5), asks=score(-6))
    answered("score 0 loses", policy, big=score(0), asks=score(0))
    answered("kill", policy, small=KILL, big=score((1 << 60) - 1))
    answered("preselected", policy, small=preselected(-7), big=score((1 << 60) - 1))
    answered("spare", policy, big=SPARE)
    answered("spare all", policy, small=SPARE, big=SPARE, asks=SPARE)
    answered("defer", policy)
    policy.detach()


def counted(policy: ByComm) -> None:
    """How many candidates the hook is asked about: not the one that must not be killed."""
    policy.attach()
    policy.answer(small=KILL, big=KILL, asks=DEFER)
    with Stage(60) as stage:
        stage.hog("small", 10)
        stage.hog("big", 30, adj=-1000)
        stage.hog("other", 3, adj=-500)
        before = counters()
        stage.hog("asks", 1, "grow=19")
        victims = stage.victims()
    tell("unkillable never asked", victims=victims, before=before, after=counters())
    policy.detach()
    list(policy.ended())


def read_by_others(policy: ByComm) -> None:
    """What /proc/PID/oom_score shows, without and with a policy that would have it otherwise."""
    policy.answer(small=KILL, big=SPARE)
    with Stage() as stage:
        pids = [stage.hog("small", 10), stage.hog("big", 30), stage.hog("other", 3, adj=-500)]
        own = [oom_score(pid) for pid in pids]
        policy.attach()
        before = counters()
        tell("oom_score", own=own, attached=[oom_score(pid) for pid in pids], before=before, after=counters())
        policy.detach()


def whole_machine(policy: ByComm) -> None:
    """Called upon by sysrq, and because nothing is left: the stage has no limit but the machine's."""
    for proof, answers in (("sysrq without", {}), ("sysrq", {"small": score(1 << 40)}), ("exhausted", {"small": KILL})):
        policy.answer(small=DEFER, big=DEFER, asks=DEFER)
        policy.answer(**answers)
        policy.attach()
        with Stage() as stage:
            stage.hog("small", 10)
            stage.hog("big", 80)
            if proof == "exhausted":
                stage.hog("asks", 1, "grow=2000")
            else:
                sysrq_f()
            tell(proof, victims=stage.victims(), events=chosen(policy))
        policy.detach()


def of_the_module() -> None:
    tell("refuses a parameter", insmod=command("insmod", "/lib/oom_policy.ko", "abi=7"))
    load()
    tell("loaded", **counters())
    tell("no policy", victims=small_and_big(), **counters())
    policy = ByComm()
    policy.attach()
    tell("rmmod while attached", rmmod=command("rmmod", "oom_policy"))
    policy.detach()
    for proofs in (in_memcgs, read_by_others, whole_machine, counted):
        proofs(policy)
    tell("rmmod after", rmmod=command("rmmod", "oom_policy"))
    tell("unloaded", victims=small_and_big())
    load()
    tell("loaded again", **counters())


def of_the_patch() -> None:
    tell("no policy", victims=small_and_big())
    policy = ByComm(module=None)
    for proofs in (in_memcgs, read_by_others, whole_machine):
        proofs(policy)
    tell("unloaded", victims=small_and_big())


def main() -> None:
    cannot_be_chosen()
    of_the_patch() if sys.argv[1] == "patched" else of_the_module()
    tell("log", tainted=tainted(), lines=log().splitlines())


if __name__ == "__main__":
    main()
