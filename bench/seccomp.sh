#!/bin/sh
# What a filter as long as Docker's costs at the start of a container: runner, which keeps finished filters in its state
# folder and is measured with that and without, against crun, of which a version may keep filters in a cache below its
# state (1.8.1 does not look for one). As root, from anywhere:
#
#     bench/seccomp.sh [ROUNDS]     with the release build, or the one in $BIN
#
# The cost is the difference between a container with the filter and one without; pairs.c says how it is measured.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
top=$(dirname "$here")
rounds=${1:-300}
bin=${BIN:-$top/target/x86_64-unknown-linux-gnu/release}
if [ "${CATENA_LANE:-}" != v2-view ]; then exec "$top/tests/lanes/v2-view.sh" "$here/seccomp.sh" "$rounds"; fi

for program in jq cc crun; do
    command -v "$program" >/dev/null || { echo "seccomp.sh: $program is missing" >&2; exit 1; }
done
[ -x "$bin/runner" ] || { echo "seccomp.sh: no runner in $bin: scripts/build.sh, or BIN=FOLDER" >&2; exit 1; }

work=$(mktemp -d)
state=$work/state
mkdir "$state"
mount -t tmpfs -o mode=700 tmpfs "$state"
trap 'umount "$state"; rm -rf "$work"' EXIT
cc -O2 -static -o "$work/pairs" "$here/pairs.c" -lm
"$top/scripts/rootfs.sh" "$work/rootfs"
"$bin/seccomp-load" -N @default --print --dump=json >"$work/filter.json" </dev/null
for kind in without with; do
    mkdir "$work/$kind"
    ln -s ../rootfs "$work/$kind/rootfs"
    (cd "$work/$kind" && "$bin/runner" spec)
    # crun raises RLIMIT_MEMLOCK for a device program, and fails where it may not.
    jq --slurpfile filter "$work/filter.json" --arg kind "$kind" --arg root "$work/rootfs" '.ociVersion = "1.0.2" | .process.terminal = false
        | .root.path = $root | .process.args = ["/bin/true"] | .process.noNewPrivileges = true | del(.linux.resources.devices)
        | if $kind == "with" then .linux.seccomp = $filter[0] else del(.linux.seccomp) end' \
        "$work/$kind/config.json" >"$work/config" && mv "$work/config" "$work/$kind/config.json"
done

crun=$(command -v crun)
# runner KIND ROOT
runner() { echo "$bin/runner --log /dev/null --root $state/$2 run --bundle $work/$1 bench-seccomp-$$"; }
# Where a file stands in the place of the folder nothing is kept.
mkdir -m 700 "$state/anew" && : >"$state/anew/@filters"
crun() { echo "$crun --root $state/crun --cgroup-manager cgroupfs run --bundle $work/$1 bench-seccomp-$$"; }
echo '| the program | by runner, µs | by crun, µs | runner / crun | standard error |'
echo '| --- | --- | --- | --- | --- |'
for root in kept anew; do
    printf '%s\n' "$(runner without "$root")" "$(runner with "$root")" "$(crun without)" "$(crun with)" >"$work/commands"
    "$work/pairs" "$rounds" "$work/commands" >"$work/times.json" 2>"$work/errors"
    jq -r --arg root "$root" '"| \($root) | \(.first) | \(.second) | \(.ratio) | \(.error) |"' "$work/times.json"
done
