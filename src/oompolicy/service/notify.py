"""sd_notify(3): telling systemd that the daemon is ready, reloads, stops, and lives.

Belongs here: the socket and its words. Must not know: when the daemon is any of these.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket


class Notify:
    """To whom $NOTIFY_SOCKET names; to nobody where it names nobody. Nothing here waits or raises."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self.watchdog_ms = _watchdog_ms(environment)
        self._socket: socket.socket | None = None
        self._flags = 0
        address = environment.get("NOTIFY_SOCKET", "")
        if address[:1] not in ("/", "@"):
            return
        import socket  # some hundred KiB that a daemon without systemd need not have

        self._flags = socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL
        found = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            found.connect("\0" + address[1:] if address[0] == "@" else address)
        except OSError:
            found.close()
            return
        self._socket = found

    def ready(self, status: str = "") -> None:
        """Started, or reloaded."""
        self._send("READY=1", f"STATUS={status}")

    def reloading(self) -> None:
        """The configuration is being read anew; ready() ends that."""
        # Type=notify-reload wants to know which of its signals is answered.
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """What is in force is being put back."""
        self._send("STOPPING=1")

    def alive(self) -> None:
        """For the watchdog, within each watchdog_ms."""
        self._send("WATCHDOG=1")

    def close(self) -> None:
        """Let go of the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, *lines: str) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):
                text = "\n".join(line for line in lines if not line.endswith("="))
                self._socket.send(text.encode(errors="replace"), self._flags)


def _watchdog_ms(environment: Mapping[str, str]) -> int | None:
    """How often systemd wants a sign of life (sd_watchdog_enabled(3)); None: never, or from another process."""
    try:
        pid, span_us = int(environment.get("WATCHDOG_PID", os.getpid())), int(environment["WATCHDOG_USEC"])
    except (KeyError, ValueError):
        return None
    return span_us // 1000 if pid == os.getpid() and span_us > 0 else None
