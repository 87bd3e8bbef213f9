#!/usr/bin/env bash
# Whether the packages do what a user expects, in a Debian 13 that has nothing else: check-packages.sh FOLDER CLEAN CA. FOLDER has the .deb
# files; CLEAN is a root with debootstrap's least, which is not written to. `./x package` runs this as root, in a mount namespace of its own.
set -euo pipefail

folder=$1 clean=$2 ca=$3
# shellcheck source=tools/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# What is written goes into memory, and is gone with this process.
work=$(mktemp -d)
mount -t tmpfs swsync "$work"
mkdir "$work"/{above,work,root}
mount -t overlay -o "lowerdir=$clean,upperdir=$work/above,workdir=$work/work" swsync "$work/root"
root=$work/root
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
cp -L /etc/resolv.conf "$root/etc/resolv.conf"
cp "$folder"/*.deb "$root/tmp"
in_root() { chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@"; }
alone() { unshare --net chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/var/lib/swsync LC_ALL=C.UTF-8 bash -euc "ip link set lo up multicast on; ip route add 224.0.0.0/4 dev lo; $1"; }

say 'installing in a clean Debian 13'
if [[ -r $ca ]]; then
    mkdir -p "$root/etc/ssl/certs"
    cp -L "$ca" "$root/etc/ssl/host-ca.crt"
    printf 'Acquire::https::CaInfo "/etc/ssl/host-ca.crt";\n' >"$root/etc/apt/apt.conf.d/90ca"
fi
in_root apt-get -qq update
# What the packages only recommend, what runs them, and what disturbs them; then what is there without them.
install() { in_root apt-get -qq install --no-install-recommends -y "$@" >>"$folder/install.log" 2>&1 || { tail -20 "$folder/install.log" >&2; die "apt cannot install $*"; }; }
: >"$folder/install.log"
install gstreamer1.0-tools gstreamer1.0-plugins-{base,good,bad,ugly} libcamera-ipa iproute2 systemd systemd-sysv dbus libfaketime cloud-init
files() { in_root find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp -o -path /root -o -path /var/lib/dpkg -o -path /var/lib/apt \
    -o -path /var/lib/systemd -o -path /var/cache -o -path /var/log \) -prune -o -print | sort; }
files >"$folder/files-before"
begun=$SECONDS
in_root sh -c 'apt-get -qq install --no-install-recommends -y /tmp/*.deb' >>"$folder/install.log" 2>&1 || { tail -20 "$folder/install.log" >&2; die 'the packages cannot be installed'; }
say "installed in $((SECONDS - begun)) s"

say 'a line of configuration, and a device joins'
in_root swsync install-device --yes --rig stage --simulated --size 320x240 --no-start
# shellcheck disable=SC2016 # for the shell in there
alone '
    exec 2>&1
    # In place of the shell that `&` makes, which signals would end instead.
    runs() { exec setpriv --reuid=swsync --regid=swsync --init-groups env GST_REGISTRY=/var/cache/swsync/registry.bin "$@"; }
    install -d -o swsync -g swsync /var/lib/swsync /var/cache/swsync
    SWSYNC_DEVICE_ID=first runs swsync-device camera &
    SWSYNC_DEVICE_ID=second runs swsync-device camera &
    for try in $(seq 100); do
        if swsync status --json 2>/dev/null >/tmp/status && [ "$(grep -o "\"answered\":true" /tmp/status | wc -l)" = 2 ]; then
            echo "two devices after $SECONDS s"
            [ $SECONDS -le 10 ] || echo "LATE"
            for shot in 1 2 3 4 5 6; do swsync shoot --max-error none && break; sleep 2; done
            kill %1 %2
            wait %1 && wait %2
            exit
        fi
        sleep 0.1
    done
    echo "no rig"; swsync status; exit 1
' | tee "$folder/run.log"
! grep -q LATE "$folder/run.log" || die 'the devices took more than 10 s to join: is the machine busy with something else?'
[[ $(find "$root/var/lib/swsync/takes" -name '*.jpg' | wc -l) -ge 2 ]] || die 'the shot left no two pictures'

say 'the service, under a real systemd'
rm -rf "$root"/etc/swsync/* "$root"/var/lib/swsync
umount -R "$root/dev" "$root/proc"
"$(dirname "${BASH_SOURCE[0]}")/check-service.sh" "$root" "$folder"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"

say 'the example for cloud-init'
cp "$(dirname "${BASH_SOURCE[0]}")/../packaging/cloud-init/user-data" "$root/tmp"
in_root cloud-init schema --config-file /tmp/user-data >&2 || die 'packaging/cloud-init/user-data is wrong'

say 'an upgrade, then a purge'
in_root sh -c 'dpkg --install /tmp/*.deb' >/dev/null
[[ -s $root/etc/swsync/config.toml && -s $root/etc/swsync/device.d/camera.conf ]] || die 'the upgrade lost the configuration'
rm -rf "$root/var/lib/swsync/takes" # the user's, as are the next
rm -f "$root/etc/swsync/config.toml"
rm -rf "$root"/etc/systemd/system/swsync-device@*.d
in_root apt-get -qq purge --auto-remove -y swsync swsync-lab gstreamer1.0-swsync >/dev/null 2>&1
# The user stays, as Debian's system users do: the files of takes elsewhere are its. What is named below is systemd's.
left=$(files | comm -13 "$folder/files-before" - | grep -vx -e /etc/machine-id -e '/var/tmp/systemd-private-.*' -e '/\(etc\|var\)/.updated' -e '/etc/\(passwd\|group\|shadow\|gshadow\)-' || true)
[[ -z $left && -z $(in_root find /var/cache -iname '*swsync*') ]] || die "left behind: $left"
say "all is well, after $SECONDS s"
