"""A scenario: read from its file, its rounds made complete, another policy or backend put in their place.

Belongs here: how a round inherits from its scenario, where scenarios are found.
Must not know: TOML, guests, what a policy does. The keys are in world.py, the format is docs/lab.md.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import msgspec

from lab.fit import check_round, check_world
from lab.toml_file import Keys, TomlFile
from lab.world import Backend, Machine, Play, Round, ScenarioFile, World

FOLDER: Final = Path(__file__).with_name("scenarios")
WITHIN_S: Final = 20.0
GUEST_S: Final = 60.0  # booting, and what is done besides the rounds
ROUND_S: Final = 20.0  # a round's own preparations


@dataclass(frozen=True)
class Scenario:
    """What is played in one guest: its rounds complete, each with its world. Policies are named from the folder."""

    name: str
    about: str
    machine: Machine
    rounds: tuple[Play, ...]
    time_limit_s: float
    folder: Path

    @property
    def played(self) -> tuple[Play, ...]:
        """The rounds that are not skipped."""
        return tuple(this for this in self.rounds if this.skipped is None)


def find(name: str) -> Path:
    """The file of a scenario: a path, or a name of the collection in lab/scenarios."""
    if "/" in name or name.endswith(".toml"):
        return Path(name)
    return FOLDER / f"{name}.toml"


def collection() -> list[Path]:
    """The scenarios that come with the lab."""
    return sorted(FOLDER.glob("*.toml"))


def read_scenario(path: Path) -> Scenario:
    """The scenario of a file. Raises ConfigError with the line, what is wrong, and what is known or expected."""
    file = TomlFile(path, ScenarioFile)
    said = file.said
    check_world(file)
    rows: list[tuple[Keys, Round]] = [(("round", number), row) for number, row in enumerate(said.round)]
    rounds = []
    for number, (keys, row) in enumerate(rows or [((), Round())], start=1):
        whole = _complete(said, row)
        check_round(file, keys, whole)
        rounds.append(Play(World(said.cgroup, said.workload, said.assign), whole, number))
    return Scenario(
        path.stem,
        said.about or path.stem,
        said.machine,
        tuple(rounds),
        said.time_limit_s or _time_limit_s(rounds),
        path.parent,
    )


def forced(scenario: Scenario, policy: str | None, backend: Backend | None) -> Scenario:
    """The scenario with another policy, or another way to force it, in every round that has a policy.

    With the backend "none" only the rounds without a policy are left.
    """
    rounds = []
    for play in scenario.rounds:
        row = play.round
        if row.policy is not None:
            if backend == "none":
                continue
            row = msgspec.structs.replace(row, policy=policy or row.policy, backend=backend or row.backend)
            row = row if policy is None else msgspec.structs.replace(row, params={})
        rounds.append(msgspec.structs.replace(play, round=row))
    return replace(scenario, rounds=tuple(rounds))


def _time_limit_s(rounds: list[Play]) -> float:
    return GUEST_S + sum((play.round.within_s or WITHIN_S) + ROUND_S for play in rounds)


def _complete(common: ScenarioFile, row: Round) -> Round:
    """A round with what it leaves unsaid."""
    said = {name: getattr(common, name) for name in Round.__struct_fields__ if name != "about"}
    said |= {name: value for name in Round.__struct_fields__ if (value := getattr(row, name)) is not None}
    if row.victims is not None or row.victims_among is not None:  # one of the two takes the place of the other
        said |= {"victims": row.victims, "victims_among": row.victims_among}
    if row.policy is not None and row.params is None:
        said["params"] = None
    if said["backend"] is None:
        said["backend"] = "none" if said["policy"] is None else "oom_score_adj"
    if said["backend"] == "none":
        said["policy"] = None
    said["within_s"] = said["within_s"] or WITHIN_S
    return Round(**said)
