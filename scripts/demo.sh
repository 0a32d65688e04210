#!/bin/sh
# Shows a pipeline of small tools become a container, then the same from an OCI bundle: what each layer asked for, and
# what the kernel says about it from inside. Works in a terminal and without one; leaves nothing but ./.demo.
set -eu
. "$(dirname "$0")/env.sh"

demo=$top/.demo
mkdir -p "$demo"
cd "$demo"
PATH=$(built release):$PATH
id=catena-demo-$$
if [ "$(id -u)" != 0 ]; then
    echo 'demo.sh: cannot show the whole: only root can make cgroups and mount (run it as root)' >&2
    exit 1
fi
clean_up() {
    trap - EXIT INT TERM
    touch "$demo/rootfs/go" 2>/dev/null || :
    runner delete --force "$id" >/dev/null 2>&1 || :
    rm -rf "$demo/work" "$demo/rootfs/go" "$demo/rootfs/bin/look"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

if [ -t 1 ] && [ "${TERM:-dumb}" != dumb ]; then
    bold=$(printf '\033[1m') dim=$(printf '\033[2m') off=$(printf '\033[0m')
else
    bold='' dim='' off=''
fi
title() { printf '\n%s%s%s\n\n' "$bold" "$1" "$off"; }
shown() { printf '%s$ %s%s\n' "$dim" "$1" "$off"; }

rm -rf work rootfs
mkdir -p work
"$top/scripts/rootfs.sh" rootfs

# What the container says about itself. It waits at the end, until the demo has looked at its cgroup from outside.
cat >rootfs/bin/look <<'E'
#!/bin/sh
[ -e /proc/self/status ] || mount -t proc proc /proc 2>/dev/null
status() { sed -n "s/^$1:[[:space:]]*//p" /proc/self/status; }
echo "uid $(id -u)"
echo "pid $$"
echo "hostname $(hostname)"
echo "processes $(ls /proc | grep -c '^[0-9]')"
echo "interfaces $(tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' ' | tr '\n' ' ')"
echo "mounts $(wc -l </proc/self/mountinfo)"
echo "root $(ls / | tr '\n' ' ')"
echo "cgroup $(grep -E ':memory:|^0::' /proc/self/cgroup | tr '\n' ' ')"
for name in CapBnd CapEff CapPrm CapAmb NoNewPrivs Seccomp Seccomp_filters; do echo "$name $(status $name)"; done
for kind in mnt pid ipc net uts cgroup; do echo "ns $kind $(readlink /proc/self/ns/$kind)"; done
echo done
until [ -e /go ]; do sleep 0.05; done
E
chmod +x rootfs/bin/look

# fact NAME: what the container said.
fact() { sed -n "s/^$1 //p" work/facts; }
# receipt TOOL JQ: from what the tools said on --status-fd.
receipt() { jq -r "select(.event == \"receipt\" and .tool == \"$1\") | .receipt | $2" work/status; }
row() { printf '  %-13s %-46s %s\n' "$1" "$2" "$3"; }

# The limit, in the kernel's own file: the first line of work/pids is the container's first process.
limit() {
    group=$(sed -n 's/^[0-9]*:memory://p' "/proc/$1/cgroup")
    if [ -n "$group" ] && [ -e "/sys/fs/cgroup/memory$group/memory.limit_in_bytes" ]; then
        echo "memory.limit_in_bytes $(cat "/sys/fs/cgroup/memory$group/memory.limit_in_bytes")"
        return
    fi
    group=$(sed -n 's/^0:://p' "/proc/$1/cgroup")
    echo "memory.max $(cat "/sys/fs/cgroup$group/memory.max")"
}

# Runs "$@" in the background with its status lines in work/status, and waits until look has said all.
look() {
    rm -f rootfs/go
    : >work/facts
    "$@" 3>work/status >work/facts 2>work/errors </dev/null &
    started=$!
    for _ in $(seq 100); do
        grep -q '^done' work/facts && break
        kill -0 "$started" 2>/dev/null || break
        sleep 0.1
    done
    if ! grep -q '^done' work/facts; then
        cat work/errors >&2
        echo 'demo.sh: the container did not come up' >&2
        exit 1
    fi
    # The first process in there, by its number out here: look, in the pid namespace that look says it is in.
    first=$(for pid in $(pgrep -x look); do
        [ "$(readlink "/proc/$pid/ns/pid")" != "$(fact 'ns pid')" ] || echo "$pid"
    done | head -n 1)
}

end_look() {
    touch rootfs/go
    wait "$started" || { cat work/errors >&2; exit 1; }
    rm -f rootfs/go
}

table() {
    differ=0
    for kind in mnt pid ipc net uts cgroup; do
        [ "$(fact "ns $kind")" = "$(readlink "/proc/self/ns/$kind")" ] || differ=$((differ + 1))
    done
    printf '  %s%-13s %-46s %s%s\n' "$bold" layer 'asked for' 'the kernel says' "$off"
    row cg-apply "$(receipt cg-apply '.asked.resources | to_entries | map("\(.key) \(.value | tostring)") | join(" ")' | cut -c1-45)" "$1"
    row ns-enter "new: $(receipt ns-enter '.asked.namespaces | map(.type) | join(" ")')" "$differ namespaces differ from the host's"
    row '' '' "pid $(fact pid), $(fact processes) processes, host name $(fact hostname)"
    row '' '' "network interfaces: $(fact interfaces)"
    row rootfs-prep "root $(receipt rootfs-prep .asked.root.path | sed "s|$demo|.|")" "$(fact mounts) mounts; / holds: $(fact root | cut -c1-30)"
    row cap-drop "$(receipt cap-drop '.asked | if .change.dropAll then "drop all" else "keep " + (.capabilities.bounding | join(" ")) end' | cut -c1-45)" "bounding $(fact CapBnd) effective $(fact CapEff)"
    row '' "$(receipt cap-drop '.asked | if .noNewPrivileges then "no_new_privs" else "" end')" "NoNewPrivs $(fact NoNewPrivs)"
    row seccomp-load "$(receipt seccomp-load '"profile \(.asked.profile), \(.applied.instructions) instructions"')" "Seccomp $(fact Seccomp), filters: $(fact Seccomp_filters)"
    printf '\n  every receipt read back from the kernel: %s\n' "$(jq -s '[.[] | select(.event == "receipt") | .receipt.verified] | all' work/status)"
}

title '1. A pipeline becomes a container'
line="cg-apply -m 512M | ns-enter -mpniuC | rootfs-prep --root ./rootfs | cap-drop --all | seccomp-load @default -- sh -c 'echo I am user \$(id -u), process \$\$, on \$(hostname)'"
shown "$line"
sh -c "$line" </dev/null

title '2. What each layer asked for, and what the kernel says'
line='cg-apply -m 512M | ns-enter -mpniuC --hostname box | rootfs-prep --root ./rootfs | cap-drop --all | seccomp-load @default --status-fd 3 -- look'
shown "$line"
look sh -c "$line"
table "$(limit "$first")"
end_look

title '3. The plan that goes through the pipe'
shown 'cg-apply -N -m 512M | ns-enter -mp'
cg-apply -N -m 512M </dev/null | ns-enter -mp

title '4. It fails closed'
refused() {
    shown "$1"
    status=0
    sh -c "$1" </dev/null || status=$?
    printf '  status %s, and the command did not run\n\n' "$status"
    [ "$status" = 125 ] || { echo 'demo.sh: that should have been refused' >&2; exit 1; }
}
refused 'cg-apply -m 512Q | ns-enter -mpniuC | cap-drop --all -- echo I ran with less than was asked for'
refused 'cap-drop --all -- ns-enter -mp -- echo I ran in the wrong order'

title '5. The same from an OCI bundle'
mkdir -p work/bundle
ln -s ../../rootfs work/bundle/rootfs
shown "runner spec; runner run $id"
(cd work/bundle && runner spec)
jq '.process.terminal = false | .process.args = ["look"] | .hostname = "bundle"
    | .root.path = "'"$demo/rootfs"'" | .linux.resources.memory.limit = 268435456' work/bundle/config.json >work/config
mv work/config work/bundle/config.json
look runner run --bundle work/bundle "$id"
runner list
echo
printf '  %s%-13s %-46s %s%s\n' "$bold" field 'config.json asks for' 'the kernel says' "$off"
config() { jq -r "$1" work/bundle/config.json; }
row namespaces "$(config '.linux.namespaces | map(.type) | join(" ")')" "pid $(fact pid), host name $(fact hostname), interfaces: $(fact interfaces)"
row mounts "$(config '.mounts | length') and the root" "$(fact mounts), with devices masked and made read-only"
row memory "$(config .linux.resources.memory.limit)" "$(limit "$first")"
row capabilities "$(config '.process.capabilities.bounding | join(" ")')" "bounding $(fact CapBnd)"
row noNewPrivs "$(config .process.noNewPrivileges)" "$(fact NoNewPrivs)"
end_look

left=$(find /sys/fs/cgroup -type d -name "*$id*" 2>/dev/null | wc -l)
printf '\nLeft behind: %s cgroups, %s containers. The rootfs is in %s.\n' "$left" "$(runner list -q | grep -c "$id" || :)" "$demo/rootfs"
