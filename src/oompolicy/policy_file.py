"""Finding a policy by its name or in a file.

Belongs here: reading the source, running it once, saying what is wrong with it. Must not know: who asks.
"""

from __future__ import annotations

import ast
import importlib.util
import linecache
import traceback
from collections.abc import Iterable
from pathlib import Path

from oompolicy.errors import Place, PolicyError
from oompolicy.policies import BUILT_IN
from oompolicy.policy.api import Policy
from oompolicy.policy.decision import PolicyTimeoutError
from oompolicy.policy_limit import call_limit
from oompolicy.trusted_file import read_trusted


def load_policy(name: str, parameters: Iterable[str] = ()) -> Policy:
    """A built-in policy by name, or one of a file by path ("file.py", "file.py:name"), with parameters NAME=VALUE.

    Raises PolicyError where there is none, where the file does not run, or where a parameter does not fit.
    """
    policy = _from_file(name) if "/" in name or ".py" in name else _built_in(name)
    return policy.with_parameters(dict(_parsed(policy, text) for text in parameters))


def _built_in(name: str) -> Policy:
    if name not in BUILT_IN:
        import difflib  # only for what is said of a mistake

        near = difflib.get_close_matches(name, BUILT_IN, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(BUILT_IN)}, or name a file: ./{name}.py"
        raise PolicyError(f"policy {name}", "there is no built-in policy of that name", hint)
    found = getattr(importlib.import_module(f"oompolicy.policies.{name}"), name)
    assert isinstance(found, Policy)
    return found


def _from_file(name: str) -> Policy:
    path_text, _, wanted = name.partition(".py:")
    path = Path(f"{path_text}.py" if wanted else name)
    source = read_trusted(path)
    found = _policies_in(path, _run(path, source))
    if wanted:
        if wanted not in found:
            offered = ", ".join(found) or "none"
            raise PolicyError(str(path), f"has no policy named {wanted}", f"its policies: {offered}")
        return found[wanted]
    if len(found) != 1:
        hint = f"choose one: {path}:{next(iter(found))}" if found else "mark a function (task, oc) with @policy"
        raise PolicyError(str(path), f"has {len(found) or 'no'} policies", hint)
    return next(iter(found.values()))


def _policies_in(path: Path, namespace: dict[str, object]) -> dict[str, Policy]:
    """The policies that the file itself defines, not those it imports."""
    return {
        name: item for name, item in namespace.items() if isinstance(item, Policy) and item.source_path == str(path)
    }


def _run(path: Path, source: bytes) -> dict[str, object]:
    """The names a policy file defines."""
    namespace: dict[str, object] = {"__name__": path.stem, "__file__": str(path)}
    try:
        code = compile(source, str(path), "exec", dont_inherit=True)
        # What ran is what is compiled later, whatever becomes of the file meanwhile.
        lines = importlib.util.decode_source(source).split("\n")
        linecache.cache[str(path)] = (len(source), None, [f"{line}\n" for line in lines], str(path))
    except SyntaxError as error:
        place = Place(str(path), error.lineno, error.offset, error.text)
        raise PolicyError(place, f"is not Python: {error.msg}") from None
    except ValueError as error:  # a NUL byte
        raise PolicyError(str(path), f"is not Python: {error}", "is it a text file?") from None
    try:
        with call_limit()():
            exec(code, namespace)  # noqa: S102 - a policy is code; that it is the operator's own was checked
    except PolicyTimeoutError as timeout:
        raise PolicyError(str(path), f"does not load: {timeout}") from None
    except (Exception, SystemExit) as error:
        raise PolicyError(_place_of(error, path, source), f"does not load: {type(error).__name__}: {error}") from None
    return namespace


def _place_of(error: BaseException, path: Path, source: bytes) -> Place:
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    if not lines or lines[-1] is None:
        return Place(str(path))
    text = source.decode(errors="replace").splitlines()[lines[-1] - 1]
    return Place(str(path), lines[-1], None, text)


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
