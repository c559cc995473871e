"""sd_notify, with a socket of the test's own in systemd's place."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from oompolicy.service.notify import Notify


@pytest.mark.parametrize("is_abstract", [False, True])
def test_systemd_hears_each_word(tmp_path: Path, is_abstract: bool) -> None:
    name = f"@oompolicy-test-{os.getpid()}" if is_abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind("\0" + name[1:] if is_abstract else name)
        notify = Notify({"NOTIFY_SOCKET": name})
        notify.ready("policy memcg_priority")
        notify.ready()
        notify.reloading()
        notify.alive()
        notify.stopping()
        heard = [systemd.recv(1000) for _ in range(5)]
    assert heard[0] == b"READY=1\nSTATUS=policy memcg_priority"
    assert heard[1] == b"READY=1"
    assert heard[2].startswith(b"RELOADING=1\nMONOTONIC_USEC=")
    assert heard[3:] == [b"WATCHDOG=1", b"STOPPING=1"]
    notify.alive()  # nobody is there any more: nothing happens
    notify.close()


@pytest.mark.parametrize("address", ["", "/nowhere/at/all", "vsock:2:3"])
def test_without_systemd_nothing_happens(address: str) -> None:
    Notify({"NOTIFY_SOCKET": address}).ready()


@pytest.mark.parametrize(
    ("environment", "watchdog_ms"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30_000),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30_000),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_watchdog_is_who_systemd_says(environment: dict[str, str], watchdog_ms: int | None) -> None:
    assert Notify(environment).watchdog_ms == watchdog_ms
