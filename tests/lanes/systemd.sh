#!/bin/bash
# Boots user-mode Linux with systemd as its first process, D-Bus, and pure cgroup v2, from the root that `trixie.sh
# systemd` makes, and runs CMD there as a unit. Gives CMD's output and exit status; about ten seconds to boot.
#
#   tests/lanes/systemd.sh [--timeout SECONDS] CMD...
#
# The checkout (and CARGO_TARGET_DIR) are there under their own paths, which must
# not be below /run or /var. All is read-only but /run and /var, which are
# memory, so nothing stays behind. 124: the time was up.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
. "$here/common.sh"
root=$lanes/systemd

timeout=600
if [ "${1-}" = --timeout ]; then timeout=${2?--timeout SECONDS} && shift 2; fi
if [ "${1-}" != --inside ]; then
    [ $# -gt 0 ] || die "run nothing: systemd.sh CMD..."
    need_root
    need linux.uml user-mode-linux
    [ -e "$root/.lane-complete" ] || die "boot $root: it is not there (run $here/trixie.sh systemd)"
    job=$(mktemp -d "$lanes/systemd.$$.XXXXXX")
    trap 'rm -rf "$job"' EXIT
    {
        export -p
        printf 'export CATENA_LANE=systemd PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root\n'
        # A checkout may be below /tmp, which is therefore no memory here.
        # shellcheck disable=SC2016  # the guest fills it in
        printf 'export TMPDIR=/run/tmp; mkdir -m 1777 $TMPDIR; cd %q || cd /\n' "$PWD"
        printf 'exec'
        printf ' %q' "$@"
        echo
    } >"$job/job"
    # The serial lines are the way out: 0 output, 1 errors, 2 the exit status. Pipes, so that CMD sees no terminal.
    cat >"$job/run" <<'RUN'
#!/bin/bash
for line in 0 1 2; do stty -F /dev/ttyS$line raw -echo; done
here=$(dirname "$0")
systemctl start dbus.socket
mkfifo /run/errors
cat /run/errors >/dev/ttyS1 &
bash "$here/job" 2>/run/errors </dev/null | cat >/dev/ttyS0
status=${PIPESTATUS[0]}
wait
stty -F /dev/ttyS0 raw; stty -F /dev/ttyS1 raw
echo "$status" >/dev/ttyS2
stty -F /dev/ttyS2 raw
RUN
    chmod +x "$job/run"
    ended=0
    timeout --foreground -s KILL "$timeout" setpriv --pdeathsig KILL \
        unshare --pid --mount --propagation private --mount-proc --fork --kill-child=KILL -- "$0" --inside "$job" \
        3>&1 4>&2 5>"$job/status" >"$job/console" 2>&1 </dev/null || ended=$?
    status=$(tr -dc 0-9 <"$job/status")
    if [ -z "$status" ]; then
        tail -n 40 "$job/console" >&2
        [ "$ended" != 137 ] || { say "the time was up: $timeout s" && exit 124; }
        die "learn how the command ended: the guest stopped without saying so"
    fi
    exit "$status"
fi

# The guest's file tree is this process's: what is mounted here is there.
job=$2
checkout=$(readlink -f "$here/../..")
mount --bind "$root" "$root"
mount --bind "$job" "$root/mnt"
for folder in "$checkout" ${CARGO_TARGET_DIR:+"$(readlink -f "$CARGO_TARGET_DIR")"}; do
    mkdir -p "$root$folder"
    mount --bind "$folder" "$root$folder"
done
exec linux.uml root=/dev/root rootfstype=hostfs "rootflags=$root" ro mem=1024M "uml_dir=$job/" umid=uml \
    con0=null,fd:1 con=null ssl0=null,fd:3 ssl1=null,fd:4 ssl2=null,fd:5 cgroup_no_v1=all quiet \
    systemd.volatile=state systemd.mask=tmp.mount systemd.run=/mnt/run \
    systemd.run_success_action=poweroff systemd.run_failure_action=poweroff
