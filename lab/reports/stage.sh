# The stage on which a scenario is played; a scenario is read right after this file, `finish` right after it.
# Belongs here: declaring memcgs and hogs, waiting, and collecting what happened without reading the kernel's log.
# The variables LAB_... place the stage elsewhere than in a guest; see lab/here.py.
mount=${LAB_MOUNT:-/sys/fs/cgroup}
base=$mount$LAB_BASE
ledger=${LAB_LEDGER:-/run/ledger}
hog=${LAB_HOG:-/bin/hog}
tab=$(printf '\t')
started=0
mkdir -p $ledger
for file in born ready ends before released; do : > $ledger/$file; done
# Who plays must not die; what the script starts inherits this, hogs then set their own.
echo -1000 2> /dev/null > /proc/self/oom_score_adj

# memcg PATH [FILE=VALUE...]: make a cgroup below the base and write its files, in the order given.
memcg() {
    path=$base/$1
    mkdir -p $path
    shift
    for setting; do
        file=${setting%%=*}
        if [ -e $path/memory.limit_in_bytes ]; then # cgroup v1
            case $file in memory.max) file=memory.limit_in_bytes ;; cgroup.subtree_control) continue ;; esac
        fi
        echo "${setting#*=}" > "$path/$file"
    done
}

# hog NAME CGROUP ADJ MIB [WORD...]: see hog.c; returns when it holds its MIB. CGROUP is below the base, "." the base.
hog() {
    name=$1 path=$base/$2
    shift 2
    $hog $ledger "$name" $path "$@" &
    started=$((started + 1))
    lines ready $started
}

# lines FILE NUMBER: wait until a file of the ledger has that many lines, for 10 s at most.
lines() {
    tries=0
    until [ $(wc -l < $ledger/$1) -ge $2 ] || [ $tries = 200 ]; do sleep 0.05; tries=$((tries + 1)); done
}

# before: note what each hog has, by /proc, as the last thing before the scenario provokes an OOM.
before() {
    while IFS="$tab" read tid rest; do
        sed -n "s/^\(Rss[A-Z][a-z]*\|Vm\(Swap\|PTE\)\):[^0-9]*\([0-9]*\) kB/$tid \1_kb \3/p" /proc/$tid/status
        echo "$tid oom_score $(cat /proc/$tid/oom_score)"
    done < $ledger/born > $ledger/before
}

# release NAME: the script itself ends a hog, which is therefore no victim.
release() {
    pid=$(awk -F "$tab" -v name="$1" '$3 == name { print $2 }' $ledger/born)
    echo $pid >> $ledger/released
    kill -9 $pid
}

# ended NUMBER: wait until so many processes have ended, and a moment for one more that should not.
ended() {
    lines ends $1
    sleep 0.5
}

finish() {
    out=${LAB_OUT:-/out}
    dmesg > $out/dmesg
    cp $ledger/* $out
    cp /proc/meminfo $out/meminfo
    uname -r > $out/release
    getconf PAGESIZE > $out/page_size 2> /dev/null || echo 4096 > $out/page_size
    cd $mount
    for file in memory.min memory.low memory.high memory.max memory.swap.max memory.oom.group memory.events \
        cpuset.mems memory.limit_in_bytes memory.oom_control; do
        find .$LAB_BASE -mindepth 2 -name $file -exec grep -H . {} +
    done > $out/cgroups
}

# leave: end every hog and wait for it; a guest just goes down instead.
leave() {
    find $base -name cgroup.procs -exec cat {} + | xargs -r kill -9
    wait
}
