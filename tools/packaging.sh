# shellcheck shell=bash
# What `./x package` does. `x` sources this, and has the functions and variables that are not here.
# shellcheck disable=SC2154

# Debian packages, in $place/packages-ARCHITECTURE.
command_package() {
    local own architecture folder
    own=$(dpkg --print-architecture)
    architecture=${1:-$own}
    [[ $architecture == @($own|arm64) ]] || die "packages are made for $own and arm64, not for $architecture"
    : "${SWSYNC_PROFILE:=release}"
    find_places
    prepare_cargo
    folder=$place/packages-$architecture
    [[ $architecture == "$own" ]] || look_for_room 9 'a root and a build for arm64'
    if [[ $architecture == "$own" ]]; then
        prepare_list packages-deb.txt
        inside cargo build --workspace --exclude swsync-tests --exclude swsync-fuzz-properties "${profile_option[@]}" "${locked[@]}"
        inside "$top/tools/package.sh" "$built" "$top" "$folder"
        check_packages "$folder"
    else
        package_for_arm64 "$folder"
    fi
    say "in $folder:"
    (cd "$folder" && ls -- *.deb)
}

# The sources with all crates that they take, in $place/dist; built without a network then, unless --no-check says otherwise.
command_dist() {
    prepare_cargo
    prepare_list packages-dist.txt
    inside "$top/tools/dist.sh" "$top" "$place/dist"
    local tarball
    tarball=$(compgen -G "$place/dist/*.tar.xz")
    [[ ${1:-} == --no-check ]] || inside --net "$top/tools/check-dist.sh" "$tarball" "$place/check-dist"
    say "$tarball: $(stat -c %s "$tarball") bytes"
}

# Version, changelog, tarball, packages and tag: docs/release.md. With --dry-run the first two, in a clone.
command_release() {
    local version=${1:-} dry_run=${2:-} folder
    [[ $dry_run == @(''|--dry-run) ]] || die "what is $dry_run? ./x release VERSION [--dry-run]"
    prepare_cargo
    if [[ -n $dry_run ]]; then
        folder=$place/release-dry-run
        rm -rf "$folder"
        git clone --quiet "$top" "$folder"
        inside "$top/tools/release.sh" "$folder" "$version"
        git -C "$folder" --no-pager show --stat HEAD
        say "nothing was changed here; the commit is in $folder"
        return
    fi
    inside "$top/tools/release.sh" "$top" "$version"
    folder=$place/release-$version
    (
        command_dist
        command_package
        command_package arm64
    ) || die "the release is not made: v$version is committed, but not tagged. Mend it, and amend the commit; or git reset --hard HEAD^"
    rm -rf "$folder"
    mkdir "$folder"
    cp "$place"/dist/*.tar.xz "$place"/packages-*/*.deb "$folder"
    (cd "$folder" && sha256sum -- * >SHA256SUMS)
    git -C "$top" tag --annotate --message "swsync $version" "v$version"
    say "$folder has what to publish. Then: git push --follow-tags"
}

# What `./x check --deep` runs of this. Each of them says where it cannot be had.
check_packages_deep() {
    command_package
    command_package arm64
    command_dist
}

# Tries the packages in a Debian that has nothing else. Where this builds right on the system, there is none to try them in.
check_packages() {
    local clean=$cache/trixie-clean
    if [[ $system != trixie ]] || $entered; then
        say 'not tried in a clean Debian: SWSYNC_SYSTEM=trixie ./x package does'
        return
    fi
    : >"$log"
    [[ -d $clean ]] || {
        phase "$log" 'a clean Debian 13 (debootstrap)' as_root debootstrap --variant=minbase trixie "$clean.partial" &&
            as_root mv "$clean.partial" "$clean"
    } || die 'is the network there?'
    as_root unshare --mount --propagation slave "$top/tools/check-packages.sh" "$1" "$clean" "$certificates"
}

