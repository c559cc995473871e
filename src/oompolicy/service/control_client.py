"""Asking a running daemon, over its control socket.

Belongs here: one request, one answer. Must not know: what can be asked (docs/service.md).
"""

from __future__ import annotations

import json
import os
import socket
import struct
from pathlib import Path
from typing import Any, Final

from oompolicy.errors import BackendError, OompolicyError, PrivilegeError

DEFAULT_PATH: Final = Path("/run/oompolicy/control.sock")
_TIMEVAL: Final = struct.Struct("@ll")


def ask(request: dict[str, Any], path: str | os.PathLike[str] = DEFAULT_PATH, within_s: float = 40.0) -> dict[str, Any]:
    """The daemon's answer to {"do": …}, without its "ok".

    Raises BackendError where no daemon answers in time, PrivilegeError for others than root, OompolicyError with the
    daemon's own words where it refuses.

    >>> ask({"do": "list"}, "/no/such.sock")
    Traceback (most recent call last):
    oompolicy.errors.BackendError: /no/such.sock: no daemon listens there (No such file or directory): is it running?
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        # With Python's own timeout connect() would not wait where many do: it fails with EAGAIN then.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _TIMEVAL.pack(int(within_s) + 1, 0))
        try:
            connection.connect(os.fspath(path))
            connection.settimeout(within_s)
            connection.sendall(json.dumps(request).encode() + b"\n")
            with connection.makefile("rb") as stream:
                answer = json.loads(stream.readline() or b"null")
        except PermissionError:
            raise PrivilegeError(path, "only root may ask the daemon") from None
        except (TimeoutError, BlockingIOError):
            raise BackendError(path, f"the daemon has not answered within {within_s:g} s", "see its log") from None
        except (OSError, ValueError) as error:
            why = (error.strerror if isinstance(error, OSError) else None) or str(error)
            raise BackendError(path, f"no daemon listens there ({why})", "is it running?") from None
    if not isinstance(answer, dict):
        raise BackendError(path, "the daemon has hung up", "only root may ask it")
    if not answer.pop("ok", False):
        raise OompolicyError("the daemon", str(answer.get("error")))
    return answer
