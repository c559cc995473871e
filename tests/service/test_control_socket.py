"""The control socket: lines and answers over real sockets, and clients that do not behave."""

from __future__ import annotations

import json
import os
import resource
import select
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from oompolicy.service.control_client import ask
from oompolicy.service.control_socket import CLIENTS_MAX, DEAF_MS, IDLE_MS, LINE_MAX_BYTES, ControlSocket


class Loop:
    """A poll() as the daemon has it, turned by hand; what was asked is in `lines`."""

    def __init__(self, path: Path) -> None:
        self.poll = select.poll()
        self.lines: list[bytes] = []
        self.answer: Callable[[bytes, int], bytes | None] = lambda line, ticket: b"{" + line + b"}"
        self.socket = ControlSocket(path, self.answered)
        self.socket.open(self.poll)
        self.now_ms = 1000

    def answered(self, line: bytes, ticket: int) -> bytes | None:
        self.lines.append(line)
        return self.answer(line, ticket)

    def turns(self, number: int = 20) -> int:
        """So many turns at most, until nothing happens; how many there were."""
        for count in range(number):
            events = self.poll.poll(0)
            for fd, _ in events:
                assert self.socket.owns(fd)
                self.socket.take(fd, self.now_ms)
            due_ms = self.socket.turn(self.now_ms)
            if not events and (due_ms is None or due_ms > self.now_ms):
                return count
        return number

    def connect(self) -> socket.socket:
        client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        client.connect(os.fspath(self.socket.path))
        client.setblocking(False)
        self.turns()
        return client


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[Loop]:
    loop = Loop(tmp_path / "control.sock")
    yield loop
    loop.socket.close()


def received(client: socket.socket) -> bytes:
    try:
        return client.recv(1 << 20)
    except BlockingIOError:
        return b"(nothing)"


def test_it_is_root_s_alone_and_is_gone_with_the_daemon(loop: Loop) -> None:
    status = loop.socket.path.stat()
    assert stat.S_IMODE(status.st_mode) == 0o600
    assert status.st_uid == os.geteuid()
    loop.socket.close()
    assert not loop.socket.path.exists()


def test_what_a_dead_daemon_has_left_is_replaced(loop: Loop) -> None:
    again = Loop(loop.socket.path)
    with again.connect() as client:
        client.send(b"x\n")
        again.turns()
        assert received(client) == b"{x}\n"
    again.socket.close()


def test_each_line_has_its_answer_in_order(loop: Loop) -> None:
    with loop.connect() as client:
        client.send(b"one\ntwo\nthr")
        loop.turns()
        client.send(b"ee\n")
        loop.turns()
        assert received(client) == b"{one}\n{two}\n{three}\n"


def test_one_line_is_answered_in_a_turn_and_clients_take_turns(loop: Loop) -> None:
    with loop.connect() as first, loop.connect() as second:
        first.send(b"a1\na2\na3\n")
        second.send(b"b1\n")
        for fd, _ in loop.poll.poll(0):
            loop.socket.take(fd, loop.now_ms)
        for count in range(1, 5):
            loop.now_ms += 1
            assert loop.socket.turn(loop.now_ms) == loop.now_ms
            assert len(loop.lines) == count
        assert loop.socket.turn(loop.now_ms) != loop.now_ms
        assert loop.lines.index(b"b1") <= 1


def test_a_line_without_an_end_counts_when_the_sender_has_ended(loop: Loop) -> None:
    """As of `printf '{"do": "list"}' | socat - UNIX:…`."""
    with loop.connect() as client:
        client.send(b"last")
        client.shutdown(socket.SHUT_WR)
        loop.turns()
        assert received(client) == b"{last}\n"
        assert received(client) == b""


def test_who_has_gone_before_the_answer_has_been_heard_all_the_same(loop: Loop) -> None:
    client = loop.connect()
    client.send(b"set it\n")
    client.close()
    assert loop.turns() < 20
    assert loop.lines == [b"set it"]


