#!/bin/sh
# What a release may cost: each binary static and below 2.75 MiB, no process of `runner run` above 3.5 MiB. Prints its
# checks as libtest does, so that they are counted with the tests.
set -u
. "$(dirname "$0")/env.sh"
release=$(built release)
size_limit=$((11 * 1024 * 1024 / 4))
peak_limit=$((7 * 1024 / 2))
passed=0 failed=0

check() { # check NAME VALUE LIMIT UNIT
    if [ "$2" -le "$3" ]; then
        passed=$((passed + 1))
        echo "test $1 ($2 of $3 $4) ... ok"
    else
        failed=$((failed + 1))
        echo "test $1 ($2 of $3 $4) ... FAILED"
    fi
}

for tool in $tools; do
    check "size of $tool" "$(stat -c %s "$release/$tool")" "$size_limit" bytes
    # A dynamic binary names its loader; after the pivot that would be the container's.
    check "loaders that $tool needs" "$(readelf -lW "$release/$tool" | grep -c INTERP)" 0 loaders
done

if [ "$(id -u)" = 0 ]; then
    work=$(mktemp -d)
    trap '"$release/runner" delete --force "$id" 2>/dev/null; rm -rf "$work"' EXIT
    id=catena-budget-$$
    cc -O2 -static -o "$work/peak" "$top/bench/peak.c" && "$top/scripts/rootfs.sh" "$work/bundle/rootfs" || exit 1
    (cd "$work/bundle" && "$release/runner" spec) || exit 1
    jq '.process.terminal = false | .process.args = ["true"]' "$work/bundle/config.json" >"$work/config" &&
        mv "$work/config" "$work/bundle/config.json" || exit 1
    if "$work/peak" "$release/runner" run --bundle "$work/bundle" "$id" 3>"$work/peak.kib"; then
        check "peak of every process of runner run" "$(cat "$work/peak.kib")" "$peak_limit" KiB
    else
        check "runner run" 1 0 failures
    fi
else
    echo "SKIPPED budget: peak: needs root"
    passed=$((passed + 1))
fi
[ "$failed" = 0 ] && word=ok || word=FAILED
echo "test result: $word. $passed passed; $failed failed; 0 ignored; 0 measured; 0 filtered out"
[ "$failed" = 0 ]
