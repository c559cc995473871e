"""The part of the lab that runs in the guest, as `python3 -m lab.inside`, with the standard library and oompolicy.

Belongs here: making a world, making it run out, seeing who dies. Must not know: what is expected.
"""
