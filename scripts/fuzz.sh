#!/bin/sh
# fuzz.sh [SECONDS [TARGET...]]: builds the fuzz targets with the oldest Rust that the tools need, and runs each for so long,
# on top of the inputs in fuzz/corpus. What it finds new stays in target/fuzz; a crash is a failure, and its input is
# named. `fuzz.sh build` builds them and no more.
set -eu
. "$(dirname "$0")/env.sh"
seconds=${1:-5}
[ $# = 0 ] || shift
[ $# != 0 ] || set -- config plan kernel profile idmap criu
target=${CARGO_TARGET_DIR:-$top/target}/fuzz
mkdir -p "$target"

# cargo-fuzz's own flags but for the address sanitizer, which stable Rust does not have; of unsafe code there is little to
# sanitize here.
pass='-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
    -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares'
# shellcheck disable=SC2086  # one word per flag
RUSTFLAGS=$(printf '%s ' $pass)'--cfg fuzzing -Ccodegen-units=1' CARGO_TARGET_DIR=$target \
    cargo build --quiet --locked --release --target "$(triple)" --manifest-path "$top/fuzz/Cargo.toml" --bins
[ "$seconds" != build ] || exit 0

passed=0
failed=0
for name; do
    found=$target/corpus/$name
    mkdir -p "$found"
    printf 'fuzz %s ... ' "$name"
    if "$target/$(triple)/release/$name" -max_total_time="$seconds" -max_len=4096 -timeout=10 -rss_limit_mb=1024 \
        -artifact_prefix="$target/$name-" "$found" "$top/fuzz/corpus/$name" >"$target/$name.log" 2>&1; then
        passed=$((passed + 1))
        sed -n 's/^Done \([0-9]*\) runs in \([0-9]*\) second.*/ok, \1 runs in \2 s/p' "$target/$name.log"
    else
        echo FAILED
        tail -n 30 "$target/$name.log"
        failed=$((failed + 1))
    fi
done
# As a test binary's, for who counts them.
printf 'test result: %s. %s passed; %s failed; 0 ignored\n' "$([ "$failed" = 0 ] && echo ok || echo FAILED)" "$passed" "$failed"
[ "$failed" = 0 ]
