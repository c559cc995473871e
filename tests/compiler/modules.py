"""Policies out of text, for the compiler's tests.

Belongs here: running a module's text so that its source is found again. Must not know: what is tested with it.
"""

from __future__ import annotations

import linecache
import textwrap
from itertools import count

from oompolicy.policy import Policy

_numbers = count()

HEAD = """from oompolicy import *
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


def loaded(text: str, path: str, before: str = "") -> dict[str, object]:
    """The names that a module's text defines, and those that `before` does, which is no part of its source."""
    linecache.cache[path] = (len(text), None, text.splitlines(keepends=True), path)
    names: dict[str, object] = {"__name__": "policy", "__file__": path}
    exec(before, names)
    exec(compile(text, path, "exec", dont_inherit=True), names)
    return names


def policy_of(text: str, path: str | None = None, before: str = "") -> Policy:
    """The last policy that a module's text defines itself. Without a path, one of its own is made up."""
    path = path or f"<policy {next(_numbers)}>.py"
    names = loaded(text, path, before)
    return [item for item in names.values() if isinstance(item, Policy) and item.source_path == path][-1]


def with_body(body: str) -> str:
    """A module with one policy of that body, or with the policy itself, below HEAD."""
    if body.startswith("@policy"):
        return HEAD + body + "\n"
    head = "@policy\ndef example(task: Task, oc: OomControl) -> int | Verdict:\n"
    return f"{HEAD}{head}{textwrap.indent(body, '    ')}\n"
