"""The language of `when`: what is read, and how the rest is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oompolicy.errors import ConfigError
from oompolicy.rules.fields import FIELDS, Field
from oompolicy.rules.syntax import parse_condition, parse_number
from oompolicy.rules.vocabulary import CONSTANTS, FUNCTIONS
from oompolicy.rules.words import written, written_number


@pytest.mark.parametrize(
    ("text", "becomes"),
    [
        ("mem_available_percent < 5", "mem_available_percent < 5"),
        ("1 < mem_free_mib <= 2 * GiB", "1 < mem_free_mib and mem_free_mib <= 2 * GiB"),
        ("not mem_free_mib < 3", "mem_free_mib >= 3"),
        ("not (mem_free_mib == 3 and swap_free_mib != 1)", "mem_free_mib != 3 or swap_free_mib == 1"),
        ("not not mem_free_mib > 3", "mem_free_mib > 3"),
        ("not 1 < mem_free_mib < 3", "1 >= mem_free_mib or mem_free_mib >= 3"),
        ("not lasts(oom_kills > 3, 5)", "not lasts(oom_kills > 3, 5)"),
        ("lasts(oom_kills > 3, seconds=2 * minutes)", "lasts(oom_kills > 3, 120)"),
        ("(mem_free_mib + swap_free_mib) * 2 > -3", "(mem_free_mib + swap_free_mib) * 2 > -3"),
        ("mem_free_mib - (swap_free_mib - 1) > 3", "mem_free_mib - (swap_free_mib - 1) > 3"),
        ("rate(cgroup.events.high) > 0 or oom_kills > 1 and oom_kills < 9",
         "rate(cgroup.events.high) > 0 or oom_kills > 1 and oom_kills < 9"),
        ("(rate(oom_kills) > 0 or oom_kills > 1) and growth(cgroup.current_mib, 10) > 1 * GiB",
         "(rate(oom_kills) > 0 or oom_kills > 1) and growth(cgroup.current_mib, 10) > 1 * GiB"),
        ("not of('/a', '/b/*', cgroup.swap_mib > 1 and not lasts(mem_free_mib < 3, 5)) or lasts(exists('/c'), 2)",
         'not of("/a", "/b/*", cgroup.swap_mib > 1 and not lasts(mem_free_mib < 3, 5)) or lasts(exists("/c"), 2)'),
        (" mem_free_mib < 3  # little\n  and oom_kills > 3", "mem_free_mib < 3 and oom_kills > 3"),
    ],
)  # fmt: skip
def test_what_is_written_is_what_is_read(text: str, becomes: str) -> None:
    assert written(parse_condition(text).root) == becomes


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
def test_every_field_can_be_written(field: Field) -> None:
    found = parse_condition(f"{field.name} > 3")
    assert found.fields == (field,)
    assert found.of_scope == (field if field.is_of_cgroup else None)


@pytest.mark.parametrize(
    ("text", "column", "why", "hint"),
    [
        ("", 1, "the condition is empty", "write one, as mem_available_percent < 5"),
        ("mem_avail_percent < 5", 1, "there is no field mem_avail_percent", "did you mean mem_available_percent?"),
        ("5 > current_mib", 5, "there is no field current_mib", "did you mean cgroup.current_mib?"),
        ("oom_kills > 3 and psi.memory.full.avg11 > 2", 19, "there is no field psi.memory.full.avg11",
         "did you mean psi.memory.full.avg10?"),
        ("mem_free_mib < 512M", 18, "this is not a condition: invalid decimal literal",
         "write an amount as 512 * MiB"),
        ("oom_kills > 3 && oom_kills < 9", 16, "this is not a condition: invalid syntax", "write and"),
        ("mem_free_mib", 1, "mem_free_mib is a number, not a condition", "compare it: ... > 0"),
        ("mem_available_percent < 2 * GiB", 25, "mem_available_percent is in %, 2 * GiB in MiB",
         "compare like with like"),
        ("mem_free_mib + swap_free_percent < 2", 16, "mem_free_mib is in MiB, swap_free_percent in %",
         "compare like with like"),
        ("1 < 2", 1, "both sides are the same for ever", "compare a field with a number"),
        ("lasts(oom_kills > 2)", 1, "lasts takes two: lasts(CONDITION, SECONDS)", None),
        ("lasts(oom_kills > 2, oom_kills)", 22, "oom_kills is not a number of seconds", "0.001 to 86400"),
        ("lasts(oom_kills > 2, -3)", 22, "-3 is not a number of seconds", "0.001 to 86400"),
        ("lasts(oom_kills > 2, 3) > 4", 1, "lasts(oom_kills > 2, 3) is true or false, not a number", None),
        ("rate(psi.memory.some.now) > 1", 6, "psi.memory.some.now is one already: it is told from two looks",
         "drop rate()"),
        ("rate(3) > 1", 6, "3 is not a field", "name one field"),
        ("rate(GiB) > 1", 6, "GiB is not a field", "name one field"),
        ("lats(oom_kills > 2, 3)", 1, "there is no function lats", "did you mean lasts?"),
        ("lasts > 2", 1, "lasts is a function", "write lasts(CONDITION, SECONDS)"),
        ("__import__('os').system('true') > 0", 1, "there is no function __import__('os').system",
         "see docs/conditions.md for every function"),
        ("oom_kills in (1, 2)", 14, "(1, 2) is not part of the language", "see docs/conditions.md for what is"),
        ("oom_kills is 1", 1, "this comparison is not part of the language", "there are < <= > >= == !="),
        ("oom_kills % 2 > 1", 1, "this operation is not part of the language",
         "percent are plain numbers: 10, not 10%"),
        ("oom_kills / 0 > 1", 13, "this divides by zero", None),
        ("oom_kills > True", 13, "True is not a number", None),
        ("oom_kills > 1e999", 13, "this number is too large", None),
        ("oom_kills > 1e300 * 1e300", 13, "this number is too large", None),
        ("oom_kills > " + "9" * 400, 13, "this number is too large", None),
        ("of('/a', mem_free_mib < 3)", 10, "nothing of this is of a cgroup", "write it outside of of(), or cgroup.…"),
        ("of('/a')", 1, 'of takes patterns of cgroups: of("PATTERN", …, CONDITION)', None),
        ("of('/', cgroup.swap_mib > 1)", 4, "the root is the machine", "use a field of the machine, without of()"),
        ("of('a', cgroup.swap_mib > 1)", 4, "'a' is not a path from the root of the cgroups", 'write "/a"'),
        ("of('/a', of('/b', cgroup.swap_mib > 1))", 10, "of() inside of of() is not part of the language",
         "join them with and"),
        ("exists(oom_kills)", 8, "oom_kills is not a text", 'name a cgroup: "/system.slice"'),
        ("exists('/a') > 1", 1, "exists('/a') is true or false, not a number", None),
        ("total(oom_kills) > 1", 1, "total() is for comparing cgroups", "it belongs in a rule's by"),
        ("not " * 100 + "oom_kills > 1", 1, "the condition nests 102 deep, more than 50", None),
        ("oom_kills > 1 and " * 300 + "oom_kills > 1", 1, "the condition has more than 4000 characters", None),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_place(text: str, column: int, why: str, hint: str | None) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_condition(text)
    assert (caught.value.what, caught.value.why, caught.value.hint) == (f"condition:1:{column}", why, hint)


def test_a_place_on_a_later_line() -> None:
    with pytest.raises(ConfigError, match="condition:2:6: there is no field foo") as caught:
        parse_condition("mem_free_mib < 3\n and foo > 3")
    assert caught.value.excerpt == "    and foo > 3\n        ^"


@pytest.mark.parametrize(
    ("text", "becomes"),
    [
        ("cgroup.swap_mib", "cgroup.swap_mib"),
        ("2*cgroup.swap_mib if cgroup.max_mib>3 or oom_kills>1 else 0",
         "(2 * cgroup.swap_mib if cgroup.max_mib > 3 or oom_kills > 1 else 0)"),
        ("total(cgroup.swap_mib) / percentile(cgroup.current_mib + 1, 80)",
         "total(cgroup.swap_mib) / percentile(cgroup.current_mib + 1, 80)"),
    ],
)  # fmt: skip
def test_a_number_to_compare_by(text: str, becomes: str) -> None:
    assert written_number(parse_number(text)) == becomes


@pytest.mark.parametrize(
    ("text", "column", "why"),
    [
        ("", 1, "the number is empty"),
        ("mem_free_mib", 1, "it is the same for every cgroup"),
        ("cgroup.swap_mib > 2", 1, "cgroup.swap_mib > 2 is true or false, not a number"),
        ("cgroup.swap_mib if exists('/a') else 0", 20, "exists('/a') is true or false, not a number"),
        ("cgroup.swap_mib if lasts(oom_kills > 1, 2) else 0", 20, "lasts() is for conditions"),
        ("cgroup.swap_mib if oom_kills else 0", 20, "oom_kills is a number, not a condition"),
        ("cgroup.swap_mib if oom_kills > 1 else swap_free_percent", 39,
         "cgroup.swap_mib is in MiB, swap_free_percent in %"),
        ("total(total(cgroup.swap_mib))", 7, "total is written as total(NUMBER), and not inside of another"),
        ("percentile(cgroup.swap_mib, 100)", 29, "100 is not a number between 0 and 100"),
    ],
)  # fmt: skip
def test_what_is_no_number_to_compare_by(text: str, column: int, why: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_number(text)
    assert (caught.value.what, caught.value.why) == (f"by:1:{column}", why)


def test_a_name_beyond_ascii() -> None:
    with pytest.raises(ConfigError, match="condition:1:13: there is no field ü"):
        parse_condition("oom_kills > ü")


WORDS = [*(field.name for field in FIELDS[:40:7]), *CONSTANTS, *FUNCTIONS, "and", "or", "not", "(", ")", ",", "3", "<",
         "'/a'", "cgroup.swap_mib",
         "*", "/", "0", "x", "==", "-", " ", "if", "else", "[", "lambda", ":", ":=", "'", "\\", "\n", "#",
         "é"]  # fmt: skip


@given(st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join) | st.text(max_size=20))
def test_whatever_is_written_is_read_or_refused(text: str) -> None:
    try:
        found = parse_condition(text)
    except ConfigError:
        return
    again = parse_condition(written(found.root))
    assert written(again.root) == written(found.root)
