"""The lab: a guest with a real kernel, to run OOMs in.

Belongs here: finding a kernel, building an initramfs, running QEMU; scenarios, playing them, judging what happened.
Must not know: below scenarios (guest, kernels, initramfs, hog) the package `oompolicy`, which is only carried.
"""


class LabError(Exception):
    """The lab cannot do what was asked; the text says what, why, and what to do."""


class DoesNotBuildError(LabError):
    """All that building needs is there, and the compiler refuses: no reason to leave a test out."""
