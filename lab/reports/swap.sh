# A memcg with both its memory and its swap full: what is swapped out counts as much as what is resident.
memcg job memory.max=40M memory.swap.max=24M
hog cold job 0 30
hog warm job 0 18
before
hog grower job 0 1 grow=32
ended 1
