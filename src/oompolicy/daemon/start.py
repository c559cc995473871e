"""From settings to a running daemon, in a process that loads nothing that the daemon does not need.

Belongs here: which backend, which policy, which rules; and handing over to a lean process. Must not know: the command
line, the files of a configuration. Backends are imported when one is chosen: the hook with its compiler is as large as
all the rest.
"""

from __future__ import annotations

import contextlib
import gc
import marshal
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from oompolicy.backends.backend import Backend, TakeSnapshot
from oompolicy.compiler.checked import checked
from oompolicy.daemon.acting import acting_for
from oompolicy.daemon.child_reload import ChildReload
from oompolicy.daemon.config_watch import ConfigWatch
from oompolicy.daemon.console import Console
from oompolicy.daemon.judging import Judging, files_of
from oompolicy.daemon.kept_history import KeptHistory
from oompolicy.daemon.loop import Daemon, now_ms
from oompolicy.daemon.orders_said import said_only
from oompolicy.daemon.rule_watch import Clocks, RuleWatch
from oompolicy.daemon.rules_alone import RulesAlone
from oompolicy.daemon.settings import Settings, packed, unpacked
from oompolicy.daemon.upkeep import Orders
from oompolicy.errors import BackendError, OompolicyError, PrivilegeError
from oompolicy.policy.api import Policy
from oompolicy.policy_file import load_policy
from oompolicy.policy_limit import call_limit
from oompolicy.rule_file import armed_rules
from oompolicy.rules.judge import Armed
from oompolicy.scorer_file import load_scorer
from oompolicy.scoring.scene import PastKill
from oompolicy.scoring.scorer import scorers_of
from oompolicy.service import own_memory
from oompolicy.service.history import History
from oompolicy.service.log import log
from oompolicy.service.neighbours import neighbours
from oompolicy.service.one_daemon import OneDaemon
from oompolicy.service.own_time import Turns
from oompolicy.snapshot import Snapshot
from oompolicy.sources.kernel_kills import KernelKills
from oompolicy.sources.live import live_snapshot
from oompolicy.sources.senses import live_senses
from oompolicy.sources.sensors import Sensors, Wanted
from oompolicy.values.lifetime import default_ttl_ms
from oompolicy.values.order import ValueOrder

if TYPE_CHECKING:
    from oompolicy.backends.hook.backend import Hook
    from oompolicy.backends.oom_score_adj.backend import OomScoreAdj

FIXED: Final = ("backend", "scope", "state_dir", "drift", "ttl_ms")  # what a reload does not change
_ONCE_HINT: Final = "use --backend oom_score_adj or dry_run, or run without --once"


def exec_daemon(settings: Settings) -> NoReturn:
    """Become the daemon's process: the same pid, without what the command line has loaded.

    Where this user may not execute the interpreter again, the daemon is this process, only larger. Raises what
    run_daemon() raises then.
    """
    if settings.backend == "kill":
        check_scope(settings, live_snapshot())
    iterator_fd = _iterator_fd(settings)
    path = [entry for entry in sys.path if entry]
    fd = os.memfd_create("oompolicy-settings", 0)  # to be open after the exec
    os.write(fd, marshal.dumps((path, packed(settings), iterator_fd)))
    boot = str(Path(__file__).with_name("boot.py"))
    sys.stdout.flush()
    try:
        os.execv(sys.executable, [sys.executable, "-I", "-S", boot, str(fd)])  # noqa: S606 - ourselves
    except OSError as error:
        os.close(fd)
        log(f"{sys.executable}: {error.strerror}: the daemon keeps what the command line has loaded")
    run_daemon(settings, iterator_fd)
    sys.exit(0)


def _iterator_fd(settings: Settings) -> int | None:
    """The task iterator's link, for the daemon's process; None where there is none: /proc is read then."""
    if os.geteuid() != 0:
        return None
    from oompolicy.sources.task_iterator.loading import load_iterator

    try:
        iterator = load_iterator(settings.state_dir)
    except OompolicyError as error:
        log(f"processes are read from /proc, which is slower: {error}")
        return None
    fd = os.dup(iterator.fileno())
    iterator.close()
    os.set_inheritable(fd, True)
    return fd


def main(data: bytes, iterator_fd: int | None = None) -> NoReturn:
    """The daemon's process: until it is told to stop; exit status 1 for trouble a person can mend."""
    with contextlib.suppress(OSError):
        Path("/proc/self/comm").write_bytes(b"oompolicy")
    status = 0
    try:
        run_daemon(unpacked(data), iterator_fd)
    except OompolicyError as error:
        _print_error(error)
        status = 1
    except KeyboardInterrupt:
        status = 130
    sys.exit(status)


