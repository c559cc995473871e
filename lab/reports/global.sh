# The machine is full, nobody has a limit; a positive oom_score_adj makes a smaller process the victim.
memcg db
memcg batch
hog large db 0 80
hog preferred batch 500 40
hog small batch 0 10
before
hog grower db 0 1 grow=60
ended 1
