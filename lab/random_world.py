"""A world made up by a seed, with an OOM in it: trees, sizes, oom_score_adj, oom.group, and processes of all kinds.

Belongs here: what may be in such a world, and how often. Must not know: what becomes of it.
"""

from __future__ import annotations

from random import Random

from lab.world import SYSRQ, UNITS, Backend, Cgroup, Limit, Memory, Oom, Play, Round, Workload, World

GROWER = "grower"
SETTLE_S = 0.12
WITHIN_S = 30.0


def random_play(seed: str, number: int, policy: str | None = None, backend: Backend = "none") -> Play:
    """The world of a seed and a number, always the same. A built-in policy adds values of cgroups, and nothing else."""
    random = Random(f"{seed}/{number}")
    limit_mib = random.randint(20, 44)
    top = f"/r{number}"
    tree = _tree(random, top)
    leaves = [path for path in tree if not any(other.startswith(f"{path}/") for other in tree)]
    inside = [path for path in leaves if random.random() < 0.9] or leaves[:1]
    scope = _common(inside) if random.random() < 0.7 else top
    within = [path for path in leaves if f"{path}/".startswith(f"{scope}/")]
    sizes_kib = _sizes_kib(random, random.randint(2, 7), limit_mib << 10)
    workloads = [_workload(random, f"w{index}", within, size_kib) for index, size_kib in enumerate(sizes_kib)]
    outside = [path for path in leaves if path not in within]
    workloads += [_workload(random, f"o{index}", [path], 6 << 10) for index, path in enumerate(outside[:2])]
    grower = Workload(GROWER, cgroup=random.choice(within), oom_score_adj=_adj(random, least=-900))
    by_hand = random.random() < 0.12
    memory = Memory(max="max" if by_hand else f"{limit_mib}M", oom=tree[scope].memory.oom)
    tree[scope] = Cgroup(memory)
    said = Round(
        runs_out=SYSRQ if by_hand else scope,
        by=None if by_hand else GROWER,
        policy=policy,
        backend=backend,
        victims_among=[workload.name for workload in workloads] + [GROWER],
        within_s=WITHIN_S,
    )
    if policy is not None:
        tree = _with_values(Random(f"{seed}/{number}/values"), tree)
    return Play(World(tree, [*workloads, grower]), said, number, settle_s=SETTLE_S, trace_points=True)


def _tree(random: Random, top: str) -> dict[str, Cgroup]:
    """A cgroup and up to five below it, at most three deep."""
    paths = [top]
    for index in range(random.randint(0, 5)):
        above = random.choice([path for path in paths if path.count("/") < 3])
        paths.append(f"{above}/c{index}")
    return {path: Cgroup(_memory(random)) for path in paths}


def _with_values(random: Random, tree: dict[str, Cgroup]) -> dict[str, Cgroup]:
    """Small values, so that some are equal; half of the cgroups have none of their own."""
    values = {path: random.randint(-3, 3) if random.random() < 0.5 else None for path in tree}
    return {path: Cgroup(cgroup.memory, values[path]) for path, cgroup in tree.items()}


def _memory(random: Random) -> Memory:
    """What is not to matter to the choice (protection, a limit that is not reached), and oom.group, which matters."""
    roomy: Limit | None = "1G" if random.random() < 0.2 else None
    low: Limit | None = "4M" if random.random() < 0.2 else None
    group = random.choice((True, False)) if random.random() < 0.3 else None
    return Memory(max=roomy, low=low, oom=Oom(group=group))


def _sizes_kib(random: Random, count: int, limit_kib: int) -> list[int]:
    """Sizes that leave a fifth to a half of the limit; now and then two are equal, or nearly."""
    total = limit_kib * random.randint(50, 80) // 100
    weights = [random.uniform(0.2, 1.0) for _ in range(count)]
    sizes = [max(64, int(total * weight / sum(weights))) for weight in weights]
    if random.random() < 0.3:
        sizes[-1] = max(64, min(sizes[0], sizes[-1]) + random.choice((0, 0, 4, -4, 64)))
        sizes[0] = min(sizes[0], sizes[-1])
    return sizes


def _workload(random: Random, name: str, cgroups: list[str], size_kib: int) -> Workload:
    return Workload(
        name,
        cgroup=random.choice(cgroups),
        size=size_kib * UNITS["K"],
        threads=random.randint(2, 4) if random.random() < 0.15 else 1,
        leader_exits=random.random() < 0.12,
        shmem=random.random() < 0.12,
        mlock=random.random() < 0.08,
        oom_score_adj=_adj(random, least=-1000),
        uid=1000 if random.random() < 0.2 else 0,
    )


def _adj(random: Random, least: int) -> int:
    """Mostly 0, else anything, the ends more often than their share."""
    wide = (random.randint(least, 1000), random.randint(-60, 60), least, 1000)
    return 0 if random.random() < 0.5 else random.choices(wide, (6, 4, 2, 1))[0]


def _common(paths: list[str]) -> str:
    """The deepest cgroup that holds all of them."""
    parts = [path.split("/") for path in paths]
    same = [names[0] for names in zip(*parts, strict=False) if len(set(names)) == 1]
    return "/".join(same)
