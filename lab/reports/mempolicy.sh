# Memory policies: who is bound to another node is safe; who is kept there by a cpuset alone dies first, in vain.
echo +cpuset > /sys/fs/cgroup/cgroup.subtree_control
memcg node0 cpuset.mems=0
hog elsewhere node0 0 70
hog bound . 0 90 node=0
hog large . 0 60 node=1
hog small . 0 20 node=1
before
hog grower . -500 1 node=1 grow=150
ended 2
