"""What each pass makes of a program, as text; that all keep its meaning is for the random programs to show."""

from __future__ import annotations

import pytest

from compiler.ir_text import program_of, shown
from oompolicy.compiler.passes import PASSES, optimized
from oompolicy.compiler.well_formed import check


def after(name: str, text: str) -> str:
    """What one pass makes of a program; it is well formed, and what is there twice is the same."""
    program = program_of(text)
    changed = PASSES[name](program)
    check(changed)
    assert str(program) == shown(text)
    return str(changed)


def test_constants_are_computed_and_branches_on_them_taken() -> None:
    assert after(
        "constants",
        """
        b0:
          %2 = floordiv? -7, 2
          %3 = add? %2, 1
          if %3 < 0 goto b1(%3) else b2
        b1(%4):
          return SCORE, %4
        b2:
          return DEFER
        """,
    ) == shown(
        """
        b0:
          goto b1
        b1:
          return SCORE, -3
        """
    )


def test_what_certainly_faults_ends_its_block() -> None:
    for step, why in (
        ("%3 = mod? 5, 0", "division by zero"),
        ("%3 = mul? 4294967296, 4294967296", "the result does not fit into 64 bits"),
        ("%3 = shl? 1, -1", "a negative shift count"),
        ('guard 1 > 2, "made up"', "made up"),
    ):
        program = f"""
        b0:
          %2 = read task.rss %task
          {step}
          goto b1
        b1:
          return SCORE, %2
        """
        assert after("constants", program) == shown(f'b0:\n  %2 = read task.rss %task\n  fault "{why}"'), step


@pytest.mark.parametrize(
    ("step", "same"),
    [
        ("add? %2, 0", "%2"),
        ("add? 0, %2", "%2"),
        ("sub? %2, %2", "0"),
        ("mul? 1, %2", "%2"),
        ("floordiv? %2, 1", "%2"),
        ("and -1, %2", "%2"),
        ("and %2, 0", "0"),
        ("or %2, -1", "-1"),
        ("shr? %2, 0", "%2"),
        ("min %2, %2", "%2"),
        ("eq %2, %2", "1"),
        ("lt %2, %2", "0"),
        ("ne %task, null", "1"),
    ],
)
def test_operations_that_leave_things_as_they_are_go(step: str, same: str) -> None:
    text = f"b0:\n  %2 = read task.pid %task\n  %3 = {step}\n  return SCORE, %3"
    assert after("constants", text) == f"b0:\n  %2 = read task.pid %task\n  return SCORE, {same}"


@pytest.mark.parametrize("step", ["sub? 0, %2", "floordiv? %2, %2", "mod? %2, %2", "shl? 0, %2", "mul? %2, -1"])
def test_operations_that_may_fault_stay(step: str) -> None:
    text = f"b0:\n  %2 = read task.pid %task\n  %3 = {step}\n  return SCORE, %3"
    assert after("constants", text) == text


def test_a_parameter_that_always_gets_the_same_goes() -> None:
    assert after(
        "constants",
        """
        b0:
          %2 = read task.pid %task
          if %2 > 5 goto b1 else b2
        b1:
          goto b3(%2, 1)
        b2:
          goto b3(%2, 2)
        b3(%3, %4):
          %5 = add? %3, %4
          return SCORE, %5
        """,
    ) == shown(
        """
        b0:
          %2 = read task.pid %task
          if %2 > 5 goto b1 else b2
        b1:
          goto b3(1)
        b2:
          goto b3(2)
        b3(%4):
          %5 = add? %2, %4
          return SCORE, %5
        """
    )


def test_blocks_with_one_predecessor_are_joined() -> None:
    assert after(
        "blocks",
        """
        b0:
          %2 = read task.pid %task
          goto b1(%2)
        b1(%3):
          %4 = add? %3, 1
          goto b2
        b2:
          return SCORE, %4
        """,
    ) == shown(
        """
        b0:
          %2 = read task.pid %task
          %4 = add? %2, 1
          return SCORE, %4
        """
    )


