"""What programs become: sizes, frames, bounds, moves that go in a circle, and the listing."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import pytest

from compiler.ir_text import program_of
from compiler.test_language import built_in
from oompolicy.bpf.assembly import Label, Line, label_places, resolve, slots
from oompolicy.bpf.instructions import Alu, Call, Goto, Jump, Load, Store, move
from oompolicy.bpf.opcodes import R0, R2, R3, R4, R8, R10, AluOp, JumpOp, Reg, Width
from oompolicy.bpf.uapi import Helper
from oompolicy.compiler.emit import ANSWER, FAULT, LimitError, emit
from oompolicy.compiler.emit.allocation import Home, Slot
from oompolicy.compiler.emit.code import Code
from oompolicy.compiler.emit.limits import INSTRUCTIONS_MAX
from oompolicy.compiler.emit.moves import Source, move_at_once
from oompolicy.compiler.frontend import compile_to_ir
from oompolicy.compiler.ir import Const, Program
from oompolicy.compiler.listing import listing
from oompolicy.compiler.passes import optimized


class OneCall:
    """A reader whose reads are one call of a helper, or one move where the field is light."""

    def __init__(self, *light: str) -> None:
        self._light = light

    def is_light(self, field: str) -> bool:
        return field in self._light

    def read(self, field: str, argument: str | None, labels: str, fail: str) -> Iterator[Line]:
        if field in self._light:
            yield move(R0, 5)
        else:
            yield Call(Helper.KTIME_GET_NS)
        if field == "task.rss":
            yield Jump(JumpOp.EQ, R0, 0, fail)


def many_at_once(count: int) -> Program:
    """Reads so many fields before it adds them up, the last first."""
    reads = "\n".join(f"  %{2 + index} = read task.badness %task" for index in range(count))
    total = "\n".join(
        f"  %{2 + count + index} = xor %{1 + count + index if index else 1 + count}, %{count - index}"
        for index in range(count - 1)
    )
    return program_of(f"b0:\n{reads}\n{total}\n  return SCORE, %{2 * count}")


@pytest.mark.parametrize(
    ("name", "most"),
    [("kernel_default", 3), ("memcg_priority", 40), ("largest_memcg", 50), ("over_protection", 60), ("protect", 60)],
)
def test_built_in_policies_are_small(name: str, most: int) -> None:
    """Each read counts as one call here: what is left for them of 300 is the reader's."""
    emitted = emit(optimized(compile_to_ir(built_in(name))), OneCall())
    assert slots(emitted.lines) <= most
    assert emitted.stack_bytes == 0


def test_what_is_not_jumped_to_is_not_there() -> None:
    """The verifier refuses instructions that nothing reaches: stubs, and the caller's endings."""
    never = emit(program_of("b0:\n  %2 = read task.pid %task\n  return SCORE, %2"), OneCall())
    assert (never.places, never.goes_to) == ((), frozenset({ANSWER}))
    always = emit(program_of('b0:\n  fault "made up"'), OneCall())
    assert ([failure.why for failure in always.places], always.goes_to) == (["made up"], frozenset({FAULT}))


def test_registers_are_kept_across_calls_and_memory_is_the_last_resort() -> None:
    for count, stack_bytes in ((3, 0), (4, 0), (5, 8), (6, 16)):  # r7 to r9 are free, and the last read is in r2
        assert emit(many_at_once(count), OneCall()).stack_bytes == stack_bytes, count
    assert emit(many_at_once(8), OneCall("task.badness")).stack_bytes == 0  # r2 to r5 too, where nothing calls


def test_the_other_memcg_of_is_under_takes_r2_also_where_nothing_calls() -> None:
    program = program_of(
        """
        b0:
          %2 = read task.memcg %task
          guard %2 != null, "made up"
          %3 = read task.pid %task
          %4 = read memcg.is_under %2, %2
          %5 = xor %3, %4
          return SCORE, %5
        """
    )
    lines = emit(program, OneCall("task.memcg", "task.pid", "memcg.is_under")).lines
    written = [line.dst for line in lines if isinstance(line, Alu) and line.source is R0]
    assert written[1] is R8  # what is needed after it is not in r2 to r5


def test_slots_lie_below_what_the_caller_keeps() -> None:
    emitted = emit(many_at_once(7), OneCall(), frame_top=-40)
    offsets = {line.offset for line in emitted.lines if isinstance(line, Store) and line.base is R10}
    assert offsets == {-48, -56, -64}
    assert emitted.stack_bytes == 24


def test_a_frame_that_is_too_small_is_said_with_the_place() -> None:
    with pytest.raises(LimitError, match=r"^test:\d+:1: too many numbers are needed at once here: 512 bytes"):
        emit(many_at_once(80), OneCall(), frame_top=-8)
    assert emit(many_at_once(60), OneCall(), frame_top=-8).stack_bytes <= 504


