"""From IR to better IR, one pass a file.

Belongs here: passes, each a pure function Program -> Program that keeps every answer and every fault, and their
order. Must not know: instructions, what a field is read from.
"""
