"""The compiler: a policy's Python becomes BPF for the kernel at hand, and is proven to mean the same.

    source (source.py) -> front end (frontend/) -> IR (ir.py) -> passes/ -> IR -> emit/ -> instructions of bpf/
                                                        \\-> interp.py, the reference semantics

Belongs here: the language (subset.py, one table), the IR, what is done with it. Does no I/O but for reading source.
Must not know: how a program is loaded, attached or fed with values (backends/hook), how anything is printed.
"""
