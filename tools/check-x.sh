#!/usr/bin/env bash
# Whether `./x` does with other versions of Rust and on other machines what it says: check-x.sh FOLDER. Run by `./x test`, in its
# environment, on a scratch checkout with one small crate.
set -euo pipefail

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
# shellcheck source=tools/lib.sh
source "$top/tools/lib.sh"

folder=$1
rm -rf "$folder"
mkdir -p "$folder"/{old,checkout/crate/src}
cp -r "$top"/{x,tools} "$folder/checkout"
# Those are about the real crates and pages.
printf "#!/bin/sh\n" | tee "$folder/checkout/tools/check-crates.py" >"$folder/checkout/tools/check-docs.py"
cd "$folder/checkout"
rust=$(rustc --version)
rust=${rust#rustc }
rust=${rust%% *}
# What is here is what the crate is built with, without a look at apt; of the real checkout nothing is touched.
export SWSYNC_SYSTEM=native XDG_CACHE_HOME=$folder/cache
unset SWSYNC_PROFILE RUSTFLAGS RUSTDOCFLAGS CARGO_BUILD_RUSTFLAGS CI

# manifest LINT-RUST OLDEST-RUST
manifest() {
    cat >Cargo.toml <<END
[workspace]
resolver = "3"
members = ["crate"]
[workspace.package]
rust-version = "$2"
[workspace.metadata.swsync]
lint-rust = "$1"
END
    printf '[package]\nname = "gst-plugin-swsync"\nedition = "2024"\n[features]\nlibcamera = []\nsimulation = []\n' >crate/Cargo.toml
}

# expect CODE TEXT... -- COMMAND...: COMMAND exits with 0 where CODE is 0, else not, and says all the texts.
expect() {
    local code=$1 texts=() text said got=0
    shift
    while [[ $1 != -- ]]; do
        texts+=("$1")
        shift
    done
    shift
    said=$("$@" 2>&1 </dev/null) || got=$?
    (((got == 0) == (code == 0))) || die "$* exited with $got:"$'\n'"$said"
    for text in "${texts[@]}"; do
        [[ $said == *"$text"* ]] || die "$* does not say '$text':"$'\n'"$said"
    done
}

# One fault for each tool that has an opinion, and what it says to that. The last is forbidden by rustc itself.
faults=(
    'pub fn one()->i32 { 1 }' 'Diff in'
    $'pub fn one() -> i32 {\n    return 1;\n}' needless_return
    $'//! See [`Nothing`].' 'unresolved link'
    'pub const LONG: u8 = 256;' 'literal out of range'
)

say "  the Rust whose lints count: each fault fails ./x lint"
manifest "$rust" 1.85
printf '//! Nothing is wrong here.\n' >crate/src/lib.rs
expect 0 -- ./x lint
for ((i = 0; i < ${#faults[@]}; i += 2)); do
    printf '%s\n' "${faults[i]}" >crate/src/lib.rs
    expect 1 "${faults[i + 1]}" -- ./x lint
done

say '  which tests are tried once more: those that failed, unless a binary ended early'
printf '#[test]\nfn one() {}\n#[test]\nfn two() {\n    panic!("failures:\\n    one");\n}\n' >crate/src/lib.rs
! cargo test --no-fail-fast >"$folder/log" 2>&1 || die 'a test that panics passes'
expect 0 'lib -- --exact two' -- "$top/tools/failed-tests.py" "$folder/log"
printf '#[test]\nfn one() {\n    std::process::abort();\n}\n' >crate/src/lib.rs
! cargo test --no-fail-fast >"$folder/log" 2>&1 || die 'a test that ends its process passes'
expect 1 -- "$top/tools/failed-tests.py" "$folder/log"

say '  any other Rust: all are shown, and nothing fails'
manifest 1.0.0 1.85
printf '%s\n' "${faults[4]}" "${faults[0]}" "${faults[2]/one/two}" "${faults[6]}" >crate/src/lib.rs
expect 0 "${faults[1]}" "${faults[3]}" "${faults[5]}" "${faults[7]}" "this is $rust" -- ./x lint
expect 0 -- ./x shell -c 'cargo build'

say '  a Rust that is too old: what to type, at once'
for tool in cargo rustc; do
    printf '#!/bin/sh\necho "%s 1.85.0 (of a distribution)"\n' "$tool" >"$folder/old/$tool"
done
printf '#!/bin/sh\nexit 1\n' >"$folder/old/rustup"
chmod +x "$folder"/old/*
mkdir "$folder/home"
ln -s ../old "$folder/home/bin"
manifest "$rust" 1.92
# at_once COMMAND...: it takes less than a second of a processor. Others may keep this machine busy, so the clock on the wall would count theirs.
at_once() {
    local TIMEFORMAT='%U %S' used
    used=$({ time "$@" >/dev/null 2>&1 </dev/null || true; } 2>&1)
    awk '{ exit !($1 + $2 < 1) }' <<<"$used" || die "$* takes $used s (user, system)"
}
old_x=(env CARGO_HOME="$folder/home" ./x lint)
expect 1 'Rust 1.85.0 is too old' 'https://rustup.rs' -- "${old_x[@]}"
at_once "${old_x[@]}"
old_meson=(env PATH="$folder/old:$PATH" meson setup "$folder/meson" "$top")
expect 1 'there is 1.85.0' 'apt-get install rustup' -- "${old_meson[@]}"
at_once "${old_meson[@]}"
printf '#!/bin/sh\necho "1.85.0-somewhere (default)"\n' >"$folder/old/rustup"
expect 1 'told to use 1.85.0-somewhere' 'RUSTUP_TOOLCHAIN=stable' -- env CARGO_HOME="$folder/home" ./x lint

say '  ./x vm: what it says where it cannot run, and what its machine gives back'
mkdir "$folder/arm"
printf '#!/bin/sh\necho aarch64\n' >"$folder/arm/uname"
chmod +x "$folder/arm/uname"
expect 1 'an amd64 PC' 'which is aarch64' 'on an amd64 machine' -- env PATH="$folder/arm:$PATH" ./x vm true
"$top/tools/vm/check_machine.py"
cd "$top"
rm -rf "$folder"

say '  ./x release: its commit, and what it refuses'
"$top/tools/check-release.sh" "$folder"
