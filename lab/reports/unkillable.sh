# Everyone in the memcg is at -1000: no killable processes, again and again, until the script ends one.
memcg job memory.max=20M
hog immune job -1000 8
before
hog grower job -1000 1 grow=30
sleep 0.2
release grower
ended 1
