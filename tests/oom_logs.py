"""Kernel logs for tests: a small report as messages, and what stands around a kernel's messages in logs.

Belongs here: writing logs by hand. Must not know: what is tested with them.
"""

from __future__ import annotations

import json
import quopri
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from oompolicy.sources.oom_report import OomReport, read_reports

REPOSITORY = Path(__file__).parents[1]
FIXTURES = Path(__file__).with_name("fixtures") / "oom_reports"
SHARED = REPOSITORY.parent / "shared" / "oom-reports"  # real reports of others, where they are at hand

HEADERS = {
    "2.6.32": "[ pid ]   uid  tgid total_vm      rss cpu oom_adj name",
    "2.6.39": "[ pid ]   uid  tgid total_vm      rss cpu oom_adj oom_score_adj name",
    "3.10": "[ pid ]   uid  tgid total_vm      rss nr_ptes swapents oom_score_adj name",
    "4.4": "[ pid ]   uid  tgid total_vm      rss nr_ptes nr_pmds swapents oom_score_adj name",
    "5.15": "[  pid  ]   uid  tgid total_vm      rss pgtables_bytes swapents oom_score_adj name",
    "6.12": (
        "[  pid  ]   uid  tgid total_vm      rss rss_anon rss_file rss_shmem pgtables_bytes swapents oom_score_adj name"
    ),
}
HOG_AND_BIG = (
    "[    201]     0   201     2000     1000      900      100         0    40960        0             0 hog",
    "[    202]  1000   202     2000     1500     1400      100         0    49152        7           100 big",
)
ROWS_OF_MEMCG = (
    "[    301]     0   301     2000     1000      900      100         0    40960        0         -1000 (sd-pam)",
    "[    302]  1000   302     2000     1500     1400       99         1    49152        7           100 two words",
    "[    303] 65534   303     2000      100      100        0         0    40960        3             0 CPU 11/KVM",
)


def global_report(
    *rows: str,
    release: str = "6.12.1",
    header: str | None = None,
    kill: str | Sequence[str] | None = "Out of memory: Killed process 202 (big) total-vm:8000kB, anon-rss:4000kB",
    ram_pages: int = 1_000_000,
    swap_kb: int = 0,
    extra: Sequence[str] = (),
) -> list[str]:
    """The messages of an OOM of the whole machine; rows as the kernel prints them, two without any given."""
    return [
        "hog invoked oom-killer: gfp_mask=0x140dca(GFP_HIGHUSER_MOVABLE|__GFP_ZERO), order=0, oom_score_adj=0",
        f"CPU: 1 UID: 0 PID: 201 Comm: hog Not tainted {release} #1",
        "Call Trace:",
        " dump_stack_lvl+0x5d/0x90",
        " oom_kill_process+0x103/0x200",
        "Mem-Info:",
        "Node 0 Normal free:4000kB min:3000kB present:4000000kB managed:3900000kB",
        "Node 0 Normal: 1*4kB (U) 0*8kB = 4kB",
        f"Free swap  = {swap_kb}kB",
        f"Total swap = {swap_kb}kB",
        f"{ram_pages + 1000} pages RAM",
        "1000 pages reserved",
        *extra,
        "Tasks state (memory values in pages):",
        header or HEADERS["6.12"],
        *(rows or HOG_AND_BIG),
        *((kill,) if isinstance(kill, str) else kill or ()),
    ]


def memcg_report(*rows: str, **changes: str) -> list[str]:
    """The messages of a memcg's OOM, with the summary line."""
    lines = {
        "memory": "memory: usage 102400kB, limit 102400kB, failcnt 10",
        "swap": "swap: usage 40kB, limit 51200kB, failcnt 0",
        "kill": (
            "Memory cgroup out of memory: Killed process 302 (two words) total-vm:8000kB, anon-rss:4000kB, "
            "file-rss:16kB, shmem-rss:4kB, UID:1000 pgtables:48kB oom_score_adj:100"
        ),
        **changes,
    }
    return [
        "two words invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=100",
        "CPU: 1 UID: 0 PID: 302 Comm: two words Not tainted 6.12.1 #1",
        lines["memory"],
        lines["swap"],
        "Memory cgroup stats for /job:",
        "Tasks state (memory values in pages):",
        HEADERS["6.12"],
        *(rows or ROWS_OF_MEMCG),
        "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0-1,oom_memcg=/job,"
        "task_memcg=/job/team,task=two words,pid=302,uid=1000",
        lines["kill"],
    ]


def as_log(messages: Iterable[str]) -> bytes:
    """The messages as `dmesg -t` prints them: nothing before them."""
    return "".join(f"{message}\n" for message in messages).encode()


def reports_of(log: bytes) -> list[OomReport]:
    """What is read from the bytes of a log."""
    return list(read_reports([log]))


def report_of(messages: Iterable[str]) -> OomReport:
    """The one report of these messages."""
    (report,) = reports_of(as_log(messages))
    return report


def bare(report: OomReport) -> OomReport:
    """The report without its places in the log."""
    kills = tuple(replace(kill, line=0) for kill in report.kills)
    return replace(report, first_line=0, last_line=0, timestamp=None, kills=kills)


def _before(prefix: str) -> Callable[[list[str]], bytes]:
    return lambda messages: as_log(prefix + message for message in messages)


