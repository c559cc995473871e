"""From IR to instructions.

Belongs here: where values live (registers, the stack), what each step becomes. Must not know: Python's syntax; where a
kernel keeps a field (that is a FieldReader of the backend's); how a program is loaded.
"""
