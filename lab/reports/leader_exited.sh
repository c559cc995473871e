# The thread-group leader has exited, a thread of another name holds the memory: the leader's mm is NULL.
memcg job memory.max=60M
hog small job 0 8
hog headless job 0 30 thread
before
hog grower job 0 1 grow=35
ended 1
