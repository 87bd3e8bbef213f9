# shellcheck shell=bash
# What `./x lint` and `./x test` do. `x` sources this, and has the functions and variables that are not here.
# shellcheck disable=SC2034,SC2154

command_lint() {
    prepare_cargo
    if [[ ${1:-} == tools ]]; then
        get_dependency_tools
        return
    fi
    (($# == 0)) || die 'lint takes no argument but tools'
    steps=7
    lint_steps
    ((${#exceptions[@]} == 0)) || say "${exceptions[@]}"
}

command_test() {
    prepare_cargo
    # Property tests try the same cases each time, so that what is landed does not depend on luck. Others: PROPTEST_RNG_SEED=1 ./x test
    export PROPTEST_RNG_SEED=${PROPTEST_RNG_SEED:-19}
    if (($#)); then
        steps=2
        step build build_tests
        step tests inside --net cargo test "${profile_option[@]}" "$@"
        return
    fi
    steps=14
    lint_steps
    step build build_tests
    step tests test_twice --workspace -- "${profile_option[@]}"
    step 'tests of the plugin with no camera built in' test_without_cameras
    step 'meson build and install' inside --net "$top/tools/check-install.sh" "$place/meson" "$profile"
    step 'ten seconds of fuzzing' fuzz_briefly
    step 'this script' inside "$top/tools/check-x.sh" "$place/check-x"
    step "the oldest Rust promised, $oldest_rust" check_oldest_rust
    say "all is well, after $(elapsed)"
    ((${#exceptions[@]} == 0)) || printf 'x: not among it: %s\n' "${exceptions[@]}" >&2
}

# test_twice WHICH... -- ARGUMENTS...: cargo test. A test of real processes can fail because something else kept the machine busy:
# what failed is tried once more, alone, and is named at the end of the run if it passes then. It is not well, but not known to be
# broken either.
test_twice() {
    local which=() output=$place/tests.log failed code=0 test
    while [[ $1 != -- ]]; do
        which+=("$1")
        shift
    done
    shift
    inside --net cargo test "${which[@]}" --no-fail-fast "$@" 2>&1 | tee "$output" || code=${PIPESTATUS[0]}
    ((code != 0)) || return 0
    failed=$(inside "$top/tools/failed-tests.py" "$output") || return "$code"
    (($(wc -l <<<"$failed") <= 3)) || return "$code"
    while read -r -a test <&3; do
        say "once more, alone: ${test[*]}"
        inside --net cargo test "$@" "${test[@]}" --test-threads=1 || return
        exceptions+=("unsteady: failed among the other tests, and passed alone: ${test[*]}")
    done 3<<<"$failed"
}

lint_steps() {
    local deny=() deny_docs=()
    if $lints_count; then
        deny=(-D warnings)
        deny_docs=(RUSTDOCFLAGS=-Dwarnings)
    fi
    get_component fmt rustfmt
    get_component clippy clippy
    step format lint cargo fmt --all --check
    step "the documentation's links" inside "$top/tools/check-docs.py"
    step "the crates' arrows" inside "$top/tools/check-crates.py"
    step dependencies check_dependencies
    step clippy lint cargo clippy --workspace --all-targets "${locked[@]}" -- "${deny[@]}"
    step "clippy, the plugin's features" lint_features "${deny[@]}"
    step documentation lint "${deny_docs[@]}" cargo doc --workspace --no-deps "${locked[@]}"
    $lints_count || exceptions+=("lints: they count with Rust $lint_rust, and this is $rust")
}

# The plugin with all subsets of its features but the whole set, which the workspace has.
lint_features() {
    local features
    for features in '' libcamera simulation; do
        lint cargo clippy --package gst-plugin-swsync --all-targets --no-default-features --features "$features" \
            "${locked[@]}" -- "$@" || return
    done
}

# With the features that the whole workspace gives to dependencies, so that none is built again: the tests of each element by itself.
# Those of codecs, disks and networks have no camera in either case. cargo leaves the plugin where the whole one was, which has to be
# there again afterwards.
test_without_cameras() {
    local name targets=() code=0
    for name in metadata swsyncclock swsyncgate swsyncsink; do
        targets+=(--test "$name")
    done
    test_twice --workspace "${targets[@]}" -- --no-default-features "${profile_option[@]}" "${locked[@]}" || code=$?
    inside cargo build --workspace "${profile_option[@]}" "${locked[@]}" || return
    return "$code"
}

# The tests have the same properties and seeds; this looks for what nobody thought of, where it costs little: what is built
# stays, and building it for the first time is given up after a while.
fuzz_briefly() {
    local code=0
    if ! has_nightly; then
        exceptions+=('fuzzing: there is no nightly Rust (rustup toolchain install nightly --profile minimal)')
        return
    fi
    inside SWSYNC_FUZZ_PROFILE=quick "SWSYNC_FUZZ_CORPUS=$place/fuzz-corpus" \
        timeout --kill-after=5 60 "$top/tools/fuzz.sh" 10 all || code=$?
    if ((code == 124)); then
        exceptions+=('fuzzing: its build took too long; ./x fuzz takes the time that it needs')
        return
    fi
    return "$code"
}

build_tests() {
    build && inside cargo test --workspace --no-run "${profile_option[@]}" "${locked[@]}" &&
        inside "$top/tools/python.sh" "$python"
}
