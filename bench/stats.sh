#!/bin/sh
# What `cg-apply stats` of a thousand groups costs in one call, against reading the same files (stats.c). As root, from
# anywhere:
#
#     bench/stats.sh [ROUNDS]    with the release build, or the one in $BIN
#
# Which files they are is asked of strace once. Rounds take turns, and of each the median and the fastest count. The goal
# is at most twice the time of reading the files.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
top=$(dirname "$here")
rounds=${1:-21}
bin=${BIN:-$top/target/x86_64-unknown-linux-gnu/release}
groups=1000

for program in strace cc; do
    command -v "$program" >/dev/null || { echo "stats.sh: $program is missing" >&2; exit 1; }
done
[ -x "$bin/cg-apply" ] || { echo "stats.sh: no cg-apply in $bin: scripts/build.sh, or BIN=FOLDER" >&2; exit 1; }
[ "$(id -u)" = 0 ] || { echo "stats.sh: only root can compare them" >&2; exit 1; }

work=$(mktemp -d)
group=bench-stats-$$
# Version 1 has a directory for each hierarchy, version 2 one.
trees=$(awk '$3 ~ /^cgroup2?$/ && $2 !~ /systemd$/ { print $2 }' /proc/mounts | sort -u)
clean_up() {
    for tree in $trees; do [ ! -d "$tree/$group" ] || find "$tree/$group" -depth -type d -exec rmdir {} +; done
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT TERM
for tree in $trees; do
    mkdir "$tree/$group" 2>/dev/null || continue
    (cd "$tree/$group" && seq "$groups" | xargs mkdir)
done
cc -O2 -static -o "$work/stats" "$here/stats.c"
cd "$work"

# openat(3</sys/fs/cgroup/…/7>, "pids.max", …) = 4</sys/…>
strace -y -e trace=openat -o calls "$bin/cg-apply" stats -r "/$group" >out
sed -n "s|^openat([0-9]*<\([^>]*/${group}[^>]*\)>, \"\([a-z][^\"/]*\.[^\"/]*\)\".*) = [0-9].*|\1 \2|p" calls >list
lines=$(wc -l <out)
[ "$lines" -gt "$groups" ] || { echo "stats.sh: $lines lines for $groups groups" >&2; exit 1; }

microseconds() { echo $(($(date +%s%N) / 1000)); }
timed() {
    name=$1
    shift
    start=$(microseconds)
    "$@" <list >/dev/null || { echo "stats.sh: $* fails" >&2; exit 1; }
    echo $(($(microseconds) - start)) >>"$name"
}
n=0
while [ "$n" -le "$rounds" ]; do
    [ "$n" != 1 ] || rm -f ours bare
    if [ $((n % 2)) = 0 ]; then
        timed ours "$bin/cg-apply" stats -r "/$group" && timed bare "$work/stats"
    else
        timed bare "$work/stats" && timed ours "$bin/cg-apply" stats -r "/$group"
    fi
    n=$((n + 1))
done
least() { sort -n "$1" | head -n 1; }
median() { sort -n "$1" | sed -n "$((rounds / 2 + 1))p"; }
echo "| $groups groups | files | by cg-apply stats, ms | bare reads, ms | ratio |"
echo '| --- | ---: | ---: | ---: | ---: |'
for what in least median; do
    awk -v what="$what" -v files="$(wc -l <list)" -v ours="$($what ours)" -v bare="$($what bare)" \
        'BEGIN { printf "| %s | %d | %.1f | %.1f | %.2f |\n", what, files, ours / 1000, bare / 1000, ours / bare }'
done
