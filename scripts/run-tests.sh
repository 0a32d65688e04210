#!/bin/sh
# run-tests.sh LIST: runs the test binaries of LIST (name TAB binary TAB package folder, a line each), wherever it is
# started: natively, in another view of cgroups, under another kernel. Cargo is not needed, and nothing but a folder
# for temporary files is written. What was skipped is printed at the end of each, as `SKIPPED name: test: why`.
set -u
list=$1
failed=0
skips=$(mktemp) || exit 125
trap 'rm -f "$skips"' EXIT
export CATENA_SKIPS="$skips"

# Tests' own folders: one that stays is a leftover like any other.
temporary() { find "${TMPDIR:-/tmp}" -mindepth 1 -maxdepth 1 -name 'catena-*'; }

while IFS='	' read -r name binary folder; do
    : >"$skips"
    before=$(temporary)
    printf '\n== %s\n' "$name"
    # Cgroup tests look at what is left behind, so binaries take turns; within one, two at a time.
    (cd "$folder" && CARGO_MANIFEST_DIR=$folder exec "$binary" --test-threads="${CATENA_TEST_THREADS:-2}") </dev/null
    status=$?
    sort -u "$skips" | sed "s|^|SKIPPED $name: |"
    left=$(temporary | grep -vxF "${before:-/}")
    if [ -n "$left" ]; then
        printf '%s\n' "$left" | sed 's/^/left behind: /'
    fi
    if [ "$status" != 0 ] || [ -n "$left" ]; then
        printf 'FAILED %s (exit %s)\n' "$name" "$status${left:+, and left something}"
        failed=1
    fi
done <"$list"
exit "$failed"