def test_who_knows_the_answer_passes_by_the_question() -> None:
    """`a < 5 and a > 1` as a value of 1 or 0 that is asked for at once."""
    assert after(
        "blocks",
        """
        b0:
          %2 = read task.pid %task
          if %2 < 5 goto b1 else b2(0)
        b1:
          %3 = gt %2, 1
          goto b2(%3)
        b2(%4):
          if %4 != 0 goto b3 else b4
        b3:
          return KILL
        b4:
          return DEFER
        """,
    ) == shown(
        """
        b0:
          %2 = read task.pid %task
          if %2 < 5 goto b1 else b4
        b1:
          %3 = gt %2, 1
          if %3 != 0 goto b3 else b4
        b3:
          return KILL
        b4:
          return DEFER
        """
    )


def test_a_field_is_read_once_where_the_first_read_is_on_every_way() -> None:
    assert after(
        "subexpressions",
        """
        b0:
          %2 = read task.memcg %task
          guard %2 != null, "None"
          %3, %4 = read memcg.value %2
          if %4 != 0 goto b1 else b2
        b1:
          %5 = read task.memcg %task
          guard %5 != null, "None"
          %6, %7 = read memcg.value %5
          %8 = read task.rss %task
          goto b3(%6)
        b2:
          %9 = read task.rss %task
          goto b3(%9)
        b3(%10):
          %11 = read task.rss %task
          %12 = add? %10, %11
          %13 = add? %11, %10
          %14 = sub? %12, %13
          return SCORE, %14
        """,
    ) == shown(
        """
        b0:
          %2 = read task.memcg %task
          guard %2 != null, "None"
          %3, %4 = read memcg.value %2
          if %4 != 0 goto b1 else b2
        b1:
          guard %2 != null, "None"
          %8 = read task.rss %task
          goto b3(%3)
        b2:
          %9 = read task.rss %task
          goto b3(%9)
        b3(%10):
          %11 = read task.rss %task
          %12 = add? %10, %11
          %14 = sub? %12, %12
          return SCORE, %14
        """
    )


def test_what_a_branch_or_a_guard_has_shown_is_not_asked_again() -> None:
    assert after(
        "conditions",
        """
        b0:
          %2 = read task.memcg %task
          %3 = eq %2, null
          if %3 != 0 goto b2 else b1
        b1:
          guard %2 != null, "None"
          %4 = read memcg.usage %2
          %5 = read memcg.limit %2
          guard %4 < %5, "full"
          %6 = ge %4, %5
          if %5 > %4 goto b3 else b2
        b2:
          return DEFER
        b3:
          return SCORE, %6
        """,
    ) == shown(
        """
        b0:
          %2 = read task.memcg %task
          %3 = eq %2, null
          if %2 == null goto b2 else b1
        b1:
          %4 = read memcg.usage %2
          %5 = read memcg.limit %2
          guard %4 < %5, "full"
          goto b3
        b2:
          return DEFER
        b3:
          return SCORE, 0
        """
    )


def test_dead_code_goes_but_what_may_fault_stays() -> None:
    assert after(
        "dead_code",
        """
        b0:
          %2 = read task.pid %task
          %3 = read task.rss %task
          %4 = add %2, 1
          %5 = add? %2, 1
          %6 = comm equals %task, "sshd"
          guard %5 != 7, "made up"
          goto b1(%2, %6)
        b1(%7, %8):
          return SCORE, %7
        """,
    ) == shown(
        """
        b0:
          %2 = read task.pid %task
          %3 = read task.rss %task
          %5 = add? %2, 1
          guard %5 != 7, "made up"
          goto b1(%2)
        b1(%7):
          return SCORE, %7
        """
    )


def test_a_comm_becomes_its_words_up_to_the_nul() -> None:
    text = """
    b0:
      %2 = comm equals %task, "sshd"
      %3 = comm equals %task, "postgres"
      %4 = comm startswith %task, "postgres"
      return SCORE, %2
    """
    assert after("comm", text) == shown(
        f"""
        b0:
          %5 = read task.comm_0 %task
          %6 = and %5, {(1 << 40) - 1}
          %2 = eq %6, {int.from_bytes(b"sshd", "little")}
          %7 = read task.comm_0 %task
          %8 = read task.comm_1 %task
          %9 = and %8, 255
          %10 = xor %7, {int.from_bytes(b"postgres", "little")}
          %11 = xor %9, 0
          %12 = or %10, %11
          %3 = eq %12, 0
          %13 = read task.comm_0 %task
          %4 = eq %13, {int.from_bytes(b"postgres", "little")}
          return SCORE, %2
        """
    )


