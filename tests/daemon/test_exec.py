"""The daemon begins although its interpreter cannot be executed again."""

from __future__ import annotations

import os

import pytest

from oompolicy.daemon import start
from oompolicy.daemon.settings import Settings


def test_where_nothing_can_be_executed_the_daemon_is_this_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun: list[Settings] = []

    def refused(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "execv", refused)
    monkeypatch.setattr(start, "run_daemon", begun.append)
    descriptors = len(os.listdir("/proc/self/fd"))
    settings = Settings(policy="newest_first")
    with pytest.raises(SystemExit) as ended:
        start.exec_daemon(settings)
    assert (ended.value.code, begun) == (0, [settings])
    assert len(os.listdir("/proc/self/fd")) == descriptors
