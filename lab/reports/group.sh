# memory.oom.group=1: with the chosen process its whole memcg dies, but for the task at -1000.
memcg job memory.max=64M cgroup.subtree_control=+memory
memcg job/team memory.oom.group=1
memcg job/other
hog captain job/team 0 28
hog member job/team 0 8
hog member job/team 300 2
hog immune job/team -1000 2
before
hog grower job/other 0 1 grow=34
ended 3
