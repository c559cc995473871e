"""The backend hook: the kernel itself obeys, by BPF programs: the policy compiled, or a look-up of what it has said.

Belongs here: the ABI of kernel/oom_policy.h, the programs, publishing, pins, the history of OOMs.
Must not know: policies' meanings, when the daemon acts.

| file | holds |
|---|---|
| `abi.py` | numbers and layouts that the kernel side and this side share |
| `layout.py`, `pieces.py` | where a kernel keeps what the programs read; instructions that they share |
| `program.py` | the programs that stay attached: beginning, end, and a tail call to the live policy |
| `published.py`, `compiled.py` | the two kinds of policy that a slot can hold |
| `policy_body.py`, `kernel_fields/` | the compiler's parts in order; reading this kernel's structs |
| `ruling.py`, `shadows.py` | from a policy to a loaded program; those that decide nothing |
| `target.py` | what there is to attach to, here: a module's functions or the kernel's own |
| `attachment.py`, `pins.py` | maps and programs in force; keeping them so without a process |
| `answers.py`, `values.py`, `paths.py` | from a policy or a machine to what is published |
| `generation.py` | a whole set of entries in force at once |
| `in_force.py` | what is in force, read back from the maps |
| `history.py`, `events.py`, `news.py` | the ring of records; what happened, in words; what nobody has told of yet |
| `bell.py` | being woken when an OOM has ended |
| `kernel_log.py` | a line in the kernel's own log |
| `backend.py` | the daemon's questions answered |
| `poke.py`, `process_start.py` | making a daemon look now; which process is the daemon |
| `findings.py` | what of it this machine has, and what to do about the rest |
"""