def test_an_answer_may_come_later_and_the_client_waits_for_it_alone(loop: Loop) -> None:
    tickets: list[int] = []
    loop.answer = lambda line, ticket: tickets.append(ticket) if line == b"reload" else line
    with loop.connect() as client, loop.connect() as other:
        client.send(b"reload\nnext\n")
        other.send(b"other\n")
        assert loop.turns() < 20
        assert (received(client), received(other)) == (b"(nothing)", b"other\n")
        loop.now_ms += 10 * IDLE_MS  # who waits for us is not idle
        loop.turns()
        loop.socket.reply(tickets[0], b"done", loop.now_ms)
        loop.turns()
        assert received(client) == b"done\nnext\n"
        assert received(other) == b""
        loop.socket.reply(4242, b"nobody", loop.now_ms)  # who has gone is not missed


def test_a_line_that_is_too_long_is_the_last_that_is_heard(loop: Loop) -> None:
    loop.answer = lambda line, ticket: b"long" if len(line) > LINE_MAX_BYTES else line
    with loop.connect() as client:
        client.setblocking(True)
        sent = 0
        while sent <= LINE_MAX_BYTES:
            sent += client.send(b"x" * 4096)
            loop.turns()
        assert client.recv(100) == b"long\n"
        assert client.recv(100) == b""


def test_who_hangs_is_let_go_and_hurts_nobody(loop: Loop) -> None:
    silent = [loop.connect() for _ in range(CLIENTS_MAX)]
    silent[3].send(b"half a li")
    loop.turns()
    loop.now_ms += 5
    with loop.connect() as client:  # one more than fit: the one that has been silent for longest makes room
        client.send(b"hello\n")
        loop.turns()
        assert received(client) == b"{hello}\n"
        assert [received(each) for each in silent].count(b"") == 1
        loop.now_ms += IDLE_MS
        loop.turns()
        assert {received(each) for each in (*silent, client)} == {b""}
    for each in silent:
        each.close()


def test_who_does_not_read_its_answers_is_not_asked_for_more(loop: Loop) -> None:
    loop.answer = lambda line, ticket: b"y" * 500_000
    with loop.connect() as client, loop.connect() as other:
        client.send(b"a\nb\nc\n")
        assert loop.turns() < 20
        assert loop.lines == [b"a"]
        other.send(b"d\n")
        loop.turns()
        assert loop.lines == [b"a", b"d"]
        loop.now_ms += IDLE_MS
        loop.turns()
        assert loop.lines == [b"a", b"d"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to be somebody else")
def test_others_than_root_are_hung_up_on_even_where_they_get_in() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o711)
        loop = Loop(Path(folder) / "control.sock")
        loop.socket.path.chmod(0o666)
        ask_as_nobody = (
            "import os, socket, sys\nos.setuid(65534)\nclient = socket.socket(socket.AF_UNIX)\n"
            "client.connect(sys.argv[1])\nclient.settimeout(10)\nsys.exit(client.recv(10) != b'')"
        )
        with subprocess.Popen([sys.executable, "-c", ask_as_nobody, str(loop.socket.path)]) as nobody:
            deadline = time.monotonic() + 20
            while nobody.poll() is None and time.monotonic() < deadline:
                loop.turns()
                time.sleep(0.01)
            nobody.kill()
        loop.socket.close()
    assert nobody.returncode == 0
    assert loop.lines == []


def test_where_there_are_no_descriptors_it_tries_again_later(loop: Loop) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(os.fspath(loop.socket.path))
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        try:
            assert loop.turns() < 20, "it would be told again and again"
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        client.send(b"late\n")
        loop.now_ms += DEAF_MS
        loop.socket.turn(loop.now_ms)
        loop.turns()
        client.settimeout(10)
        assert client.recv(100) == b"{late}\n"


def test_the_client_function_sends_and_understands(loop: Loop) -> None:
    loop.answer = lambda line, ticket: json.dumps({"ok": True, "heard": json.loads(line)}).encode()
    found: list[dict[str, Any]] = []
    asking = threading.Thread(target=lambda: found.append(ask({"do": "list"}, loop.socket.path)))
    asking.start()
    deadline = time.monotonic() + 10
    while not found and time.monotonic() < deadline:
        loop.turns()
    asking.join(10)
    assert found == [{"heard": {"do": "list"}}]
