"""What the tests of the compiler share: is BPF to be had here."""

from __future__ import annotations

from bpf.conftest import bpf_here

__all__ = ["bpf_here"]
