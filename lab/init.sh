#!/bin/busybox sh
# PID 1 of a guest. It mounts what a Linux system has, runs /lab/script as root and sends the results out.
# The serial ports: ttyS0 the kernel's console, ttyS1 the script's stdout, ttyS2 its stderr, ttyS3 a tar of
# `status` (the script's exit status) and `out` (what it left in /out).
/bin/busybox --install -s /bin
mkdir -p /proc /sys /dev /out /root /run /tmp
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tracefs tracefs /sys/kernel/tracing
mount -t bpf bpf /sys/fs/bpf
mount -t tmpfs -o size=64m tmpfs /tmp
for port in 1 2 3; do stty -F /dev/ttyS$port raw -echo; done
echo +memory > /sys/fs/cgroup/cgroup.subtree_control

# Words of the command line that the kernel does not know become variables of this shell.
# The path of the disk with a serial number, once it is there.
disk() {
    tries=0
    until found=$(grep -lsw "$1" /sys/block/nvme*/device/serial) || [ $tries = 50 ]; do sleep 0.1; tries=$((tries + 1)); done
    echo "$found" | sed 's|/sys/block/\([^/]*\)/.*|/dev/\1|'
}

if [ -n "$lab_swap" ]; then
    disk swap > /run/swap
    mkswap "$(cat /run/swap)" > /dev/null && swapon "$(cat /run/swap)"
fi
if [ -n "$lab_disk" ]; then
    mkdir /disk && mount -t ext4 -o noatime "$(disk disk)" /disk
fi

export PATH=/bin:/usr/bin HOME=/root LANG=C.UTF-8
cd /root
echo "lab: the script starts"
sh /lab/script < /dev/null > /dev/ttyS1 2> /dev/ttyS2
echo $? > /lab/status
mkdir /lab/results
mv /lab/status /out /lab/results
tar -C /lab/results -cf /dev/ttyS3 status out
poweroff -f
