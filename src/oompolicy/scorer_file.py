"""Scorers of files: `scorers` in oompolicy.toml, "file.py" or "file.py:name".

Belongs here: loading them. Must not know: when a scorer is asked.
"""

from __future__ import annotations

from typing import Final

from oompolicy.python_file import Words, defined_in_file
from oompolicy.scoring.scorer import Scorer

_WORDS: Final = Words("scorer", "scorers", "mark a function (scene) with @scorer")


def load_scorer(name: str) -> Scorer:
    """The scorer of a file. Raises PolicyError where it does not run, or has no such function."""
    return defined_in_file(name, Scorer, _WORDS)
