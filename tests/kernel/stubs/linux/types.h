/* Stands in for the kernel's, so that oom_policy.h compiles for a process: it needs no type of it. */
