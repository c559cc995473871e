"""A whole set of entries in force at once: a new map is filled, then put in the place of the old one in one step.

Belongs here: making, filling and exchanging. Must not know: where entries come from, which slot is live.
"""

from __future__ import annotations

from oompolicy.backends.hook.abi import GENERATIONS, KEY, NO_ENTRIES, SLOTS, VALUE, Entries
from oompolicy.bpf.map_kinds import MapOfMaps
from oompolicy.bpf.maps import Map, MapSpec, u32
from oompolicy.bpf.object_ids import open_map
from oompolicy.bpf.uapi import MapType


def empty() -> MapOfMaps:
    """The outer map, with nothing in force. Raises BpfError."""
    spec = MapSpec(MapType.ARRAY_OF_MAPS, "oom_generation", 4, 4, GENERATIONS)
    with Map.create(_spec(1)) as nothing:
        outer = MapOfMaps.create(spec, inner=nothing)
        try:
            outer.put(u32(NO_ENTRIES), nothing)
        except BaseException:
            outer.close()
            raise
    return outer


def of_slot(slot: int) -> int:
    """Where the entries are that the slot's policy goes by."""
    return 1 + slot


def of_shadows(slot: int) -> int:
    """Where the entries are that shadows go by while the slot is live."""
    return 1 + SLOTS + slot


def publish(generation: MapOfMaps, entries: Entries, *places: int) -> None:
    """Put the entries in these places, all of them from one moment on. Raises BpfError, and the old ones stay then."""
    with Map.create(_spec(len(entries))) as inner:
        inner.update_many({key: entry.pack() for key, entry in entries.items()})
        for place in places:
            generation.put(u32(place), inner)


def in_force(generation: MapOfMaps, slot: int) -> dict[bytes, bytes]:
    """The published keys and values of a slot, as bytes."""
    inner_id = generation.inner_id(u32(of_slot(slot)))
    if inner_id is None:
        return {}
    with open_map(inner_id) as inner:
        return dict(inner.items())


def _spec(entries: int) -> MapSpec:
    """Maps of different sizes may take each other's place (kernel/bpf/map_in_map.c, bpf_map_meta_equal())."""
    return MapSpec(MapType.HASH, "oom_entries", KEY.size, VALUE.size, max(entries, 1))
