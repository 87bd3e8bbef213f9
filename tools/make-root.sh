#!/usr/bin/env bash
# Makes the Debian 13 root in which swsync is built and run where the system's own libcamera is too
# old. `x` runs this as root, in a mount namespace of its own, so whatever is mounted here goes
# with the process, even when it is killed.
#
#   make-root.sh ROOT STAMP LOG CA LIST MOUNT-POINT...
#
# LIST: the file of the packages. SWSYNC_ARCHITECTURE: Debian's name of another architecture, which this kernel runs (qemu-user).
# ROOT appears in one rename when debootstrap is through with it; STAMP appears in it when all
# packages are in. A run that was interrupted is taken up at the last of the two.
set -euo pipefail
umask 022

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
# shellcheck source=tools/lib.sh
source "$here/lib.sh"

root=$1 stamp=$2 log=$3 ca=$4 list=$5
shift 5
mount_points=("$@")
suite=trixie
steps=3

# debootstrap makes a failure of Ctrl-C, which must not pass for one of the mirror.
trap 'exit 130' INT

main() {
    # debootstrap and apt inherit the lock: should this script alone be killed, then the next run waits for
    # them instead of working on the same files.
    exec 8>>"$root.lock"
    flock --nonblock 8 || { say 'another ./x is at the set-up; waiting for it'; flock 8; }

    : >"$log"
    use_apt_proxy
    if [[ ! -d $root ]]; then
        install_debootstrap
        rm -rf --one-file-system "$root.partial"
        bootstrap
        mv "$root.partial" "$root"
    fi
    if [[ ! -e $root/$stamp ]]; then
        prepare_apt
        phase "$log" "[3/$steps] what ${list##*/} names (apt)" in_root install_packages ||
            die 'is the network there, and the disk not full? Then run the same command again.'
        install_virtual_cameras
        touch "$root/etc/swsync-root"
        sync -f "$root"
        rm -f "$root/${stamp%-*}"-*
        touch "$root/$stamp"
    fi
    # An unprivileged user cannot make these later, when entering.
    ((${#mount_points[@]} == 0)) || mkdir -p "${mount_points[@]/#/$root}"
}

# debootstrap (through wget) and apt in the root know of a proxy only from the environment.
use_apt_proxy() {
    local http_proxy_of_apt=''
    eval "$(apt-config shell http_proxy_of_apt Acquire::http::Proxy)"
    if [[ -z ${http_proxy:-} && $http_proxy_of_apt == http* ]]; then
        export http_proxy=$http_proxy_of_apt
    fi
}

install_debootstrap() {
    local missing=() package
    # The keyring is what Ubuntu lacks: without it nothing says that the packages are Debian's.
    for package in debootstrap debian-archive-keyring; do
        is_installed "$package" || missing+=("$package")
    done
    if ((${#missing[@]} == 0)); then
        say "[1/$steps] debootstrap is there"
    else
        phase "$log" "[1/$steps] installing ${missing[*]} with apt, to make the root with" \
            apt_install "${missing[@]}" ||
            die "install ${missing[*]} by hand, then run the same command again."
    fi
}

bootstrap() {
    local mirror
    mirror=$(debian_mirror)
    if [[ -n $mirror ]]; then
        phase "$log" "[2/$steps] base system from this machine's own mirror, $mirror (debootstrap)" \
            run_debootstrap "$mirror" && return
        say '  that mirror may not have Debian 13: once more with the default one'
        rm -rf --one-file-system "$root.partial"
    fi
    phase "$log" "[2/$steps] base system from Debian's default mirror (debootstrap)" run_debootstrap ||
        die "is the network there? If the root cannot be made under $(dirname "$root") (noexec, nodev," \
            'full), set XDG_CACHE_HOME to a folder on an ordinary disk. Then run the same command again.'
}

run_debootstrap() {
    local scripts=/usr/share/debootstrap/scripts script=()
    # A debootstrap older than the suite: what unstable needs serves every newer suite.
    [[ -e $scripts/$suite ]] || script=("$scripts/sid")
    debootstrap ${SWSYNC_ARCHITECTURE:+--arch="$SWSYNC_ARCHITECTURE"} --variant=minbase --include=ca-certificates "$suite" "$root.partial" \
        "${@:-}" "${script[@]}"
}

# The mirror that apt on this machine takes Debian from; nothing on Ubuntu or before `apt update`.
debian_mirror() {
    # shellcheck disable=SC2016 # apt fills these in
    apt-get indextargets --format '$(ORIGIN) $(LABEL) $(REPO_URI)' 'Created-By: Packages' 2>>"$log" |
        sed -n 's/^Debian Debian \(http[^ ]*\)$/\1/p' | head -n 1
}

# In the root, apt needs the host's way to the network: name servers, proxy, certificates.
prepare_apt() {
    rm -f "$root/etc/resolv.conf"
    cp -L /etc/resolv.conf "$root/etc/resolv.conf"
    {
        [[ -z ${http_proxy:-} ]] || printf 'Acquire::http::Proxy "%s";\n' "$http_proxy"
        [[ -z ${https_proxy:-} ]] || printf 'Acquire::https::Proxy "%s";\n' "$https_proxy"
        if [[ -r $ca ]]; then
            # A copy: the postinst of ca-certificates would write through a mount to the host's file.
            cp -L "$ca" "$root/etc/ssl/host-ca.crt"
            printf 'Acquire::https::CaInfo "/etc/ssl/host-ca.crt";\n'
        fi
        # The root can be made anew, so a power cut may cost it: a third of the time on an SD card.
        printf 'Dpkg::Options { "--force-unsafe-io"; };\n'
    } >"$root/etc/apt/apt.conf.d/90swsync"
    # No daemon of the root is to be started.
    printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
    chmod 755 "$root/usr/sbin/policy-rc.d"

    mount -t proc proc "$root/proc"
    mount --rbind /dev "$root/dev"
}

in_root() {
    local function=$1
    chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 \
        DEBIAN_FRONTEND=noninteractive PACKAGES="$(read_list "$list" | tr '\n' ' ')" \
        /bin/bash -c "$(declare -f apt_install "$function"); set -eu; $function"
}

# Runs inside the root. The first two lines finish what an interrupted run left half done.
install_packages() {
    dpkg --configure -a
    apt-get -q -y -f install
    # shellcheck disable=SC2086 # a list of words
    apt_install $PACKAGES
    apt-get clean
}

install_virtual_cameras() {
    install -D -m 644 "$here/virtual-cameras.yaml" \
        "$root/usr/share/libcamera/pipeline/virtual/virtual.yaml"
}

main
