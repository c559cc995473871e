"""A whole set of entries in force at once: a new map is filled, then put in the place of the old one in one step.

Belongs here: making, filling and exchanging. Must not know: where entries come from.
"""

from __future__ import annotations

from typing import Final

from oompolicy.backends.hook.abi import KEY, VALUE, Entries
from oompolicy.bpf.map_kinds import MapOfMaps
from oompolicy.bpf.maps import Map, MapSpec, u32
from oompolicy.bpf.object_ids import open_map
from oompolicy.bpf.uapi import MapType

_SLOT: Final = u32(0)


def empty() -> MapOfMaps:
    """The outer map, with nothing in force. Raises BpfError."""
    spec = MapSpec(MapType.ARRAY_OF_MAPS, "oom_generation", 4, 4, 1)
    with Map.create(_spec(1)) as example:
        return MapOfMaps.create(spec, inner=example)


def publish(generation: MapOfMaps, entries: Entries) -> None:
    """Put the entries in force, all of them from one moment on. Raises BpfError, and the old ones stay then."""
    with Map.create(_spec(len(entries))) as inner:
        inner.update_many({key: entry.pack() for key, entry in entries.items()})
        generation.put(_SLOT, inner)


def in_force(generation: MapOfMaps) -> dict[bytes, bytes]:
    """The published keys and values, as bytes."""
    inner_id = generation.inner_id(_SLOT)
    if inner_id is None:
        return {}
    with open_map(inner_id) as inner:
        return dict(inner.items())


def _spec(entries: int) -> MapSpec:
    """Maps of different sizes may take each other's place (kernel/bpf/map_in_map.c, bpf_map_meta_equal())."""
    return MapSpec(MapType.HASH, "oom_entries", KEY.size, VALUE.size, max(entries, 1))
