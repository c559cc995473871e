"""The backend hook: the kernel itself obeys, by a BPF program that looks up what user space has published.

Belongs here: the ABI of kernel/oom_policy.h, the fixed programs, publishing, pins, the history of OOMs.
Must not know: policies' meanings, when the daemon acts.

| file | holds |
|---|---|
| `abi.py` | numbers and layouts that the kernel side and this side share |
| `layout.py`, `program.py` | where a kernel keeps what the programs read; the programs |
| `target.py` | what there is to attach to, here: a module's functions or the kernel's own |
| `attachment.py`, `pins.py` | maps and programs in force; keeping them so without a process |
| `answers.py`, `generation.py` | from a policy to entries; a whole set of entries in force at once |
| `in_force.py` | what is in force, read back from the maps |
| `history.py`, `events.py`, `news.py` | the ring of records; what happened, in words; what was not told of yet |
| `backend.py` | the daemon's questions answered |
| `poke.py`, `process_start.py` | making a daemon look now; which process is the daemon |
| `findings.py` | what of it this machine has, and what to do about the rest |
"""
