"""A Python file of the operator's: read if it can be trusted, run once, and what it defines found by name.

Belongs here: reading, running, and what is wrong with a file. Must not know: what a policy or a rule is for.
"""

from __future__ import annotations

import importlib.util
import linecache
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from oompolicy.errors import Place, PolicyError
from oompolicy.mistakes import line_in
from oompolicy.policy.decision import PolicyTimeoutError
from oompolicy.policy_limit import call_limit
from oompolicy.trusted_file import read_trusted


class Defined(Protocol):
    """What knows the file it was defined in."""

    @property
    def source_path(self) -> str | None:
        """The file; None where it is of none."""


Kind = TypeVar("Kind", bound=Defined)


@dataclass(frozen=True, slots=True)
class Words:
    """How a kind of thing is called in messages, and how one is made."""

    one: str
    many: str
    how: str


def is_file_name(name: str) -> bool:
    """Does it name a file, "file.py" or "file.py:name", rather than something built in?"""
    return "/" in name or ".py" in name


def file_of(name: str) -> Path | None:
    """The file that a name is of; None where it names something built in.

    >>> file_of("/etc/mine.py:name"), file_of("memcg_priority")
    (PosixPath('/etc/mine.py'), None)
    """
    if not is_file_name(name):
        return None
    return _parts(name)[0]


def defined_in_file(name: str, kind: type[Kind], words: Words) -> Kind:
    """The one thing of that kind that "file.py" defines itself, or that "file.py:name" names.

    Raises PolicyError where the file does not run, or where there is no such thing in it.
    """
    path, wanted = _parts(name)
    namespace = _run(path, read_trusted(path))
    # Not those it imports.
    found = {name: item for name, item in namespace.items() if isinstance(item, kind) and item.source_path == str(path)}
    if wanted:
        if wanted not in found:
            offered = ", ".join(found) or "none"
            raise PolicyError(str(path), f"has no {words.one} named {wanted}", f"its {words.many}: {offered}")
        return found[wanted]
    if len(found) != 1:
        hint = f"choose one: {path}:{next(iter(found))}" if found else words.how
        raise PolicyError(str(path), f"has {len(found) or 'no'} {words.many}", hint)
    return next(iter(found.values()))


def _parts(name: str) -> tuple[Path, str]:
    path, _, wanted = name.partition(".py:")
    return Path(f"{path}.py" if wanted else name), wanted


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
    line = line_in(error, str(path))
    if line is None:
        return Place(str(path))
    text = source.decode(errors="replace").splitlines()[line - 1]
    return Place(str(path), line, None, text)
