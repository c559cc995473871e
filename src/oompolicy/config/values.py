"""Durations and sizes as people write them.

Belongs here: texts to numbers. Must not know: which key a text is of.
"""

from __future__ import annotations

import re
from typing import Final

# As systemd.time(7) has them, from ms to d.
_MS: Final = {
    "ms": 1,
    "msec": 1,
    "s": 1000,
    "sec": 1000,
    "second": 1000,
    "seconds": 1000,
    "m": 60_000,
    "min": 60_000,
    "minute": 60_000,
    "minutes": 60_000,
    "h": 3_600_000,
    "hr": 3_600_000,
    "hour": 3_600_000,
    "hours": 3_600_000,
    "d": 86_400_000,
    "day": 86_400_000,
    "days": 86_400_000,
}
_BYTES: Final = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
MOST_MS: Final = 366 * 86_400_000
MOST_BYTES: Final = 1 << 60


def duration_ms(text: str) -> int | None:
    """Milliseconds; None where it is no duration, or longer than a year.

    >>> duration_ms("5s"), duration_ms("1min 30s"), duration_ms("0.5 h"), duration_ms("5"), duration_ms("-5s")
    (5000, 90000, 1800000, None, None)
    """
    parts = re.findall(r"\s*(\d{1,12}(?:\.\d{1,6})?)\s*([a-z]+)", text)
    is_whole = re.fullmatch(r"(\s*\d{1,12}(\.\d{1,6})?\s*[a-z]+)+\s*", text, re.ASCII)
    if not is_whole or any(unit not in _MS for _, unit in parts):
        return None
    found = round(sum(float(number) * _MS[unit] for number, unit in parts))
    return found if found <= MOST_MS else None


def size_bytes(text: str) -> int | None:
    """Bytes; None where it is no size. K is 1024 of them, as in systemd's files.

    >>> size_bytes("512M"), size_bytes("1.5 GiB"), size_bytes("4096"), size_bytes("10%"), size_bytes("5 MB")
    (536870912, 1610612736, 4096, None, None)
    """
    found = re.fullmatch(r"\s*(\d{1,15}(?:\.\d{1,6})?)\s*(?:([KMGT])(?:iB)?)?\s*", text, re.ASCII)
    if found is None:
        return None
    amount = int(float(found[1]) * _BYTES[found[2] or ""])
    return amount if amount <= MOST_BYTES else None
