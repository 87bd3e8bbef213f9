# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154 # shared with x
# Which Rust `x` builds with, where it gets it from, and what that Rust's opinions count for. Sourced by `x`, never run.

# The folder of cargo, if there is one, and the host's certificates, which it is to trust.
find_cargo() {
    local cargo
    certificates=${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}
    cargo_bin=${CARGO_HOME:-$HOME/.cargo}/bin
    [[ ! -x $cargo_bin/cargo ]] || return 0
    cargo_bin=''
    cargo=$(command -v cargo) || return 0
    # The root has a /usr/bin of its own.
    [[ $cargo == /usr/bin/* || $cargo == /bin/* ]] || cargo_bin=${cargo%/*}
}

# require_rust RUNNER: finds out which Rust RUNNER has; fails if none, and ends all if it is too old. Before a set-up
# of minutes the runner is `on_host`: whoever has to do something about it hears so at once.
require_rust() {
    find_rust "$1" || return
    is_older "$rust" "$oldest_rust" || return 0
    renew_rust "$1"
    if ! find_rust "$1" || is_older "$rust" "$oldest_rust"; then
        die_of_old_rust 'Get a newer one with rustup, see https://rustup.rs.'
    fi
}

rust='' lints_count=false cargo_environment=()
find_rust() {
    oldest_rust=$(of_cargo_toml rust-version)
    lint_rust=$(of_cargo_toml lint-rust)
    rust=$({ "$1" rustc --version 2>/dev/null || true; } | sed -n 's/^rustc \([^ ]*\).*/\1/p')
    [[ -n $rust ]] && "$1" cargo --version >/dev/null 2>&1 || return
    lints_count=false cargo_environment=()
    if [[ $rust == "$lint_rust" ]]; then
        lints_count=true
    else
        # What a newer compiler forbids is no fault of the sources either. This is the weakest way to say so:
        # whoever sets RUSTFLAGS, or those of a target, means it.
        cargo_environment=(CARGO_BUILD_RUSTFLAGS=--cap-lints=warn)
    fi
}

of_cargo_toml() { sed -n "s/^$1 *= *\"\([0-9.]*\)\".*/\1/p" "$top/Cargo.toml"; }

is_older() { [[ $1 != "$2" && $(printf '%s\n' "$1" "$2" | sort -V | head -n 1) == "$1" ]]; }

on_host() { PATH=${cargo_bin:+$cargo_bin:}$PATH "$@"; }

# A stable Rust is renewed, as that is what the channel is for; what else is too old somebody chose.
renew_rust() {
    local toolchain path
    if toolchain=$("$1" rustup show active-toolchain 2>/dev/null); then
        toolchain=${toolchain%%[ $'\n']*}
        [[ $toolchain == stable* ]] || die_of_old_rust "rustup was told to use $toolchain here. Type:" \
            '    rustup toolchain install stable' \
            '    export RUSTUP_TOOLCHAIN=stable'
        say "Rust $rust is too old, swsync needs $oldest_rust: rustup update stable"
        "$1" rustup update stable >&2 || die 'rustup could not renew Rust: is the network there, and the disk not full?'
        return
    fi
    path=$(on_host command -v cargo) || return 0
    if [[ $path == /usr/bin/* || $path == /bin/* ]] && command -v apt-get >/dev/null; then
        die_of_old_rust "It is this system's own, $path. Type (apt takes that one away, as the two exclude each other):" \
            "    $( ((EUID == 0)) || printf 'sudo ')apt-get install rustup" \
            '    rustup default stable'
    fi
    die_of_old_rust "It is $path. Get a newer one with rustup, see https://rustup.rs; what rustup puts into ~/.cargo is" \
        'preferred here.'
}

die_of_old_rust() {
    say "Rust $rust is too old, swsync needs $oldest_rust or later."
    printf 'x: %s\n' "$@" 'Then run the same command again.' >&2
    exit 1
}

get_rust() {
    local how="Get it with rustup, see https://rustup.rs, then run the same command again."
    say "there is no Rust here (or no default toolchain): getting it with rustup, into ${RUSTUP_HOME:-$HOME/.rustup}"
    : >"$log"
    if ! inside rustup --version >/dev/null 2>&1; then
        phase "$log" 'installing rustup with apt' install_rustup || die "apt has no rustup. $how"
    fi
    inside rustup default stable >&2 || die "rustup could not get Rust. $how"
}

install_rustup() {
    if [[ $system == native ]]; then
        as_root_apt_install rustup
    else
        as_root unshare --mount --propagation slave "$top/tools/enter.sh" --root "$root" -- \
            bash -c "$(declare -f apt_install); apt_install rustup"
    fi
}

# Other versions of Rust have other lints, and rustfmts that break lines elsewhere, which is no fault of the sources.
lint() {
    local code=0
    inside "$@" || code=$?
    if ((code)) && ! $lints_count; then
        say "that fails nothing: this is Rust $rust, and what counts is Rust $lint_rust"
        code=0
    fi
    return "$code"
}

# get_component SUBCOMMAND COMPONENT: what cargo has the subcommand from. The step that needs it says where that failed.
get_component() {
    inside cargo "$1" --version >/dev/null 2>&1 || inside rustup component add "$2" >&2 || true
}

# In a target folder of its own, which costs another build of all dependencies: so it is done where somebody
# installed that Rust, and else said.
check_oldest_rust() {
    local toolchain
    if is_older "$rust" "$oldest_rust.999"; then
        say "this is Rust $rust, so that was all of the above"
        return
    fi
    toolchain=$(inside rustup toolchain list 2>/dev/null | sed -n "/^${oldest_rust//./[.]}[.-]/{s/ .*//;p;q}") || true
    if [[ -z $toolchain ]]; then
        say "not built with it, as rustup has none: rustup toolchain install $oldest_rust --profile minimal"
        exceptions+=("a build with Rust $oldest_rust, which is not here")
        return
    fi
    inside RUSTUP_TOOLCHAIN="$toolchain" CARGO_TARGET_DIR="$place/oldest" \
        cargo check --workspace --all-targets "${locked[@]}"
}
