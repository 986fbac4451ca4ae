#!/bin/sh
# Prints where there is an llvm-profdata that reads what this rustc's LLVM counts, or installs it, or says how to.
set -eu

major=$(rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
host=$(rustc -vV | sed -n 's/^host: //p')

find_it() {
    for directory in "$(rustc --print sysroot)/lib/rustlib/$host/bin" "/usr/lib/llvm-$major/bin"; do
        [ ! -x "$directory/llvm-profdata" ] || { echo "$directory"; exit 0; }
    done
    if llvm-profdata --version 2>/dev/null | grep -q "LLVM version $major\."; then
        dirname "$(command -v llvm-profdata)"
        exit 0
    fi
}

find_it
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    apt-get update --quiet >&2 || true
    DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "llvm-$major" >&2 || true
    find_it
fi
echo "The wheel is compiled by what llvm-profdata $major says, which is not here. Type one of:" >&2
echo "    rustup component add llvm-tools" >&2
echo "    sudo apt-get install --yes --no-install-recommends llvm-$major" >&2
exit 1