def _print_error(error: OompolicyError) -> None:
    """As cli/render.py has it, which a daemon's process does not load."""
    lines = (
        [str(error)] if not error.excerpt else [f"{error.what}: {error.why}", error.excerpt, f"  {error.hint or ''}"]
    )
    text = "\n".join(line for line in lines if line.strip())
    sys.stderr.write("oompolicy: " + text.encode("utf-8", "backslashreplace").decode() + "\n")


def run_daemon(settings: Settings, iterator_fd: int | None = None) -> None:
    """Until SIGTERM or SIGINT; iterator_fd is the task iterator's link. Raises OompolicyError where it cannot begin."""
    log.use_journal()
    # With the backend kill nothing is put in force: there are rules alone.
    backend = None if settings.backend == "kill" else backend_for(settings, log, once=False)
    is_for_show = backend is not None and backend.name == "dry_run"
    lock = OneDaemon(settings.state_dir)
    if not is_for_show:
        lock.take()
    try:
        own_memory.more_descriptors()
        if backend is not None:
            clear_the_way(backend, settings)
        take_snapshot = _taking_snapshots(iterator_fd)
        if backend is not None:
            check_scope(settings, take_snapshot())
        daemon = _daemon(settings, backend, take_snapshot)
        for line in neighbours():
            log(line)
        if not is_for_show:
            _harden(daemon)
        daemon.run()
    finally:
        lock.release()


def _harden(daemon: Daemon) -> None:
    """Stay when memory is gone. What of it this machine does not allow is said."""
    # What is loaded stays: later collections need not go through it again, nor copy its pages in a fork.
    gc.collect()
    gc.freeze()
    own_memory.give_back()
    turns = Turns()
    daemon.go_first(turns)
    memory = own_memory.leave_to_the_last(), own_memory.lock_memory(), own_memory.protect_memcg()
    for trouble in (*memory, turns.start()):
        if trouble is not None:
            log(trouble)


def _taking_snapshots(iterator_fd: int | None) -> TakeSnapshot:
    if iterator_fd is None:
        return live_snapshot
    from oompolicy.sources.iterated import IteratedMachine
    from oompolicy.sources.task_iterator import TaskIterator

    os.set_inheritable(iterator_fd, False)
    return IteratedMachine(TaskIterator(iterator_fd))


def _daemon(settings: Settings, backend: Backend | None, take_snapshot: TakeSnapshot) -> Daemon:
    orders = orders_of(settings)
    for note in settings.units.notes:
        log(note)
    values = ValueOrder(orders.of_values, live_senses())
    if backend is None and values.has_scorers:
        backend = RulesAlone(_kernel_kills())
    judging = Judging(orders.rules, orders.budget)
    sensors = _sensors(orders.rules)
    is_said_only = os.geteuid() != 0 or settings.backend == "dry_run"
    history = None if is_said_only else KeptHistory(History(settings.state_dir, log))
    acting = None if is_said_only else acting_for(settings, orders.policy, values, take_snapshot, history)
    rules = RuleWatch(sensors, judging, acting or said_only, Clocks(now_ms, time.thread_time_ns), acting)
    changes = _changes(settings)

    def obeyed(data: bytes) -> Orders:
        new = unpacked(data)
        for name in FIXED:
            if getattr(new, name) != getattr(settings, name):
                log(f"{name} counts from the next start")
        if changes is not None:
            changes.follow(new.watched, new.python)
        found = orders_of(new)
        if backend is None and scorers_of(found.policy, found.scorers):
            log("scorers are asked from the next start on: there was none at this one")
        for note in new.units.notes:
            log(note)
        if acting is not None:
            acting.obey(new, found.policy)
        return found

    reload = ChildReload(settings.command, obeyed, changes)
    daemon = Daemon(backend, take_snapshot, orders, reload, rules, _sensors, values)
    if not is_said_only:
        daemon.serve(Console(settings.state_dir, values, take_snapshot))
    if history is not None:
        daemon.write_down(history.seen)
    return daemon


def _changes(settings: Settings) -> ConfigWatch | None:
    try:
        changes = ConfigWatch(log)
    except OSError as error:
        log(f"inotify: {error.strerror}: a changed configuration counts from SIGHUP on")
        return None
    changes.follow(settings.watched, settings.python)
    return changes


def _sensors(rules: Sequence[Armed]) -> Sensors:
    return Sensors(Wanted(*files_of(rules)))


