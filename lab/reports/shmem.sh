# Shared anonymous memory counts as rss_shmem; the kill itself does not free it, the end of the process does.
memcg job memory.max=60M
hog private job 0 12
hog shared job 0 30 shmem
before
hog grower job 0 1 grow=35
ended 1
