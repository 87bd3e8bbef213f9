#!/usr/bin/env bash
# Puts faults into the core, one at a time (cargo-mutants), and counts how many its unit tests notice:
#
#   mutants.sh FOLDER [GROUP...]    groups: clock, align, orders; all if none is named
#
# Fails where less than WANTED per cent of a group are noticed. FOLDER/GROUP/mutants.out has the lists (missed.txt) and each diff.
# SWSYNC_MUTANTS_SHARD=0/8 tries an eighth. Runs where cargo does: `./x check --deep mutants` does that.
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)

wanted=92
folder=${1:?the folder for the results}
shift
groups=("${@:-clock align orders}")
read -ra groups <<<"${groups[*]}"

# Each group: the files, and which unit tests are asked about them: those of the modules themselves, which is harder than all.
files() {
    case $1 in
        clock) echo time.rs servo.rs grid.rs frame_number.rs ;;
        align) echo align/plan.rs align/lock.rs ;;
        orders) echo 'order/queue/**/*.rs' ;;
        *) echo "mutants: there is no group $1" >&2; return 1 ;;
    esac
}
tests() {
    case $1 in
        clock) echo time:: servo:: grid:: frame_number:: ;;
        align) echo align:: ;;
        orders) echo order:: ;;
    esac
}

# run GROUP
run() {
    local group=$1 which=() file names code=0
    names=$(files "$group")
    set -f
    for file in $names; do which+=(--file "swsync-core/src/$file"); done
    set +f
    rm -rf "${folder:?}/$group"
    mkdir -p "$folder/$group"
    # The same random input for each fault, and less of it than `./x test` has.
    # shellcheck disable=SC2046 # a list of words
    PROPTEST_RNG_SEED=19 PROPTEST_CASES=32 CARGO_INCREMENTAL=1 cargo mutants --dir "$top" --package swsync-core "${which[@]}" \
        ${SWSYNC_MUTANTS_SHARD:+--shard "$SWSYNC_MUTANTS_SHARD"} --output "$folder/$group" --timeout 120 --build-timeout 600 \
        --no-times --colors never -- -- $(tests "$group") >"$folder/$group/log" 2>&1 || code=$?
    # 2: some were missed. 3: some ran for too long, which counts as noticed.
    ((code == 0 || code == 2 || code == 3)) || {
        tail -n 30 "$folder/$group/log" >&2
        return 1
    }
}

# lines NAME: how many faults the list names
lines() { wc -l <"$folder/$group/mutants.out/$1.txt"; }

failed=0
for group in "${groups[@]}"; do
    run "$group"
    missed=$(lines missed)
    noticed=$(($(lines caught) + $(lines timeout)))
    all=$((noticed + missed))
    echo "mutants: $group: $noticed of $all noticed ($((noticed * 1000 / (all ? all : 1))) per mille), $missed missed" >&2
    ((all > 0 && noticed * 100 >= wanted * all)) || {
        echo "mutants: less than $wanted % of $group: $folder/$group/mutants.out/missed.txt" >&2
        failed=1
    }
done
exit "$failed"
