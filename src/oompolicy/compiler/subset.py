"""The language: every field that a policy can read and every construct it can use, in one table.

Belongs here: names, kinds, ranges and one sentence each; docs/language.md, the editor's stubs and the front end's
messages are made from it. Must not know: how a construct is translated, where a kernel keeps a field.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

from oompolicy.mm.limits import LONG_MAX, LONG_MIN
from oompolicy.mm.memcontrol import PAGE_COUNTER_MAX

UINT_MAX: Final = (1 << 32) - 1
INT_MAX: Final = (1 << 31) - 1


class FieldKind(enum.Enum):
    """What reading a field gives. "?" may be None."""

    INT = "int"
    BOOL = "bool"
    OPTIONAL_INT = "int?"
    COMM = "comm"  # only to be compared with constants
    MEMCG = "memcg?"
    TASK = "task?"
    IS_UNDER = "is_under(path or memcg) -> bool"


@dataclass(frozen=True, slots=True)
class Field:
    """A row: the name as the IR has it, what it gives, the least and greatest number, what it means.

    can_fail: a read that the kernel may refuse (an mm that is gone): a fault. candidate_only: known for the task being
    ranked alone.
    """

    name: str
    kind: FieldKind
    least: int
    greatest: int
    doc: str
    can_fail: bool = False
    candidate_only: bool = False


def _pages(name: str, doc: str, can_fail: bool = False) -> Field:
    return Field(name, FieldKind.INT, 0, PAGE_COUNTER_MAX, doc, can_fail)


FIELDS: Final = (
    Field("task.pid", FieldKind.INT, 0, INT_MAX, "The thread's id, in the first pid namespace."),
    Field("task.tgid", FieldKind.INT, 0, INT_MAX, "The process's id: what user space calls the pid."),
    Field("task.comm", FieldKind.COMM, 0, 0, "The name, at most 15 bytes: ==, !=, in, startswith with constants."),
    Field("task.uid", FieldKind.INT, 0, UINT_MAX, "The real user id, in the first user namespace."),
    Field("task.oom_score_adj", FieldKind.INT, -1000, 1000, "-999 to 1000: -1000 never reaches a policy."),
    _pages("task.rss_anon", "Anonymous pages in memory.", can_fail=True),
    _pages("task.rss_file", "Pages of files in memory.", can_fail=True),
    _pages("task.rss_shmem", "Shared memory in memory (tmpfs, shm).", can_fail=True),
    _pages("task.rss", "Resident pages as oom_badness() counts them; where counters lag per CPU, not exactly the sum "
           "of the three.", can_fail=True),
    _pages("task.swap", "Anonymous pages in swap.", can_fail=True),
    _pages("task.pgtables", "Pages that hold page tables.", can_fail=True),
    Field("task.badness", FieldKind.INT, LONG_MIN + 1, LONG_MAX, "The kernel's own points for this task in this OOM.",
          candidate_only=True),
    Field("task.start_time_ns", FieldKind.INT, 0, LONG_MAX, "When it started, from boot."),
    Field("task.age_ms", FieldKind.INT, 0, LONG_MAX // 1_000_000, "How long it has run."),
    Field("task.value", FieldKind.OPTIONAL_INT, LONG_MIN, LONG_MAX,
          "The opaque value of the task itself; None where it has none."),
    Field("task.memcg", FieldKind.MEMCG, 0, 0, "The memory cgroup it is in; None where that is not known."),
    Field("memcg.id", FieldKind.INT, 0, LONG_MAX, "The cgroup id."),
    Field("memcg.value", FieldKind.OPTIONAL_INT, LONG_MIN, LONG_MAX,
          "The opaque value: its own, or the nearest ancestor's that has one; None where none has."),
    _pages("memcg.usage",
           "memory.current (v1: memory.usage_in_bytes), with up to 64 pages per CPU charged ahead; the root has none.",
           can_fail=True),
    _pages("memcg.limit", "memory.max (v1: memory.limit_in_bytes); a huge number where unlimited."),
    _pages("memcg.min", "memory.min; 0 on v1."),
    _pages("memcg.low", "memory.low; 0 on v1."),
    _pages("memcg.swap", "memory.swap.current (v1: memsw usage less memory usage); the root has none.", can_fail=True),
    Field("memcg.depth", FieldKind.INT, 0, INT_MAX, "Steps to the root, which is 0."),
    Field("memcg.parent", FieldKind.MEMCG, 0, 0, "The memcg above; None at the root."),
    Field("memcg.is_under", FieldKind.IS_UNDER, 0, 1,
          'Is it that memcg, or below it? A path from the root ("/kubepods.slice"), or a memcg.'),
    _pages("oc.totalpages", "The pages that the scope has, swap included."),
    Field("oc.order", FieldKind.INT, -1, 64, "log2 of the pages asked for; -1 for sysrq."),
    Field("oc.gfp_mask", FieldKind.INT, 0, UINT_MAX, "The flags of the allocation that failed."),
    Field("oc.constraint", FieldKind.INT, 0, 3, "enum oom_constraint: 0 none, 1 cpuset, 2 mempolicy, 3 memcg."),
    Field("oc.is_memcg_oom", FieldKind.BOOL, 0, 1, "Did a memcg run out, and not the machine?"),
    Field("oc.memcg", FieldKind.MEMCG, 0, 0, "The memcg that ran out; None where it is not a memcg's OOM."),
    Field("oc.trigger", FieldKind.TASK, 0, 0, "The task that ran out; None where that is not known."),
)  # fmt: skip

BY_NAME: Final = {field.name: field for field in FIELDS}
COMM_BYTES: Final = 16  # with the NUL that ends it


@dataclass(frozen=True, slots=True)
class Accepted:
    """A construct of the language: its name, what is to be said of it, the body of a policy that uses it."""

    name: str
    meaning: str
    example: str


ACCEPTED: Final = (
    Accepted("arithmetic", "+ - * // % as in Python: // and % round down. A result beyond 64 bits is a fault.",
             "return task.rss + task.swap * 2 // 3 - task.pid % 7"),
    Accepted("bit operations", "& | ^ << >> and ~; a negative count is a fault.",
             "return (task.uid & 255 | 1 << 4 ^ 3) >> 1 + ~oc.order"),
    Accepted("signs", "- and + before a number.", "return -task.rss + +task.swap"),
    Accepted("abs, min, max", "min and max of two or more.",
             "return max(abs(task.oom_score_adj), task.rss, min(3, task.swap))"),
    Accepted("comparisons", "== != < <= > >=, in chains too; a comparison is 1 or 0.",
             "return KILL if 1000 <= task.uid < 60000 and task.rss != 0 else DEFER"),
    Accepted("and, or, not", "They stop as soon as the outcome is settled; as a value, the part that settled it.",
             "return not task.swap or task.value and task.rss"),
    Accepted("conditional expression", "One of two values.", "return SPARE if task.uid == 0 else task.rss"),
    Accepted("if", "if, elif, else.",
             "if task.uid == 0:\n    return SPARE\nelif task.swap > task.rss:\n    return KILL\nelse:\n"
             "    return DEFER"),
    Accepted("assignment", "To names, plain, annotated, augmented, to several at once.",
             "score: int = task.rss\nscore += task.swap\nfirst = second = score\nreturn first + second"),
    Accepted("for range", "Over range() with bounds known when it is compiled; unrolled.",
             "score = 0\nfor step in range(1, 7, 2):\n    score += task.rss >> step\nreturn score"),
    Accepted("for tuple", "Over a tuple; unrolled.",
             "for limit in (10, 100, 1000):\n    if task.rss < limit:\n        return limit\nreturn DEFER"),
    Accepted("break, continue, else", "In loops, as in Python.",
             "for step in range(4):\n    if step == task.uid:\n        break\n    if step == 2:\n        continue\n"
             "else:\n    return SPARE\nreturn DEFER"),
    Accepted("is None", "Of a memcg, parent, trigger, value; and is not None.",
             "if task.memcg is None or task.memcg.parent is None:\n    return DEFER\n"
             "return 0 if task.value is not None else task.memcg.usage"),
    Accepted("policy functions",
             "Functions marked @policy_function, of this module or another; their calls are inlined.",
             "return at_most(task.rss, limit=100)"),
    Accepted("other policies", "With any task and the OOM; their calls are inlined.",
             "found = memcg_priority(task, oc)\nreturn task.rss if found is DEFER else found"),
    Accepted("constants", "int, bool, str and tuples of them: literals, names of the module, of imported modules.",
             "return LIMIT if task.comm == NAME else oc.totalpages"),
    Accepted("in", "Is a number or a comm among a tuple's? And not in.",
             'return SPARE if task.uid in UIDS and task.comm not in ("sshd", NAME) else DEFER'),
    Accepted("tuples", "Their items by a number that is known when it is compiled, slices, len().",
             "return UIDS[0] + len(UIDS[1:])"),
    Accepted("comm", "== and != with a constant text, in a tuple of them, startswith().",
             'return KILL if task.comm != "sshd" and task.comm.startswith("s") else DEFER'),
    Accepted("texts", "Constant ones alone: +, ==, in, startswith(), endswith(), slices, indexes, len().",
             'return SPARE if NAME.endswith("*") and task.comm.startswith(NAME[:-1]) else DEFER'),
    Accepted("is_under", "With a path or a memcg.",
             'if task.memcg is None or oc.memcg is None:\n    return DEFER\n'
             'return task.memcg.is_under("/system.slice") + task.memcg.is_under(oc.memcg)'),
    Accepted("verdicts", "KILL, DEFER, SPARE: to be returned, kept under a name, compared with `is` or ==.",
             "found = DEFER if task.rss < 100 else SPARE\nif found is SPARE:\n    return found\nreturn Verdict.KILL"),
    Accepted("truth", "Of a number, as in Python: 0 and None are false.",
             "if task.value:\n    return task.value\nreturn DEFER"),
    Accepted("docstring, pass", "They do nothing.", '"""What it is for."""\n\npass\nreturn DEFER'),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Refused:
    """What the language does not have: why, what to write instead, the body of a policy that is refused for it.

    reason and hint are formats, filled by the front end. An example that begins with @policy is the whole policy; there
    is none for what only a later Python can write.
    """

    reason: str
    hint: str
    example: str


_NO_MEMORY: Final = "use a tuple of constants"
_NO_CALL: Final = "is not available in the kernel"

# By the syntax tree's name for it, by the function called, or by what is wrong.
REFUSED: Final = {
    "List": Refused("a list is not available in the kernel", _NO_MEMORY, "return task.uid in [0, 33]"),
    "Dict": Refused("a dictionary is not available in the kernel", "use if and elif", "return {0: 1}[task.uid]"),
    "Set": Refused("a set is not available in the kernel", _NO_MEMORY, "return task.uid in {0, 33}"),
    "ListComp": Refused("a list is not available in the kernel", "use a for loop", "return [i for i in (1, 2)]"),
    "SetComp": Refused("a set is not available in the kernel", "use a for loop", "return {i for i in (1, 2)}"),
    "DictComp": Refused("a dictionary is not available in the kernel", "use a for loop",
                        "return {i: i for i in (1, 2)}"),
    "GeneratorExp": Refused("a generator is not available in the kernel", "use a for loop",
                            "return max(i for i in (1, 2))"),
    "Lambda": Refused("a lambda is not available in the kernel", "write a function and mark it @policy_function",
                      "score = lambda: 1\nreturn DEFER"),
    "NamedExpr": Refused(":= is not part of the language", "assign on a line of its own",
                         "return x if (x := task.rss) else 0"),
    "JoinedStr": Refused("a text cannot be made in the kernel", "use constant texts",
                         'return task.comm == f"{task.pid}"'),
    "Yield": Refused("yield is not available in the kernel", "return the answer", "yield 1\nreturn 0"),
    "YieldFrom": Refused("yield is not available in the kernel", "return the answer", "yield from ()\nreturn 0"),
    "Starred": Refused("* is not available in calls and tuples", "name each argument", "return max(*UIDS)"),
    "float constant": Refused("there are no fractions in the kernel", "use integers: x * 3 // 2 for x * 1.5",
                              "return task.rss * 1.5"),
    "complex constant": Refused("there are no complex numbers in the kernel", "use integers", "return 1j"),
    "bytes constant": Refused("bytes are not part of the language", 'compare the comm with a text: "name"',
                              'return task.comm == b"sshd"'),
    "ellipsis constant": Refused("... stands for nothing", "write pass, or what is to be done", "return ..."),
    "Pow": Refused("** is not available in the kernel", "use 1 << n for 2 ** n, or compute a constant of the module",
                   "return task.rss ** 2"),
    "Div": Refused("/ gives a fraction, and there are none in the kernel", "use //", "return task.rss / 2"),
    "MatMult": Refused("@ is not available in the kernel", "use *", "return task.rss @ 2"),
    "While": Refused("the kernel must see that a loop ends", "use for … in range(constant) with break",
                     "while task.rss:\n    pass\nreturn 0"),
    "With": Refused("with is not available in the kernel", "a policy has nothing to open", "with oc:\n    return 0"),
    "Try": Refused("exceptions do not exist in the kernel: a fault counts as DEFER", "test before: `is None`, != 0",
                   "try:\n    return task.rss\nexcept Exception:\n    return 0"),
    "TryStar": Refused("exceptions do not exist in the kernel: a fault counts as DEFER", "test before: `is None`, != 0",
                       "try:\n    x = task.rss\nexcept* Exception:\n    x = 0\nreturn x"),
    "Raise": Refused("exceptions do not exist in the kernel", "return DEFER", "raise ValueError"),
    "Assert": Refused("exceptions do not exist in the kernel", "use if, and return DEFER",
                      "assert task.memcg is not None\nreturn 0"),
    "Import": Refused("an import belongs at the top of the file", "move it there", "import os\nreturn 0"),
    "ImportFrom": Refused("an import belongs at the top of the file", "move it there", "from os import sep\nreturn 0"),
    "Global": Refused("the kernel keeps nothing from one task to the next", "use local names",
                      "global LIMIT\nreturn LIMIT"),
    "Delete": Refused("del is not part of the language", "leave the name alone", "x = 1\ndel x\nreturn 0"),
    "FunctionDef": Refused("a function inside a policy is not available in the kernel",
                           "move it to the module and mark it @policy_function", "def f():\n    return 1\nreturn f()"),
    "AsyncFunctionDef": Refused("async is not available in the kernel", "a policy answers at once",
                                "async def f():\n    return 1\nreturn 0"),
    "ClassDef": Refused("a class is not available in the kernel", "use local names",
                        "class C:\n    pass\nreturn 0"),
    "Match": Refused("match is not part of the language", "use if and elif",
                     "match task.uid:\n    case 0:\n        return SPARE\nreturn DEFER"),
    "syntax": Refused("{name} is not part of the language", "docs/language.md lists what is", ""),
    "unpacking": Refused("several names cannot be assigned at once", "assign them one by one",
                         "a, b = 1, 2\nreturn a"),
    "assignment": Refused("only names can be assigned", "a policy changes nothing outside", "task.rss = 1\nreturn 0"),
    "print()": Refused(f"print() {_NO_CALL}", "the record of each OOM says why a task was ranked as it was",
                       'print("x")\nreturn 0'),
    "open()": Refused(f"open() {_NO_CALL}", "read it in a scorer, which runs in user space",
                      'return open("/x")'),
    "sum()": Refused(f"sum() {_NO_CALL}", "use a for loop", "return sum(UIDS)"),
    "any()": Refused(f"any() {_NO_CALL}", "use `in`, or a for loop", "return any(UIDS)"),
    "all()": Refused(f"all() {_NO_CALL}", "use `and`, or a for loop", "return all(UIDS)"),
    "sorted()": Refused(f"sorted() {_NO_CALL}", "sort in a scorer, which runs in user space",
                        "return sorted(UIDS)[0]"),
    "reversed()": Refused(f"reversed() {_NO_CALL}", "use range() with a negative step",
                          "for i in reversed(UIDS):\n    pass\nreturn 0"),
    "enumerate()": Refused(f"enumerate() {_NO_CALL}", "use for i in range(len(NAME))",
                           "for i in enumerate(UIDS):\n    pass\nreturn 0"),
    "zip()": Refused(f"zip() {_NO_CALL}", "use for i in range(len(NAME))",
                     "for i in zip(UIDS, UIDS):\n    pass\nreturn 0"),
    "range()": Refused("range() stands in a for loop alone", "compare: low <= x < high",
                       "return task.uid in range(10)"),
    "isinstance()": Refused(f"isinstance() {_NO_CALL}", "use `is None`, or compare with verdicts",
                            "return isinstance(task.value, int)"),
    "int()": Refused(f"int() {_NO_CALL}", "a bool is a number already", 'return int("3")'),
    "bool()": Refused(f"bool() {_NO_CALL}", "use x != 0", "return bool(task.rss)"),
    "str()": Refused("a text cannot be made in the kernel", "use constant texts", "return str(task.rss)"),
    "float()": Refused("there are no fractions in the kernel", "use integers", "return float(task.rss)"),
    "round()": Refused("there are no fractions in the kernel", "use //", "return round(task.rss)"),
    "pow()": Refused(f"pow() {_NO_CALL}", "use 1 << n for 2 ** n", "return pow(task.rss, 2)"),
    "divmod()": Refused(f"divmod() {_NO_CALL}", "use // and %", "return divmod(task.rss, 2)"),
    "getattr()": Refused(f"getattr() {_NO_CALL}", "name the field", 'return getattr(task, "rss")'),
    "call": Refused("{name} cannot be called in the kernel",
                    "a policy calls min, max, abs, len, policies and functions marked @policy_function",
                    "return NAME.upper()"),
    "not marked": Refused("{name}() is not marked for the kernel", "mark it @policy_function",
                          "return unmarked(task.rss)"),
    "arguments": Refused("{name}() takes {wanted} arguments, not {found}", "see its definition",
                         "return max(task.rss)"),
    "keywords": Refused("{name}() takes no arguments by name", "give them in order",
                        "return max(task.rss, 1, key=abs)"),
    "variadic": Refused("{name}() takes any number of arguments", "name each parameter", "return total(1, 2)"),
    "recursion": Refused("{name}() calls itself", "use a for loop over a constant range", "return again(task.rss)"),
    "no source": Refused("{name} cannot be compiled: {why}", "write it with def, in a file",
                         "return sourceless(task.rss)"),
    "parameters": Refused("{name}() must take a task and the OOM", "write def {name}(task, oc)",
                          "@policy\ndef example(task):\n    return 0"),
    "len": Refused("len() is of constant tuples and texts alone", "count otherwise", "return len(task.comm)"),
    "index": Refused("an index must be known when the policy is compiled", "use a for loop, or if and elif",
                     "return UIDS[task.uid]"),
    "subscript": Refused("{what} has no items", "only constant tuples and texts have", "return task.rss[0]"),
    "attribute": Refused("{what} has no {name}", "only tasks, memcgs and the OOM have fields",
                         "return task.rss.numerator"),
    "no such field": Refused("{what} has no {name}", "{hint}", "return task.rss_anonymous"),
    "candidate only": Refused("{name} is known for the task being ranked alone", "read it of the policy's own argument",
                              "if oc.trigger is None:\n    return 0\nreturn oc.trigger.badness"),
    "method": Refused("{name} is to be called", "write {name}(…)",
                      "if task.memcg is None:\n    return 0\nreturn task.memcg.is_under"),
    "field called": Refused("{name} is a field, not a method", "leave out the brackets", "return task.rss()"),
    "is_under argument": Refused("is_under() takes a constant path or a memcg, not {what}", 'write is_under("/path")',
                                 "if task.memcg is None:\n    return 0\nreturn task.memcg.is_under(task.rss)"),
    "comm": Refused("a comm can only be compared with constant texts", '== "name", in ("a", "b"), startswith("a")',
                    'return "ssh" in task.comm'),
    "empty comm": Refused("a comm is compared with an empty text", "name at least one character",
                          'return task.comm == ""'),
    "reference": Refused("{what} is not a number", "read one of its fields", "return task + 1"),
    "references compared": Refused("{what} is compared with None alone: each reading makes another object",
                                   "compare ids: a.id == b.id, a.pid == b.pid",
                                   "return task.memcg == oc.memcg"),
    "truth": Refused("the truth of {what} is not clear", "write {name} is not None", "return 1 if task.memcg else 0"),
    "tuple": Refused("a tuple is not a number", "use one of its items, or `in`", "return UIDS + 1"),
    "not a number": Refused("{name} is {what}, not a number", "use a number", 'return task.rss + "1"'),
    "verdict as number": Refused("a verdict is not a number", "compare it with `is`", "return DEFER + 1"),
    "is": Refused("`is` compares with None and verdicts alone", "use ==", "return task.rss is task.swap"),
    "in": Refused("`in` looks in tuples, not in {what}", "use ==, or a tuple", "return task.uid in task.rss"),
    "iterated": Refused("a loop runs over a range or a tuple, not over {what}", "use range(constant) or a tuple",
                        "for i in task:\n    pass\nreturn 0"),
    "range bounds": Refused("{name} is not known when the policy is compiled, so the loop's length is not",
                            "use a constant bound, and break", "for i in range(task.rss):\n    pass\nreturn 0"),
    "unset": Refused("{name} may have no value here", "assign it before, on every way",
                     "if task.uid:\n    x = 1\nreturn x"),
    "mixed": Refused("{name} may be {kinds} here", "use a name for each", "x = task if task.uid else 1\nreturn x"),
    "answer": Refused("a policy returns a number or a verdict, not {what}", "return a number, KILL, DEFER or SPARE",
                      "return task"),
    "unknown name": Refused("{name} is not defined", "is it spelled as where it is assigned?", "return undefined"),
    "too large": Refused("{number} does not fit into 64 bits", "keep between -2**63 and 2**63 - 1", "return 1 << 64"),
    "constant fails": Refused("this always fails: {error}", "mend the constants", "return 1 << (LIMIT - 101)"),
    "too many iterations": Refused("the policy's loops run more than {most} times", "use a shorter range",
                                   "score = 0\nfor i in range(5000):\n    score += 1\nreturn score"),
    "too many steps": Refused("more than {most} steps, with the loops unrolled and the calls inlined",
                              "use shorter loops",
                              "score = 0\nfor i in range(4000):\n    score += task.rss * 3 + task.swap * i + task.pid\n"
                              "return score"),
    "nested too deep": Refused("an expression is nested too deep", "use names for its parts",
                               f"return {' + '.join(['task.rss'] * 1500)}"),
}  # fmt: skip
