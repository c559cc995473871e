# oom_score_adj in a memcg: -1000 is never taken, 500 adds half of the memcg's limit, -300 takes off three tenths.
memcg job memory.max=80M
hog immune job -1000 25
hog shielded job -300 22
hog plain job 0 15
hog preferred job 500 4
before
hog grower job 0 1 grow=16
ended 1
