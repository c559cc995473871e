# Two processes with one address space: the kernel names one victim, both die.
memcg job memory.max=60M
hog small job 0 8
hog pair job 0 30 twin
before
hog grower job 0 1 grow=35
ended 2
