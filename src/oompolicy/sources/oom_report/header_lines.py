"""The lines before and around the table: who ran out, which limit, how much there is.

Belongs here: one pattern a fact, and where it is kept. Must not know: when a report begins or ends.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from oompolicy.sources.oom_report.draft import Draft
from oompolicy.sources.oom_report.logical import Message
from oompolicy.sources.oom_report.report import Counter

# From this on a limit means "none": LONG_MAX or ULLONG_MAX in kB, or PAGE_COUNTER_MAX pages of some size in kB.
UNLIMITED_KB: Final = 1 << 52
UNLIMITED_32_BIT_KB: Final = 8589934588  # LONG_MAX pages of 4 kB

INVOKED: Final = re.compile(r"\binvoked oom-killer(?::|$)")
GFP_MASK: Final = re.compile(r"gfp_mask=(0x[0-9a-fA-F]+)(?:\(([^()]*)\))?")
ORDER: Final = re.compile(r"\border=(-?\d+)")
INVOKER_ADJ: Final = re.compile(r"\boom_score_adj=(-?\d+)")
NODEMASK: Final = re.compile(r"\bnodemask=([\d,\-]+|\(null\))(?:,|$)")
STACK: Final = re.compile(
    r"\b(?:PID|Pid): (\d+),? [Cc]omm: (.*?)(?: Kdump: loaded)? (?:Not [Tt]ainted:?|Tainted:)"
    r"(?:.*?\s(\d+\.\d+[^\s#]*)(?:\s|$))?"
)
RELEASE: Final = re.compile(r"[Tt]ainted:?\s.*?\b(\d+\.\d+(?:\.\d+)?[^\s#]*)(?:\s|$)")
CPUSET: Final = re.compile(r"\bcpuset=(\S+) mems_allowed=([\d,\-]+)")
LIMIT_OF: Final = re.compile(r"Task in (.*?) killed as a result of limit of (.*?)\s*$")
STATS_OF: Final = re.compile(r"Memory cgroup stats for (.*?):(?:\s|$)")
COUNTER: Final = re.compile(r"(memory\+swap|memory|swap|kmem): usage (\d+)kB, limit (\d+)kB")
RAM: Final = re.compile(r"(\d+) pages (?:of )?RAM")
RESERVED: Final = re.compile(r"(\d+) (?:pages reserved|reserved pages)")
SWAP: Final = re.compile(r"(Free|Total) swap\s*[=:]\s*(\d+)kB")
ZONE: Final = re.compile(r"Node (\d+) \w+ free:\S.*? present:(\d+)kB")
SMALLEST_BLOCK: Final = re.compile(r"\b(?:DMA|DMA32|Normal|HighMem|Movable): \d+\*(\d+)kB")
PAGETABLES: Final = re.compile(r"\bpagetables:(\d+)\b(?!kB)")
PANIC: Final = re.compile(r"Kernel panic - not syncing: (.*)")
GROUP: Final = re.compile(r"Tasks in (.*?) are going to be killed due(?:\s|$)")

PLAUSIBLE_BLOCKS_KB: Final = frozenset({4, 8, 16, 32, 64, 256})


def node_list(text: str | None) -> frozenset[int] | None:
    """The nodes of a printed mask ("0-1,3"); None for "(null)" and for what is no mask.

    >>> sorted(node_list("0-1,3"))
    [0, 1, 3]
    """
    nodes: set[int] = set()
    for part in (text or "").split(","):
        first, dash, last = part.partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()) or len(part) > 9:
            return None
        nodes.update(range(int(first), min(int(last or first), 4095) + 1))  # MAX_NUMNODES is 1024 at most
    return frozenset(nodes) or None


def read_invocation(draft: Draft, message: Message) -> None:
    """ "NAME invoked oom-killer: gfp_mask=..., order=0, oom_score_adj=0"."""
    text = message.text
    invoked = INVOKED.search(text)
    comm = "" if invoked is None else text[: invoked.start()].removesuffix(" ").lstrip()
    draft.invoker_comm = comm or None
    mask = GFP_MASK.search(text) or GFP_MASK.search(message.glued)
    if mask is not None:
        draft.gfp_mask = int(mask[1][:18], 16)
        draft.gfp_flags = (mask[2] or "").replace(" ", "") or None
    rest = text[invoked.end() if invoked is not None else 0 :]
    for pattern, field in ((ORDER, "order"), (INVOKER_ADJ, "invoker_oom_score_adj")):
        number = pattern.search(rest)
        if number is not None:
            setattr(draft, field, int(number[1][:9]))
    nodes = NODEMASK.search(rest)
    if nodes is not None:
        draft.nodemask = node_list(nodes[1])


def _stack(draft: Draft, message: Message) -> bool:
    """ "CPU: 2 PID: 210 Comm: stress Not tainted 5.2.0 #135" of dump_stack(): the task that ran out."""
    if draft.kernel_release is not None:
        return False
    found = STACK.search(message.text)
    if found is not None and draft.invoker_comm in {None, found[2]}:
        draft.invoker_pid = int(found[1][:10])
        draft.invoker_comm = found[2]
    release = found[3] if found is not None else None
    if release is None:
        again = RELEASE.search(message.text)
        release = None if again is None else again[1]
    draft.kernel_release = release
    return found is not None or release is not None


def _cpuset(draft: Draft, message: Message) -> bool:
    found = CPUSET.search(message.text)
    if found is None or draft.mems_allowed is not None:
        return False
    draft.cpuset, draft.mems_allowed = found[1], node_list(found[2])
    return True


def _limit_of(draft: Draft, message: Message) -> bool:
    found = LIMIT_OF.search(message.text)
    if found is None:
        return False
    draft.task_memcg, draft.oom_memcg = found[1], found[2]
    return True


def _stats_of(draft: Draft, message: Message) -> bool:
    found = STATS_OF.search(message.text)
    if found is None:
        return False
    draft.stats_memcg = draft.stats_memcg or found[1]  # the first is the limited one, its children follow
    return True


def _counters(draft: Draft, message: Message) -> bool:
    found = False
    for name, usage, limit in COUNTER.findall(message.text):
        found = True
        limit_kb = int(limit[:20])
        unlimited = limit_kb >= UNLIMITED_KB or limit_kb == UNLIMITED_32_BIT_KB
        counter = Counter(int(usage[:20]), None if unlimited else limit_kb)
        setattr(draft, "memsw" if name == "memory+swap" else name, counter)
    return found


def _totals(draft: Draft, message: Message) -> bool:
    text = message.text
    ram, reserved = RAM.search(text), RESERVED.search(text)
    if ram is not None:
        draft.ram_pages = int(ram[1][:20])
    if reserved is not None:
        draft.reserved_pages = int(reserved[1][:20])
    return ram is not None or reserved is not None


def _swap(draft: Draft, message: Message) -> bool:
    found = SWAP.findall(message.text)
    for which, amount in found:
        setattr(draft, f"{which.lower()}_swap_kb", int(amount[:20]))
    return bool(found)


def _zone(draft: Draft, message: Message) -> bool:
    found = ZONE.search(message.text)
    if found is None:
        return False
    node = int(found[1][:5])
    draft.node_present_kb[node] = draft.node_present_kb.get(node, 0) + int(found[2][:18])
    return True


def _smallest_block(draft: Draft, message: Message) -> bool:
    """ "Node 0 DMA: 1*4kB (U) 0*8kB": the smallest block is a page."""
    found = SMALLEST_BLOCK.search(message.text)
    if found is None or int(found[1][:6]) not in PLAUSIBLE_BLOCKS_KB:
        return False
    draft.page_size_kb = int(found[1])
    return True


def _pagetables(draft: Draft, message: Message) -> bool:
    found = PAGETABLES.search(message.text)
    if found is None:
        return False
    draft.pagetables_pages = int(found[1][:20])
    return True


# What must stand in a message -> how it is read. The first three are the most frequent lines of a long dump.
READERS: Final[tuple[tuple[str, Callable[[Draft, Message], bool]], ...]] = (
    (" free:", _zone),
    ("*", _smallest_block),
    ("pagetables:", _pagetables),
    ("ainted", _stack),
    ("mems_allowed=", _cpuset),
    ("as a result of limit of", _limit_of),
    ("cgroup stats for", _stats_of),
    (": usage ", _counters),
    ("pages", _totals),
    (" swap", _swap),
)


def read_header_line(draft: Draft, message: Message) -> bool:
    """Take what a message says of the report's circumstances; False where it says nothing."""
    text = message.text
    taken = [read(draft, message) for needle, read in READERS if needle in text]  # a reflowed line holds several
    return any(taken)