def test_too_many_instructions_are_said_with_the_place() -> None:
    count = INSTRUCTIONS_MAX // 3
    steps = "\n".join(f"  %{2 + index} = read task.rss %task" for index in range(count))
    with pytest.raises(LimitError, match=r"^test:\d{4}:1: from here on the policy has more than"):
        emit(program_of(f"b0:\n{steps}\n  return SCORE, %2"), OneCall())


@pytest.mark.parametrize(
    "moves",
    [
        {R2: R3, R3: R2},
        {R2: R3, R3: R4, R4: R2, R8: R2},
        {Slot(-8): Slot(-16), Slot(-16): Slot(-8)},
        {R2: Slot(-8), Slot(-8): R3, R3: R2, R4: R4, R8: Const(7)},
        {R2: R3, R3: R2, R4: R8, R8: R4, Slot(-8): Const(1 << 40)},
        {R2: R3, R4: R3, R8: R3, Slot(-8): R3, R3: R2},
    ],
)
def test_moves_happen_at_once(moves: dict[Home, Source]) -> None:
    code = Code({}, "test")
    move_at_once(code, [(to, source) for to, source in moves.items() if to != source])
    before: dict[Home, int] = {home: 100 + index for index, home in enumerate([*moves, R2, R3, R4, R8, Slot(-16)])}
    after = executed(code.lines, before)
    for to, source in moves.items():
        assert after[to] == (source.number if isinstance(source, Const) else before[source])
    for home in before.keys() - moves.keys():
        assert after[home] == before[home]


def executed(lines: list[Line], before: dict[Home, int]) -> dict[Home, int]:
    """Moves alone, on registers and slots."""
    state = dict(before)
    for line in lines:
        match line:
            case Alu(AluOp.MOV, to, source):
                state[to] = state[source] if isinstance(source, Reg) else source
            case Load(Width.U64, to, Reg.R10, offset):
                state[to] = state[Slot(offset)]
            case Store(Width.U64, Reg.R10, offset, value):
                state[Slot(offset)] = state[value] if isinstance(value, Reg) else value
            case _:
                state[line.dst] = line.value  # type: ignore[union-attr]
    return state


def test_labels_are_all_there_and_the_prefix_keeps_two_bodies_apart() -> None:
    program = optimized(compile_to_ir(built_in("memcg_priority")))
    bodies = [emit(program, OneCall(), prefix=prefix).lines for prefix in ("live", "shadow")]
    names = [{line.name for line in body if isinstance(line, Label)} for body in bodies]
    assert names[0].isdisjoint(names[1])
    end: list[Line] = [Label(ANSWER), Label(FAULT), move(R0, 0)]
    assert (
        len(resolve([*bodies[0], *bodies[1], *end])) == 2 * len([x for x in bodies[0] if not isinstance(x, Label)]) + 1
    )
    assert label_places([*bodies[0], *bodies[1], *end])


def test_no_jump_goes_to_what_comes_next() -> None:
    for name in ("memcg_priority", "protect", "priority_floor", "over_protection"):
        lines = emit(optimized(compile_to_ir(built_in(name))), OneCall()).lines
        for line, following in pairwise(lines):
            assert not (isinstance(line, Goto) and following == Label(str(line.target))), name


def test_a_listing_shows_source_steps_and_instructions_side_by_side() -> None:
    program = program_of(
        """
        b0:
          %2 = read task.rss %task
          %3 = add? %2, 1
          return SCORE, %3
        """
    )
    text = listing(emit(program, OneCall()), lambda path, line: f"line {line} of {path}")
    assert text.splitlines() == [
        "",
        "test:2: line 2 of test",
        "  b0:",
        f"{'    %2 = read task.rss %task':56} policy.b0:",
        f"{'':56}     0: r1 = r6",
        f"{'':56}     1: call bpf_ktime_get_ns#5",
        f"{'':56}     2: if r0 == 0x0 goto policy_1",
        f"{'':56}     3: r2 = r0",
        "",
        "test:3: line 3 of test",
        f"{'    %3 = add? %2, 1':56}     4: r0 = r2",
        f"{'':56}     5: r0 += 1",
        f"{'':56}     6: if r0 s< r2 goto policy_3",
        "",
        "test:4: line 4 of test",
        f"{'    return SCORE, %3':56}     7: r1 = r0",
        f"{'':56}     8: r0 = 1",
        f"{'':56}     9: goto answer",
        "",
        "test:2:1: task.rss cannot be read",
        f"{'':56} policy_1:",
        f"{'':56}    10: r0 = 0",
        f"{'':56}    11: goto fault",
        "test:3:1: the result does not fit into 64 bits",
        f"{'':56} policy_3:",
        f"{'':56}    12: r0 = 1",
        f"{'':56}    13: goto fault",
    ]
