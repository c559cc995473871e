# A memcg at its limit, three processes in it: the largest dies, though another one asked for memory.
memcg job memory.max=60M
hog small job 0 8
hog large job 0 30
before
hog grower job 0 1 grow=35
ended 1