def orders_of(settings: Settings) -> Orders:
    """What may change while it runs. Raises OompolicyError where a policy or a rule does not load."""
    return Orders(
        policy_of(settings),
        settings.assign,
        settings.interval_ms,
        call_limit(),
        armed_rules(settings.rules),
        settings.budget,
        tuple(load_scorer(name) for name in settings.scorers),
        settings.units,
        settings.ttl_ms or default_ttl_ms(settings.interval_ms),
    )


def policy_of(settings: Settings) -> Policy:
    """The policy with the file's parameters, and those of the command line over them, with the kernel's faults."""
    named = {text.partition("=")[0] for text in settings.parameters}
    rest = {name: value for name, value in settings.params if name not in named}
    return checked(load_policy(settings.policy, settings.parameters).with_parameters(rest))


def backend_for(settings: Settings, say: Callable[[str], None], once: bool) -> Hook | OomScoreAdj:
    """The backend of the settings. Raises OompolicyError where there is none, or this user may not have it."""
    backend = _automatic(once) if settings.backend == "auto" else settings.backend
    if backend != "hook" and (settings.compiled is not None or settings.shadowing):
        raise BackendError(f"backend {backend}", "knows no --compiled, --published or --shadow", "they are the hook's")
    if backend == "dry_run":
        from oompolicy.backends.dry_run import DryRun

        if settings.backend == "auto":
            log("not root: nothing will be changed, only said (backend dry_run)")
        return DryRun(say, settings.scope)
    if os.geteuid() != 0:
        raise PrivilegeError("run", "needs root to put a policy in force", "use --backend dry_run")
    if backend == "hook":
        if once:
            raise BackendError("backend hook", "cannot --once: its answers expire without the daemon", _ONCE_HINT)
        return _hook(settings)
    from oompolicy.backends.oom_score_adj.backend import OomScoreAdj, ProcWriter
    from oompolicy.backends.oom_score_adj.journal import Journal, boot_id

    journal = Journal(settings.state_dir, boot_id())
    return OomScoreAdj(ProcWriter(), journal, settings.drift, settings.scope, _kernel_kills())


def _kernel_kills() -> Callable[[], Sequence[PastKill]]:
    """What tells whom the kernel has killed, where no hook does."""
    try:
        return KernelKills().take
    except OSError as error:
        log(f"whom the kernel kills is not told: its log cannot be read ({error.strerror})")
        return tuple


def _hook(settings: Settings) -> Hook:
    from oompolicy.backends.hook.backend import Hook
    from oompolicy.backends.hook.ruling import Wanted as HowWanted
    from oompolicy.backends.hook.target import load_module

    wanted = {None: HowWanted.COMPILED_IF_POSSIBLE, True: HowWanted.COMPILED, False: HowWanted.PUBLISHED}
    load_module()
    return Hook(
        settings.ttl_ms or default_ttl_ms(settings.interval_ms),
        settings.scope,
        wanted=wanted[settings.compiled],
        shadowing=tuple(checked(load_policy(name)) for name in settings.shadowing),
    )


def clear_the_way(chosen: Backend, settings: Settings) -> None:
    """One backend at a time: undo what a killed daemon has left in force by the other one."""
    if chosen.name == "hook":
        from oompolicy.backends.oom_score_adj.backend import restore_left_behind
        from oompolicy.backends.oom_score_adj.journal import Journal, boot_id

        for line in restore_left_behind(Journal(settings.state_dir, boot_id()), live_snapshot, settings.scope):
            log(line)
    elif chosen.name != "dry_run" and _may_be_attached():
        from oompolicy.backends.hook.backend import detach

        if detach():
            log("what an earlier daemon has left attached is detached")


def _may_be_attached() -> bool:
    """Is there a folder of pins? Without one the hook need not be loaded to find that nothing is attached."""
    return Path("/sys/fs/bpf/oompolicy").exists()


def _automatic(once: bool) -> str:
    """What `auto` takes; the module is loaded where it is installed."""
    if once:
        return "oom_score_adj" if os.geteuid() == 0 else "dry_run"
    from oompolicy.backends import choose_backend
    from oompolicy.backends.hook.target import load_module

    if os.geteuid() == 0:
        load_module()
    backend, reason = choose_backend()
    if reason is not None:
        log(f"not the hook: {reason}")
    return backend


def check_scope(settings: Settings, now: Snapshot) -> None:
    """Say what cannot be seen of the machine. Raises GoneError where the scope is not there."""
    for sentence in now.missing:
        log(sentence)
    if settings.scope is not None:
        now.memcg(settings.scope)
