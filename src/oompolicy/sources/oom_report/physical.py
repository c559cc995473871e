"""A line of a log, freed of what syslog, journald, dmesg, mail and quoting put around the kernel's message.

Belongs here: prefixes, quotes, escapes, and where one message ends and the next begins.
Must not know: what a message says.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple


class Piece(NamedTuple):
    """A message, or a part of one. prefix is what stood before it, None where nothing did: it may go on from before."""

    prefix: str | None
    text: str
    glued: bool = False  # the line before ended in a soft break: no space belongs between


# The kernel prints no more in one line (LOG_LINE_MAX is 1024 bytes), and nobody puts more before one. What is beyond
# is read over, which also bounds the time that a pattern can take.
MESSAGE_AT_MOST: Final = 4096
PREFIX_AT_MOST: Final = 512

STAMP = r"\[\s{0,8}\d{1,9}\.\d{3,9}\](?:\s?\[\s*[TC]\d+\])?"  # [  123.456789][ T42]
CLOCK = r"\[[^\[\]]{0,40}\d\d:\d\d:\d\d[^\[\]]{0,24}\](?:\s?\[\s*[TC]\d+\])?"  # [Thu May  9 12:34:56 2024]
SYSLOG = r"\bkernel(?:\[\d+\])?:\s?"
BEGINNING: Final = re.compile(
    rf"(?:{STAMP}\s\S+\s{SYSLOG}|(?:<\d{{1,3}}>)?(?:{SYSLOG}(?:<\d{{1,3}}>)?(?:{STAMP}\s?|{CLOCK}\s?)?|{STAMP}\s?|{CLOCK}\s?))"
)
KMSG: Final = re.compile(r"\s*\d{1,3},\d+,(\d+),[^;]{1,60};")  # 6,1234,5678901,-;message
# What syslog puts before "kernel:", at the end of the text before it: date, time and host.
DATE_AND_HOST: Final = re.compile(
    r"(?:^|\s)(?:\S{1,12}\s+\d{1,2}\s+|\S*\d{4}-\d\d-\d\d[T ])\d\d:\d\d:\d\d\S*\s+(?:[A-Z]{3,4}\s+)?\S*\s*$"
)
QUOTES: Final = re.compile(r"\s*[>|](?:\s*[>|:])*\s*|\s+")
ANSI: Final = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
QUOTED_PRINTABLE: Final = re.compile(r"=([0-9A-F]{2})")
TIME_OF_DAY: Final = re.compile(r"(?:\S+\s+){0,3}\S*\d\d:\d\d:\d\d\S*")
MESSAGE_KEYS: Final = ("MESSAGE", "message", "msg", "log", "line", "text", "textPayload", "MSG")
EXPORTED: Final = "MESSAGE="  # journalctl -o export
KMSG_ESCAPE: Final = re.compile(r"(?:\\x[0-9a-f]{2})+")
LITERAL_NEWLINE: Final = "\\n"
IN_QUOTES: Final = re.compile(r"""\s*(?:-\s+)?(["'`])(.*)\1[\s,+;\])]*$""")
OPENING_QUOTE: Final = re.compile(r"""\s*(?:.*[:=(,\[{]\s*)?["'`](?=[^"'`]*$)""")
LIST_ITEM: Final = re.compile(r"\s*-\s+(?=\[\s*(?:\d|pid))")


def pieces(raw: bytes, quoted_printable: bool = False) -> Iterator[Piece]:
    """The messages and parts of messages on one line of a log (without its newline).

    >>> list(pieces(b"May  9 12:34:56 db kernel: [12.345678] a invoked oom-killer: gfp_mask=0x0"))
    [Piece(prefix='May  9 12:34:56 db kernel: [12.345678] ', text='a invoked oom-killer: gfp_mask=0x0', glued=False)]
    """
    text = raw.decode("utf-8", "backslashreplace").rstrip("\r")
    if text.startswith("{") and text.endswith("}"):
        record = _json_record(text)
        if record is not None:
            yield from record
            return
    if "\x1b" in text:
        text = ANSI.sub("", text)
    if quoted_printable:
        text = QUOTED_PRINTABLE.sub(lambda code: chr(int(code[1], 16)), text)
    if LITERAL_NEWLINE in text:
        for part in text.split(LITERAL_NEWLINE):
            yield from _messages(_unquoted(part))
        return
    if text.lstrip()[:1] in {'"', "'", "`", "-"}:
        quoted, item = IN_QUOTES.match(text), LIST_ITEM.match(text)
        if quoted is not None:
            text = quoted[2]
        elif item is not None:
            text = text[item.end() :]
    yield from _messages(text)


def is_quoted_printable(raw: bytes) -> bool:
    """Is the line of a mail whose "=" are written "=3D"?"""
    return b"order=3D" in raw or b"gfp_mask=3D" in raw or b"constraint=3D" in raw


def timestamp_of(prefix: str | None) -> str | None:
    """The time in a prefix, as printed; None where there is none.

    >>> timestamp_of("May  9 12:34:56 db kernel: "), timestamp_of("<4>[  12.345678][ T1] "), timestamp_of("6,1,77,-;")
    ('May  9 12:34:56', '12.345678', '77')
    """
    if not prefix:
        return None
    record = KMSG.match(prefix)
    if record is not None:
        return record[1]
    stamp = re.search(STAMP, prefix)
    clock = re.search(CLOCK, prefix)
    if clock is not None:
        return clock[0][1 : clock[0].index("]")].strip()
    before = prefix[: stamp.start()] if stamp is not None else prefix
    date = TIME_OF_DAY.search(before)
    if date is not None:
        return date[0]
    return None if stamp is None else stamp[0][1 : stamp[0].index("]")].strip()


def seconds_of(prefix: str | None) -> float | None:
    """The kernel's clock in a prefix ([sec.usec]), None where there is none."""
    stamp = re.search(STAMP, prefix) if prefix else None
    return None if stamp is None else float(stamp[0][1 : stamp[0].index("]")])


def _messages(text: str) -> Iterator[Piece]:
    record = KMSG.match(text)
    if record is not None:
        yield Piece(record[0], _unescaped(text[record.end() : record.end() + MESSAGE_AT_MOST]))
        return
    if text.startswith(EXPORTED):
        yield Piece("", text[len(EXPORTED) : len(EXPORTED) + MESSAGE_AT_MOST])
        return
    begins = list(BEGINNING.finditer(text))
    if not begins:
        quote = QUOTES.match(text)
        start = 0 if quote is None else quote.end()
        yield Piece(None, text[start : start + MESSAGE_AT_MOST])
        return
    before = text[max(0, begins[0].start() - PREFIX_AT_MOST) : begins[0].start()]
    date = DATE_AND_HOST.search(before)
    left = before if date is None else before[: date.start()]
    quote = QUOTES.match(left)
    if quote is not None:
        left = left[quote.end() :]
    if left.strip(" -\"'`") and not _is_a_lead(left):
        yield Piece(None, left)
        before = before[len(before) - len(date[0]) :] if date is not None else ""
    for number, begin in enumerate(begins):
        end = begins[number + 1].start() if number + 1 < len(begins) else len(text)
        message = text[begin.end() : min(end, begin.end() + MESSAGE_AT_MOST)]
        if number + 1 < len(begins):
            message = DATE_AND_HOST.sub("", message)
        yield Piece((before if number == 0 else "") + begin[0], message)


def _unescaped(text: str) -> str:
    """A record of /dev/kmsg with its escapes undone (\\x5c for a backslash, \\xc3\\xa9 for what is not ASCII)."""
    if "\\x" not in text:
        return text
    return KMSG_ESCAPE.sub(
        lambda found: bytes.fromhex(found[0].replace("\\x", "")).decode("utf-8", "backslashreplace"), text
    )


def _is_a_lead(left: str) -> bool:
    """Is it what a collector put before the message, rather than the end of an earlier one?"""
    return TIME_OF_DAY.search(left) is not None


def _unquoted(part: str) -> str:
    """A part of a string literal as what it stands for: Go, JSON and YAML alike."""
    part = part.replace('\\"', '"').replace("\\t", "\t")
    if part.strip(" \t,+;)]}\"'`") == "":
        return ""
    opening = OPENING_QUOTE.match(part)
    return part[opening.end() :] if opening is not None else part


def _json_record(text: str) -> list[Piece] | None:
    """The message of a JSON object (journalctl -o json, container logs); None where it is none."""
    try:
        record = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict):
        return None
    message = next((record[key] for key in MESSAGE_KEYS if key in record), None)
    if isinstance(message, list) and all(isinstance(byte, int) and 0 <= byte < 256 for byte in message):
        message = bytes(message).decode("utf-8", "backslashreplace")  # journald's form of what is not UTF-8
    if not isinstance(message, str):
        return None
    prefix = f"{_json_time(record)} "
    found: list[Piece] = []
    for number, line in enumerate(message.rstrip("\n").split("\n")):
        inner = list(_messages(line))
        if number == 0 and inner[0].prefix is None:
            inner[0] = Piece(prefix, inner[0].text)
        found += inner
    return found


def _json_time(record: dict[str, Any]) -> str:
    """journald's monotonic time as dmesg prints it; empty where it has none."""
    microseconds = record.get("_SOURCE_MONOTONIC_TIMESTAMP", record.get("__MONOTONIC_TIMESTAMP"))
    if isinstance(microseconds, str) and microseconds.isascii() and microseconds.isdigit():
        return f"[{int(microseconds[:20]) // 10**6:5d}.{int(microseconds[:20]) % 10**6:06d}]"
    return ""
