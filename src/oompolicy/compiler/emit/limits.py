"""What a program may cost: bounds on its frame and its length.

Belongs here: the bounds and the error that names the place where one is passed. Must not know: how code is made.
"""

from __future__ import annotations

from typing import Final

from oompolicy import errors
from oompolicy.compiler.place import Place
from oompolicy.errors import CompileError, Refusal

STACK_BYTES_MAX: Final = 512  # MAX_BPF_STACK, all of a program's frames together
# A jump reaches 32,767 instructions; half of that is far more than a policy that runs for every task should have.
INSTRUCTIONS_MAX: Final = 16_384


class LimitError(CompileError):
    """A policy that is too large for the kernel, and the place in its source where it became so."""

    def __init__(self, place: Place, why: str, hint: str) -> None:
        super().__init__([Refusal(errors.Place(*place), why, hint)])
        self.place = place


def too_much_stack(place: Place, needed_bytes: int, room_bytes: int) -> LimitError:
    """The slots do not fit below what the caller keeps."""
    return LimitError(
        place,
        f"too many numbers are needed at once here: {needed_bytes} bytes of stack, and {room_bytes} are free",
        "use a value soon after it is computed, or read its fields again",
    )


def too_many_instructions(place: Place) -> LimitError:
    """The code is too long."""
    return LimitError(
        place,
        f"from here on the policy has more than {INSTRUCTIONS_MAX} instructions",
        "let loops run fewer times, or do the work in user space and publish values",
    )
