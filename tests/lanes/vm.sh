#!/bin/bash
# Boots Debian 13's own kernel in an emulated machine, with systemd as its first process, D-Bus and pure cgroup v2, from
# the tree that `trixie.sh systemd` makes, and runs CMD there as a unit. Gives CMD's output and exit status; about 25
# seconds to boot. It has what user-mode Linux and the host lack: every controller, time namespaces, overlayfs, veth
# devices, and a kernel that tells which pages were written.
#
#   tests/lanes/vm.sh [--timeout SECONDS] CMD...
#
# The emulator is the one of `trixie.sh emulator`; nothing of it is installed.
#
# The checkout (and CARGO_TARGET_DIR) are there under their own paths, which must not be below /run or /var. All is
# read-only but /run, /tmp and /var, which are memory, so nothing stays behind. 124: the time was up.
# The machine is emulated, some ten times slower than this one: CATENA_ACCEL=kvm where KVM runs kernels as they are.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
. "$here/common.sh"
root=$lanes/systemd
emulator=$lanes/emulator

timeout=900
if [ "${1-}" = --timeout ]; then timeout=${2?--timeout SECONDS} && shift 2; fi
if [ "${1-}" != --inside ]; then
    [ $# -gt 0 ] || die "run nothing: vm.sh CMD..."
    need_root
    for tree in "$root" "$emulator"; do
        [ -e "$tree/.lane-complete" ] || die "boot $root: $tree is not there (run $here/trixie.sh ${tree##*/})"
    done
    for old in "$lanes"/vm.*.*; do
        # What a run that was killed left here.
        pid=${old#"$lanes"/vm.} && [ ! -d "$old" ] || [ -d "/proc/${pid%.*}" ] || rm -rf "$old"
    done
    job=$(mktemp -d "$lanes/vm.$$.XXXXXX")
    trap 'rm -rf "$job"' EXIT
    {
        export -p
        printf 'export CATENA_LANE=vm PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root\n'
        printf 'unset TMPDIR; cd %q || cd /\n' "$PWD"
        printf 'exec'
        printf ' %q' "$@"
        echo
    } >"$job/job"
    # Three ports are the way out: 1 output, 2 errors, 3 the exit status. Pipes, so that CMD sees no terminal.
    cat >"$job/run" <<'RUN'
#!/bin/bash
here=$(dirname "$0")
until port=$(echo /dev/vport*p3) && [ -c "$port" ]; do sleep 0.1; done
port=${port%3}
systemctl start dbus.socket
ip link set lo up
modprobe overlay
# A checkout below /tmp is lifted over the memory that covers it: not systemd's, which is there already, but ours.
! mountpoint -q /tmp || umount -l /tmp
mapfile -t folders <"$here/folders"
for n in "${!folders[@]}"; do mkdir "/run/folder$n" && mount --bind "${folders[n]}" "/run/folder$n"; done
mount -t tmpfs -o mode=1777 tmpfs /tmp
for n in "${!folders[@]}"; do
    [ -d "${folders[n]}" ] || { mkdir -p "${folders[n]}" && mount --bind "/run/folder$n" "${folders[n]}"; }
    umount "/run/folder$n"
done
mkfifo /run/errors
cat /run/errors >"${port}2" &
bash "$here/job" 2>/run/errors </dev/null | cat >"${port}1"
status=${PIPESTATUS[0]}
wait
echo "$status" >"${port}3"
RUN
    chmod +x "$job/run"
    ended=0
    timeout --foreground -s KILL "$timeout" setpriv --pdeathsig KILL \
        unshare --pid --mount --propagation private --mount-proc --fork --kill-child=KILL -- "$0" --inside "$job" \
        3> >(exec cat) 4> >(exec cat >&2) >"$job/console" 2>&1 </dev/null || ended=$?
    status=$(tr -dc 0-9 2>/dev/null <"$job/status") || status=
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
    echo "$folder" >>"$job/folders"
done

# emulator PROGRAM ARGS...: in the place of this process.
emulator() {
    local folder=lib/x86_64-linux-gnu
    QEMU_MODULE_DIR=$emulator/usr/$folder/qemu exec "$emulator/lib64/ld-linux-x86-64.so.2" \
        --library-path "$emulator/$folder:$emulator/usr/$folder" "$emulator/usr/$1" "${@:2}"
}

kernel=$(basename "$root"/usr/lib/modules/*)
emulator lib/qemu/virtiofsd "--socket-path=$job/tree.sock" -o "source=$root" -o cache=always -o sandbox=chroot -o xattr &
until [ -S "$job/tree.sock" ]; do sleep 0.05; done
memory=2G
# One processor: a kernel that patches its own code is not safe from an emulator with a thread for each.
emulator bin/qemu-system-x86_64 -L "$emulator/usr/share/qemu" -L "$emulator/usr/share/seabios" \
    -accel "${CATENA_ACCEL:-tcg,thread=single}" -cpu max,-la57 -smp 1 -m "$memory" \
    -nodefaults -no-user-config -display none -no-reboot \
    -machine q35,memory-backend=memory -object "memory-backend-memfd,id=memory,size=$memory,share=on" \
    -chardev "socket,id=tree,path=$job/tree.sock" -device vhost-user-fs-pci,chardev=tree,tag=tree \
    -device virtio-serial-pci \
    -chardev file,id=out,path=/dev/fd/3 -device virtserialport,chardev=out \
    -chardev file,id=err,path=/dev/fd/4 -device virtserialport,chardev=err \
    -chardev "file,id=status,path=$job/status" -device virtserialport,chardev=status \
    -serial stdio -kernel "$root/boot/vmlinuz-$kernel" \
    -append 'rootfstype=virtiofs root=tree ro console=ttyS0 quiet panic=-1 mitigations=off nokaslr cgroup_no_v1=all
        systemd.volatile=state systemd.run=/mnt/run
        systemd.run_success_action=poweroff systemd.run_failure_action=poweroff'
