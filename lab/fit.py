"""What in a scenario has to fit together: names, cgroups that exist, somebody who can run out, victims who can die.

Belongs here: these rules, and what to do about a broken one. Must not know: types of keys, how a round is played.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath

from lab.toml_file import Keys, TomlFile
from lab.world import MACHINE, MORE, SYSRQ, Round, ScenarioFile, Workload

File = TomlFile[ScenarioFile]


def check_world(file: File) -> None:
    """Raise ConfigError where cgroups and workloads do not fit together."""
    said = file.said
    parents = {str(parent) for path in said.cgroup for parent in PurePosixPath(path).parents} - {"/"}
    for path in said.cgroup:
        if not path.startswith("/") or path == "/" or PurePosixPath(path).as_posix() != path or ".." in path:
            file.refuse(("cgroup", path), f"cgroup {path}: is not a path like /job/db", 'write [cgroup."/job/db"]')
    names: set[str] = set()
    for number, workload in enumerate(said.workload):
        keys, what = ("workload", number), f"workload {workload.name}"
        if workload.name in names:
            file.refuse((*keys, "name"), f"a second {what}", "for several that are alike: copies = 2")
        names.add(workload.name)
        if workload.cgroup in parents:
            why = f"{what}: cgroup {workload.cgroup} has cgroups below it, so it holds no processes"
            file.refuse((*keys, "cgroup"), why, f"give it one of its own, like {workload.cgroup}/{workload.name}")
        if workload.cgroup not in {"/", *said.cgroup}:
            file.unknown((*keys, "cgroup"), f"{what}: no cgroup", workload.cgroup, said.cgroup)
        if workload.pageout and not said.machine.swap_mib:
            why = f"{what}: pageout, but the machine has no swap"
            file.refuse((*keys, "pageout"), why, "add it: [machine] swap_mib = 256")


def check_round(file: File, row_keys: Keys, row: Round) -> None:
    """Raise ConfigError where a round does not fit its world; row_keys are its table's, () those of the file's top."""
    workloads = {workload.name: workload for workload in file.said.workload}

    def at(key: str) -> Keys:
        """Where the round says it, or the scenario for all its rounds."""
        return (key,) if file.sets((key,)) and not file.sets((*row_keys, key)) else (*row_keys, key)

    _check_scope(file, at("runs_out"), row)
    _check_by(file, at("by"), row, workloads)
    if row.backend != "none" and row.policy is None:
        file.refuse(at("backend"), f"backend {row.backend}, but no policy", 'add policy = "memcg_priority"')
    if (row.victims is None) == (row.victims_among is None):
        why = "does not say who is to die" if row.victims is None else "has both victims and victims_among"
        file.refuse(at("victims"), why, 'write victims = ["NAME", …] (in order), or victims_among = ["NAME", …]')
    if row.victims == [MORE]:
        file.refuse(at("victims"), f'"{MORE}" alone says nothing', "name who dies first")
    grower = None if row.by is None else workloads[row.by]
    if row.victims == [] and grower is not None and grower.grow_to is None and not grower.forks:
        why = f"nobody is to die, and nothing says how far {row.by} grows"
        file.refuse(at("victims"), why, f'give {row.by} an end: grow_to = "64M"')
    for key, name in _names(row):
        if name not in workloads:
            file.unknown(at(key), f"{key}: no workload", name, workloads)
    doomed = {name for key, name in _names(row) if key != "survivors"}
    for name in row.survivors or ():
        if name in doomed and workloads[name].copies == 1 and not workloads[name].forks:
            file.refuse(at("survivors"), f"{name} is to die and to live", "take it out of one of the two")


def _check_scope(file: File, keys: Keys, row: Round) -> None:
    cgroups = file.said.cgroup
    if row.runs_out is None:
        file.refuse(keys, "does not say what runs out", f'add runs_out = "/cgroup", "{MACHINE}" or "{SYSRQ}"')
    if row.scope is not None and row.scope not in cgroups:
        file.unknown(keys, "runs_out: there is nothing like", row.scope, [*cgroups, MACHINE, SYSRQ])
    if row.scope is not None and cgroups[row.scope].memory.max in (None, "max"):
        why = f"cgroup {row.scope} has no memory.max, so it cannot run out"
        file.refuse(keys, why, 'give it one: memory.max = "64M"')


def _check_by(file: File, keys: Keys, row: Round, workloads: Mapping[str, Workload]) -> None:
    """Who makes it run out: somebody inside it, but for sysrq, which needs nobody."""
    if row.by is None and row.runs_out == SYSRQ:
        return
    if row.by is None:
        file.refuse(keys, f"does not say by whom {row.runs_out} runs out", 'add by = "WORKLOAD", who is to grow')
    if row.by not in workloads:
        file.unknown(keys, "by: no workload", row.by, workloads)
    grower = workloads[row.by]
    if grower.copies > 1:
        file.refuse(keys, f"by: there are {grower.copies} of {row.by}", "let one grow that has no copies")
    if row.scope is not None and not f"{grower.cgroup}/".startswith(f"{row.scope}/"):
        why = f"by: {row.by} grows in {grower.cgroup}, which is not in {row.scope}"
        file.refuse(keys, why, f"{row.scope} runs out by a workload inside it")


def _names(row: Round) -> Iterator[tuple[str, str]]:
    """Every workload that the expectation names, with the key that does; MORE counts only as the last of victims."""
    victims = row.victims or []
    for item in victims[:-1] if victims[-1:] == [MORE] else victims:
        yield from (("victims", name) for name in ([item] if isinstance(item, str) else item))
    yield from (("victims_among", name) for name in row.victims_among or ())
    yield from (("survivors", name) for name in row.survivors or ())
