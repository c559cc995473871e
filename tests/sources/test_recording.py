"""Recordings: what goes in comes out, and what is no recording is refused.

Belongs here: the file as a whole. Must not know: how snapshots are taken.
"""

from __future__ import annotations

import dataclasses
import enum
import gzip
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oompolicy.errors import SourceError
from oompolicy.mm.memcontrol import MemCgroup
from oompolicy.mm.oom import Kernel
from oompolicy.mm.rules import Rules
from oompolicy.mm.sched import Mm, Task
from oompolicy.snapshot import Snapshot
from oompolicy.sources import recorded, recording
from oompolicy.sources.live import live_snapshot
from oompolicy.sources.recorded import record, restore
from oompolicy.sources.recording import FORMAT, read_recording, write_recording

from worlds import machine, memcg, task

LONG = st.integers(-(2**63), 2**63 - 1)
PAGES = st.integers(0, 2**63 - 1)
# Everything that a name can be in Python: bytes from the kernel, and texts from anywhere.
TEXT = st.one_of(
    st.binary(max_size=20).map(lambda name: name.decode("utf-8", "surrogateescape")),
    st.text(max_size=20),
    st.sampled_from(["\\", "\\udc80", "\\\\u0041", "\udc80", "\ud800", "a\nb", "\x00", '"']),
)
NODES = st.none() | st.frozensets(st.integers(0, 1023), max_size=4)


