# shellcheck shell=bash
# What `./x vm` does. `x` sources this, and has the functions and variables that are not here.
# shellcheck disable=SC2154

# ./x vm [OPTIONS] COMMAND ARGS... | test [--at-once N] [NAME...]
command_vm() {
    [[ ${1:-} != @(''|-h|--help) ]] || { vm_usage; return; }
    [[ $(uname -m) == x86_64 ]] || die "the virtual machine is an amd64 PC with the programs of this machine, which is $(uname -m):" \
        'run ./x vm on an amd64 machine'
    build
    prepare_list packages-vm.txt
    prepare_kernel
    if [[ $1 == test ]]; then
        shift
        inside --net "${vm_environment[@]}" python3 "$top/tools/vm/tests.py" "$@"
    else
        inside "${vm_environment[@]}" python3 "$top/tools/vm/machine.py" "$@"
    fi
}

vm_usage() {
    cat <<'END_OF_USAGE'
./x vm [OPTIONS] COMMAND [ARGS...]   runs COMMAND on Debian 13's kernel, in a virtual machine
./x vm test [NAME...]                the tests that need such a kernel, two at a time (--at-once N): links, clocks, wifi, power,
                                     power-vfat, power-exfat, camera, overload, suspend, suspend-one

COMMAND finds what it finds in `./x shell`, as root. Everything can be written to, but nothing that is written outlasts the machine
except in the folder $SWSYNC_VM_OUT. Output and exit code are those of COMMAND. There is no network but what COMMAND makes.

  --out FOLDER      what $SWSYNC_VM_OUT is outside (default: a folder of this checkout's build, emptied first)
  --timeout SECONDS end the machine after so long (default 600)
  --memory MB       (default 3072)
  --disk FILE       a file as /dev/vda, the next as /dev/vdb (repeatable); it is written to
  --wire HERE THERE sockets (files) of a wire to another machine that names them the other way round; it is eth0 inside
  --real-time       the machine's clock goes with this machine's, and two processors; without it, its time stands still while
                    this machine is slow, so that microseconds can be measured on a busy one
END_OF_USAGE
}

# Debian's kernel, unpacked and not installed, and the first file system that it sees.
prepare_kernel() {
    local sum
    sum=$(short_sum "$(cat "$top"/tools/vm/{get-kernel.sh,make-initramfs.sh,init})")
    local kernel=$cache/vm/kernel-$sum
    vm_environment=("SWSYNC_VM_KERNEL=$kernel" "SWSYNC_VM_FOLDER=$place/vm" "SWSYNC_VM_BUILT=$built")
    mkdir -p "$place/vm" "$cache/vm"
    [[ ! -e $kernel/whole ]] || return 0
    : >"$log"
    phase "$log" "Debian 13's kernel, unpacked into $kernel (300 MB)" inside "$top/tools/vm/get-kernel.sh" "$kernel" &&
        phase "$log" 'what the kernel starts from' inside "$top/tools/vm/make-initramfs.sh" "$kernel" ||
        die 'is the network there?'
    touch "$kernel/whole"
}
