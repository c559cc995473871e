# The limit is on the parent, the processes are in its children: the scope is the parent, and a larger one outside is safe.
memcg job memory.max=60M cgroup.subtree_control=+memory
memcg job/low
memcg job/high/inner
hog outside . 0 50
hog large job/low 0 30
hog small job/high/inner 0 8
before
hog grower job/high/inner 0 1 grow=35
ended 1