def optional(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


def of_type(one: dataclasses.Field[Any]) -> st.SearchStrategy[Any]:
    """Values of a field by its annotation; a field of a new kind fails here, and is then to be thought of."""
    by_annotation: dict[str, st.SearchStrategy[Any]] = {
        "int": PAGES if one.name.endswith("_pages") else LONG,
        "int | None": optional(PAGES if one.name.endswith("_pages") else LONG),
        "bool": st.booleans(),
        "bool | None": optional(st.booleans()),
        "str": TEXT,
        "str | None": optional(TEXT),
        "tuple[str, ...]": st.lists(TEXT, max_size=3).map(tuple),
        "frozenset[int] | None": NODES,
        "Details | None": st.none(),  # asks the machine, which a recording leaves behind
        "dict[int, int]": st.dictionaries(st.integers(0, 1023), PAGES, max_size=3),
    }
    kind = str(one.type)
    return by_annotation[kind[len("Final[") : -1] if kind.startswith("Final[") else kind]


def fields_of(kind: type[Any], **given_fields: st.SearchStrategy[Any]) -> dict[str, st.SearchStrategy[Any]]:
    names = [one for one in dataclasses.fields(kind) if one.name not in given_fields]
    return {one.name: of_type(one) for one in names} | given_fields


MMS = st.builds(Mm, **fields_of(Mm))


@st.composite
def rules(draw: st.DrawFn) -> Rules:
    flags: dict[str, Any] = {}
    for name, flag in dataclasses.asdict(Rules()).items():
        flags[name] = draw(st.sampled_from(list(type(flag))) if isinstance(flag, enum.Enum) else st.booleans())
    return Rules(**flags)


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    memcgs: list[MemCgroup] = []
    for _ in range(draw(st.integers(0, 4))):
        parent = draw(st.sampled_from([None, *memcgs]))
        memcgs.append(draw(st.builds(MemCgroup, **fields_of(MemCgroup, parent=st.just(parent)))))
    where = st.sampled_from([None, *memcgs])
    tasks = st.lists(st.builds(Task, **fields_of(Task, mm=optional(MMS), memcg=where)), max_size=4).map(tuple)
    listed = st.permutations(memcgs[: draw(st.integers(0, len(memcgs)))]).map(tuple)
    kernel = st.builds(Kernel, **fields_of(Kernel, tasks=tasks, memcgs=listed, rules=rules()))
    page_size = st.sampled_from([4096, 16384, 65536])
    return draw(st.builds(Snapshot, **fields_of(Snapshot, kernel=kernel, page_size_bytes=page_size)))


def plain(value: Any, names: dict[int, int]) -> Any:
    """A snapshot as plain data; a memcg that is met again is its number, so that identity counts."""
    if isinstance(value, MemCgroup):
        if id(value) in names:
            return names[id(value)]
        names[id(value)] = len(names)
    if dataclasses.is_dataclass(value):
        return {one.name: plain(getattr(value, one.name), names) for one in dataclasses.fields(value)}
    if isinstance(value, tuple):
        return tuple(plain(one, names) for one in value)
    return value


@given(snapshots())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_everything_comes_back(snapshot: Snapshot) -> None:
    data = msgspec.json.encode(record(snapshot))
    again = restore(msgspec.json.decode(data, type=recorded.RecordedSnapshot))
    assert plain(again, {}) == plain(snapshot, {})
    assert msgspec.json.encode(record(again)) == data


@pytest.mark.parametrize(
    ("ours", "written"),
    [
        (Mm, recorded.RecordedMm),
        (Task, recorded.RecordedTask),
        (MemCgroup, recorded.RecordedMemCgroup),
        (Kernel, recorded.RecordedKernel),
    ],
)
def test_a_new_field_is_recorded_too(ours: type[Any], written: type[msgspec.Struct]) -> None:
    assert {one.name for one in dataclasses.fields(ours)} == set(written.__struct_fields__)


def test_a_new_field_of_snapshots_is_recorded_too() -> None:
    names = {one.name for one in dataclasses.fields(Snapshot)}
    assert names - {"details"} | {"memcgs"} == set(recorded.RecordedSnapshot.__struct_fields__)


WORLD = machine(
    memcg("db", limit="2G", value=900, tasks=[task("postgres", rss="1G"), task("caf\udce9\n")]),
    memcg("batch", memcg("night", tasks=[task("sort", rss="200M", value=3)], wish=-4), value=10),
    task("init"),
)


@pytest.fixture
def world(tmp_path: Path) -> Path:
    path = tmp_path / "world.rec"
    write_recording(WORLD, path)
    return path


def test_a_file_comes_back_and_is_its_owners(world: Path) -> None:
    again = read_recording(world)
    assert plain(again, {}) == plain(WORLD, {})
    assert again.task(101).memcg is again.memcg("/db")
    assert world.stat().st_mode & 0o777 == 0o600
    assert list(world.parent.iterdir()) == [world]


def test_a_live_machine_comes_back(tmp_path: Path) -> None:
    snapshot = live_snapshot()
    write_recording(snapshot, tmp_path / "live.rec")
    assert plain(read_recording(tmp_path / "live.rec"), {}) == plain(dataclasses.replace(snapshot, details=None), {})


def test_the_form_of_version_1_does_not_change() -> None:
    """Recordings of yesterday are read tomorrow: if this fails, a new version is due."""
    kernel = Kernel(
        (Task(7, "a\\\udcff", Mm(3), memcg=(root := MemCgroup("/", id=1))),),
        9,
        memcgs=(root, MemCgroup("/b", root, value=-1)),
        node_present_pages={0: 9},
    )
    text = msgspec.json.encode(record(Snapshot(kernel, hierarchy="v2", missing=("x",)))).decode()
    start, _, rest = text.partition(',"rules":{')
    assert start == (
        r'{"kernel":{"tasks":[{"pid":7,"comm":"a\\\\\\udcff","mm":{"rss_pages":3},"memcg":0}],"totalram_pages":9,'
        r'"memcgs":[0,1],"node_present_pages":{"0":9}'
    )
    assert rest.partition("}}")[2] == (
        ',"page_size_bytes":4096,"hierarchy":"v2","missing":["x"],"memcgs":[{"path":"/","id":1},{"path":"/b","parent":0,"value":-1}]}'
    )


def test_rules_that_an_old_recording_does_not_name_are_those_of_its_kernel() -> None:
    form = record(dataclasses.replace(WORLD, kernel_release="3.10.0"))
    form.kernel.rules = {"sacrifice_child": False}
    rules_read = restore(form).kernel.rules
    assert (rules_read.sacrifice_child, rules_read.clamp_to_one) == (False, True)


def packed(*lines: object) -> bytes:
    return gzip.compress(b"\n".join(one if isinstance(one, bytes) else msgspec.json.encode(one) for one in lines))


HEADER = {"format": FORMAT, "version": 1}


def body(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    form: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(record(WORLD)))
    change(form)
    return form


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", "is empty: make one with"),
        (b"Out of memory: Killed process 7 (a)\n", "is not a recording of oompolicy"),
        (bytes(range(256)) * 40, "is not a recording"),
        (b"\x1f", "is not a recording"),
        (b"\x1f\x8b", "damaged or cut short"),
        (b"\x1f\x8b" + bytes(range(200)), "damaged or cut short"),
        (packed(b"Jan 1 kernel: hello"), "is not a recording"),
        (packed(b"\xff\xfe"), "is not a recording"),
        (packed(b""), "is not a recording"),
        (packed({"format": "something else", "version": 1}, {}), "is not a recording"),
        (packed({"format": FORMAT}, {}), "is not a recording"),
        (packed({"format": FORMAT, "version": 2}, {}), "is of version 2, .* up to version 1: .*newer oompolicy"),
        (packed({"format": FORMAT, "version": 0}, {}), "is damaged"),
        (packed(HEADER), "is damaged"),
        (packed(HEADER, {}), "is damaged .*missing required field `kernel`"),
        (packed(HEADER, body(lambda form: form.update(surprise=1))), "unknown field `surprise`"),
        (packed(HEADER, body(lambda form: form["kernel"]["tasks"][0].update(pid="x"))), r"tasks\[0\]|tasks\[...\]"),
        (packed(HEADER, body(lambda form: form["kernel"]["tasks"][0].update(memcg=99))), "cgroup is number 99 of 4"),
        (packed(HEADER, body(lambda form: form["memcgs"][1].update(parent=1))), "parent is number 1 of 1"),
        (packed(HEADER, body(lambda form: form["memcgs"][1].update(parent=-1))), "is damaged"),
        (packed(HEADER, body(lambda form: form["kernel"]["rules"].update(ties="BEST"))), "ties = BEST is no rule"),
        (packed(HEADER, body(lambda form: form["kernel"]["rules"].update(new=True))), "new = True is no rule"),
        (packed(HEADER, body(lambda form: form.update(page_size_bytes=0))), "is damaged"),
        (packed(HEADER, b"[" * 100_000), "is damaged"),
    ],
)
def test_what_is_no_recording_is_refused(tmp_path: Path, data: bytes, complaint: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(data)
    with pytest.raises(SourceError, match=complaint) as raised:
        read_recording(path)
    assert str(raised.value).startswith(f"{path}: ")


def test_any_cut_is_noticed(world: Path) -> None:
    whole = world.read_bytes()
    for length in range(len(whole)):
        world.write_bytes(whole[:length])
        with pytest.raises(SourceError):
            read_recording(world)


def test_any_flipped_bit_is_noticed_or_harmless(world: Path) -> None:
    whole = world.read_bytes()
    expected = plain(WORLD, {})
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        world.write_bytes(damaged)
        try:
            assert plain(read_recording(world), {}) == expected  # bits of gzip's header that say nothing
        except SourceError:
            continue


def test_a_decompression_bomb_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "MAX_BYTES", 1 << 20)
    path = tmp_path / "bomb"
    path.write_bytes(packed(HEADER, b" " * (8 << 20)))
    with pytest.raises(SourceError, match="unpacks to more than 1 MiB"):
        read_recording(path)


def test_files_that_cannot_be_read_or_written_are_said(tmp_path: Path) -> None:
    for broken in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(SourceError, match=r"cannot be read \("):
            read_recording(broken)
    with pytest.raises(SourceError, match=r"cannot be written \(No such file"):
        write_recording(WORLD, tmp_path / "no" / "folder")
    for special in (tmp_path, Path("/dev/null")):
        with pytest.raises(SourceError, match="not a regular file"):
            write_recording(WORLD, special)
    assert Path("/dev/null").is_char_device()


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = world.read_bytes()

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SourceError, match="No space left"):
        write_recording(machine(), world)
    assert world.read_bytes() == before
    assert list(world.parent.iterdir()) == [world]


def test_a_link_is_written_through(world: Path) -> None:
    link = world.parent / "latest"
    link.symlink_to(world)
    write_recording(machine(), link)
    assert link.is_symlink()
    assert read_recording(world).kernel.tasks == ()
