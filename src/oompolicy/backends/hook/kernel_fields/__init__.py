"""How a compiled policy reads a task, a memcg and the OOM: each field of compiler/subset.py in this kernel's structs.

Belongs here: instructions for a read, by the kernel's own BTF. Must not know: policies, bands, how programs are loaded
and attached.

| file | holds |
|---|---|
| `ground.py` | where the caller keeps things, and the ways to get at the kernel's memory |
| `access.py` | which of these ways this kernel allows, found by trying once |
| `reader.py` | the table: a field, and who reads it |
| `tasks.py`, `comm.py` | a task; its name |
| `threads.py`, `mm_counters.py` | which thread has the memory; the memory |
| `memcgs.py`, `ancestry.py`, `values.py` | a memcg; being below another one; published values |
| `oc.py` | the OOM |

References: a task is a struct task_struct *, a memcg a struct cgroup_subsys_state * (of the memory controller), null
is 0. oc.memcg, a struct mem_cgroup *, begins with its css.
"""

from oompolicy.backends.hook.kernel_fields.access import Access
from oompolicy.backends.hook.kernel_fields.ground import FRAME_BYTES, Frame, Memo, Paths
from oompolicy.backends.hook.kernel_fields.reader import OF_THE_THREAD, KernelFields

__all__ = ["FRAME_BYTES", "OF_THE_THREAD", "Access", "Frame", "KernelFields", "Memo", "Paths"]
