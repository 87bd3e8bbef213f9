#!/usr/bin/env bash
# Runs a command in the namespaces that `x` has made for it with unshare(1), of which this is the
# first process. Every step ends in an exec: the command keeps the process id, the terminal, the
# standard streams and the exit code, and when it ends, however it ends, its mounts are gone.
#
#   enter.sh [--root DIR] [--bind PATH]... [--ca FILE] [--net] [--virtual-cameras FILE]
#            [--lock FILE] [--as UID:GID:GROUPS | --map UID:GID] -- COMMAND...
#
# --root DIR   make DIR the system: the host's folders that are not part of an operating system
#              (home, tmp, work, ...) keep their paths in it
# --bind PATH  a path of the host under usr, var or the like that is needed as well
# --ca FILE    the host's certificates, in place of the root's
# --net        the network namespace is new: bring up loopback, with multicast
# --as         step down from root to this user (x used sudo)
# --map        step down from the user namespace's root to this user
set -euo pipefail

# shellcheck source=tools/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

root='' ca='' net=no cameras='' lock='' as='' map='' binds=()
while (($#)); do
    case $1 in
        --root) root=$2; shift 2 ;;
        --bind) binds+=("$2"); shift 2 ;;
        --ca) ca=$2; shift 2 ;;
        --net) net=yes; shift ;;
        --virtual-cameras) cameras=$2; shift 2 ;;
        --lock) lock=$2; shift 2 ;;
        --as) as=$2; shift 2 ;;
        --map) map=$2; shift 2 ;;
        --) shift; break ;;
    esac
done

new=/boot

# One line of an fstab. A single `mount --all` is several times faster than a mount each.
bind() {
    local source=${1// /'\040'} target=${2// /'\040'}
    printf '%s %s none %s 0 0\n' "$source" "$target" "$3"
}

# The new system is a tmpfs with one mount for each top-level folder, so nothing need be written to the
# root itself: an unprivileged user can enter it too. It grows in a folder that every Debian has
# and that is not itself carried over, lest it show up inside itself.
assemble_root() {
    local path name folders=() ro=,ro
    # In a user namespace nobody can write to the host's files anyway, and flags cannot be changed.
    [[ -z $map ]] || ro=''
    mount -t tmpfs -o mode=755 swsync "$new"
    for path in "$root"/* /*; do
        name=${path##*/}
        if [[ $path == "$root"/* ]]; then
            case $name in usr | etc | var | bin | sbin | lib | lib?? | libx32) ;; *) continue ;; esac
        elif is_system_folder "$name"; then
            continue
        fi
        if [[ -L $path ]]; then
            ln -s "$(readlink "$path")" "$new/$name"
        elif [[ -d $path ]]; then
            folders+=("$new/$name")
            bind "$path" "$new/$name" rbind >&3
        fi
    done 3>"$new/.fstab"
    # Of run, the sockets of the session and what udev knows: libcamera looks cameras up there.
    for path in dev proc sys run/user run/udev run/dbus; do
        [[ -d /$path ]] || continue
        folders+=("$new/$path")
        bind "/$path" "$new/$path" rbind
    done >>"$new/.fstab"
    {
        for path in resolv.conf hosts passwd group; do
            [[ ! -e /etc/$path ]] || bind "/etc/$path" "$new/etc/$path" "bind$ro"
        done
        [[ -z $ca ]] || bind "$ca" "$new/etc/ssl/certs/ca-certificates.crt" "bind$ro"
        for path in "${binds[@]}"; do
            bind "$path" "$new$path" rbind
        done
    } >>"$new/.fstab"
    mkdir -p "$new/run" "$new/.old" "${folders[@]}"
    mount --all --fstab "$new/.fstab"
}

# pivot_root rather than chroot: whoever is in a chroot cannot make namespaces, and the old
# root would still be there.
move_into_root() {
    local cwd=$PWD
    cd "$new"
    pivot_root . .old
    umount --lazy /.old
    rm -r /.old /.fstab
    hash -r
    cd "$cwd" 2>/dev/null || cd /
}

bring_up_loopback() {
    ip link set lo up multicast on
    ip route add 224.0.0.0/4 dev lo
}

# libcamera reads the file from /usr/share alone, so lay it over that folder, for this namespace.
lay_over_virtual_cameras() {
    local over
    over=$(mktemp -d)
    mount -t tmpfs swsync "$over" &&
        install -D -m 644 "$cameras" "$over/pipeline/virtual/virtual.yaml" &&
        mount -t overlay -o "ro,lowerdir=$over:/usr/share/libcamera" swsync /usr/share/libcamera ||
        printf 'x: no virtual cameras: %s\n' 'cannot lay their list over /usr/share/libcamera' >&2
    umount --lazy "$over" || true
    rmdir "$over"
}

[[ -z $lock ]] || { exec 9>>"$lock"; flock --shared 9; }
[[ -z $root ]] || { assemble_root; move_into_root; }
[[ $net == no ]] || bring_up_loopback
[[ -z $cameras ]] || lay_over_virtual_cameras

if [[ -n $as ]]; then
    IFS=: read -r uid gid groups <<<"$as"
    exec setpriv --reuid="$uid" --regid="$gid" --groups="$groups" -- "$@"
elif [[ -n $map ]]; then
    exec unshare --user --map-user="${map%:*}" --map-group="${map#*:}" -- "$@"
fi
exec "$@"
