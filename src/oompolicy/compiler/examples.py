"""The module around the examples of subset.py's tables, so that each is a policy that can be compiled.

Belongs here: what the examples' names stand for. Must not know: which of them compile.
"""

from __future__ import annotations

import linecache
import textwrap
from itertools import count
from typing import Final

from oompolicy.policy.api import Policy

HEAD: Final = """\
from oompolicy import *
from oompolicy.policies.memcg_priority import memcg_priority

LIMIT = 100
NAME = "sshd*"
UIDS = (0, 33)


@policy_function
def at_most(pages: int, limit: int) -> int:
    return min(pages, limit)


@policy_function
def total(*numbers: int) -> int:
    return 0


@policy_function
def again(number: int) -> int:
    return again(number - 1)


def unmarked(number: int) -> int:
    return number


sourceless = policy_function(eval("lambda number: number"))


"""

_numbers = count()


def module_of(example: str) -> str:
    """A module's text: HEAD, and a policy with that body, or the policy that the example is itself."""
    if example.startswith("@policy"):
        return f"{HEAD}{example}\n"
    head = "@policy\ndef example(task: Task, oc: OomControl) -> int | Verdict:\n"
    return f"{HEAD}{head}{textwrap.indent(example, '    ')}\n"


def policy_of(text: str, path: str | None = None, before: str = "") -> Policy:
    """The last policy that a module's text defines itself; it is run here.

    Without a path, one of its own is made up, so that no other's source is taken for it. before: run first in the same
    module, and no part of its source.
    """
    path = path or f"<policy {next(_numbers)}>.py"
    linecache.cache[path] = (len(text), None, text.splitlines(keepends=True), path)
    names: dict[str, object] = {"__name__": "policy", "__file__": path}
    exec(before, names)  # noqa: S102 - the examples are this package's own, and the tests'
    exec(compile(text, path, "exec", dont_inherit=True), names)  # noqa: S102
    return [item for item in names.values() if isinstance(item, Policy) and item.source_path == path][-1]
