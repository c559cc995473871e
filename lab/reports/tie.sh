# Two processes with the same memory, page tables and oom_score_adj: the later one dies.
# One processor, since rss counters lag by up to 31 pages on each; no randomised addresses, which cost page tables.
echo +cpuset > /sys/fs/cgroup/cgroup.subtree_control
echo 0 > /proc/sys/kernel/randomize_va_space
memcg job memory.max=58M cpuset.cpus=0
hog first job 0 20
hog second job 0 20
before
hog grower job 0 1 grow=20
ended 1
