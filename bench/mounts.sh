#!/bin/sh
# What a mount costs: rootfs-prep against the bare system calls (mounts.c), and whether that grows with the mounts that
# the host has. As root, from anywhere:
#
#     bench/mounts.sh [ROUNDS]      with the release build, or the one in $BIN
#
# The cost of one mount is the difference between a root with 200 read-only binds and one with none, by 200, so that
# starting programs and copying the host's mounts, which both do, is not in it; pairs.c says how it is measured.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
top=$(dirname "$here")
rounds=${1:-400}
count=200
bin=${BIN:-$top/target/x86_64-unknown-linux-gnu/release}

for program in jq cc unshare; do
    command -v "$program" >/dev/null || { echo "mounts.sh: $program is missing" >&2; exit 1; }
done
[ -x "$bin/rootfs-prep" ] || { echo "mounts.sh: no rootfs-prep in $bin: scripts/build.sh, or BIN=FOLDER" >&2; exit 1; }
[ "$(id -u)" = 0 ] || { echo "mounts.sh: only root can compare them" >&2; exit 1; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/root" "$work/source" "$work/host"
cp /bin/busybox "$work/root/true"
cc -O2 -static -o "$work/mounts" "$here/mounts.c"
cc -O2 -static -o "$work/pairs" "$here/pairs.c" -lm

# config COUNT: a bundle of that many mounts beside the root.
config() {
    jq -n --arg source "$work/source" --argjson count "$1" '{
        ociVersion: "1.0.2", root: {path: "root"}, process: {args: ["/true"], cwd: "/", user: {uid: 0, gid: 0}},
        mounts: [range($count) | {destination: "/m\(.)", type: "bind", source: $source, options: ["bind", "ro"]}]
    }' >"$work/$1.json"
}
config 0
config "$count"

# In a mount namespace of its own, with as many mounts of its own as the first word says.
cat >"$work/measure" <<'INNER'
set -eu
more=$1 work=$2 rounds=$3 bin=$4 count=$5
mount -t tmpfs host "$work/host"
i=0
while [ "$i" -lt "$more" ]; do
    mkdir "$work/host/$i" && mount -t tmpfs "host$i" "$work/host/$i"
    i=$((i + 1))
done
ours() { echo "$bin/ns-enter -m -- $bin/rootfs-prep --oci $work/$1.json -- /true"; }
bare() { echo "$work/mounts $work/root $1 $work/source /true"; }
printf '%s\n' "$(ours 0)" "$(ours "$count")" "$(bare 0)" "$(bare "$count")" >"$work/commands"
"$work/pairs" "$rounds" "$work/commands" >"$work/times.json"
INNER

echo '| mounts of the host | one by rootfs-prep, µs | one by bare calls, µs | rootfs-prep / bare | standard error |'
echo '| --- | --- | --- | --- | --- |'
for more in 10 100 1000; do
    unshare -m --propagation private sh "$work/measure" "$more" "$work" "$rounds" "$bin" "$count" </dev/null
    jq -r --arg more "$more" --argjson count "$count" '
        def us: . * 10 / $count | round / 10;
        "| \($more) | \(.first | us) | \(.second | us) | \(.ratio) | \(.error) |"' "$work/times.json"
done
