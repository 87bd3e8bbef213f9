#!/usr/bin/env bash
# Makes a Python with what tools/python.txt names, for the tests that read swsync's files with other people's tools. `x` runs
# this where it builds tests, since those themselves have no network.
#
#   python.sh FOLDER    the interpreter is FOLDER/bin/python
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
# shellcheck source=tools/lib.sh
source "$here/lib.sh"

folder=$1
exec 9>>"$folder.lock"
flock 9
[[ ! -e $folder/.whole ]] || exit 0
say "installing what $here/python.txt names, for tests"
rm -rf --one-file-system "$folder"
python3 -m venv "$folder"
"$folder/bin/pip" install --quiet --disable-pip-version-check --no-cache-dir --requirement "$here/python.txt" ||
    die 'is the network there? Then run the same command again.'
# Not for this Python by their own word, and with a window system behind them: what the tests call of them runs all the same.
"$folder/bin/pip" install --quiet --disable-pip-version-check --no-cache-dir --no-deps --ignore-requires-python \
    --requirement "$here/python-alone.txt" || die 'is the network there? Then run the same command again.'
touch "$folder/.whole"
