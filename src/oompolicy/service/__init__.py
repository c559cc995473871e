"""What a daemon is to the machine it runs on: its log, systemd, its own memory, its neighbours.

Belongs here: one file for each of these. Must not know: policies, rules, backends, when anything is done. What it does
at the moment of need allocates little, waits for nobody, and raises nothing.
"""
