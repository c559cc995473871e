"""Reads as text: every field of the language has one, which keeps to the emitter's rules on every kind of kernel.

What they read is tests/guest's.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from backends.hook.made_up_kernel import made_up_kernel
from backends.hook.test_program import unreached
from oompolicy.backends.hook.kernel_fields import FRAME_BYTES, Access, Frame, KernelFields, Memo, Paths, access
from oompolicy.backends.hook.kernel_fields.comm import WORDS
from oompolicy.backends.hook.kernel_fields.trial import try_all
from oompolicy.bpf.assembly import Label, Line, resolve, slots
from oompolicy.bpf.instructions import (
    Alu,
    Call,
    CallKernel,
    Exit,
    Goto,
    Jump,
    Load,
    LoadMap,
    LoadMapValue,
    LoadVariable,
    Store,
    move,
)
from oompolicy.bpf.opcodes import R0, R1, R10
from oompolicy.bpf.uapi import Helper
from oompolicy.compiler.subset import BY_NAME, FieldKind

NEWER, OLDER = made_up_kernel(), made_up_kernel(newer=False)
OWN = -80
FRAME = Frame(-8, -16, OWN)
PATHS = Paths(5, ("/a", "/a/b.slice/c"))
FIELDS = (*(name for name, field in BY_NAME.items() if field.kind is not FieldKind.COMM), *WORDS)
READERS = {
    "casts": KernelFields(NEWER, Access(), FRAME, PATHS),
    "casts, memo": KernelFields(NEWER, Access(), FRAME, PATHS, Memo(6, 160)),
    "probes": KernelFields(NEWER, access.NONE, FRAME, PATHS),
    "older, sums": KernelFields(OLDER, Access(casts=False), FRAME, PATHS),
    "older, probes": KernelFields(OLDER, access.NONE, FRAME, PATHS),
}


@pytest.fixture(autouse=True)
def _three_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not in a row."""
    ranges = "oompolicy.backends.hook.kernel_fields.mm_counters.possible_cpus"
    monkeypatch.setattr(ranges, lambda: ((0, 0), (2, 3)))


def reads(reader: KernelFields) -> Iterator[tuple[str, list[Line]]]:
    for field in FIELDS:
        arguments = (None, *PATHS.names) if field == "memcg.is_under" else (None,)
        for argument in arguments:
            yield field, list(reader.read(field, argument, "mine", "fails"))


def fails(lines: list[Line]) -> bool:
    return any(isinstance(line, Jump | Goto) and line.target == "fails" for line in lines)


@pytest.mark.parametrize("kind", READERS)
def test_a_read_keeps_to_its_registers_and_its_part_of_the_frame(kind: str) -> None:
    reader = READERS[kind]
    for field, lines in reads(reader):
        for line in lines:
            match line:
                case Alu(dst=dst) | Load(dst=dst) | LoadMap(dst=dst) | LoadMapValue(dst=dst) | LoadVariable(dst=dst):
                    assert dst <= (R1 if reader.is_light(field) else 5), (field, line)
                case Call() | CallKernel():
                    assert not reader.is_light(field), (field, line)
                case Store(width, base, offset) if base is R10:
                    assert OWN <= offset <= OWN + FRAME_BYTES - width, (field, line)


@pytest.mark.parametrize("kind", READERS)
def test_labels_are_its_own_and_every_instruction_is_reached(kind: str) -> None:
    """The verifier refuses what no way leads to."""
    for field, lines in reads(READERS[kind]):
        labels = [line.name for line in lines if isinstance(line, Label)]
        assert all(name.startswith("mine_") for name in labels), field
        failing: list[Line] = [Label("fails"), move(R0, 0), Exit()] if fails(lines) else []
        assert unreached(resolve([*lines, Exit(), *failing])) == set(), field


def test_only_what_the_table_says_can_fail_does_so_where_casts_are_allowed() -> None:
    """A probe of an ancestor can, in name."""
    failing = {field for field, lines in reads(READERS["casts"]) if fails(lines)}
    assert failing == {name for name, field in BY_NAME.items() if field.can_fail} | {"memcg.is_under"}


def test_two_reads_never_share_a_label() -> None:
    """Though the field be the same."""
    for reader in READERS.values():
        lines = [line for name in ("one", "two") for line in reader.read("task.rss_anon", None, name, "fails")]
        resolve([*lines, Exit(), Label("fails"), Exit()])  # raises for one that is there twice


def test_a_value_is_looked_up_in_a_loop_and_not_at_all_where_it_is_remembered() -> None:
    plain = list(READERS["casts"].read("memcg.value", None, "mine", "fails"))
    remembering = list(READERS["casts, memo"].read("memcg.value", None, "mine", "fails"))
    assert sum(line == Call(Helper.MAP_LOOKUP_ELEM) for line in remembering) == 1
    assert slots(plain) <= 35
    assert slots(remembering) <= 60


def test_settling_changes_one_register_that_reads_keep() -> None:
    lines = list(READERS["casts"].settle("mine"))
    assert {line.dst for line in lines if isinstance(line, Alu | Load) and line.dst > 5} == {6}
    assert unreached(resolve([*lines, Exit()])) == set()
    assert list(READERS["probes"].settle("mine")) == []


def test_what_lags_is_said() -> None:
    assert READERS["casts"].approximate == READERS["older, probes"].approximate == ()
    assert "task.swap" in READERS["probes"].approximate


class TestTheTrial:
    def test_a_kernel_that_takes_all_is_asked_once(self) -> None:
        asked = []

        def takes_all(lines: Iterator[Line]) -> bool:
            asked.append(list(lines))
            return True

        assert try_all(NEWER, takes_all) == Access()
        assert len(asked) == 1

    def test_each_way_is_tried_alone_where_all_together_are_refused(self) -> None:
        def refuses_casts(lines: Iterator[Line]) -> bool:
            return not any(isinstance(line, CallKernel) for line in lines)

        def refuses_variables(lines: Iterator[Line]) -> bool:
            return not any(isinstance(line, LoadVariable) for line in lines)

        assert try_all(NEWER, refuses_casts) == Access(casts=False)
        assert try_all(NEWER, refuses_variables) == Access(sums_cpus=False)
        assert try_all(NEWER, lambda lines: False) == access.NONE

    def test_what_is_not_in_the_kernels_types_is_not_had(self) -> None:
        assert try_all(OLDER, lambda lines: bool(list(lines))) == Access(casts=False)

    def test_the_finding_is_remembered(self, trusted_folder: Path) -> None:
        path = trusted_folder / "fields"
        access.save(Access(casts=False), path)
        assert access.load(path) == Access(casts=False)
        assert [each.name for each in trusted_folder.iterdir()] == ["fields"]

    @pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 1}', '{"format": 0, "casts": true}'])
    def test_a_damaged_one_is_as_good_as_none(self, trusted_folder: Path, text: str) -> None:
        path = trusted_folder / "fields"
        path.write_text(text)
        assert access.load(path) is None
        assert access.load(trusted_folder / "missing") is None

    def test_a_folder_that_is_not_there_is_no_reason_to_fail(self, tmp_path: Path) -> None:
        access.save(Access(), tmp_path / "not/there")
