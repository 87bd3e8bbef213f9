#!/bin/sh
# The linker for arm64, with the libraries of the root in $SWSYNC_SYSROOT. A script, since cargo's setting has no arguments.
exec aarch64-linux-gnu-gcc --sysroot="$SWSYNC_SYSROOT" "$@"
