"""A policy's source, its IR and its instructions side by side, for people.

Belongs here: the text of a listing. Must not know: who asks for it, where a source is read from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import groupby, zip_longest
from typing import Final

from oompolicy.bpf.assembly import Label, Line
from oompolicy.bpf.instructions import Instruction
from oompolicy.compiler.emit import Emitted
from oompolicy.compiler.ir import Block, End, Step
from oompolicy.compiler.place import Place

IR_COLUMNS: Final = 56  # longer steps push their first instruction to the right


def listing(emitted: Emitted, source_line: Callable[[str, int], str]) -> str:
    """Below each source line its steps, and beside each step its instructions, numbered as the verifier counts them.

    source_line(path, line) gives the text, empty where it is not known; linecache.getline does.
    """
    return "\n".join(_lines(emitted, source_line))


def _lines(emitted: Emitted, source_line: Callable[[str, int], str]) -> Iterator[str]:
    blocks = {id(item): block for block in emitted.program.blocks for item in _first(block)}
    shown: tuple[str, int] | None = None
    slot = 0
    pairs = zip(emitted.origins, emitted.lines, strict=True)
    for _, group in groupby(pairs, key=lambda pair: id(pair[0])):
        found = list(group)
        origin, lines = found[0][0], [line for _, line in found]
        if origin is None:
            yield ""
            yield from _stubs(emitted, lines, slot)
            return
        if (origin.place.path, origin.place.line) != shown:
            shown = origin.place.path, origin.place.line
            yield from ("", _source(origin.place, source_line))
        if id(origin) in blocks:
            yield f"  {_head(blocks[id(origin)])}"
        texts, slot = _numbered(lines, slot)
        for left, right in zip_longest([f"    {origin}"], texts, fillvalue=""):
            yield f"{left:{IR_COLUMNS}} {right}".rstrip()


def _first(block: Block) -> tuple[Step | End]:
    return (block.steps[0] if block.steps else block.end,)


def _head(block: Block) -> str:
    return str(block).splitlines()[0]


def _source(place: Place, source_line: Callable[[str, int], str]) -> str:
    return f"{place.path}:{place.line}: {source_line(place.path, place.line).strip()}".rstrip()


def _numbered(lines: list[Line], slot: int) -> tuple[list[str], int]:
    texts = []
    for line in lines:
        if isinstance(line, Label):
            texts.append(str(line))
        else:
            texts.append(f"{slot:5}: {line}")
            slot += line.slots
    return texts, slot


def _stubs(emitted: Emitted, lines: list[Line], slot: int) -> Iterator[str]:
    """What each fault is, beside the number that the caller gets."""
    texts, _ = _numbered(lines, slot)
    faults = iter(emitted.places)
    for text, line in zip(texts, lines, strict=True):
        if not isinstance(line, Instruction):
            why, place = next(faults)
            yield f"{place}: {why}"
        yield f"{'':{IR_COLUMNS}} {text}"
