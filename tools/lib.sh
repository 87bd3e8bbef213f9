# shellcheck shell=bash
# What `x` and the set-up scripts share: messages, package lists, progress. Sourced, never run.

# An ordinary user's PATH on Debian lacks these.
PATH=$PATH:/usr/sbin:/sbin

# Everything that is not a command's own output goes to standard error, so that
# `./x swsync ... | jq` sees nothing but swsync.
say() { printf 'x: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# The words of a list file: one a line, `#` starts a comment.
read_list() {
    local line
    while read -r line; do
        line=${line%%#*}
        [[ -z $line ]] || printf '%s\n' "${line% }"
    done <"$1"
}

# Shows that apt or debootstrap is getting on: passes its output to the log and prints a count of
# what was done last, in place on a terminal, else as a line every 15 s.
show_progress() {
    local log=$1 line verb='' count=0 total='' begun=$SECONDS printed=$SECONDS shown=-1
    while IFS= read -r line; do
        printf '%s\n' "$line" >>"$log"
        case $line in
            Get:* | 'I: Retrieving '*) line=downloaded ;;
            'Unpacking '* | 'I: Extracting '* | 'I: Unpacking '*) line=unpacked ;;
            'Setting up '* | 'I: Configuring '*) line='set up' ;;
            *' newly installed, '*) [[ ! $line =~ ([0-9]+)' newly' ]] || total=" of ${BASH_REMATCH[1]}"; continue ;;
            *) continue ;;
        esac
        [[ $line == "$verb" ]] || count=0
        verb=$line
        count=$((count + 1))
        if [[ -t 2 && $SECONDS -ne $shown ]]; then
            shown=$SECONDS
            printf '\r\033[Kx:   %d%s packages %s (%d s)' $count "$total" "$verb" $((SECONDS - begun)) >&2
        elif [[ ! -t 2 && $((SECONDS - printed)) -ge 15 ]]; then
            printed=$SECONDS
            say "  $count$total packages $verb ($((SECONDS - begun)) s)"
        fi
    done
    [[ ! -t 2 ]] || printf '\r\033[K' >&2
    say "  took $((SECONDS - begun)) s"
}

# phase LOG TITLE COMMAND...: one step of the set-up, its output in LOG; if it fails, the end of
# its output is shown.
phase() {
    local log=$1 title=$2 code=0
    shift 2
    say "$title"
    printf '==> %s: %s\n' "$title" "$*" >>"$log"
    "$@" </dev/null 2>&1 | show_progress "$log" || code=$?
    ((code == 0)) && return
    say "  failed (exit code $code); the end of $log:"
    tail -n 20 "$log" | sed 's/^/    /' >&2
    return "$code"
}

# Installs packages. The lists of a fresh image may be missing or old: fetch them only then. That some
# foreign repository cannot be reached is no reason to stop.
apt_install() {
    local apt=(apt-get -q -y --no-install-recommends -o DPkg::Lock::Timeout=600 -o Dpkg::Use-Pty=0)
    export DEBIAN_FRONTEND=noninteractive
    "${apt[@]}" install "$@" || { "${apt[@]}" update || true; "${apt[@]}" install "$@"; }
}

is_installed() {
    [[ $(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null) == installed ]]
}

# Whether a top-level folder of this name is part of an operating system.
is_system_folder() {
    case $1 in
        bin | boot | dev | etc | lib | lib?? | libx32 | lost+found | proc | run | sbin | sys | usr | var) true ;;
        *) false ;;
    esac
}

# The version that all of it has.
version_of() { awk -F '"' '/^version/ { print $2; exit }' "$1/Cargo.toml"; }

# copy_sources TOP FOLDER: what git knows, as it is here now.
copy_sources() {
    mkdir -p "$2"
    git -C "$1" ls-files -z | (cd "$1" && xargs -0 tar c --ignore-failed-read) | tar x -C "$2"
}
