#!/bin/sh
# The same container by everything that can make it, side by side in one run of hyperfine, where /sys/fs/cgroup is
# cgroup v2 (crun refuses a host that mixes both). Prints a table and writes docs/benchmarks.md.
#
#   bench/run.sh [RUNS]      200 runs of each unless said otherwise
#
# Everything lives in a folder of its own and is gone at the end, also when interrupted.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../scripts/env.sh"
runs=${1:-${RUNS:-200}}

if [ "$(id -u)" != 0 ]; then
    echo "run.sh: cannot measure: only root can make all of these containers" >&2
    exit 1
fi
if [ "${CATENA_LANE:-}" != v2-view ]; then exec "$top/tests/lanes/v2-view.sh" "$here/run.sh" "$runs"; fi

release=$(built release)
PATH=$release:$PATH
work=$(mktemp -d)
id=catena-bench-$$
state=$work/state
. "$here/lifecycle.sh"

clean_up() {
    trap - EXIT INT TERM
    lifecycle_ids
    # What a runtime that was killed in the middle left: processes first, then their groups, the deepest first.
    find /sys/fs/cgroup -depth -type d \( -name "$id*" -o -path "$mine*" \) 2>/dev/null | while read -r group; do
        echo 1 >"$group/cgroup.kill" 2>/dev/null || :
        for _ in 1 2 3 4 5; do
            if rmdir "$group" 2>/dev/null; then break; fi
            sleep 0.1
        done
    done
    umount "$state" 2>/dev/null || :
    rm -rf "$work"
}
# Not the container's own name: a runtime removes that group.
mine=/sys/fs/cgroup/$id.floor
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
mkdir -p "$mine" "$state"
# Engines keep state on /run, a tmpfs; so does everybody here, in this mount namespace.
mount -t tmpfs -o mode=700 tmpfs "$state"

cc -O2 -static -o "$work/floor" "$here/floor.c"
cc -O2 -static -o "$work/peak" "$here/peak.c"
"$top/scripts/rootfs.sh" "$work/bundle/rootfs"
(cd "$work/bundle" && runc spec)
jq '.process.terminal = false | .process.args = ["/bin/true"] | .linux.namespaces |= (. + [{"type": "cgroup"}] | unique)' \
    "$work/bundle/config.json" >"$work/config" && mv "$work/config" "$work/bundle/config.json"
config=$work/bundle/config.json

# crun raises RLIMIT_MEMLOCK before it loads a device program, and fails where it may not: then nobody loads one.
rules='with the device rules of that bundle'
if ! crun --root "$state/crun" --cgroup-manager cgroupfs run --bundle "$work/bundle" "$id" >"$work/out" 2>&1 </dev/null; then
    rules="without device rules, for crun says here: \`$(head -n 1 "$work/out")\`"
    jq 'del(.linux.resources.devices)' "$config" >"$work/config" && mv "$work/config" "$config"
fi

# The chain takes each tool's share of the same config.json; the command stands behind it.
links="cg-apply -N --oci $config -- ns-enter --oci $config -- rootfs-prep --oci $config -- cap-drop --oci $config"
cat >"$work/pipeline" <<E
cg-apply -N --oci $config | ns-enter --oci $config | rootfs-prep --oci $config | cap-drop --oci $config -- /bin/true
E
cat >"$work/commands" <<E
floor	$work/floor $work/bundle/rootfs $mine /bin/true
runner run	runner --root $state/runner run --bundle $work/bundle $id
exec chain	$links -- /bin/true
pipeline	sh $work/pipeline
crun run	crun --root $state/crun --cgroup-manager cgroupfs run --bundle $work/bundle $id
bwrap	bwrap --unshare-ipc --unshare-pid --unshare-net --unshare-uts --unshare-cgroup --hostname runc --ro-bind $work/bundle/rootfs / --proc /proc --dev /dev --mqueue /dev/mqueue --ro-bind /sys /sys --cap-drop ALL --die-with-parent /bin/true
runc run	runc --root $state/runc run --bundle $work/bundle $id
E

# One that does not work would be measured as very fast.
set --
while IFS='	' read -r name command; do
    # shellcheck disable=SC2086  # words of a command line
    if ! $command >"$work/out" 2>&1 </dev/null; then
        echo "run.sh: $name does not run: $command" >&2
        cat "$work/out" >&2
        exit 1
    fi
    # shellcheck disable=SC2086
    "$work/peak" $command 3>"$work/peak.kib" </dev/null
    printf '%s\t%s\n' "$name" "$(cat "$work/peak.kib")" >>"$work/peaks"
    set -- "$@" -n "$name" "$command"
