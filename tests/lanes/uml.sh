#!/bin/bash
# Boots user-mode Linux on this machine's own file tree and runs CMD there, on pure cgroup v2 with cpu, io, memory and
# pids, which a host with v1 controllers cannot offer. Gives CMD's output and exit status; about two seconds to boot.
#
#   tests/lanes/uml.sh [--timeout SECONDS] [--mem SIZE] CMD...
#
# The tree is mounted read-only and the guest writes to tmpfs (/tmp, /var/tmp, /run, /dev/shm) alone, so nothing stays
# behind. CMD has the working directory and the environment of the caller, and /dev/null as its input. The guest has no
# time namespaces, no overlayfs, no cpuset: tests that want them have to say that they skip. 124: the time was up.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
. "$here/common.sh"

timeout=600 mem=1024M
while [ $# -gt 0 ]; do
    case $1 in
    --timeout) timeout=${2?--timeout SECONDS} && shift 2 ;;
    --mem) mem=${2?--mem SIZE} && shift 2 ;;
    --) shift && break ;;
    -*) die "read the command line: unknown option $1" ;;
    *) break ;;
    esac
done
[ $# -gt 0 ] || die "run nothing: uml.sh CMD..."
need_root
need linux.uml user-mode-linux

# Not below /tmp, where the guest's tmpfs will be.
mkdir -p "$lanes"
for old in "$lanes"/uml.*.*; do
    # What a run that was killed left here.
    pid=${old#"$lanes"/uml.} && [ ! -d "$old" ] || [ -d "/proc/${pid%.*}" ] || rm -rf "$old"
done
job=$(mktemp -d "$lanes/uml.$$.XXXXXX")
trap 'rm -rf "$job"' EXIT

# What the guest runs as its first process. In braces, so that the shell has read it all before it mounts anything.
cat >"$job/init" <<'INIT'
#!/bin/bash
{
    exec </dev/null
    mount -t proc proc /proc
    mount -t sysfs sysfs /sys
    mountpoint -q /dev || mount -t devtmpfs devtmpfs /dev
    mkdir -p /dev/pts /dev/shm /dev/mqueue
    mount -t devpts -o newinstance,ptmxmode=0666 devpts /dev/pts
    mount -t mqueue mqueue /dev/mqueue
    # A checkout below one of the folders that the tmpfs will cover is lifted over it.
    checkout=$(cat "$(dirname "$0")/checkout")
    mkdir /dev/checkout && mount --bind "$checkout" /dev/checkout
    for folder in /dev/shm /run /tmp /var/tmp; do mount -t tmpfs -o mode=1777 tmpfs "$folder"; done
    [ -d "$checkout" ] || { mkdir -p "$checkout" && mount --bind /dev/checkout "$checkout"; }
    umount /dev/checkout && rmdir /dev/checkout
    ln -sf pts/ptmx /dev/ptmx
    ln -s /proc/self/fd /dev/fd
    ln -s fd/0 /dev/stdin; ln -s fd/1 /dev/stdout; ln -s fd/2 /dev/stderr
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
    ip link set lo up
    # The serial lines are the way out: 0 output, 1 errors, 2 the exit status. Pipes, so that CMD sees no terminal.
    for line in 0 1 2; do stty -F /dev/ttyS$line raw -echo; done
    exec 7> >(exec cat >/dev/ttyS0)
    out=$!
    exec 8> >(exec cat 7>&- >/dev/ttyS1)
    err=$!
    bash "$(dirname "$0")/job" >&7 2>&8 7>&- 8>&-
    status=$?
    exec 7>&- 8>&-
    # A process that CMD left behind may hold the pipes open for ever.
    for _ in {1..30}; do
        [ -d /proc/$out ] || [ -d /proc/$err ] || break
        sleep 0.1
    done
    for line in 0 1; do stty -F /dev/ttyS$line raw; done
    echo "$status" >/dev/ttyS2
    stty -F /dev/ttyS2 raw
    echo o >/proc/sysrq-trigger
    sleep 60
} 2>&1
INIT
{
    export -p
    printf 'export CATENA_LANE=uml; unset TMPDIR; cd %q || cd /\n' "$PWD"
    printf 'exec'
    printf ' %q' "$@"
    echo
} >"$job/job"
chmod +x "$job/init"
readlink -f "$here/../.." >"$job/checkout"

# A pid namespace of its own: the guest's processes are processes here, and they end with it, whatever happens. Each of
# the programs around it dies with the one before, so that the guest does not outlive this script either.
# shellcheck disable=SC2054  # the commas are the kernel's
kernel=(linux.uml root=/dev/root rootfstype=hostfs rootflags=/ ro "mem=$mem" "init=$job/init" "uml_dir=$job/" umid=uml
    con0=null,fd:1 con=null ssl0=null,fd:3 ssl1=null,fd:4 ssl2=null,fd:5 cgroup_no_v1=all quiet)
dying=(setpriv --pdeathsig KILL)
trap 'exit 130' INT
trap 'exit 143' TERM HUP
ended=0
"${dying[@]}" timeout --foreground -s KILL "$timeout" \
    "${dying[@]}" unshare --pid --mount --mount-proc --fork --kill-child=KILL -- "${kernel[@]}" \
    3>&1 4>&2 5>"$job/status" >"$job/console" 2>&1 </dev/null &
wait $! || ended=$?

status=$(tr -dc 0-9 <"$job/status")
if [ -z "$status" ]; then
    tail -n 40 "$job/console" >&2
    [ "$ended" != 137 ] || { say "the time was up: $timeout s" && exit 124; }
    die "learn how the command ended: the guest stopped without saying so"
fi
exit "$status"
