"""From IR to instructions.

Belongs here: where values live (registers, the stack), what each step becomes. Must not know: Python's syntax; where a
kernel keeps a field (that is a FieldReader of the backend's); how a program is loaded.

    liveness.py -> allocation.py -> emitter.py -> code.py
                                       \\-> arithmetic.py, addition.py, multiplication.py, division.py, moves.py
"""

from oompolicy.compiler.emit.code import ANSWER, FAULT
from oompolicy.compiler.emit.emitter import Emitted, emit
from oompolicy.compiler.emit.limits import LimitError
from oompolicy.compiler.emit.reader import FieldReader

__all__ = ["ANSWER", "FAULT", "Emitted", "FieldReader", "LimitError", "emit"]
