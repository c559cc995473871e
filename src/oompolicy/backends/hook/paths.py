"""The cgroups that a policy names by path (`is_under("/batch.slice")`), as ids for its program.

Belongs here: the map of one program, kept true from look to look. Must not know: who reads it, what for.

A path that is not there has the id 0, which no cgroup has; when it appears, the next look puts its id in.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final, Self

from oompolicy.bpf.maps import Map, MapSpec, u32
from oompolicy.bpf.uapi import MapType
from oompolicy.snapshot import Snapshot

_ID: Final = struct.Struct("=Q")


class Paths:
    """An array: a path's number -> its cgroup id, 0 where there is none. Without paths there is no map."""

    def __init__(self, paths: Sequence[str]) -> None:
        self._paths = tuple(paths)
        self._known = [0] * len(self._paths)
        spec = MapSpec(MapType.ARRAY, "oom_paths", 4, _ID.size, max(len(self._paths), 1))
        self._map = Map.create(spec) if self._paths else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def fileno(self) -> int:
        """Of the map; -1 where there is none."""
        return -1 if self._map is None else self._map.fileno()

    def refresh(self, snapshot: Snapshot) -> None:
        """Let each number be what its path is now."""
        if self._map is None:
            return
        ids = {memcg.path: memcg.id or 0 for memcg in snapshot.kernel.memcgs}
        for number, path in enumerate(self._paths):
            now = ids.get(path, 0)
            if now != self._known[number]:
                self._map.update(u32(number), _ID.pack(now))
                self._known[number] = now

    def close(self) -> None:
        """Let go of the map; the program keeps it."""
        if self._map is not None:
            self._map.close()
