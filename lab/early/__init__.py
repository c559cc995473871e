"""Who acts before the kernel must, and who does it best: loads, contenders, and what a person at the machine feels.

    contest.py (here: a disk, a guest, what came out) -> inside.py (in the guest: one trial after the other)
        loads.py, contenders.py, peers.py                  trial.py -> machine.py, trace.py

Belongs here: oompolicy beside earlyoom, nohang, oomd and nobody, in the same guest. Must not know: what is right for a
test, how results are printed.
"""
