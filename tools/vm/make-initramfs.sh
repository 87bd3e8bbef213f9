#!/usr/bin/env bash
# Makes what the kernel starts from: make-initramfs.sh FOLDER, where get-kernel.sh has unpacked it. busybox, the modules that it
# takes to see the host's files, and the script `init`.
set -euo pipefail

folder=$1
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
tree=$folder/tree
rm -rf "$tree"
mkdir -p "$tree"/{bin,dev,proc,sys,modules,lower,upper,new}
cp "$(command -v busybox)" "$tree/bin/busybox"
cp "$here/init" "$tree/init"
version=$(ls "$folder/usr/lib/modules")
for module in 9pnet_virtio 9p overlay; do
    modprobe -d "$folder" -S "$version" --show-depends "$module" | awk '$1 == "insmod" { print $2 }'
done | while read -r file; do
    name=$(basename "$file" .xz)
    [[ ! -e $tree/modules/$name ]] || continue
    xz -dc "$file" >"$tree/modules/$name"
    echo "$name" >>"$tree/modules/order"
done
(cd "$tree" && find . | cpio --quiet -o -H newc -R 0:0 | gzip -1) >"$folder/initramfs.gz"
rm -rf "$tree"
