# The operator asks for it: sysrq f, with memory to spare. A kernel thread is the one that "invoked oom-killer".
memcg db
hog large db 0 60
hog small . 0 10
before
echo f > /proc/sysrq-trigger
ended 1
