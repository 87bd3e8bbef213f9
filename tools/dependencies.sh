# shellcheck shell=bash
# shellcheck disable=SC2154 # shared with x
# What dependencies may be (deny.toml), and the holes that are known in them. Sourced by `x`, never run.

# The versions that these checks were written for. They are in no distribution that swsync is built on.
dependency_tools=(cargo-deny@0.20.2 cargo-audit@0.22.2)

# Builds the tools, each once for all checkouts.
get_dependency_tools() {
    local tool
    for tool in "${dependency_tools[@]}"; do
        if is_tool_there "$tool"; then
            continue
        fi
        say "building $tool, which takes minutes"
        # In a folder of its own, not beside what swsync is built into.
        inside "CARGO_TARGET_DIR=$cache/tools/target" cargo install --locked --root "$cache/tools" "$tool" >&2 || return
    done
    rm -rf --one-file-system "$cache/tools/target"
}

is_tool_there() {
    local program=$cache/tools/bin/${1%@*}
    # As a subcommand of cargo each expects its own name as the first argument.
    [[ -x $program && $(inside "$program" "${1#cargo-}" --version 2>/dev/null || inside "$program" --version) == *" ${1#*@}"* ]]
}

# The checks that can be done here; the others are named at the end.
check_dependencies() {
    local output=$place/dependencies.log code=0
    mkdir -p "$place"
    if [[ ! -x $cache/tools/bin/cargo-deny ]]; then
        exceptions+=('licences, bans and sources of dependencies: there is no cargo-deny (./x lint tools)')
    else
        inside "$cache/tools/bin/cargo-deny" --manifest-path "$top/Cargo.toml" check licenses bans sources || return
    fi
    if [[ ! -x $cache/tools/bin/cargo-audit ]]; then
        exceptions+=('known holes in dependencies: there is no cargo-audit (./x lint tools)')
        return
    fi
    inside "$cache/tools/bin/cargo-audit" audit --file "$top/Cargo.lock" >"$output" 2>&1 || code=$?
    if ((code != 0)) && grep -q "couldn't fetch advisory database" "$output"; then
        exceptions+=("known holes in dependencies: the host of the RustSec database is not reached ($output)")
        return
    fi
    cat "$output" >&2
    return "$code"
}
