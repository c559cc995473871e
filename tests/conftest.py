"""What several test files stand on: folders that root trusts, and commands as a person types them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-cases", action="store_true", help="write what the compiler's text cases give now")


def pytest_configure() -> None:
    """Where the tests run in the background of a script, SIGINT comes ignored, and children would ignore it, too."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@dataclass(frozen=True)
class Result:
    """What a command printed, and its exit status."""

    status: int
    out: str
    err: str


Run = Callable[..., Result]


@pytest.fixture
def run_command() -> Run:
    """Runs `oompolicy ARGUMENTS` in a process of its own; prefix comes before it (["unshare", "-U"])."""

    def run(*arguments: object, prefix: tuple[str, ...] = (), stdin: bytes = b"") -> Result:
        command = [*prefix, sys.executable, "-m", "oompolicy", *(str(argument) for argument in arguments)]
        done = subprocess.run(command, input=stdin, capture_output=True, timeout=120, check=False)
        out, err = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
        assert "Traceback" not in err, err
        return Result(done.returncode, out, err)

    return run


@pytest.fixture
def trusted_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder whose files root may believe: pytest's own is below /tmp, where anybody can write."""
    if os.geteuid() != 0:
        yield tmp_path
        return
    folder = Path(tempfile.mkdtemp(prefix="oompolicy-test-", dir="/run"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
