"""Scopes: which cgroups a rule is judged for, and which of them are about the same memory.

Belongs here: paths and patterns for them. Must not know: where paths come from.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection, Iterable
from functools import lru_cache

from oompolicy.rules.look import MACHINE
from oompolicy.rules.rule import Rule

_WILD = re.compile(r"[*?\[]")
_SLASH_IN_A_SET = re.compile(r"\[[^\]]*/")
_PIECES = re.compile(r"\*\*|\*|\?|\[!?\]?[^\]]*\]|.", re.DOTALL)


def in_scope(rule: Rule, paths: Iterable[str]) -> tuple[str, ...]:
    """Those of the paths that a rule is judged for, the deepest first; the machine, "/", where it is named.

    >>> in_scope(Rule("x", "", scope=("/batch.slice/*", "/")), ["/batch.slice", "/batch.slice/a", "/batch.slice/a/b"])
    ('/batch.slice/a', '/')
    """
    found = {path for path in paths if path != MACHINE and any(matches(glob, path) for glob in rule.scope)}
    if MACHINE in rule.scope:
        found.add(MACHINE)
    return deepest_first(found)


def leads_to(pattern: str, path: str) -> bool:
    """May a path below this one be one of the pattern's? True where that is not plain.

    >>> leads_to("/user.slice/*", "/user.slice"), leads_to("/user.slice/*", "/user.slice/a"), leads_to("/a/b", "/b")
    (True, False, False)
    >>> leads_to("/a", "/"), leads_to("/a/**", "/a/b/c"), leads_to("**", "/x")
    (True, True, True)
    """
    if path == MACHINE or _SLASH_IN_A_SET.search(pattern):
        return True
    pieces, parts = pattern.strip("/").split("/"), path.strip("/").split("/")
    for piece, part in zip(pieces, parts, strict=False):
        if "**" in piece:
            return True
        if not matches(piece, f"/{part}"):
            return False
    return len(pieces) > len(parts)


def deepest_first(paths: Iterable[str]) -> tuple[str, ...]:
    """Children before their parents: what is said of a child is the more exact."""
    return tuple(sorted(paths, key=lambda path: (-depth(path), path)))


def depth(path: str) -> int:
    """Steps to the root, which is 0."""
    return 0 if path == MACHINE else path.count("/")


def overlap(one: str, other: str) -> bool:
    """Is the memory of one also the other's: are they the same, or is one of them above?

    >>> overlap("/a", "/a/b"), overlap("/a/b", "/a"), overlap("/a", "/ab"), overlap("/", "/x")
    (True, True, False, True)
    """
    return one == other or is_under(one, other) or is_under(other, one)


def is_under(path: str, above: str) -> bool:
    """Is it below the other?"""
    return path != above and path.startswith(above if above == MACHINE else f"{above}/")


def matches(pattern: str, path: str) -> bool:
    """Is the path one of the pattern's? `*` and `?` stop at `/`, `**` does not, `[abc]` and `[!abc]` are one of.

    >>> matches("/user.slice/*", "/user.slice/a"), matches("/user.slice/*", "/user.slice/a/b")
    (True, False)
    >>> matches("/user.slice/**", "/user.slice/a/b"), matches("user.slice", "/user.slice")
    (True, True)
    """
    return _compiled(pattern).fullmatch(path) is not None


def named(patterns: Iterable[str], paths: Collection[str]) -> list[str]:
    """Those of the paths that one of the patterns names, in the order of their names.

    >>> named(("/a", "/b/*"), {"/b/c": 1, "/a": 2, "/b": 3})
    ['/a', '/b/c']
    """
    found: set[str] = set()
    for pattern in patterns:
        if not _WILD.search(pattern) and pattern.startswith("/"):
            found.update([pattern] if pattern in paths else [])
        else:
            found.update(filter(_compiled(pattern).fullmatch, paths))
    return sorted(found)


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile("/" + "".join(map(_piece, _PIECES.findall(pattern.lstrip("/")))), re.DOTALL)


def _piece(written: str) -> str:
    if written == "**":
        return ".*"
    if written == "*":
        return "[^/]*"
    if written == "?":
        return "[^/]"
    if len(written) > 2 and written[0] == "[":
        inside = written[1:-1]
        negated = inside.startswith("!")
        members = re.sub(r"([\\\[\]^&~|])", r"\\\1", inside[1:] if negated else inside)
        one_of = f"(?!/)[{'^' if negated else ''}{members}]"
        # "[!]" and "[z-a]" are no sets: they mean themselves.
        with contextlib.suppress(re.error):
            re.compile(one_of)
            return one_of
    return re.escape(written)
