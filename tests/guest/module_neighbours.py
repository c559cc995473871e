"""The module beside others that want the same functions: tracers, a live patch, a sysctl. Runs in a guest, as root.

Belongs here: putting the neighbours there, and what was seen; test_module.py judges.
"""

from __future__ import annotations

import json
from pathlib import Path

from guest.by_comm import FENTRY, FEXIT, KILL, ByComm
from guest.oom_stage import PARAMETERS, cannot_be_chosen, command, counters, load, log, small_and_big, tainted, wait

TRACING = Path("/sys/kernel/tracing")
FTRACE_ENABLED = Path("/proc/sys/kernel/ftrace_enabled")
LIVE_PATCH, LIVE_PATCH_ENABLED = "/lib/live_patch.ko", Path("/sys/kernel/livepatch/live_patch/enabled")
PROBED = ("oom_badness", "out_of_memory")


def tell(proof: str, **seen: object) -> None:
    print(json.dumps({"proof": proof, **seen}), flush=True)


def write(path: Path, text: str) -> str:
    """What the kernel says to it: "" or the error."""
    try:
        path.write_text(text)
    except OSError as error:
        return str(error.strerror)
    return ""


class Tracers:
    """Probes at the entry and the return of both functions, the graph tracer on them, and BPF programs at both ends."""

    def __init__(self) -> None:
        self.bpf = ByComm(module=None)

    def on(self) -> None:
        probes = (f"p:in_{name} {name}\nr:out_{name} {name} $retval\n" for name in PROBED)
        (TRACING / "kprobe_events").write_text("".join(probes))
        (TRACING / "events/kprobes/enable").write_text("1")
        ours = ("oom_policy_*", "bpf_oom_score") if PARAMETERS.exists() else ()
        (TRACING / "set_ftrace_filter").write_text("\n".join((*PROBED, *ours)))
        (TRACING / "current_tracer").write_text("function_graph")
        nothing = b"\xb7" + bytes(7) + b"\x95" + bytes(7)  # r0 = 0, exit
        for name in PROBED:
            self.bpf.put(nothing, FENTRY, name, 0)
            self.bpf.put(nothing, FEXIT, name, 0)

    def off(self) -> str:
        """Take them away; the trace they made."""
        self.bpf.detach()
        trace = (TRACING / "trace").read_text()
        (TRACING / "current_tracer").write_text("nop")
        (TRACING / "events/kprobes/enable").write_text("0")
        (TRACING / "kprobe_events").write_text("")
        (TRACING / "set_ftrace_filter").write_text("")
        return trace


def beside_tracers() -> None:
    """They come first and go first, come first and go last, come last."""
    tracers = Tracers()

    def obeyed(order: str) -> None:
        policy = ByComm()
        policy.answer(small=KILL)
        policy.attach()
        before = counters()
        victims = small_and_big()
        seen = {name: value - before[name] for name, value in counters().items()}
        policy.detach()
        tell("tracers", order=order, victims=victims, seen=seen)

    tracers.on()
    load()
    obeyed("tracers, module")
    trace = tracers.off()
    tell(
        "trace", seen={name: name in trace for name in (*PROBED, "oom_policy_out_of_memory", "oom_policy_oom_badness")}
    )
    obeyed("module")
    tracers.on()
    obeyed("module, tracers")
    command("rmmod", "oom_policy")
    tell("only tracers", victims=small_and_big())
    load()
    obeyed("tracers, module again")
    tracers.off()
    command("rmmod", "oom_policy")


def beside_a_sysctl() -> None:
    FTRACE_ENABLED.write_text("0")
    tell("ftrace off", insmod=command("insmod", "/lib/oom_policy.ko"), log=log().splitlines()[-3:])
    FTRACE_ENABLED.write_text("1")
    load()
    tell("ftrace cannot be switched off", error=write(FTRACE_ENABLED, "0"))


def beside_a_live_patch() -> None:
    """The module is loaded."""
    tell("live patch after", insmod=command("insmod", LIVE_PATCH))
    command("rmmod", "oom_policy")
    tell("live patch alone", insmod=command("insmod", LIVE_PATCH))
    tell("live patch before", insmod=command("insmod", "/lib/oom_policy.ko"), log=log().splitlines()[-3:])
    wait(lambda: LIVE_PATCH_ENABLED.with_name("transition").read_text() == "0\n")
    LIVE_PATCH_ENABLED.write_text("0")
    wait(lambda: not LIVE_PATCH_ENABLED.exists())
    command("rmmod", "live_patch")
    load()
    tell("live patch gone", victims=small_and_big(), **counters())


def main() -> None:
    cannot_be_chosen()
    beside_tracers()
    beside_a_sysctl()
    beside_a_live_patch()
    tell("log", tainted=tainted(), lines=log().splitlines())


if __name__ == "__main__":
    main()
