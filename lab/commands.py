"""Commands of the machine that the lab runs on.

Belongs here: running one to its end, and what a person is told when it fails.
Must not know: which commands there are.
"""

import subprocess
from pathlib import Path

from lab import LabError


def run(*command: str, advice: str, cwd: Path | None = None) -> str:
    """The output of a command; LabError with its last complaint and the advice when it fails or is missing."""
    try:
        return subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True).stdout
    except FileNotFoundError as error:
        raise LabError(f"{command[0]}: not found: {advice}") from error
    except subprocess.CalledProcessError as error:
        complaint = (str(error.stderr).strip().splitlines() or [f"exit status {error.returncode}"])[-1]
        raise LabError(f"{command[0]}: {complaint}: {advice}") from error
