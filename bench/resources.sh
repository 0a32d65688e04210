#!/bin/sh
# What limits cost: cg-apply with all of linux.resources that this host has, against the bare writes (resources.c). As
# root, from anywhere:
#
#     bench/resources.sh [ROUNDS]   with the release build, or the one in $BIN
#
# The cost of the limits is the difference between a group with them and one without, so that making the group, running a
# program in it and removing it, which both do, is not in it; pairs.c says how it is measured, on the CPU. The bare calls write what
# cg-apply writes, on either side: a config without resources has device rules all the same, so in the first row these are
# in both and in no difference. In the second one the group without limits has no config at all, and the difference has
# the device rules and reading the config in it. In a view of cgroup v2 (tests/lanes/v2-view.sh, tests/lanes/uml.sh) it
# measures v2's files.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
top=$(dirname "$here")
rounds=${1:-1000}
bin=${BIN:-$top/target/x86_64-unknown-linux-gnu/release}

for program in jq cc; do
    command -v "$program" >/dev/null || { echo "resources.sh: $program is missing" >&2; exit 1; }
done
[ -x "$bin/cg-apply" ] || { echo "resources.sh: no cg-apply in $bin: scripts/build.sh, or BIN=FOLDER" >&2; exit 1; }
[ "$(id -u)" = 0 ] || { echo "resources.sh: only root can compare them" >&2; exit 1; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp /bin/busybox "$work/true"
cc -O2 -static -o "$work/resources" "$here/resources.c"
cc -O2 -static -o "$work/pairs" "$here/pairs.c" -lm
group=/bench-resources-$$
disk=$(cat /sys/block/*/dev | head -n 1)

# Every kind of limit; what this host's kernel does not have is found out below and left out.
jq -n --arg disk "$disk" '($disk | split(":") | map(tonumber)) as [$major, $minor]
    | {major: $major, minor: $minor, rate: 1048576} as $rate
    | def device($type; $major; $minor): {allow: true, type: $type, major: $major, minor: $minor, access: "rwm"};
    {
        devices: [{allow: false, access: "rwm"},
            device("c"; 1; 3), device("c"; 1; 5), device("c"; 1; 7), device("c"; 1; 8), device("c"; 1; 9),
            device("c"; 5; 0), device("c"; 5; 2), device("c"; 136; null)],
        memory: {limit: 67108864, swap: 134217728, reservation: 33554432, swappiness: 10},
        cpu: {shares: 512, quota: 50000, period: 100000, burst: 10000, cpus: "0", mems: "0"},
        pids: {limit: 100},
        hugepageLimits: [{pageSize: "2MB", limit: 4194304}],
        blockIO: {weight: 500, throttleReadBpsDevice: [$rate], throttleWriteBpsDevice: [$rate],
            throttleReadIOPSDevice: [$rate], throttleWriteIOPSDevice: [$rate]}
    }' >"$work/all.json"

# config RESOURCES: what cg-apply reads, in one line as engines write it.
config() {
    jq -nc --arg group "$group" --slurpfile resources "$1" \
        '{ociVersion: "1.0.2", process: {args: ["/true"], cwd: "/"}, linux: {cgroupsPath: $group, resources: $resources[0]}}'
}
echo '{}' >"$work/none.json"
config "$work/none.json" >"$work/without.json"
cp "$work/all.json" "$work/has.json"
for path in devices memory.limit memory.swap memory.reservation memory.swappiness cpu.shares cpu.quota cpu.burst cpu.cpus \
    cpu.mems pids hugepageLimits blockIO.weight blockIO.throttleReadBpsDevice blockIO.throttleWriteBpsDevice \
    blockIO.throttleReadIOPSDevice blockIO.throttleWriteIOPSDevice; do
    jq --arg path "$path" '($path | split(".")) as $at | getpath($at) as $value | {} | setpath($at; $value)
        | if $path == "memory.swap" then .memory.limit = 67108864 elif $path == "cpu.burst" then .cpu.quota = 50000 else . end' \
        "$work/all.json" >"$work/one.json"
    config "$work/one.json" >"$work/try.json"
    "$bin/cg-apply" -N --oci "$work/try.json" -- "$work/true" >/dev/null 2>&1 </dev/null && continue
    echo "resources.sh: left out: $path" >&2
    jq --arg path "$path" 'delpaths([$path | split(".")])' "$work/has.json" >"$work/less.json"
    mv "$work/less.json" "$work/has.json"
done
config "$work/has.json" >"$work/with.json"

# list NAME: the same directories and values for the bare calls. A program is no write.
list() {
    "$bin/cg-apply" -N --oci "$work/$1.json" --print --json -- "$work/true" </dev/null | jq -r '.cgroup as $dirs
    | def dir($version; $controller): first($dirs[] | select(.version == $version
        and ($version == "v2" or (.controllers | index($controller))))).path;
    ($dirs[] | "dir \(.path)"),
    (.writes[] | "write \(dir(.version; .controller)) \(.file) \(.value)"),
    (.devices // {} | select(.version == "v1") | to_entries | map(select(.value | type == "array"))
        | sort_by(.value != ["a"])[] | .key as $file | .value[] | "write \(dir("v1"; "devices")) \($file) \(.)")
' >"$work/$1"
}
list with
list without
grep '^dir ' "$work/with" >"$work/none"
# Which of two files it is: as cg-apply finds it.
for pair in blkio.weight:blkio.bfq.weight io.bfq.weight:io.weight; do
    first=${pair%%:*} second=${pair#*:}
    if grep -q " $first " "$work/with" && ! find /sys/fs/cgroup -maxdepth 3 -name "$first" | grep -q .; then
        sed -i "s/ $first / $second /" "$work/with"
    fi
done

ours() { echo "$bin/cg-apply -N --oci $work/$1.json -- $work/true"; }
bare() { echo "$work/resources $work/$1 $work/true"; }
no_config() { echo "$bin/cg-apply -N --cgroup $group -- $work/true"; }
writes() { grep -c '^write ' "$work/$1" || true; }

# row NAME WRITES: of the four lines on standard input.
row() {
    cat >"$work/commands"
    "$work/pairs" "$rounds" "$work/commands" cpu >"$work/times.json"
    jq -r --arg name "$1" --arg writes "$2" \
        '"| \($name) | \($writes) | \(.first) | \(.second) | \(.ratio) | \(.error) |"' "$work/times.json"
}
echo '| | writes | by cg-apply, µs | bare writes, µs | cg-apply / bare | standard error |'
echo '| --- | --- | --- | --- | --- | --- |'
printf '%s\n' "$(ours without)" "$(ours with)" "$(bare without)" "$(bare with)" |
    row 'limits in a config' "$(($(writes with) - $(writes without)))"
printf '%s\n' "$(no_config)" "$(ours with)" "$(bare none)" "$(bare with)" |
    row 'a config with limits' "$(writes with)"
