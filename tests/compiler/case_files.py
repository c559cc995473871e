"""Text cases of the compiler: several a file, Python in, IR or errors out.

    # What the file is about.

    [case name passes=constants,dead_code]
    @policy
    def p(task, oc):
        return DEFER
    [ir]
    entry:
      return DEFER

After [case …] comes a module, to which `from oompolicy import *` has been done; its last policy is compiled. What comes
out is [ir], after the passes that the case names, or [errors]; [unreachable] lists statements that no way leads to.
`pytest tests/compiler/test_cases.py --update-cases` writes what comes out now.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from oompolicy.compiler.examples import policy_of
from oompolicy.compiler.frontend import translate
from oompolicy.compiler.passes import PASSES
from oompolicy.compiler.well_formed import check
from oompolicy.errors import CompileError

FOLDER: Final = Path(__file__).parent / "cases"
_HEAD: Final = re.compile(r"\[case (?P<name>\S+)(?: passes=(?P<passes>\S+))?\]")
_SECTION: Final = re.compile(r"\[(?P<name>ir|errors|unreachable)\]")


@dataclass(frozen=True)
class Case:
    """One case; out is a section's name -> its text."""

    file: str
    name: str
    passes: tuple[str, ...]
    source: str
    out: dict[str, str]

    def __str__(self) -> str:
        passes = f" passes={','.join(self.passes)}" if self.passes else ""
        sections = "".join(f"[{name}]\n{text}\n" for name, text in self.out.items())
        return f"[case {self.name}{passes}]\n{self.source}\n{sections}"


def parsed(path: Path) -> tuple[str, list[Case]]:
    """What stands before the first case, and the cases."""
    intro, *parts = re.split(r"^(?=\[case )", path.read_text(), flags=re.MULTILINE)
    return intro, [_case(path.name, part) for part in parts]


def _case(file: str, text: str) -> Case:
    head, *lines = text.splitlines()
    found = _HEAD.fullmatch(head)
    assert found, f"{file}: {head}"
    sections: dict[str, list[str]] = {"": []}
    now = ""
    for line in lines:
        section = _SECTION.fullmatch(line)
        if section:
            now = section["name"]
            sections[now] = []
        else:
            sections[now].append(line)
    texts = {name: "\n".join(body).rstrip() for name, body in sections.items()}
    passes = tuple(found["passes"].split(",")) if found["passes"] else ()
    return Case(file, found["name"], passes, texts.pop(""), texts)


def written(path: Path, intro: str, cases: list[Case]) -> None:
    """The file anew."""
    path.write_text(intro.rstrip() + "\n\n" + "\n".join(map(str, cases)))


def now(case: Case) -> Case:
    """The case with what comes out now."""
    try:
        translation = translate(policy_of(case.source, before="from oompolicy import *", path="policy.py"))
    except CompileError as error:
        return replace(case, out={"errors": str(error)})
    program = translation.program
    for name in case.passes:
        program = PASSES[name](program)
        check(program)
    out = {"ir": str(program)}
    if translation.unreachable:
        out["unreachable"] = "\n".join(map(str, translation.unreachable))
    return replace(case, out=out)


def all_cases() -> list[Case]:
    """Of all files."""
    return [case for path in sorted(FOLDER.glob("*.test")) for case in parsed(path)[1]]
