# shellcheck shell=bash
# Runs the systemd of a Debian root as in a container: its own processes, control groups and network. Sourced, by root, in a mount namespace of
# its own.

# boot ROOT CONSOLE: starts it, and sets `machine` to the process that has its namespaces. Fails where the kernel does not allow that.
boot() {
    local root=$1 console=$2 groups
    groups=$(sed -n 's/^[^ ]* \([^ ]*\) cgroup2 .*/\1/p' /proc/mounts | head -n 1)
    [[ -n $groups && -x $root/usr/lib/systemd/systemd ]] || return
    slice=$groups/swsync-check-$$
    mkdir "$slice" || return
    (
        echo "$BASHPID" >"$slice/cgroup.procs"
        exec unshare --pid --fork --kill-child=KILL --mount --cgroup --ipc --uts --net \
            bash -c "$(declare -f mount_machine); mount_machine \"\$1\"; exec chroot \"\$1\" /usr/bin/env -i container=swsync-check /usr/lib/systemd/systemd \
                --log-target=journal --show-status=no" bash "$root"
    ) </dev/null >"$console" 2>&1 &
    booted=$!
    local try
    for ((try = 0; try < 300; try++)); do
        machine=$(cat "/proc/$booted/task/$booted/children" 2>/dev/null) || return
        machine=${machine%% *}
        [[ -z $machine ]] || case $(in_machine systemctl is-system-running 2>/dev/null) in
            running | degraded) return 0 ;;
        esac
        sleep 0.2
    done
    power_off
    return 1
}

# What systemd expects to be mounted, in ROOT. Runs in the new namespaces.
mount_machine() {
    set -e
    local name
    mount --make-rprivate /
    mount -t proc proc "$1/proc"
    mount -t sysfs sysfs "$1/sys"
    mount -t tmpfs -o mode=755 tmpfs "$1/dev"
    for name in null zero full random urandom tty; do
        touch "$1/dev/$name"
        mount --bind "/dev/$name" "$1/dev/$name"
    done
    mkdir "$1/dev/pts" "$1/dev/shm"
    mount -t devpts -o newinstance,ptmxmode=0666 devpts "$1/dev/pts"
    ln -s pts/ptmx "$1/dev/ptmx"
    ln -s /proc/self/fd "$1/dev/fd"
    mount -t tmpfs tmpfs "$1/dev/shm"
    mount -t tmpfs tmpfs "$1/run"
    mount -t cgroup2 cgroup2 "$1/sys/fs/cgroup"
}

in_machine() {
    nsenter --target "$machine" --mount --uts --ipc --net --pid --cgroup --root --wd \
        /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 "$@"
}

power_off() {
    [[ -z ${booted:-} ]] || kill -KILL "$booted" 2>/dev/null || true
    wait "${booted:-}" 2>/dev/null || true
    booted=''
    # The kernel takes the processes of a machine with its first one, which may take a moment.
    local try
    for ((try = 0; try < 50; try++)); do
        find "$slice" -depth -type d -exec rmdir {} + 2>/dev/null && return
        sleep 0.1
    done
    say "the control group $slice is still in use"
}