done <"$work/commands"

echo 'run.sh: run' >&2
hyperfine -N --warmup 20 --runs "$runs" --export-json "$work/times.json" --style basic "$@" >"$work/log" 2>&1 || {
    cat "$work/log" >&2
    exit 1
}

lifecycle

size() { stat -Lc %s "$(command -v "$1")" | awk '{ printf "%.2f", $1 / 1048576 }'; }
table() {
    echo '| | median ms | mean ± σ ms | least ms | × crun | × floor | peak KiB |'
    echo '| --- | ---: | ---: | ---: | ---: | ---: | ---: |'
    jq -r --rawfile peaks "$work/peaks" '
        def hundredths: . * 100 | round / 100 | tostring;
        def ms: . * 1000 | hundredths;
        ($peaks | split("\n") | map(split("\t") | select(length == 2) | {key: .[0], value: .[1]}) | from_entries) as $peak
        | (.results | map({key: .command, value: .median}) | from_entries) as $median
        | .results | sort_by(.median)[]
        | "| \(.command) | \(.median | ms) | \(.mean | ms) ± \(.stddev | ms) | \(.min | ms)"
            + " | \(.median / $median["crun run"] | hundredths) | \(.median / $median.floor | hundredths)"
            + " | \($peak[.command]) |"
    ' "$work/times.json"
}
sizes() {
    echo '| binary | MiB | |'
    echo '| --- | ---: | --- |'
    for tool in $tools; do echo "| $tool | $(size "$tool") | static |"; done
    for peer in crun runc bwrap; do echo "| $peer | $(size "$peer") | and its shared libraries |"; done
}

page=$top/docs/benchmarks.md
cat >"$work/page" <<E
# Benchmarks

Written by \`make bench\`; do not edit. One run of hyperfine, $runs runs of each after 20 to warm up, no shell between:
the container of \`runc spec\` (terminal off, with a cgroup namespace, \`/bin/true\` of busybox as its command), start
to end, with the cgroup made and removed, $rules.

- $(runner --version | head -n 2 | paste -sd' ' -), $(. /etc/os-release && echo "$PRETTY_NAME"), Linux $(uname -r), $(nproc) cpus, $(date -u +%Y-%m-%d)
- $(crun --version | head -n 1), $(runc --version | head -n 1), $(bwrap --version), $(hyperfine --version)
- \`/sys/fs/cgroup\` is cgroup v2 in a mount namespace of the benchmark's own; all keep their state on a tmpfs

$(table)

What engines ask for one by one, in the same run; median ms, but where a percentile is named:

| | runner | crun | runc | runner × crun |
| --- | ---: | ---: | ---: | ---: |
$(cat "$work/rows")

- **floor** is \`bench/floor.c\`: the kernel's own work for this container, with nothing read, kept or checked.
- **runner run** does what \`crun run\` and \`runc run\` do: state directory, pid and signal handling, cgroup, all of it.
- **exec chain** is \`cg-apply -- ns-enter -- rootfs-prep -- cap-drop\`, each with \`--oci config.json\`; **pipeline** the
  same written with \`|\`, with the shell that starts it.
- **bwrap** has the closest set of namespaces and mounts, and makes no cgroup, device rule or masks.
- **create, start, delete** is three calls from one \`sh\`; **delete --force** is of a container that runs \`sleep\`;
  **exec** runs \`/bin/true\` in such a one; **$copies started at once** are \`run --detach\`, each from its fork to its end,
  by \`bench/parallel.c\`.
- *peak KiB* is the greatest resident set of any process of the tree, from a run of its own under \`bench/peak.c\`.

$(sizes)
E
# A checkpoint, where there is a criu that works; else what was found before.
if "$top/tests/lanes/trixie.sh" && BIN=$release "$here/criu.sh" >"$work/criu"; then
    { echo; cat "$work/criu"; } >>"$work/page"
else
    echo 'run.sh: no criu here: the numbers of checkpoints stay as they are' >&2
    { echo; sed -n '/^## A checkpoint$/,/^## A mount$/p' "$page" | sed '$d' | sed '$d'; } >>"$work/page"
fi
# What bench/mounts.sh found, by hand, stays.
{ echo; sed -n '/^## A mount$/,$p' "$page"; } >>"$work/page"
mv "$work/page" "$page"
cat "$page"
