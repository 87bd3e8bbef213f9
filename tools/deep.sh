# shellcheck shell=bash
# What `./x check --deep` does: the checks that take too long for each commit. `x` sources this, and has the functions and variables that
# are not here. docs/robustness.md has their figures.
# shellcheck disable=SC2154

# Each check: its name, a colon, and the function. Add to it what takes more than a minute.
deep_checks=(
    load:deep_load
    stress:deep_stress
    rtsp:deep_rtsp
    asan:deep_asan
    packages:check_packages_deep
    vm:deep_vm
    dashboard:deep_dashboard
    mutants:deep_mutants
)

# check [--deep [NAME...]]
command_check() {
    local entry known=() name
    for entry in "${deep_checks[@]}"; do known+=("${entry%%:*}"); done
    if [[ ${1:-} != --deep ]]; then
        (($# == 0)) || die 'check takes --deep and the names of checks'
        say "./x test has the quick checks, ./x lint those of the source. ./x check --deep [NAME...] runs the long ones: ${known[*]}"
        return
    fi
    shift
    for name; do
        [[ " ${known[*]} " == *" $name "* ]] || die "there is no check $name; there are ${known[*]}"
    done
    prepare_cargo
    prepare_list packages-deep.txt
    build
    run_deep_checks "$@"
}

# Runs them all, or those that are named, one after another, and goes on after a failure.
run_deep_checks() {
    local entry name begun code report=() failed=()
    for entry in "${deep_checks[@]}"; do
        name=${entry%%:*}
        (($# == 0)) || [[ " $* " == *" $name "* ]] || continue
        printf '\n==> %s (at %s)\n' "$name" "$(elapsed)" >&2
        begun=$SECONDS
        # In a shell of its own, so that `die` ends the check alone; not in a condition, where `set -e` would be off.
        set +e
        (set -e; "${entry#*:}")
        code=$?
        set -e
        if ((code == 0)); then
            report+=("$name: passed, $((SECONDS - begun)) s")
        else
            report+=("$name: FAILED (exit code $code), $((SECONDS - begun)) s")
            failed+=("$name")
        fi
    done
    printf '\n' >&2
    printf 'x: %s\n' "${report[@]}" >&2
    ((${#failed[@]} == 0)) || die "failed: ${failed[*]}"
}

# The environment in which nothing that GLib or GStreamer complains of passes, and nothing may be left at the end.
strict=(G_DEBUG=fatal-warnings GST_TRACERS=leaks GST_DEBUG=GST_TRACER:7 SWSYNC_CONFIG=/dev/null SWSYNC_MAX_ERROR=none)

# The plugin as it is installed: how long it takes to load, how many instructions, what it asks the kernel for.
deep_load() {
    local folder=$place/load plugin=$target/release/libgstswsync.so
    mkdir -p "$folder"
    inside cargo build --profile release --package gst-plugin-swsync "${locked[@]}"
    inside --net "$top/tools/check-load.sh" "$plugin" "$folder"
}

deep_stress() {
    inside --net "${strict[@]}" python3 "$top/tests/stress.py" --changes 500 --rounds 100 --rigs 6 2>"$place/stress.log" ||
        { tail -n 40 "$place/stress.log" >&2; return 1; }
}

deep_rtsp() {
    inside --net "${strict[@]}" python3 "$top/tests/rtsp.py" --clients 20 2>"$place/rtsp.log" ||
        { tail -n 40 "$place/rtsp.log" >&2; return 1; }
}

# AddressSanitizer over our memory that others share: libcamera's buffers, GStreamer's metadata, what the kernel is handed. It takes a
# nightly Rust. Leaks are deep_stress's: GLib never frees its types. Not over what other programs load, since the sanitizer is part of the
# program.
deep_asan() {
    local name targets=()
    has_nightly || die 'AddressSanitizer takes a nightly Rust: rustup toolchain install nightly --profile minimal'
    for name in libcamera_backend managers metadata restarts swsyncgate swsyncsink swsyncsrc swsyncsrc_streams; do
        targets+=(--test "$name")
    done
    sanitized --package gst-plugin-swsync "${targets[@]}" && sanitized --package swsync-time --package swsync-files --lib
}

# sanitized ARGUMENTS: tests of cargo's, with AddressSanitizer
sanitized() {
    inside --net RUSTFLAGS=-Zsanitizer=address "CARGO_TARGET_DIR=$target/asan" \
        ASAN_OPTIONS=detect_leaks=0:abort_on_error=1 cargo +nightly test --target "$(uname -m)-unknown-linux-gnu" "${locked[@]}" "$@"
}

# What needs a real kernel: docs/real-kernel.md.
deep_vm() { command_vm test; }

# The page in a real browser, and its API under made-up requests. Its screenshots are in $place/dashboard.
deep_dashboard() {
    local python stubs
    python=$place/python-dashboard-$(short_sum "$(<"$top/tools/python-dashboard.txt")")
    if [[ ! -e $python/.whole ]]; then
        inside python3 -m venv --clear "$python"
        inside "$python/bin/pip" install --quiet --disable-pip-version-check --requirement "$top/tools/python-dashboard.txt"
        touch "$python/.whole"
    fi
    inside cargo test --workspace --test dashboard --no-run "${profile_option[@]}" "${locked[@]}"
    # Earlier builds of the test lie beside it.
    stubs=$(find "$built/deps" -name 'dashboard-*' -executable -type f -printf '%T@ %p\n' | sort -rn | sed -n '1s/^[^ ]* //p')
    inside --net "$python/bin/python" "$top/tests/dashboard_deep.py" --stubs "$stubs" --pictures "$place/dashboard"
}

# All faults of the three groups, which takes hours.
deep_mutants() { inside "CARGO_TARGET_DIR=$target/mutants" "$top/tools/mutants.sh" "$place/mutants"; }
