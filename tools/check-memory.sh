#!/usr/bin/env bash
# Valgrind's memcheck over whole pipelines: check-memory.sh FOLDER. Run by `./x check --deep memory`, in its environment. Fails where
# memory is read or written that is not there or has no value, and where swsync's code has lost some.
set -euo pipefail

folder=$1
rm -rf "$folder"
mkdir -p "$folder"
export SWSYNC_CONFIG=/dev/null SWSYNC_MAX_ERROR=none G_SLICE=always-malloc
clock='swsyncclock role=leader rig=memory listen=tcp/127.0.0.1:0 bind-address=127.0.0.1 port=0'
camera='swsyncsrc backend=simulated num-buffers=40 wait-lock=false ! video/x-raw,width=160,height=120,framerate=10/1'

# check NAME PIPELINE...
check() {
    local name=$1 code=0
    shift
    # Optimized code of Orc's and of codecs reads whole words beyond ends that it knows to be there.
    ORC_CODE=backup valgrind --tool=memcheck --error-exitcode=9 --num-callers=25 --leak-check=full --show-leak-kinds=definite \
        --errors-for-leak-kinds=none --log-file="$folder/$name.log" gst-launch-1.0 "$@" >"$folder/$name.out" 2>&1 || code=$?
    echo "memory: $name: $(sed -n 's/.*ERROR SUMMARY: //p' "$folder/$name.log")" >&2
    if ((code)); then
        tail -n 20 "$folder/$name.out" "$folder/$name.log" >&2
        exit 1
    fi
    # Each lost block is a paragraph, whose frames name the library.
    if awk -v RS='==[0-9]+== \n' '/definitely lost/ && /libgstswsync/ { print; found = 1 } END { exit !found }' "$folder/$name.log" >&2; then
        echo "memory: $name: swsync has lost memory" >&2
        exit 1
    fi
}

# shellcheck disable=SC2086 # pipelines are lists of words
{
    check sink $clock $camera ! jpegenc ! swsyncsink ring-time=1000000000 location="$folder/shots"
    check gate $clock $camera ! swsyncgate ring-time=1000000000 ! fakesink sync=false async=false
}
