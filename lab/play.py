"""A scenario played in a guest: what is carried in, and what was seen there.

Belongs here: the files of the guest, the kernel, the machine. Must not know: what is expected, what a report says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from oompolicy.errors import OompolicyError

from lab.guest import Ended, GuestResult, Machine, run_guest
from lab.hog import hog
from lab.kernels import Kernel, kernel, with_modules
from lab.python_tree import SITE, python_tree
from lab.scenario import Scenario
from lab.seen import Said, read_lines
from lab.world import Play

HERE = Path(__file__).parent
CARRIED = ("__init__.py", "seen.py", "world.py", "inside")  # what of the lab runs inside
POLICIES = "/lab/policies"
SCRIPT = """
echo -1000 > /proc/self/oom_score_adj
for module in /lab/modules/*.ko; do
    [ ! -e "$module" ] || insmod "$module" || exit 1
done
exec python3 -m lab.inside
"""


@dataclass(frozen=True)
class Played:
    """A scenario, the kernel that it was played on, what was seen, and how the guest ended."""

    scenario: Scenario
    kernel: Kernel
    said: Said
    result: GuestResult

    @property
    def trouble(self) -> str | None:
        """What kept the guest from playing it all; None where nothing did."""
        result = self.result
        if result.ended is Ended.SCRIPT_DONE and result.status == 0:
            return None
        where = self.said.doing or "its first round: it did not begin"
        if result.ended is Ended.TIME_LIMIT:
            return f"stopped by the time limit of {self.scenario.time_limit_s:.0f} s in {where}"
        if result.ended is Ended.DIED:
            last = [line for line in result.console.splitlines() if line.strip()][-1:]
            return f"the guest died in {where}: {last[0] if last else 'it said nothing'}"
        last = [line for line in result.stderr.splitlines() if line.strip()][-1:]
        return f"the lab failed inside the guest in {where}: {last[0] if last else f'status {result.status}'}"


def play(scenario: Scenario, wanted_kernel: str) -> Played:
    """Boot a kernel and play a scenario in it. Raises LabError when the guest cannot be started."""
    backends = dict.fromkeys(this.round.backend or "none" for this in scenario.played)
    chosen = with_modules(kernel(wanted_kernel), backends)
    wanted = scenario.machine
    machine = Machine(wanted.memory_mib, wanted.swap_mib, wanted.processors, append=wanted.append)
    files = carried(scenario.played, scenario.folder)
    files |= {f"/lab/modules/{module.name}": module.read_bytes() for module in chosen.modules}
    result = run_guest(SCRIPT, chosen, machine, files, scenario.time_limit_s)
    return Played(scenario, chosen, read_lines(result.stdout), result)


def carried(rounds: Sequence[Play], folder: Path) -> dict[str, Path | bytes]:
    """Guest path -> content: Python, the project, the part of the lab that runs inside, the hog, the plan, policies."""
    files = python_tree() | {"/bin/hog": hog()}
    files |= {f"{SITE}/lab/{name}": HERE / name for name in CARRIED}
    plan = []
    for this in rounds:
        policy, content = carried_policy(this.round.policy, folder, this.number)
        if content is not None and policy is not None:
            files[policy.partition(".py:")[0].removesuffix(".py") + ".py"] = content
        plan.append(msgspec.structs.replace(this, round=msgspec.structs.replace(this.round, policy=policy)))
    files["/lab/plan.json"] = msgspec.json.encode(plan)
    return files


def carried_policy(policy: str | None, folder: Path, number: int) -> tuple[str | None, bytes | None]:
    """A policy's name in the guest, and its source where it is not built in.

    A text of several lines is the source itself; a file is named from the scenario's folder.
    """
    if policy is None:
        return None, None
    if "\n" in policy:
        return f"{POLICIES}/{number}/inline.py", policy.encode()
    if "/" not in policy and ".py" not in policy:
        return policy, None
    file, _, name = policy.partition(".py:")
    path = folder / (f"{file}.py" if name else file)
    try:
        source = path.read_bytes()
    except OSError as error:
        raise OompolicyError(
            f"policy {path}", f"cannot be read ({error.strerror})", "name it from the scenario"
        ) from error
    return f"{POLICIES}/{number}/{path.name}" + (f":{name}" if name else ""), source
