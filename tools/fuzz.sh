#!/usr/bin/env bash
# fuzz.sh SECONDS [TARGET...]: builds fuzz targets (all if none is named) with a nightly Rust, and runs each for SECONDS from the
# committed seeds. What was found is in CORPUS/TARGET, and inputs that violate a property in CORPUS/TARGET-artifacts;
# CORPUS is $SWSYNC_FUZZ_CORPUS, or fuzz/corpus. Runs where cargo does: `./x fuzz` does all of that.
#
# The same as `cargo fuzz run --sanitizer none`, but without cargo-fuzz. The crates forbid unsafe code, so the address sanitizer
# would find nothing, and it takes most of the speed.
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)

seconds=${1:?seconds for each target}
shift
read -ra known < <(sed -n 's/^name = "\(.*\)"/\1/p' "$top/fuzz/Cargo.toml" | sed '/^swsync-fuzz$/d; /^all$/d' | xargs)
targets=("${@:-${known[@]}}")
corpus=${SWSYNC_FUZZ_CORPUS:-$top/fuzz/corpus}
host=$(cargo +nightly -vV | sed -n 's/^host: //p')
built=${CARGO_TARGET_DIR:-$top/fuzz/target}/fuzz
# `quick` builds in a third of the time of `release`.
profile=${SWSYNC_FUZZ_PROFILE:-release}

flags=(--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table
    -Cllvm-args=-sanitizer-coverage-trace-compares)
RUSTFLAGS=${flags[*]} CARGO_TARGET_DIR=$built cargo +nightly build --quiet --profile "$profile" \
    --manifest-path "$top/fuzz/Cargo.toml" --target "$host" "${targets[@]/#/--bin=}"

for target in "${targets[@]}"; do
    mkdir -p "$corpus/$target" "$corpus/$target-artifacts"
    seeds=("$top/fuzz/seeds/$target")
    if [[ $target == all ]]; then
        # Its first byte is the index of the property, in the order of the list in fuzz/properties/src/lib.rs.
        index=0
        while read -r name; do
            for seed in "$top/fuzz/seeds/$name"/*; do
                { printf '%b' "\\x$(printf %02x $index)" && cat "$seed"; } >"$corpus/$target/seed-$name-${seed##*/}"
            done
            index=$((index + 1))
        done < <(sed -n 's/^    ("\([a-z]*\)", .*/\1/p' "$top/fuzz/properties/src/lib.rs")
        seeds=()
    fi
    echo "fuzz: $target for $seconds s" >&2
    log=$corpus/$target.log
    code=0
    "$built/$host/$profile/$target" "$corpus/$target" "${seeds[@]}" -max_total_time="$seconds" -max_len=8192 -rss_limit_mb=1024 \
        -timeout=20 -dict="$top/fuzz/json.dict" -artifact_prefix="$corpus/$target-artifacts/" -print_final_stats=1 \
        >"$log" 2>&1 || code=$?
    grep -E '^(stat::number_of_executed|Done|SUMMARY|==[0-9]+== ERROR)|panicked at|Test unit' "$log" >&2 || true
    if ((code)); then
        echo "fuzz: $target violates a property: $log, $corpus/$target-artifacts" >&2
        exit 1
    fi
done
