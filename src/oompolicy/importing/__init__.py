"""From another tool's configuration to ours, and what has no equivalent.

    earlyoom.py | nohang.py | oomd.py | systemd_oomd.py -> Imported -> config_text.py

Belongs here: what each tool's settings mean, one file a tool, with the source of that knowledge; text in, Imported out.
Must not know: where a text was read from but for the name of its place, where what comes out is written.
"""
