"""bpf(2) without libbpf, clang or headers: what the kernel is asked, and what it answers, typed.

Belongs here: the mechanism, one idea a file, all of it usable on its own. Must not know: policies, OOMs, the compiler.

| file | holds |
|---|---|
| `uapi.py`, `attributes.py` | numbers and struct layouts of include/uapi/linux/bpf.h |
| `call.py`, `syscall.py`, `descriptor.py` | one call in bytes; the same, typed; who owns the descriptor it returns |
| `errors.py`, `privileges.py` | why it was refused |
| `btf_types.py`, `btf_records.py`, `btf_blob.py` | the kernel's types: what a record is, decoding one, finding one |
| `btf.py`, `btf_cache.py`, `kernel_btf.py` | questions to them; remembering the answers; the running kernel's own |
| `btf_writer.py` | types of our own, for maps and functions that need them |
| `opcodes.py`, `instructions.py`, `assembly.py` | registers, operations; instructions as values; labels |
| `maps.py`, `map_kinds.py`, `ring_buffer.py` | maps; those with ways of their own; records from the kernel |
| `programs.py`, `links.py`, `pins.py` | loading and test runs; attaching; names in a bpf file system |
| `iterators.py` | reading what an iterator's program writes |
| `object_info.py`, `object_ids.py` | what the kernel says of an object; finding all that is loaded |
"""
