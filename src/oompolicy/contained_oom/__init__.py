"""A real OOM that harms nobody: in a memcg of our own, among processes of our own, gone afterwards.

Belongs here: making and undoing it. Must not know: policies, what is shown of it.
"""
