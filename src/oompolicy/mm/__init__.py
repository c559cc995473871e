"""The kernel's victim selection, transcribed under the kernel's own file and function names.

Belongs here: what mm/oom_kill.c and mm/memcontrol.c decide, in their integer arithmetic.
Must not know: where tasks come from, what a policy is, what is done to the victim.
"""