def test_ranges_clear_checks_and_certain_comparisons() -> None:
    assert after(
        "ranges",
        """
        b0:
          %2 = read task.oom_score_adj %task
          %3 = add? %2, 1000
          %4 = mul? %3, 4294967296
          %5 = floordiv? %4, 1000
          guard %5 >= 0, "negative"
          %6 = min %5, 9223372036854775807
          %7 = read task.badness %task
          %8 = mul? %7, 2
          if %7 < 100 goto b1 else b2
        b1:
          %9 = sub? %7, 100
          if %7 > 100 goto b2 else b3(%9)
        b2:
          %10 = add? %7, %6
          goto b3(%10)
        b3(%11):
          return SCORE, %11
        """,
    ) == shown(
        """
        b0:
          %2 = read task.oom_score_adj %task
          %3 = add %2, 1000
          %4 = mul %3, 4294967296
          %5 = floordiv %4, 1000
          %7 = read task.badness %task
          %8 = mul? %7, 2
          if %7 < 100 goto b1 else b2
        b1:
          %9 = sub? %7, 100
          goto b3(%9)
        b2:
          %10 = add? %7, %5
          goto b3(%10)
        b3(%11):
          return SCORE, %11
        """
    )


def test_ranges_know_what_each_side_of_a_branch_passes_on() -> None:
    text = """
        b0:
          %2 = read task.badness %task
          if %2 < 0 goto b1(0) else b1(%2)
        b1(%3):
          if %3 > 1000 goto b2(1000) else b2(%3)
        b2(%4):
          %5 = mul? %4, 9223372036854775
          guard %4 >= 0, "negative"
          %6 = sub? %2, %4
          return SCORE, %5
        """
    wanted = text.replace("mul?", "mul").replace('          guard %4 >= 0, "negative"\n', "")
    assert after("ranges", text) == shown(wanted)


def test_ranges_know_what_a_clamp_leaves() -> None:
    assert after(
        "ranges",
        """
        b0:
          %2, %3 = read task.value %task
          %4 = max %2, -100
          %5 = min %4, 100
          %6 = neg? %5
          %7 = mul? %6, 68719476736
          %8 = mod? %7, 7
          %9 = abs? %8
          %10 = shl? %9, 60
          %11 = shl? %9, 61
          %12 = floordiv? %11, %8
          return SCORE, %12
        """,
    ) == shown(
        """
        b0:
          %2, %3 = read task.value %task
          %4 = max %2, -100
          %5 = min %4, 100
          %6 = neg %5
          %7 = mul %6, 68719476736
          %8 = mod %7, 7
          %10 = shl %8, 60
          %11 = shl? %8, 61
          %12 = floordiv? %11, %8
          return SCORE, %12
        """
    )


def test_all_passes_together_make_little_of_memcg_priority() -> None:
    text = """
    b0:
      %2 = read task.memcg %task
      if %2 != null goto b1 else b2
    b1:
      %3 = read task.memcg %task
      guard %3 != null, "task.memcg is None"
      %4, %5 = read memcg.value %3
      if %5 != 0 goto b3 else b2
    b2:
      return DEFER
    b3:
      %6 = read task.memcg %task
      guard %6 != null, "task.memcg is None"
      %7, %8 = read memcg.value %6
      guard %8 != 0, "task.memcg.value is None"
      %9 = max %7, -8388608
      %10 = min %9, 8388607
      %11 = neg? %10
      %12 = mul? %11, 68719476736
      %13 = read task.badness %task
      %14 = add? %12, %13
      return SCORE, %14
    """
    assert str(optimized(program_of(text))) == shown(
        """
        b0:
          %2 = read task.memcg %task
          if %2 != null goto b1 else b2
        b1:
          %4, %5 = read memcg.value %2
          if %5 != 0 goto b3 else b2
        b2:
          return DEFER
        b3:
          %9 = max %4, -8388608
          %10 = min %9, 8388607
          %11 = neg %10
          %12 = mul %11, 68719476736
          %13 = read task.badness %task
          %14 = add? %12, %13
          return SCORE, %14
        """
    )
