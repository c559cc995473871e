"""What a path that a policy names is, from look to look."""

from __future__ import annotations

import os
import struct

import pytest

from oompolicy.backends.hook.paths import Paths
from oompolicy.bpf.errors import BpfError
from oompolicy.bpf.maps import Map, u32

from worlds import machine, memcg


def ids(paths: Paths, count: int) -> list[int]:
    """As a program finds them."""
    with Map(os.dup(paths.fileno())) as held:
        return [struct.unpack("=Q", held.lookup(u32(number)) or b"")[0] for number in range(count)]


@pytest.mark.root
def test_a_path_is_nothing_until_it_appears_and_again_when_it_has_gone() -> None:
    before, after = machine(memcg("shop")), machine(memcg("shop", memcg("batch")))
    try:
        paths = Paths(("/shop", "/shop/batch"))
    except BpfError as error:
        pytest.skip(f"no maps here: {error}")
    with paths:
        paths.refresh(before)
        assert ids(paths, 2) == [before.memcg("/shop").id, 0]
        paths.refresh(after)
        assert ids(paths, 2) == [after.memcg(path).id for path in ("/shop", "/shop/batch")]
        paths.refresh(before)
        assert ids(paths, 2)[1] == 0


def test_without_paths_there_is_no_map() -> None:
    with Paths(()) as paths:
        assert paths.fileno() == -1
        paths.refresh(machine())