# Built by a cross compiler with the libraries of an arm64 root, in which the packages are made then.
package_for_arm64() {
    local folder=$1 there=$cache/trixie-arm64 target_name=aarch64-unknown-linux-gnu cross
    [[ $system == trixie ]] || die 'packages for another architecture are made beside the Debian 13 root: SWSYNC_SYSTEM=trixie ./x package arm64'
    prepare_list packages-cross.txt
    prepare_arm64 "$there"
    inside rustup target add "$target_name"
    cross=(
        "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=$top/tools/arm64-linker.sh" "SWSYNC_SYSROOT=$there"
        CC_aarch64_unknown_linux_gnu=aarch64-linux-gnu-gcc CXX_aarch64_unknown_linux_gnu=aarch64-linux-gnu-g++
        "CFLAGS_aarch64_unknown_linux_gnu=--sysroot=$there" "CXXFLAGS_aarch64_unknown_linux_gnu=--sysroot=$there"
        "BINDGEN_EXTRA_CLANG_ARGS_aarch64_unknown_linux_gnu=--sysroot=$there"
        PKG_CONFIG_ALLOW_CROSS=1 "PKG_CONFIG_SYSROOT_DIR=$there"
        "PKG_CONFIG_LIBDIR=$there/usr/lib/aarch64-linux-gnu/pkgconfig:$there/usr/share/pkgconfig"
    )
    inside "${cross[@]}" cargo build --target "$target_name" --workspace --exclude swsync-tests --exclude swsync-fuzz-properties \
        "${profile_option[@]}" "${locked[@]}"
    # Of the core's unit tests the program, to be run there.
    local tests
    tests=$(inside "${cross[@]}" cargo test --target "$target_name" --package swsync-core --lib --no-run --message-format=json "${locked[@]}" |
        sed -n 's/.*"executable":"\([^"]*\)".*/\1/p')
    # In there everything runs under qemu-user.
    local root=$there
    inside "$top/tools/package.sh" "$target/$target_name/${built##*/}" "$top" "$folder"
    inside --net "$top/tools/check-arm64.sh" "$folder" "$tests"
}

# Makes the arm64 root. The kernel has to know how to run its programs.
prepare_arm64() {
    local there=$1 handler=/proc/sys/fs/binfmt_misc/qemu-aarch64 list=$top/tools/packages-arm64.txt stamp
    stamp=.packages-$(short_sum "$(<"$list")")
    if [[ ! -e $handler ]]; then
        as_root apt-get install -y --no-install-recommends qemu-user-static binfmt-support >&2
        [[ -e $handler ]] || die "the kernel does not run arm64 programs: $handler is not there (mount -t binfmt_misc binfmt_misc" \
            '/proc/sys/fs/binfmt_misc, then update-binfmts --enable qemu-aarch64)'
    fi
    [[ ! -e $there/$stamp ]] || return 0
    say "making $there: about 2 GB and half an hour, once; ./x clean --all removes it"
    touch "$log" "$there.lock"
    as_root env SWSYNC_ARCHITECTURE=arm64 unshare --mount --propagation slave \
        "$top/tools/make-root.sh" "$there" "$stamp" "$log" "$certificates" "$list" "${binds[@]}"
}

# Installs what a further list in tools names, where this builds.
prepare_list() {
    local list=$top/tools/$1 stamp packages
    stamp=.${1%.txt}-$(short_sum "$(<"$list")")
    $entered || if [[ $system == native ]]; then
        [[ -e $cache/$stamp ]] || {
            : >"$log"
            mapfile -t packages < <(read_list "$list")
            phase "$log" "installing what $1 names with apt" as_root_apt_install "${packages[@]}" || die 'is the network there?'
            touch "$cache/$stamp"
        }
    else
        [[ -e $root/$stamp ]] || as_root unshare --mount --propagation slave \
            "$top/tools/make-root.sh" "$root" "$stamp" "$log" "$certificates" "$list" "${binds[@]}"
    fi
}