def _journal(messages: list[str], message_as: Callable[[str], object] = str) -> bytes:
    stamp = {"__REALTIME_TIMESTAMP": "1715250896123456", "_SOURCE_MONOTONIC_TIMESTAMP": "123456789", "PRIORITY": "6"}
    return as_log(json.dumps({**stamp, "MESSAGE": message_as(message), "_TRANSPORT": "kernel"}) for message in messages)


def _rows_as_bytes(message: str) -> object:
    """As journald gives what is not UTF-8."""
    return list(message.encode()) if message.startswith("[") else message


def _export(messages: list[str]) -> bytes:
    entry = (
        "__CURSOR=s=1;i=2\n__MONOTONIC_TIMESTAMP=123456789\n_BOOT_ID=ab\nPRIORITY=6\nMESSAGE={}\n_TRANSPORT=kernel\n"
    )
    return as_log(entry.format(message) for message in messages)


def _wrapped(messages: list[str], width: int, prefix: str, quote: str = "") -> bytes:
    """As a mailer breaks long lines between words."""
    lines: list[str] = []
    for message in messages:
        lines += textwrap.wrap(
            prefix + message, width, break_long_words=False, break_on_hyphens=False, replace_whitespace=False
        )
    return as_log(quote + line for line in lines)


def _cut_at(messages: list[str], width: int, prefix: str) -> bytes:
    """As a mailer breaks long lines that knows no words."""
    lines: list[str] = []
    for message in messages:
        line = prefix + message
        lines += [line[start : start + width] for start in range(0, len(line), width)]
    return as_log(lines)


def _among_others(messages: list[str]) -> bytes:
    other = "May  9 12:34:56 db systemd[1]: Started Session 12 of User root [ 303 ].\n"
    return b"".join(other.encode() * 3 + as_log([f"May  9 12:34:56 db kernel: {message}"]) for message in messages)


STAMP = "[  123.456789] "

# Form -> messages as bytes of a log of that form.
FORMS: dict[str, Callable[[list[str]], bytes]] = {
    "nothing": as_log,
    "dmesg": _before(STAMP),
    "dmesg with the caller": _before("[  123.456789][ T4711] "),
    "dmesg -T": _before("[Thu May  9 12:34:56 2024] "),
    "dmesg -T, French": _before("[ven. nov. 28 07:26:44 2025] "),
    "syslog": _before("May  9 12:34:56 db kernel: "),
    "syslog with the kernel's time": _before("May  9 12:34:56 db kernel: [123456.789012] "),
    "syslog, localized month": _before("févr. 09 12:34:56 db kernel: "),
    "rsyslog, ISO time": _before("2024-05-09T12:34:56.123456+02:00 db kernel: [  123.456789] "),
    "journalctl -o short-iso": _before("2024-05-09T12:34:56+0200 db kernel: "),
    "journalctl -o short-full": _before("Thu 2024-05-09 12:34:56 CEST db kernel: "),
    "journalctl -o short-monotonic": _before("[  123.456789] db kernel: "),
    "journalctl -o json": _journal,
    "journalctl -o json, rows as bytes": lambda messages: _journal(messages, _rows_as_bytes),
    "journalctl -o export": _export,
    "console": _before("<4>[  123.456789] "),
    "/dev/kmsg": _before("6,1234,123456789,-;"),
    "/dev/kmsg with properties": lambda messages: as_log(
        f"6,1234,123456789,-,caller=T4711;{message}\n SUBSYSTEM=memory\n DEVICE=+memory:0" for message in messages
    ),
    "mail, quoted": _before(f"> {STAMP}"),
    "mail, quoted thrice": _before(f"> > : {STAMP}"),
    "mail, quoted, no time": _before("> "),
    "mail, wrapped": lambda messages: _wrapped(messages, 72, STAMP),
    "mail, wrapped and quoted": lambda messages: _wrapped(messages, 70, STAMP, "> "),
    "mail, wrapped, syslog": lambda messages: _wrapped(messages, 76, "May  9 12:34:56 db kernel: "),
    "mail, cut at 80": lambda messages: _cut_at(messages, 80, STAMP),
    "mail, quoted-printable": lambda messages: quopri.encodestring(as_log(STAMP + message for message in messages)),
    "indented": _before(f"        {STAMP}"),
    "Go": lambda messages: as_log(f"\t{json.dumps(STAMP + message + chr(10))} +" for message in messages),
    "Go, raw": lambda messages: b"`" + as_log(STAMP + message for message in messages) + b"`\n",
    "YAML list": lambda messages: as_log(f"  - '{STAMP}{message}'" for message in messages),
    "JSON list": lambda messages: as_log(f'  "{message}",' for message in messages),
    "JSON, all in one": lambda messages: json.dumps({"log": "\n".join(messages)}).encode(),
    "JSON, an unknown key": lambda messages: b'{"x": {"y": ' + json.dumps("\n".join(messages)).encode() + b"}}",
    "container log": lambda messages: as_log(
        json.dumps({"log": message + "\n", "stream": "stdout"}) for message in messages
    ),
    "CRLF": lambda messages: as_log(STAMP + message for message in messages).replace(b"\n", b"\r\n"),
    "coloured": lambda messages: as_log(f"\x1b[32m{STAMP}\x1b[0m\x1b[1m{message}\x1b[0m" for message in messages),
    "each line twice": lambda messages: as_log(line for message in messages for line in [STAMP + message] * 2),
    "among other lines": _among_others,
    "no newline at the end": lambda messages: as_log(messages).rstrip(b"\n"),
}
