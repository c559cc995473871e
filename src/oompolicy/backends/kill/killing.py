"""One kill, step by step: ask, wait, kill, wait for the memory, and on to the next one where none came back.

Belongs here: the stages and their times. Must not know: how a target is reached, who was chosen.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from oompolicy.backends.kill.choose import Choice, Target
from oompolicy.backends.kill.felling import Felling, take
from oompolicy.backends.kill.ground import Ground
from oompolicy.backends.kill.guard import Guard
from oompolicy.backends.kill.pending import Runner, Say, why
from oompolicy.backends.kill.process import End
from oompolicy.rules.rule import Order, Outcome

# A victim that has not given its memory back by then is given up, and the next candidate takes its place.
RETURN_WITHIN_MS: Final = 5_000
# A cgroup says nothing when it becomes empty on v1; nor does memory when it is back.
LOOK_EVERY_MS: Final = 20
# The helper ends a hook after its limit; it is not waited for longer than this beyond it.
HOOK_SLACK_MS: Final = 250
# Without rights every candidate is passed over; the log has the first of them.
SAID_MAX: Final = 5


class Stage(enum.Enum):
    """Where a kill stands."""

    NEXT = "the next target is to be taken"
    HOOK = "the pre-kill hook runs"
    STRIKE = "the first signal is due"
    GRACE = "asked by SIGTERM, and waited for"
    DYING = "killed, and its memory waited for"


@dataclass(frozen=True, slots=True)
class Tools:
    """What a kill stands on. runner is None where no commands can be run."""

    ground: Ground
    guard: Guard
    runner: Runner | None
    say: Say


class Killing:
    """An order to kill, under way (see Pending)."""

    def __init__(self, tools: Tools, order: Order, choice: Choice, now_ms: int) -> None:
        self.wake_at_ms = now_ms
        self._tools = tools
        self._order = order
        self._left = list(choice.targets)
        self._stage = Stage.NEXT
        self._target: Target | None = None
        self._felling: Felling | None = None
        self._ticket: int | None = None
        self._until_ms = now_ms
        self._passed = 0
        self._outcome = Outcome(order, failed="nobody in the scope can be killed")
        if not choice.targets:
            tools.say(f"{why(order)}: {choice.nobody}")

    def fds(self) -> tuple[int, ...]:
        """Readable when a victim or a hook has ended."""
        if self._stage is Stage.HOOK and self._tools.runner is not None:
            return self._tools.runner.fds()
        return () if self._felling is None or self._stage is Stage.NEXT else self._felling.fds()

    def advance(self, now_ms: int) -> Outcome | None:
        """The next steps, as far as they are due."""
        while True:
            before = self._stage
            outcome = _STEPS[self._stage](self, now_ms)
            if outcome is not None:
                self.close()
                return replace(outcome, at_ms=now_ms)
            if self._stage is before and before is not Stage.NEXT:
                return None

    def close(self) -> None:
        """Let go of the victim."""
        if self._felling is not None:
            self._felling.close()
            self._felling = None

    def _next(self, now_ms: int) -> Outcome | None:
        """Take the next target that still is what it was; the outcome where there is none left."""
        self.close()
        if not self._left:
            return self._outcome
        self._target = self._left.pop(0)
        taken = take(self._tools.ground, self._tools.guard, self._target, self._order.scope)
        if isinstance(taken, End):
            self._passed_over(taken)
            return None
        self._felling = taken
        self._ticket = self._start_hook(self._target)
        self._until_ms = now_ms + self._order.rule.pre_kill_limit_ms + HOOK_SLACK_MS
        self._go(Stage.STRIKE if self._ticket is None else Stage.HOOK, self._until_ms)
        return None

    def _hook(self, now_ms: int) -> Outcome | None:
        """Go on when the hook has ended; if it hangs, and the helper with it, go on without."""
        assert self._tools.runner is not None
        assert self._ticket is not None
        ended = self._tools.runner.ended(self._ticket)
        if ended is None and now_ms < self._until_ms:
            self.wake_at_ms = self._until_ms
            return None
        self._tools.say(f"{self._order.rule.name}: pre_kill {ended or 'has not answered in time: left behind'}")
        self._go(Stage.STRIKE, now_ms)
        return None

    def _strike(self, now_ms: int) -> Outcome | None:
        """Verify once more, and send the first signal."""
        assert self._felling is not None
        end = self._felling.verified()
        grace_ms = self._order.rule.grace_ms
        if end is End.DONE:
            end = self._felling.ask() if grace_ms else self._kill(now_ms)
        if end is not End.DONE:
            self._passed_over(end)
            self._go(Stage.NEXT, now_ms)
        elif grace_ms:
            self._until_ms = now_ms + grace_ms
            self._say_what("asked by SIGTERM to end")
            self._go(Stage.GRACE, min(self._until_ms, now_ms + LOOK_EVERY_MS))
        return None

    def _grace(self, now_ms: int) -> Outcome | None:
        """Kill what is left when the time is up."""
        assert self._felling is not None
        if self._felling.is_over():
            return self._freed(now_ms)
        if now_ms >= self._until_ms:
            end = self._kill(now_ms)
            if end is not End.DONE:
                self._passed_over(end)
                self._go(Stage.NEXT, now_ms)
        else:
            self.wake_at_ms = min(self._until_ms, now_ms + LOOK_EVERY_MS)
        return None

    def _dying(self, now_ms: int) -> Outcome | None:
        """Wait until all have ended; go on to the next where nothing came back."""
        assert self._felling is not None
        if self._felling.is_over():
            return self._freed(now_ms)
        if now_ms < self._until_ms:
            self._felling.chase()
            self.wake_at_ms = min(self._until_ms, now_ms + LOOK_EVERY_MS)
            return None
        self._say_what(f"has not ended {RETURN_WITHIN_MS} ms after SIGKILL")
        return self._freed(now_ms)

    def _kill(self, now_ms: int) -> End:
        assert self._felling is not None
        end = self._felling.kill()
        if end is End.DONE:
            self._say_what("killed")
            self._until_ms = now_ms + RETURN_WITHIN_MS
            self._go(Stage.DYING, now_ms + LOOK_EVERY_MS)
        return end

    def _freed(self, now_ms: int) -> Outcome | None:
        """The outcome, if memory came back; otherwise on to the next, with what was done remembered."""
        assert self._felling is not None
        freed_bytes = self._felling.freed_bytes()
        victims = (*self._outcome.victims, *self._felling.victims)
        total_bytes = self._outcome.freed_bytes + freed_bytes
        cgroup = self._outcome.cgroup if self._outcome.victims or self._target is None else self._target.cgroup
        self._outcome = Outcome(self._order, len(victims), total_bytes, victims=victims, cgroup=cgroup)
        if freed_bytes > 0 or not self._left:
            if freed_bytes == 0:
                self._outcome = replace(self._outcome, failed="no memory came back, and nobody else can be killed")
            return self._outcome
        self._say_what("gave no memory back: on to the next")
        self._go(Stage.NEXT, now_ms)
        return None

    def _start_hook(self, target: Target) -> int | None:
        rule, runner = self._order.rule, self._tools.runner
        if not rule.pre_kill:
            return None
        env = {**command_env(self._order), "OOMPOLICY_PID": str(target.victim.process_id)}
        env["OOMPOLICY_COMM"] = target.victim.comm
        env["OOMPOLICY_CGROUP"] = "" if target.victim.memcg is None else target.victim.memcg.path
        ticket = None if runner is None else runner.start(rule.pre_kill, env, rule.pre_kill_limit_ms)
        if ticket is None:
            self._tools.say(f"{rule.name}: pre_kill is left out: the helper that runs commands has gone")
        return ticket

    def _passed_over(self, end: End) -> None:
        self._passed += 1
        if self._passed <= SAID_MAX:
            self._say_what(f"passed over: {end.value}")
        if end in (End.NO_FDS, End.TOO_OLD):  # so it will be with the others
            self._left.clear()
        if not self._outcome.victims:
            assert self._target is not None
            failed = f"{self._target.name}: {end.value}"
            self._outcome = replace(self._outcome, failed=failed, cgroup=self._target.cgroup)

    def _say_what(self, what: str) -> None:
        assert self._target is not None
        self._tools.say(f"{why(self._order)}: {self._target.in_words}: {what}")

    def _go(self, stage: Stage, wake_at_ms: int) -> None:
        self._stage = stage
        self.wake_at_ms = wake_at_ms


def command_env(order: Order) -> dict[str, str]:
    """What a command of a rule is told about why it runs."""
    return {"OOMPOLICY_RULE": order.rule.name, "OOMPOLICY_SCOPE": order.scope, "OOMPOLICY_WHY": order.why}


_STEPS: Final[dict[Stage, Callable[[Killing, int], Outcome | None]]] = {
    Stage.NEXT: Killing._next,
    Stage.HOOK: Killing._hook,
    Stage.STRIKE: Killing._strike,
    Stage.GRACE: Killing._grace,
    Stage.DYING: Killing._dying,
}
