"""How a policy becomes force.

Belongs here: one room or file a backend. Must not know: where snapshots come from, who asked.
"""
