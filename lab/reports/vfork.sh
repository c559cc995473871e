# A child in the middle of vfork has its parent's memory in the table and is never chosen.
memcg job memory.max=60M
hog small job 0 8
hog parent job 0 30 vfork
before
hog grower job 0 1 grow=35
ended 2
