#!/usr/bin/env bash
# What it takes to load the plugin, and what that does: check-load.sh PLUGIN FOLDER. Run by `./x check --deep load`, in its environment;
# needs strace and valgrind. Fails where loading takes 20 ms or more beyond libcamera's own, or asks the kernel for what it should not.
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)

plugin=$1 folder=$2
unset GST_PLUGIN_PATH
export GST_REGISTRY=$folder/registry.bin
run() { python3 "$top/tests/load.py" "$plugin" "$@"; }

# The least of ten: others keep the machine busy.
least() {
    for _ in 1 2 3 4 5 6 7 8 9 10; do run "$@"; done |
        python3 -c 'import json, sys; print(min(json.loads(line)["milliseconds"] for line in sys.stdin))'
}
run >/dev/null
alone=$(least)
own=$(least after-libcamera)
echo "load: $alone ms; $own ms where libcamera is loaded already" >&2

# Instructions, which do not depend on who else is there.
instructions() {
    valgrind --tool=none --log-file="$folder/none" true
    valgrind --tool=callgrind --callgrind-out-file=/dev/null --log-file="$folder/callgrind" \
        python3 "$top/tests/load.py" "$plugin" "$@" >/dev/null
    sed -n 's/.*Collected : \([0-9]*\).*/\1/p' "$folder/callgrind"
}
with=$(instructions after-libcamera)
without=$(instructions after-libcamera without)
echo "load: $(((with - without) / 1000)) thousand instructions beyond libcamera's" >&2

# Between the two marks of load.py.
strace --follow-forks --output="$folder/strace" python3 "$top/tests/load.py" "$plugin" after-libcamera >/dev/null
sed -n '/swsync-load-begins/,/swsync-load-ends/p' "$folder/strace" >"$folder/calls"
echo "load: $(wc -l <"$folder/calls") system calls: $(sed 's/^[0-9]* *//; s/(.*//' "$folder/calls" | sort | uniq -c | sort -rn |
    awk '{printf "%s%s %s", (NR > 1 ? ", " : ""), $1, $2}')" >&2
(($(wc -l <"$folder/calls") > 10)) || { echo 'load: strace saw nothing' >&2; exit 1; }
# GStreamer itself catches SIGSEGV while it loads a plugin, any plugin, and no longer.
if grep -v 'rt_sigaction(SIGSEGV, ' "$folder/calls" | grep -E ' (socket|connect|bind|clone3?|fork|vfork|execve|rt_sigaction|sigaltstack|signalfd4?|timer_create)\(|"/dev/(video|media|v4l|dma)'; then
    echo 'load: the plugin asks for what it should not before an element is used' >&2
    exit 1
fi
python3 -c "import sys; sys.exit($own >= 20)" || { echo "load: $own ms, and not below 20" >&2; exit 1; }
