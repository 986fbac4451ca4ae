#!/bin/sh
# Runs fuzz targets, each for FUZZ_SECONDS (150), without cargo-fuzz; needs a nightly toolchain and a C++ compiler.
# What it finds is left in target/fuzz: `sh tests/fuzz/run.sh uwsgi fastcgi scgi`.
set -eu
cd "$(dirname "$0")/../.."
place=$PWD/target/fuzz
host=$(rustc +nightly -vV | sed -n 's/^host: //p')

RUSTFLAGS="--cfg fuzzing -Cdebug-assertions -Ccodegen-units=1 -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares"
export RUSTFLAGS CARGO_TARGET_DIR="$place" CARGO_PROFILE_RELEASE_LTO=off

for target in "$@"; do
    cargo +nightly build --quiet --manifest-path tests/fuzz/Cargo.toml --release --target "$host" --bin "$target"
    mkdir -p "$place/corpus/$target"
    "$place/$host/release/$target" -max_total_time="${FUZZ_SECONDS:-150}" -max_len=2000 -timeout=20 \
        -artifact_prefix="$place/$target-" "$place/corpus/$target" tests/corpus/gateways
done
