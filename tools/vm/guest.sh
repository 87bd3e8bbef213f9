#!/bin/bash
# The first process on the machine's final file system: makes the rest of a Debian, runs the job and switches the machine off.
# machine.py puts it into /job, with what the job is and the environment of ./x shell.
source /job/environment.sh
mount -t tmpfs run /run
mkdir -p /run/netns /run/lock /run/udev/data /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs shm /dev/shm
mount -t debugfs debugfs /sys/kernel/debug
mount -t configfs configfs /sys/kernel/config 2>/dev/null
mount -t cgroup2 cgroup2 /sys/fs/cgroup
ln -sfn /proc/self/fd /dev/fd
ln -sfn fd/0 /dev/stdin
ln -sfn fd/1 /dev/stdout
ln -sfn fd/2 /dev/stderr
[[ $SWSYNC_ROOT/ == /tmp/* || $SWSYNC_VM_KERNEL == /tmp/* ]] || mount -t tmpfs tmp /tmp
mkdir -p /usr/lib/modules
mount --bind "$SWSYNC_VM_KERNEL/usr/lib/modules" /usr/lib/modules
# Packages that scripts of udev would make nodes for; there is no udev here.
export DM_DISABLE_UDEV=1
hostname vm
ip link set lo up multicast on
ip route add 224.0.0.0/4 dev lo
sysctl -q -w kernel.hung_task_timeout_secs=0 2>/dev/null
cut -d ' ' -f 1 /proc/uptime >/job/booted
export SWSYNC_VM=1 SWSYNC_NETNS=1 SWSYNC_VM_OUT=/job/out
setsid -w bash /job/run.sh >>/job/stdout 2>>/job/stderr </dev/null
echo $? >/job/code.new
mv /job/code.new /job/code
sync
echo o >/proc/sysrq-trigger
sleep 60
