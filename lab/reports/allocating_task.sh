# vm.oom_kill_allocating_task=1: who asks for memory dies, however small.
memcg db
hog large db 0 120
echo 1 > /proc/sys/vm/oom_kill_allocating_task
before
hog grower . 0 1 grow=125
ended 1
