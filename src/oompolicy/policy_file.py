"""Finding a policy by its name or in a file.

Belongs here: which name is whose, and parameters as texts. Must not know: who asks.
"""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterable
from typing import Final

from oompolicy.errors import PolicyError
from oompolicy.mistakes import nearest
from oompolicy.policies import BUILT_IN
from oompolicy.policy.api import Policy
from oompolicy.python_file import Words, defined_in_file, is_file_name

_WORDS: Final = Words("policy", "policies", "mark a function (task, oc) with @policy")


def load_policy(name: str, parameters: Iterable[str] = ()) -> Policy:
    """A built-in policy by name, or one of a file by path ("file.py", "file.py:name"), with parameters NAME=VALUE.

    Raises PolicyError where there is none, where the file does not run, or where a parameter does not fit.
    """
    policy = defined_in_file(name, Policy, _WORDS) if is_file_name(name) else _built_in(name)
    return policy.with_parameters(dict(_parsed(policy, text) for text in parameters))


def _built_in(name: str) -> Policy:
    if name not in BUILT_IN:
        near = nearest(name, BUILT_IN)
        hint = f"did you mean {near}?" if near else f"there are {', '.join(BUILT_IN)}, or name a file: ./{name}.py"
        raise PolicyError(f"policy {name}", "there is no built-in policy of that name", hint)
    found = getattr(importlib.import_module(f"oompolicy.policies.{name}"), name)
    assert isinstance(found, Policy)
    return found


def _parsed(policy: Policy, text: str) -> tuple[str, object]:
    """NAME=VALUE with the value read as the parameter's own type: a number, a text, or items between commas."""
    name, equals, value = text.partition("=")
    if not equals:
        raise PolicyError(f"parameter {text}", "has no value", "write NAME=VALUE")
    now = policy.parameters.get(name)
    if isinstance(now, tuple):
        return name, tuple(_item(part.strip()) for part in value.split(",") if part.strip())
    if isinstance(now, int):
        try:
            return name, int(value, 0)
        except ValueError:
            raise PolicyError(f"parameter {name}", f"cannot be {value!r}", "it takes a whole number") from None
    return name, value


def _item(text: str) -> object:
    """One item of a tuple: a whole number where it looks like one; quotes make a text of it."""
    try:
        item = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
    return item if isinstance(item, int | str) else text
