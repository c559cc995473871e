# A cpuset that allows node 1 only: totalpages is that node's, and the largest process lives on node 0, safe.
echo +cpuset > /sys/fs/cgroup/cgroup.subtree_control
memcg node0 cpuset.mems=0
memcg node1 cpuset.mems=1
hog elsewhere node0 0 130
hog large node1 0 110
hog raised node1 250 20
before
hog grower node1 0 1 grow=100
ended 1
