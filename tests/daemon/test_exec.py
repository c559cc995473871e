"""The daemon begins although its interpreter cannot be executed again."""

from __future__ import annotations

import os

import pytest

from oompolicy.daemon import start
from oompolicy.daemon.settings import Settings


def test_where_nothing_can_be_executed_the_daemon_is_this_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun: list[tuple[Settings, int | None]] = []

    def refused(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "execv", refused)
    monkeypatch.setattr(start, "run_daemon", lambda *words: begun.append(words))
    descriptors = len(os.listdir("/proc/self/fd"))
    settings = Settings(policy="newest_first")
    with pytest.raises(SystemExit) as ended:
        start.exec_daemon(settings)
    ((with_settings, iterator_fd),) = begun
    assert (ended.value.code, with_settings) == (0, settings)
    if iterator_fd is not None:  # what the daemon would have read processes by
        os.close(iterator_fd)
    assert len(os.listdir("/proc/self/fd")) == descriptors
