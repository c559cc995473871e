"""Regular expressions on a process's name, read as plain names where they are nothing more.

Belongs here: which expressions are lists of names. Must not know: what is done with the names, which tool asked.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

COMM_BYTES = 15  # TASK_COMM_LEN - 1, include/linux/sched.h

# What stands for itself in both POSIX extended expressions (earlyoom) and Python's (nohang).
_LITERAL = re.compile(r"(?:[\w ,:;@%&=~'\"!#/-]|\\[.+*?()\[\]{}|^$/\\-])+")
_ANCHORS = ("^", "(^|/)", "(?:^|/)")


@dataclass(frozen=True, slots=True)
class Names:
    """Names that are met exactly, and beginnings of names; never_met: those longer than a name can be."""

    exact: tuple[str, ...] = ()
    starts: tuple[str, ...] = ()
    never_met: tuple[str, ...] = field(default=())


def names_of(regex: str) -> Names | None:
    r"""The names that an anchored alternation stands for; None where it says more than that.

    >>> names_of("^(java|chromium)$").exact
    ('java', 'chromium')
    >>> names_of(r"(^|/)(init|sshd)$").exact, names_of(r"^qemu-").starts
    (('init', 'sshd'), ('qemu-',))
    >>> names_of("chrom") is None, names_of("^a.c$") is None
    (True, True)
    """
    exact: list[str] = []
    starts: list[str] = []
    for piece in _pieces(regex):
        if piece is None or not piece.at_start:
            return None  # anywhere in the name: a policy's language has no such test
        (exact if piece.at_end else starts).extend(piece.literals)
    long = [name for name in (*exact, *starts) if len(name.encode()) > COMM_BYTES]
    return Names(_without(exact, long), _without(starts, long), tuple(dict.fromkeys(long)))


def globs_of(regex: str, is_path: bool = False) -> tuple[str, ...] | None:
    """The patterns, as a shell has them, that say the same of a name, or of a path; None where there are none.

    >>> globs_of("^(init|X)$|^kde|web|shell$")
    ('init', 'X', 'kde*', '*web*', '*shell')
    >>> globs_of("^/usr/lib/gdm3/|(^|/)sshd$", is_path=True)
    ('/usr/lib/gdm3/*', '*/sshd')
    """
    patterns = []
    for piece in _pieces(regex):
        if piece is None:
            return None
        before, after = "" if piece.at_start else "*", "" if piece.at_end else "*"
        if is_path and piece.may_follow_slash:
            before = "*/"
        patterns += [f"{before}{glob.escape(literal)}{after}" for literal in piece.literals]
    return tuple(dict.fromkeys(patterns))


@dataclass(frozen=True, slots=True)
class _Piece:
    """One of the outermost alternatives: texts, and whether a name begins and ends with them."""

    literals: tuple[str, ...]
    at_start: bool
    at_end: bool
    may_follow_slash: bool = False


def _pieces(regex: str) -> Iterator[_Piece | None]:
    """The outermost alternatives; None for one that is more than texts."""
    for part in _alternatives(regex):
        anchor = next((anchor for anchor in reversed(_ANCHORS) if part.startswith(anchor)), "")
        body, at_end = _ending(part.removeprefix(anchor))
        literals = _literals(body)
        yield None if literals is None else _Piece(tuple(literals), anchor != "", at_end, anchor not in ("", "^"))


def _without(names: list[str], long: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for name in names if name not in long))


def _alternatives(regex: str) -> list[str]:
    """The parts between the outermost bars: (^|/)a$|^b$ has two."""
    parts, depth, part, position = [], 0, "", 0
    while position < len(regex):
        step = 2 if regex[position] == "\\" else 1
        piece = regex[position : position + step]
        depth += (piece == "(") - (piece == ")")
        if piece == "|" and depth == 0:
            parts.append(part)
            part = ""
        else:
            part += piece
        position += step
    return [*parts, part]


def _ending(part: str) -> tuple[str, bool]:
    """The part without what ends it, and whether the name ends there too."""
    for ending, is_exact in ((".*$", False), (".*", False), ("$", True)):
        if part.endswith(ending) and not part.endswith("\\" + ending):
            return part.removesuffix(ending), is_exact
    return part, False


def _literals(body: str) -> list[str] | None:
    if body.startswith("(") and body.endswith(")"):
        body = body.removeprefix("(").removeprefix("?:").removesuffix(")")
    literals = []
    for text in _alternatives(body):
        if not _LITERAL.fullmatch(text):
            return None
        literals.append(re.sub(r"\\(.)", r"\1", text))
    return literals
