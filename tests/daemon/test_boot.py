"""What the daemon's process does without.

Belongs here: modules held back, and that they are there for who asks. Must not know: what the daemon does.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import oompolicy.daemon

BOOT = Path(oompolicy.daemon.__file__).with_name("boot.py")
HELD_BACK = f"""
import runpy, sys
sys.path[:] = {sys.path!r}
runpy.run_path({str(BOOT)!r}, run_name="boot")["hold_back"]()
"""


def said(program: str) -> str:
    command = [sys.executable, "-I", "-S", "-c", HELD_BACK + program]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_nothing_that_the_daemon_is_made_of_asks_for_what_is_held_back() -> None:
    program = """
import oompolicy.daemon.start, oompolicy.sources.iterated
import oompolicy.backends.hook.backend, oompolicy.backends.oom_score_adj.backend
print(*(type(sys.modules[name]).__name__ for name in ("inspect", "urllib.parse")))
"""
    assert said(program) == "Late Late\n"


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        ("import inspect; print(inspect.signature(lambda a, b: a))", "(a, b)"),
        (
            "from inspect import isclass; import inspect; print(isclass(int), hasattr(inspect, '__path__'))",
            "True False",
        ),
        ("from pathlib import Path; print(Path('/a b').as_uri())", "file:///a%20b"),
        ("from urllib.parse import quote_from_bytes, quote; print(quote_from_bytes(b' '), quote('+'))", "%20 %2B"),
    ],
)
def test_who_asks_for_it_gets_it(program: str, expected: str) -> None:
    assert said(program) == expected + "\n"
