"""Where snapshots come from: the live machine, a kernel's report, a recording.

Belongs here: reading, and naming what could not be read. Must not know: policies, tables, what is done with a snapshot.
"""
