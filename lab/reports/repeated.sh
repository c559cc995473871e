# Three OOMs in a row in one memcg, the largest first; who grows is shielded by -900.
memcg job memory.max=60M
hog smallest job 0 10
hog middle job 0 14
hog largest job 0 20
before
hog grower job -900 1 grow=55
ended 3
